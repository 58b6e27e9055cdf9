"""The samples of replica exchange as ArviZ lays them out."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from arviz_base import from_dict
from jaxtyping import Array, Float
from numpyro.infer import MCMC

from ..._util.validation import check_instance
from ..tempering.evidence import free_energy, record_of
from .path import NumpyroDensity


def results(mcmc: MCMC) -> xr.DataTree:
    """All cold points of a run of `MCMC` over `ReplicaExchange`, every ladder as a chain.

    Returns:
        A DataTree with the groups posterior (every site over chain and draw), sample_stats (`lp`, the log density;
        `acceptance_rate` of the coldest rung; `swap_rejection` over "pair") and log_evidence (`value`, `error`
        and the estimate of each method, in nats; over "rung" `beta` and `flow`, over "pair" `rejection`; the counts of
        round trips and the barrier as attributes). Every group has the dims that ArviZ expects.

    Raises:
        ValueError: the run had no such kernel.
    """
    check_instance(mcmc, MCMC, "mcmc", "numpyro.infer.MCMC(ReplicaExchange(model), ...)")
    record = record_of(mcmc)
    density = mcmc.sampler._density
    sites = {name: np.asarray(value) for name, value in _constrained(density, record.cold).items()}
    stats = {
        "lp": record.log_density,
        "acceptance_rate": record.acceptance[..., -1],
        "swap_rejection": record.rejection,
    }
    tree = from_dict({"posterior": sites, "sample_stats": stats}, dims={"swap_rejection": ["pair"]})
    tree["log_evidence"] = xr.DataTree(_evidence(free_energy(mcmc, warn=False)))
    return tree


@eqx.filter_jit
def _constrained(density: NumpyroDensity, cold: Float[Array, "chains sweeps size"]) -> dict[str, Array]:
    return density.constrain(jax.numpy.asarray(cold))


def _evidence(found: Any) -> xr.Dataset:
    variables: dict[str, Any] = {"value": -found.value, "error": found.error}
    variables |= {method: -value for method, value in found.estimates.items()}
    variables["chain_value"] = ("chain", -found.diagnostics["chains"])
    variables["beta"] = ("rung", found.diagnostics["betas"])
    variables["flow"] = ("rung", found.diagnostics["flow"])
    variables["rejection"] = ("pair", found.diagnostics["rejection"])
    attrs = {name: found.diagnostics[name] for name in ("round_trips", "barrier", "drift")}
    return xr.Dataset(variables, attrs=attrs | {"warnings": list(found.warnings)})
