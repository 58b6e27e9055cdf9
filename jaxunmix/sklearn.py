"""scikit-learn estimators over the factorisation engine; HyperSpy's decomposition accepts them as they are.

>>> import numpy as np
>>> from jaxunmix.sklearn import NMF
>>> X = np.outer([1.0, 2.0, 3.0], [1.0, 0.5, 2.0, 4.0])
>>> model = NMF(n_components=1).fit(X)
>>> model.components_.shape, model.transform(X).shape
((1, 4), (3, 1))
"""

import warnings
from numbers import Integral, Real
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ._util.validation import check_unmasked
from .factor.initial.base import AbstractInitial
from .factor.initial.given import Given
from .factor.initial.nndsvd import NNDSVD
from .factor.initial.random import Random
from .factor.initial.vertices import VCA
from .factor.losses import AbstractLoss, Beta, Frobenius, ItakuraSaito, Poisson
from .factor.problem import Problem
from .factor.solution import Solution, Status
from .factor.solve.fitting import fit
from .factor.solve.projection import project
from .factor.updates.base import AbstractUpdate
from .factor.updates.hals import HALS
from .factor.updates.multiplicative import Multiplicative
from .matrix.base import AbstractMatrix
from .matrix.convert import as_matrix

BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
SOLVERS: dict[str, AbstractUpdate | None] = {"auto": None, "cd": HALS(), "mu": Multiplicative()}
STARTS: dict[str, AbstractInitial] = {"random": Random(), "nndsvd": NNDSVD(), "vca": VCA()}
FLOATS = [np.float64, np.float32]


class NMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Non-negative matrix factorisation, X ~ W H, in scikit-learn's manner.

    Minimises sum d_beta(X | W H) over non-negative W (n_samples, n_components), the maps, and H (n_components,
    n_features), the spectra (`components_`): the objective of `sklearn.decomposition.NMF` without its penalties,
    which are in `jaxunmix.Problem`. The components come in the order of decreasing |map| x |spectrum|, those of a
    custom start in their own.

    Differs from `sklearn.decomposition.NMF` in what `fit_transform` returns: once H is found, W is projected onto
    it anew until it settles, by what `transform` does. So `fit_transform(X)` and `fit(X).transform(X)` are the same
    numbers, and `reconstruction_err_` is theirs; this takes up to `max_iter` steps more, in W alone.

    Results have the type of X, float32 or float64. They are computed in double precision only where JAX is told
    to, by `jax.config.update("jax_enable_x64", True)`, and X is float64.

    Args:
        n_components: K; None or "auto" takes the number of given components where init="custom", else the smaller
            side of X.
        init: "random", "nndsvd", "vca" or "custom" (`fit` and `fit_transform` are given W, H or both); None takes
            "nndsvd", and "random" where there are several starts. A start of `jaxunmix.initial` will do too.
        solver: "cd" (coordinate descent: `HALS`, Frobenius alone), "mu" (`Multiplicative`), or "auto", which takes
            "cd" for Frobenius and "mu" for the rest. An update of `jaxunmix.updates` will do too.
        beta_loss: "frobenius", "kullback-leibler", "itakura-saito", or beta itself.
        max_iter: steps at most, of the fit and again of a projection.
        tol: stop when the objective's relative change per step is below this, as in `jaxunmix.fit`; 0 never stops
            early.
        n_init: starts, of which the best is kept.
        random_state: seed, `numpy.random.RandomState` or None.

    Attributes:
        components_: (n_components, n_features) the spectra H.
        n_components_: K.
        reconstruction_err_: sqrt(2 sum d_beta(X | W H)); for Frobenius the norm of the residual.
        n_iter_: steps of the fit that was kept.
        solution_: the fit before the projection, a `jaxunmix.Solution`, with every restart.
        n_features_in_: columns of X.
        feature_names_in_: their names, where X has some.
    """

    # Annotated Any: scikit-learn asks that a wrong parameter raises in fit, not before.
    def __init__(
        self,
        n_components: Any = "auto",
        *,
        init: Any = None,
        solver: Any = "auto",
        beta_loss: Any = "frobenius",
        max_iter: Any = 500,
        tol: Any = 1e-6,
        n_init: Any = 1,
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.beta_loss = beta_loss
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, W: Any = None, H: Any = None) -> "NMF":
        """Find `components_`; arguments and what is raised as in `fit_transform`."""
        self.fit_transform(X, W=W, H=H)
        return self

    def fit_transform(self, X: Any, y: Any = None, W: Any = None, H: Any = None) -> np.ndarray:
        """Find `components_` and the maps of X.

        Args:
            X: (n_samples, n_features), non-negative; a scipy sparse matrix stays sparse.
            y: not used.
            W: (n_samples, n_components) to start from, with init="custom".
            H: (n_components, n_features) to start from, with init="custom".

        Returns:
            (n_samples, n_components) the maps, as `transform(X)` gives them.

        Raises:
            ValueError: X that is negative, zero everywhere or not finite, more components than the smaller side
                of X, or parameters that do not suit one another.
        """
        X = self._validated(X, reset=True)
        loss = self._loss()
        problem = Problem(_matrix(X, loss), loss)
        start, rank = self._start(X, W, H)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.solution_ = fit(
            problem,
            rank,
            self._update(),
            start,
            self._whole("n_init"),
            key=jax.random.key(seed),
            max_steps=self._whole("max_iter"),
            rtol=self._tolerance(),
        )
        self.components_ = np.array(self.solution_.spectra, X.dtype)
        projected = self._project(problem.matrix, loss)
        self.n_components_ = rank
        self.n_iter_ = int(self.solution_.steps)
        self.reconstruction_err_ = float(np.sqrt(2 * max(float(projected.objective), 0)))
        if self.solution_.status is Status.MAX_STEPS and self.tol > 0:
            warnings.warn(
                f"Maximum number of iterations {self.max_iter} reached. Increase it to improve convergence.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return np.array(projected.maps, X.dtype)

    def transform(self, X: Any) -> np.ndarray:
        """The non-negative maps of `components_` in X, by `jaxunmix.project`.

        A sample's maps depend on the samples beside it only as far as the projection has not settled within
        `max_iter`, or the spectra overlap so much that the precision in use does not tell their maps apart.

        Args:
            X: (n_samples, n_features), non-negative, dense or sparse.

        Returns:
            (n_samples, n_components)
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        if not X.max() > 0:
            # An empty pixel is a valid sample, though no factorisation can be learnt from empty ones alone.
            return np.zeros((X.shape[0], self.n_components_), X.dtype)
        loss = self._loss()
        return np.array(self._project(_matrix(X, loss), loss).maps, X.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The data that maps stand for.

        Args:
            X: (n_samples, n_components), dense or sparse.

        Returns:
            (n_samples, n_features), X @ components_.
        """
        check_is_fitted(self)
        check_unmasked(X, "X")
        return check_array(X, accept_sparse=("csr", "csc"), dtype=FLOATS) @ self.components_

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validated(self, X: Any, reset: bool) -> Any:
        check_unmasked(X, "X")
        if getattr(getattr(X, "dtype", None), "kind", "") in "SUMm" and hasattr(X, "dtype"):
            raise ValueError(f"X must hold real numbers, its type is {X.dtype}.")
        return validate_data(self, X, accept_sparse=("csr", "csc"), dtype=FLOATS, ensure_non_negative=True, reset=reset)

    def _project(self, matrix: AbstractMatrix, loss: AbstractLoss) -> Solution:
        # Down to the rounding: the looser the stop, the more a sample's maps depend on the samples beside it.
        rounding = float(np.finfo(matrix.dtype).eps)
        return project(matrix, self.components_, loss, max_steps=self._whole("max_iter"), rtol=rounding)

    def _loss(self) -> AbstractLoss:
        beta = BETAS.get(self.beta_loss) if isinstance(self.beta_loss, str) else self.beta_loss
        if not isinstance(beta, Real) or isinstance(beta, bool):
            raise ValueError(f"beta_loss must be a number or one of {list(BETAS)}, got {self.beta_loss!r}.")
        named = {2.0: Frobenius(), 1.0: Poisson(), 0.0: ItakuraSaito()}
        return named.get(float(beta)) or Beta(float(beta))

    def _update(self) -> AbstractUpdate | None:
        return self.solver if isinstance(self.solver, AbstractUpdate) else _named("solver", self.solver, SOLVERS)

    def _start(self, X: Any, W: Any, H: Any) -> tuple[AbstractInitial, int]:
        """Where to start, and the rank."""
        automatic = self.n_components is None or (isinstance(self.n_components, str) and self.n_components == "auto")
        rank = min(X.shape) if automatic else self._whole("n_components")
        if isinstance(self.init, str) and self.init == "custom":
            given = Given(W, H)
            if automatic:
                rank = len(np.transpose(W) if H is None else H)
            return given, rank
        if W is not None or H is not None:
            raise ValueError(f'W and H are where init="custom" starts, but init is {self.init!r}.')
        if isinstance(self.init, AbstractInitial):
            return self.init, rank
        default = "nndsvd" if self.n_init == 1 else "random"
        return _named("init", default if self.init is None else self.init, STARTS), rank

    def _whole(self, name: str) -> int:
        value = getattr(self, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of 1 or more, got {value!r}.")
        return int(value)

    def _tolerance(self) -> float:
        if not isinstance(self.tol, Real) or not float(self.tol) >= 0:
            raise ValueError(f"tol must be a number of 0 or more, got {self.tol!r}.")
        return float(self.tol)


def _named(parameter: str, name: Any, table: dict[str, Any]) -> Any:
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{parameter} must be one of {list(table)}, got {name!r}.")
    return table[name]


def _matrix(X: Any, loss: AbstractLoss) -> AbstractMatrix:
    # Counts serve Poisson and Frobenius alone.
    return as_matrix(X, "auto" if isinstance(loss, Frobenius | Poisson) else "dense")
