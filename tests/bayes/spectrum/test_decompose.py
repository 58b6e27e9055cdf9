"""Decomposition of spectra of known parts, the model in NumPyro, and what is refused."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy.stats import halfnorm, poisson

import jaxunmix as jxu
from jaxunmix._util.statistics import log_mean, spread
from jaxunmix.bayes import Priors, decompose_spectrum, spectrum_model
from jaxunmix.bayes.numpyro_support.path import NumpyroDensity
from jaxunmix.bayes.spectrum import decompose
from jaxunmix.bayes.spectrum.decompose import warn_of_errors
from jaxunmix.bayes.spectrum.evidence import assemble
from jaxunmix.bayes.spectrum.map_estimate import best_fit
from jaxunmix.bayes.spectrum.priors import path
from jaxunmix.bayes.spectrum.result import Exchange, curves
from jaxunmix.bayes.tempering.sequential import smc
from jaxunmix.cli import spectrum as cli_spectrum
from jaxunmix.simulate import xas

pytestmark = pytest.mark.optimised
# Few peaks, much noise. Their number and that of the particles are those of other tests, to share their programs.
QUICK = {"moves": 3}


@pytest.fixture(scope="module")
def found():
    energy, intensity, truth = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.02, channels=60)
    return decompose_spectrum(energy, intensity, range(3), key=jax.random.key(0), **QUICK), truth


def test_the_true_number_of_peaks_is_the_most_probable(found):
    result, _ = found
    assert result.peaks == 1
    assert float(result.table["probability"].sum()) == pytest.approx(1)
    assert float(result.table["free_energy"].sel(peaks=0) - result.table["free_energy"].sel(peaks=1)) > 5


def test_the_largest_number_tried_is_never_called_resolved(found):
    result, _ = found
    up_to_one = dataclasses.replace(result, fits=result.fits[:2])
    assert float(up_to_one.table["probability"].max()) > 0.95
    assert not up_to_one.resolved


def test_an_evidence_within_twice_its_error_of_another_is_not_called_resolved(found):
    result, _ = found

    def told(gap, error, *given):
        own = [{run: (part, 0.5) for run, part in enumerate(each)} for each in given] or [{}, {}, {}]
        pair = [
            dataclasses.replace(result.fits[1], peaks=k, log_evidence=0.0, error=error, shares=each)
            for k, each in zip((1, 2, 3), own, strict=True)
        ]
        fits = (
            dataclasses.replace(pair[0], log_evidence=gap),
            pair[1],
            dataclasses.replace(pair[2], log_evidence=-9.0),
        )
        return dataclasses.replace(result, fits=fits).resolved

    assert told(4.0, 0.1)
    assert not told(4.0, 2.0)
    assert not told(2.0, 0.1)
    # What two numbers of peaks owe to the same runs does not part them.
    assert told(4.0, 2.0, (0.9, 0.1), (0.9, 0.1), (0.9, 0.1))
    assert not told(4.0, 0.1, (0.9, 0.1), (0.1, 0.9), (0.9, 0.1))


def test_noise_and_white_line_are_found_within_their_errors(found):
    result, truth = found
    noise = result.posterior["noise"]
    assert abs(float(noise.mean()) - 0.02) < 3 * float(noise.std())
    low, high = result.interval("E_WL", 0.99)
    assert low < float(truth["E_WL"]) < high
    centre = result.posterior["peak_centre"].isel(peak=0)
    assert abs(float(centre.mean()) - float(truth["peak_centre"][0])) < 4 * float(centre.std())


def test_the_best_fit_is_at_least_as_likely_as_the_truth(found):
    result, truth = found
    residual = result.intensity - xas.spectrum(result.energy, truth)
    noise = float(1 / np.sqrt(np.mean(1 / result.fit.posterior["noise"] ** 2)))
    at_truth = np.sum(-0.5 * (residual / noise) ** 2 - np.log(noise) - 0.5 * np.log(2 * np.pi))
    assert result.fit.log_likelihood > at_truth - 1


def test_parts_add_up_to_the_fit_and_areas_are_those_of_the_curves(found):
    result, _ = found
    fine = np.linspace(7600, 7840, 24_001)
    parts = result.components(fine)
    assert list(parts["component"].values) == ["baseline", "edge", "white line", "peak 1", "fit"]
    np.testing.assert_allclose(parts.sel(component="fit"), parts.isel(component=slice(4)).sum("component"), rtol=1e-6)
    area = np.trapezoid(parts.sel(component="peak 1"), fine)
    assert area == pytest.approx(float(result.map_estimate["peak_area"][0]), rel=1e-3)
    assert result.components().sizes == {"component": 5, "energy": 60}


def test_no_peak_is_above_the_white_line(found):
    result, _ = found
    for parameters in (result.fits[2].posterior, result.fits[2].best):
        line, peaks = parameters["lorentzian"] + parameters["gaussian"], parameters["peak_height"].max("peak")
        assert float((line - peaks).min()) > -1e-3


def test_posterior_is_laid_out_by_chain_draw_and_peak(found):
    result, _ = found
    assert dict(result.posterior.sizes) == {"chain": 1, "draw": 2000, "peak": 1}
    assert "1 peak with probability" in repr(result)


def test_where_importance_sampling_is_not_reliable_the_tempered_runs_tell(monkeypatch):
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(5), peaks=0, noise=0.05, channels=60)
    by_weights = decompose_spectrum(energy, intensity, 0, key=jax.random.key(0), **QUICK).fit
    monkeypatch.setattr(assemble, "RELIABLE", np.inf)
    by_runs = decompose_spectrum(energy, intensity, 0, key=jax.random.key(0), **QUICK).fit
    np.testing.assert_array_equal(by_weights.run_log_evidence, by_runs.run_log_evidence)
    assert by_weights.reached > 0.5
    assert by_runs.reached == 0
    assert by_runs.log_evidence == pytest.approx(log_mean(by_runs.run_log_evidence))
    assert by_runs.error == pytest.approx(spread(by_runs.run_log_evidence))
    apart = by_weights.log_evidence - by_runs.log_evidence
    assert 0 < abs(apart) < 3 * by_runs.error + 0.1
    np.testing.assert_allclose(by_runs.free_energy - by_weights.free_energy, apart)


def with_draws(result, draws):
    fits = tuple(dataclasses.replace(f, posterior=f.posterior.assign(E_WL=("draw", draws))) for f in result.fits)
    return dataclasses.replace(result, fits=fits)


def test_a_parameter_in_one_place_has_its_interval_there(found):
    result, _ = found
    places = result.places("E_WL", 0.8)
    assert places.sizes == {"place": 1}
    assert float(places["share"][0]) == 1
    np.testing.assert_allclose([*places["low"], *places["high"]], result.interval("E_WL", 0.8))
    assert f"E_WL {result.interval()[0]:.3f} to {result.interval()[1]:.3f} eV)" in repr(result)
    with pytest.raises(ValueError, match="peak_centre has a value for each peak"):
        result.places("peak_centre")


def test_two_places_are_told(found):
    result = with_draws(found[0], np.linspace([7718, 7722], [7719, 7722.1], 1000).ravel())
    assert "E_WL 7718.050 to 7718.950 eV (0.50) or 7722.005 to 7722.095 eV (0.50))" in repr(result)


def test_the_command_line_tells_both_places_to_two_digits_of_their_intervals(found, tmp_path, capsys):
    cli_spectrum.written(tmp_path, with_draws(found[0], np.linspace([7718, 7722], [7719, 7722.1], 1000).ravel()))
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("white line"))
    expected = ["7718.50 eV with probability 0.50 +-, 90 % between 7718.05 and 7718.95"]
    expected += ["7722.050 eV with probability 0.50 +-, 90 % between 7722.005 and 7722.095"]
    errors = [float(re.search(r"\+- (0\.\d\d)", line).group(1)) for line in lines[at : at + 2]]
    assert sorted(re.sub(r"\+- 0\.\d\d", "+-", line[25:]) for line in lines[at : at + 2]) == expected
    # Half of as many draws as are independent and picked.
    assert 0 < errors[0] == errors[1] < 0.1
    assert lines[at + 1].startswith("  or ")
    assert "probability" not in lines[at + 2]


def test_free_energy_over_noise_is_least_near_the_noise(found):
    result, _ = found
    fit = result.fit
    assert np.all(np.diff(fit.noise) > 0)
    assert 0.6 < fit.noise[np.argmin(fit.free_energy)] / 0.02 < 1.6


@pytest.mark.slow
def test_replica_exchange_from_the_particles_gives_the_same_free_energy():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=1, noise=0.02, channels=60)
    result = decompose_spectrum(energy, intensity, [1], key=jax.random.key(0), exchange=300)
    seen, fit = result.exchange, result.fit
    assert seen.round_trips >= 10
    assert seen.free_energy == pytest.approx(seen.of_particles, abs=3 * np.hypot(seen.error, fit.error))
    assert np.isinf(seen.noise[0])
    assert seen.noise[-1] == pytest.approx(fit.noise[np.argmin(fit.free_energy)])
    assert len(seen.flow) == len(seen.noise) == len(seen.rejection) + 1
    assert seen.flow[0] == 1
    assert seen.flow[-1] == 0


def test_runs_that_disagree_are_told(found):
    result, _ = found
    apart = dataclasses.replace(result.fits[1], error=6.0)
    with pytest.warns(UserWarning, match="runs disagree.* 6.0 at K = 1;"):
        warn_of_errors(dataclasses.replace(result, fits=(result.fits[0], apart)))


def test_what_replica_exchange_warns_of_is_told(found):
    result, _ = found
    told = ("only 2 round trips",)
    exchange = Exchange(*(np.zeros(3) for _ in range(2)), 2, np.zeros(2), 1.0, 0.1, 1.0, told)
    with pytest.warns(UserWarning, match="replica exchange: only 2 round trips"):
        warn_of_errors(dataclasses.replace(result, exchange=exchange))


def test_several_spectra_are_compared():
    one = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=0, noise=0.02, channels=60)
    shifted = np.interp(one[0] - 0.6, one[0], one[1])
    both = decompose_spectrum(one[0], np.stack([one[1], shifted]), 0, key=jax.random.key(1), **QUICK)
    apart = both.difference(0, 1)
    assert len(both) == 2
    assert both.table.sizes == {"spectrum": 2, "peaks": 1}
    assert apart["probability"] > 0.99
    assert apart["low"] < 0.6 < apart["high"]
    above = both.above()
    assert above[1, 0] == pytest.approx(apart["probability"], abs=0.02)
    np.testing.assert_allclose(above + above.T, 1)
    np.testing.assert_array_equal(np.diag(above), 0.5)


def test_each_spectrum_may_have_priors_of_its_own():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=0, noise=0.02, channels=60)
    shifted = np.interp(energy - 0.6, energy, intensity)
    tops = [(float(energy[np.argmax(rows)]), 0.5) for rows in (intensity, shifted)]
    priors = [Priors(white_line=top) for top in tops]
    both = decompose_spectrum(energy, np.stack([intensity, shifted]), 0, priors=priors, key=jax.random.key(1), **QUICK)
    assert [each.priors.white_line for each in both.spectra] == tops
    with pytest.raises(ValueError, match="2 priors for 1 spectra; give one for all, or one for each"):
        decompose_spectrum(energy, intensity, 0, priors=priors, key=jax.random.key(1))


def test_draws_are_in_no_order(found):
    result, _ = found
    # In the order of the runs and their levels the noise falls draw by draw.
    noise = result.fit.posterior["noise"].to_numpy()
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.1


@pytest.mark.slow
def test_a_known_noise_gives_the_evidence_of_the_model_with_every_parameter_sampled():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(5), peaks=0, noise=0.15, channels=25)
    collapsed = decompose_spectrum(energy, intensity, 0, 0.15, key=jax.random.key(0), particles=512, runs=4)
    priors = Priors().complete(energy, intensity)
    density = NumpyroDensity(spectrum_model, (energy, intensity, 0, 0.15, priors))
    full = smc(density, key=jax.random.key(1), runs=4, particles=1024, moves=4).log_evidence[:, -1]
    error = np.hypot(collapsed.fits[0].error, np.std(full, ddof=1) / 2)
    assert error < 0.3
    assert collapsed.fits[0].log_evidence == pytest.approx(np.logaddexp.reduce(full) - np.log(4), abs=3 * error + 0.05)


def test_spectra_of_near_lengths_share_compiled_programs():
    lengths = []
    for channels in (41, 50, 51):
        energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(5), peaks=0, channels=channels)
        found = path(energy, intensity, 1, None, Priors().complete(energy, intensity))
        assert float(jnp.sum(found.weight)) == channels
        lengths.append(len(found.energy))
    assert lengths == [50, 50, 64]


def test_the_prior_of_the_noise_ends_above_as_well(found):
    wide, _ = found
    energy, intensity, own = wide.energy, wide.intensity, wide.fits[1]
    low, high = wide.priors.noise
    most = 0.9 * float(own.noise[np.argmin(own.free_energy)])
    priors = dataclasses.replace(wide.priors, noise=(low, most))
    cut = decompose_spectrum(energy, intensity, 1, priors=priors, key=jax.random.key(0), **QUICK).fit
    assert float(cut.posterior["noise"].max()) <= most
    assert cut.noise[-1] == pytest.approx(most)
    # The part of the integral over ln sigma that is left, and the prior that is denser there.
    grid, part = np.log(own.noise), np.exp(-own.free_energy + own.free_energy.min())
    below = np.trapezoid(np.where(own.noise <= most, part, 0), grid) / np.trapezoid(part, grid)
    expected = own.log_evidence + np.log(below) + np.log(np.log(high / low) / np.log(most / low))
    assert cut.log_evidence == pytest.approx(expected, abs=0.1)


def test_few_counts_are_fitted_where_their_likelihood_is_largest():
    energy, expected, _ = jxu.simulate.edge_spectrum(jax.random.key(7), peaks=1, noise=1e-9, channels=60)
    rng, slope = np.random.default_rng(0), 6 * np.maximum(expected, 0) + 3
    counts = rng.poisson(slope).astype(float)
    with jax.enable_x64(True):
        d = path(np.asarray(energy), counts, 1, "poisson", Priors().complete(np.asarray(energy), counts))
        z = np.asarray(d.sample(jax.random.key(0), 200))
        heights = np.asarray(d.draw(d.evaluate(jnp.asarray(z)), jnp.ones(200)))
        found, value = best_fit(d, z, heights, np.ones(200), 1)
    fitted = np.sum([np.asarray(part) for part in curves(energy, found, "arctangent").values()], axis=0)
    # The likelihood of counts is largest where the sums agree, but for the priors of the heights.
    assert np.sum(fitted) == pytest.approx(np.sum(counts), rel=0.01)
    assert value > poisson.logpmf(counts, slope).sum()


@pytest.mark.slow
def test_counts_are_decomposed_under_poisson_noise():
    energy, expected, truth = jxu.simulate.edge_spectrum(jax.random.key(7), peaks=1, noise=1e-9, channels=60)
    counts = np.random.default_rng(0).poisson(400 * np.maximum(expected, 0)).astype(float)
    result = decompose_spectrum(energy, counts, [1], "poisson", key=jax.random.key(0), **QUICK)
    low, high = result.interval("E_WL", 0.99)
    assert low < float(truth["E_WL"]) < high
    step = result.posterior["step"]
    assert abs(float(step.mean()) - 400) < 4 * float(step.std())


def test_the_numpyro_model_simulates_every_part_within_its_priors():
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(5), peaks=2, noise=0.1, channels=40)
    priors = Priors().complete(energy, intensity)
    with handlers.seed(rng_seed=0):
        sites = handlers.trace(spectrum_model).get_trace(energy, None, 2, 0.1, priors)
    values = {name: site["value"] for name, site in sites.items() if site["type"] == "sample" and name != "intensity"}
    total, _ = log_density(spectrum_model, (energy, intensity, 2, 0.1, priors), {}, values)
    assert np.isfinite(float(total))
    assert values["peak_centre"].shape == (2,)
    assert np.all((values["peak_centre"] >= 7700) & (values["peak_centre"] <= 7740))
    assert np.all((values["peak_width"] >= priors.peak_width[0]) & (values["peak_width"] <= priors.peak_width[1]))
    assert sites["intensity"]["value"].shape == (40,)


@pytest.mark.parametrize("highest", [True, False])
def test_the_numpyro_model_has_half_normal_heights_with_the_white_line_the_highest_or_not(highest):
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(5), peaks=2, noise=0.1, channels=40)
    priors = Priors(heights=(1.0, 0.6, 0.7, 0.8), highest=highest).complete(energy, intensity)
    with handlers.seed(rng_seed=0):
        sites = handlers.trace(spectrum_model).get_trace(energy, intensity, 2, 0.1, priors)
    names = ("lorentzian", "gaussian", "peak_height", "highest")
    found = sum(float(jnp.sum(sites[n]["fn"].log_prob(sites[n]["value"]))) for n in names if n in sites)
    values = [np.asarray(sites[name]["value"]) for name in names[:3]]
    heights = np.r_[values[0], values[1], values[2]]
    expected = np.sum(halfnorm.logpdf(heights, scale=[0.6, 0.7, 0.8, 0.8])) - priors.log_share(2)
    assert found == pytest.approx(expected, abs=1e-4)
    assert ("highest" in sites) == highest
    assert not highest or values[2].max() <= values[0] + values[1]


ENERGY, LINE = np.linspace(7700.0, 7740.0, 30), np.linspace(0.0, 1.0, 30)
BAD = {
    "energies must increase": (ENERGY[::-1], LINE, {}),
    "energies must increase, but channel 4": (np.r_[ENERGY[:4], ENERGY[3:-1]], LINE, {}),
    "energy is not finite": (np.r_[ENERGY[:-1], np.nan], LINE, {}),
    "intensity is not finite at channel 0": (ENERGY, np.r_[np.nan, LINE[1:]], {}),
    "is 1 in every channel": (ENERGY, np.ones(30), {}),
    "ask for at most 7 peaks": (ENERGY, LINE, {"peaks": range(9)}),
    "peaks must be 0 or more, got -1": (ENERGY, LINE, {"peaks": [-1, 2]}),
    "peaks must be a whole number, got True": (ENERGY, LINE, {"peaks": True}),
    "leave no widths between two channels and a quarter": (ENERGY[:9], LINE[:9], {"peaks": 0}),
    "peaks is empty": (ENERGY, LINE, {"peaks": []}),
    "runs must be 2 or more, got 1": (ENERGY, LINE, {"runs": 1}),
    "particles must be 2 or more, got 0": (ENERGY, LINE, {"particles": 0}),
    "moves must be 1 or more, got 0": (ENERGY, LINE, {"moves": 0}),
    "exchange must be 0, or 20 sweeps or more, got 5": (ENERGY, LINE, {"exchange": 5}),
    "exchange must be 0 or more, got -3": (ENERGY, LINE, {"exchange": -3}),
    "noise has shape \\(29,\\)": (ENERGY, LINE, {"noise": np.ones(29)}),
    "must be \\(channels,\\)": (ENERGY, LINE[:-1], {}),
    "noise must be positive": (ENERGY, LINE, {"noise": 0.0}),
    "Poisson noise needs counts": (ENERGY, LINE, {"noise": "poisson"}),
    "noise must be None": (ENERGY, LINE, {"noise": "normal"}),
    "edge must be one of arctangent, erf": (ENERGY, LINE, {"edge": "sigmoid"}),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    energy, intensity, options = BAD[message]
    with pytest.raises(ValueError, match=message):
        decompose_spectrum(energy, intensity, key=jax.random.key(0), **options)


def test_a_probability_that_no_interval_can_hold_is_refused(found):
    result, _ = found
    with pytest.raises(ValueError, match="prob must be above 0 and less than 1, got 90"):
        result.interval("E_WL", 90.0)
    with pytest.raises(ValueError, match="prob must be above 0 and less than 1, got 0"):
        result.places("E_WL", 0.0)
    with pytest.raises(ValueError, match="prob must be above 0 and at most"):
        result.region("E_WL", 0.99)


@pytest.mark.parametrize(
    "options",
    [
        {"peak": (3.0, 3.0)},
        {"edge_width": (0.0, 1.0)},
        {"white_line": (7710.0, 0.0)},
        {"white_line": (float("nan"), 1.0)},
        {"heights": (1, 1, -1, 1)},
        {"noise": (1e-3, float("inf"))},
        {"edge": float("inf")},
    ],
)
def test_priors_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="Priors"):
        Priors(**options)


@pytest.mark.parametrize("options", [{"peaks": -1}, {"noise": 0.0}, {"window": (2.0, 1.0)}, {"channels": 1}])
def test_simulated_spectra_refuse_what_makes_no_sense(options):
    with pytest.raises(ValueError, match="edge_spectrum"):
        jxu.simulate.edge_spectrum(jax.random.key(0), **options)


@pytest.mark.parametrize(
    ("peaks", "particles", "expected"), [(5, 700, 700), (8, 700, 704), (8, 100, 100), (14, None, 640)]
)
def test_particles_are_shared_out_evenly_between_strata(peaks, particles, expected):
    shared = decompose._shared(peaks, 4, particles)
    assert shared["particles"] == expected
    assert shared["strata"] == (8 if peaks > 5 and expected > 500 else 1)
