import io
import json

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from jaxunmix import simulate
from jaxunmix._util import blocks
from jaxunmix.data.image import SpectrumImage
from jaxunmix.report import plots
from jaxunmix.report.plots.axes import COLOURS, picture_scale
from jaxunmix.report.plots.factors import _residual_profiles

KEY = jax.random.key(0)


def dataset(img, maps, spectra, **variables):
    restarts = {
        "trace": xr.DataArray([5.0, 2.0, 1.0], dims="check", coords={"step": ("check", [0, 10, 20])}),
        "restart_objective": ("restart", np.array([1.02, 1.0, 1.0005])),
        "restart_steps": ("restart", np.array([20, 20, 20])),
        "restart_status": ("restart", np.array(["CONVERGED", "CONVERGED", "MAX_STEPS"])),
    }
    parts = {"maps": img.to_maps(maps), "spectra": img.to_spectra(spectra)}
    return xr.Dataset({**parts, **restarts, **variables})


def of_shape(navigation, signal, components=2, seed=0):
    """A result and its image without noise, for any numbers of dims."""
    rng = np.random.default_rng(seed)
    maps = rng.random((int(np.prod(navigation)), components))
    spectra = rng.random((components, int(np.prod(signal))))
    array = (maps @ spectra).reshape(*navigation, *signal)
    img = SpectrumImage.from_array(array, signal_dims=len(signal))
    return dataset(img, maps, spectra), img, maps, spectra


def png_size(figure):
    """Draws the figure, so that a mistake that only shows then is found."""
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return len(buffer.getvalue())


def texts(figure):
    """All text of the figure, in axes and subfigures too."""
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


@pytest.mark.parametrize("navigation", [(), (7,), (4, 5), (1, 6), (3, 4, 5)])
@pytest.mark.parametrize("signal", [(9,), (6, 7), (1,)])
def test_every_figure_takes_every_number_of_dims(navigation, signal):
    result, img, maps, spectra = of_shape(navigation, signal)
    for figure in (
        plots.maps(result),
        plots.spectra(result),
        plots.overview(result, img),
        plots.residuals(result, img),
        plots.comparison(result, maps, spectra),
    ):
        assert png_size(figure) > 0


def test_figures_of_a_real_size_are_small_files():
    img, truth = simulate.eels_oxides(KEY, shape=(48, 48))
    result = dataset(img, truth.maps, truth.spectra)
    for figure in (plots.overview(result, img), plots.residuals(result, img), plots.convergence(result)):
        assert png_size(figure) < 150_000


def test_nothing_global_is_touched():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    result, img, *_ = of_shape((4, 5), (9,))
    plots.overview(result, img)
    assert pyplot.get_fignums() == []


def test_a_component_has_one_colour_in_maps_and_spectra():
    result, *_ = of_shape((4, 5), (9,), components=3)
    titles = [axes.title for axes in plots.maps(result).axes if axes.get_title()]
    lines = [t for t in plots.spectra(result).axes[0].texts if t.get_text().startswith("component")]
    assert [t.get_color() for t in titles] == [t.get_color() for t in lines] == list(COLOURS[:3])


@pytest.mark.parametrize("stacked", [True, False])
def test_the_range_of_the_alternatives_is_a_band(stacked):
    """From the least to the greatest of the best and the alternatives, each lane to its own maximum."""
    result, _, _, spectra = of_shape((4, 5), (9,))
    others = np.stack([0.5 * spectra, 2 * spectra])
    more = result.assign(alternative_spectra=(("alternative", *result["spectra"].dims), others))
    assert not plots.spectra(result, stacked).axes[0].collections
    bands = plots.spectra(more, stacked).axes[0].collections
    assert len(bands) == 2
    heights = bands[1].get_paths()[0].vertices[:, 1]
    least, most = 0.5 * spectra[1].min(), 2 * spectra[1].max()
    expected = (least / most, 1.0) if stacked else (least, most)
    np.testing.assert_allclose((heights.min(), heights.max()), expected)
    patterns, *_ = of_shape((4, 5), (6, 7))
    seen = np.stack([patterns["spectra"].values] * 2)
    assert png_size(plots.spectra(patterns.assign(alternative_spectra=(("a", *patterns["spectra"].dims), seen))))


def test_many_components_are_drawn_in_even_rows():
    result, *_ = of_shape((4, 5), (9,), components=9)
    titled = [axes for axes in plots.maps(result).axes if axes.get_title()]
    assert len(titled) == 9
    assert titled[0].get_subplotspec().get_gridspec().ncols == 3


def test_masked_pixels_and_channels_are_left_out():
    rng = np.random.default_rng(1)
    pixels, channels = np.ones((4, 5), bool), np.ones(9, bool)
    pixels[1, 2] = channels[3] = False
    maps, spectra = rng.random((20, 2)), rng.random((2, 9))
    array = (maps @ spectra).reshape(4, 5, 9)
    array[1, 2], array[..., 3] = 1e9, -1e9  # must not be looked at
    img = SpectrumImage.from_array(array, keep_pixels=pixels, keep_channels=channels)
    live = maps[pixels.ravel()], spectra[:, channels]
    result = dataset(img, *live)
    per_pixel, mean, rms = _residual_profiles(result, img)
    for profile, keep in ((per_pixel, pixels), (mean, channels), (rms, channels)):
        assert np.array_equal(np.isnan(profile.values[0]), ~keep)
        assert np.allclose(profile.values[0][keep], 0, atol=1e-12)
    png_size(plots.residuals(result, img))
    png_size(plots.comparison(result, *live))


def test_residual_profiles_have_their_closed_form(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 20)  # several blocks
    result, img, maps, spectra = of_shape((4, 5), (9,))
    rest = np.random.default_rng(3).normal(size=(20, 9))
    off = SpectrumImage.from_array((maps @ spectra + rest).reshape(4, 5, 9))
    per_pixel, mean, rms = _residual_profiles(result, off)
    assert np.allclose(per_pixel.values.ravel(), np.sqrt(np.mean(rest**2, axis=1)))
    assert np.allclose(mean.values.ravel(), rest.mean(axis=0))
    assert np.allclose(rms.values.ravel(), np.sqrt(np.mean(rest**2, axis=0)))
    assert png_size(plots.residuals(result, img)) > 0


def test_scale_bar_is_round_and_short():
    img, truth = simulate.edx_phases(KEY, shape=(20, 30), channels=40, pixel_nm=2.0)
    figure = plots.maps(dataset(img, truth.maps, truth.spectra))
    assert "20 nm" in texts(figure)  # at most a third of 60 nm


def test_without_units_the_axes_are_named():
    result, *_ = of_shape((4, 5), (9,))
    assert "x (5 pixels)" in texts(plots.maps(result))


def test_axis_label_has_the_unit():
    img, truth = simulate.line_scan(KEY, length=10, channels=40)
    result = dataset(img, truth.maps, truth.spectra)
    assert plots.spectra(result, stacked=False).axes[0].get_xlabel() == "energy (eV)"
    assert plots.maps(result).axes[0].get_xlabel() == "x (nm)"


def test_poisson_noise_is_drawn_for_counts_only():
    img, truth = simulate.line_scan(KEY, length=10, channels=40)
    assert "Poisson noise" in texts(plots.residuals(dataset(img, truth.maps, truth.spectra), img))
    result, other, *_ = of_shape((4, 5), (9,))
    assert "Poisson noise" not in texts(plots.residuals(result, other))


def test_title_says_which_slice_is_shown():
    result, *_ = of_shape((5, 3, 4), (9,))
    assert any("middle slice, z index 2" in text for text in texts(plots.maps(result)))


def test_comparison_names_the_match_and_its_angle():
    result, _, maps, spectra = of_shape((4, 5), (9,))
    found = texts(plots.comparison(result, maps[:, ::-1], spectra[::-1], ["iron", "zinc"]))
    assert "iron: component 1, 0.0°" in found
    assert "zinc: component 0, 0.0°" in found


def test_comparison_says_what_has_no_estimate():
    result, _, maps, spectra = of_shape((4, 5), (9,))
    more = np.random.default_rng(5).random
    figure = plots.comparison(result, np.hstack([maps, more((20, 1))]), np.vstack([spectra, more((1, 9))]))
    assert "truth 2: no estimate" in texts(figure)
    png_size(figure)


def test_restarts_are_sorted_and_relative_to_the_best():
    result, *_ = of_shape((4, 5), (9,))
    lines = {line.get_label(): line.get_xydata() for line in plots.restarts(result).axes[0].lines}
    assert np.allclose(lines["converged"], [[3, 2.0], [1, 0.0]])
    assert np.allclose(lines["max steps"], [[2, 0.05]])


def test_restarts_that_failed_are_counted():
    result, *_ = of_shape((4, 5), (9,))
    result["restart_objective"][0] = np.nan
    assert "1 not finite, not shown" in texts(plots.restarts(result))


@pytest.mark.parametrize("objectives", [[np.nan, np.nan], [0.0, 0.0], [-5.0, -4.0]])
def test_odd_objectives_are_drawn(objectives):
    result, *_ = of_shape((4, 5), (9,))
    result = result.drop_dims("restart").assign(restart_objective=("restart", objectives))
    png_size(plots.restarts(result))
    png_size(plots.convergence(result))


def test_convergence_without_restarts_or_step_numbers():
    result, *_ = of_shape((4, 5), (9,))
    bare = result.drop_dims("restart").drop_vars("step")
    bare["trace"][1] = np.nan
    assert len(plots.convergence(bare).axes) == 1
    png_size(plots.convergence(bare))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_zero_signed_and_empty_values_are_drawn(value):
    result, *_ = of_shape((4, 5), (6, 7))
    result["maps"][0] = value
    result["spectra"][1] = value
    png_size(plots.overview(result))


def test_text_from_a_file_is_not_read_as_mathematics():
    result, *_ = of_shape((4, 5), (9,))
    bad = r"$\frac$"
    result = result.rename(x=bad) if "x" in result.dims else result
    result = result.assign_coords(component=["$a", "b$^"], energy=np.arange(9.0))
    result["energy"].attrs["units"] = "$_{"
    png_size(plots.overview(result))


def test_hot_pixels_do_not_set_the_scale():
    values = np.ones((50, 50))
    values[0, 0] = 1000.0
    norm, _, extend = picture_scale(values, log=False)
    assert (norm.vmax, extend) == (1.0, "max")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda result, img: plots.maps(result.drop_vars("maps")), "no 'maps'"),
        (lambda result, img: plots.spectra(result.transpose("energy", ...)), "'component' first"),
        (lambda result, img: plots.convergence(result.drop_vars("trace")), "no 'trace'"),
        (lambda result, img: plots.restarts(result.drop_dims("restart")), "restart"),
        (lambda result, img: plots.residuals(result.isel(x=slice(2)), img), "the image that was fitted"),
        (lambda result, img: plots.comparison(result, np.ones((3, 2)), np.ones((2, 9))), "truth_maps"),
        (lambda result, img: plots.comparison(result, np.ones((20, 2)), np.ones((2, 8))), "truth_spectra"),
        (lambda result, img: plots.comparison(result, np.ones((20, 3)), np.ones((2, 9))), "3, 2"),
    ],
)
def test_bad_input_is_named(call, message):
    result, img, *_ = of_shape((4, 5), (9,))
    with pytest.raises(ValueError, match=message):
        call(result, img)


def scan_table(ranks=range(2, 8), restarts=4, decided=True, **values):
    """The table of a scan: a curve that bends at 3, restarts that scatter, and criteria."""
    ranks = np.asarray(ranks)
    best = np.where(ranks < 3, 10.0, 1.0) - 0.01 * ranks
    each = best[:, None] * (1 + 0.002 * np.arange(restarts))
    criteria = {"BiCrossValidation": best + 0.02 * ranks, "Elbow": -best, "Crossing": best - 1, "Mine": best} | values
    reasons = ("held-out residual least at 3, 0.4 standard errors below that of 4: not told apart", "$x$", "b", "c")
    decision = [
        {"name": name, "best": 3 if decided else None, "margin": None, "reason": reason}
        for name, reason in zip(criteria, reasons, strict=True)
    ]
    variables = {name: ("rank", curve) for name, curve in criteria.items()}
    variables |= {"mse": (("rank", "restart"), each), "objective": (("rank", "restart"), 50 * each)}
    variables |= {"status": (("rank", "restart"), np.full(each.shape, "CONVERGED"))}
    variables |= {"best_mse": ("rank", best), "pca_mse": ("rank", best * np.where(ranks > 3, 0.99, 1.01))}
    variables["BiCrossValidation_error"] = ("rank", np.where(ranks == 3, 0.0, 0.01))
    return xr.Dataset(variables, {"rank": ranks}, {"decision": json.dumps(decision), "loss": "Frobenius"})


def test_rank_has_a_panel_for_each_criterion_with_its_choice_and_reason():
    figure = plots.rank(scan_table())
    assert png_size(figure) < 150_000
    found = texts(figure)
    for name in ("BiCrossValidation", "Elbow", "Crossing", "Mine"):
        assert f"{name}: K = 3" in found
    assert "standard errors" in " ".join(found)
    assert len(figure.axes) == 4
    assert figure.axes[0].get_ylabel() == "held-out mean square"
    assert figure.axes[3].get_ylabel() == "Mine"


def test_rank_cuts_off_what_would_hide_the_choice():
    axes = plots.rank(scan_table()).axes[0]
    low, high = axes.get_ylim()
    assert low < 1.03 < 1.08 < high < 10
    # Triangles at the edge stand for the rank whose value is not shown.
    edge = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "^"]
    assert edge == [[2]]


def test_rank_says_what_is_undecided():
    figure = plots.rank(scan_table(decided=False))
    assert "Elbow: undecided" in texts(figure)
    png_size(figure)


@pytest.mark.parametrize("ranks", [[3], [3, 4], [2, 3, 9]])
@pytest.mark.parametrize("value", [0.0, np.nan, None])
def test_few_ranks_and_odd_values_are_drawn(ranks, value):
    table = scan_table(ranks)
    if value is not None:
        table["Elbow"][:] = table["BiCrossValidation"][:] = value
    png_size(plots.rank(table))
    png_size(plots.mse(table))


def test_mse_shows_every_restart_pca_and_the_clues():
    table = scan_table()
    figure = plots.mse(table)
    assert png_size(figure) < 150_000
    left, right = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in left.lines}
    assert sorted(lines["every restart"][:, 1]) == sorted(table["mse"].values.ravel())
    assert np.array_equal(lines["the best"][:, 1], table["best_mse"])
    assert np.array_equal(lines["PCA"][:, 1], table["pca_mse"])
    assert np.array_equal(lines["crossing: K = 3"][:, 0], [3, 3])
    assert left.get_yscale() == "log"
    assert np.unique(right.lines[0].get_ydata().round(3)).tolist() == [0, 0.2, 0.4, 0.6]


def test_mse_of_another_loss_has_no_pca():
    figure = plots.mse(scan_table().assign_attrs(loss="Poisson"))
    assert "PCA" not in texts(figure)
    assert "mean divergence, twice" in texts(figure)


def test_mse_leaves_out_restarts_that_broke():
    table = scan_table()
    table["status"][1, 2] = "NON_FINITE"
    table["mse"][1, 2] = table["objective"][1, 2] = np.inf
    figure = plots.mse(table)
    assert "1 not finite, not shown" in texts(figure)
    png_size(figure)


def test_clues_at_one_rank_share_a_line():
    table = scan_table()
    verdicts = [{"name": n, "best": 3, "margin": None, "reason": ""} for n in ("Crossing", "Plateau")]
    figure = plots.mse(table.assign_attrs(decision=json.dumps(verdicts)))
    assert "crossing and plateau: K = 3" in texts(figure)


def test_a_table_without_its_decision_is_refused():
    table = scan_table()
    del table.attrs["decision"]
    with pytest.raises(ValueError, match=r"give the Scan itself, or rank\.nc"):
        plots.rank(table)
