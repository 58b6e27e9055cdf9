"""Preprocessing: known answers, masks, empty pixels, and the way back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxunmix import preprocess as pp
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, save

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ENERGY = np.array([700.0, 701.0, 703.0, 706.0, 710.0, 711.0])


def counts(dtype=np.float64, shape=(3, 4, 6), **options):
    values = np.random.default_rng(1).poisson(20, shape).astype(dtype) + 1
    return SpectrumImage.from_array(
        values,
        coords={"energy": ENERGY[: shape[-1]]},
        units={"energy": "eV", "intensity": "counts"},
        **options,
    )


STEPS = {
    "normalise sum": pp.normalise,
    "normalise max": lambda i: pp.normalise(i, "max"),
    "normalise norm": lambda i: pp.normalise(i, "norm"),
    "normalise mean": lambda i: pp.normalise(i, "mean"),
    "normalise_range pixel": pp.normalise_range,
    "normalise_range channel": lambda i: pp.normalise_range(i, "channel"),
    "normalise_range image": lambda i: pp.normalise_range(i, "image"),
    "weight_channels": lambda i: pp.weight_channels(i, [0.5, 1, 3, 1e-3, 7, 1e3]),
    "mean_centre": pp.mean_centre,
    "log": lambda i: pp.log(i, 0.5),
    "shift_to_positive": pp.shift_to_positive,
    "poisson_scale": pp.poisson_scale,
    "subtract_reference": lambda i: pp.subtract_reference(i, np.arange(6.0)),
    "normalise_edge": lambda i: pp.normalise_edge(i, post=(709, None)),
    "optical_density": lambda i: pp.optical_density(i, np.arange(50.0, 56)),
    "mask": lambda i: pp.mask(i, channels=np.array([1, 1, 1, 0, 1, 1], bool)),
    "mask_empty": pp.mask_empty,
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_undo_comes_back(step, dtype):
    keep = np.ones((3, 4), bool)
    keep[1, 2] = False
    img = counts(dtype, keep_pixels=keep)
    if dtype == np.uint8 and step is STEPS["normalise_edge"]:
        img = replace(img, data=img.data + np.arange(6, dtype=np.uint8) * 9)  # a step in every pixel
    else:
        img = replace(img, data=img.data + np.array([0, 0, 0, 0, 99, 99], dtype))
    out = step(img)
    assert len(out.provenance) == 1
    assert out.signal_dims == img.signal_dims
    if out.data.dtype.kind == "f":
        assert out.data.dtype == (np.float32 if np.dtype(dtype).itemsize <= 2 or dtype == np.float32 else np.float64)
    back = pp.undo(out)
    assert back.provenance == ()
    assert back.data.dtype == img.data.dtype
    assert back.data.attrs == img.data.attrs
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(back.data.values, img.data.values, rtol=0 if back.data.dtype.kind in "iu" else tolerance)
    np.testing.assert_array_equal(back.keep_pixels.values, keep)
    assert back.keep_channels is None


@pytest.mark.parametrize("suffix", ["npz", "h5", "hspy", "zarr", "nc"])
def test_undo_after_a_file(tmp_path, suffix):
    img = counts(np.uint16)
    save(pp.poisson_scale(pp.mask(img, channels=img.data.energy > 700)), tmp_path / f"a.{suffix}")
    back = pp.undo(pp.undo(load(tmp_path / f"a.{suffix}")))
    np.testing.assert_array_equal(back.data.values, img.data.values)
    assert back.data.dtype == np.uint16
    assert back.keep_channels is None


def test_what_cannot_be_undone():
    with pytest.raises(ValueError, match="no step to undo"):
        pp.undo(counts())
    for out in (pp.crop(counts(), y=slice(0, 1)), pp.bin(counts(), x=2), pp.clip_negative(counts())):
        with pytest.raises(ValueError, match="not reversible"):
            pp.undo(out)


def test_crop_by_value_and_by_index():
    img = pp.crop(counts(keep_channels=np.array([1, 0, 1, 1, 1, 1], bool)), energy=(701, 706), y=slice(1, None))
    assert img.data.shape == (2, 4, 3)
    np.testing.assert_array_equal(img.data.energy, [701, 703, 706])
    np.testing.assert_array_equal(img.keep_channels, [False, True, True])
    np.testing.assert_array_equal(img.data.values, counts().data.values[1:, :, 1:4])
    assert pp.crop(counts(), energy=(None, 703)).data.sizes["energy"] == 3
    assert img.provenance[-1]["parameters"]["energy"] == [701, 706]


def test_crop_keeps_a_view():
    img = counts()
    assert np.shares_memory(pp.crop(img, energy=(701, 706)).data.values, img.data.values)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"e": (0, 1)}, "none of the dims"),
        ({"energy": (0.5, 0.6)}, "leaves nothing; it goes from 700 to 711 eV"),
        ({"y": (0.0, 1.0)}, "'y' has no coordinate"),
        ({"y": slice(3, 3)}, "leaves nothing; it has 3 entries"),
    ],
)
def test_crop_refuses(ranges, message):
    with pytest.raises(ValueError, match=message):
        pp.crop(counts(), **ranges)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.sampled_from([np.uint8, np.int16, np.float32]))
def test_bin_keeps_the_total(y, x, energy, dtype):
    values = np.full((3, 4, 6), 127, dtype)
    img = SpectrumImage.from_array(values, coords={"energy": ENERGY})
    out = pp.bin(img, y=y, x=x, energy=energy, trim=True)
    used = values[: 3 // y * y, : 4 // x * x, : 6 // energy * energy]
    assert out.data.values.sum(dtype=float) == used.sum(dtype=float)
    assert out.data.dtype.kind == np.dtype(dtype).kind
    assert out.data.energy.values[0] == ENERGY[:energy].mean()


def test_bin_masks_a_cell_with_a_masked_part():
    keep = np.ones((3, 4), bool)
    keep[0, 1] = False
    out = pp.bin(counts(keep_pixels=keep), x=2)
    np.testing.assert_array_equal(out.keep_pixels.values[0], [False, True])
    assert out.keep_pixels.values[1:].all()


@pytest.mark.parametrize(
    ("factors", "message"),
    [({"x": 3}, "no multiple of 3; crop first"), ({"x": 5}, "give 1 to 4"), ({"e": 2}, "none of the dims")],
)
def test_bin_refuses(factors, message):
    with pytest.raises(ValueError, match=message):
        pp.bin(counts(), **factors)


@pytest.mark.parametrize("how", ["sum", "max", "norm"])
def test_normalise_with_an_empty_pixel(how):
    img = counts()
    img.data.values[1, 1] = 0
    out = pp.normalise(img, how)
    size = {
        "sum": out.data.sum("energy"),
        "max": out.data.max("energy"),
        "norm": (out.data**2).sum("energy") ** 0.5,
    }
    expected = np.ones((3, 4))
    expected[1, 1] = 0
    np.testing.assert_allclose(size[how], expected)


def test_normalise_refuses_a_sum_of_zero_that_is_not_empty():
    img = counts()
    img.data.values[2, 3] = [1, -1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="y=2, x=3"):
        pp.normalise(img)


def test_masked_nan_does_not_spoil_the_statistics():
    img = counts()
    img.data.values[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        pp.mean_centre(img)
    keep = np.ones((3, 4), bool)
    keep[0, 0] = False
    out = pp.mean_centre(pp.mask(img, pixels=keep))
    np.testing.assert_allclose(out.live().mean(axis=0), 0, atol=1e-12)


def test_log_and_its_domain():
    img = counts()
    np.testing.assert_allclose(pp.log(img, 2.0).data, np.log(img.data + 2.0))
    img.data.values[1, 0, 3] = -2
    with pytest.raises(ValueError, match="y=1, x=0"):
        pp.log(img, 1.0)


def test_clip_negative_reports_what_it_did():
    img = counts()
    img.data.values[0, 0, :2] = [-1, -3]
    out = pp.clip_negative(img)
    assert out.data.values.min() == 0
    assert out.provenance[-1]["parameters"] == {"largest": None, "count": 2, "sum": -4.0}
    with pytest.raises(ValueError, match="y=0, x=0"):
        pp.clip_negative(img, largest=2)


def test_shift_to_positive():
    img = counts()
    img.data.values[0, 0, 0] = -4
    out = pp.shift_to_positive(img)
    np.testing.assert_allclose(out.data, img.data + 4)


def test_keenan_kotula_2004_scaling_makes_poisson_noise_even():
    """For rank-one counts with mean g_p h_c the scaled variance is one number everywhere."""
    rng = np.random.default_rng(0)
    g, h = rng.uniform(1, 20, 4000), rng.uniform(0.5, 10, 30)
    mean = g[:, None] * h
    img = SpectrumImage.from_array(rng.poisson(mean).astype(np.float64))
    out = pp.poisson_scale(img)
    x = img.data.values
    expected = x / np.sqrt(np.outer(x.mean(1), x.mean(0)))
    np.testing.assert_allclose(out.data, expected, rtol=1e-12)
    noise = (out.data.values - mean / np.sqrt(np.outer(x.mean(1), x.mean(0)))).var(axis=0)
    assert noise.std() / noise.mean() < 0.05
    factors = out.provenance[-1]["parameters"]
    np.testing.assert_allclose(
        out.data.values * factors["pixel_factors"][:, None] * factors["channel_factors"], x, rtol=1e-12
    )


def test_poisson_scale_keeps_empty_pixels_and_dead_channels_at_zero():
    img = counts(np.uint8)
    img.data.values[0, 0] = 0
    img.data.values[..., 2] = 0
    out = pp.poisson_scale(img)
    assert np.isfinite(out.data).all()
    assert (out.data.values[0, 0] == 0).all()
    assert (out.data.values[..., 2] == 0).all()
    assert out.data.dtype == np.float32


def test_subtract_reference_checks_the_grid():
    img = counts()
    reference = img.mean_spectrum()
    np.testing.assert_allclose(pp.subtract_reference(img, reference).data.mean(("y", "x")), 0, atol=1e-12)
    with pytest.raises(ValueError, match="another energy grid"):
        pp.subtract_reference(img, reference.assign_coords(energy=ENERGY + 1))
    with pytest.raises(ValueError, match=r"shape \(5,\); expected \(6,\)"):
        pp.subtract_reference(img, np.ones(5))
    one = SpectrumImage.from_array(np.ones(6), coords={"energy": ENERGY})
    np.testing.assert_allclose(pp.subtract_reference(img, one).data, img.data - 1)


def test_normalise_edge_two_points():
    img = counts()
    img.data.values[..., -1] += 100
    out = pp.normalise_edge(img)
    np.testing.assert_allclose(out.data[..., 0], 0, atol=1e-12)
    np.testing.assert_allclose(out.data[..., -1], 1)
    falling = SpectrumImage.from_array(img.data[..., ::-1])
    np.testing.assert_allclose(pp.normalise_edge(falling).data[..., ::-1], out.data)


def test_normalise_edge_windows_and_missing_step():
    img = counts()
    img.data.values[..., 4:] += 100
    out = pp.normalise_edge(img, pre=(None, 701), post=(710, 711))
    np.testing.assert_allclose(out.data[..., :2].mean("energy"), 0, atol=1e-12)
    np.testing.assert_allclose(out.data[..., 4:].mean("energy"), 1)
    img.data.values[1, 3] = 7
    with pytest.raises(ValueError, match="no step at 1 pixels, the first at y=1, x=3"):
        pp.normalise_edge(img)
    with pytest.raises(ValueError, match=r"pre=.* holds no live channel"):
        pp.normalise_edge(img, pre=(0, 1))


def test_optical_density_known_answer():
    i0 = np.linspace(1000, 2000, 6)
    thickness = np.random.default_rng(0).uniform(0.1, 2, (3, 4, 6))
    img = SpectrumImage.from_array(i0 * np.exp(-thickness), coords={"energy": ENERGY})
    np.testing.assert_allclose(pp.optical_density(img, i0).data, thickness, rtol=1e-12)
    img.data.values[0, 1, 2] = 0
    with pytest.raises(ValueError, match="y=0, x=1"):
        pp.optical_density(img, i0)
    with pytest.raises(ValueError, match="i0 is zero"):
        pp.optical_density(img, 0.0)


def test_masks_add_up_and_empty_cells_go():
    img = counts()
    img.data.values[0, 0] = 0
    img.data.values[..., 5] = 0
    first = pp.mask(img, channels=img.data.energy > 700)
    out = pp.mask_empty(first)
    np.testing.assert_array_equal(out.keep_channels, [0, 1, 1, 1, 1, 0])
    assert not out.keep_pixels.values[0, 0]
    assert out.grid.size == 11
    np.testing.assert_array_equal(pp.undo(out).keep_channels, first.keep_channels)
    with pytest.raises(ValueError, match="True = keep"):
        pp.mask(img, pixels=np.ones((3, 4)))


def test_interpolate_is_exact_on_lines():
    img = SpectrumImage.from_array(
        np.ones((2, 1)) * (3 * ENERGY - 5), coords={"energy": ENERGY}, keep_channels=ENERGY != 706
    )
    grid = np.linspace(700, 711, 23)
    out = pp.interpolate(img, grid)
    np.testing.assert_allclose(out.data, np.ones((2, 1)) * (3 * grid - 5))
    np.testing.assert_array_equal(out.keep_channels, (grid <= 703) | (grid >= 710))
    with pytest.raises(ValueError, match="it goes from 700 to 711"):
        pp.interpolate(img, [699.0, 700.0])


def test_counts_of_a_real_map_survive_scaling_and_back():
    path = DATA / "eds_stem_mantle" / "es_lp_g8.npz"
    if not path.exists():
        pytest.skip("shared/data is not beside the repository")
    img = load(path)
    out = pp.undo(pp.poisson_scale(img))
    np.testing.assert_array_equal(out.data.values, img.data.values)
    binned = pp.bin(img, y=4, x=4)
    assert binned.data.sum(dtype=float) == img.data.sum(dtype=float)
    assert isinstance(binned.data, xr.DataArray)


def test_stxm_counts_to_optical_density():
    path = DATA / "xas_stxm_fe2p" / "stxm_71214078.npz"
    if not path.exists():
        pytest.skip("shared/data is not beside the repository")
    img = load(path, scale=0.01)
    i0 = load(path, array="i0_counts")
    density = pp.optical_density(pp.mask(img, pixels=(img.data > 0).all("energy")), i0)
    mean = density.mean_spectrum()
    assert 705 < float(mean.energy[mean.values.argmax()]) < 712


@pytest.mark.parametrize(("over", "axes"), [("pixel", (2,)), ("channel", (0, 1)), ("image", (0, 1, 2))])
def test_normalise_range_goes_from_0_to_1(over, axes):
    img = counts()
    out = pp.normalise_range(img, over)
    assert np.all(out.data.values.min(axis=axes) == 0)
    assert np.all(out.data.values.max(axis=axes) == 1)
    assert out.data.attrs["units"] == "1"
    assert out.provenance[-1]["parameters"] == {"over": over}
    # Scale and offset of the data are what it takes away.
    again = pp.normalise_range(replace(img, data=img.data * 3 - 7), over)
    np.testing.assert_allclose(again.data.values, out.data.values, atol=1e-12)


def test_normalise_range_looks_at_live_values_only():
    values = np.array([[1.0, 2.0, 99.0, 3.0], [5.0, 7.0, -99.0, 9.0], [4.0, 4.0, 4.0, 4.0]])
    img = SpectrumImage.from_array(values, keep_pixels=[True, True, False], keep_channels=[True, True, False, True])
    np.testing.assert_array_equal(pp.normalise_range(img).live(), [[0, 0.5, 1], [0, 0.5, 1]])
    np.testing.assert_array_equal(pp.normalise_range(img, "channel").live(), [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(pp.normalise_range(img, "image").live(), [[0, 0.125, 0.25], [0.5, 0.75, 1]])


@pytest.mark.parametrize(
    ("values", "over", "message"),
    [
        ([[1.0, 2, 3, 4], [5, 5, 5, 5]], "pixel", "constant values at 1 pixels, the first at x=1; leave them out"),
        ([[1.0, 2, 3, 4], [5, 5, 5, 5]], "channel", None),
        ([[1.0, 2, 3, 4], [5, 5, 3, 5]], "channel", "constant values at 1 channels, the first at energy=2"),
        ([[5.0, 5], [5, 5]], "image", "constant values throughout the image: all are 5.0"),
        ([[-1e308, 1e308], [5, 6]], "pixel", "beyond that of double precision"),
    ],
)
def test_normalise_range_refuses_what_has_no_range(values, over, message):
    img = SpectrumImage.from_array(values)
    if message is None:
        assert pp.normalise_range(img, over).data.values.tolist() == [[0] * 4, [1] * 4]
        return
    with pytest.raises(ValueError, match=message):
        pp.normalise_range(img, over)


def test_normalise_by_the_mean():
    out = pp.normalise(counts(keep_channels=np.array([1, 1, 1, 1, 1, 0], bool)), "mean")
    np.testing.assert_allclose(out.live().mean(axis=1), 1)
    with pytest.raises(ValueError, match="the mean is not positive"):
        pp.normalise(SpectrumImage.from_array([[1.0, -2.0]]), "mean")


def test_weight_channels():
    img = counts(np.float32)
    weights = np.array([0.5, 1, 3, 0.25, 7, 2])
    out = pp.weight_channels(img, weights)
    np.testing.assert_allclose(out.data.values, img.data.values * weights, rtol=1e-6)
    np.testing.assert_array_equal(out.provenance[-1]["parameters"]["weights"], weights)
    labelled = xr.DataArray(weights, dims=("energy",), coords={"energy": ENERGY})
    np.testing.assert_array_equal(pp.weight_channels(img, labelled).data.values, out.data.values)
    with pytest.raises(ValueError, match="another energy grid"):
        pp.weight_channels(img, labelled.assign_coords(energy=ENERGY + 1))
    # Nobody looks at the weight of a channel that is left out.
    masked = pp.weight_channels(pp.mask(img, channels=weights != 3), np.where(weights == 3, np.nan, weights))
    np.testing.assert_array_equal(masked.live(), np.delete(out.live(), 2, axis=1))
    np.testing.assert_array_equal(masked.data.values[..., 2], img.data.values[..., 2])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"weights of shape \(5,\); expected \(6,\)"),
        ([1, 1, 0, 1, 1, 1], r"a weight of 0 at energy=703 eV \(index 2\); give weights above 0"),
        ([1, 1, 1, 1, -2, 1], "a weight of -2 at energy=710 eV"),
        ([1, 1, 1, 1, 1, 1e-60], "in the range of float32"),
        ([1, 1, 1, 1, 1, 1e60], "in the range of float32"),
        ([1, 1, np.inf, 1, 1, 1], "NaN or infinite at live channels"),
    ],
)
def test_weight_channels_refuses(weights, message):
    with pytest.raises(ValueError, match=message):
        pp.weight_channels(counts(np.float32), weights)
