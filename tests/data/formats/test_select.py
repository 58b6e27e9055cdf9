"""Which array of a file is the image, and which are its axis and its mask."""

import numpy as np
import pytest

from jaxunmix.data.formats.select import ArrayChoiceError
from jaxunmix.data.io import list_arrays, load

KEEP_PIXELS = np.array([[True, False, True], [True, True, True]])
KEEP_CHANNELS = np.array([True, True, False, True])


def test_several_arrays_are_listed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(
        path,
        one=np.ones((2, 3, 4)),
        two=np.ones((2, 3, 4), np.uint8),
        energy=np.arange(4.0),
        ok=np.ones((2, 3), bool),
    )
    with pytest.raises(ArrayChoiceError, match=r"one  \(2, 3, 4\)  float64\n  two  \(2, 3, 4\)  uint8") as caught:
        load(path)
    assert "energy" not in str(caught.value)
    assert 'array="..."' in str(caught.value)
    assert "--array" in str(caught.value)
    assert caught.value.candidates == (("one", (2, 3, 4), "float64"), ("two", (2, 3, 4), "uint8"))
    img = load(path, "two")
    assert img.data.dtype == np.uint8
    np.testing.assert_array_equal(img.data.energy, np.arange(4.0))
    with pytest.raises(ArrayChoiceError, match="0 arrays called 'three'"):
        load(path, "three")
    assert ("ok", (2, 3), "bool") in list_arrays(path)


@pytest.mark.parametrize(
    ("name", "dim", "units"),
    [
        ("energy_keV", "energy", "keV"),
        ("energy_ev", "energy", "eV"),
        ("wavenumber_cm1", "wavenumber", "1/cm"),
        ("mz", "mz", "m/z"),
        ("bias_V", "bias", "V"),
        ("cube_energy_eV", "energy", "eV"),
        ("energy", "energy", None),
    ],
)
def test_axis_is_found_by_its_name(tmp_path, name, dim, units):
    values = np.linspace(1, 2, 4)
    np.savez(tmp_path / "a.npz", cube=np.ones((2, 3, 4)), i0=np.ones(4), **{name: values})
    img = load(tmp_path / "a.npz")
    assert img.data.dims == ("y", "x", dim)
    np.testing.assert_array_equal(img.data.coords[dim], values)
    assert img.data.coords[dim].attrs.get("units") == units


def test_axis_given_by_name_or_values(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((2, 3, 4)), loss=np.arange(4.0), energy=np.arange(4.0) + 7)
    np.testing.assert_array_equal(load(path, energy="loss").data.energy, np.arange(4.0))
    np.testing.assert_array_equal(load(path, energy=np.arange(4.0) + 1).data.energy, np.arange(4.0) + 1)
    with pytest.raises(ValueError, match="it holds"):
        load(path, energy="eloss")
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        load(path, energy=[1.0, 2.0])


def test_energy_first_is_not_taken_for_pixels(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((4, 2, 3)), energy_eV=np.arange(4.0))
    with pytest.raises(ValueError, match="fits axis 0"):
        load(path)
    img = load(path, dims=("energy", "y", "x"), signal_dims="energy")
    assert img.data.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(img.data.energy, np.arange(4.0))


def test_mask_by_shape(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, cube=np.ones((2, 3, 4)), good=KEEP_PIXELS, lines=KEEP_CHANNELS, other=np.ones((3, 2), bool))
    np.testing.assert_array_equal(load(path, mask="good").keep_pixels, KEEP_PIXELS)
    np.testing.assert_array_equal(load(path, mask="lines").keep_channels, KEEP_CHANNELS)
    np.save(tmp_path / "m.npy", KEEP_PIXELS)
    np.testing.assert_array_equal(load(path, mask=tmp_path / "m.npy").keep_pixels, KEEP_PIXELS)
    with pytest.raises(ValueError, match=r"expected \(2, 3\).*or \(4,\)"):
        load(path, mask="other")
    with pytest.raises(ValueError, match="it holds"):
        load(path, mask="bad")
    np.savez(path, cube=np.ones((4, 4)), m=np.array([1, 0, 1, 1], bool))
    with pytest.raises(ValueError, match="fits the pixels"):
        load(path, mask="m")
