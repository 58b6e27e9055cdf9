"""Tensors with known factors, and shorthands that several tests share."""

import functools

import jax
import numpy as np

import jaxunmix as jxu

KEY = jax.random.key(0)
P, C = jxu.penalties, jxu.constraints


def unfold(array, mode):
    """(size, all others), the others in their order."""
    return np.moveaxis(np.asarray(array), mode, 0).reshape(np.shape(array)[mode], -1)


def outer_sum(factors):
    """The tensor of CP factors, by the definition."""
    letters = [f"{chr(ord('a') + m)}Z" for m in range(len(factors))]
    return np.einsum(f"{','.join(letters)}->{''.join(pair[0] for pair in letters)}", *factors)


@functools.cache
def trilinear(shape=(6, 7, 8), rank=2, noise=0.0, seed=0):
    """Factors, well apart, and their tensor of single precision."""
    rng = np.random.default_rng(seed)
    factors = tuple(rng.uniform(size=(size, rank)) ** 3 + 0.01 for size in shape)
    x = outer_sum(factors)
    return factors, (x + noise * x.std() * rng.normal(size=shape)).astype(np.float32)


def error(x, model):
    x = np.asarray(x, float)
    return np.linalg.norm(x - np.asarray(model, float)) / np.linalg.norm(x)


def angle(found, true):
    """The largest angle in degrees between columns matched at their best."""
    return max(jxu.metrics.match(np.asarray(found).T, np.asarray(true).T).angles)
