"""Replica exchange as a kernel of NumPyro's MCMC, for any model with observed sites."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from numpyro.infer.mcmc import MCMCKernel

from ..._util.files import replacing
from ..._util.validation import check_callable, check_instance, check_instances, check_whole_number
from ..explorers.base import Explorer
from ..explorers.jumps import Jumps
from ..tempering.exchange import Record, Replicas, begin, sweep
from ..tempering.initial import from_particles, from_prior, learned
from ..tempering.sequential import smc
from ..tempering.sequential_result import SMCResult
from .path import NumpyroDensity


class ReplicaExchangeState(NamedTuple):
    """The state of the kernel.

    Attributes:
        rng_key: what `MCMC` gave; the sweeps follow the key in `replicas`, so that a resumed run is the uninterrupted.
        z: the unconstrained sites at the coldest rung; leading axis chains where `MCMC` has several.
        record: the last sweep's, see `exchange.Record`.
        replicas: everything else.
    """

    rng_key: Any
    z: dict[str, Any]
    record: Record
    replicas: Replicas


class ReplicaExchange(MCMCKernel):
    """Replica exchange with an evidence: `numpyro.infer.MCMC(ReplicaExchange(model), num_warmup=..., num_samples=...)`.

    The likelihood is tempered, p(z) L(z)^b on a ladder of b from 0, the prior, to 1. Before the first sweep a tempered
    SMC finds the modes and the ladder; during the warm-up steps, whitening and ladder are tuned; then all is frozen.
    `free_energy(mcmc)` gives -ln Z.

    With one chain of `MCMC`, `walkers` independent ladders run side by side; draw i of `get_samples()` is the cold
    point of ladder i modulo `walkers`, and `results(mcmc)` has all of them. With several chains, run with
    `chain_method="vectorized"`, each chain is one ladder. The record of each sweep is collected as the field "record".

    To resume, set `mcmc.post_warmup_state = mcmc.last_state` and run again: whatever key is given, the numbers are
    those of the uninterrupted run. `save` and `load` keep the state in an npz file.

    Args:
        model: a NumPyro model; see `NumpyroDensity` for what it may contain.
        temperatures: the number of rungs; by default 2 Lambda + 3 of the barrier that SMC meets.
        walkers: independent ladders; their spread is part of the error of the evidence.
        explorer: the moves at each rung; `Jumps(HMC())` by default.
        particles: of each of the four runs of the SMC that goes before; 0 to start from the prior instead. A mode whose
            share of the mass, where it splits off, is below ten particles may be lost.
        moves: sweeps at each level of that SMC.
        prior_factors: names of `numpyro.factor` sites that belong to the prior.
        likelihood_factors: names of those that belong to the likelihood.
        sharding: how to lay the replicas over devices, for instance NamedSharding(mesh, PartitionSpec("replicas")).

    Raises:
        ValueError: too few temperatures or walkers; when run, what `NumpyroDensity` refuses, and `init_params`.
    """

    def __init__(
        self,
        model: Callable,
        *,
        temperatures: int | None = None,
        walkers: int = 8,
        explorer: Explorer | None = None,
        particles: int = 4096,
        moves: int = 3,
        prior_factors: Sequence[str] = (),
        likelihood_factors: Sequence[str] = (),
        sharding: Sharding | None = None,
    ):
        check_callable(model, "ReplicaExchange: model", "the function that numpyro.infer.MCMC takes")
        check_instance(explorer, (Explorer, type(None)), "ReplicaExchange: explorer", "Jumps(HMC())")
        check_instance(sharding, (Sharding, type(None)), "ReplicaExchange: sharding", "NamedSharding(mesh, spec)")
        wholes = {"walkers": walkers, "particles": particles, "moves": moves}
        for name, value in wholes.items() if temperatures is None else {"temperatures": temperatures, **wholes}.items():
            check_whole_number(value, f"ReplicaExchange: {name}")
        for name, sites in {"prior_factors": prior_factors, "likelihood_factors": likelihood_factors}.items():
            check_instances(sites, str, f"ReplicaExchange: {name}", '"site"')
        if temperatures is not None and temperatures < 3:
            raise ValueError(f"ReplicaExchange: temperatures must be 3 or more, got {temperatures}.")
        if walkers < 1:
            raise ValueError(f"ReplicaExchange: walkers must be 1 or more, got {walkers}.")
        if particles < 0 or moves < 1:
            raise ValueError(
                f"ReplicaExchange: particles must be 0 or more, moves 1 or more, got {particles}, {moves}."
            )
        self.model = model
        self.temperatures, self.walkers = temperatures, walkers
        self.explorer = Jumps() if explorer is None else explorer
        self.particles, self.moves = particles, moves
        self.factors = {"prior_factors": tuple(prior_factors), "likelihood_factors": tuple(likelihood_factors)}
        self.sharding = sharding
        self.particles_result: SMCResult | None = None
        self._density: NumpyroDensity | None = None
        self._chains = 1
        self._sample_fn: Any = None

    @property
    def sample_field(self) -> str:
        return "z"

    @property
    def default_fields(self) -> tuple[str, ...]:
        return ("z", "record")

    @property
    def is_ensemble_kernel(self) -> bool:
        return self._chains > 1

    def get_diagnostics_str(self, state: ReplicaExchangeState) -> str:
        rejection = np.mean(np.asarray(state.record.rejection), axis=0)
        return f"{len(rejection) + 1} temperatures, highest rejection {rejection.max():.2f}"

    def density(self, model_args: tuple, model_kwargs: dict | None) -> NumpyroDensity:
        """The model's split for these arguments."""
        return NumpyroDensity(self.model, model_args, model_kwargs, **self.factors)

    def init(self, rng_key: Any, num_warmup: int, init_params: Any, model_args: tuple, model_kwargs: dict) -> Any:
        """The state before the first sweep, after the tempered SMC.

        Raises:
            ValueError: `init_params`, chains in parallel, or a model that `NumpyroDensity` refuses.
        """
        if init_params is not None:
            raise ValueError("ReplicaExchange starts from the prior: leave out init_params.")
        if isinstance(rng_key, jax.core.Tracer):
            raise ValueError('ReplicaExchange: run several chains with chain_method="vectorized".')
        raw = not jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
        keys = jax.random.wrap_key_data(rng_key) if raw else rng_key
        self._chains = len(keys) if keys.ndim else 1
        key = keys[0] if keys.ndim else keys
        self._density, self._sample_fn = self.density(model_args, model_kwargs), sweep
        state = self._begin(self._density, key, num_warmup)
        return ReplicaExchangeState(rng_key, *self._looked_at(self._density, state), state)

    def _begin(self, density: NumpyroDensity, key: Any, warmup: int) -> Replicas:
        walkers = self._chains if self._chains > 1 else self.walkers
        keys = jax.random.split(key, 3)
        if self.particles:
            self.particles_result = smc(density, self.explorer, key=keys[0], particles=self.particles, moves=self.moves)
            warm = from_particles(density, self.particles_result, keys[1], walkers, self.temperatures)
        else:
            warm = from_prior(density, keys[1], walkers, self.temperatures)
        settings = learned(density, self.explorer, warm.cloud)
        return begin(density, self.explorer, warm.betas, warm.start, keys[2], settings, warmup)

    def _looked_at(self, density: NumpyroDensity, state: Replicas) -> tuple[dict, Record]:
        """The sites of the coldest rung, and a record of the right shape that is not collected."""
        _, record = jax.eval_shape(lambda s: sweep(density, self.explorer, s), state)
        record = jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), record)
        return self._cold(density, state.z[-state.replica.shape[1] :], state.step), record

    def _cold(self, density: NumpyroDensity, cold: Any, step: Any) -> dict[str, Any]:
        return jax.vmap(density.unravel)(cold) if self._chains > 1 else density.unravel(cold[step % len(cold)])

    def sample(self, state: ReplicaExchangeState, model_args: tuple, model_kwargs: dict) -> ReplicaExchangeState:
        """One sweep of every ladder."""
        density = self.density(model_args, model_kwargs) if self._density is None else self._density
        replicas, record = sweep(density, self.explorer, state.replicas, self.sharding)
        z = self._cold(density, record.cold, state.replicas.step)
        return ReplicaExchangeState(state.rng_key, z, record, replicas)

    def postprocess_fn(self, model_args: tuple, model_kwargs: dict) -> Callable:
        """Unconstrained sites to those in their supports, deterministic ones too."""
        density = self.density(model_args, model_kwargs) if self._density is None else self._density
        return lambda z: density.constrain(density.ravel(z))

    def save(self, path: str | Path, state: ReplicaExchangeState) -> None:
        """Writes a state, `mcmc.last_state`, to an npz file, all or nothing."""
        leaves: dict[str, Any] = {f"leaf_{i}": _plain(x) for i, x in enumerate(jax.tree.leaves(state.replicas))}
        # An open file, as NumPy adds a suffix to names that have another one.
        with replacing(Path(path)) as part, part.open("wb") as file:
            np.savez(file, chains=self._chains, shape=state.replicas.replica.shape, **leaves)

    def load(self, path: str | Path, *args: Any, **kwargs: Any) -> ReplicaExchangeState:
        """A state that `save` wrote, for `mcmc.post_warmup_state`; the model's arguments follow the path.

        Raises:
            ValueError: a state of another model, explorer or precision.
        """
        with np.load(path, allow_pickle=False) as file:
            chains, shape = int(file["chains"]), tuple(int(n) for n in file["shape"])
            leaves = [file[f"leaf_{i}"] for i in range(len(file.files) - 2)]
        density = self.density(args, kwargs)
        zeros = np.zeros(shape[0]), np.zeros((*shape, density.size)), jax.random.key(0)
        expected, structure = jax.tree.flatten(eqx.filter_eval_shape(begin, density, self.explorer, *zeros))
        if len(leaves) != len(expected):
            raise ValueError(f"{path} holds {len(leaves)} arrays, this kernel {len(expected)}: same explorer as then?")
        restored = [_restored(*pair, str(path)) for pair in zip(leaves, expected, strict=True)]
        replicas = jax.tree.unflatten(structure, restored)
        self._chains, self._density, self._sample_fn = chains, density, sweep
        return ReplicaExchangeState(jax.random.key(0), *self._looked_at(density, replicas), replicas)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _restored(leaf: np.ndarray, expected: Any, path: str) -> Any:
    if _is_key(expected):
        return jax.random.wrap_key_data(jnp.asarray(leaf))
    if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
        raise ValueError(
            f"{path} holds {leaf.dtype}{list(leaf.shape)} where this kernel has {expected.dtype}"
            f"{list(expected.shape)}: give the model, explorer and precision that it was written with."
        )
    return jnp.asarray(leaf)
