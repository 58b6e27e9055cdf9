"""What a fit knows of its restarts at any moment, and how that survives the process."""

import hashlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._util.files import replacing
from ..._util.padding import pad_alike
from ..alternatives import limit_of
from ..model import Bilinear
from ..solution import Restarts, Status
from .candidates import NONE, Allowance, Candidate
from .run import NON_FINITE, RUNNING, Run

# Seconds between checkpoints.
CHECKPOINT_SECONDS = 30.0


@dataclass
class Ledger:
    """Outcomes of the finished batches, the best factors so far with what is as good, and the batch in flight."""

    path: Path | None
    fingerprint: str
    allowance: Allowance = NONE
    objective: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    status: list[Status] = field(default_factory=list)
    trace: list[np.ndarray] = field(default_factory=list)
    relevance: list[np.ndarray] = field(default_factory=list)
    best: Bilinear | None = None
    best_objective: float = np.inf
    best_score: float = np.inf
    best_restart: int = 0
    others: list[Candidate] = field(default_factory=list)
    run: Run | None = None
    run_trace: list[np.ndarray] = field(default_factory=list)
    run_relevance: list[np.ndarray] = field(default_factory=list)
    pending: list[np.ndarray] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> int:
        """Restarts in finished batches."""
        return len(self.status)

    @property
    def in_flight(self) -> Run:
        """The batch that is being advanced."""
        assert self.run is not None, "no batch has begun"
        return self.run

    @property
    def running(self) -> np.ndarray:
        """(restarts of the batch,) which still move."""
        return np.asarray(self.in_flight.code) == RUNNING

    @property
    def done(self) -> int:
        """Steps of the batch in flight."""
        return int(np.max(np.asarray(self.in_flight.steps)))

    def begin(self, run: Run) -> "Ledger":
        """Take a new batch, or go on with the one that a checkpoint left in flight."""
        if self.pending:
            treedef = jax.tree.structure(run)
            run = jax.tree.unflatten(treedef, [jnp.asarray(leaf) for leaf in self.pending])
            self.pending = []
        else:
            self.run_trace = [np.asarray(run.last, float)]
            self.run_relevance = _relevances(run)
        self.run = run
        return self

    def record(self, run: Run) -> None:
        """Note one more look at the objective; write a checkpoint when it is time."""
        moved = self.running
        self.run = run
        self.run_trace.append(np.where(moved, np.asarray(run.last, float), np.nan))
        self.run_relevance += _relevances(run)
        if time.monotonic() - self.written > CHECKPOINT_SECONDS:
            self.keep()

    def close_batch(self, left: Status) -> bool:
        """Turn the batch in flight into outcomes, `left` for restarts still running; False if there is none."""
        if self.run is None:
            return bool(self.status)
        objective, codes = np.asarray(self.run.objective, float), np.asarray(self.run.code)
        # A restart that broke is kept only when all did.
        score = np.where(codes == NON_FINITE, np.inf, objective)
        i = int(np.argmin(score))
        replaced = self.best is None or score[i] < self.best_score
        known = [*self.others, *self._best_as_candidate()] if replaced else self.others
        if replaced:
            self.best = jax.tree.map(lambda leaf: leaf[i], self.run.best)
            self.best_score, self.best_objective, self.best_restart = score[i], float(objective[i]), self.finished + i
            self.relevance = [looked[i] for looked in self.run_relevance]
        self.others = self._chosen(known, self.run.best, score)
        self.status += [left if code == RUNNING else Status.of(code) for code in codes]
        self.objective += objective.tolist()
        self.steps += np.asarray(self.run.steps).tolist()
        self.trace += list(np.array(self.run_trace).T)
        self.run, self.run_trace, self.run_relevance = None, [], []
        return True

    def _best_as_candidate(self) -> list[Candidate]:
        return [] if self.best is None else [Candidate.of(float(self.best_score), self.best_restart, self.best)]

    def _chosen(self, known: list[Candidate], factors: Bilinear, score: np.ndarray) -> list[Candidate]:
        """What is kept beside the best, of what was known and of the batch that has ended."""
        if not self.allowance.most or not np.isfinite(self.best_score):
            return []
        limit = limit_of(self.best_score, self.allowance.tolerance)
        # One more than are kept, as the best may be among them.
        first = [i for i in np.argsort(score, kind="stable").tolist()[: self.allowance.most + 1] if score[i] <= limit]
        new = [
            Candidate.of(float(score[i]), self.finished + i, jax.tree.map(lambda leaf, i=i: leaf[i], factors))
            for i in first
            if self.finished + i != self.best_restart
        ]
        return self.allowance.choose([*known, *new], self.best_score)

    @property
    def kept(self) -> Bilinear:
        """The best factors so far."""
        assert self.best is not None, "no batch has been closed"
        return self.best

    def outcomes(self) -> Restarts:
        """All restarts so far."""
        trace = _stack(self.trace)
        dtype = self.kept.maps_t.dtype
        return Restarts.of(np.array(self.objective), np.array(self.steps), self.status, trace, self.best_restart, dtype)

    def keep(self) -> None:
        """Write the checkpoint now, if there is to be one and anything to write."""
        if self.path is not None and (self.run is not None or self.status):
            self.save(self.path)

    def save(self, path: Path) -> None:
        """Write everything to a checkpoint file, whole or not at all."""
        arrays: dict[str, Any] = {
            "fingerprint": np.array(self.fingerprint),
            "objective": np.array(self.objective),
            "steps": np.array(self.steps, int),
            "status": np.array([s.name for s in self.status], dtype=str),
            "trace": _stack(self.trace),
            "run_trace": np.array(self.run_trace),
            "relevance": np.array(self.relevance),
            "run_relevance": np.array(self.run_relevance),
            "best": np.array([self.best_objective, self.best_score, self.best_restart]),
        }
        if self.best is not None:
            arrays |= {"best_maps": np.asarray(self.best.maps_t), "best_profiles": np.asarray(self.best.profiles)}
        if self.others:
            arrays["others"] = np.array([one[:2] for one in self.others])
            arrays["others_maps"] = np.stack([one.maps_t for one in self.others])
            arrays["others_profiles"] = np.stack([one.profiles for one in self.others])
        leaves = jax.tree.leaves(self.run)
        arrays |= {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)
        self.written = time.monotonic()

    @classmethod
    def resume(cls, path: str | os.PathLike | None, fingerprint: str, allowance: Allowance = NONE) -> "Ledger":
        """A new ledger, or the one that the checkpoint file holds.

        Raises:
            ValueError: the file is not a checkpoint, or one of another fit.
        """
        ledger = cls(None if path is None else Path(path), fingerprint, allowance)
        if ledger.path is None or not ledger.path.exists():
            return ledger
        try:
            with np.load(ledger.path, allow_pickle=False) as stored:
                arrays = dict(stored)
            found = str(arrays["fingerprint"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{path} is no checkpoint of a fit ({error}); remove it or name another file.") from error
        if found != fingerprint:
            raise ValueError(
                f"{path} belongs to another fit (data, problem, update, start, key or limits differ); "
                "remove it or name another file."
            )
        ledger.objective, ledger.steps = arrays["objective"].tolist(), arrays["steps"].tolist()
        ledger.status = [Status[str(name)] for name in arrays["status"]]
        ledger.trace = list(arrays["trace"])
        ledger.run_trace = list(arrays["run_trace"])
        ledger.relevance, ledger.run_relevance = list(arrays["relevance"]), list(arrays["run_relevance"])
        ledger.best_objective, ledger.best_score = arrays["best"][:2].tolist()
        ledger.best_restart = int(arrays["best"][2])
        if "best_maps" in arrays:
            ledger.best = Bilinear(jnp.asarray(arrays["best_maps"]), jnp.asarray(arrays["best_profiles"]))
        if "others" in arrays:
            parts = zip(arrays["others"], arrays["others_maps"], arrays["others_profiles"], strict=True)
            ledger.others = [Candidate(float(n[0]), int(n[1]), maps, profiles) for n, maps, profiles in parts]
        ledger.pending = [arrays[f"leaf_{i}"] for i in range(sum(name.startswith("leaf_") for name in arrays))]
        return ledger

    def remove(self) -> None:
        """Delete the checkpoint file: the fit has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """A digest of everything that decides a fit's numbers: structure, static fields and array values."""
    leaves, structure = jax.tree.flatten(parts)
    digest = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes() if array.dtype.kind != "O" else repr(leaf).encode())
    return digest.hexdigest()


def _relevances(run: Run) -> list[np.ndarray]:
    """What a look adds to the record of relevances: one array, or nothing where there are none."""
    return [] if run.relevance is None else [np.asarray(run.relevance, float)]


def _stack(traces: list[np.ndarray]) -> np.ndarray:
    return np.array(pad_alike(traces)) if traces else np.zeros((0, 0))
