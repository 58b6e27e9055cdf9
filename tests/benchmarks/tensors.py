"""CP and Tucker beside TensorLy's HALS: relative errors and seconds side by side in one run.

    python tests/benchmarks/tensors.py [--case speed] [--case kinetic] [--case simulated]

TensorLy (`pip install tensorly`, or `pip install '.[peers]'`) runs in the precision that it is given the data in; both
that of ours and the double that it has by default are shown. Our seconds are the least of three calls after the first,
whose compilation is printed beside it, and include all checks of the data. TensorLy has no compilation; it is called
once, as it takes long. Each runs until its own rule stops it. `seconds to reach` is how long each needs until its error
is within 1e-3 of the best of the two.
"""

import argparse
import time
import warnings

import jax
import numpy as np
import pytest

import jaxunmix as jxu

tl = pytest.importorskip("tensorly", reason="tensorly is not installed: pip install -e '.[peers]'")
load_kinetic = pytest.importorskip("tensorly.datasets").load_kinetic
_decomposition = pytest.importorskip("tensorly.decomposition")
non_negative_parafac_hals = _decomposition.non_negative_parafac_hals
non_negative_tucker_hals = _decomposition.non_negative_tucker_hals

KEY = jax.random.key(0)


def simulate(shape, rank, noise=0.05, seed=0):
    """A tensor of single precision, of known rank, and noise relative to its standard deviation."""
    rng = np.random.default_rng(seed)
    factors = [rng.uniform(size=(size, rank)) ** 3 for size in shape]
    letters = [f"{chr(ord('a') + m)}Z" for m in range(len(shape))]
    x = np.einsum(f"{','.join(letters)}->{''.join(pair[0] for pair in letters)}", *factors)
    return (x + noise * x.std() * rng.normal(size=shape)).astype(np.float32)


def error(x, model):
    """Relative, in double precision."""
    x = np.asarray(x, float)
    return np.linalg.norm(x - np.asarray(model, float)) / np.linalg.norm(x)


def timed(function):
    begin = time.perf_counter()
    result = jax.block_until_ready(function())
    return time.perf_counter() - begin, result


def ours(x, rank, **options):
    """First seconds, least of three more, and the error."""
    first, found = timed(lambda: jxu.fit_tensor(x, rank, key=KEY, **options))
    later = min(timed(lambda: jxu.fit_tensor(x, rank, key=KEY, **options))[0] for _ in range(3))
    return first, later, error(x, found.reconstruct()), int(found.steps)


def theirs(x, rank, steps, **options):
    """Seconds and the error."""
    tucker = isinstance(rank, tuple)
    call = non_negative_tucker_hals if tucker else non_negative_parafac_hals
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, found = timed(lambda: call(tl.tensor(x), list(rank) if tucker else rank, n_iter_max=steps, **options))
    model = tl.tucker_to_tensor(found) if tucker else tl.cp_to_tensor(found)
    return seconds, error(x, model)


def steps_to_reach(limit, run, trials=(2, 3, 5, 8, 12, 20, 30, 50, 100, 200, 500)):
    """The first number of steps, and its seconds, after which the error is within the limit."""
    for steps in trials:
        seconds, reached = run(steps)
        if reached <= limit:
            return steps, seconds
    return None, np.nan


def our_run(x, rank, restarts=1):
    def run(steps):
        options = {"restarts": restarts, "max_steps": steps, "rtol": 0, "check_every": steps}
        _, later, reached, _ = ours(x, rank, **options)
        return later, reached

    return run


def compare(name, x, rank, restarts, seeds, reach=False):
    """One block of the table."""
    print(f"{name}: {' x '.join(map(str, x.shape))}, rank {rank}", flush=True)
    for count in restarts:
        first, later, own, steps = ours(x, rank, restarts=count)
        print(f"  ours, {count} restarts: error {own:.5f}  {later:.3f} s  (first call {first:.2f} s, {steps} steps)")
    best = np.inf
    starts = [{"init": "svd"}, *({"init": "random", "random_state": seed} for seed in range(seeds))]
    for kind in (np.float32, np.float64):
        for options in starts:
            name = f"  TensorLy {np.dtype(kind).name} {options['init']}:"
            try:
                seconds, reached = theirs(x.astype(kind), rank, 100, **options)
            except np.linalg.LinAlgError as failed:
                print(f"{name} {failed}", flush=True)
                continue
            print(f"{name} error {reached:.5f}  {seconds:.3f} s", flush=True)
            best = min(best, reached)
    print(f"  error less TensorLy's best: {own - best:+.5f}")
    if not reach:
        return
    limit = min(best, own) + 1e-3
    steps, seconds = steps_to_reach(limit, our_run(x, rank, restarts[0]))
    print(f"  ours reach {limit:.5f} in {steps} steps, {seconds:.3f} s")
    for kind in (np.float32, np.float64):
        data = x.astype(kind)
        peer, took = steps_to_reach(limit, lambda n, data=data: theirs(data, rank, n, init="svd", tol=0))
        print(
            f"  TensorLy {data.dtype.name} in {peer} steps, {took:.3f} s: {took / seconds:.1f} times ours",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", action="append", choices=("speed", "kinetic", "simulated"))
    cases = parser.parse_args().case or ("speed", "kinetic", "simulated")
    if "speed" in cases:
        compare("speed, CP", simulate((100, 100, 200), 5), 5, (1, 5), 0, reach=True)
        compare("speed, Tucker", simulate((100, 100, 200), 5), (5, 5, 5), (1, 5), 0, reach=True)
    if "kinetic" in cases:
        x = np.asarray(load_kinetic().tensor, np.float32)
        for rank in (3, 4, 5, (3, 4, 3, 4)):
            compare("kinetic", x, rank, (1, 10), 1)
    if "simulated" in cases:
        for shape, rank in (((30, 40, 50), 4), ((20, 15, 25, 30), 3), ((30, 40, 50), (3, 4, 5))):
            number = rank if isinstance(rank, int) else 6
            compare("simulated", simulate(shape, number, 0.2, seed=1), rank, (1, 5), 1)


if __name__ == "__main__":
    main()
