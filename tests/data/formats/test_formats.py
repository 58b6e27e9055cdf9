"""What a format says of itself is all that `load` and `save` know of it."""

from contextlib import contextmanager

import numpy as np
import pytest

from jaxunmix.data import formats
from jaxunmix.data.formats.items import Item
from jaxunmix.data.image import SpectrumImage
from jaxunmix.data.io import load, save

KINDS = {name: kind for name, kind in vars(formats).items() if isinstance(kind, formats.Format)}


@pytest.mark.parametrize("name", KINDS)
def test_a_format_is_known_by_its_suffixes(name):
    kind = KINDS[name]
    assert kind.suffixes
    assert kind.name
    for suffix in kind.suffixes:
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
        assert formats.BY_SUFFIX[suffix] is kind
    assert kind.write is None or kind.refusal is None


def test_messages_list_the_suffixes_in_the_order_of_the_folder(tmp_path):
    (tmp_path / "a.qqq").write_text("")
    known = ".npz, .npy, .h5, .hdf5, .hdf, .nxs, .hspy, .zarr, .zip, .zspy, .nc, .mat, .csv, .txt, .dat, .xdi, .prj"
    with pytest.raises(ValueError, match=f"is none of {known}[,;]"):
        load(tmp_path / "a.qqq")
    image = SpectrumImage.from_array(np.ones((2, 3)))
    written = r"use one of \.npz, \.h5, \.hdf5, \.hdf, \.hspy, \.zarr, \.zspy, \.nc$"
    for suffix in ("qqq", "nxs", "csv"):
        with pytest.raises(ValueError, match=f"cannot write '.{suffix}'; {written}"):
            save(image, tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match=r"save as a\.npz$"):
        save(image, tmp_path / "a.npy")


def test_a_new_format_is_read_and_written(tmp_path, monkeypatch):
    @contextmanager
    def read(path):
        values = np.fromfile(path)
        yield [Item("values", values.shape, values.dtype, lambda: values)]

    raw = formats.Format("raw", (".raw64",), read, lambda img, path: img.data.values.tofile(path))
    monkeypatch.setitem(formats.BY_SUFFIX, ".raw64", raw)
    save(SpectrumImage.from_array(np.arange(4.0)), tmp_path / "a.raw64")
    np.testing.assert_array_equal(load(tmp_path / "a.raw64").data, np.arange(4.0))
