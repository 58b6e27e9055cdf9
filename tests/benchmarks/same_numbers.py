"""Whether a change of structure changes a number: fits of every kind with fixed keys, and how far two runs are apart.

    python tests/benchmarks/same_numbers.py write before.npz           # in a checkout of the one, from its root
    python tests/benchmarks/same_numbers.py write after.npz            # in a checkout of the other
    python tests/benchmarks/same_numbers.py compare before.npz after.npz

In float64; losses x updates x layouts x constraints, projections, a scan with nine criteria, a pooled fit, weights
chosen by `tune`, and compositions with errors. `compare` prints of each the largest difference relative to its largest
entry.
Only public names are used, so that it runs in any version that has them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

import jaxunmix as jxu
from jaxunmix import initial

KEY = jax.random.key(7)
SETTINGS = {"rank": 3, "restarts": 3, "key": KEY, "max_steps": 60}
C, L, U, P = jxu.constraints, jxu.losses, jxu.updates, jxu.penalties
SIGNS = (C.NonNegative("maps"), C.NonNegative("spectra"))


def entries(img):
    """The matrix of an image as an array."""
    matrix = img.matrix()
    return np.asarray(matrix.to_scipy().toarray() if hasattr(matrix, "to_scipy") else matrix.values, float)


def least_squares(x):
    """Name -> solution."""
    dense, positive = jxu.Dense(x), jxu.Dense(x - x.min())
    known = np.full((3, x.shape[1]), np.nan)
    known[0, :5] = 0
    disjoint = (C.NonNegative("maps"), C.Orthogonal("maps"))
    soft = (C.NonNegative("maps"), C.Orthogonal("maps", 0.5, strict=False))
    given = initial.Given(spectra=x[:1] + 0.5)
    compressed = jxu.Compressed(dense, 12, key=jax.random.key(3))
    basis = np.abs(np.random.default_rng(1).normal(size=(8, x.shape[1])))
    laplacian = P.Laplacian("maps", 0.1, (20, 20))
    fixed = (*SIGNS, C.Fixed("spectra", rows=(0,)))
    values = (*SIGNS, C.Fixed("spectra", values=known))
    found = {
        "HALS, dense": jxu.fit(jxu.Problem(dense), **SETTINGS),
        "HALS, compressed": jxu.fit(jxu.Problem(compressed), **SETTINGS),
        "HALS, a basis": jxu.fit(jxu.Problem(dense, basis=basis, penalties=(laplacian,)), **SETTINGS),
        "HALS, known entries, VCA": jxu.fit(jxu.Problem(dense, constraints=values), init=initial.VCA(), **SETTINGS),
        "HALS, orthogonal, Clusters": jxu.fit(jxu.Problem(dense, constraints=disjoint), **SETTINGS),
        "HALS, softly orthogonal": jxu.fit(jxu.Problem(dense, constraints=soft), **SETTINGS),
        "HALS, Coarse": jxu.fit(jxu.Problem(dense), init=initial.Coarse(), **SETTINGS),
        "ALS": jxu.fit(jxu.Problem(dense), update=U.ALS(), **SETTINGS),
        "MALS, a known spectrum": jxu.fit(
            jxu.Problem(dense, constraints=fixed), update=U.MALS(), init=given, **SETTINGS
        ),
        "Multiplicative, L1, NNDSVD": jxu.fit(
            jxu.Problem(positive, penalties=(P.L1("maps", 0.05),)),
            3,
            U.Multiplicative(),
            initial.NNDSVD(),
            max_steps=60,
        ),
    }
    return found | {"project": jxu.project(x, np.asarray(found["HALS, dense"].spectra))}


def counts(img):
    """Name -> solution."""
    x = entries(img)
    weights = np.random.default_rng(0).uniform(0.2, 1, x.shape)
    weights[::7, ::5] = 0
    laplacian = P.Laplacian("maps", 0.1, img.grid)
    sparse, dense = jxu.Counts(x), jxu.Dense(x)
    several = (laplacian, P.L1("spectra", 0.01), P.SoftOrthogonality("maps", 0.1))
    logs = (P.LogSparsity("maps", 1e-3),)
    sums = (*SIGNS, C.Simplex("spectra"))
    tied = (*SIGNS, C.Simplex("maps"), C.Proportional("spectra", (3, 5), (1, 2)))
    normed = (*SIGNS, C.UnitNorm("spectra"))
    ridge = (lambda f: 0.1 * jnp.sum(f.maps**2),)
    beta = jxu.Problem(dense, L.Beta(1.5), penalties=ridge, constraints=normed)
    found = {
        "HALS, counts, penalties": jxu.fit(jxu.Problem(sparse, penalties=several), update=U.HALS(sweeps=2), **SETTINGS),
        "Poisson, counts, penalties": jxu.fit(
            jxu.Problem(sparse, L.Poisson(), penalties=(laplacian, *logs)), **SETTINGS
        ),
        "Poisson, dense, weights": jxu.fit(jxu.Problem(dense, L.Poisson(), weights=weights), **SETTINGS),
        "Poisson, Sheared, sums": jxu.fit(
            jxu.Problem(sparse, L.Poisson(), penalties=logs, constraints=sums), update=U.Sheared(), **SETTINGS
        ),
        "Poisson, sums and ratios": jxu.fit(jxu.Problem(dense, L.Poisson(), constraints=tied), **SETTINGS),
        "Itakura-Saito": jxu.fit(jxu.Problem(jxu.Dense(x + 0.1), L.ItakuraSaito()), **SETTINGS),
        "Beta, ProjectedGradient, a function": jxu.fit(beta, update=U.ProjectedGradient(), **SETTINGS),
    }
    spectra = np.asarray(found["Poisson, counts, penalties"].spectra)
    return found | {"project, Poisson": jxu.project(x, spectra, L.Poisson())}


def pooled(img):
    """Name -> array."""
    problem = jxu.Problem(
        img.matrix(), L.Poisson(), penalties=(P.LogSparsity("maps", 1e-3), P.Laplacian("maps", 2.0, img.grid))
    )
    found = jxu.fit_pooled(problem, 3, key=jax.random.key(2), restarts=6, max_steps=100)
    open_ones = (P.LogSparsity("maps", "auto"), P.Laplacian("maps", "auto", img.grid))
    tuned = jxu.tune(jxu.Problem(img.matrix(), L.Poisson(), penalties=open_ones), 3, key=KEY, restarts=6, max_steps=60)
    return {
        "fit_pooled/maps": found.solution.maps,
        "fit_pooled/spectra": found.pooled.spectra,
        "tune/weights": [float(penalty.weight) for penalty in tuned.penalties],
        "tune/deviance": [curve.deviance for curve in tuned.tuning.curves],
    }


def compositions():
    """Name -> array."""
    img, _ = jxu.simulate.mantle_minerals(jax.random.key(0), counts=100, shape=(24, 24))
    elements = ("O", "Mg", "Al", "Si", "Ca", "Fe", "Nd", "Sm", "Hf", "Lu", "U")
    model = jxu.physics.xray.EmissionModel(
        elements, img.data.energy.values, beam_keV=200, take_off_deg=22, thickness_nm=100, density=4.2
    )
    basis = model.basis()
    constraints = (
        C.NonNegative("maps"),
        C.NonNegative("coefficients"),
        C.Simplex("coefficients", basis.element_columns),
    )
    problem = jxu.Problem(
        img.matrix(), L.Poisson(), basis, penalties=(P.LogSparsity("maps", 1e-3),), constraints=constraints
    )
    solution = jxu.fit(problem, 3, key=jax.random.key(2), max_steps=100)
    found = jxu.quantify(problem, solution, basis)
    return {f"quantify/{name}": variable.values for name, variable in found.data_vars.items()}


def scanned(x):
    """Name -> array."""
    rank = jxu.rank
    criteria = (
        *(rank.BiCrossValidation(5), rank.Plateau(), rank.Elbow(), rank.Crossing(), rank.Scree()),
        *(rank.Malinowski(), rank.AIC(), rank.BIC(), rank.Dispersion()),
    )
    scan = rank.scan(jxu.Problem(jxu.Dense(x)), range(1, 7), criteria, restarts=4, key=KEY)
    table = {f"scan/{name}": v.values for name, v in scan.table.data_vars.items() if v.dtype.kind == "f"}
    return table | {f"scan/maps of {k}": solution.maps for k, solution in scan.solutions.items()}


def write(path):
    """Fit everything, and write maps, spectra and objectives."""
    mixture, _ = jxu.simulate.mixture(jax.random.key(0), 400, 60, 3, "gaussian")
    phases, _ = jxu.simulate.edx_phases(jax.random.key(1), (20, 20))
    finer, _ = jxu.simulate.edx_phases(jax.random.key(2), (32, 32))
    numbers = {}
    for name, solution in {**least_squares(entries(mixture)), **counts(phases)}.items():
        for what in ("maps", "spectra", "objective"):
            numbers[f"{name}/{what}"] = getattr(solution, what)
        numbers[f"{name}/restarts"] = solution.restarts.objective
    numbers |= {**scanned(entries(mixture)), **pooled(finer), **compositions()}
    np.savez(path, **{name: np.asarray(value) for name, value in numbers.items()})


def compare(one, other):
    """Print the largest relative difference of each kind of fit."""
    with np.load(one) as first, np.load(other) as second:
        apart = {}
        for name in first.files:
            a, b = first[name], second[name]
            scale = max(np.nanmax(np.abs(np.where(np.isfinite(a), a, 0))), np.finfo(float).tiny)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            kind = name.split("/")[0]
            apart[kind] = max(apart.get(kind, 0.0), float(np.max(np.where(same, 0, np.abs(a - b)) / scale)))
    for kind, difference in apart.items():
        print(f"{kind:40s}{difference:10.1e}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    {"write": write, "compare": compare}[sys.argv[1]](*sys.argv[2:])
