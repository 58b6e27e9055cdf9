"""Maps, spectra and the shift of each pixel, fitted in turn."""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from ..._util.validation import check_flag, check_instance, check_key, check_number, check_whole_number
from ...data.grid import Grid
from ...data.image import SpectrumImage
from ..alternatives import Alternatives
from ..initial.base import AbstractInitial
from ..initial.vertices import VCA
from ..losses.base import AbstractLoss
from ..losses.frobenius import Frobenius
from ..problem import Problem
from ..solution import Restarts, Solution, Status
from .factors import frobenius_step, poisson_step
from .inputs import axis_step, check_loss, given_shifts, largest_shift, roughness_in_channels
from .movement import State, data_term, estimate_prior, move_shifts
from .result import DriftFit
from .smoothing import Prior, on_cells, penalty
from .splines import Shifts, continue_unseen, offset_weights, reach_of, roll_whole, spectra_at
from .start import first_factors, ladder

# Steps of maps and spectra for one of the shifts.
STEPS = 10
# For how many rounds the roughness stays the same before it is held, and that from which it starts, in channels.
SETTLED, FIRST = 5, 1e-3
# Rounds at each number of components before the last start.
RUNG = 8


class Settings(NamedTuple):
    """What stays the same from round to round."""

    loss: AbstractLoss
    grid: Grid
    most: float
    reach: int
    roughness: float | None
    moves: bool


def fit_drift(
    img: SpectrumImage,
    rank: int,
    loss: AbstractLoss | None = None,
    *,
    key: Key[Array, ""],
    shifts: Any = None,
    roughness: float | int | Literal["auto"] = "auto",
    most: float | int | None = None,
    init: AbstractInitial | None = None,
    max_rounds: int = 100,
    rtol: float | int = 1e-6,
    progress: bool = False,
) -> DriftFit:
    r"""Fit maps, spectra, and the shift of the energy axis in each pixel, without interpolating the data.

    $X_{pc} \sim \mathrm{loss}\left(\sum_k m_{pk} s_k(c - d_p)\right) +
    \frac{\phi}{2 \tau^2} |L d|^2$

    with non-negative maps and spectra, and shifts d whose mean is zero. Spectra are cubic B-splines of non-negative
    coefficients, one for each channel, so that they are known between channels; counts stay counts, and their noise
    what it is, while moving the data (`preprocess.align`) correlates neighbouring channels and makes the noise uneven.
    A feature narrower than about one and a half channels is broadened to that.

    Steps of maps and spectra alternate with a Gauss-Newton step of all shifts together. None raises the objective: a
    step of the shifts is shortened until it does not, or left out. The data of neighbours decide a pixel's shift
    together with its own, the more so the smaller the roughness $\tau$, the standard deviation of L d, the difference
    between a pixel's shift and the mean of its neighbours'. By default it is the one with which half of the pixels
    predict the others best, found in rounds from a small one on; the dispersion $\phi$ of the noise is estimated too,
    and whether rows of the scan follow one another as smoothly as pixels do in a row. Then all three are held.

    Fits of 1, K / 2, K - 1 and K components come first, each starting from the shifts of the one before: a start with K
    components at once may take one phase at two shifts for two of them, and leave a small one out.

    What the model cannot know: a shift common to all pixels (so their mean is 0, see `DriftFit.spectra_at`), and one
    common to all pixels of a phase that nowhere mixes with, or neighbours, another.

    The method is this package's own; shifts of single references by least squares are in `eels.mlls`.

    Args:
        img: the image, with one signal dim of 8 or more channels of even width, none masked between live ones.
        rank: the number of components K.
        loss: `losses.Poisson()` for counts or `losses.Frobenius()`, the default.
        key: randomness of the starts.
        shifts: where they are known, such as from the zero loss (`preprocess.measure_shifts`): (pixels,) or over the
            navigation dims, in units of the energy axis, positive where features lie higher. They are then held, with
            the mean that they have.
        roughness: $\tau$, in units of the axis; "auto" to choose it. A large one leaves each pixel to its own data.
        most: the largest shift, in units of the axis; None for 3 channels. Time and memory grow with it.
        init: from where, on pixels averaged with their neighbours; None for `initial.VCA(tries=10)`.
        max_rounds: rounds at most, of ten steps of maps and spectra and one of the shifts.
        rtol: stop when the objective's relative decrease in a round is below this.
        progress: a bar on stderr.

    Returns:
        A `DriftFit`; shifts in units of the energy axis.

    Raises:
        ValueError: an axis with other than one dim, too short, uneven or with gaps; NaN; negative counts under Poisson;
            another loss; shifts that are not finite, of another shape or beyond `most`; a roughness or a most that is
            not above 0.
    """
    step = axis_step(img, "fit_drift")
    loss = check_loss(Frobenius() if loss is None else loss)
    check_key(key)
    check_whole_number(max_rounds, "fit_drift: max_rounds", 1)
    check_number(rtol, "fit_drift: rtol", 0)
    check_flag(progress, "fit_drift: progress")
    init = VCA(tries=10) if init is None else check_instance(init, AbstractInitial, "fit_drift: init", "initial.VCA()")
    problem = Problem(img.matrix("dense"), loss)
    check_whole_number(rank, "fit_drift: rank", 1, min(problem.matrix.shape))
    values, tau = problem.matrix.to_dense(), roughness_in_channels(roughness, step)
    largest = None if shifts is not None and most is None else largest_shift(most, step, values.shape[1])
    place = np.zeros(len(values)) if shifts is None else given_shifts(img, shifts, step, largest)
    if largest is None:
        largest = largest_shift(max(np.abs(place).max() * abs(step), 1e-6), step, values.shape[1])
    settings = Settings(loss, img.grid, largest, reach_of(largest), tau, shifts is None)
    with tqdm(total=max_rounds, unit="round", disable=not progress, leave=False) as bar:
        shifts = _climb(values, jnp.asarray(place, values.dtype), rank, init, settings, key)
        state = _start_at(values, shifts, rank, init, settings, key)
        state, prior, trace, rounds = _run_rounds(values, state, settings, (max_rounds, rtol), bar)
    ends = continue_unseen(state.coefficients, state.offsets, state.maps, state.shifts, settings.reach)
    state = state._replace(coefficients=ends)
    objective = evaluate_objective(values, state, prior, settings)
    return _result(init, state, prior, settings, objective, np.asarray(trace), rounds, rtol, step)


def _start_at(values: Array, shifts: Shifts, rank: int, init: AbstractInitial, settings: Settings, key: Array) -> State:
    """The state with factors for these shifts."""
    grid, reach = settings.grid, settings.reach
    factors = first_factors(values, shifts, settings.loss, rank, grid, init, key, reach)
    return State(*factors, on_cells(shifts, grid), shifts, jnp.zeros(rank, values.dtype))


def _climb(values: Array, shifts: Shifts, rank: int, init: AbstractInitial, settings: Settings, key: Array) -> Shifts:
    """The shifts that fits of more and more components find."""
    if init.is_given or not settings.moves:
        return shifts
    for some in ladder(rank):
        state = _start_at(values, shifts, some, init, settings, key)
        shifts = _settle_prior(values, state, settings, RUNG, None)[0].shifts
    return shifts


def _settle_prior(
    values: Array, state: State, settings: Settings, most: int, bar: tqdm | None
) -> tuple[State, Prior, int]:
    """Rounds in which the prior is chosen, until it stays: from stiff to as rough as the data ask for."""
    one = jnp.ones((), values.dtype)
    prior = estimate(values, state, Prior(one * (settings.roughness or FIRST), one, one), settings)
    stays = done = 0
    while done < most and stays < SETTLED:
        state, _ = advance(values, state, prior, settings)
        before, prior = prior, estimate(values, state, prior, settings)
        stays = stays + 1 if float(prior.roughness) == float(before.roughness) else 0
        done += 1
        if bar is not None:
            bar.update()
    return state, prior, done


def _run_rounds(
    values: Array, state: State, settings: Settings, limits: tuple[int, float | int], bar: tqdm
) -> tuple[State, Prior, list[float], int]:
    """Rounds that settle the prior, then rounds under it until the objective settles: its trace is of the latter."""
    max_rounds, rtol = limits
    state, prior, done = _settle_prior(values, state, settings, max_rounds // 2 if settings.moves else 0, bar)
    trace = [float(evaluate_objective(values, state, prior, settings))]
    while done < max_rounds:
        state, objective = advance(values, state, prior, settings)
        done += 1
        bar.update()
        trace.append(float(objective))
        if trace[-2] - trace[-1] <= rtol * abs(trace[-2]):
            break
    return state, prior, trace, done


@eqx.filter_jit
def evaluate_objective(values: Array, state: State, prior: Prior, settings: Settings) -> Float[Array, ""]:
    """The objective."""
    loss = data_term(settings.loss, values, state, settings.reach)
    return loss + penalty(state.field, prior, settings.grid) if settings.moves else loss


@eqx.filter_jit
def advance(values: Array, state: State, prior: Prior, settings: Settings) -> tuple[State, Float[Array, ""]]:
    """One round: steps of maps and spectra, then one of the shifts; with the objective after it."""
    step = frobenius_step if settings.loss.is_squares else poisson_step
    weights = offset_weights(state.shifts, state.offsets, settings.reach)
    once = partial(step, values, weights=weights, reach=settings.reach)
    factors = lax.fori_loop(0, STEPS, lambda _, factors: once(*factors), (state.maps, state.coefficients))
    state = state._replace(maps=factors[0], coefficients=factors[1])
    if not settings.moves:
        return state, data_term(settings.loss, values, state, settings.reach)
    state, objective = move_shifts(settings.loss, values, state, prior, settings.grid, settings.most, settings.reach)
    coefficients, offsets = roll_whole(state.coefficients, state.offsets)
    return state._replace(coefficients=coefficients, offsets=offsets), objective


@eqx.filter_jit
def estimate(values: Array, state: State, prior: Prior, settings: Settings) -> Prior:
    """The dispersion, and the roughness where it is not given."""
    return estimate_prior(settings.loss, values, state, prior, settings.grid, settings.reach, settings.roughness)


def _result(
    init: AbstractInitial,
    state: State,
    prior: Prior,
    settings: Settings,
    objective: Float[Array, ""],
    trace: np.ndarray,
    rounds: int,
    rtol: float | int,
    step: float,
) -> DriftFit:
    """As users get it: components by decreasing size, unless their order was given."""
    maps, coefficients, _, shifts, offsets = state
    spectra = spectra_at(coefficients, offsets, 0.0, settings.reach)
    if not init.is_given:
        order = jnp.argsort(-jnp.linalg.norm(maps, axis=0) * jnp.linalg.norm(spectra, axis=1))
        maps, coefficients, offsets, spectra = maps[:, order], coefficients[order], offsets[order], spectra[order]
    settled = len(trace) > 1 and trace[-2] - trace[-1] <= rtol * abs(trace[-2])
    code = (Status.CONVERGED if settled else Status.MAX_STEPS).code
    steps = jnp.asarray(STEPS * rounds, int)
    restarts = Restarts.of(
        np.asarray(objective)[None], np.array([STEPS * rounds]), [Status.of(code)], trace[None], 0, maps.dtype
    )
    solution = Solution(
        maps=maps,
        spectra=spectra,
        coefficients=None,
        objective=objective,
        trace=jnp.asarray(trace, maps.dtype),
        trace_steps=STEPS * (rounds - len(trace) + 1 + jnp.arange(len(trace))),
        steps=steps,
        code=jnp.asarray(code, int),
        restarts=restarts,
        alternatives=Alternatives.none(maps, spectra, None),
        description=(("loss", settings.loss.label), ("rank", len(spectra)), ("update", "fit_drift")),
    )
    roughness = prior.roughness * abs(step) if settings.moves else jnp.full((), jnp.nan)
    return DriftFit(solution, shifts * step, roughness, coefficients, offsets, step, settings.reach)
