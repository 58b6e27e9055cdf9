"""Every argument of every public function and class, met by each kind of wrong thing that applies.

`bad_input` has the arrays and numbers that are right in several ways, and what was silently wrong of old. Here each
public callable has a call that is right, and for each of its arguments the kinds that must be refused. Run as a
program it runs the cases of both files.
"""

import functools
import inspect
import tempfile
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from bad_input import (
    BETAS,
    CASES,
    EXPLORER,
    FACTORS,
    GRID,
    IMAGE_TAKERS,
    KEY,
    KEYED,
    MAPS,
    MODEL_AXIS,
    NO_KEYS,
    NO_NUMBER,
    NO_WHOLE,
    NONE,
    NUMBERS,
    PARTS,
    PROBLEM,
    PROBLEM_TAKERS,
    SAME,
    SPECTRA,
    SPECTRUM,
    START,
    TAKERS,
    WHOLE,
    WRONG,
    Line,
    X,
    case,
    density,
    image,
    main,
    refused,
)
from test_public_names import PUBLIC, module_of

import jaxunmix as jxu
from jaxunmix import bayes, metrics, plots, preprocess, rank, simulate
from jaxunmix.bayes.spectrum.result import Decomposition, Decompositions
from jaxunmix.physics import calibration, camera, diffraction, lineshapes, xray
from jaxunmix.sklearn import NMF

# -- kinds of wrong things -----------------------------------------------------------------------------------------


def of_kinds(*tables, **more):
    """Kind -> a function of what is right that makes what is wrong."""
    found = {}
    for table in tables:
        found |= table
    return found | {kind.replace("_", " "): (lambda right, v=value: v) for kind, value in more.items()}


def without(kinds, *left_out):
    return {kind: made for kind, made in kinds.items() if kind not in left_out}


def constants(table):
    return {kind: (lambda right, v=value: v) for kind, value in table.items()}


ARRAY = WRONG | NONE
# Where one number may stand for all.
NUMERS = without(ARRAY, "a number", "empty", "ragged", "None within")
NUMERS |= {"a list of None": lambda a: [None]}
# Where None means something.
SOME_ARRAY = WRONG
ANY = of_kinds(NONE, text="wrong", complex=1j, a_dictionary={"a": 1}, an_object=object(), a_class=dict)
NUMBER = constants(NO_NUMBER)
WHOLE_NUMBER = constants(NO_WHOLE) | of_kinds(None_=None)
SOME_WHOLE = constants(NO_WHOLE)
LIMIT = without(NUMBER, "a list") | of_kinds(nothing=None)
SOME_LIMIT = without(LIMIT, "nothing")
FLAG = of_kinds(text="no", three=3, nothing=None, a_list=[], an_array=X)
WORD = of_kinds(another="wrong", a_number=3, nothing=None, a_list=["wrong"], bytes=b"sum")
SOME_WORD = without(WORD, "nothing")
TEXT = of_kinds(a_number=3, a_list=["wrong"], bytes=b"wrong", an_array=X)
KEYS = constants(NO_KEYS)
PATH = of_kinds(a_number=3, nothing=None, a_list=["a"], a_class=str, bytes=b"a.npz", an_array=X, complex=1j)
SOME_PATH = without(PATH, "nothing")
OBJECT = of_kinds(an_array=X, nothing=None, text="wrong", a_number=1, a_dictionary={}, an_object=object(), a_list=[])
SOME_OBJECT = without(OBJECT, "nothing")
LINK = OBJECT | of_kinds(a_class=jxu.links.Logistic)
FUNCTION = of_kinds(a_number=3, text="wrong", nothing=None, a_class=dict, a_list=[])
SOME_FUNCTION = without(FUNCTION, "nothing")
NAMES = of_kinds(a_number=3, text="wrong", numbers=[1, 2], Nones=[None], a_dictionary={"a": 1}, complex=1j)
WINDOW = of_kinds(NaN=(np.nan, 3), text="02", one=(1,), a_number=3, complex=(0, 1j), three=(0, 1, 2), texts=("a", "b"))
MAPPING = of_kinds(a_number=3, text="wrong", a_list=["a"], an_array=X)
# What the mask of a masked array hides has no weight.
MATRIX = without(ARRAY, "a number", "masked")
WEIGHTS = of_kinds(text="1", complex=1j, negative=-X, NaN=np.full((6, 5), np.nan), another_shape=np.ones((2, 5)))
PAIR = of_kinds(
    one_number=8, fractions=(8.5, 8), text="88", three=(8, 8, 8), zero=(0, 8), nothing=None, NaN=(np.nan, 8)
)
DATASET = OBJECT | of_kinds(empty=xr.Dataset(), a_class=xr.Dataset, a_data_array=xr.DataArray(X))
NOT_FINITE = ("NaN", "infinite", "minus infinite")
# None of them: no spots.
HKLS = without(ARRAY, "empty") | of_kinds(
    fractions=np.array([[0.5, 0]]), flat=np.array([1, 0]), three=np.ones((1, 3), int)
)
BLOCK = of_kinds(a_number=3, nothing=None, a_list=["maps"], unknown="channels")

# -- calls that are right ------------------------------------------------------------------------------------------

ENERGY = np.arange(5.0)
IMG = image(X, coords={"energy": ENERGY})
# Enough channels to be shifted, and pixels to tell a spike from a spectrum.
WIDE = image(np.random.default_rng(1).poisson(20.0, (20, 12)).astype(float), coords={"energy": np.arange(-5.0, 7.0)})
# Power laws have no value at an energy of zero.
ABOVE_ZERO = image(X, coords={"energy": ENERGY + 1})
PRE_EDGE = WINDOW | of_kinds(
    nothing=None,
    outside=(90, 99),
    narrow=(1, 2),
    none=(),
    second_text=[(1, 4), "14"],
    second_outside=[(1, 4), (90, 99)],
)
POISSON = jxu.losses.Poisson()
AUTO = jxu.Problem(X, POISSON, penalties=(jxu.penalties.L1("maps", "auto"),))
COUNTS = jxu.Problem(X, POISSON)
TENSOR, CUBE = np.stack([X, X + 1], axis=2), np.stack([X[:5] + i for i in range(5)])
# Removed when the program ends.
TEMPORARY = tempfile.TemporaryDirectory()
FOLDER = Path(TEMPORARY.name)


def cached(make):
    """What takes long to make, made when it is first asked for."""
    return functools.cache(make)


@cached
def solution():
    return jxu.fit(PROBLEM, 2, key=KEY, max_steps=10)


@cached
def result():
    return solution().to_xarray(IMG)


@cached
def scanned():
    verdict = rank.Verdict(2, np.ones(1), None, 1.0, "of a test")
    each, one = ("rank", "restart"), np.ones((1, 1))
    table = xr.Dataset(
        dict.fromkeys(("objective", "loss", "mse", "steps"), (each, one))
        | {"status": (each, np.array([["CONVERGED"]]))}
        | {name: ("rank", np.ones(1)) for name in ("best_objective", "best_mse", "pca_mse", "AIC")},
        {"rank": [2]},
    )
    return rank.Scan(table, {2: solution()}, {"AIC": verdict})


@cached
def truth():
    return simulate.Truth(MAPS, SPECTRA, ("a", "b"))


@cached
def model():
    return xray.EmissionModel(["O", "Fe"], MODEL_AXIS, bremsstrahlung=False)


@cached
def basis():
    return model().basis()


@cached
def quantified():
    spectra = np.array(basis().values)
    maps, coefficients = MAPS * 100, np.array([[1.0, 0.2], [0.2, 1.0]])
    problem = jxu.Problem(maps @ coefficients @ spectra, POISSON, spectra)
    found = eqx.tree_at(
        lambda s: (s.maps, s.spectra, s.coefficients),
        solution(),
        tuple(map(jnp.asarray, (maps, coefficients @ spectra, coefficients))),
        is_leaf=lambda leaf: leaf is None,
    )
    return problem, found


def spectra_found(several=False):
    one = Decomposition(np.arange(30.0), SPECTRUM, bayes.Priors(), ())
    return Decompositions((one, one)) if several else one


def reflected():
    return diffraction.spots(diffraction.TIO2_NANOSHEET, np.array([[2, 0], [1, 1]]))


def crystal(**more):
    return diffraction.Crystal(
        **{
            "name": "TiO2",
            "elements": ("Ti", "O"),
            "lattice": np.eye(2),
            "positions": np.zeros((2, 2)),
            "debye_waller": np.zeros(2),
            **more,
        }
    )


def numpyro_model(y=1.0):
    import numpyro
    import numpyro.distributions as dist

    mean = numpyro.sample("mean", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mean, 1), obs=y)


SCORES = pd.DataFrame({"method": ["a", "b"], "objective": [1.0, 2.0], "angle": [1.0, 2.0], "mse": [1.0, 2.0]})
COMPLETE = bayes.Priors().complete(np.arange(30.0), SPECTRUM)
LIMITS = {"max_steps": SOME_WHOLE, "rtol": without(NUMBER, "infinite"), "progress": FLAG}
PRIOR_PAIR = {
    "NaN": (np.nan, 1),
    "text": "12",
    "one": (1.0,),
    "a number": 3.0,
    "complex": (1j, 2),
    "falling": (2.0, 1.0),
    "infinite": (1.0, np.inf),
    "masked": np.ma.masked_equal([1, 2], 1),
    "texts": ("1", "2"),
    "a dictionary": {1: 2},
}


def lazy(**made):
    """Arguments that are made when the case is run."""
    return made


# name -> (function, arguments that are right, each maybe a function without arguments that makes it, and argument ->
# kinds that are refused). Arguments that `bad_input` meets are not named again.
CALLS = {
    # top
    "Compressed": (
        jxu.Compressed,
        lambda: {"matrix": X, "rank": 2, "key": KEY},
        {},
    ),
    "Counts": (jxu.Counts, lambda: {"array": X}, {"mesh": SOME_OBJECT}),
    "Dense": (jxu.Dense, lambda: {"array": X}, {}),
    "Grid": (jxu.Grid, lambda: {"shape": (2, 3)}, {"shape": without(PAIR, "three"), "keep": SOME_OBJECT}),
    "Problem": (
        jxu.Problem,
        lambda: {"matrix": X},
        {
            "loss": SOME_OBJECT | of_kinds(a_class=jxu.losses.Poisson),
            "penalties": of_kinds(
                by_itself=jxu.penalties.L1("maps", 0.1), a_class=(jxu.penalties.L1,), text="L1", Nones=(None,), three=3
            ),
            "constraints": of_kinds(
                by_itself=jxu.constraints.NonNegative("maps"), text="L1", texts=("L1",), Nones=(None,), three=3
            ),
            "resolution": SOME_OBJECT | of_kinds(a_class=jxu.Resolution),
        },
    ),
    "Resolution": (
        jxu.Resolution,
        lambda: {"fwhm": 2.0, "grid": (3, 2)},
        {
            "fwhm": without(NUMBER, "a list") | of_kinds(zero=0.0, three=(1.0, 2.0, 3.0)),
            "grid": of_kinds(text="32", nothing=None, NaN=(np.nan, 2), fractions=(1.5, 2)),
        },
    ),
    "SpectrumImage": (
        jxu.SpectrumImage,
        lambda: {"data": xr.DataArray(X, dims=("x", "energy")), "signal_dims": ("energy",)},
        {
            "data": OBJECT,
            "signal_dims": of_kinds(a_number=3, text="wrong", nothing=None, unknown=("z",), numbers=(1,)),
            "keep_pixels": SOME_OBJECT,
            "keep_channels": SOME_OBJECT,
            "provenance": of_kinds(a_number=3, text="wrong", nothing=None, texts=("a",)),
        },
    ),
    "fit": (
        jxu.fit,
        lambda: {"problem": PROBLEM, "rank": 2, "key": KEY, "max_steps": 10},
        {"progress": FLAG, "throw": FLAG, "checkpoint": SOME_PATH},
    ),
    "fit_tensor": (
        jxu.fit_tensor,
        lambda: {"array": TENSOR, "rank": 2, "key": KEY, "max_steps": 1, "init": [None, None, None]},
        {
            "array": MATRIX,
            "rank": WHOLE_NUMBER | of_kinds(short=(2, 2), zero=(0, 1, 1), fractions=(1.5, 1, 1), huge=99),
            "key": KEYS,
            "penalties": MAPPING | of_kinds(no_mode={7: ()}, alone={0: jxu.penalties.L1("maps", 0.1)}, text={0: "L1"}),
            "constraints": MAPPING | of_kinds(no_mode={7: ()}, a_class={0: (jxu.constraints.NonNegative,)}),
            "weights": without(WEIGHTS, "negative", "NaN")
            | of_kinds(negative=-np.ones((6, 5, 2)), NaN=np.full((6, 5, 2), np.nan), zero=np.zeros((6, 5, 2))),
            "loss": SOME_OBJECT | of_kinds(a_class=jxu.losses.Frobenius, Poisson=POISSON),
            "init": OBJECT | of_kinds(two=[None, None], shapes=[np.ones((5, 2)), None, None], NaN=[X * np.nan] * 3),
            "restarts": WHOLE_NUMBER | of_kinds(zero=0),
            "max_steps": SOME_WHOLE,
            "rtol": without(NUMBER, "infinite") | of_kinds(negative=-1.0),
            "check_every": WHOLE_NUMBER | of_kinds(zero=0),
            "sweeps": WHOLE_NUMBER | of_kinds(zero=0),
            "throw": FLAG,
        },
    ),
    "tensors.core_consistency": (
        jxu.tensors.core_consistency,
        lambda: {"array": CUBE, "factors": [SPECTRA.T] * 3},
        {
            "array": MATRIX,
            "factors": OBJECT | of_kinds(two=[SPECTRA.T] * 2, shapes=[MAPS] * 3, zero=[0 * SPECTRA.T] * 3),
            "weights": without(WEIGHTS, "negative", "NaN") | of_kinds(NaN=np.full((6, 5, 2), np.nan)),
        },
    ),
    "tensors.scan_ranks": (
        jxu.tensors.scan_ranks,
        lambda: {"array": TENSOR, "ranks": (1,), "key": KEY, "max_steps": 1},
        {"array": MATRIX, "ranks": OBJECT | of_kinds(none=()), "key": KEYS, "restarts": WHOLE_NUMBER},
    ),
    "fit_coupled": (
        jxu.fit_coupled,
        lambda: {"problems": {"a": PROBLEM, "b": PROBLEM}, "rank": 2, "key": KEY, "max_steps": 1, "noise": {"a": 1.0}},
        {
            "problems": MAPPING
            | of_kinds(one={"a": PROBLEM}, arrays={"a": X, "b": X}, numbers={1: PROBLEM, 2: PROBLEM}),
            "rank": WHOLE_NUMBER | of_kinds(zero=0, too_many=99),
            "share": WORD,
            "deviations": MAPPING | of_kinds(no_block={"c": jxu.Deviation("maps", 1.0)}, a_number={"a": 1.0}),
            "noise": MAPPING | of_kinds(no_block={"c": 1.0}, zero={"a": 0.0}, text={"a": "small"}),
            "init": SOME_OBJECT | of_kinds(a_class=jxu.initial.VCA),
            "restarts": SOME_WHOLE | of_kinds(zero=0),
            "key": KEYS,
            "max_steps": SOME_WHOLE,
            "rtol": without(NUMBER, "infinite") | of_kinds(negative=-1.0),
            "check_every": WHOLE_NUMBER | of_kinds(zero=0),
            "throw": FLAG,
        },
    ),
    "Deviation": (
        jxu.Deviation,
        lambda: {"block": "maps", "weight": 1.0},
        {
            "block": WORD,
            "weight": LIMIT | of_kinds(negative=-1.0, auto="auto"),
            "constraints": without(OBJECT, "a list")
            | of_kinds(another_block=(jxu.constraints.NonNegative("spectra"),)),
            "penalties": without(OBJECT, "a list")
            | of_kinds(another_block=(jxu.penalties.L1("spectra", 1.0),), function=(len,)),
        },
    ),
    "fit_drift": (
        jxu.fit_drift,
        lambda: {"img": WIDE, "rank": 2, "key": KEY, "max_rounds": 2},
        {
            "img": OBJECT | of_kinds(short=IMG),
            "rank": WHOLE_NUMBER | of_kinds(too_many=99),
            "loss": SOME_OBJECT | of_kinds(angle=jxu.losses.Angle(), linked=jxu.losses.Frobenius(link=jxu.links.Log())),
            "key": KEYS,
            "shifts": without(SOME_ARRAY, "a number") | of_kinds(short=np.ones(3), NaN=np.full(20, np.nan)),
            "roughness": LIMIT | of_kinds(zero=0.0, negative=-1.0, text="wrong"),
            "most": SOME_LIMIT | of_kinds(zero=0.0, too_far=99.0),
            "init": SOME_OBJECT | of_kinds(a_class=jxu.initial.VCA),
            "max_rounds": WHOLE_NUMBER,
            "rtol": without(LIMIT, "infinite"),
            "progress": FLAG,
        },
    ),
    "fit_pooled": (
        jxu.fit_pooled,
        lambda: {"problem": COUNTS, "rank": 2, "grid": GRID, "key": KEY},
        {"grid": SOME_OBJECT, "refresh": SOME_FUNCTION, "progress": FLAG},
    ),
    "load": (
        jxu.load,
        lambda: {"path": saved()},
        {
            "path": PATH,
            "array": TEXT,
            "signal_dims": of_kinds(fraction=1.5, complex=1j, too_many=9, unknown="z", numbers=[1.0], True_=True),
            "dims": NAMES,
            "energy": of_kinds(complex=[1j] * 5, short=[1.0], dictionary={}, texts=["a"] * 5, Nones=[None] * 5),
            "coords": MAPPING,
            "units": MAPPING,
            "mask": of_kinds(a_number=3, text="wrong", numbers=np.ones(5), short=[True], dictionary={}),
            "scale": NUMBER,
            "columns": of_kinds(a_number=3, text="wrong", numbers=[1.5], dictionary={}, complex=1j),
            "axis": of_kinds(a_number=3, text="wrong", fraction=1.5, dictionary={}, complex=1j),
            "merge_repeated": of_kinds(text="yes", nothing=None, complex=1j, NaN=np.nan, negative=-1.0, a_list=[1.0]),
        },
    ),
    "minimise": (jxu.minimise, lambda: {"problem": PROBLEM, "start": FACTORS}, {}),
    "project": (
        jxu.project,
        lambda: {"matrix": X, "spectra": SPECTRA},
        {
            "progress": FLAG,
            "penalties": of_kinds(by_itself=jxu.penalties.L1("maps", 0.1), text="L1", texts=("L1",)),
            "constraints": of_kinds(by_itself=jxu.constraints.NonNegative("maps"), text="L1", texts=("L1",), three=3),
            "weights": of_kinds(text="1", complex=1j, NaN=np.nan, negative=-1.0, short=[1.0, 2.0, 3.0], zero=0.0),
        },
    ),
    "quantify": (
        jxu.quantify,
        lambda: {
            "problem": quantified()[0],
            "solution": quantified()[1],
            "basis": basis(),
        },
        {
            "problem": OBJECT,
            "solution": OBJECT,
            "basis": OBJECT,
            "img": SOME_OBJECT,
            "yields": of_kinds(
                text="yes", nothing=None, complex=[1j, 1j], NaN=[np.nan, 1], short=[0.1], negative=[-1, 1], three=3
            ),
        },
    ),
    "save": (jxu.save, lambda: {"img": IMG, "path": FOLDER / "a.npz"}, {"img": OBJECT, "path": PATH}),
    "tune": (
        jxu.tune,
        lambda: {"problem": AUTO, "rank": 2, "grid": GRID, "key": KEY},
        {
            "grid": SOME_OBJECT,
            "progress": FLAG,
            "held_out": WORD,
            "search": WORD,
            "trials": WHOLE_NUMBER | of_kinds(zero=0),
        },
    ),
    # bayes
    "bayes.FunctionDensity": (
        bayes.FunctionDensity,
        lambda: {"size": 1, "draw": jnp.sum, "log_prior": jnp.sum, "log_likelihood": jnp.sum},
        {"size": WHOLE_NUMBER, "draw": FUNCTION, "log_prior": FUNCTION, "log_likelihood": FUNCTION},
    ),
    "bayes.HMC": (bayes.HMC, dict, {"steps": WHOLE_NUMBER, "target": NUMBER | of_kinds(two=2.0, zero=0.0)}),
    "bayes.Jumps": (
        bayes.Jumps,
        dict,
        {"local": OBJECT | of_kinds(a_class=bayes.HMC), "components": WHOLE_NUMBER, "jumps": WHOLE_NUMBER},
    ),
    "bayes.NumpyroDensity": (
        bayes.NumpyroDensity,
        lambda: {"model": numpyro_model},
        {
            "model": FUNCTION,
            "args": of_kinds(a_number=3, text="wrong", nothing=None, dictionary={"y": 1}),
            "kwargs": MAPPING,
            "prior_factors": NAMES,
            "likelihood_factors": NAMES,
        },
    ),
    "bayes.Priors": (
        bayes.Priors,
        dict,
        {
            name: constants(without(PRIOR_PAIR, "falling") if name == "white_line" else PRIOR_PAIR)
            for name in ("white_line", "edge_width", "line_width", "peak_width", "peak", "noise")
        }
        | {
            "edge": ANY | of_kinds(negative=-1.0, zero=0, NaN=np.nan, infinite=np.inf, pair=(1.0, 2.0)),
            "baseline": without(ANY, "None") | of_kinds(negative=-1.0, zero=0, NaN=np.nan, pair=(1.0, 2.0)),
            "heights": without(ANY, "None") | of_kinds(three=(1, 1, 1), a_number=1.0, negative=(1, 1, 1, -1)),
            "highest": FLAG,
        },
    ),
    "bayes.RandomWalk": (bayes.RandomWalk, dict, {"moves": WHOLE_NUMBER, "target": NUMBER | of_kinds(two=2.0, zero=0)}),
    "bayes.ReplicaExchange": (
        bayes.ReplicaExchange,
        lambda: {"model": numpyro_model},
        {
            "model": FUNCTION,
            "explorer": SOME_OBJECT | of_kinds(a_class=bayes.Jumps),
            "prior_factors": NAMES,
            "likelihood_factors": NAMES,
            "sharding": SOME_OBJECT,
        },
    ),
    "bayes.Slice": (bayes.Slice, dict, {"lines": WHOLE_NUMBER, "out": WHOLE_NUMBER, "shrink": WHOLE_NUMBER}),
    "bayes.decompose_spectrum": (
        bayes.decompose_spectrum,
        lambda: {"energy": np.arange(30.0), "intensity": SPECTRUM, "peaks": 1, "key": KEY},
        {
            "noise": of_kinds(
                another="gauss", zero=0.0, negative=-1.0, NaN=np.nan, complex=1j, dictionary={}, True_=True
            ),
            "priors": of_kinds(text="p", a_tuple=(1, 2), a_class=bayes.Priors, a_number=3),
            "edge": WORD,
            "progress": FLAG,
        },
    ),
    "bayes.free_energy": (bayes.free_energy, lambda: {"source": None}, {"source": OBJECT, "warn": FLAG}),
    "bayes.replica_exchange": (
        bayes.replica_exchange,
        lambda: {
            "density": density(),
            "explorer": EXPLORER,
            "betas": BETAS,
            "start": START,
            "key": KEY,
            "sweeps": 20,
        },
        {
            "density": OBJECT | of_kinds(a_class=Line),
            "explorer": OBJECT | of_kinds(a_class=bayes.HMC),
            "betas": ARRAY,
            "start": ARRAY,
            "settings": SOME_OBJECT,
            "sharding": SOME_OBJECT,
        },
    ),
    "bayes.results": (bayes.results, lambda: {"mcmc": None}, {"mcmc": OBJECT}),
    "bayes.smc": (
        bayes.smc,
        lambda: {"density": density(), "key": KEY},
        {
            "density": OBJECT | of_kinds(a_class=Line),
            "explorer": SOME_OBJECT | of_kinds(a_class=bayes.HMC),
            "stop": SOME_FUNCTION,
            "bounded": FLAG,
            "workers": SOME_OBJECT,
        },
    ),
    "bayes.spectrum_model": (
        seeded := lambda **given: _seeded(bayes.spectrum_model, given),
        lambda: {
            "energy": np.arange(30.0),
            "intensity": SPECTRUM,
            "peaks": 1,
            "noise": 0.1,
            "priors": COMPLETE,
        },
        {
            "energy": ARRAY,
            "intensity": SOME_ARRAY,
            "peaks": WHOLE_NUMBER,
            "noise": without(NUMBER, "a list") | of_kinds(zero=0.0, negative=-1.0),
            "priors": OBJECT | of_kinds(a_class=bayes.Priors, incomplete=bayes.Priors()),
            "edge": WORD,
        },
    ),
    # constraints, losses, penalties, starts, updates
    "constraints.Box": (
        jxu.constraints.Box,
        lambda: {"block": "maps", "low": 0.0, "high": 1.0},
        {"block": BLOCK, "low": SOME_LIMIT, "high": SOME_LIMIT | of_kinds(below_low=-1.0)},
    ),
    "constraints.Closure": (
        jxu.constraints.Closure,
        lambda: {"block": "maps", "total": np.arange(1.0, 7.0)},
        {"block": BLOCK, "total": of_kinds(NONE, text="1", NaN=np.nan, complex=1j, zero=0.0, ragged=[[1], [1, 2]])},
    ),
    "constraints.LocalRank": (
        jxu.constraints.LocalRank,
        lambda: {"block": "maps", "regions": np.array([0, 0, 1, 1, 1, 1]), "most": (1, 2)},
        {
            "block": BLOCK,
            "regions": of_kinds(
                NONE, text="01", fractions=np.full(6, 0.5), NaN=np.full(6, np.nan), three=np.full(6, 3)
            ),
            "most": of_kinds(NONE, text="12", fractions=(0.5, 1), NaN=(np.nan, 1), none_at_all=()),
        },
    ),
    "constraints.MaxComponents": (
        jxu.constraints.MaxComponents,
        lambda: {"block": "maps", "most": 1},
        {"block": BLOCK, "most": WHOLE_NUMBER | of_kinds(zero=0)},
    ),
    "constraints.Monotone": (
        jxu.constraints.Monotone,
        lambda: {"block": "spectra"},
        {"block": BLOCK, "decreasing": FLAG},
    ),
    "constraints.Selectivity": (
        jxu.constraints.Selectivity,
        lambda: {"block": "maps", "allowed": np.ones((2, 6), bool)},
        {"block": BLOCK, "allowed": of_kinds(NONE, text="01", numbers=np.full((2, 6), 0.5), flat=np.ones(6, bool))},
    ),
    "constraints.SumAtMost": (
        jxu.constraints.SumAtMost,
        lambda: {"block": "maps", "total": 1.0},
        {"block": BLOCK, "total": of_kinds(NONE, text="1", NaN=np.nan, complex=1j, zero=0.0, negative=-1.0)},
    ),
    "constraints.Unimodal": (jxu.constraints.Unimodal, lambda: {"block": "spectra"}, {"block": BLOCK}),
    "constraints.Fixed": (
        jxu.constraints.Fixed,
        lambda: {"block": "maps"},
        {"block": BLOCK, "rows": of_kinds(text="0", a_number=0, fraction=(0.5,), NaN=(np.nan,), negative=(-1,))},
    ),
    "constraints.NonNegative": (jxu.constraints.NonNegative, dict, {"block": BLOCK}),
    "constraints.Orthogonal": (jxu.constraints.Orthogonal, lambda: {"block": "maps"}, {"block": BLOCK, "strict": FLAG}),
    "constraints.Proportional": (
        jxu.constraints.Proportional,
        lambda: {"block": "spectra", "columns": (0, 1), "ratio": (1, 2)},
        {
            "block": BLOCK,
            "columns": of_kinds(
                text="01", a_number=0, fractions=(0.5, 1), NaN=(np.nan, 1), negative=(-1, 0), nothing=None
            ),
            "ratio": of_kinds(text="12", complex=(1j, 1), NaN=(np.nan, 1), zero=(0, 1), a_number=2, three=(1, 2, 3)),
        },
    ),
    "constraints.Simplex": (
        jxu.constraints.Simplex,
        lambda: {"block": "maps"},
        {
            "block": BLOCK,
            "columns": of_kinds(text="01", a_number=0, fractions=(0.5, 1), NaN=(np.nan, 1), negative=(-1, 0)),
        },
    ),
    "constraints.UnitNorm": (jxu.constraints.UnitNorm, lambda: {"block": "maps"}, {"block": BLOCK, "norm": WORD}),
    "initial.Clusters": (jxu.initial.Clusters, dict, {}),
    "initial.Coarse": (
        jxu.initial.Coarse,
        dict,
        {
            "rest": SOME_OBJECT | of_kinds(a_class=jxu.initial.Random),
            "update": SOME_OBJECT | of_kinds(a_class=jxu.updates.HALS),
        },
    ),
    "initial.Given": (
        jxu.initial.Given,
        lambda: {"maps": MAPS},
        {"maps": SOME_ARRAY, "coefficients": SOME_ARRAY, "rest": SOME_OBJECT | of_kinds(a_class=jxu.initial.Random)},
    ),
    "initial.NFINDR": (jxu.initial.NFINDR, dict, {"tries": of_kinds(zero=0, negative=-1)}),
    "initial.SubspaceSampling": (
        jxu.initial.SubspaceSampling,
        dict,
        {
            "block": of_kinds(a_number=3, nothing=None, a_list=["maps"], unknown="coefficients"),
            "tolerance": of_kinds(negative=-1),
            "tries": of_kinds(zero=0, negative=-1),
        },
    ),
    "initial.SuccessiveProjection": (
        jxu.initial.SuccessiveProjection,
        dict,
        {"nonnegative": FLAG, "dark": of_kinds(negative=-0.1, above_one=1.5)},
    ),
    "initial.VCA": (jxu.initial.VCA, dict, {"tries": of_kinds(zero=0, negative=-1)}),
    "initial.vca": (
        jxu.initial.vca,
        lambda: {"matrix": jxu.Dense(X), "rank": 2, "key": KEY},
        {"matrix": OBJECT, "rank": WHOLE_NUMBER | of_kinds(too_many=9), "key": KEYS},
    ),
    "losses.Angle": (jxu.losses.Angle, dict, {"link": LINK}),
    "losses.Beta": (jxu.losses.Beta, lambda: {"beta": 1.5}, {"link": LINK}),
    "losses.Frobenius": (jxu.losses.Frobenius, dict, {"link": LINK}),
    "losses.ItakuraSaito": (jxu.losses.ItakuraSaito, dict, {"link": LINK}),
    "losses.Poisson": (jxu.losses.Poisson, dict, {"link": LINK}),
    "links.Log": (jxu.links.Log, dict, {"offset": without(NUMBER, "a list") | of_kinds(nothing=None)}),
    "links.Logistic": (
        jxu.links.Logistic,
        dict,
        {"low": LIMIT | of_kinds(above_high=2.0), "high": LIMIT | of_kinds(below_low=-1.0)},
    ),
    "links.Rounding": (
        jxu.links.Rounding,
        lambda: {"step": 1.0},
        {"step": LIMIT | of_kinds(zero=0.0, negative=-1.0), "noise": SOME_LIMIT | of_kinds(zero=0.0, negative=-1.0)},
    ),
    "named.bounded": (
        jxu.named.bounded,
        lambda: {"matrix": X, "low": 0.0, "high": 1.0},
        {"matrix": MATRIX, "low": LIMIT | of_kinds(above_high=2.0), "high": LIMIT, "weights": WEIGHTS},
    ),
    "named.nmf": (jxu.named.nmf, lambda: {"matrix": X}, {"matrix": MATRIX}),
    "named.pca": (jxu.named.pca, lambda: {"matrix": X}, {"matrix": MATRIX}),
    "named.plsi": (jxu.named.plsi, lambda: {"matrix": X}, {"matrix": MATRIX}),
    "named.sparse_nmf": (
        jxu.named.sparse_nmf,
        lambda: {"matrix": X, "weight": 0.1},
        {"matrix": MATRIX, "weight": LIMIT | of_kinds(negative=-1.0)},
    ),
    "named.svd": (jxu.named.svd, lambda: {"matrix": X}, {"matrix": MATRIX}),
    "penalties.ARD": (
        jxu.penalties.ARD,
        lambda: {"block": "maps"},
        {
            "block": BLOCK,
            "weight": LIMIT | of_kinds(negative=-1.0),
            "form": WORD,
            "shape": SOME_LIMIT | of_kinds(one=1.0),
            "scale": SOME_LIMIT | of_kinds(zero=0.0, negative=-1.0),
            "noise_variance": SOME_LIMIT | of_kinds(zero=0.0, negative=-1.0),
        },
    ),
    "penalties.GraphSimilarity": (
        jxu.penalties.GraphSimilarity,
        lambda: {"block": "maps", "weight": 0.1, "graph": jxu.penalties.similarity_graph(X, 2)},
        {
            "block": BLOCK,
            "weight": LIMIT | of_kinds(negative=-1.0),
            "graph": of_kinds(NONE, text="01", a_number=3, lopsided=np.ones((2, 3))),
            "form": WORD,
        },
    ),
    "penalties.Ridge": (
        jxu.penalties.Ridge,
        lambda: {"block": "maps", "weight": 1.0},
        {"block": BLOCK, "weight": LIMIT | of_kinds(negative=-1.0)},
    ),
    "penalties.Smoothness": (
        jxu.penalties.Smoothness,
        lambda: {"block": "spectra", "weight": 1.0},
        {"block": BLOCK, "weight": LIMIT | of_kinds(negative=-1.0)},
    ),
    "penalties.TotalVariation": (
        jxu.penalties.TotalVariation,
        lambda: {"block": "maps", "weight": 1.0, "grid": (2, 3)},
        {
            "block": BLOCK,
            "weight": LIMIT | of_kinds(negative=-1.0),
            "grid": of_kinds(a_number=6, text="23", fractions=(2.5, 3), zero=(0, 3), dictionary={}),
            "epsilon": LIMIT | of_kinds(zero=0.0, negative=-1.0),
        },
    ),
    "penalties.similarity_graph": (
        jxu.penalties.similarity_graph,
        lambda: {"values": X, "neighbours": 2},
        {"values": MATRIX, "neighbours": WHOLE_NUMBER | of_kinds(zero=0, too_many=99)},
    ),
    "rank.Likeness": (rank.Likeness, dict, {"limit": LIMIT | of_kinds(negative=-1.0, two=2.0)}),
    "updates.FISTA": (jxu.updates.FISTA, dict, {"inner": SOME_WHOLE | of_kinds(zero=0)}),
    "penalties.L1": (jxu.penalties.L1, lambda: {"block": "maps", "weight": 1.0}, {"block": BLOCK}),
    "penalties.Laplacian": (
        jxu.penalties.Laplacian,
        lambda: {"block": "spectra", "weight": 1.0},
        {"block": BLOCK, "grid": of_kinds(a_number=6, text="23", fractions=(2.5, 3), zero=(0, 3), dictionary={})},
    ),
    "penalties.LogSparsity": (jxu.penalties.LogSparsity, lambda: {"block": "maps", "weight": 1.0}, {"block": BLOCK}),
    "penalties.SoftOrthogonality": (
        jxu.penalties.SoftOrthogonality,
        lambda: {"block": "maps", "weight": 1.0},
        {"block": BLOCK, "weight": without(NUMBER, "a list") | of_kinds(negative=-1.0, nothing=None)},
    ),
    "penalties.as_weight": (
        jxu.penalties.as_weight,
        dict,
        {"weight": without(NUMBER, "a list") | of_kinds(negative=-1.0, nothing=None)},
    ),
    "updates.ALS": (jxu.updates.ALS, dict, {"first": WORD}),
    "updates.HALS": (jxu.updates.HALS, dict, {}),
    "updates.MALS": (jxu.updates.MALS, dict, {"towards": WORD, "first": WORD}),
    "updates.ProjectedGradient": (jxu.updates.ProjectedGradient, dict, {"optimiser": SOME_OBJECT}),
    "updates.Sheared": (jxu.updates.Sheared, dict, {}),
    # metrics
    "metrics.best_window": (
        metrics.best_window,
        lambda: {"values": np.arange(6.0), "maps": MAPS},
        {"values": without(ARRAY, *NOT_FINITE)},
    ),
    "metrics.correlation": (metrics.correlation, lambda: {"a": MAPS, "b": MAPS[:, ::-1]}, {"b": ARRAY}),
    "metrics.cross_correlation": (metrics.cross_correlation, lambda: {"a": MAPS, "b": MAPS}, {"b": ARRAY}),
    "metrics.deviance": (
        metrics.deviance,
        lambda: {"data": X, "maps": MAPS, "spectra": SPECTRA},
        {"maps": ARRAY, "spectra": ARRAY},
    ),
    "metrics.explained_variance": (
        metrics.explained_variance,
        lambda: {"data": X, "maps": MAPS, "spectra": SPECTRA},
        {"maps": ARRAY, "spectra": ARRAY},
    ),
    "metrics.map_error": (
        metrics.map_error,
        lambda: {"maps": MAPS, "truth": MAPS[:, ::-1]},
        {"matched": SOME_OBJECT, "scale": WORD},
    ),
    "metrics.match": (metrics.match, lambda: {"estimate": SPECTRA, "truth": SPECTRA}, {}),
    "metrics.relative_residual": (
        metrics.relative_residual,
        lambda: {"data": X, "maps": MAPS, "spectra": SPECTRA},
        {"spectra": ARRAY},
    ),
    "metrics.spectral_angle": (metrics.spectral_angle, lambda: {"a": SPECTRA, "b": SPECTRA}, {"b": ARRAY}),
    # page
    "page.write": (
        jxu.page.write,
        lambda: {"path": FOLDER / "a.html", "result": result()},
        {
            "path": PATH,
            "result": DATASET,
            "img": SOME_OBJECT,
            "truth": SOME_OBJECT,
            "title": TEXT,
            "command": TEXT,
        },
    ),
    "page.write_scan": (
        jxu.page.write_scan,
        lambda: {"path": FOLDER / "a.html", "scan": scanned()},
        {
            "path": PATH,
            "scan": OBJECT | of_kinds(a_class=rank.Scan),
            "img": SOME_OBJECT,
            "title": TEXT,
            "command": TEXT,
            "proposal": TEXT,
        },
    ),
    # plots
    "plots.comparison": (
        plots.comparison,
        lambda: {"result": result(), "truth_maps": MAPS, "truth_spectra": SPECTRA},
        {"result": DATASET, "truth_maps": ARRAY, "truth_spectra": ARRAY, "names": NAMES | of_kinds(short=["a"])},
    ),
    "plots.convergence": (plots.convergence, dict, {"result": DATASET}),
    "plots.decomposition": (plots.decomposition, dict, {"result": OBJECT | of_kinds(a_class=bayes.Decomposition)}),
    "plots.decompositions": (
        plots.decompositions,
        lambda: {"results": spectra_found(True)},
        {"results": OBJECT | of_kinds(one=spectra_found()), "names": NAMES | of_kinds(short=["a"])},
    ),
    "plots.free_energy": (plots.free_energy, dict, {"result": OBJECT}),
    "plots.lines": (
        plots.lines,
        lambda: {"result": result(), "marked": {"a": 1.0}},
        {
            "result": DATASET,
            "marked": MAPPING | of_kinds(nothing=None, texts={"a": "b"}, NaN={"a": np.nan}, complex={"a": 1j}),
            "limits": WINDOW | of_kinds(falling=(3.0, 1.0), infinite=(0.0, np.inf)),
        },
    ),
    "plots.maps": (plots.maps, dict, {"result": DATASET}),
    "plots.methods": (
        plots.methods,
        lambda: {"scores": SCORES},
        {
            "scores": OBJECT | of_kinds(empty=SCORES[:0], texts=SCORES.astype(str)),
            "names": MAPPING | of_kinds(unknown={"b": "c"}),
        },
    ),
    "plots.mse": (plots.mse, dict, {"scan": DATASET}),
    "plots.overview": (plots.overview, lambda: {"result": result()}, {"result": DATASET, "img": SOME_OBJECT}),
    "plots.rank": (plots.rank, dict, {"scan": DATASET}),
    "plots.residuals": (plots.residuals, lambda: {"result": result(), "img": IMG}, {"result": DATASET, "img": OBJECT}),
    "plots.relevance": (plots.relevance, dict, {"result": DATASET}),
    "plots.restarts": (plots.restarts, dict, {"result": DATASET}),
    "plots.spectra": (plots.spectra, lambda: {"result": result()}, {"result": DATASET, "stacked": FLAG}),
    "plots.tuning": (plots.tuning, dict, {"found": OBJECT}),
    "plots.white_lines": (
        plots.white_lines,
        lambda: {"results": spectra_found(True)},
        {
            "results": OBJECT | of_kinds(one=spectra_found()),
            "names": NAMES | of_kinds(short=["a"]),
            "expected": of_kinds(text="a", texts=["a", "b"], complex=[1j, 1], short=[1.0], dictionary={}),
        },
    ),
    # eels
    "eels.mlls": (
        jxu.eels.mlls,
        lambda: {"img": IMG, "references": SPECTRA},
        {
            "img": OBJECT,
            "references": ARRAY
            | of_kinds(one_row=SPECTRA[0], short=SPECTRA[:, 1:], zero=np.zeros((1, 5)), twice=X[[0, 0]]),
            "variance": without(SOME_ARRAY, "a number")
            | of_kinds(negative=-1.0, zero=0.0, short=np.ones(3), one_negative=X - X.min() - 1),
            "shifts": FLAG,
            "broadenings": FLAG,
            "background_exponents": of_kinds(
                a_number=3.0,
                text="2",
                texts=["2"],
                NaN=[np.nan],
                nothing=None,
                twice=[2.0, 2.0],
                complex=[2j],
                one=[2.0],
            ),
            "nonnegative": FLAG,
        },
    ),
    # preprocess
    "preprocess.align": (
        preprocess.align,
        lambda: {"img": WIDE},
        {
            "img": OBJECT,
            "reference": of_kinds(
                text="wrong", complex=1j, short=np.ones(3), NaN=np.full((20, 1), np.nan), too_far=99.0
            ),
            "window": WINDOW | of_kinds(outside=(90, 99)),
            "rank": WHOLE_NUMBER | of_kinds(too_many=99),
            "per": WORD,
            "most": without(NUMBER, "None") | of_kinds(zero=0.0, too_far=99.0),
            "place": without(NUMBER, "None") | of_kinds(outside=99.0),
            "how": WORD,
        },
    ),
    "preprocess.find_spikes": (
        preprocess.find_spikes,
        lambda: {"img": WIDE},
        {"img": OBJECT | of_kinds(few=IMG), "threshold": LIMIT | of_kinds(low=1.0), "rank": SOME_WHOLE},
    ),
    "preprocess.measure_shifts": (
        preprocess.measure_shifts,
        lambda: {"img": WIDE},
        {
            "img": OBJECT,
            "window": WINDOW | of_kinds(outside=(90, 99), narrow=(0, 1)),
            "rank": WHOLE_NUMBER | of_kinds(too_many=99),
            "per": WORD,
            "most": without(NUMBER, "None") | of_kinds(zero=0.0, too_far=99.0),
            "place": without(NUMBER, "None") | of_kinds(outside=99.0),
        },
    ),
    "preprocess.remove_fixed_pattern": (
        preprocess.remove_fixed_pattern,
        lambda: {"img": WIDE},
        {"img": OBJECT, "kind": WORD, "channels": WHOLE_NUMBER | of_kinds(even=4, too_many=99)},
    ),
    "preprocess.remove_persistence": (
        preprocess.remove_persistence,
        lambda: {"img": WIDE, "fraction": 0.1, "decay": 0.2},
        {
            "img": OBJECT,
            "fraction": LIMIT | of_kinds(above=1.0, negative=-0.1),
            "decay": LIMIT | of_kinds(above=1.0, negative=-0.1),
            "snake": FLAG,
        },
    ),
    "preprocess.remove_spikes": (
        preprocess.remove_spikes,
        lambda: {"img": WIDE},
        {"img": OBJECT | of_kinds(few=IMG), "threshold": LIMIT | of_kinds(low=1.0), "rank": SOME_WHOLE},
    ),
    "preprocess.bin": (
        preprocess.bin,
        lambda: {"img": IMG},
        {"trim": FLAG, "z": of_kinds(two=2), "y": WHOLE_NUMBER | of_kinds(too_many=99)},
    ),
    "preprocess.clip_negative": (preprocess.clip_negative, lambda: {"img": IMG}, {}),
    "preprocess.crop": (
        preprocess.crop,
        lambda: {"img": IMG},
        {"energy": WINDOW | of_kinds(nothing=None, empty=(9, 10)), "z": of_kinds(pair=(0, 1))},
    ),
    "preprocess.edge_energy": (preprocess.edge_energy, lambda: {"img": IMG, "channels": 3}, {"window": WINDOW}),
    "preprocess.fit_peak": (
        preprocess.fit_peak,
        lambda: {"img": IMG, "channels": 5},
        {"window": WINDOW, "shape": WORD, "baseline": SOME_WORD},
    ),
    "preprocess.interpolate": (
        preprocess.interpolate,
        lambda: {"img": IMG, "values": [1.0]},
        {"dim": of_kinds(a_number=3, unknown="z", a_list=["energy"])},
    ),
    "preprocess.log": (preprocess.log, lambda: {"img": IMG}, {}),
    "preprocess.mask": (
        preprocess.mask,
        lambda: {"img": IMG},
        {
            "pixels": of_kinds(
                numbers=np.ones((6, 1)), short=[True], text="all", a_number=1, complex=1j, dictionary={}
            ),
            "channels": of_kinds(numbers=np.ones(5), short=[True], text="all", a_number=1, complex=1j, dictionary={}),
        },
    ),
    "preprocess.mask_non_finite": (preprocess.mask_non_finite, lambda: {"img": IMG}, {"img": OBJECT, "over": WORD}),
    "preprocess.merge_repeated": (
        preprocess.merge_repeated,
        lambda: {"img": IMG, "energies": ENERGY},
        {"img": OBJECT, "energies": SOME_ARRAY, "tolerance": NUMBER | of_kinds(negative=-1.0, nothing=None)},
    ),
    "preprocess.normalise": (preprocess.normalise, lambda: {"img": IMG}, {"how": WORD}),
    "preprocess.normalise_range": (preprocess.normalise_range, lambda: {"img": IMG}, {"over": WORD}),
    "preprocess.sliding_fft": (
        preprocess.sliding_fft,
        lambda: {"image": np.ones((12, 12)), "window": 8, "step": 2},
        {"taper": WORD, "scale": WORD, "half": FLAG},
    ),
    "preprocess.weight_channels": (
        preprocess.weight_channels,
        lambda: {"img": IMG},
        {"weights": of_kinds(text="1", complex=[1j] * 5, NaN=[np.nan] * 5, short=[1.0], nothing=None, dictionary={})},
    ),
    "preprocess.normalise_edge": (
        preprocess.normalise_edge,
        lambda: {"img": IMG, "pre": (0, 1), "post": (2, 4)},
        {
            "pre": WINDOW,
            "post": WINDOW,
            "e0": of_kinds(text="a", complex=1j, NaN=np.nan, dictionary={}, True_=True),
            "flatten": FLAG,
        },
    ),
    "preprocess.power_law_background": (
        preprocess.power_law_background,
        lambda: {"img": ABOVE_ZERO, "window": (1, 4)},
        {"img": OBJECT | of_kinds(from_zero=IMG), "window": PRE_EDGE},
    ),
    "preprocess.low_rank_background": (
        preprocess.low_rank_background,
        lambda: {"img": ABOVE_ZERO, "window": (1, 4)},
        {
            "img": OBJECT | of_kinds(from_zero=IMG, without_counts=image(0 * X, coords={"energy": ENERGY + 1})),
            "window": PRE_EDGE,
            "rank": WHOLE_NUMBER | of_kinds(zero=0, too_many=4),
        },
    ),
    "preprocess.optical_density": (preprocess.optical_density, lambda: {"img": IMG, "i0": 10}, {}),
    "preprocess.peak_top_energy": (
        preprocess.peak_top_energy,
        lambda: {"img": IMG, "channels": 5},
        {"window": WINDOW, "shape": WORD, "baseline": SOME_WORD, "channels": SOME_WHOLE},
    ),
    "preprocess.subtract_reference": (preprocess.subtract_reference, lambda: {"img": IMG, "spectrum": X[0]}, {}),
    # rank
    "rank.BiCrossValidation": (
        rank.BiCrossValidation,
        dict,
        {
            "folds": WHOLE_NUMBER,
            "restarts": WHOLE_NUMBER,
            "max_steps": WHOLE_NUMBER,
            "within": NUMBER | of_kinds(negative=-1.0),
        },
    ),
    "rank.Plateau": (rank.Plateau, dict, {"tolerance": NUMBER | of_kinds(negative=-1.0, zero=0.0)}),
    "rank.Scree": (rank.Scree, dict, {"limit": NUMBER}),
    "rank.heights_above_noise": (
        rank.heights_above_noise,
        lambda: {"energies": np.array([9.0, 1.0, 1.0]), "total": 11.0, "shape": (6, 5), "last": 2},
        {"energies": ARRAY, "total": NUMBER | of_kinds(negative=-1.0), "shape": PAIR, "last": WHOLE_NUMBER},
    ),
    "rank.marchenko_pastur": (rank.marchenko_pastur, lambda: {"n": 6, "m": 5}, {"n": WHOLE_NUMBER, "m": WHOLE_NUMBER}),
    "rank.scan": (
        rank.scan,
        lambda: {"problem": PROBLEM, "ranks": range(1, 3), "criteria": (rank.AIC(),), "key": KEY},
        {
            "ranks": of_kinds(
                a_number=3, text="23", fractions=[2.0], none=[], nothing=None, too_many=[9], True_=[True]
            ),
            "criteria": OBJECT | of_kinds(texts=("bcv",), by_itself=rank.AIC(), a_class=rank.AIC, classes=(rank.AIC,)),
            "compress": of_kinds(text="yes", fraction=2.5, complex=1j, a_list=[2], NaN=np.nan, too_many=99, an_array=X),
            "progress": FLAG,
        },
    ),
    # simulate
    "simulate.battery_xas": (simulate.battery_xas, lambda: {"key": KEY}, {"shape": PAIR, "raw": FLAG}),
    "simulate.core_shell": (simulate.core_shell, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.edge_spectrum": (
        simulate.edge_spectrum,
        lambda: {"key": KEY},
        {"window": without(WINDOW, "texts") | of_kinds(falling=(2.0, 1.0), infinite=(0.0, np.inf), nothing=None)},
    ),
    "simulate.edx_phases": (simulate.edx_phases, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.eels_oxides": (simulate.eels_oxides, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.line_scan": (simulate.line_scan, lambda: {"key": KEY}, {}),
    "simulate.silicon_diode": (simulate.silicon_diode, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.cathode_oxygen": (simulate.cathode_oxygen, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.mantle_minerals": (simulate.mantle_minerals, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.mixture": (
        simulate.mixture,
        lambda: {"key": KEY, "pixels": 6, "channels": 5, "components": 2, "noise": "gaussian"},
        {"noise": SOME_WORD, "snr_db": NUMBER, "correlated": FLAG},
    ),
    "simulate.nanosheets": (
        simulate.nanosheets,
        lambda: {"key": KEY},
        {"shape": PAIR, "detector": PAIR, "topotactic": FLAG},
    ),
    "simulate.channelling_eels": (
        simulate.channelling_eels,
        lambda: {"key": KEY, "shape": (4, 5), "channels": 20},
        {
            "key": KEYS,
            "shape": PAIR,
            "counts": LIMIT,
            "channels": WHOLE_NUMBER,
            "contrast": LIMIT,
        },
    ),
    "simulate.channelling_edx": (
        simulate.channelling_edx,
        lambda: {"key": KEY, "shape": (4, 5), "channels": 20},
        {
            "key": KEYS,
            "shape": PAIR,
            "counts": LIMIT,
            "channels": WHOLE_NUMBER,
            "contrast": LIMIT,
        },
    ),
    "simulate.oxides_and_carbon": (
        simulate.oxides_and_carbon,
        lambda: {"key": KEY, "shape": (4, 5), "channels": 20},
        {
            "key": KEYS,
            "shape": PAIR,
            "counts": LIMIT,
            "channels": WHOLE_NUMBER,
            "pixel_nm": LIMIT,
        },
    ),
    "simulate.oxide_interface": (
        simulate.oxide_interface,
        lambda: {"key": KEY, "shape": (4, 5), "channels": 20},
        {
            "key": KEYS,
            "shape": PAIR,
            "counts": LIMIT,
            "channels": WHOLE_NUMBER,
            "drift": LIMIT,
            "jitter": LIMIT,
            "width": LIMIT,
            "pixel_nm": LIMIT,
        },
    ),
    "simulate.zero_loss": (
        simulate.zero_loss,
        lambda: {"key": KEY, "shifts": np.zeros(20), "shape": (4, 5), "channels": 20},
        {
            "key": KEYS,
            "shifts": ARRAY,
            "shape": PAIR,
            "counts": LIMIT,
            "channels": WHOLE_NUMBER,
            "fwhm": LIMIT,
            "readout": LIMIT,
        },
    ),
    "simulate.oxide_lattice": (simulate.oxide_lattice, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.rod_scans": (simulate.rod_scans, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.tof_sims": (simulate.tof_sims, lambda: {"key": KEY}, {"shape": without(PAIR, "three")}),
    "simulate.tunnelling_spectroscopy": (simulate.tunnelling_spectroscopy, lambda: {"key": KEY}, {"shape": PAIR}),
    "simulate.patterns": (simulate.patterns, lambda: {"key": KEY}, {"shape": PAIR, "detector": PAIR}),
    "simulate.xas_domains": (simulate.xas_domains, lambda: {"key": KEY}, {"shape": PAIR}),
    # physics
    "physics.calibration.calibrate": (
        calibration.calibrate,
        lambda: {"model": model(), "counts": np.ones(200)},
        {
            "model": OBJECT | of_kinds(a_class=xray.EmissionModel),
            "counts": ARRAY | of_kinds(negative=-np.ones(200)),
            "composition": of_kinds(text="a", complex=[1j, 1], NaN=[np.nan, 1], short=[1.0], negative=[-1.0, 1]),
            "parameters": NAMES | of_kinds(none=(), nothing=None, unknown=("a",)),
            "max_steps": WHOLE_NUMBER,
        },
    ),
    "physics.diffraction.Crystal": (
        crystal,
        dict,
        {
            "name": TEXT | of_kinds(nothing=None),
            "elements": NAMES | of_kinds(nothing=None, unknown=("Ti", "Xx"), short=("Ti",)),
            "lattice": ARRAY | of_kinds(singular=np.ones((2, 2)), flat=np.ones(2)),
            "positions": ARRAY,
            "debye_waller": ARRAY | of_kinds(negative=np.array([-1.0, 0.0])),
        },
    ),
    "physics.diffraction.paint": (
        diffraction.paint,
        lambda: {"spots": reflected(), "ky": np.arange(3.0), "kx": np.arange(4.0), "width": 0.5},
        {
            "spots": OBJECT | of_kinds(a_class=diffraction.Spots),
            "ky": ARRAY,
            "kx": ARRAY,
            "width": NUMBER | of_kinds(zero=0.0, negative=-1.0, nothing=None, an_array=X),
            "profile": WORD,
        },
    ),
    "physics.diffraction.reciprocal": (
        diffraction.reciprocal,
        dict,
        {"lattice": ARRAY | of_kinds(singular=np.ones((2, 2)), flat=np.ones(2), oblong=np.ones((2, 3)))},
    ),
    "physics.diffraction.reflections": (
        diffraction.reflections,
        lambda: {"crystal": crystal(), "k_max": 2.0},
        {"crystal": OBJECT | of_kinds(a_class=diffraction.Crystal), "k_max": NUMBER | of_kinds(zero=0, negative=-1)},
    ),
    "physics.diffraction.scattering_factor": (
        diffraction.scattering_factor,
        lambda: {"element": "O", "s": 1.0},
        {"element": WORD, "s": NUMERS | of_kinds(negative=-1.0)},
    ),
    "physics.diffraction.spots": (
        diffraction.spots,
        lambda: {"crystal": crystal(), "indices": np.array([[1, 0]])},
        {
            "crystal": OBJECT | of_kinds(a_class=diffraction.Crystal),
            "indices": HKLS,
            "rotation": NUMBER | of_kinds(nothing=None, an_array=X),
            "thickness_nm": NUMBER | of_kinds(nothing=None, negative=-1.0, an_array=X),
            "energy_keV": NUMBER | of_kinds(nothing=None, zero=0, negative=-1.0),
        },
    ),
    "physics.diffraction.structure_factor": (
        diffraction.structure_factor,
        lambda: {"crystal": crystal(), "indices": np.array([[1, 0]])},
        {
            "crystal": OBJECT,
            "indices": HKLS,
        },
    ),
    "physics.diffraction.wavelength": (
        diffraction.wavelength,
        dict,
        {"energy_keV": NUMBER | of_kinds(zero=0, negative=-1.0, nothing=None)},
    ),
    "physics.xray.Detector": (
        xray.Detector,
        dict,
        {"layers": of_kinds(a_number=3, text="C", texts=("C",), nothing=None, a_class=(xray.Layer,))},
    ),
    "physics.xray.EmissionModel": (
        xray.EmissionModel,
        lambda: {"elements": ["O"], "energy_keV": MODEL_AXIS},
        {
            "elements": of_kinds(a_number=8, numbers=[8], unknown=["Xx"], none=[], nothing=None, twice=["O", "O"]),
            "thickness_nm": without(ANY, "a list") | of_kinds(negative=-1.0, NaN=np.nan),
            "density": without(ANY, "a list") | of_kinds(negative=-1.0, NaN=np.nan),
            "detector": SOME_OBJECT | of_kinds(a_class=xray.Detector),
            "split": WORD,
            "free": of_kinds(a_number=8, numbers=[8], unknown=["Xx"], nothing=None, twice=["Fe", "Fe"]),
            "bremsstrahlung": FLAG,
            "escape": FLAG,
            "cross_sections": FUNCTION,
            "sensitivity": of_kinds(text="a", complex=[1j], NaN=[np.nan], negative=[-1.0], short=np.ones(7)),
        },
    ),
    "physics.camera.Camera": (
        camera.Camera,
        dict,
        {
            "readout_sd": NUMBER | of_kinds(nothing=None, negative=-1.0),
            "counts_per_electron": NUMBER | of_kinds(nothing=None, negative=-1.0, zero=0.0),
            "gain_sd": NUMBER | of_kinds(nothing=None, negative=-1.0),
            "excess": NUMBER | of_kinds(nothing=None, below_one=0.5),
        },
    ),
    "physics.xray.Layer": (
        xray.Layer,
        lambda: {"formula": "C", "thickness_nm": 10.0, "density": 2.0},
        {
            "formula": TEXT | of_kinds(nothing=None, another="wrong", empty=""),
            "thickness_nm": NUMBER | of_kinds(negative=-1.0, nothing=None),
            "density": NUMBER | of_kinds(negative=-1.0, zero=0.0, nothing=None),
            "cover": NUMBER | of_kinds(negative=-1.0, two=2.0, nothing=None),
        },
    ),
    "physics.xray.LineTable": (
        xray.LineTable,
        lambda: {"lines": {"O": [("K", 0.5, 1.0)]}, "beam_keV": 200.0},
        {"lines": MAPPING | of_kinds(nothing=None), "beam_keV": NUMBER | of_kinds(nothing=None, zero=0.0)},
    ),
    "physics.xray.atomic_to_weight": (
        xray.atomic_to_weight,
        lambda: {"fractions": np.ones(2), "masses": np.ones(2)},
        {"fractions": without(ARRAY, *NOT_FINITE), "masses": ARRAY | of_kinds(negative=-np.ones(2), short=np.ones(1))},
    ),
    "physics.xray.weight_to_atomic": (
        xray.weight_to_atomic,
        lambda: {"fractions": np.ones(2), "masses": np.ones(2)},
        {"fractions": without(ARRAY, *NOT_FINITE), "masses": ARRAY | of_kinds(negative=-np.ones(2), short=np.ones(1))},
    ),
    "physics.xray.attenuation_sd": (
        xray.attenuation_sd,
        lambda: {"element": "O", "energy_keV": 1.0},
        {"element": WORD, "energy_keV": NUMBER | of_kinds(nothing=None, negative=-1.0, zero=0.0)},
    ),
    "physics.xray.bremsstrahlung": (
        xray.bremsstrahlung,
        lambda: {"energy_keV": MODEL_AXIS, "beam_keV": 200.0},
        {"energy_keV": ARRAY, "beam_keV": NUMBER | of_kinds(nothing=None, negative=-1.0, zero=0.0)},
    ),
    "physics.xray.emission_basis": (
        xray.emission_basis,
        lambda: {"elements": ["O"], "energy_keV": MODEL_AXIS},
        {
            "elements": of_kinds(a_number=8, numbers=[8], unknown=["Xx"], none=[], nothing=None, twice=["O", "O"]),
            "energy_keV": ARRAY,
            "beam_keV": NUMBER,
            "take_off_deg": NUMBER,
            "thickness_nm": ANY,
            "density": ANY,
            "minimum_weight": NUMBER,
        },
    ),
    "physics.xray.load_bote_salvat": (xray.load_bote_salvat, dict, {"path": PATH}),
    "physics.xray.load_emtables": (xray.load_emtables, dict, {"path": PATH}),
    "physics.xray.pile_up_column": (
        xray.pile_up_column,
        lambda: {"mean_spectrum": np.ones(200), "energy_keV": MODEL_AXIS},
        {"mean_spectrum": ARRAY, "energy_keV": ARRAY},
    ),
    "physics.xray.sensitivity_from_standard": (
        xray.sensitivity_from_standard,
        lambda: {"model": model(), "measured_coefficients": np.ones(2), "known_composition": np.ones(2)},
        {"model": OBJECT, "measured_coefficients": ARRAY, "known_composition": ARRAY},
    ),
    "physics.xray.slab": (xray.slab, dict, {"chi": NUMERS}),
    "physics.xray.thin_window": (xray.thin_window, dict, {"fano": NUMBER}),
    "physics.xray.windowless": (xray.windowless, dict, {"fano": NUMBER}),
    "physics.xray.yield_sd": (
        xray.yield_sd,
        lambda: {"element": "O", "family": "K"},
        {"element": WORD, "family": WORD},
    ),
    # scikit-learn's rule: what is given is looked at by `fit`.
    "sklearn.NMF": (
        lambda **given: NMF(**given).fit(X),
        dict,
        {
            "init": SOME_WORD,
            "solver": WORD,
            "beta_loss": without(WORD, "a number"),
            "random_state": of_kinds(text="a", fraction=1.5, complex=1j),
        },
    ),
}
for name in ("bethe", "casnati"):
    CALLS[f"physics.xray.{name}"] = (
        getattr(xray, name),
        lambda: {"element": "O", "subshell": "K", "edge_keV": 0.5, "beam_keV": 200.0},
        {
            "element": WORD,
            "subshell": WORD,
            "edge_keV": NUMBER | of_kinds(nothing=None, negative=-1.0, zero=0.0),
            "beam_keV": NUMBER | of_kinds(nothing=None, negative=-1.0, zero=0.0),
        },
    )
# Energies may be missing: so is then the value there.
PLACES = without(NUMERS, *NOT_FINITE)
WIDTH = NUMERS | of_kinds(negative=-1.0, zero=0.0)
SHAPES = {
    "arctangent_step": {"energy": PLACES, "centre": PLACES, "fwhm": WIDTH},
    "erf_step": {"energy": PLACES, "centre": PLACES, "fwhm": WIDTH},
    "gaussian": {"energy": PLACES, "centre": PLACES, "fwhm": WIDTH},
    "gaussian_peak": {"fwhm": WIDTH},
    "lorentzian": {"energy": PLACES, "centre": PLACES, "fwhm": WIDTH},
    "lorentzian_peak": {"fwhm": WIDTH},
    "power_law": {"energy": WIDTH, "exponent": NUMERS, "reference": WIDTH},
    "pseudo_voigt": {
        "energy": PLACES,
        "centre": PLACES,
        "fwhm": WIDTH,
        "mixing": NUMERS | of_kinds(negative=-1.0, two=2.0),
    },
    "voigt_as_pseudo": {
        "gaussian_fwhm": NUMERS | of_kinds(negative=-1.0, zero=0.0),
        "lorentzian_fwhm": NUMERS | of_kinds(negative=-1.0, zero=0.0),
    },
}
RIGHT = {"energy": np.arange(1.0, 6), "mixing": 0.5}
for name, kinds in SHAPES.items():
    base = {argument: RIGHT.get(argument, 1.0) for argument in kinds}
    if name == "voigt_as_pseudo":
        base = dict.fromkeys(kinds, 0.0)  # one of both may be zero, not both
    CALLS[f"physics.lineshapes.{name}"] = (getattr(lineshapes, name), lambda b=base: b, kinds)


@cached
def saved():
    path = FOLDER / "image.npz"
    jxu.save(IMG, path)
    return path


def _seeded(function, given):
    import numpyro

    with numpyro.handlers.seed(rng_seed=0):
        function(**given)


# Methods that take arguments of users, beside what their classes take.
METHODS = {
    "Camera.variance": (camera.Camera(1.0).variance, dict, {"counts": NUMERS}),
    "Camera.weights": (camera.Camera().weights, dict, {"counts": NUMERS | of_kinds(zero=0.0, negative=-1.0)}),
    "ReferenceFit.to_xarray": (
        lambda **given: jxu.eels.mlls(IMG, SPECTRA).to_xarray(**given),
        dict,
        {"img": OBJECT | of_kinds(another=image(X[1:]))},
    ),
    "Bilinear.of": (jxu.Bilinear.of, lambda: {"maps": MAPS, "profiles": SPECTRA}, {"maps": ARRAY}),
    "Grid.of": (
        jxu.Grid.of,
        lambda: {"shape": (2, 3)},
        {
            "shape": of_kinds(text="23", nothing=None, three=3),
            "keep": of_kinds(text="a", short=[True], numbers=np.ones((2, 3))),
        },
    ),
    "Match.reorder": (
        metrics.match(SPECTRA, SPECTRA).reorder,
        lambda: {"values": SPECTRA},
        {"axis": WHOLE_NUMBER | of_kinds(too_many=9)},
    ),
    "Problem.replace": (PROBLEM.replace, dict, {"loss": SOME_OBJECT}),
    "SpectrumImage.from_array": (
        jxu.SpectrumImage.from_array,
        lambda: {"array": X},
        {
            "signal_dims": of_kinds(fraction=1.5, complex=1j, too_many=9, nothing=None, True_=True),
            "dims": NAMES,
            "coords": MAPPING,
            "units": MAPPING,
        },
    ),
    "SpectrumImage.matrix": (IMG.matrix, dict, {"kind": WORD}),
    "SpectrumImage.to_maps": (IMG.to_maps, dict, {"values": without(ARRAY, *NOT_FINITE)}),
    "SpectrumImage.to_spectra": (
        IMG.to_spectra,
        dict,
        {"values": without(ARRAY, "empty", *NOT_FINITE)},
    ),
    "Solution.to_xarray": (lambda **g: solution().to_xarray(**g), dict, {"img": SOME_OBJECT}),
    "Solution.save": (
        lambda **g: solution().save(**g),
        lambda: {"path": FOLDER / "a.nc"},
        {"path": PATH, "img": SOME_OBJECT},
    ),
    "Solution.load": (jxu.Solution.load, dict, {"path": PATH}),
    "Decomposition.components": (
        spectra_found().components,
        dict,
        {"energy": of_kinds(text="a", complex=[1j], dictionary={}, texts=["a"])},
    ),
    "EmissionModel.basis": (
        lambda **g: model().basis(**g),
        dict,
        {"composition": of_kinds(text="a", complex=[1j, 1], NaN=[np.nan, 1], short=[1.0], negative=[-1.0, 1])},
    ),
    "Basis.columns_of": (lambda **g: basis().columns_of(**g), dict, {"element": WORD}),
}

# -- what needs no case --------------------------------------------------------------------------------------------

RESULTS = (
    "Pooled",
    "Solution",
    "Status",
    "bayes.Decomposition",
    "bayes.Decompositions",
    "bayes.FreeEnergy",
    "eels.ReferenceFit",
    "metrics.Match",
    "metrics.Window",
    "penalties.Bound",
    "penalties.Reference",
    "physics.calibration.Calibration",
    "physics.diffraction.Spots",
    "physics.xray.Basis",
    "rank.Evidence",
    "rank.Scan",
    "rank.Verdict",
    "simulate.Truth",
    "tensors.TensorSolution",
    "updates.ProjectedState",
)
BASES = (
    "bayes.Density",
    "bayes.Explorer",
    "constraints.AbstractConstraint",
    "initial.AbstractInitial",
    "initial.AbstractPadded",
    "losses.AbstractLoss",
    "penalties.AbstractPenalty",
    "penalties.AbstractRowPenalty",
    "rank.AbstractCriterion",
    "updates.AbstractUpdate",
)
EXCEPTIONS = {
    "Bilinear": "how steps and JAX put factors together; users' arrays come by `Bilinear.of`, which is in the table",
    "Problem(tuning)": "what `tune` tried, which `replace` passes on; `plots.tuning` looks at it",
    **dict.fromkeys(RESULTS, "what functions return: users read it, and what takes it looks at it"),
    **dict.fromkeys(BASES, "abstract: Python lets nobody make one"),
    "cli.main": "takes words typed by users, which tests/cli has",
}


def public_callables():
    """Name, as users write it after `jaxunmix.`, -> public function or class; the first name of several."""
    found, seen = {}, set()
    for module, names in PUBLIC.items():
        for name in names.split():
            value = getattr(module_of(module), name)
            if callable(value) and not inspect.ismodule(value) and id(value) not in seen:
                seen.add(id(value))
                found[f"{module}.{name}".removeprefix("jaxunmix.")] = value
    return found


def parameters_of(function):
    """The names of its arguments, ** of those that it takes by any name."""
    kinds = inspect.signature(function).parameters.values()
    return [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in kinds if p.name != "self"]


def met_elsewhere():
    """(last part of the name, argument) of what the tables of `bad_input` meet."""
    last = {name.rpartition(".")[2]: function for name, function in public_callables().items()}
    met = {(name, "key") for name in KEYED}
    for table in (WHOLE, NUMBERS, PARTS):
        met |= {(name, argument) for name, arguments in table.items() for argument in arguments.split()}
    met |= {(name, "problem") for name in PROBLEM_TAKERS} | {(name, "img") for name in IMAGE_TAKERS}
    for name in TAKERS:
        name, _, argument = name.rstrip(")").partition("(")
        if name in last:
            met.add((name, argument or parameters_of(last[name])[0]))
    return (
        met
        | {("EmissionModel", "energy_keV"), ("emission_basis", "composition")}
        | {("decompose_spectrum", argument) for argument in ("energy", "intensity")}
    )


def unmet():
    """Public callables, and arguments of such, that no case meets and that are no exception."""
    elsewhere, missing = met_elsewhere(), []
    for name, function in public_callables().items():
        if name in EXCEPTIONS:
            continue
        last, kinds = name.rpartition(".")[2], CALLS.get(name, (None, None, {}))[2]
        for argument in parameters_of(function):
            by_any_name = argument.startswith("**") and kinds.keys() - set(parameters_of(function))
            if f"{name}({argument})" in EXCEPTIONS:
                continue
            if argument not in kinds and (last, argument) not in elsewhere and not by_any_name:
                missing.append(f"{name}({argument})")
    return missing


for name, (function, base, kinds) in (CALLS | METHODS).items():
    last = name.rpartition(".")[2]
    for argument, wrong in kinds.items():
        for kind, made in wrong.items():
            text = f"{name}({argument}={kind})"
            if f"{last}({argument}={kind})" not in CASES:
                refused(text, lambda f=function, b=base, a=argument, m=made: f(**{**b(), a: m(_right(b, a))}))


def _right(base, argument):
    """The argument that is right, as an array: what kinds of arrays are made of."""
    right = base().get(argument, X)
    if isinstance(right, float | int):
        return np.array([right, right])
    return np.asarray(right) if isinstance(right, list | tuple) else right


# What one array of the right kind, in any type of NumPy, makes of a function, beside those of `bad_input`.
def alike_in_any_type(name, call, array, rtol=2e-3):
    plain = functools.cache(lambda: call(array))
    for kind, made in SAME.items():
        case(f"{name}: {kind}", "either", lambda m=made: call(m(array)), plain, rtol)


S, HKL, AXIS = np.array([1.0, 2.0, 3.0]), np.array([[1, 0], [1, 1]]), np.arange(1.0, 6)
ALIKE = {
    "scattering_factor": (lambda a: diffraction.scattering_factor("O", a), S),
    "reciprocal": (diffraction.reciprocal, np.diag([2.0, 4.0])),
    "structure_factor": (lambda a: np.abs(diffraction.structure_factor(crystal(), a)), HKL.astype(float)),
    "spots of indices": (lambda a: diffraction.spots(crystal(), a).intensities, HKL.astype(float)),
    "spots of a lattice": (lambda a: diffraction.spots(crystal(lattice=a), HKL).intensities, np.diag([2.0, 4.0])),
    "mlls of references": (lambda a: jxu.eels.mlls(IMG, a).maps, SPECTRA),
    "mlls of variances": (lambda a: jxu.eels.mlls(IMG, SPECTRA, a).maps_sd, X),
    "mlls of an image": (lambda a: jxu.eels.mlls(image(a, coords={"energy": ENERGY}), SPECTRA).maps, X),
    "variance of a camera": (camera.Camera(1.0).variance, S),
    "paint": (lambda a: diffraction.paint(reflected(), a, AXIS, 2.0), np.arange(3.0)),
    "deviance of maps": (lambda a: metrics.deviance(X, a, SPECTRA), MAPS),
    "best_window of values": (lambda a: metrics.best_window(a, MAPS).correlation, np.arange(6.0)),
    "heights_above_noise": (lambda a: rank.heights_above_noise(a, 12.0, (6, 5), 2), np.array([9.0, 1.0, 1.0])),
    "atomic_to_weight": (lambda a: xray.atomic_to_weight(a, np.array([16.0, 56.0])), np.array([1.0, 3.0])),
    "weight_to_atomic": (lambda a: xray.weight_to_atomic(a, np.array([16.0, 56.0])), np.array([1.0, 3.0])),
    "slab": (xray.slab, AXIS),
    "bremsstrahlung": (lambda a: xray.bremsstrahlung(a, 200.0), AXIS),
    "pile_up_column": (lambda a: xray.pile_up_column(a, AXIS), AXIS),
} | {
    f"lineshapes.{name} of {argument}": (
        lambda a, n=name, k=tuple(kinds), x=argument: getattr(lineshapes, n)(
            **{**{y: RIGHT.get(y, 1.0) for y in k}, x: a}
        ),
        AXIS if argument != "mixing" else AXIS == 2,
    )
    for name, kinds in SHAPES.items()
    for argument in kinds
}
for name, (call, array) in ALIKE.items():
    alike_in_any_type(name, call, array)

if __name__ == "__main__":
    main()
