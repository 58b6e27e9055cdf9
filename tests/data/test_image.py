"""SpectrumImage: labels in, (pixels, channels) out, and every refusal says where and what to do."""

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxunmix.data.grid import Grid
from jaxunmix.data.image import SpectrumImage


def cube(dtype=np.float64, **options):
    values = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    return SpectrumImage.from_array(
        values,
        coords={"energy": [528.0, 529.0, 531.0, 535.0]},
        units={"energy": "eV", "intensity": "counts"},
        **options,
    )


KEEP_PIXELS = np.array([[True, False, True], [True, True, True]])
KEEP_CHANNELS = np.array([True, True, False, True])


@pytest.mark.parametrize(
    ("shape", "signal", "dims"),
    [
        ((4,), 1, ("energy",)),
        ((3, 4), 1, ("x", "energy")),
        ((2, 3, 4), 1, ("y", "x", "energy")),
        ((5, 2, 3, 4), 1, ("z", "y", "x", "energy")),
        ((2, 3, 4, 5), 2, ("y", "x", "ky", "kx")),
        ((2, 2, 2, 2, 2), 1, ("nav0", "nav1", "nav2", "nav3", "energy")),
    ],
)
def test_default_dims(shape, signal, dims):
    img = SpectrumImage.from_array(np.ones(shape), signal_dims=signal)
    assert img.data.dims == dims
    assert img.signal_dims == dims[-signal:]
    assert img.matrix().shape == (np.prod(shape[:-signal], dtype=int), np.prod(shape[-signal:]))


def test_matrix_leaves_out_masked_pixels_and_channels():
    img = cube(keep_pixels=KEEP_PIXELS, keep_channels=KEEP_CHANNELS)
    expected = np.arange(24.0).reshape(6, 4)[KEEP_PIXELS.ravel()][:, KEEP_CHANNELS]
    np.testing.assert_array_equal(img.live(), expected)
    assert img.matrix("dense").shape == (5, 3)


def test_live_is_a_view_without_masks():
    values = np.ones((20, 30, 40), np.uint8)
    assert np.shares_memory(SpectrumImage.from_array(values).live(), values)


def test_names_move_signal_dims_to_the_end():
    values = np.arange(24.0).reshape(4, 2, 3)
    img = SpectrumImage.from_array(values, "energy", dims=("energy", "y", "x"))
    assert img.data.dims == ("y", "x", "energy")
    np.testing.assert_array_equal(img.data.values, np.moveaxis(values, 0, -1))


def test_dataarray_keeps_its_labels():
    data = xr.DataArray(
        np.ones((2, 5)),
        dims=("site", "shift"),
        coords={"shift": np.arange(5.0)},
        attrs={"units": "V"},
        name="raman",
    )
    img = SpectrumImage.from_array(data)
    xr.testing.assert_identical(img.data, data)
    with pytest.raises(ValueError, match="rename them there"):
        SpectrumImage.from_array(data, dims=("a", "b"))


@settings(max_examples=50, deadline=None)
@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
    signal=hnp.array_shapes(min_dims=1, max_dims=2, max_side=4),
    components=st.integers(1, 3),
    data=st.data(),
)
def test_maps_and_spectra_come_back_to_their_places(shape, signal, components, data):
    pixels = data.draw(hnp.arrays(bool, shape).filter(np.any))
    channels = data.draw(hnp.arrays(bool, signal).filter(np.any))
    values = np.random.default_rng(0).normal(size=shape + signal)
    img = SpectrumImage.from_array(values, len(signal), keep_pixels=pixels, keep_channels=channels)
    live = img.live()
    maps = img.to_maps(live[:, :1].repeat(components, 1))
    spectra = img.to_spectra(live[:1].repeat(components, 0))
    assert maps.dims == ("component", *img.navigation_dims)
    assert spectra.dims == ("component", *img.signal_dims)
    first = values.reshape((*shape, -1))[..., np.flatnonzero(channels)[0]]
    np.testing.assert_array_equal(maps.values[-1], np.where(pixels, first, np.nan))
    row = values.reshape(-1, *signal)[np.flatnonzero(pixels)[0]]
    np.testing.assert_array_equal(spectra.values[-1], np.where(channels, row, np.nan))


def test_wrong_shapes_of_maps_and_spectra():
    img = cube(keep_pixels=KEEP_PIXELS)
    with pytest.raises(ValueError, match="with 5 pixels"):
        img.to_maps(np.ones((6, 2)))
    with pytest.raises(ValueError, match="with 4 channels"):
        img.to_spectra(np.ones((2, 3)))


def test_sums_do_not_overflow():
    img = SpectrumImage.from_array(np.full((4, 5, 100), 255, np.uint8))
    assert (img.total_map() == 25500).all()
    assert (img.mean_spectrum() == 255).all()
    assert img.data.dtype == np.uint8


def test_mean_and_total_respect_masks():
    img = cube(keep_pixels=KEEP_PIXELS, keep_channels=KEEP_CHANNELS)
    expected = np.arange(24.0).reshape(6, 4)[KEEP_PIXELS.ravel()].mean(axis=0)
    np.testing.assert_allclose(img.mean_spectrum().values, np.where(KEEP_CHANNELS, expected, np.nan))
    total = np.arange(24.0).reshape(2, 3, 4)[..., KEEP_CHANNELS].sum(axis=-1)
    np.testing.assert_allclose(img.total_map().values, np.where(KEEP_PIXELS, total, np.nan))
    assert img.total_map().attrs == {"units": "counts"}
    assert img.mean_spectrum().energy.attrs == {"units": "eV"}


def test_nan_is_refused_with_its_place_and_counted():
    values = np.ones((2, 3, 4))
    values[1, 2, 2] = np.nan
    values[1, 2, 3] = np.inf
    img = SpectrumImage.from_array(values, coords={"energy": [528, 529, 531, 535]}, units={"energy": "eV"})
    with pytest.raises(ValueError, match=r"2 of 24 values .* y=1, x=2, energy=531 eV .*preprocess.mask"):
        img.matrix()
    masked = SpectrumImage.from_array(values, keep_pixels=~np.isnan(values).any(axis=-1))
    assert masked.matrix("dense").shape == (5, 4)


def test_large_finite_float32_is_not_taken_for_infinite():
    values = np.full((3, 4), 3e38, np.float32)
    assert SpectrumImage.from_array(values).finite_live().shape == (3, 4)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]]), "astype"),
        (np.array([[1, None]], dtype=object), "object"),
        (np.ones((2, 3), complex), "real part"),
        (np.ones((2, 3), bool), "uint8"),
        (np.ones((2, 0)), "'energy' has no entries"),
        (np.float64(3), "at least one spectrum"),
        (np.ma.masked_equal([[1, 2]], 2), "keep_pixels"),
        (np.ones((2, 3), np.longdouble), "float64"),
    ],
)
def test_arrays_that_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        SpectrumImage.from_array(array)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signal_dims": 0}, "signal_dims=0"),
        ({"signal_dims": 4}, "3 axes"),
        ({"signal_dims": "energy", "dims": ("a", "b", "c")}, "names of these dims"),
        ({"dims": ("y", "x")}, "one name per axis"),
        ({"coords": {"e": [1, 2]}}, "coords for 'e'"),
        ({"coords": {"energy": [1, 2]}}, r"expected \(4,\)"),
        ({"coords": {"energy": [1, 2, 2, 3]}}, "'energy' is not strictly monotonic: 2 at index 1"),
        ({"coords": {"energy": [1, 2, np.nan, 3]}}, "'energy' is nan at index 2"),
        ({"coords": {"energy": ["a", "b", "c", "d"]}}, "give numbers"),
        ({"units": {"energy": "eV"}}, "no coordinate"),
        ({"keep_pixels": np.ones((3, 2), bool)}, r"keep_pixels has shape \(3, 2\); expected \(2, 3\)"),
        ({"keep_pixels": np.ones((2, 3))}, "True = keep"),
        ({"keep_channels": np.zeros(4, bool)}, "use ~mask"),
    ],
)
def test_labels_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpectrumImage.from_array(np.ones((2, 3, 4)), **options)


def test_falling_coordinates_and_other_byte_orders_are_fine():
    img = SpectrumImage.from_array(np.ones((2, 3), ">f4"), coords={"energy": [3, 2, 1]})
    assert img.data.dtype == np.dtype("=f4")
    assert img.data.dtype.isnative


def test_masks_given_as_dataarrays_are_brought_in_order():
    keep = xr.DataArray(KEEP_PIXELS.T, dims=("x", "y"))
    np.testing.assert_array_equal(cube(keep_pixels=keep).keep_pixels.values, KEEP_PIXELS)
    with pytest.raises(ValueError, match="expected"):
        cube(keep_pixels=xr.DataArray(KEEP_PIXELS, dims=("a", "b")))


def test_repr_says_what_it_is():
    text = repr(cube(keep_pixels=KEEP_PIXELS, name="core"))
    assert text.splitlines() == [
        "SpectrumImage 'core' (y: 2, x: 3 | energy: 4) float64 [counts]",
        "  energy: 528 to 535 eV",
        "  left out: 1 of 6 pixels",
    ]


def brute_force_pairs(keep):
    index = {tuple(c): i for i, c in enumerate(np.argwhere(keep))}
    pairs = set()
    for cell, i in index.items():
        for axis in range(keep.ndim):
            other = list(cell)
            other[axis] += 1
            if tuple(other) in index:
                pairs.add((i, index[tuple(other)]))
    return pairs


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=0, max_dims=3, max_side=5)))
def test_neighbours_are_the_touching_live_pixels(keep):
    grid = Grid.of(keep.shape, keep)
    pairs = grid.neighbours()
    assert grid.size == keep.sum()
    assert {tuple(p) for p in pairs.tolist()} == brute_force_pairs(keep)
    assert len(pairs) == len({tuple(p) for p in pairs.tolist()})
    np.testing.assert_array_equal(grid.mask, keep)


def test_equal_grids_share_one_compilation():
    total = jax.jit(lambda grid, x: x * grid.size)
    for _ in range(3):
        assert total(cube(keep_pixels=KEEP_PIXELS).grid, 2) == 10
    assert total._cache_size() == 1
    assert total(cube().grid, 2) == 12


def test_grid_refuses_a_mask_of_another_shape():
    with pytest.raises(ValueError, match="boolean array of shape"):
        Grid.of((2, 3), np.ones((3, 2), bool))


class FakeAxis:
    def __init__(self, name, size, scale, offset, units, index):
        self.name, self.size, self.scale, self.offset, self.units = name, size, scale, offset, units
        self.index_in_array = index


class FakeSignal:
    """The part of HyperSpy's signal that is used: axes in the reverse of the array's order."""

    def __init__(self, data):
        self.data = data
        x = FakeAxis("x", 3, 0.5, 0.0, "nm", 1)
        y = FakeAxis("y", 2, 0.5, 1.0, "nm", 0)
        energy = FakeAxis("Energy loss", 4, 2.0, 500.0, "eV", 2)
        self.axes_manager = type("Manager", (), {"navigation_axes": (x, y), "signal_axes": (energy,)})()


def test_from_hyperspy_keeps_the_order_of_the_array_and_turns_masks_over():
    exclude = ~KEEP_PIXELS.T  # HyperSpy's arrays are in the order (x, y)
    img = SpectrumImage.from_hyperspy(FakeSignal(np.arange(24.0).reshape(2, 3, 4)), navigation_mask=exclude)
    assert img.data.dims == ("y", "x", "Energy loss")
    np.testing.assert_array_equal(img.data.coords["Energy loss"], [500, 502, 504, 506])
    np.testing.assert_array_equal(img.data.coords["y"], [1, 1.5])
    assert img.data.coords["x"].attrs["units"] == "nm"
    np.testing.assert_array_equal(img.keep_pixels.values, KEEP_PIXELS)


def test_hyperspy_and_back(hs):
    img = cube(np.float32, name="core")
    signal = img.to_hyperspy()
    assert signal.axes_manager.signal_axes[0].name == "energy"
    assert signal.axes_manager.navigation_shape == (3, 2)
    back = SpectrumImage.from_hyperspy(signal)
    np.testing.assert_array_equal(back.data.values, img.data.values)
    np.testing.assert_array_equal(back.data.energy, img.data.energy)
    assert back.data.attrs["units"] == "counts"
    assert back.data.name == "core"


def test_a_hyperspy_mask_in_the_order_of_the_array_is_refused():
    with pytest.raises(ValueError, match=r"navigation_mask has shape \(2, 3\).*here \(3, 2\); give .*mask\.T"):
        SpectrumImage.from_hyperspy(FakeSignal(np.ones((2, 3, 4))), navigation_mask=~KEEP_PIXELS)
    with pytest.raises(ValueError, match=r"signal_mask has shape \(5,\)"):
        SpectrumImage.from_hyperspy(FakeSignal(np.ones((2, 3, 4))), signal_mask=np.zeros(5, bool))


def test_masks_of_a_map_that_is_not_square_work_in_hyperspy(hs):
    """As the docstring of `to_hyperspy` says."""
    img = cube(np.float32, keep_pixels=KEEP_PIXELS)
    signal = img.to_hyperspy()
    signal.decomposition(navigation_mask=~img.keep_pixels.values.T, print_info=False)
    left_out = np.isnan(signal.learning_results.loadings).any(axis=1)
    np.testing.assert_array_equal(left_out.reshape(2, 3), ~KEEP_PIXELS)
    keep = np.arange(img.signal_shape[0]) != 1
    signal = img.to_hyperspy()
    signal.decomposition(signal_mask=~keep, print_info=False)
    np.testing.assert_array_equal(np.isnan(signal.learning_results.factors).any(axis=1), ~keep)
    back = SpectrumImage.from_hyperspy(signal, ~img.keep_pixels.values.T, ~keep)
    np.testing.assert_array_equal(back.keep_pixels, KEEP_PIXELS)
    np.testing.assert_array_equal(back.keep_channels, keep)
    as_signal = hs.signals.BaseSignal(~KEEP_PIXELS).T
    np.testing.assert_array_equal(SpectrumImage.from_hyperspy(signal, as_signal).keep_pixels, KEEP_PIXELS)


def test_masks_of_patterns_work_in_hyperspy(hs):
    keep = np.ones((2, 3), bool)
    keep[0, 1] = False
    values = np.random.default_rng(0).random((4, 5, 2, 3))
    img = SpectrumImage.from_array(values, signal_dims=2, keep_channels=keep)
    signal = img.to_hyperspy()
    signal.decomposition(signal_mask=hs.signals.BaseSignal(~img.keep_channels.values), print_info=False)
    np.testing.assert_array_equal(np.isnan(signal.learning_results.factors).any(axis=1).reshape(2, 3), ~keep)
    back = SpectrumImage.from_hyperspy(signal, signal_mask=~keep.T)
    np.testing.assert_array_equal(back.keep_channels, keep)


def test_the_kind_of_a_hyperspy_signal_is_kept(hs):
    signal = cube(np.float32).to_hyperspy()
    signal.metadata.Signal.signal_type = "EELS"
    img = SpectrumImage.from_hyperspy(signal)
    assert img.data.attrs["signal_type"] == "EELS"
    assert img.to_hyperspy().metadata.Signal.signal_type == "EELS"


def test_missing_hyperspy_names_the_remedy():
    try:
        import hyperspy.api  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install 'jaxunmix\\[hyperspy\\]'"):
            cube().to_hyperspy()
    else:
        pytest.skip("HyperSpy is installed")
