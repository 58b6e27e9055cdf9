"""What an EDX factorisation says of the sample: at.% and wt.% of phases and pixels, with their errors."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from .._util.validation import check_instance, float_array
from ..data.image import SpectrumImage
from ..factor.problem import Problem
from ..factor.solution import Solution
from ..physics.atoms import atomic_number, yield_sd
from ..physics.basis import Basis
from .curvature import Curvature, curvature

# Which families a row of all of them has below 20 keV: K up to Ca, K and L up to Kr, L and M beyond.
SEEN = ((20, "K"), (36, "KL"), (99, "LM"))


def quantify(
    problem: Problem, solution: Solution, basis: Basis, *, img: SpectrumImage | None = None, yields: Any = True
) -> xr.Dataset:
    r"""Atomic and weight percent of each phase and pixel, with errors.

    Of the coefficients c of the elements (bremsstrahlung and free rows left out), $x_e = c_e / \sum_j c_j$ and
    $y_e = x_e m_e / \sum_j x_j m_j$. Where an element has a row for each family of lines, c is the mean of theirs
    weighted by the area of the rows, $\sum_f b_f c_f / \sum_f b_f$: counts over expected counts, what the
    likelihood itself gives for families that overlap with nothing.

    Statistical errors come from the curvature of the Poisson likelihood, with the maps fitted as well: see
    `factor.curvature`. They do not depend on the scale between coefficients and maps, nor on `Simplex`, which fixes
    it; ratios (`Proportional`) and known entries are taken into account. With free maps a phase can trade
    part of another one, $s_k \to s_k - t s_j$ with $w_j \to w_j + t w_k$; only pixels without a phase and elements
    that a phase does not have stop this, and the errors of phases that always overlap are large: above some 30 at.%
    they say that the data do not determine the composition. Errors of yields, independent between rows but the same
    in all phases, are propagated by $\delta x_e = x_e (\delta_e - \sum_j x_j \delta_j)$.

    Maps that cannot go below zero bend phases away from one another where these are pure in many pixels. The bias of
    the optimum is estimated from the maps at zero, to first order, and not subtracted: in draws of two overlapping
    phases the estimate was 70 % of the true bias at 250 to 2,500 counts per pixel and 55 % at 25, where the bias
    reached five sd; for pooled minerals it was 40 %. Take it as a warning: where it is not small beside the sd, pool
    pixels (`fit_pooled`), since more pixels lower the sd and not the bias, or give the zeros that are known. Less the
    bias, errors of the two phases covered the truth (scatter over sd 0.8 to 1.2 per element, to 1.3 at 25 counts).

    What is left out:

    - Penalties: their curvature is not counted, so that errors are those without them, mostly too large; the bias that
      they bring is not counted either.
    - Entries at zero are held there. Of a composition their error is NaN; for maps it means that pixels
      in which a phase is absent tell of the others as if this were known.
    - Errors of coefficients that `Fixed` keeps from the start, as in the second part of `fit_pooled`: they are NaN.
      Quantify the fit that found them.
    - Cross-sections, attenuation, thickness and the number of components.

    Args:
        problem: with the Poisson loss, and `basis` as its basis.
        solution: of this problem.
        basis: the problem's, with its names; it may have channels that `img` leaves out.
        img: the image that made the matrix, for the maps' axes; without it they have one dim, "pixel".
        yields: relative standard deviation of each of the sample's rows, such as `EmissionModel.yield_sd()` gives;
            True takes `physics.xray.yield_sd` (of rows of all families: K up to Ca, equal parts of K and L up to Kr,
            of L and M beyond); False none.

    Returns:
        Over "component" and "element": "at_percent", "wt_percent", each with "_sd" (statistical), "_sd_total" (with the
        yields') and "_bias" (estimated, not subtracted). "at_percent_cov" and "wt_percent_cov" over "component",
        "element" and "other_element": statistical covariance within a phase, in percent squared, 0 for entries at
        zero. Over "element" and the map's dims: "at_percent_map", the atoms of all phases in a pixel, and
        "at_percent_map_sd", from the curvature in the pixel's own maps with the phases given (an error of a phase is
        the same in all pixels and comes on top). An sd is 0 for entries of known values, and NaN for entries at zero
        and components with an empty map; pixels without any element are NaN.

    Raises:
        ValueError: a loss that is not Poisson, a basis that is not the problem's, a solution of another problem,
            no rows of elements, an image or yields of another size.
    """
    _check(problem, solution, basis, img)
    assert solution.coefficients is not None
    sds = _row_sds(basis, yields)
    coefficients = np.asarray(solution.coefficients, np.float64)
    into = _into_elements(basis, np.asarray(problem.basis, np.float64), len(coefficients))
    found = curvature(problem, solution, np.einsum("kef,kf->ke", into, coefficients))
    maps = np.asarray(solution.maps, np.float64)
    live = np.any(maps, axis=0)
    known = np.any((into > 0) & found.known[:, None], axis=2)
    fixed = problem.constraints.of("fixed", problem.profile_block)
    kept = known if any(one.values is None for one in fixed) else np.zeros_like(known)
    told = live[:, None] & ~kept & np.any((into > 0) & ~found.at_zero[:, None], axis=2)
    variables: dict[str, Any] = {}
    dims = ("component", "element")
    for name, masses in (("at_percent", 1.0), ("wt_percent", np.asarray(basis.atomic_masses))):
        weighted = into * np.reshape(masses, (-1, 1))
        shares, bias, statistical, systematic = _shares(coefficients, weighted, found, sds, known)
        sd, total = (np.sqrt(np.einsum("kee->ke", c)) for c in (statistical, statistical + systematic))
        variables[name] = (dims, 100 * np.where(live[:, None], shares, np.nan))
        variables[f"{name}_sd"] = (dims, 100 * np.where(told, sd, np.nan))
        variables[f"{name}_sd_total"] = (dims, 100 * np.where(told, total, np.nan))
        variables[f"{name}_bias"] = (dims, 100 * np.where(told, bias, np.nan))
        variables[f"{name}_cov"] = ((*dims, "other_element"), 1e4 * statistical)
    parts = maps @ np.einsum("kef,kf->ke", into, coefficients)
    total = parts.sum(axis=1, keepdims=True)
    shares = np.divide(parts, total, out=np.full(parts.shape, np.nan), where=total > 0)
    variables["at_percent_map"] = _on_map(100 * shares, img)
    variables["at_percent_map_sd"] = _on_map(100 * found.map_sd, img)
    elements = list(basis.elements)
    coords = {"component": np.arange(len(coefficients)), "element": elements, "other_element": elements}
    result = xr.Dataset(variables, coords)
    for variable in result.data_vars.values():
        variable.attrs["units"] = "%^2" if "other_element" in variable.dims else "%"
    return result


def _check(problem: Problem, solution: Solution, basis: Basis, img: SpectrumImage | None) -> None:
    check_instance(problem, Problem, "quantify: problem", "Problem(X, losses.Poisson(), basis)")
    check_instance(solution, Solution, "quantify: solution", "fit(problem, ...)")
    check_instance(basis, Basis, "quantify: basis", "model.basis()")
    check_instance(img, (SpectrumImage, type(None)), "quantify: img", "the image that made the matrix")
    if problem.loss.beta != 1:
        raise ValueError(f"quantify takes errors from counting: fit with losses.Poisson(), not {problem.loss!r}.")
    if problem.basis is None or solution.coefficients is None:
        raise ValueError("quantify needs coefficients: give the problem a basis of physics.xray and fit again.")
    if any(p.is_auto for p in problem.penalties):
        raise ValueError('quantify: a penalty\'s weight is still "auto"; give the problem that tune returned.')
    if not basis.element_columns:
        raise ValueError(f"quantify: none of the rows of the basis is an element; it has {', '.join(basis.names)}.")
    _check_basis(np.asarray(problem.basis), np.asarray(basis), img)
    (pixels, channels), features = problem.matrix.shape, problem.features
    rank = solution.rank if problem.basis.ndim == 2 else len(problem.basis)
    wanted = {"maps": (pixels, rank), "spectra": (rank, channels), "coefficients": (rank, features)}
    for name, shape in wanted.items():
        values = np.asarray(getattr(solution, name))
        if values.shape != shape:
            raise ValueError(f"the solution is of another problem: its {name} are {values.shape}, expected {shape}.")
        if not np.isfinite(values).all():
            raise ValueError(f"the solution's {name} are not finite (status {solution.status.name}); fit again.")
    spectra = np.einsum("...f,...fc->...c", np.asarray(solution.coefficients), np.asarray(problem.basis))
    if np.abs(spectra - np.asarray(solution.spectra)).max() > 1e-3 * np.abs(spectra).max():
        raise ValueError(
            "the solution is of another problem: its spectra are not its coefficients @ the problem's basis; give the "
            "problem it was fitted with."
        )
    if img is not None and img.grid.size != pixels:
        raise ValueError(f"img has {img.grid.size} pixels in use, the problem {pixels}; give the image that made it.")


def _check_basis(ours: np.ndarray, given: np.ndarray, img: SpectrumImage | None) -> None:
    keep = None if img is None or img.keep_channels is None else img.keep_channels.values.ravel()
    if keep is not None and len(keep) == given.shape[-1] != ours.shape[-1]:
        given = given[..., keep]
    if ours.ndim == 3 and given.shape == ours.shape[1:]:
        return  # The rows' names are all that is wanted of it: each component has values of its own.
    if given.shape != ours.shape:
        raise ValueError(
            f"the basis is {given.shape}, the problem's {ours.shape}; give the one the problem was made with"
            + (", and img where it leaves channels out." if given.shape[:-1] == ours.shape[:-1] else ".")
        )
    if np.abs(given - ours).max() > 1e-4 * np.abs(ours).max():
        raise ValueError(
            "the basis has other values than the problem's, as after another composition, thickness or calibration; "
            "give the one the problem was made with."
        )


def _row_sds(basis: Basis, yields: Any) -> Float[np.ndarray, " features"]:
    """Relative standard deviation of each row, 0 for those that are not of the sample."""
    rows, sds = list(basis.element_columns), np.zeros(len(basis.kinds))
    if isinstance(yields, bool):
        if yields:
            sds[rows] = [_default_sd(basis.owners[row], basis.families[row]) for row in rows]
        return sds
    given = float_array(yields, "yields")
    if given.shape != (len(rows),) or not (np.isfinite(given) & (given >= 0)).all():
        names = ", ".join(basis.names[row] for row in rows)
        raise ValueError(
            f"yields must be True, False or one relative standard deviation of 0 or more for each of {names}; got "
            f"{given.tolist() if given.shape == (len(rows),) else f'an array of shape {given.shape}'}."
        )
    sds[rows] = given
    return sds


def _default_sd(element: str, family: str) -> float:
    families = family or next(seen for last, seen in SEEN if atomic_number(element) <= last)
    return float(np.linalg.norm([yield_sd(element, one) for one in families])) / len(families)


def _into_elements(basis: Basis, values: np.ndarray, rank: int) -> Float[np.ndarray, "components elements features"]:
    """Amounts of the elements from the coefficients: families weighted by the area of their rows."""
    areas = np.broadcast_to(values.sum(axis=-1), (rank, values.shape[-2]))
    sample = np.array([kind == "element" for kind in basis.kinds])
    belongs = np.array([[owner == element for owner in basis.owners] for element in basis.elements]) & sample
    into = belongs * areas[:, None]
    return into / into.sum(axis=2, keepdims=True)


def _shares(
    coefficients: np.ndarray, into: np.ndarray, found: Curvature, sds: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the elements and their bias, (K, elements); both parts of their covariance, (K, elements, elements)."""
    amounts = np.einsum("kef,kf->ke", into, coefficients)
    rank, elements = amounts.shape
    total = amounts.sum(axis=1)
    safe = np.where(total > 0, total, 1)[:, None]
    shares = amounts / safe
    slopes = (np.eye(elements) - shares[:, :, None]) @ into / safe[:, :, None]
    own = found.covariance[np.arange(rank), :, np.arange(rank)]
    statistical = slopes @ own @ np.swapaxes(slopes, 1, 2)
    # A row that is too large by a factor makes its share of the element too small by it; what is known stays.
    each = np.square(into * (coefficients * sds)[:, None]).sum(axis=2) / np.where(amounts > 0, amounts, 1) ** 2
    free = np.where(known, 0, shares)
    left = np.maximum(free.sum(axis=1), 1e-300)[:, None, None]
    mixing = np.eye(elements) * free[:, None] - free[:, :, None] * free[:, None] / left
    systematic = mixing * each[:, None] @ np.swapaxes(mixing, 1, 2)
    bias = np.einsum("kef,kf->ke", slopes, found.bias)
    return np.where(total[:, None] > 0, shares, np.nan), bias, statistical, systematic


def _on_map(values: Float[np.ndarray, "pixels elements"], img: SpectrumImage | None) -> Any:
    if img is None:
        return ("element", "pixel"), values.T
    return img.to_maps(values).drop_vars("component").rename(component="element")
