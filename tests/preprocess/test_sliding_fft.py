"""Sliding windows: Parseval's identity, lattices of known spacing, and what must change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxunmix import preprocess as pp
from jaxunmix import simulate
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, save

NOISE = np.random.default_rng(0).normal(10, 1, (40, 52))


def lattice(shape=(96, 96), periods=(8, 6), shift=(0, 0)):
    """Two waves, of amplitudes 1 and 0.5, over a constant."""
    y, x = np.indices(shape)
    rows, columns = (
        2 * np.pi * (at + moved) / period for at, moved, period in zip((y, x), shift, periods, strict=True)
    )
    return 3 + np.cos(rows) + 0.5 * np.cos(columns)


def nanometres(values, pitch=0.05):
    coords = {dim: (dim, pitch * np.arange(n) - 1, {"units": "nm"}) for dim, n in zip("yx", values.shape, strict=True)}
    return xr.DataArray(values, dims=("y", "x"), coords=coords, attrs={"units": "counts"}, name="picture")


@pytest.mark.parametrize("taper", ["hann", "none"])
@pytest.mark.parametrize("window", [16, 15, (12, 17)])
def test_parseval(taper, window):
    out = pp.sliding_fft(NOISE, window, 7, taper=taper, scale="power")
    height, width = window if isinstance(window, tuple) else (window, window)
    sides = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 if taper == "hann" else np.ones(n) for n in (height, width)]
    w = np.outer(*sides)
    assert out.data.shape == ((40 - height) // 7 + 1, (52 - width) // 7 + 1, height, width)
    for i, j in np.ndindex(out.data.shape[:2]):
        part = NOISE[7 * i : 7 * i + height, 7 * j : 7 * j + width]
        part = w * (part - (w * part).sum() / w.sum()) / w.sum()
        assert np.isclose(float(out.data[i, j].sum()), w.size * (part**2).sum(), rtol=1e-4)


def test_it_is_the_transform_of_each_window():
    out = pp.sliding_fft(NOISE, (9, 12), (4, 5), taper="none")
    part = NOISE[8:17, 10:22]
    expected = np.abs(np.fft.fftshift(np.fft.fft2(part - part.mean()))) / part.size
    np.testing.assert_allclose(out.data.values[2, 2], expected, atol=1e-6)
    np.testing.assert_allclose(out.data.ky, np.fft.fftshift(np.fft.fftfreq(9)), atol=1e-12)
    np.testing.assert_allclose(out.data.kx, np.fft.fftshift(np.fft.fftfreq(12)), atol=1e-12)


@pytest.mark.parametrize("window", [16, 15, (12, 17)])
def test_half_of_the_plane_has_all_of_the_power(window):
    whole = pp.sliding_fft(NOISE, window, 7, scale="power").data
    half = pp.sliding_fft(NOISE, window, 7, scale="power", half=True).data
    width = window[1] if isinstance(window, tuple) else window
    assert half.sizes["kx"] == width // 2 + 1
    assert float(half.kx[0]) == 0
    twice = np.where((half.kx == 0) | (half.kx == 0.5), 1, 2)
    np.testing.assert_allclose((half * twice).sum(("ky", "kx")), whole.sum(("ky", "kx")), rtol=1e-5)


def test_real_images_have_symmetric_spectra():
    values = pp.sliding_fft(NOISE, 15, 7).data.values
    np.testing.assert_allclose(values, values[:, :, ::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_keep_crops_around_the_origin(half):
    whole = pp.sliding_fft(NOISE, 16, 8, half=half).data
    out = pp.sliding_fft(NOISE, 16, 8, half=half, keep=(3, 5)).data
    assert (out.sizes["ky"], out.sizes["kx"]) == (7, 6 if half else 11)
    xr.testing.assert_allclose(out, whole.sel(ky=out.ky, kx=out.kx))
    assert float(abs(out.ky).max()) == 3 / 16


def test_a_lattice_has_its_peaks_at_its_frequencies():
    out = pp.sliding_fft(nanometres(lattice()), 48, 12)
    assert out.data.dims == ("y", "x", "ky", "kx")
    assert {d: out.data[d].attrs["units"] for d in out.data.dims} == {"y": "nm", "x": "nm", "ky": "1/nm", "kx": "1/nm"}
    assert (out.data.attrs["units"], out.data.name) == ("counts", "picture")
    # 0.05 nm in a pixel: the periods are 0.4 and 0.3 nm.
    for ky, kx, size in ((2.5, 0, 0.5), (-2.5, 0, 0.5), (0, 1 / 0.3, 0.25), (0, -1 / 0.3, 0.25), (0, 0, 0)):
        found = out.data.sel(ky=ky, kx=kx, method="nearest")
        assert abs(float(found.ky) - ky) < 1e-9
        assert abs(float(found.kx) - kx) < 1e-9
        np.testing.assert_allclose(found, size, atol=1e-5)
    mean = out.data.mean(("y", "x")).stack(k=("ky", "kx"))
    brightest = mean.k.values[np.argsort(mean.values)[-2:]]
    assert {round(abs(float(ky)), 9) for ky, _ in brightest} == {2.5}


def test_windows_are_at_their_centres():
    values = np.zeros((40, 40))
    values[20, 30] = 1
    out = pp.sliding_fft(nanometres(values), 8, 4, scale="power")
    np.testing.assert_allclose(out.data.y, 0.05 * (np.arange(0, 33, 4) + 3.5) - 1)
    total = out.data.sum(("ky", "kx"))
    # Windows that hold the bright pixel, and no others, have any power; the nearest have the most.
    lit = (abs(out.data.y - (0.05 * 20 - 1)) < 0.2) & (abs(out.data.x - (0.05 * 30 - 1)) < 0.2)
    np.testing.assert_array_equal(total > 1e-9, lit)


@pytest.mark.parametrize("scale", ["magnitude", "power", "log"])
def test_whole_lattice_vectors_and_offsets_change_nothing(scale):
    first = pp.sliding_fft(lattice(), 24, 8, scale=scale).data.values
    for changed in (lattice(shift=(8, 0)), lattice(shift=(16, -12)), lattice() + 1e4):
        np.testing.assert_allclose(pp.sliding_fft(changed, 24, 8, scale=scale).data.values, first, atol=1e-5)
    # Of windows that hold whole periods the phase is nothing but a phase.
    plain = {"scale": scale, "taper": "none"}
    moved = pp.sliding_fft(lattice(shift=(2.5, 1.25)), 24, 8, **plain).data.values
    np.testing.assert_allclose(moved, pp.sliding_fft(lattice(), 24, 8, **plain).data.values, atol=1e-5)
    half_a_cell = pp.sliding_fft(np.roll(NOISE, 1, axis=0), 16, 8, scale=scale).data.values
    assert not np.allclose(half_a_cell, pp.sliding_fft(NOISE, 16, 8, scale=scale).data.values, atol=1e-3)


def test_scales():
    size, power, log = (pp.sliding_fft(NOISE, 16, 8, scale=scale) for scale in ("magnitude", "power", "log"))
    np.testing.assert_allclose(power.data, size.data.values**2, rtol=1e-4, atol=1e-12)
    noise = log.provenance[-1]["parameters"]["noise"]
    np.testing.assert_allclose(log.data, np.log1p(size.data.values / noise), rtol=1e-4, atol=1e-6)
    # White noise has the root mean square that the logarithm is measured against, and the logarithm has no unit.
    assert np.isclose(np.sqrt(power.data.values.mean()), noise, rtol=0.05)
    np.testing.assert_allclose(
        pp.sliding_fft(NOISE * 1e30, 16, 8, scale="log").data.values, log.data.values, rtol=1e-4, atol=1e-6
    )
    assert log.data.attrs["units"] == "1"
    assert pp.sliding_fft(nanometres(NOISE), 16, 8, scale="power").data.attrs["units"] == "(counts)^2"


def test_a_constant_image_has_no_waves():
    for scale in ("magnitude", "power", "log"):
        assert not pp.sliding_fft(np.full((20, 20), 7), 8, 4, scale=scale).data.values.any()


def test_blocks_change_nothing(monkeypatch):
    whole = pp.sliding_fft(NOISE, 16, 3).data.values
    monkeypatch.setattr(pp.sliding_window, "_BLOCK_VALUES", 16 * 16 * 5)
    np.testing.assert_allclose(pp.sliding_fft(NOISE, 16, 3).data.values, whole, atol=1e-6)


def test_images_of_every_kind():
    wanted = pp.sliding_fft(NOISE, 16, 8).data.values
    for image in (
        NOISE.tolist(),
        jnp.asarray(NOISE),
        xr.DataArray(NOISE, dims=("row", "column")),
        SpectrumImage.from_array(NOISE, signal_dims=2),
        SpectrumImage.from_array(NOISE[..., None]),
    ):
        np.testing.assert_allclose(pp.sliding_fft(image, 16, 8).data.values, wanted, atol=1e-6)
    assert pp.sliding_fft(xr.DataArray(NOISE, dims=("row", "column")), 16, 8).signal_dims == ("krow", "kcolumn")


def test_it_is_on_record_and_in_files(tmp_path):
    img = pp.mean_centre(SpectrumImage.from_array(nanometres(NOISE).expand_dims("z", 2).isel(z=[0]), signal_dims=1))
    out = pp.sliding_fft(img, 16, 8, scale="log", keep=4)
    assert [one["step"] for one in out.provenance] == ["mean_centre", "sliding_fft"]
    assert out.provenance[-1]["parameters"]["window"] == [16, 16]
    save(out, tmp_path / "a.npz")
    back = load(tmp_path / "a.npz")
    assert back.provenance[-1]["parameters"] == out.provenance[-1]["parameters"]
    with pytest.raises(ValueError, match="not reversible"):
        pp.undo(out)


def test_phases_of_a_simulated_image_differ_where_the_truth_says():
    img, truth = simulate.oxide_lattice(jax.random.key(0), shape=(160, 160), counts=200)
    out = pp.sliding_fft(img, 60, 10)
    phases = img.to_maps(truth.maps).interp(y=out.data.y, x=out.data.x)
    superlattice = out.data.sel(ky=1 / 0.79, kx=0, method="nearest")
    pure = abs(phases[1] - 0.5) > 0.49
    found = np.corrcoef(superlattice.values[pure.values], phases[1].values[pure.values])[0, 1]
    assert pure.sum() > 20
    assert found > 0.9


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        (NOISE[0], (8, 4), r"must be \(y, x\).*shape \(52,\)"),
        (NOISE[None], (8, 4), r"shape \(1, 40, 52\)"),
        ("picture", (8, 4), "is 'picture'"),
        (NOISE + 1j, (8, 4), "real part"),
        (np.where(NOISE > 12, np.nan, NOISE), (8, 4), "NaN or infinite, the first"),
        (NOISE, (41, 4), "41 pixels along 'y', which has 40; give 4 to 40"),
        (NOISE, (3, 4), "window must be 4 or more"),
        (NOISE, (8, 0), "step must be 1 or more"),
        (xr.DataArray(NOISE, dims=("y", "x"), coords={"y": np.arange(40) ** 1.5}), (8, 4), "'y' is not uniform"),
    ],
)
def test_it_refuses(image, arguments, message):
    with pytest.raises(ValueError, match=message):
        pp.sliding_fft(image, *arguments)


def test_it_keeps_no_more_than_there_is():
    with pytest.raises(ValueError, match="keep, of a window of 8 pixels, must be 1 to 3"):
        pp.sliding_fft(NOISE, 8, 4, keep=4)


def test_it_refuses_masks_and_what_leaves_the_range():
    keep = np.ones((40, 52), bool)
    keep[3, 4] = False
    with pytest.raises(ValueError, match="masked pixels; crop"):
        pp.sliding_fft(SpectrumImage.from_array(NOISE[..., None], keep_pixels=keep), 8, 4)
    with pytest.raises(ValueError, match="beyond the range of float32; rescale"):
        pp.sliding_fft(NOISE * 1e30, 8, 4, scale="power")
