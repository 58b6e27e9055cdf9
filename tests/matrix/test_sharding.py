"""Pixels over four simulated devices: the same numbers, and only small sums cross between them."""

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = textwrap.dedent(
    """
    import re
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec
    import jaxunmix as jxu
    from jaxunmix.factor.solve.loop import _advance, _traced, start
    import equinox as eqx

    assert jax.device_count() == 4
    mesh = jax.make_mesh((4,), ("pixels",), axis_types=(jax.sharding.AxisType.Auto,))
    rng = np.random.default_rng(0)
    pixels, channels, rank = 2000, 64, 3
    x = rng.poisson(rng.dirichlet(np.ones(rank), pixels) @ (rng.random((rank, channels)) * 2 + 0.1))
    w, h = rng.random((pixels, rank)).astype("f4"), rng.random((rank, channels)).astype("f4")
    given = jxu.initial.Given(w, h)
    basis = rng.random((5, channels)) + 0.1
    options = dict(key=jax.random.key(0), max_steps=50, rtol=0)

    def gathered(problem, init, update):
        run = start(problem, update, init, rank, jax.random.split(jax.random.key(0), 1))
        text = _advance.lower(problem, update, run, *_traced(1, 0.0)).compile().compiled.as_text()
        found = re.findall(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?[(]", text)
        assert found, "the compiled step has no collective: the pixels were not spread"
        for shape, kind in found:
            dims = re.findall(r"\\[([0-9,]*)\\]", shape)
            sizes = [int(np.prod([int(n) for n in d.split(",") if n])) for d in dims]
            assert kind == "all-reduce", (kind, shape)
            assert max(sizes) <= rank * channels, (kind, shape)

    for make in (jxu.Dense, jxu.Counts):
        for loss in (jxu.losses.Frobenius(), jxu.losses.Poisson()):
            for b in (None, basis):
                init = given if b is None else jxu.initial.Given(w, coefficients=rng.random((rank, 5)))
                update = jxu.updates.HALS() if loss.beta == 2 else jxu.updates.Multiplicative()
                one = jxu.fit(jxu.Problem(make(x), loss, basis=b), rank, update, init, **options)
                spread = jxu.Problem(make(x).shard(mesh), loss, basis=b)
                assert len(spread.matrix.pixel_sums.sharding.device_set) == 4
                four = jxu.fit(spread, rank, update, init, **options)
                error = abs(four.objective - one.objective) / one.objective
                print(make.__name__, type(loss).__name__, b is not None, one.objective, error)
                assert error < 1e-5
                np.testing.assert_allclose(four.maps, one.maps, rtol=2e-2, atol=2e-3)
                gathered(spread, init, update)
    # A sharded jax array is taken as it is, restarts and random starts go through, uneven pixels are refused.
    placed = jax.device_put(jnp.asarray(x, jnp.float32), NamedSharding(mesh, PartitionSpec("pixels")))
    many = jxu.fit(jxu.Problem(placed), rank, restarts=3, key=jax.random.key(1), max_steps=20)
    assert np.isfinite(many.objective)
    compressed = jxu.Compressed(x.astype("f4"), 10, key=jax.random.key(0)).shard(mesh)
    assert np.isfinite(jxu.fit(jxu.Problem(compressed), rank, key=jax.random.key(1), max_steps=20).objective)
    assert jxu.fit(jxu.Problem(placed), rank, init=jxu.initial.VCA(), key=jax.random.key(1), max_steps=20).objective > 0
    for make in (jxu.Dense, jxu.Counts):
        try:
            make(x[:-1]).shard(mesh)
        except ValueError as error:
            assert "1999 pixels cannot be spread evenly over 4 devices; crop to 1996" in str(error)
        else:
            raise AssertionError
    print("all well")
    """
)


@pytest.mark.slow
def test_four_devices_give_the_numbers_of_one():
    """Acceptance: the objective after 50 iterations to 1e-5; no collective but sums of K x channels."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=500)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
    assert "all well" in done.stdout
