"""Any NumPyro model with observed sites as a path from its prior to its posterior."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Key
from numpyro.distributions.transforms import biject_to
from numpyro.handlers import seed, substitute, trace
from numpyro.infer.util import _unconstrain_reparam
from numpyro.primitives import Messenger

from ..._util.validation import check_callable, check_instances, check_mapping, check_several
from ..path import PerPoint, Points, TemperedDensity, TemperedTerms

# Prior draws of which at least one must have a finite likelihood.
PROBES = 200
# Where a draw falls on the edge of its support in floating point, this far out in unconstrained space.
FAR = 80.0


class NumpyroDensity(TemperedDensity):
    """A NumPyro model, split by site into prior and likelihood, on unconstrained points.

    With theta the latent sites, T the transforms to their supports and x the observed sites,

        q_b(z) = p(T z) |dT/dz| p(x | T z)^b.

    Latent sites and the Jacobians of their transforms are prior, observed sites are likelihood (of a site fixed by
    `condition` too; `do` takes a site out of the model). `numpyro.factor` is neither by nature and must be declared.
    A prior factor f is in q_b for every b > 0, while b = 0 stays what can be drawn from: give a normalised one
    (E f = 1 over the prior) where the evidence is to be that of the prior p f. Masks and scales of observed sites
    count as they do for other kernels; a scale or a mask on a latent site leaves no normalised prior and is refused.

    Args:
        model: the model function.
        args: its positional arguments.
        kwargs: its named arguments.
        prior_factors: names of `numpyro.factor` sites that belong to the prior.
        likelihood_factors: names of those that belong to the likelihood.

    Raises:
        ValueError: a model without observed or without latent sites, an undeclared factor, a subsampled plate, a
            discrete latent site, a prior that cannot be drawn from or is not normalised, NaN or infinity in the
            observed data, a prior or likelihood that is not finite at any draw. The message names the site.
    """

    size: int = eqx.field(static=True)
    model: Callable = eqx.field(static=True)
    args: tuple
    kwargs: dict
    layout: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    prior_factors: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        model: Callable,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        prior_factors: Sequence[str] = (),
        likelihood_factors: Sequence[str] = (),
    ):
        check_callable(model, "NumpyroDensity: model", "the function that numpyro.infer.MCMC takes")
        check_several(args, "NumpyroDensity: args", "(data,)")
        check_mapping({} if kwargs is None else kwargs, "NumpyroDensity: kwargs", '{"data": data}')
        for name, sites_of in {"prior_factors": prior_factors, "likelihood_factors": likelihood_factors}.items():
            check_instances(sites_of, str, f"NumpyroDensity: {name}", '"site"')
        self.model, self.args, self.kwargs = model, tuple(args), dict(kwargs or {})
        self.prior_factors = tuple(prior_factors)
        guard = _Guard(seed(model, jax.random.key(0)), frozenset(prior_factors), frozenset(likelihood_factors))
        sites = guard.checked(self.args, self.kwargs)
        self.layout = tuple((name, _unconstrained(site).shape) for name, site in sites.items() if _is_latent(site))
        self.size = sum(int(np.prod(shape)) for _, shape in self.layout)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((self.args, self.kwargs))):
            _check_finite(self)

    def sample(self, key: Key[Array, ""], points: int) -> Points:
        def one(key):
            sites = trace(seed(self.model, key)).get_trace(*self.args, **self.kwargs)
            return jnp.concatenate([_unconstrained(sites[name]).ravel() for name, _ in self.layout])

        return jax.vmap(one)(jax.random.split(key, points))

    def evaluate(self, z: Points) -> TemperedTerms:
        return jax.vmap(self._split)(z)

    def _split(self, z: Float[Array, " size"]) -> TemperedTerms:
        substituted = substitute(seed(self.model, 0), substitute_fn=partial(_unconstrain_reparam, self.unravel(z)))
        sites = trace(substituted).get_trace(*self.args, **self.kwargs)
        jacobians = {f"_{name}_log_det" for name, _ in self.layout}
        sums = {"prior": jnp.zeros((), z.dtype), "factor": jnp.zeros((), z.dtype), "likelihood": jnp.zeros((), z.dtype)}
        for name, site in sites.items():
            if site["type"] != "sample":
                continue
            is_prior = not site["is_observed"] or name in jacobians
            part = "prior" if is_prior else "factor" if name in self.prior_factors else "likelihood"
            sums[part] += _log_prob(site)
        return TemperedTerms(**sums)

    def unravel(self, z: Float[Array, " size"]) -> dict[str, Array]:
        """The unconstrained value of each site from one flat point."""
        ends = np.cumsum([int(np.prod(shape)) for _, shape in self.layout])
        parts = [z[end - int(np.prod(shape)) : end] for end, (_, shape) in zip(ends, self.layout, strict=True)]
        return {name: part.reshape(shape) for part, (name, shape) in zip(parts, self.layout, strict=True)}

    def ravel(self, sites: dict[str, Array]) -> Float[Array, " size"]:
        """One flat point from the unconstrained values of its sites."""
        return jnp.concatenate([jnp.ravel(sites[name]) for name, _ in self.layout])

    def constrain(self, z: Float[Array, "*batch size"]) -> dict[str, Array]:
        """The value of each latent and deterministic site, in the supports of the priors."""

        def one(z):
            substituted = substitute(seed(self.model, 0), substitute_fn=partial(_unconstrain_reparam, self.unravel(z)))
            sites = trace(substituted).get_trace(*self.args, **self.kwargs)
            return {n: s["value"] for n, s in sites.items() if _is_latent(s) or s["type"] == "deterministic"}

        batch = z.shape[:-1]
        values = jax.vmap(one)(z.reshape(-1, self.size))
        return {name: value.reshape((*batch, *value.shape[1:])) for name, value in values.items()}


class _Guard(Messenger):
    """Looks at every site before it is drawn, and refuses what has no place in a tempered model."""

    def __init__(self, model: Callable, prior_factors: frozenset[str], likelihood_factors: frozenset[str]):
        self.factors = prior_factors | likelihood_factors
        self.last = ""
        both = prior_factors & likelihood_factors
        if both:
            raise ValueError(f"factor {min(both)!r} is declared both prior and likelihood: choose one.")
        super().__init__(model)

    def checked(self, args: tuple, kwargs: dict) -> dict[str, dict]:
        try:
            sites = trace(self).get_trace(*args, **kwargs)
        except NotImplementedError as error:
            raise ValueError(
                f"site {self.last!r}: its prior cannot be drawn from; replace it by a proper distribution."
            ) from error
        missing = self.factors - sites.keys()
        if missing:
            raise ValueError(f"factor {min(missing)!r} is declared, but the model has no such site.")
        if not any(_is_latent(site) for site in sites.values()):
            raise ValueError("the model has no latent site: there is nothing to sample.")
        observed = [s for s in sites.values() if s["type"] == "sample" and s["is_observed"] and not _is_factor(s)]
        if not observed and not self.factors:
            raise ValueError(
                "the model has no observed site, so there is no likelihood: pass data as `obs`, or condition the model."
            )
        return sites

    def process_message(self, msg: Any) -> None:
        """Refuses the site, or lets it pass."""
        self.last = msg.get("name", self.last)
        if msg["type"] == "plate":
            size, subsample = msg["args"]
            if subsample is not None and subsample != size:
                raise ValueError(
                    f"plate {msg['name']!r} is subsampled ({subsample} of {size}): the likelihood must be "
                    "the same in each call; use the whole data."
                )
        if msg["type"] != "sample":
            return
        if _is_factor(msg):
            if msg["name"] not in self.factors:
                raise ValueError(
                    f"factor {msg['name']!r} is neither prior nor likelihood by nature: "
                    "name it in `prior_factors` or in `likelihood_factors`."
                )
        elif msg["is_observed"]:
            _check_data(msg)
        else:
            _check_latent(msg)


def _check_data(site: Any) -> None:
    value, kept = site["value"], _mask(site["fn"])
    if isinstance(value, jax.core.Tracer) or isinstance(kept, jax.core.Tracer):
        return
    value = np.asarray(value)
    if not np.issubdtype(value.dtype, np.inexact):
        return
    missing = ~np.isfinite(value)
    event = len(site["fn"].event_shape)
    kept = np.asarray(True if kept is None else kept)
    bad = missing & kept.reshape((*kept.shape, *[1] * event))
    if np.any(bad):
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        what = "NaN" if np.isnan(value[place]) else "infinity"
        raise ValueError(
            f"observed site {site['name']!r} has {what} at {place}: leave it out, or mask it with "
            "numpyro.handlers.mask."
        )


def _check_latent(site: Any) -> None:
    name, fn = site["name"], site["fn"]
    kinds = _layers(fn)
    if any(isinstance(layer, dist.ImproperUniform) for layer in kinds):
        raise ValueError(f"site {name!r}: ImproperUniform is no normalised prior; give one that can be drawn from.")
    if any(isinstance(layer, dist.Delta) for layer in kinds):
        raise ValueError(f"site {name!r} is a Delta: use numpyro.deterministic for a known value.")
    if fn.support is not None and fn.support.is_discrete:
        raise ValueError(
            f"site {name!r} is discrete: sum it out of the model (MixtureSameFamily does for mixtures), or observe it."
        )
    if _differs_from_one(site["scale"]):
        raise ValueError(f"site {name!r}: a scaled prior is not normalised; scale observed sites only.")
    mask = _mask(fn)
    if mask is not None and not isinstance(mask, jax.core.Tracer) and not np.all(mask):
        raise ValueError(f"site {name!r}: a masked prior is not normalised; mask observed sites only.")


def _differs_from_one(scale: Any) -> bool:
    return scale is not None and (isinstance(scale, jax.core.Tracer) or bool(np.any(np.asarray(scale) != 1)))


def _layers(fn: Any) -> list[Any]:
    """The distribution and those it is made of, from the outside in."""
    layers = [fn]
    while hasattr(layers[-1], "base_dist"):
        layers.append(layers[-1].base_dist)
    return layers


def _mask(fn: Any) -> Any:
    """The mask of a distribution over its batch; None where there is none."""
    masks = [layer._mask for layer in _layers(fn) if isinstance(layer, dist.MaskedDistribution)]
    return masks[0] if masks else None


def _is_latent(site: Any) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _is_factor(site: Any) -> bool:
    return isinstance(_layers(site["fn"])[-1], dist.Unit)


def _log_prob(site: Any) -> Float[Array, ""]:
    inner = site["intermediates"]
    values = site["fn"].log_prob(site["value"], inner) if inner else site["fn"].log_prob(site["value"])
    return jnp.sum(values if site["scale"] is None else site["scale"] * values)


def _unconstrained(site: Any) -> Array:
    transform = biject_to(site["fn"].support)
    value = jnp.asarray(transform.inv(site["value"]), float)
    return jnp.nan_to_num(value, nan=jnp.nan, posinf=FAR, neginf=-FAR)


@eqx.filter_jit
def _probe(density: NumpyroDensity) -> tuple[PerPoint, PerPoint]:
    terms = density.evaluate(density.sample(jax.random.key(0), PROBES))
    return terms.prior, terms.factor + terms.likelihood


def _check_finite(density: NumpyroDensity) -> None:
    for part, values in zip(("prior", "likelihood"), _probe(density), strict=True):
        if not np.any(np.isfinite(values)):
            raise ValueError(
                f"the {part} is not finite at any of {PROBES} draws from the prior: look for data outside the "
                "support of their distribution, a scale of zero, or an overflow."
            )
