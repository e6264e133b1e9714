"""Exact nearest neighbours by brute force, in blocks, on plain arrays.

Shapes: Q queries, N entities, E domain dimension.
"""

from typing import Literal

import numpy as np

Metric = Literal["cosine", "dot", "euclidean"]

BLOCK_VALUES = 1 << 22
"""Numbers held at once by a block of vectors or of similarities: 16 MiB of float32."""

CHUNK = 64
"""Values of which `top` looks at the largest first: reading is all it costs, where a partition moves."""


def similarities(queries_QE: np.ndarray, vectors_NE: np.ndarray, *, metric: Metric) -> np.ndarray:
    """Similarity of each query with each vector, larger is nearer; (Q, N) float32.

    Cosine in -1..1, dot product unbounded, or minus the Euclidean distance (0 at most).
    Cosine needs rows that are not zero.
    """
    out_QN = np.empty((len(queries_QE), len(vectors_NE)), np.float32)
    step = max(1, BLOCK_VALUES // vectors_NE.shape[1])
    for start in range(0, len(vectors_NE), step):
        out_QN[:, start : start + step] = _block(queries_QE, vectors_NE[start : start + step], metric)
    return out_QN


def top(similarity_N: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest, largest first, ties by index; -inf is never among them, so there may be fewer."""
    least = -np.inf
    if len(similarity_N) >= 2 * CHUNK * k:
        # k chunks have a value at least as large as the k-th largest of the chunks' maxima, so the k-th largest is
        whole = similarity_N[: len(similarity_N) // CHUNK * CHUNK]
        maxima = whole.reshape(-1, CHUNK).max(1)
        least = np.partition(maxima, len(maxima) - k)[len(maxima) - k]
    candidates = np.flatnonzero((similarity_N >= least) & (similarity_N > -np.inf))
    return candidates[np.argsort(-similarity_N[candidates], kind="stable")][:k]


def kth_largest(similarity_QN: np.ndarray, k: int) -> np.ndarray:
    """(Q,) the k-th largest value of each row above -inf, or the least of them where there are fewer; else -inf."""
    found = [similarity_N[top(similarity_N, k)] for similarity_N in similarity_QN]
    return np.array([values[-1] if len(values) else -np.inf for values in found], np.float32)


def own_nearest(vectors_NE: np.ndarray, rows: np.ndarray, k: int, *, metric: Metric) -> np.ndarray:
    """Similarity of each of `rows` with its k-th nearest other row, (len(rows),) float32, as `kth_largest`."""
    nearest = np.empty(len(rows), np.float32)
    step = max(1, 4 * BLOCK_VALUES // len(vectors_NE))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        similarity_QN = similarities(vectors_NE[block], vectors_NE, metric=metric)
        similarity_QN[np.arange(len(block)), block] = -np.inf
        nearest[start : start + step] = kth_largest(similarity_QN, k)
    return nearest


def _block(queries_QE: np.ndarray, vectors_NE: np.ndarray, metric: Metric) -> np.ndarray:
    if metric == "dot":
        return queries_QE @ vectors_NE.T
    if metric == "cosine":
        return queries_QE @ vectors_NE.T / _lengths(queries_QE)[:, None] / _lengths(vectors_NE)
    # |q - v|^2 as |q|^2 + |v|^2 - 2qv cancels for near points: float32 would lose their order
    queries_QE, vectors_NE = queries_QE.astype(np.float64), vectors_NE.astype(np.float64)
    sum_QN = np.sum(queries_QE**2, axis=1)[:, None] + np.sum(vectors_NE**2, axis=1)
    square_QN = sum_QN - 2 * queries_QE @ vectors_NE.T
    # what is left of equal vectors is rounding, and its root would be a distance
    return -np.sqrt(np.where(square_QN > 1e-14 * sum_QN, square_QN, 0))


def _lengths(rows_NE: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ne,ne->n", rows_NE, rows_NE))
