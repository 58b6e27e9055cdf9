"""Physics-guided Poisson factorisation of STEM-EDX beside espm, on simulated minerals of the mantle: two tables.

    python tests/benchmarks/edx.py [parity speed] [--pairs 3]

Both get the same counts, basis and start. `parity`: the objective after the same number of iterations, in float64.
`speed`: ours in float32 against espm's float64, 128 x 128 pixels of 1980 channels, K = 3; compilation is done before
and told apart. espm is needed (`pip install -e '.[peers]'`); it evaluates its loss in every iteration, as it always
does.
"""

import argparse
import contextlib
import io
import warnings
from functools import partial

import jax
import numpy as np
from run import paired, per_step, seconds, show
from scipy.special import kl_div

import jaxunmix as jxu
from jaxunmix.physics.xray import EmissionModel
from jaxunmix.simulate.edx import MANTLE_ELEMENTS

NON_NEGATIVE = (jxu.constraints.NonNegative("maps"), jxu.constraints.NonNegative("coefficients"))
SIMPLEX = {
    "": ((), {}),
    "coefficients": ((jxu.constraints.Simplex("coefficients"),), {"simplex_W": True}),
    "maps": ((jxu.constraints.Simplex("maps"),), {"simplex_H": True}),
}
ITERATIONS = 100
RESTARTS = 20


class Scene:
    """Counts, a basis without absorption, and a start: coefficients and shares of a pixel that sum to one."""

    def __init__(self, counts: float, side: int = 128):
        img, _ = jxu.simulate.mantle_minerals(jax.random.key(0), counts, (side, side))
        self.x = np.asarray(img.data).reshape(side * side, -1).astype(np.uint16)
        model = EmissionModel(MANTLE_ELEMENTS, np.asarray(img.data.energy), 200.0)
        self.basis = np.asarray(model.basis(None), np.float64)
        rng = np.random.default_rng(0)
        self.coefficients = rng.dirichlet(np.ones(len(self.basis)), 3)
        self.shares = rng.dirichlet(np.ones(3), len(self.x))
        self.counts = counts

    def start(self, bright: bool = False) -> jxu.initial.Given:
        """Of the size of the data, which the maps hold, or with `bright` the coefficients."""
        maps, coefficients = (1, self.counts) if bright else (self.counts, 1)
        return jxu.initial.Given(self.shares * maps, coefficients=self.coefficients * coefficients)

    def objective(self, maps: np.ndarray, coefficients: np.ndarray) -> float:
        """The Poisson objective in float64, the same for both, block by block."""
        spectra = coefficients.astype(float) @ self.basis
        return sum(
            float(kl_div(self.x[i : i + 2000].astype(float), maps[i : i + 2000].astype(float) @ spectra).sum())
            for i in range(0, len(self.x), 2000)
        )


def espm_fit(scene: Scene, start: jxu.initial.Given, steps: int, **options) -> jxu.initial.Given:
    """Factors after these iterations of espm, transposed to ours: it updates the maps first, as we do."""
    from espm.estimators import SmoothNMF

    model = SmoothNMF(
        n_components=3,
        init="custom",
        max_iter=steps,
        tol=0,
        no_stop_criterion=True,
        verbose=0,
        eval_print=10**6,
        G=scene.basis.T,
        **{"simplex_W": False, "simplex_H": False, **options},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit_transform(scene.x.T.astype(float), W=start.coefficients.T.copy(), H=start.maps.T.copy())
    return jxu.initial.Given(model.H_.T, coefficients=model.W_.T)


def parity(pairs: int) -> None:
    """Objectives from the same start after the same iterations, with and without the simplices of both."""
    print(
        "| counts | pixels | simplex | iterations | ours | espm | relative difference |\n|---|---|---|---|---|---|---|"
    )
    for side, steps in ((32, 1), (32, 10), (32, 100), (128, 30)):
        for counts in (293, 18):
            scene = Scene(counts, side)
            for name in SIMPLEX if side == 32 else ("",):
                ours, peer = _objectives(scene, name, steps)
                cells = (f"{counts}", f"{side} x {side}", name or "none", f"{steps}", f"{ours:.10g}", f"{peer:.10g}")
                print("| " + " | ".join((*cells, f"{ours / peer - 1:+.1e}")) + " |", flush=True)


def _objectives(scene: Scene, simplex: str, steps: int) -> tuple[float, float]:
    constraints, options = SIMPLEX[simplex]
    start = scene.start(bright=simplex == "maps")
    with jax.enable_x64():
        problem = jxu.Problem(scene.x, jxu.losses.Poisson(), scene.basis, constraints=(*NON_NEGATIVE, *constraints))
        fit = jxu.fit(problem, 3, init=start, max_steps=steps, rtol=0, check_every=steps)
    peer = espm_fit(scene, start, steps, **options)
    return scene.objective(fit.maps, fit.coefficients), scene.objective(peer.maps, peer.coefficients)


def speed(pairs: int) -> None:
    """Per iteration, to espm's objective after 100 iterations, and for the best of 20 restarts, at two doses."""
    show(row for counts in (293, 18) for row in _speed(Scene(counts), counts, pairs))


def _speed(scene: Scene, counts: float, pairs: int):
    problem = jxu.Problem(scene.x, jxu.losses.Poisson(), scene.basis.astype(np.float32))
    start = scene.start()
    kind, share = type(problem.matrix).__name__, np.count_nonzero(scene.x) / scene.x.size
    peer = partial(espm_fit, scene, start)
    yield paired(
        f"per iteration, {counts} counts | espm",
        partial(per_step, partial(_steps, problem, start), 20, 120),
        partial(per_step, peer, 2, 6),
        pairs,
        f"{kind}, {share:.1%} non-zero",
    )
    found = {}

    def theirs():
        taken = seconds(lambda: found.update(fit=peer(ITERATIONS)))
        found["peer"] = scene.objective(found["fit"].maps, found["fit"].coefficients)
        return taken

    one = theirs()
    steps = _steps_to(found["peer"], scene, problem, start)

    def ours():
        return seconds(lambda: found.update(ours=_steps(problem, start, steps)))

    row = paired(f"to its objective after {ITERATIONS} iterations, {counts} counts | espm", ours, lambda: one, pairs)
    mine = scene.objective(found["ours"].maps, found["ours"].coefficients)
    row.note = f"{steps} steps; objective {mine:.8g} against {found['peer']:.8g}"
    yield row

    def restarts():
        return seconds(lambda: found.update(all=_steps(problem, None, ITERATIONS, RESTARTS)))

    row = paired(
        f"best of {RESTARTS} restarts of {ITERATIONS} iterations, {counts} counts | espm, {RESTARTS} times one",
        restarts,
        lambda: RESTARTS * one,
        1,
    )
    row.note = f"objective {found['all'].objective:.8g}"
    yield row


def _steps(problem: jxu.Problem, start: jxu.initial.Given | None, steps: int, restarts: int = 1) -> jxu.Solution:
    key = jax.random.key(0)
    return jxu.fit(problem, 3, None, start, restarts, key=key, max_steps=steps, rtol=0, check_every=steps)


def _steps_to(target: float, scene: Scene, problem: jxu.Problem, start: jxu.initial.Given) -> int:
    """Steps after which our objective, evaluated in float64, is at least as low."""
    for steps in range(ITERATIONS, 2 * ITERATIONS):
        fit = _steps(problem, start, steps)
        if scene.objective(fit.maps, fit.coefficients) <= target:
            return steps
    raise RuntimeError(f"the objective was not reached in {2 * ITERATIONS} steps")


BENCHMARKS = {f.__name__: f for f in (parity, speed)}


def main() -> None:
    """Run what is named on the command line and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in options.names or BENCHMARKS:
        print(f"\n{name}\n")
        BENCHMARKS[name](options.pairs)


if __name__ == "__main__":
    main()
