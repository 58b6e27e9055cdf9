"""Most of the table of `test_bad_input.py`: each case by name, and what became of it as JSON; see `bad_arguments` too.

A case is a call and what is asked of it: "refused" by an error of ours, "same" as the call with the plain numbers, or
"either" of the two. What an error is of ours is told by the last frame of its traceback.
"""

import functools
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse

import jaxunmix as jxu
from jaxunmix import bayes, metrics, preprocess, rank, simulate
from jaxunmix.physics import calibration, xray
from jaxunmix.sklearn import NMF

PACKAGE = str(Path(jxu.__file__).parent)
RNG = np.random.default_rng(0)
# Whole numbers up to 9 in the shape of all examples, so that every type holds them; of full rank, nowhere zero.
X = RNG.integers(1, 10, (6, 5)).astype(float)
MAPS, SPECTRA = RNG.integers(1, 5, (6, 2)).astype(float), RNG.integers(1, 5, (2, 5)).astype(float)
KEY = jax.random.key(0)
CASES = {}


def case(name, wanted, call, plain=None, rtol=1e-5):
    assert name not in CASES, name
    CASES[name] = (wanted, call, plain, rtol)


def refused(name, call):
    case(name, "refused", call)


# -- arrays of every kind ------------------------------------------------------------------------------------------

NUMERIC = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "g", ">i2", ">u4", ">i8", ">f2", ">f4", ">f8"]
SAME = {dtype: lambda a, dtype=dtype: a.astype(dtype) for dtype in NUMERIC}
SAME |= {
    "bfloat16": lambda a: a.astype(jnp.bfloat16),
    "list": lambda a: a.tolist(),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "read only": lambda a: np.broadcast_to(a, a.shape),
    "jax": jnp.asarray,
    "unmasked": lambda a: np.ma.masked_array(a, np.zeros(a.shape, bool)),
    "objects": lambda a: a.astype(object),
}


def with_entry(array, value):
    array = np.array(array, float)
    array.flat[1] = value
    return array


WRONG = {
    "complex64": lambda a: a + np.complex64(1j),
    "complex128": lambda a: a + 1j,
    "complex without imaginary part": lambda a: a.astype(complex),
    "objects of None": lambda a: np.full(a.shape, None),
    "objects of text": lambda a: a.astype(str).astype(object),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S8"),
    "dates": lambda a: a.astype("M8[s]"),
    "durations": lambda a: a.astype("m8[s]"),
    "masked": lambda a: np.ma.masked_equal(a, a.flat[1]),
    "NaN": lambda a: with_entry(a, np.nan),
    "infinite": lambda a: with_entry(a, np.inf),
    "minus infinite": lambda a: with_entry(a, -np.inf),
    "empty": lambda a: a[:0],
    "a number": lambda a: 3.0,
    "ragged": lambda a: [[1.0, 2.0], [3.0]],
    "a dictionary": lambda a: {"a": a},
    "None within": lambda a: [[1.0, None]] * len(a),
    "a function": lambda a: lambda: a,
    "a class": lambda a: np.ndarray,
    "records": lambda a: np.zeros(a.shape, [("x", float)]),
}
NONE = {"None": lambda a: None}


def image(values, **more):
    """Rows as the spectra of pixels in a column; anything else as it is."""
    if isinstance(values, list) and all(isinstance(row, list) for row in values):
        values = [[row] for row in values]
    elif getattr(values, "ndim", 0) == 2:
        values = values[:, None]
    return jxu.SpectrumImage.from_array(values, **more)


def live(img):
    return img.live().astype(float)


OBJECTIVE = eqx.filter_jit(lambda problem, factors: problem.objective(factors))


def objective(problem):
    maps, spectra = jnp.asarray(MAPS.T, jnp.float32), jnp.asarray(SPECTRA, jnp.float32)
    return OBJECTIVE(problem, jxu.Bilinear(maps, spectra))


def problem_of(x, *args, **kwargs):
    return objective(jxu.Problem(x, *args, **kwargs))


def sums(matrix):
    return [np.asarray(a, float) for a in (matrix.to_dense(), matrix.squares, matrix.pixel_sums, matrix.channel_sums)]


ENERGY = np.arange(5.0)
BASIS = np.vstack([np.eye(5)[:3], np.ones(5)]) * 2
MODEL_AXIS = 0.01 * np.arange(200) + 0.2
# What takes an array: name -> (function of the array, an array that it takes, whether None means something).
TAKERS = {
    "Dense": (lambda a: sums(jxu.Dense(a)), X, False),
    "Counts": (lambda a: sums(jxu.Counts(a)), X, False),
    "Compressed": (lambda a: sums(jxu.Compressed(a, 3, key=KEY)), X, False),
    "Problem": (problem_of, X, False),
    "Problem, Poisson": (lambda a: problem_of(a, jxu.losses.Poisson()), X, False),
    "Problem(weights)": (lambda a: problem_of(X, weights=a), X, True),
    "Problem of weights": (lambda a: problem_of(a, weights=np.ones(5)), X, False),
    "Problem(basis)": (lambda a: jxu.Problem(X, basis=a).basis, BASIS, True),
    "Bilinear": (lambda a: jxu.Bilinear.of(MAPS, a).spectra, SPECTRA, False),
    "Given(spectra)": (lambda a: jxu.initial.Given(spectra=a).spectra, SPECTRA, False),
    "Fixed(values)": (lambda a: jxu.constraints.Fixed("spectra", values=a).values, SPECTRA, True),
    "project": (lambda a: jxu.project(a, SPECTRA, max_steps=20).maps, X, False),
    "project(spectra)": (lambda a: jxu.project(X, a, max_steps=20).maps, SPECTRA, False),
    "from_array": (lambda a: image(a).matrix().to_dense(), X, False),
    "bin": (lambda a: live(preprocess.bin(image(a), y=3)), X, False),
    "normalise": (lambda a: live(preprocess.normalise(image(a))), X, False),
    "normalise max": (lambda a: live(preprocess.normalise(image(a), "max")), X, False),
    "normalise norm": (lambda a: live(preprocess.normalise(image(a), "norm")), X, False),
    "normalise mean": (lambda a: live(preprocess.normalise(image(a), "mean")), X, False),
    "normalise_range": (lambda a: live(preprocess.normalise_range(image(a))), X, False),
    "weight_channels": (lambda a: live(preprocess.weight_channels(image(a), X[0])), X, False),
    "weights of channels": (lambda a: live(preprocess.weight_channels(image(X), a)), X[0], False),
    "sliding_fft": (lambda a: live(preprocess.sliding_fft(a, 4, 1)), X, False),
    "mean_centre": (lambda a: live(preprocess.mean_centre(image(a))), X, False),
    "log": (lambda a: live(preprocess.log(image(a), 1)), X, False),
    "clip_negative": (lambda a: live(preprocess.clip_negative(image(a))), X, False),
    "shift_to_positive": (lambda a: live(preprocess.shift_to_positive(image(a))), X, False),
    "poisson_scale": (lambda a: live(preprocess.poisson_scale(image(a))), X, False),
    "subtract_reference(spectrum)": (lambda a: live(preprocess.subtract_reference(image(X), a)), X[0], False),
    "optical_density(i0)": (lambda a: live(preprocess.optical_density(image(X), a)), X[0], False),
    "interpolate(values)": (
        lambda a: live(preprocess.interpolate(image(X, coords={"energy": ENERGY}), a)),
        np.array([1.0, 2.0, 3.0]),
        False,
    ),
    "undo": (lambda a: live(preprocess.undo(preprocess.mean_centre(image(a)))), X, False),
    "edge_energy": (lambda a: preprocess.edge_energy(image(a), channels=3, level=5), X, False),
    "match": (lambda a: metrics.match(a, SPECTRA).angles, SPECTRA, False),
    "match(truth)": (lambda a: metrics.match(SPECTRA, a).angles, SPECTRA, False),
    "reorder": (lambda a: metrics.match(SPECTRA, SPECTRA).reorder(a), SPECTRA, False),
    "spectral_angle": (lambda a: metrics.spectral_angle(a, SPECTRA[::-1]), SPECTRA, False),
    "map_error": (lambda a: metrics.map_error(a, MAPS[:, ::-1]), MAPS, False),
    "map_error(truth)": (lambda a: metrics.map_error(MAPS[:, ::-1], a), MAPS, False),
    "correlation": (lambda a: metrics.correlation(a, MAPS[:, ::-1]), MAPS, False),
    "cross_correlation": (lambda a: metrics.cross_correlation(a, MAPS), MAPS, False),
    "relative_residual": (lambda a: metrics.relative_residual(a, MAPS, SPECTRA), X, False),
    "relative_residual(maps)": (lambda a: metrics.relative_residual(X, a, SPECTRA), MAPS, False),
    "explained_variance": (lambda a: metrics.explained_variance(a, MAPS, SPECTRA), X, False),
    "deviance": (lambda a: metrics.deviance(a, MAPS, SPECTRA), X, False),
    "best_window(maps)": (lambda a: metrics.best_window(np.arange(6.0), a).correlation, MAPS, False),
    "EmissionModel(energy)": (
        lambda a: xray.EmissionModel(["Fe"], a, bremsstrahlung=False).energy_keV,
        1 + np.arange(10.0),
        False,
    ),
    "composition": (
        lambda a: xray.emission_basis(["O", "Fe"], MODEL_AXIS, composition=a).values,
        np.array([1.0, 1.0]),
        True,
    ),
    "NMF": (lambda a: NMF(1, max_iter=5, random_state=0).fit(a).components_, X, False),
}
# Where what is not finite has a meaning: free entries, and values that are passed on for `matrix` to refuse.
FREE = {
    "Fixed(values)": {"NaN"},
    "bin": {"NaN", "infinite", "minus infinite"},
    "reorder": {"NaN", "infinite", "minus infinite"},
}
FREE["NMF"] = {"objects of text"}  # which scikit-learn takes for numbers
# (function, kind) that is a right answer where it is "wrong" elsewhere, or right in another way.
RIGHT = {("Problem", "masked"), ("project", "masked"), ("Problem, Poisson", "masked"), ("Problem of weights", "masked")}
RIGHT |= {("optical_density(i0)", "a number"), ("Problem(weights)", "a number")}
for name, (call, array, none) in TAKERS.items():
    plain = functools.cache(lambda c=call, a=array: c(a))
    for kind, made in SAME.items():
        case(f"{name}: {kind}", "either", lambda c=call, a=array, m=made: c(m(a)), plain, 2e-3)
    for kind, made in (WRONG if none else WRONG | NONE).items():
        if kind not in FREE.get(name, ()) and (name, kind) not in RIGHT:
            refused(f"{name}: {kind}", lambda c=call, a=array, m=made: c(m(a)))

SPECTRUM = np.exp(-((np.arange(30.0) - 15) ** 2) / 20) + (np.arange(30) > 12) + 0.01 * np.arange(30)
for kind, made in (WRONG | NONE).items():
    refused(
        f"decompose_spectrum(intensity): {kind}",
        lambda m=made: bayes.decompose_spectrum(np.arange(30.0), m(SPECTRUM), 1, key=KEY),
    )
    refused(
        f"decompose_spectrum(energy): {kind}",
        lambda m=made: bayes.decompose_spectrum(m(np.arange(30.0)), SPECTRUM, 1, key=KEY),
    )
    if kind not in ("None", "a number"):  # the noise that is not known, or the same everywhere
        refused(
            f"decompose_spectrum(noise): {kind}",
            lambda m=made: bayes.decompose_spectrum(np.arange(30.0), SPECTRUM, 1, m(SPECTRUM), key=KEY),
        )

# -- keys ----------------------------------------------------------------------------------------------------------


class Line(bayes.Density):
    """A normal density on a line."""

    size = 1

    def sample(self, key, points):
        return jax.random.normal(key, (points, 1))

    def evaluate(self, z):
        return z

    def log_density(self, terms, beta):
        return -(terms[:, 0] ** 2) / 2


def density():
    try:
        return Line()
    except TypeError:
        return None


PROBLEM = jxu.Problem(X)
COUNTS = jxu.Problem(X, jxu.losses.Poisson(), penalties=(jxu.penalties.L1("maps", "auto"),))
GRID = jxu.Grid.of((2, 3))
EXPLORER = bayes.Jumps(bayes.HMC())
BETAS, START = np.array([0.0, 0.5, 1.0]), np.zeros((3, 2, 1))
KEYED = {
    "fit": lambda key, **more: jxu.fit(PROBLEM, **{"rank": 2, **more}, key=key),
    "scan": lambda key, **more: rank.scan(PROBLEM, **{"ranks": range(1, 3), **more}, key=key),
    "tune": lambda key, **more: jxu.tune(COUNTS, **{"rank": 2, "grid": GRID, **more}, key=key),
    "fit_pooled": lambda key, **more: jxu.fit_pooled(
        COUNTS.replace(penalties=()), **{"rank": 2, "grid": GRID, **more}, key=key
    ),
    "Compressed": lambda key, **more: jxu.Compressed(X, **{"rank": 2, **more}, key=key),
    "smc": lambda key, **more: bayes.smc(density(), **more, key=key),
    "replica_exchange": lambda key, sweeps=20, **more: bayes.replica_exchange(
        density(), EXPLORER, BETAS, START, key, sweeps, **more
    ),
    "decompose_spectrum": lambda key, **more: bayes.decompose_spectrum(
        np.arange(30.0), SPECTRUM, **{"peaks": 1, **more}, key=key
    ),
}
SIMULATED = [
    "battery_xas",
    "cathode_oxygen",
    "core_shell",
    "edge_spectrum",
    "edx_phases",
    "eels_oxides",
    "line_scan",
    "mantle_minerals",
    "mixture",
    "nanosheets",
    "oxide_lattice",
    "patterns",
    "rod_scans",
    "silicon_diode",
    "tof_sims",
    "tunnelling_spectroscopy",
    "xas_domains",
]
KEYED |= {name: lambda key, name=name, **more: getattr(simulate, name)(key, **more) for name in SIMULATED}
NO_KEYS = {
    "0": 0,
    "text": "0",
    "a whole number of NumPy": np.int64(0),
    "a fraction": 1.5,
    "True": True,
    "several": jax.random.split(KEY, 2),
    "floats": np.zeros(2),
    "signed words": np.zeros(2, np.int64),
    "a generator": np.random.default_rng(0),
    "None": None,
}
for name, call in KEYED.items():
    for kind, key in NO_KEYS.items():
        refused(f"{name}(key={kind})", lambda c=call, k=key: c(k))
for kind, key in {
    "typed": KEY,
    "raw": jax.random.PRNGKey(0),
    "raw of NumPy": np.asarray(jax.random.PRNGKey(0)),
}.items():
    case(
        f"mixture: {kind} key",
        "same",
        lambda k=key: live(simulate.mixture(k, 6, 5, 2)[0]),
        lambda: live(simulate.mixture(KEY, 6, 5, 2)[0]),
    )
    case(f"fit: {kind} key", "same", lambda k=key: FITS["fit"](key=k).objective, lambda: FITS["fit"](key=KEY).objective)

# -- numbers -------------------------------------------------------------------------------------------------------

NO_WHOLE = {
    "2.5": 2.5,
    "3.0": 3.0,
    "text": "3",
    "True": True,
    "NaN": np.nan,
    "complex": 3 + 0j,
    "-7": -7,
    "a list": [3],
}
NO_NUMBER = {
    "text": "1",
    "True": True,
    "NaN": np.nan,
    "infinite": np.inf,
    "complex": 1j,
    "a list": [1.0],
    "masked": np.ma.masked,
}
FACTORS = jxu.Bilinear.of(MAPS, SPECTRA)
FITS = {
    "fit": lambda **more: jxu.fit(PROBLEM, **{"rank": 2, "key": KEY, "max_steps": 10, **more}),
    "minimise": lambda **more: jxu.minimise(PROBLEM, **{"start": FACTORS, **more}),
    "project": lambda **more: jxu.project(X, SPECTRA, **more),
}
for name, call in KEYED.items():
    FITS.setdefault(name, lambda c=call, **more: c(KEY, **more))


def emission(**more):
    return xray.EmissionModel(**{"elements": ["O"], "energy_keV": MODEL_AXIS, **more})


OTHER = {
    "EmissionModel": emission,
    "edge_energy": lambda **more: preprocess.edge_energy(image(X), **more),
    "fit_peak": lambda **more: preprocess.fit_peak(image(X), **more),
    "normalise_edge": lambda **more: preprocess.normalise_edge(image(X), **{"pre": (0, 1), "post": (2, 4), **more}),
    "bin": lambda **more: preprocess.bin(image(X), **more),
    "log": lambda **more: preprocess.log(image(X), **more),
    "clip_negative": lambda **more: preprocess.clip_negative(image(X - 3), **more),
    "sliding_fft": lambda **more: preprocess.sliding_fft(X, **{"window": 4, "step": 1, **more}),
    "best_window": lambda **more: metrics.best_window(np.arange(6.0), MAPS, **more),
    "HALS": jxu.updates.HALS,
    "Sheared": jxu.updates.Sheared,
    "MALS": jxu.updates.MALS,
    "Beta": jxu.losses.Beta,
    "L1": lambda **more: jxu.penalties.L1("maps", **more),
    "Laplacian": lambda **more: jxu.penalties.Laplacian("spectra", **more),
    "LogSparsity": lambda **more: jxu.penalties.LogSparsity("maps", **{"weight": 0.1, **more}),
    "Orthogonal": lambda **more: jxu.constraints.Orthogonal("maps", **more),
    "Clusters": jxu.initial.Clusters,
    "Coarse": jxu.initial.Coarse,
    "NFINDR": jxu.initial.NFINDR,
    "SubspaceSampling": jxu.initial.SubspaceSampling,
    "SuccessiveProjection": jxu.initial.SuccessiveProjection,
    "VCA": jxu.initial.VCA,
    "ReplicaExchange": lambda **more: bayes.ReplicaExchange(lambda: None, **more),
    "Detector": xray.Detector,
    "NMF": lambda **more: NMF(**more).fit(X),
}
ALL = FITS | OTHER
WHOLE = {
    "fit": "rank restarts max_steps check_every most_alternatives",
    "minimise": "max_steps check_every",
    "project": "max_steps",
    "scan": "restarts max_steps check_every",
    "tune": "rank restarts max_steps size",
    "fit_pooled": "rank restarts max_steps size rounds",
    "Compressed": "rank power polish",
    "smc": "runs particles moves keep strata max_levels",
    "replica_exchange": "sweeps warmup",
    "decompose_spectrum": "peaks runs particles moves exchange",
    "ReplicaExchange": "temperatures walkers particles moves",
    "mixture": "pixels channels components",
    "battery_xas": "channels domains",
    "core_shell": "channels particles",
    "mantle_minerals": "channels",
    "edx_phases": "channels grains",
    "eels_oxides": "channels",
    "line_scan": "length channels",
    "silicon_diode": "channels",
    "cathode_oxygen": "channels",
    "patterns": "domains",
    "nanosheets": "sheets",
    "rod_scans": "channels films",
    "tof_sims": "channels",
    "tunnelling_spectroscopy": "channels defects",
    "xas_domains": "channels domains",
    "sliding_fft": "window step keep",
    "edge_spectrum": "peaks channels",
    "edge_energy": "channels",
    "fit_peak": "channels",
    "normalise_edge": "degree",
    "bin": "y",
    "best_window": "grid",
    "HALS": "sweeps",
    "Sheared": "every",
    "Clusters": "oversample pixels",
    "Coarse": "steps pixels channels",
    "NFINDR": "tries",
    "SubspaceSampling": "tries",
    "VCA": "tries",
    "NMF": "n_components n_init max_iter",
}
for name, arguments in WHOLE.items():
    for argument in arguments.split():
        for kind, value in NO_WHOLE.items():
            if (name, argument, kind) != ("decompose_spectrum", "peaks", "a list"):
                refused(f"{name}({argument}={kind})", lambda c=ALL[name], a=argument, v=value: c(**{a: v}))
NUMBERS = {
    "fit": "rtol alternatives",
    "minimise": "rtol",
    "SubspaceSampling": "tolerance",
    "SuccessiveProjection": "dark",
    "project": "rtol",
    "scan": "rtol",
    "tune": "share",
    "fit_pooled": "rtol",
    "smc": "threshold limit",
    "mixture": "counts concentration",
    "battery_xas": "snr_db pixel_um",
    "core_shell": "counts bremsstrahlung pixel_nm",
    "mantle_minerals": "counts bremsstrahlung thickness_nm pixel_nm",
    "edx_phases": "counts pixel_nm",
    "eels_oxides": "counts width pixel_nm",
    "line_scan": "counts width pixel_nm",
    "silicon_diode": "counts width background pixel_nm",
    "cathode_oxygen": "counts width background exponent spread pixel_nm",
    "patterns": "counts pixel_nm",
    "nanosheets": "counts scattered diffuse k_max width pixel_nm",
    "oxide_lattice": "counts pixel_nm",
    "rod_scans": "counts pixel_um",
    "tof_sims": "counts pixel_um layer_um",
    "tunnelling_spectroscopy": "gap_mV snr_db pixel_nm",
    "xas_domains": "snr_db pixel_um",
    "edge_spectrum": "noise",
    "EmissionModel": "beam_keV take_off_deg minimum_weight gain offset_keV",
    "edge_energy": "level",
    "log": "offset",
    "clip_negative": "largest",
    "MALS": "weight decay",
    "Beta": "beta",
    "L1": "weight",
    "Laplacian": "weight",
    "LogSparsity": "weight epsilon",
    "Orthogonal": "weight",
    "Detector": "silicon_um dead_layer_nm fwhm_keV fano",
    "NMF": "tol",
}
# No number is too large for a tolerance, or for a threshold that nothing reaches.
ENDLESS = {("rtol", "infinite"), ("tol", "infinite"), ("tol", "True"), ("epsilon", "infinite")}
for name, arguments in NUMBERS.items():
    for argument in arguments.split():
        for kind, value in NO_NUMBER.items():
            if (argument, kind) not in ENDLESS:
                refused(f"{name}({argument}={kind})", lambda c=ALL[name], a=argument, v=value: c(**{a: v}))
for name in SIMULATED:
    for argument in ("shape", "detector"):
        if argument in getattr(simulate, name).__code__.co_varnames[: getattr(simulate, name).__code__.co_argcount]:
            for kind, value in {
                "one number": 8,
                "of fractions": (8.5, 8),
                "text": "88",
                "three": (8, 8, 8),
                "0": (0, 8),
            }.items():
                if (name, kind) == ("tof_sims", "three"):
                    continue
                refused(f"{name}({argument} {kind})", lambda f=ALL[name], a=argument, v=value: f(**{a: v}))

# -- objects of the wrong kind -------------------------------------------------------------------------------------

NO_PARTS = {"text": "hals", "the class": None, "a number": 1, "0": 0, "an empty tuple": (), "a list": ["hals"]}
CLASSES = {"update": jxu.updates.HALS, "init": jxu.initial.Random, "loss": jxu.losses.Poisson}
PARTS = {"fit": "update init", "scan": "update init", "minimise": "update start", "project": "loss"}
for name, arguments in PARTS.items():
    for argument in arguments.split():
        for kind, value in NO_PARTS.items():
            value = CLASSES.get(argument, jxu.Bilinear) if kind == "the class" else value
            refused(f"{name}: {argument} is {kind}", lambda c=ALL[name], a=argument, v=value: c(**{a: v}))
for kind, value in NO_PARTS.items():
    loss = jxu.losses.Poisson if kind == "the class" else value
    refused(f"Problem: loss is {kind}", lambda v=loss: jxu.Problem(X, v))
    explorer = bayes.Jumps if kind == "the class" else value
    refused(f"ReplicaExchange: explorer is {kind}", lambda v=explorer: bayes.ReplicaExchange(lambda: None, explorer=v))
    refused(f"smc: explorer is {kind}", lambda v=explorer: bayes.smc(density(), v, key=KEY))
    refused(
        f"replica_exchange: explorer is {kind}",
        lambda v=explorer: bayes.replica_exchange(density(), v, BETAS, START, KEY, 20),
    )
    refused(f"smc: density is {kind}", lambda v=value: bayes.smc(v, key=KEY))
    refused(
        f"EmissionModel: detector is {kind}",
        lambda v=xray.Detector if kind == "the class" else value: emission(detector=v),
    )
    refused(f"Given: rest is {kind}", lambda v=explorer: jxu.initial.Given(MAPS, rest=v))
    refused(
        f"Coarse: update is {kind}",
        lambda v=jxu.updates.HALS if kind == "the class" else value: jxu.initial.Coarse(update=v),
    )

NO_PROBLEMS = {"an array": X, "None": None, "a matrix": jxu.Dense(X), "the class": jxu.Problem, "text": "problem"}
PROBLEM_TAKERS = {
    "fit": lambda p: jxu.fit(p, 2, key=KEY),
    "minimise": lambda p: jxu.minimise(p, FACTORS),
    "scan": lambda p: rank.scan(p, range(1, 3), key=KEY),
    "tune": lambda p: jxu.tune(p, 2, key=KEY, grid=GRID),
    "fit_pooled": lambda p: jxu.fit_pooled(p, 2, GRID, key=KEY),
    "quantify": lambda p: jxu.quantify(p, None, None),
}
for name, call in PROBLEM_TAKERS.items():
    for kind, value in NO_PROBLEMS.items():
        refused(f"{name}: problem is {kind}", lambda c=call, v=value: c(v))
IMAGE_TAKERS = {
    name: getattr(preprocess, name)
    for name in [
        "undo",
        "normalise",
        "normalise_range",
        "mean_centre",
        "log",
        "clip_negative",
        "shift_to_positive",
        "poisson_scale",
        "mask_empty",
        "edge_energy",
        "fit_peak",
        "peak_top_energy",
        "normalise_edge",
        "crop",
        "bin",
        "mask",
    ]
}
IMAGE_TAKERS |= {
    "subtract_reference": lambda i: preprocess.subtract_reference(i, X[0]),
    "weight_channels": lambda i: preprocess.weight_channels(i, X[0]),
    "optical_density": lambda i: preprocess.optical_density(i, 10),
    "interpolate": lambda i: preprocess.interpolate(i, [1.0]),
}
for name, call in IMAGE_TAKERS.items():
    for kind, value in {"an array": X, "None": None, "the class": jxu.SpectrumImage}.items():
        refused(f"{name}: image is {kind}", lambda c=call, v=value: c(v))
SEVERAL = {
    "constraints": {"by itself": jxu.constraints.NonNegative("maps"), "the class": (jxu.constraints.NonNegative,)},
    "penalties": {"by itself": jxu.penalties.L1("maps", 0.1), "the class": (jxu.penalties.L1,)},
}
for argument, kinds in SEVERAL.items():
    for kind, value in (
        kinds | {"text": "L1", "texts": ("L1",), "a number": 3, "numbers": (3,), "Nones": (None,)}
    ).items():
        refused(f"Problem: {argument} {kind}", lambda a=argument, v=value: jxu.Problem(X, **{a: v}))
for kind, value in {
    "text": "bcv",
    "texts": ("bcv",),
    "by itself": rank.AIC(),
    "the class": rank.AIC,
    "none": (),
    "None": None,
}.items():
    refused(f"scan: criteria {kind}", lambda v=value: rank.scan(PROBLEM, range(1, 3), v, key=KEY))
for kind, value in {
    "3": 3,
    "text": "23",
    "fractions": [2.0, 3.0],
    "none": [],
    "None": None,
    "0": [0],
    "too many": [9],
}.items():
    refused(f"scan: ranks {kind}", lambda v=value: rank.scan(PROBLEM, v, key=KEY))
for kind, value in {"fraction": 2.5, "text": "2", "NaN": np.nan, "too many": 99}.items():
    refused(f"scan: compress {kind}", lambda v=value: rank.scan(PROBLEM, range(1, 3), key=KEY, compress=v))
for kind, value in {
    "text": "p",
    "a tuple": (1, 2),
    "the class": bayes.Priors,
    "one of two": [bayes.Priors(), 3],
}.items():
    refused(f"decompose_spectrum: priors {kind}", lambda v=value: FITS["decompose_spectrum"](priors=v))
for kind, value in {"text": "box", "None": None, "a list": ["arctangent"], "a function": np.arctan}.items():
    refused(f"decompose_spectrum: edge {kind}", lambda v=value: FITS["decompose_spectrum"](edge=v))
for field in ("edge", "baseline", "heights", "noise", "white_line", "peak", "edge_width"):
    for kind, value in {"text": "1", "NaN": np.nan, "complex": 1j, "a mask": np.ma.masked_equal([1, 2], 1)}.items():
        refused(f"Priors({field} {kind})", lambda f=field, v=value: bayes.Priors(**{f: v}))
for kind, value in {"a number": 3, "None": None, "the class": dict, "text": "model"}.items():
    refused(f"ReplicaExchange: model {kind}", lambda v=value: bayes.ReplicaExchange(v))
for kind, value in {"text": "site", "numbers": (1,), "a number": 1}.items():
    refused(
        f"ReplicaExchange: prior_factors {kind}", lambda v=value: bayes.ReplicaExchange(lambda: None, prior_factors=v)
    )
for kind, value in {
    "NaN": [0, np.nan, 1],
    "falling": [0, 2, 1],
    "endless": [0, 1, np.inf],
    "complex": [0, 1j, 2j],
    "one": 0.0,
}.items():
    refused(
        f"replica_exchange: betas {kind}",
        lambda v=value: bayes.replica_exchange(density(), EXPLORER, v, START, KEY, 20),
    )
for kind, value in {"NaN": START * np.nan, "flat": START[0], "complex": START + 1j}.items():
    refused(
        f"replica_exchange: start {kind}",
        lambda v=value: bayes.replica_exchange(density(), EXPLORER, BETAS, v, KEY, 20),
    )
for kind, value in {
    "numbers": [8],
    "a number": 8,
    "text": ["Xx"],
    "none": [],
    "None": None,
    "twice": ["O", "O"],
}.items():
    refused(f"EmissionModel: elements {kind}", lambda v=value: emission(elements=v))
for argument, value in {
    "split": "lines",
    "cross_sections": "bethe",
    "free": [3],
    "sensitivity": [1j],
    "thickness_nm": "1",
}.items():
    refused(f"EmissionModel: {argument}={value}", lambda a=argument, v=value: emission(**{a: v}))
for kind, value in {
    "complex": MODEL_AXIS + 1j,
    "text": "counts",
    "short": [1, 2],
    "masked": np.ma.masked_less(MODEL_AXIS, 1),
}.items():
    refused(f"calibrate: counts {kind}", lambda v=value: calibration.calibrate(emission(), v))
refused("calibrate: model", lambda: calibration.calibrate("model", MODEL_AXIS))
refused("optimiser", lambda: jxu.updates.ProjectedGradient(0.01))
refused("optimiser by name", lambda: jxu.updates.ProjectedGradient("adam"))
refused("optimiser's maker", lambda: jxu.updates.ProjectedGradient(optax.adam))
for kind, value in {"text": "grid", "a shape": (2, 3), "the class": jxu.Grid, "0": 0}.items():
    refused(f"fit_pooled: grid {kind}", lambda v=value: FITS["fit_pooled"](grid=v))
    refused(f"tune: grid {kind}", lambda v=value: FITS["tune"](grid=v))
refused("fit_pooled: refresh", lambda: FITS["fit_pooled"](refresh=3))
refused("fit: checkpoint", lambda: FITS["fit"](checkpoint=3))
for kind, value in {"fractions": (2.5, 3), "text": "23", "a number": 6, "NaN": (np.nan, 3), "0": (0, 3)}.items():
    refused(f"Grid: {kind}", lambda v=value: jxu.Grid.of(v))
    refused(f"Laplacian: grid {kind}", lambda v=value: jxu.penalties.Laplacian("maps", 1, v))
for kind, value in {"fraction": (0.5,), "text": "0", "a number": 0, "NaN": (np.nan,), "outside": (9,)}.items():
    refused(
        f"Fixed: rows {kind}",
        lambda v=value: jxu.fit(
            jxu.Problem(X, constraints=(jxu.constraints.Fixed("maps", v),)), 2, init=jxu.initial.Given(MAPS, SPECTRA)
        ),
    )
    refused(f"Proportional: columns {kind}", lambda v=value: jxu.constraints.Proportional("spectra", v, (1, 2)))
for kind, value in {"text": "12", "complex": (1j, 1), "NaN": (np.nan, 1), "0": (0, 1), "a number": 2}.items():
    refused(f"Proportional: ratio {kind}", lambda v=value: jxu.constraints.Proportional("spectra", (0, 1), v))
for kind, value in {"a number": 3, "None": None, "a list": ["maps"], "unknown": "channels"}.items():
    refused(f"NonNegative: block {kind}", lambda v=value: jxu.constraints.NonNegative(v))
    refused(f"L1: block {kind}", lambda v=value: jxu.penalties.L1(v, 0.1))
for kind, value in {"text": "maximum", "None": None, "a number": 3, "a list": ["sum"]}.items():
    refused(f"normalise: how {kind}", lambda v=value: preprocess.normalise(image(X), v))
    refused(f"normalise_range: over {kind}", lambda v=value: preprocess.normalise_range(image(X), v))
    refused(f"sliding_fft: taper {kind}", lambda v=value: preprocess.sliding_fft(X, 4, 1, taper=v))
    refused(f"sliding_fft: scale {kind}", lambda v=value: preprocess.sliding_fft(X, 4, 1, scale=v))
    refused(f"sliding_fft: half {kind}", lambda v=value: preprocess.sliding_fft(X, 4, 1, half=v))
    refused(f"fit_peak: shape {kind}", lambda v=value: preprocess.fit_peak(image(X), channels=5, shape=v))
    refused(f"map_error: scale {kind}", lambda v=value: metrics.map_error(MAPS, MAPS, scale=v))
    if value is not None:
        refused(f"fit_peak: baseline {kind}", lambda v=value: preprocess.fit_peak(image(X), channels=5, baseline=v))
        refused(f"map_error: matched {kind}", lambda v=value: metrics.map_error(MAPS, MAPS, v))
for kind, value in {
    "NaN": (np.nan, 3),
    "text": "02",
    "one": (1,),
    "a number": 3,
    "complex": (0, 1j),
    "three": (0, 1, 2),
}.items():
    img = image(X, coords={"energy": ENERGY})
    refused(f"crop: {kind}", lambda v=value, i=img: preprocess.crop(i, energy=v))
    refused(f"edge_energy: window {kind}", lambda v=value, i=img: preprocess.edge_energy(i, v, channels=3))
    refused(f"fit_peak: window {kind}", lambda v=value, i=img: preprocess.fit_peak(i, v))
for kind, value in {
    "numbers": np.ones(5),
    "short": [True],
    "none": np.zeros(5, bool),
    "masked": np.ma.masked_array([True] * 5, [1, 0, 0, 0, 0]),
}.items():
    refused(f"mask: channels {kind}", lambda v=value: preprocess.mask(image(X), channels=v))

# -- silent wrong numbers of old -----------------------------------------------------------------------------------

OFF = np.arange(12.0).reshape(6, 2) % 3
HUGE = np.full((4, 1, 2), 2**63 + 10, np.uint64)
LOW = np.full((4, 1, 2), -(2**62), np.int64)
case("bin of uint64", "same", lambda: live(preprocess.bin(image(HUGE), y=2)), lambda: np.full((2, 2), 2.0**64))
case("bin of int64", "same", lambda: live(preprocess.bin(image(LOW), y=4)), lambda: np.full((1, 2), -(2.0**64)))
HALF = np.full((4, 1, 3), 6e4, np.float16)
case(
    "bin of float16",
    "same",
    lambda: live(preprocess.bin(image(HALF), y=4)),
    lambda: np.full((1, 3), 4 * float(np.float16(6e4))),
)
case(
    "shift of float16",
    "same",
    lambda: live(preprocess.shift_to_positive(image(np.array([[-6e4, 6e4]], np.float16)))),
    lambda: np.array([[0, 2 * float(np.float16(6e4))]]),
    1e-4,
)
case(
    "shift of int8",
    "same",
    lambda: live(preprocess.shift_to_positive(image(np.array([[-128, 127]], np.int8)))),
    lambda: np.array([[0, 255]]),
)
refused("shift of int64", lambda: preprocess.shift_to_positive(image(np.array([[-(2**63), 2**63 - 1]]))))
case("Dense of float16", "same", lambda: sums(jxu.Dense(HALF[:, 0])), lambda: sums(jxu.Dense(HALF[:, 0].astype(float))))
case(
    "log of uint8 with its own offset",
    "same",
    lambda: live(preprocess.log(image(np.array([[1, 2]], np.uint8)), np.uint8(5))),
    lambda: np.log([[6.0, 7.0]]),
)
case(
    "clip with an unsigned limit",
    "same",
    lambda: live(preprocess.clip_negative(image([[-3.0, 2.0]]), np.uint8(5))),
    lambda: np.array([[0.0, 2.0]]),
)
for size in (1e-200, 1e-30, 1e30, 1e200):
    big = np.array([[3.0, 4.0], [6.0, 8.0]]) * size
    case(
        f"norms of {size:g}",
        "same",
        lambda b=big: live(preprocess.normalise(image(b), "norm")),
        lambda: np.array([[0.6, 0.8]] * 2),
    )
    case(
        f"residual of {size:g}",
        "same",
        lambda s=size: metrics.relative_residual(X * s, MAPS * s, SPECTRA),
        lambda: metrics.relative_residual(X, MAPS, SPECTRA),
    )
    case(
        f"variance of {size:g}",
        "same",
        lambda s=size: metrics.explained_variance(X * s, MAPS * s, SPECTRA),
        lambda: metrics.explained_variance(X, MAPS, SPECTRA),
    )
    case(
        f"map_error of {size:g}",
        "same",
        lambda s=size: metrics.map_error(MAPS * s, MAPS + OFF),
        lambda: metrics.map_error(MAPS, MAPS + OFF),
    )
    case(
        f"map_error of fractions of {size:g}",
        "same",
        lambda s=size: metrics.map_error(MAPS * s, MAPS + 1, scale="sum"),
        lambda: metrics.map_error(MAPS, MAPS + 1, scale="sum"),
    )
    case(
        f"angles of {size:g}",
        "same",
        lambda s=size: metrics.spectral_angle(SPECTRA * s, SPECTRA[::-1]),
        lambda: metrics.spectral_angle(SPECTRA, SPECTRA[::-1]),
    )
    case(
        f"correlation of {size:g}",
        "same",
        lambda s=size: metrics.correlation(MAPS * s, MAPS[:, ::-1]),
        lambda: metrics.correlation(MAPS, MAPS[:, ::-1]),
    )
    case(
        f"windows of {size:g}",
        "same",
        lambda s=size: metrics.best_window(np.arange(6.0), MAPS * s).correlation,
        lambda: metrics.best_window(np.arange(6.0), MAPS).correlation,
    )
    refused(f"Problem of {size:g}", lambda s=size: jxu.Problem(X * s))
    refused(f"Problem of Poisson, {size:g}", lambda s=size: jxu.Problem(X * s, jxu.losses.Poisson()))
    refused(f"Counts of {size:g}", lambda s=size: jxu.Problem(scipy.sparse.csr_array(X * s), jxu.losses.Poisson()))
    refused(
        f"weights of {size:g}",
        lambda s=size: (
            jxu.Problem(X, weights=np.full(5, s)) if s != 1e30 else jxu.Problem(1e5 * X, weights=np.full(5, s))
        ),
    )
    refused(f"basis of {size:g}", lambda s=size: jxu.Problem(X, basis=BASIS * s))
for size in (1e-19, 1e-17, 1e18, 1e25):
    refused(f"Problem of {size:g}", lambda s=size: jxu.Problem((X * s).astype(np.float32)))
for size in (1e-13, 1e-11):
    refused(f"Itakura-Saito of {size:g}", lambda s=size: jxu.Problem(X * s, jxu.losses.ItakuraSaito()))
refused(
    "decompose_spectrum of 1e-150", lambda: bayes.decompose_spectrum(np.arange(30.0), SPECTRUM * 1e-150, 1, key=KEY)
)
refused("decompose_spectrum of 1e150", lambda: bayes.decompose_spectrum(np.arange(30.0), SPECTRUM * 1e150, 1, key=KEY))
refused("map_error beyond double precision", lambda: metrics.map_error(MAPS, (MAPS + OFF) * 1e200))
refused(
    "spectrum beyond single precision", lambda: preprocess.subtract_reference(image(X.astype(np.float32)), X[0] * 1e39)
)
PEAK = np.exp(-((np.arange(21.0) - 9.5) ** 2) / 18)[None] * np.array([[1.0], [2.0]])
for size in (1e-44, 1e-30, 1e30, 1e100):
    case(
        f"peaks of {size:g}",
        "same",
        lambda s=size: preprocess.fit_peak(image(PEAK * s))["height"].values / s,
        lambda: preprocess.fit_peak(image(PEAK))["height"].values,
        1e-4,
    )


def after(make, read):
    """What is read of an object after the memory that it was made from has been written to."""

    def call():
        # Memory that JAX would use as it is.
        raw = np.empty(X.size * 4 + 64, np.uint8)
        start = -raw.ctypes.data % 64
        own = raw[start : start + X.size * 4].view(np.float32)
        own[:] = X.ravel()
        made = make(own)
        own[:] = 7
        return read(made)

    def plain():
        return read(make(X.ravel().astype(np.float32)))

    return call, plain


SHARED = {
    "Dense": (lambda a: jxu.Dense(a.reshape(6, 5)), sums),
    "Dense of a JAX array": (lambda a: jxu.Dense(jax.device_put(a.reshape(6, 5))), sums),
    "Counts of a JAX array": (lambda a: jxu.Counts(jax.device_put(a.reshape(6, 5))), sums),
    "Problem of a JAX array": (lambda a: jxu.Problem(jax.device_put(a.reshape(6, 5))), objective),
    "weights of JAX": (lambda a: jxu.Problem(X, weights=jax.device_put(a.reshape(6, 5))), objective),
    "basis of JAX": (lambda a: jxu.Problem(X, basis=jax.device_put(a[:10].reshape(2, 5))), lambda p: p.basis),
    "Bilinear of JAX": (lambda a: jxu.Bilinear.of(MAPS, jax.device_put(a[:10].reshape(2, 5))), lambda f: f.spectra),
    "Counts": (lambda a: jxu.Counts(a.reshape(6, 5)), sums),
    "Compressed": (lambda a: jxu.Compressed(a.reshape(6, 5), 3, key=KEY), sums),
    "Problem": (lambda a: jxu.Problem(a.reshape(6, 5)), objective),
    "weights": (lambda a: jxu.Problem(X, weights=a.reshape(6, 5)), objective),
    "basis": (lambda a: jxu.Problem(X[:, :5], basis=a[:10].reshape(2, 5)), lambda p: p.basis),
    "Bilinear": (lambda a: jxu.Bilinear.of(MAPS, a[:10].reshape(2, 5)), lambda f: f.spectra),
    "Given": (lambda a: jxu.initial.Given(spectra=a[:10].reshape(2, 5)), lambda g: g.spectra),
    "Given of JAX": (lambda a: jxu.initial.Given(spectra=jax.device_put(a[:10].reshape(2, 5))), lambda g: g.spectra),
    "Fixed": (lambda a: jxu.constraints.Fixed("spectra", values=a[:10].reshape(2, 5)), lambda f: f.values),
    "mean_centre": (lambda a: preprocess.mean_centre(image(a.reshape(6, 5))), live),
}
for name, of in SHARED.items():
    case(f"{name} after its memory was written to", "same", *after(*of))
rows, columns = np.repeat(np.arange(6), 3), np.tile([0, 0, 4], 6)
for dtype in ("i1", "u1", "i2", "f4", "f8", "bool"):
    values = np.tile([100, 100, 3], 6).astype(dtype)
    twice = scipy.sparse.coo_array((values, (rows, columns)), shape=(6, 5))
    whole = np.zeros((6, 5))
    np.add.at(whole, (rows, columns), values.astype(float))
    for name, make in {"Dense": jxu.Dense, "Counts": jxu.Counts, "Problem": lambda x: jxu.Problem(x).matrix}.items():
        for form in ("coo", "csr", "csc"):
            made = (
                scipy.sparse.coo_array((values.astype(float), (rows, columns)), shape=(6, 5))
                if dtype == "bool"
                else twice
            )
            if form != "coo":
                # Rows with an entry twice, as they are.
                made = scipy.sparse.csr_array((values, columns, np.arange(0, 19, 3)), shape=(6, 5))
                made = (
                    made
                    if form == "csr"
                    else scipy.sparse.csc_array((values, columns, np.arange(0, 19, 3)), shape=(5, 6)).T
                )
            case(
                f"{name} of {form} with entries twice, {dtype}",
                "same",
                lambda m=make, s=made: sums(m(s)),
                lambda m=make, w=whole: sums(m(w)),
            )
given = scipy.sparse.csr_array((np.full(18, 2.0), columns, np.arange(0, 19, 3)), shape=(6, 5))
case("a sparse matrix stays as it was", "same", lambda: (jxu.Counts(given), given.nnz)[1], lambda: 18)
for kind, made in {"complex": given.astype(complex), "NaN": given * np.nan}.items():
    refused(f"sparse {kind}", lambda m=made: jxu.Problem(m))
    refused(f"Dense of sparse {kind}", lambda m=made: jxu.Dense(m))
MASK = np.zeros((6, 5), bool)
MASK[0, 1] = MASK[3, 3] = True
MASKED = np.ma.masked_array(np.where(MASK, 1e6, X), MASK)
case("masked entries have no weight", "same", lambda: problem_of(MASKED), lambda: problem_of(X, weights=~MASK))
case(
    "masked NaN",
    "same",
    lambda: problem_of(np.ma.masked_invalid(np.where(MASK, np.nan, X))),
    lambda: problem_of(X, weights=~MASK),
)
case(
    "masked entries beside weights",
    "same",
    lambda: problem_of(MASKED, weights=np.arange(1.0, 6)),
    lambda: problem_of(X, weights=~MASK * np.arange(1.0, 6)),
)
refused(
    "masked NaN beside another",
    lambda: jxu.Problem(np.ma.masked_array(np.where(MASK, np.nan, X), np.zeros((6, 5), bool) | (X[5, 4] == X) & ~MASK)),
)
for kind, value in {
    "negative": -np.ones(5),
    "none": np.zeros(5),
    "short": np.ones(4),
    "imaginary": 1j,
    "text": "1",
    "huge": np.full(5, 1e39),
    "longdouble": np.full(5, np.longdouble("1e4000")),
}.items():
    refused(f"weights {kind}", lambda v=value: jxu.Problem(X, weights=v))
case("weights of booleans", "same", lambda: problem_of(X, weights=X > 4), lambda: problem_of(X, weights=(X > 4) * 1.0))
case("Dense of booleans", "same", lambda: sums(jxu.Dense(X > 4)), lambda: sums(jxu.Dense((X > 4) * 1.0)))
refused("Dense of an image", lambda: jxu.Dense(image(X)))
refused("Problem of an image", lambda: jxu.Problem(image(X)))
refused("Problem of a class", lambda: jxu.Problem(jxu.Dense, weights=1))

C = jxu.constraints
CONTRADICTIONS = {
    "unit norm and sums": (
        C.NonNegative("maps"),
        C.NonNegative("spectra"),
        C.Simplex("spectra"),
        C.UnitNorm("spectra"),
    ),
    "unit norm takes the scale of sums": (
        C.NonNegative("maps"),
        C.NonNegative("spectra"),
        C.Simplex("maps"),
        C.UnitNorm("spectra"),
    ),
    "unit norm and known entries": (C.Fixed("spectra", values=SPECTRA), C.UnitNorm("maps")),
    "negative known entries": (C.NonNegative("spectra"), C.Fixed("spectra", values=-SPECTRA)),
    "known entries above one": (C.NonNegative("spectra"), C.Simplex("spectra"), C.Fixed("spectra", values=SPECTRA)),
    "ratio and known entries": (C.Proportional("spectra", (0, 1), (1, 2)), C.Fixed("spectra", values=SPECTRA)),
    "two sums": (C.NonNegative("spectra"), C.Simplex("spectra"), C.Simplex("spectra", (0, 1))),
    "two norms": (C.UnitNorm("maps"), C.UnitNorm("spectra")),
    "orthogonal maps that stay": (C.NonNegative("maps"), C.Orthogonal("maps"), C.Fixed("maps")),
    "orthogonal maps of either sign": (C.Orthogonal("maps"),),
    "another block": (C.NonNegative("coefficients"),),
}
for name, constraints in CONTRADICTIONS.items():
    refused(f"contradiction: {name}", lambda c=constraints: jxu.Problem(X, constraints=c))


# -- running -------------------------------------------------------------------------------------------------------


def numbers(result):
    leaves = jax.tree.leaves(result)
    return [np.asarray(leaf, float) for leaf in leaves]


def alike(result, plain, rtol):
    ours, theirs = numbers(result), numbers(plain)
    return len(ours) == len(theirs) and all(
        a.shape == b.shape
        and np.allclose(a, b, rtol=rtol, atol=rtol * float(np.nanmax(np.abs(b), initial=0)) * 1e-2, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def described(result):
    """In words, where the result has any: what was made of wrong things may not have."""
    try:
        return str(result)[:200]
    except Exception:
        return f"a {type(result).__name__}"


def outcome(wanted, call, plain, rtol):
    """ "" where the case is as it should be, else what is wrong."""
    try:
        result = call()
    except (ValueError, TypeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        of_sklearn = "sklearn" in frames[-1].filename
        if not frames[-1].filename.startswith(PACKAGE) and not of_sklearn:
            return f"refused by {frames[-1].filename}: {type(error).__name__}: {error}"
        return "" if wanted != "same" else f"refused: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if wanted == "refused":
        return f"no refusal, but {described(result)}"
    return "" if alike(result, plain(), rtol) else f"{numbers(result)} is not {numbers(plain())}"


def main():
    warnings.simplefilter("ignore")
    found = {}
    asked_for = [word for word in sys.argv[1:] if word != "-v"]
    for name, asked in CASES.items():
        if asked_for and not any(word in name for word in asked_for):
            continue
        began = time.perf_counter()
        found[name] = outcome(*asked)[:500]
        if "-v" in sys.argv:
            print(f"{time.perf_counter() - began:8.3f} s  {name}", file=sys.stderr)
    json.dump(found, sys.stdout)
