"""jaxunmix beside its peers, in one process, A B A B: prints one table of medians of paired ratios.

    python tests/benchmarks/run.py [iteration objective wide density crossvalidation] [--pairs 3]

scikit-learn is needed for all but `density` (`pip install -e '.[peers]'`); beside espm we run in edx.py.
All data are simulated, float32 on our side; compilation is done before and reported apart.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

import jaxunmix as jxu


@dataclass
class Row:
    """One line of the table: seconds of ours and the peer's, and the median of the paired ratios."""

    what: str
    ours: float
    peer: float
    ratio: float
    compile: float
    note: str = ""


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def paired(what: str, ours: Callable[[], float], peer: Callable[[], float], pairs: int, note: str = "") -> Row:
    """Peer and ours in turn; both return seconds (of whatever unit the row is about)."""
    jax.clear_caches()
    first = seconds(ours)
    compiled = first - seconds(ours)
    times = [(ours(), peer()) for _ in range(pairs)]
    ratio = statistics.median(b / a for a, b in times)
    mine, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    return Row(what, mine, theirs, ratio, max(compiled, 0.0), note)


def per_step(run: Callable[[int], object], few: int, many: int) -> float:
    """Seconds per step from a long and a short run, so that what is done once cancels."""
    return (seconds(lambda: run(many)) - seconds(lambda: run(few))) / (many - few)


def iteration(pairs: int) -> list[Row]:
    """HALS against coordinate descent, 160,000 x 100, K = 8, per iteration."""
    from sklearn.decomposition import NMF

    rng = np.random.default_rng(0)
    x = rng.random((160_000, 8), dtype=np.float32) @ rng.random((8, 100), dtype=np.float32)
    x += 0.1 * rng.random(x.shape, dtype=np.float32)
    w, h = rng.random((160_000, 8), dtype=np.float32), rng.random((8, 100), dtype=np.float32)
    problem, start = jxu.Problem(x), jxu.initial.Given(w, h)

    def ours(steps):
        return jxu.fit(problem, 8, init=start, key=jax.random.key(0), max_steps=steps, rtol=0)

    def peer(steps):
        return NMF(8, init="custom", max_iter=steps, tol=0).fit_transform(x, W=w.copy(), H=h.copy())

    row = paired(
        "HALS per iteration, 160,000 x 100, K = 8 | scikit-learn CD",
        lambda: per_step(ours, 20, 120),
        lambda: per_step(peer, 10, 40),
        pairs,
    )
    return [row]


def objective(pairs: int) -> list[Row]:
    """Time to the objective that scikit-learn reaches after 200 iterations on spectra that resemble one another."""
    from sklearn.decomposition import NMF

    img, _ = jxu.simulate.mixture(jax.random.key(0), 160_000, 100, 8, noise="gaussian", snr_db=28.0, correlated=True)
    x = np.maximum(img.data.values.reshape(-1, 100), 0).astype(np.float32)
    rng = np.random.default_rng(0)
    scale = np.sqrt(x.mean() / 8)
    w, h = (scale * rng.random(s, dtype=np.float32) for s in ((160_000, 8), (8, 100)))
    start = jxu.initial.Given(w, h)
    reached = {}

    def peer():
        model = NMF(8, init="custom", max_iter=200, tol=0)
        taken = seconds(lambda: reached.update(w=model.fit_transform(x, W=w.copy(), H=h.copy())))
        reached["objective"] = _half_squares(x, reached["w"], model.components_)
        return taken

    peer()
    steps = _steps_to(reached["objective"], x, start)

    def ours():
        def run():
            compressed = jxu.Compressed(x, 10, key=jax.random.key(0), polish=5)
            reached["ours"] = jxu.fit(
                jxu.Problem(compressed), 8, init=start, key=jax.random.key(0), max_steps=steps, rtol=0, check_every=100
            )

        return seconds(run)

    row = paired("time to its objective after 200 iterations, correlated spectra | scikit-learn CD", ours, peer, pairs)
    mine = _half_squares(x, reached["ours"].maps, reached["ours"].spectra)
    row.note = f"{steps} + 5 steps; objective {mine:.6g} against {reached['objective']:.6g}"
    return [row]


def _steps_to(target: float, x: np.ndarray, start: jxu.initial.Given) -> int:
    """Steps on the compressed data after which the polished fit is at least as good as the target."""
    compressed = jxu.Compressed(x, 10, key=jax.random.key(0), polish=5)
    for steps in range(100, 1000, 10):
        fit = jxu.fit(
            jxu.Problem(compressed), 8, init=start, key=jax.random.key(0), max_steps=steps, rtol=0, check_every=100
        )
        if _half_squares(x, fit.maps, fit.spectra) <= target:
            return steps
    raise RuntimeError("the target objective was not reached in 1000 steps")


def _edx(counts: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Line spectra over a background, 128 x 128 pixels: counts, basis, and a start."""
    rng = np.random.default_rng(0)
    channel = np.arange(1980)
    lines = [np.exp(-0.5 * ((channel - c) / 8.0) ** 2) for c in rng.uniform(50, 900, 10)]
    smooth = [np.exp(-channel / s) for s in (300.0, 900.0)]
    basis = np.stack(lines + smooth)
    basis = (basis / basis.sum(axis=1, keepdims=True)).astype(np.float32)
    maps = rng.dirichlet(np.full(3, 0.3), 128 * 128)
    model = maps @ rng.dirichlet(np.full(12, 0.5), 3) @ basis
    x = rng.poisson(model * counts / model.sum(axis=1).mean()).astype(np.uint8)
    return x, basis, rng.random((128 * 128, 3), np.float32), rng.random((3, 12), np.float32)


def wide(pairs: int) -> list[Row]:
    """20 restarts of K = 7 on 10,000 x 16,384, compression and polish included, against one default fit."""
    from sklearn.decomposition import NMF

    img, _ = jxu.simulate.patterns(jax.random.key(0), (100, 100), (128, 128), counts=2e5, domains=7)
    x = img.data.values.reshape(10_000, -1).astype(np.float32)
    found = {}

    def ours():
        def run():
            compressed = jxu.Compressed(x, 24, key=jax.random.key(0), polish=1)
            found["ours"] = jxu.fit(
                jxu.Problem(compressed), 7, restarts=20, key=jax.random.key(1), max_steps=40, rtol=1e-5
            )

        return seconds(run)

    def peer():
        model = NMF(7)
        taken = seconds(lambda: found.update(w=model.fit_transform(x)))
        found["peer"], found["steps"] = model.components_, model.n_iter_
        return taken

    row = paired("20 restarts, 10,000 x 16,384, K = 7 | ONE default scikit-learn fit", ours, peer, min(pairs, 2))
    mine, theirs = found["ours"].objective, _half_squares(x, found["w"], found["peer"])
    row.note = f"objective {mine / theirs:.5f} of scikit-learn's ({found['steps']} iterations)"
    return [row]


def density(pairs: int) -> list[Row]:
    """Counts against Dense over the share of non-zeros: where `as_matrix` should change over."""
    rows = []
    for counts in (18, 60, 120, 200, 293):
        x, basis, w, a = _edx(counts)
        start = jxu.initial.Given(w, coefficients=a)
        problems = [jxu.Problem(make(x), jxu.losses.Poisson(), basis=basis) for make in (jxu.Counts, jxu.Dense)]
        runs = [partial(_steps, problem, start) for problem in problems]
        share = np.count_nonzero(x) / x.size
        ours, peer = (partial(per_step, run, 5, 25) for run in runs)
        rows.append(paired(f"Counts per iteration at {share:.1%} non-zero | Dense", ours, peer, pairs))
    return rows


def crossvalidation(pairs: int) -> list[Row]:
    """Bi-cross-validation of 6 ranks x 20 folds on 90,000 x 100 against a loop over scikit-learn fits.

    The peer fits the six ranks of one fold, times 20; once with its defaults, once until it has our objective.
    """
    x = _mixture(90_000)
    ranks, found = list(range(4, 10)), {}
    criterion = jxu.rank.BiCrossValidation(folds=20, restarts=1)

    def ours():
        scan = partial(jxu.rank.scan, jxu.Problem(x), ranks, (criterion,), restarts=1, key=jax.random.key(1))
        return seconds(lambda: found.update(scan=scan()))

    training = _training(x, 0)
    objectives = _our_objectives(training, ranks)
    rows = []
    for what, target in (("default scikit-learn fits", {}), ("scikit-learn to our objectives", objectives)):

        def peer(target=target):
            fits = {rank: _peer_fit(training, rank, target.get(rank)) for rank in ranks}
            found.update(fits=fits)
            return 20 * sum(taken for taken, *_ in fits.values())

        row = paired(f"BCV of 6 ranks x 20 folds, 90,000 x 100 | {what}", ours, peer, pairs if not target else 1)
        parts = (f"{r}: {objectives[r] / o:.4f} ({n})" for r, (_, o, n) in found["fits"].items())
        row.note = f"K = {found['scan'].best}; our objective over its (iterations) " + ", ".join(parts)
        rows.append(row)
    for seed in (0, 1):
        # Counts: no clipping at zero, which makes a component of its own that the two may weigh differently.
        img, _ = jxu.simulate.mixture(jax.random.key(seed), 3_600, 100, 6, noise="poisson", counts=2000.0)
        small = img.data.values.reshape(-1, 100)
        whole = (jxu.rank.BiCrossValidation(folds=20),)
        scan = jxu.rank.scan(jxu.Problem(small), ranks, whole, restarts=1, key=jax.random.key(1))
        least, peer_table = ranks[int(np.argmin(scan.table["BiCrossValidation"].values))], _peer_folds(small, ranks)
        rows[-1].note += f"; 3,600 pixels of counts, draw {seed}: least at {least}, chosen {scan.best}, by scikit-learn"
        rows[-1].note += f" {ranks[int(np.argmin(peer_table.mean(axis=1)))]}, {_fewest(peer_table, ranks)}"
    return rows


def _mixture(pixels: int) -> np.ndarray:
    img, _ = jxu.simulate.mixture(jax.random.key(0), pixels, 100, 6, noise="gaussian", snr_db=20.0)
    return np.maximum(img.data.values.reshape(pixels, 100), 0).astype(np.float32)


def _held(size: int, fold: int) -> np.ndarray:
    return np.arange(size // 20) * 20 + fold


def _training(x: np.ndarray, fold: int) -> np.ndarray:
    left = [np.setdiff1d(np.arange(size), _held(size, fold)) for size in x.shape]
    return np.ascontiguousarray(x[np.ix_(*left)])


def _our_objectives(training: np.ndarray, ranks: list[int]) -> dict[int, float]:
    """On the whole block, of fits as bi-cross-validation makes them."""
    scan = jxu.rank.scan(
        jxu.Problem(training), ranks, (jxu.rank.AIC(),), restarts=1, key=jax.random.key(1), max_steps=50
    )
    return {rank: _half_squares(training, s.maps, s.spectra) for rank, s in scan.solutions.items()}


def _peer_fit(x: np.ndarray, rank: int, target: float | None) -> tuple[float, float, int]:
    """(seconds, objective, iterations) of one default fit, or of one that goes on until the target, 600 at most."""
    from sklearn.decomposition import NMF
    from sklearn.decomposition._nmf import _initialize_nmf

    if target is None:
        model = NMF(rank)
        start = time.perf_counter()
        w = model.fit_transform(x)
        return time.perf_counter() - start, _half_squares(x, w, model.components_), model.n_iter_
    start = time.perf_counter()
    w, h = _initialize_nmf(x, rank, "nndsvda", random_state=0)
    taken, reached, steps = time.perf_counter() - start, np.inf, 0
    while reached > target * (1 + 1e-5) and steps < 600:
        model = NMF(rank, init="custom", tol=0, max_iter=10)
        start = time.perf_counter()
        w = model.fit_transform(x, W=w.astype(np.float32), H=h.astype(np.float32))
        taken += time.perf_counter() - start
        h, steps = model.components_, steps + 10
        reached = _half_squares(x, w, h)
    return taken, reached, steps


def _peer_folds(x: np.ndarray, ranks: list[int]) -> np.ndarray:
    """The held-out residuals (ranks, folds) by scikit-learn's fits and plain linear algebra."""
    from sklearn.decomposition import NMF

    table = np.zeros((len(ranks), 20))
    for fold in range(20):
        pixels, channels = (_held(size, fold) for size in x.shape)
        training = _training(x, fold)
        beside, below = np.delete(x[pixels], channels, axis=1), np.delete(x[:, channels], pixels, axis=0)
        for row, rank in zip(table, ranks, strict=True):
            model = NMF(rank)
            w = model.fit_transform(training)
            predicted = beside @ np.linalg.pinv(model.components_) @ np.linalg.pinv(w) @ below
            row[fold] = np.sum((x[np.ix_(pixels, channels)] - predicted) ** 2)
    return table


def _fewest(table: np.ndarray, ranks: list[int]) -> int:
    """The fewest within a standard error of the least, of held-out residuals (ranks, folds)."""
    apart = table - table[np.argmin(table.mean(axis=1))]
    error = apart.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    return ranks[int(np.argmax(apart.mean(axis=1) <= error))]


def _steps(problem: jxu.Problem, start: jxu.initial.Given, steps: int) -> jxu.Solution:
    return jxu.fit(problem, 3, init=start, key=jax.random.key(0), max_steps=steps, rtol=0, check_every=steps)


def _half_squares(x: np.ndarray, w: np.ndarray, h: np.ndarray) -> float:
    """Half the squared residual, block by block in float64."""
    return sum(
        0.5 * float(((x[i : i + 2000].astype(float) - w[i : i + 2000].astype(float) @ h.astype(float)) ** 2).sum())
        for i in range(0, len(x), 2000)
    )


def show(rows: Iterable[Row]) -> None:
    """Print the table, each row as soon as it is there."""
    print("| what, against whom | ours (s) | peer (s) | times faster | compile (s) | |\n|---|---|---|---|---|---|")
    for row in rows:
        cells = (row.what.replace(" | ", " against "), f"{row.ours:.4g}", f"{row.peer:.4g}", f"{row.ratio:.1f}")
        print("| " + " | ".join((*cells, f"{row.compile:.1f}", row.note)) + " |", flush=True)


BENCHMARKS = {f.__name__: f for f in (iteration, objective, wide, density, crossvalidation)}


def main() -> None:
    """Run the benchmarks named on the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    show(row for name in options.names or BENCHMARKS for row in BENCHMARKS[name](options.pairs))


if __name__ == "__main__":
    main()
