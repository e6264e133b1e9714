"""Linear fits of a concept's direction, and how well they hold on examples they have not seen.

Pure functions on arrays. Shapes: N examples, E domain dimension, P labelings (the true one and the permuted ones).
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

SIDE = 1_000
"""Examples of a side, and preferences, that quality is measured on, at most: drawn once with a fixed seed."""
FOLDS = 5
PERMUTATIONS = {"mean": 199, "logistic": 39, "ranking": 39}
"""Random labelings the quality is compared with; the fits that iterate get as few as a level of 0.05 allows."""
LEVEL = 0.05
"""A concept whose p value is above is no better than chance."""


class Quality(BaseModel):
    """How well a concept tells entities that it was not fitted on; chance is 0.5."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["balanced accuracy", "pairwise agreement"]
    """Of entities on the right side of the middle, averaged over both sides; of preferences in the right order."""
    value: Annotated[float, Field(ge=0, le=1)]
    p: Annotated[float, Field(gt=0, le=1)]
    """Share of random labelings, this one counted in, that do as well (permutation test)."""
    examples: int
    """Entities, or preferences, it was measured on."""

    @property
    def beats_chance(self) -> bool:
        return self.p <= LEVEL

    def __str__(self) -> str:
        return f"{self.measure} {self.value:.2f} on {self.examples} held out in turn (chance 0.50, p {self.p:.3f})"


def mean_difference(x_NE: np.ndarray, labels_PN: np.ndarray) -> np.ndarray:
    """(P, E) mean of the positives minus mean of the negatives, for each labeling."""
    counts_P1 = labels_PN.sum(1, keepdims=True)
    sums_PE = labels_PN.astype(np.float64) @ x_NE
    others_PE = x_NE.sum(0) - sums_PE
    return sums_PE / np.maximum(counts_P1, 1) - others_PE / np.maximum(len(x_NE) - counts_P1, 1)


def logistic(x_NE: np.ndarray, labels_PN: np.ndarray) -> np.ndarray:
    """(P, E) logistic regression, both sides weighted alike; zero where a labeling has one side only."""
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((len(labels_PN), x_NE.shape[1]))
    spread = x_NE.std() or 1.0
    for row, label_N in enumerate(labels_PN):
        if 0 < label_N.sum() < len(label_N):
            model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=500)
            found[row] = model.fit(x_NE / spread, label_N).coef_[0]
    return found


def mean_preference(difference_NE: np.ndarray, labels_PN: np.ndarray) -> np.ndarray:
    """(P, E) mean difference; a label of False turns the preference round."""
    return np.where(labels_PN, 1.0, -1.0) @ difference_NE / len(difference_NE)


def ranking(difference_NE: np.ndarray, labels_PN: np.ndarray) -> np.ndarray:
    """(P, E) logistic regression without an intercept on each difference and its mirror image."""
    from sklearn.linear_model import LogisticRegression

    spread = difference_NE.std() or 1.0
    both_NE = np.concatenate([difference_NE, -difference_NE]) / spread
    found = []
    for label_N in labels_PN:
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=500)
        found.append(model.fit(both_NE, np.concatenate([label_N, ~label_N])).coef_[0])
    return np.stack(found)


SET_FITS = {"mean": mean_difference, "logistic": logistic}
DIFFERENCE_FITS = {"mean": mean_preference, "ranking": ranking}


# ---- quality


def balanced_accuracy(x_NE: np.ndarray, label_N: np.ndarray, *, method: Literal["mean", "logistic"]) -> Quality:
    """Cross-validated over FOLDS folds, each with its part of either side, against permuted labels."""
    rng = np.random.default_rng(0)
    labels_PN = np.stack([label_N, *(rng.permutation(label_N) for _ in range(PERMUTATIONS[method]))])
    fold_N = np.empty(len(label_N), int)
    for side in (label_N, ~label_N):
        fold_N[side] = rng.permutation(np.arange(side.sum()) % FOLDS)
    right_PN = np.zeros(labels_PN.shape, bool)
    for fold in range(FOLDS):
        tested = fold_N == fold
        train_NE, train_PN = x_NE[~tested], labels_PN[:, ~tested]
        directions_PE = SET_FITS[method](train_NE, train_PN)
        scores_PN = directions_PE @ train_NE.T
        counts_P = train_PN.sum(1)
        of_positive_P = (scores_PN * train_PN).sum(1) / np.maximum(counts_P, 1)
        of_negative_P = (scores_PN * ~train_PN).sum(1) / np.maximum(train_PN.shape[1] - counts_P, 1)
        middle_P1 = (of_positive_P + of_negative_P)[:, None] / 2
        right_PN[:, tested] = (directions_PE @ x_NE[tested].T > middle_P1) == labels_PN[:, tested]
    positives_P = (right_PN & labels_PN).sum(1) / label_N.sum()
    negatives_P = (right_PN & ~labels_PN).sum(1) / (~label_N).sum()
    return _against_chance("balanced accuracy", (positives_P + negatives_P) / 2, examples=len(label_N))


def pairwise_agreement(
    difference_NE: np.ndarray, rows_N2: np.ndarray, *, method: Literal["mean", "ranking"]
) -> Quality:
    """Of preferences between two entities that are both unseen: entities are split in three, three times over,
    against preferences turned round at random. Where no such preference exists, 0.5 on none."""
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(len(rows_N2))[: 2 * SIDE])
    difference_NE, rows_N2 = difference_NE[kept], rows_N2[kept]
    flips_PN = rng.random((PERMUTATIONS[method], len(rows_N2))) < 0.5
    labels_PN = np.concatenate([np.ones((1, len(rows_N2)), bool), flips_PN])
    agreed_P, tested_pairs = np.zeros(len(labels_PN)), 0
    for _ in range(3):
        part_N2 = rng.integers(3, size=rows_N2.max() + 1)[rows_N2]
        for part in range(3):
            tested, trained = (part_N2 == part).all(1), (part_N2 != part).all(1)
            if not tested.any() or not trained.any():
                continue
            directions_PE = DIFFERENCE_FITS[method](difference_NE[trained], labels_PN[:, trained])
            ahead_PN = directions_PE @ difference_NE[tested].T > 0
            agreed_P += (ahead_PN == labels_PN[:, tested]).sum(1)
            tested_pairs += int(tested.sum())
    if not tested_pairs:
        return Quality(measure="pairwise agreement", value=0.5, p=1.0, examples=0)
    return _against_chance("pairwise agreement", agreed_P / tested_pairs, examples=len(rows_N2))


def _against_chance(
    measure: Literal["balanced accuracy", "pairwise agreement"], values_P: np.ndarray, *, examples: int
) -> Quality:
    value = float(values_P[0])
    p = float(np.mean(values_P >= value - 1e-12))
    return Quality(measure=measure, value=value, p=p, examples=examples)
