"""What is measured, as pure functions on strings and arrays: formula, range and empty case of each.

Letters of shapes: N texts (one per entity asked about), M candidates, E dimension, T different
values among M.
"Paper" is arXiv 2310.04475; it gives semantic consistency, and ranks by NDCG and Spearman's correlation.
Floor, ceiling, identification and vector use are the controls it lacks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-6
"""Cosines closer than this are one: float32 encoders do not tell them apart."""

RESAMPLES = 2000
"""Bootstrap resamples: the ends of a 95 % interval then move by about a tenth of its width from seed to seed."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval over entities; all NaN where there was nothing to measure."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False for NaN."""
        return self.low > 0 or self.high < 0


def unit_rows(rows_NE: ArrayLike) -> NDArray[np.float64]:
    """Rows divided by their length, (N, E) float64; a zero row stays zero."""
    rows_NE = np.asarray(rows_NE, np.float64)
    norms_N = np.linalg.norm(rows_NE, axis=1, keepdims=True)
    return rows_NE / np.where(norms_N == 0, 1.0, norms_N)


def semantic_consistency(texts_NE: ArrayLike, vectors_NE: ArrayLike) -> NDArray[np.float64]:
    """SC of each text: cosine of its encoding with the vector it was written for (paper §3.2).

        SC_i = cos(P(text_i), w_i)

    Range -1 to 1, higher is better; 0 where either row is zero. Empty in, empty out.
    """
    texts_NE, vectors_NE = _paired(texts_NE, vectors_NE)
    return np.einsum("ne,ne->n", unit_rows(texts_NE), unit_rows(vectors_NE))


def cross_consistency(texts_NE: ArrayLike, vectors_NE: ArrayLike) -> NDArray[np.float64]:
    """The floor of SC at each vector: what texts about the other entities reach there.

        floor_i = mean over j != i of cos(P(text_j), w_i)

    Range -1 to 1. Its mean over i equals that of text i against the vectors of the others; in this
    direction a text that is the same for all entities has SC_i = floor_i for every single one.
    NaN for one entity alone; empty in, empty out.
    """
    texts_NE, vectors_NE = _paired(texts_NE, vectors_NE)
    texts_NE, vectors_NE = unit_rows(texts_NE), unit_rows(vectors_NE)
    n = len(texts_NE)
    if n < 2:
        return np.full(n, nan)
    own_N = np.einsum("ne,ne->n", texts_NE, vectors_NE)
    return (vectors_NE @ texts_NE.sum(0) - own_N) / (n - 1)


def normalised(sc: ArrayLike, floor: ArrayLike, ceiling: ArrayLike) -> NDArray[np.float64]:
    """SC on the scale from floor (0: no better than a text about another entity) to ceiling (1: the teacher).

        (SC - floor) / (ceiling - floor)

    Give means over entities: the ratio of single entities is unstable where ceiling and floor are close.
    No bounds: below 0 and above 1 can happen. NaN where the ceiling is not above the floor.
    """
    sc, floor, ceiling = (np.asarray(x, np.float64) for x in (sc, floor, ceiling))
    room = ceiling - floor
    return np.where(room > 0, (sc - floor) / np.where(room > 0, room, 1.0), nan)


def identification_ranks(texts_NE: ArrayLike, candidates_ME: ArrayLike, own_N: ArrayLike) -> NDArray[np.int64]:
    """Where each text's own entity stands among the candidates, ordered by cosine with the text.

        rank_i = number of candidates j with cos(text_i, c_j) >= cos(text_i, c_own(i)), own included

    Range 1 (found) to M; by chance (M + 1) / 2. Ties count against the text (within `TIE`), so a text
    that says nothing, all cosines equal, gets M and not 1. Empty in, empty out.

    Args:
        texts_NE: encoded texts.
        candidates_ME: one row per candidate entity.
        own_N: row of each text's own entity in the candidates.
    """
    own_N = np.asarray(own_N, np.int64)
    cosines_NM = unit_rows(_matrix(texts_NE)) @ unit_rows(_matrix(candidates_ME)).T
    own_cosine_N1 = np.take_along_axis(cosines_NM, own_N[:, None], axis=1)
    return (cosines_NM >= own_cosine_N1 - TIE).sum(1)


def found_within(ranks_N: ArrayLike, k: int) -> NDArray[np.float64]:
    """Top-k identification of each text: 1.0 where its rank is at most k, else 0.0. By chance min(k, M) / M."""
    return (np.asarray(ranks_N) <= k).astype(np.float64)


def nearest_rows(vectors_NE: ArrayLike, candidates_ME: ArrayLike) -> NDArray[np.int64]:
    """Row of the candidate with the highest cosine, per vector; the first of equals. Needs a candidate."""
    return (unit_rows(_matrix(vectors_NE)) @ unit_rows(_matrix(candidates_ME)).T).argmax(1)


def ndcg(scores_M: ArrayLike, gains_M: ArrayLike) -> float:
    """Normalised discounted cumulative gain of the order by falling score (Järvelin & Kekäläinen 2002).

        DCG = sum over places k = 1..M of gain_k / log2(k + 1);  NDCG = DCG / DCG in the best order

    The gain enters as it is (linear), not as 2^gain - 1. Tied scores share the mean of the gains of their
    places: the expected value if ties were broken at random (McSherry & Najork 2008). Range above 0, how far
    depends on the gains, to 1 (best order); 1 for one element. NaN for no elements and where all gains are 0.

    Raises:
        ValueError: sides of other lengths, a score that is NaN, or a gain that is not a finite number >= 0.
    """
    scores_M, gains_M = _paired_values(scores_M, gains_M)
    if not ((gains_M >= 0) & (gains_M < np.inf)).all():
        raise ValueError(f"gains are finite and at least 0, got {gains_M.min()} to {gains_M.max()}")
    discounts_M = 1 / np.log2(np.arange(2, len(gains_M) + 2))
    best = float(np.sort(gains_M)[::-1] @ discounts_M)
    if best == 0:
        return nan
    order_M = np.argsort(-scores_M, kind="stable")
    sorted_M = scores_M[order_M]
    starts_T = np.flatnonzero(np.concatenate([[True], sorted_M[1:] != sorted_M[:-1]]))
    mean_gains_T = np.add.reduceat(gains_M[order_M], starts_T) / np.diff(starts_T, append=len(sorted_M))
    return min(1.0, float(mean_gains_T @ np.add.reduceat(discounts_M, starts_T)) / best)


def spearman(scores_M: ArrayLike, values_M: ArrayLike) -> float:
    """Rank correlation (Spearman 1904): Pearson correlation of the ranks, ties having the mean of theirs.

    Range -1 (opposite order) to 1 (same order and same ties). NaN for fewer than two elements and where one
    side is constant.

    Raises:
        ValueError: sides of other lengths, or NaN among them.
    """
    scores_M, values_M = _paired_values(scores_M, values_M)
    first_M, second_M = _centred_ranks(scores_M), _centred_ranks(values_M)
    spread = sqrt(float(first_M @ first_M) * float(second_M @ second_M))
    return float(first_M @ second_M) / spread if spread else nan


def vector_use(loss_right_N: ArrayLike, loss_other_N: ArrayLike) -> NDArray[np.float64]:
    """How much a target costs more when the vector is not its own: other - right, nats per token.

    The other vector is another entity's (shuffled) or the mean. 0 means the vector is not used; negative,
    that it misleads. Empty in, empty out. Asked for in open notes on the paper; see also arXiv 2405.06459.
    """
    right_N, other_N = np.asarray(loss_right_N, np.float64), np.asarray(loss_other_N, np.float64)
    if right_N.shape != other_N.shape:
        raise ValueError(f"losses are paired by example, got {right_N.shape} and {other_N.shape}")
    return other_N - right_N


def derangement(n: int, *, seed: int) -> NDArray[np.int64]:
    """A random order of n entities that leaves none in its place: who gets whose vector in a shuffle.

    One random cycle. Raises ValueError for n < 2, where there is no such order.
    """
    if n < 2:
        raise ValueError(f"a shuffle needs two entities or more, got {n}")
    cycle = np.random.default_rng(seed).permutation(n)
    order = np.empty(n, np.int64)
    order[cycle] = np.roll(cycle, 1)
    return order


def repetition(text: str, *, n: int = 3) -> float:
    """Share of a text's word n-grams that it has said before: 1 - distinct / all.

    Range 0 (never repeats) towards 1 (one phrase over and over); 0 for a text shorter than n words. The
    complement of distinct-n (Li et al. 2016, arXiv 1510.03055).
    """
    words = text.lower().split()
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    return 1 - len(grams) / grams.total() if grams else 0.0


def mean_interval(values_N: ArrayLike, *, seed: int) -> Interval:
    """Mean with its percentile bootstrap interval (Efron 1979). NaN for no values.

    For a paired difference give the differences. Values that are all equal have an interval of no width:
    read top-k of 0 or 1 with the number of entities in mind.
    """
    values_N = np.asarray(values_N, np.float64)
    means_R = _resampled_means(values_N[None], seed=seed)[0]
    return _interval(float(values_N.mean()) if values_N.size else nan, means_R)


def normalised_interval(sc_N: ArrayLike, floor_N: ArrayLike, ceiling_N: ArrayLike, *, seed: int) -> Interval:
    """`normalised` of the three means, with an interval that resamples entities for all three together.

    NaN for no entities or a ceiling not above the floor; NaN ends where that happens in a resample.
    """
    columns_3N = np.stack([np.asarray(x, np.float64) for x in (sc_N, floor_N, ceiling_N)])
    if not columns_3N.size:
        return Interval(nan, nan, nan)
    means_3R = _resampled_means(columns_3N, seed=seed)
    return _interval(float(normalised(*columns_3N.mean(1))), normalised(*means_3R))


def mean_by(values_N: ArrayLike, keys_N: Sequence[str]) -> dict[str, float]:
    """Mean of the values of each key, keys in the order met: several examples of an entity count as one."""
    groups: dict[str, list[float]] = {}
    for key, value in zip(keys_N, np.asarray(values_N, np.float64), strict=True):
        groups.setdefault(key, []).append(float(value))
    return {key: float(np.mean(group)) for key, group in groups.items()}


def _interval(value: float, resampled_R: NDArray[np.float64]) -> Interval:
    if isnan(value) or not resampled_R.size:
        return Interval(nan, nan, nan)
    low, high = np.percentile(resampled_R, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def _resampled_means(values_CN: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """Means (C, R) of the columns of R resamples of entities, the same entities in every row."""
    n = values_CN.shape[1]
    if n == 0:
        return np.empty((len(values_CN), 0))
    rng = np.random.default_rng(seed)
    # one row of counts per resample: memory grows with R x N and not with C x R x N
    counts_RN = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return values_CN @ counts_RN.T / n


def _centred_ranks(values_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average ranks minus their mean: all exactly 0 where all values are equal."""
    _, place_M, counts_T = np.unique(values_M, return_inverse=True, return_counts=True)
    ranks_T = np.cumsum(counts_T) - (counts_T - 1) / 2
    return ranks_T[place_M] - (len(values_M) + 1) / 2


def _paired_values(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two lists (M,) paired by candidate, got shapes {first.shape} and {second.shape}")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("NaN has no place in an order")
    return first, second


def _matrix(rows: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"expected rows of vectors (N, E), got shape {rows.shape}")
    return rows


def _paired(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = _matrix(first), _matrix(second)
    if first.shape != second.shape:
        raise ValueError(f"rows are paired by entity, got shapes {first.shape} and {second.shape}")
    return first, second
