"""Axes that repeat or jitter, pixels that are not finite, and axes named as users name them."""

import numpy as np
import pytest

from jaxunmix import preprocess
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load

ENERGY = [3.0, 1.0, 1.0, 2.0, 3.0]
VALUES = np.arange(10.0).reshape(2, 5) ** 2


def plain(keep=None, values=VALUES):
    return SpectrumImage.from_array(values, keep_channels=keep)


def test_what_was_measured_twice_is_averaged_and_sorted():
    img = preprocess.merge_repeated(plain(), ENERGY)
    np.testing.assert_array_equal(img.data.energy, [1, 2, 3])
    np.testing.assert_allclose(img.data, [[2.5, 9, 8], [42.5, 64, 53]])
    assert img.provenance[-1]["step"] == "merge_repeated"
    assert img.provenance[-1]["parameters"] == {"dim": "energy", "tolerance": 0.0, "channels": [5, 3]}
    with pytest.raises(ValueError, match="not reversible"):
        preprocess.undo(img)


def test_channels_within_the_tolerance_are_one():
    img = SpectrumImage.from_array(np.arange(5.0), coords={"energy": [1, 1.1, 1.2, 2, 3]}, units={"energy": "eV"})
    merged = preprocess.merge_repeated(img, tolerance=0.15)
    np.testing.assert_allclose(merged.data.energy, [1.05, 1.2, 2, 3])
    np.testing.assert_allclose(merged.data, [0.5, 2, 3, 4])
    assert merged.data.energy.attrs["units"] == "eV"
    same = preprocess.merge_repeated(img)
    np.testing.assert_array_equal(same.data, img.data)
    assert same.provenance[-1]["step"] == "merge_repeated"


def test_masked_channels_take_no_part():
    keep = [True, False, True, False, True]
    img = preprocess.merge_repeated(plain(keep), ENERGY)
    np.testing.assert_allclose(img.data, [[4, 9, 8], [49, 64, 53]])
    np.testing.assert_array_equal(img.keep_channels, [True, False, True])
    nan = VALUES.copy()
    nan[:, 1] = np.nan
    np.testing.assert_allclose(preprocess.merge_repeated(plain(keep, nan), ENERGY).data[:, 0], [4, 49])


@pytest.mark.parametrize(("dtype", "out"), [(np.uint16, np.float32), (np.int64, np.float64), (np.float32, np.float32)])
def test_numbers_stay_as_they_are_where_nothing_is_averaged(dtype, out):
    img = plain(values=VALUES.astype(dtype))
    assert preprocess.merge_repeated(img, [5, 4, 3, 1, 2]).data.dtype == dtype
    assert preprocess.merge_repeated(img, ENERGY).data.dtype == out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "'energy' has no values"),
        ({"energies": [1, 2]}, r"expected \(5,\)"),
        ({"energies": ENERGY, "tolerance": -1}, "0 or above"),
        ({"energies": [1, 2, 3, 4, np.nan]}, "'energy' is nan"),
    ],
)
def test_bad_merging(given, message):
    with pytest.raises(ValueError, match=message):
        preprocess.merge_repeated(plain(), **given)


@pytest.mark.parametrize("suffix", ["npz", "csv", "dat"])
def test_files_whose_energies_repeat(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, energy_eV=ENERGY, mu=VALUES)
    else:
        np.savetxt(path, np.column_stack([ENERGY, VALUES.T]), header="energy_eV a b")
    columns = {} if suffix == "npz" else {"columns": "a,b"}
    refusal = rf"^a\.{suffix}: .*'energy' is not strictly monotonic.*preprocess.merge_repeated, or load"
    with pytest.raises(ValueError, match=refusal):
        load(path, **columns)
    img = load(path, **columns, merge_repeated=True)
    np.testing.assert_allclose(img.data, [[2.5, 9, 8], [42.5, 64, 53]])
    assert [p["step"] for p in img.provenance] == ["load", "merge_repeated"]
    assert load(path, **columns, merge_repeated=1).data.energy.size == 2


# --- not finite


def holes(pixels=(), channels=(), single=()):
    values = np.ones((3, 4, 6))
    values.reshape(12, 6)[list(pixels)] = np.nan
    values[..., list(channels)] = np.inf
    for place in single:
        values[place] = np.nan
    return SpectrumImage.from_array(values)


@pytest.mark.parametrize(
    ("img", "over", "pixels", "channels"),
    [
        (holes(), "auto", 0, 0),
        (holes(pixels=[0, 5]), "auto", 2, 0),
        (holes(channels=[1]), "auto", 0, 1),
        (holes(pixels=[3], channels=[1, 2]), "auto", 1, 2),
        (holes(pixels=[3], single=[(2, 2, 0)]), "auto", 2, 0),
        (holes(single=[(0, 0, 4), (0, 1, 4), (2, 1, 4)]), "auto", 0, 1),
        (holes(single=[(0, 0, 4), (0, 1, 4), (2, 1, 4)]), "pixels", 3, 0),
        (holes(single=[(0, 0, 4), (0, 1, 5)]), "channels", 0, 2),
    ],
)
def test_pixels_and_channels_that_are_not_finite_are_left_out(img, over, pixels, channels):
    masked = preprocess.mask_non_finite(img, over)
    assert masked.live().shape == (12 - pixels, 6 - channels)
    assert np.isfinite(masked.live()).all()
    assert masked.provenance[-1]["step"] == "mask_non_finite"
    assert preprocess.undo(masked).live().shape == (12, 6)


def test_nothing_finite_is_refused():
    with pytest.raises(ValueError, match="mask_non_finite leaves nothing"):
        preprocess.mask_non_finite(holes(pixels=range(12)))
    with pytest.raises(ValueError, match=r"preprocess\.mask_non_finite"):
        holes(pixels=[3]).matrix()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_zeros_and_ones_are_a_mask(tmp_path, dtype):
    keep = np.ones((3, 4), dtype)
    keep[0, 0] = 0
    img = holes()
    assert preprocess.mask(img, pixels=keep).grid.size == 11
    assert SpectrumImage.from_array(img.data.values, keep_pixels=keep).grid.size == 11
    np.savez(tmp_path / "a.npz", data=img.data.values, good=keep)
    np.save(tmp_path / "m.npy", keep)
    assert load(tmp_path / "a.npz", "data", mask="good").grid.size == 11
    assert load(tmp_path / "a.npz", "data", mask=tmp_path / "m.npy").grid.size == 11
    for odd in (2, -1):
        wrong = keep.astype(int)
        wrong[1, 1] = odd
        with pytest.raises(ValueError, match=rf"holds {odd}; give booleans, or 0 and 1"):
            preprocess.mask(img, pixels=wrong)
        with pytest.raises(ValueError, match=rf"mask holds {odd}"):
            load(tmp_path / "a.npz", "data", mask=wrong)
    with pytest.raises(ValueError, match="give booleans"):
        preprocess.mask(img, pixels=keep.astype(float))


# --- names


def named(*dims):
    return SpectrumImage.from_array(np.ones((4, 6, 8)), dims=dims, coords={dims[-1]: np.arange(8.0)})


@pytest.mark.parametrize("dims", [("Y", "X", "Energy"), ("y", "x", "Energy loss"), ("row", "x", "mz")])
def test_axes_are_named_without_case_and_energy_is_the_signal_axis(dims):
    img = named(*dims)
    assert preprocess.crop(img, energy=(2, 5), x=slice(0, 3)).data.shape == (4, 3, 4)
    assert preprocess.bin(img, ENERGY=2, X=3).data.shape == (4, 2, 4)
    assert preprocess.interpolate(img, [1.5, 2.5], dim="energy").data.sizes[dims[-1]] == 2
    assert preprocess.crop(img, energy=(2, 5)).provenance[-1]["parameters"] == {dims[-1]: [2, 5]}


def test_names_that_may_mean_two_axes_or_none():
    img = named("x", "X", "energy")
    assert preprocess.crop(img, X=slice(0, 2)).data.shape == (4, 2, 8)
    with pytest.raises(ValueError, match="crop: 'z' is none of the dims"):
        preprocess.crop(img, z=(0, 1))
    with pytest.raises(ValueError, match="bin: energy, ENERGY name one axis twice"):
        preprocess.bin(img, energy=2, ENERGY=2)
    patterns = SpectrumImage.from_array(np.ones((3, 4, 5)), 2)
    with pytest.raises(ValueError, match="'energy' is none of the dims"):
        preprocess.crop(patterns, energy=(0, 1))


def test_a_window_in_another_unit_is_told_the_unit_of_the_axis():
    img = SpectrumImage.from_array(np.arange(8.0), coords={"energy": 7 + np.arange(8) / 100}, units={"energy": "keV"})
    with pytest.raises(ValueError, match=r"they are at 7 to 7.07 keV: give it in the unit of the axis"):
        preprocess.normalise_edge(img, (7000, 7020), None)
