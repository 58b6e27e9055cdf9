"""Births and deaths of peaks against evidences from draws of the prior, and against each other."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix.bayes import Priors
from jaxunmix.bayes.spectrum.evidence import birth_death
from jaxunmix.bayes.spectrum.priors import path

POINTS = 4_000


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def pair(peaks, highest=True):
    """The densities of K peaks and of one less, with as many slots."""
    energy, intensity, _ = jxu.simulate.edge_spectrum(jax.random.key(3), peaks=2, noise=0.02, channels=30)
    energy, intensity = np.asarray(energy, float), np.asarray(intensity, float)
    priors = Priors(highest=highest).complete(energy, intensity)
    more, fewer = (path(energy, intensity, k, None, priors) for k in (peaks, peaks - 1))
    return more, dataclasses.replace(more, live=(jnp.arange(more.slots) < peaks - 1).astype(float), prior=fewer.prior)


@eqx.filter_jit
def log_density(density, z, beta):
    return density.log_density(density.evaluate(z), beta)


def mean_of(log_values):
    """Ln of the mean, and its relative error."""
    values = np.exp(log_values - np.max(log_values))
    return np.log(values.mean()) + np.max(log_values), values.std() / values.mean() / np.sqrt(len(values))


def weighted(values, log_w):
    """The weighted mean and its standard error."""
    share = np.exp(log_w - np.max(log_w))
    share /= share.sum()
    mean = share @ values
    return mean, np.sqrt(np.sum((share * (values - mean)) ** 2))


@pytest.mark.parametrize(
    ("peaks", "highest", "b"), [(2, True, 20.0), pytest.param(3, False, 5.0, marks=pytest.mark.slow)]
)
def test_weights_of_births_and_of_deaths_carry_one_evidence_to_the_other(peaks, highest, b):
    more, fewer = pair(peaks, highest)
    beta, keys = jnp.full(POINTS, b), jax.random.split(jax.random.key(peaks), 4)
    start = [d.sample(key, POINTS) for d, key in zip((more, fewer), keys, strict=False)]
    # The draws are from the density at b = 0.
    log_q = [
        np.asarray(log_density(d, z, beta) - log_density(d, z, 0 * beta))
        for d, z in zip((more, fewer), start, strict=True)
    ]
    log_z = [mean_of(values) for values in log_q]
    # Weights of the draws of the prior, and of what is made of them.
    born = birth_death.born(more, fewer, start[1], beta, keys[2])
    died = birth_death.died(more, fewer, start[0], beta, keys[3])
    for own, other, live, (z, log_w) in ((1, 0, peaks, born), (0, 1, peaks - 1, died)):
        log_w = log_q[own] + np.asarray(log_w)
        (value, error), (found, own_error) = log_z[other], mean_of(log_w)
        assert own_error < 0.1
        assert found == pytest.approx(value, abs=4 * np.hypot(error, own_error) + 1e-9)
        # What they are draws of: by the density itself, the white line, a peak, and the u of its height.
        density = (more, fewer)[other]
        columns = [0, 4, 4 + more.slots, more.size - more.slots][: 4 if live else 1]
        values = [
            np.column_stack([log_density(density, points, beta), points[:, np.array(columns)]])
            for points in (start[other], z)
        ]
        for of_start, of_made in zip(*(each.T for each in values), strict=True):
            (mean, sd), (own_mean, own_sd) = weighted(of_start, log_q[other]), weighted(of_made, log_w)
            assert own_mean == pytest.approx(mean, abs=4 * np.hypot(sd, own_sd))
