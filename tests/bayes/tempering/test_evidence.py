"""Free energies against known ones, their errors, and the warnings where they may be wrong."""

import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS

from jaxunmix.bayes.tempering.evidence import diagnose, free_energy
from jaxunmix.bayes.tempering.exchange import Record

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from evidence import CASES, linear_gaussian, row


def ladder(seed=0, chains=4, sweeps=400, shift=0.0, late=0.0, rungs=6):
    """A record of exact samples: x_b normal with variance 1 / (1 + 99 b), so that ln Z = -ln(100) / 2."""
    rng = np.random.default_rng(seed)
    betas = np.concatenate([[0], np.geomspace(0.01, 1, rungs - 1)]) if rungs > 2 else np.array([0.0, 1.0])
    energy = -99 / 2 * rng.normal(size=(chains, sweeps, rungs)) ** 2 / (1 + 99 * betas)
    energy = energy + shift * np.arange(chains)[:, None, None]
    energy = energy + late * (np.arange(sweeps) >= sweeps // 2)[:, None]
    step = np.diff(betas)
    up, down = energy[..., :-1] * step, -energy[..., 1:] * step
    replica = np.broadcast_to((np.arange(sweeps)[:, None] + np.arange(rungs)) % rungs, (chains, sweeps, rungs))
    rejection = 1 - np.exp(np.minimum(up + down, 0))
    lead = (chains, sweeps)
    return Record(
        betas=np.broadcast_to(betas, (*lead, rungs)),
        up=up,
        down=down,
        slope=energy,
        rejection=rejection,
        replica=replica,
        cold=np.zeros((*lead, 1)),
        log_density=energy[..., -1],
        acceptance=np.ones((*lead, rungs)),
    )


def test_every_method_agrees_with_the_known_evidence():
    found = free_energy(ladder())
    assert set(found.estimates) == {"bar", "forward", "backward", "integration"}
    for method, value in found.estimates.items():
        assert value == pytest.approx(np.log(100) / 2, abs=0.15), method
    assert found.warnings == ()
    assert 0.005 < found.error < 0.1


def test_the_error_covers():
    runs = [free_energy(ladder(seed), warn=False) for seed in range(20)]
    z = [(run.value - np.log(100) / 2) / run.error for run in runs]
    assert 0.4 < np.sqrt(np.mean(np.square(z))) < 1.3


def test_passages_are_counted():
    """Replica 0 of two goes down and up again and again; every second sweep the ends are exchanged."""
    record = ladder(chains=1, sweeps=40, rungs=3)
    path = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2]] * 10)[None]
    found = diagnose(record._replace(replica=path))
    assert found["passages_down"] == 10
    assert found["round_trips"] == 9
    assert found["flow"][0] == 1
    assert found["flow"][-1] == 0
    still = np.broadcast_to(np.arange(3), path.shape)
    assert diagnose(record._replace(replica=still))["round_trips"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": 3.0}, "the chains differ by"),
        ({"late": 4.0}, "the halves of the run differ"),
        ({"rungs": 3}, "take more temperatures"),
    ],
)
def test_warns(options, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        free_energy(ladder(**options))
    assert any(message in str(warning.message) for warning in caught)


def test_warns_where_replicas_do_not_pass():
    record = ladder()
    still = np.broadcast_to(np.arange(6), record.replica.shape)
    assert "0 round trips" in free_energy(record._replace(replica=still), warn=False).warnings[0]


def test_refused():
    with pytest.raises(ValueError, match="too few to estimate an error"):
        free_energy(ladder(sweeps=10))
    mcmc = MCMC(NUTS(lambda: numpyro.sample("z", dist.Normal(0, 1))), num_warmup=1, num_samples=1, progress_bar=False)
    with pytest.raises(ValueError, match="run MCMC with a ReplicaExchange kernel"):
        free_energy(mcmc)


def test_known_evidence():
    case = linear_gaussian(4)
    with jax.enable_x64(True):
        found = row(case, 0, sweeps=300, warmup=150, particles=512)
    assert abs(found["exchange"]) < 0.25
    assert abs(found["exchange"]) < 4 * found["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_known_evidence_of_the_table(name):
    """Part of `tests/benchmarks/evidence.py`, which takes five seeds of each case."""
    with jax.enable_x64(True):
        case = CASES[name]()
        rows = [row(case, seed) for seed in range(1 if "40" in name else 3)]
    wrong, claimed = (np.array([r[key] for r in rows]) for key in ("exchange", "error"))
    assert np.abs(wrong).max() < (0.5 if "40" in name else 0.25)
    assert np.sqrt(np.mean((wrong / claimed) ** 2)) < 1.7
    if np.isfinite(case.weight):
        np.testing.assert_allclose([r["weight"] for r in rows], case.weight, atol=0.1)
