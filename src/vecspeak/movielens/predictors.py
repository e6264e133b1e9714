"""How well behavioural vectors predict ratings that were held out, against popularity and mean ratings.

Shapes: R ratings, U users, I items, H held-out ratings of a user, E factors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecspeak import metrics
from vecspeak.factors import Factors, Ratings
from vecspeak.movielens.results import Predictor
from vecspeak.nearest import top

FEWEST = 5
"""Held-out ratings of a user below which their order says little."""
LIKED = 4.0
"""Stars from which a held-out film should be found."""
BEST = 20
"""Films among which it should be found."""
PRIOR = 5
"""Ratings of the overall mean that a film's own are averaged with: one rating of five stars makes no best film."""

Score = Callable[[int], np.ndarray]
"""A user's row -> (I,) predicted liking of every film."""


def predictors(
    training: Ratings, held_out: Ratings, factors: Factors, *, seed: int = 0, users: int = 2000
) -> tuple[Predictor, ...]:
    """The factors' prediction of held-out ratings beside two that are the same for all users.

    NDCG: the order of a user's held-out films by predicted liking, gains being the stars (linear); users with
    `FEWEST` or more. Recall: of a user's held-out films with `LIKED` stars or more, the share among the `BEST`
    first of all films that the user has not rated in training, of min(BEST, their number); ties by row.
    Intervals are over users; NaN where no user can be measured.

    Args:
        training: what the factors were made from.
        held_out: other ratings of the same users and films, such as the other part of one `Ratings`.
        factors: of `training`.
        seed: of the intervals and of who is measured.
        users: at most so many users with a held-out rating are measured, drawn at random.

    Raises:
        ValueError: the parts list other users or films, or the factors are of others.
    """
    _check(training, held_out, factors)
    viewers = list(_viewers(training, held_out, seed=seed, users=users))
    items = len(training.item_ids)
    counts_I = np.bincount(training.items_R, minlength=items)
    totals_I = np.bincount(training.items_R, training.values_R, minlength=items)
    means_I = (totals_I + PRIOR * training.values_R.mean(dtype=np.float64)) / (counts_I + PRIOR)
    scores: dict[str, Score] = {
        f"WALS, {factors.items_IE.shape[1]} factors": lambda user: factors.items_IE @ factors.users_UE[user],
        "mean rating": lambda user: means_I,
        "number of ratings": lambda user: counts_I,
    }
    return tuple(_measured(name, score, viewers, seed=seed) for name, score in scores.items())


def grouped(keys_R: np.ndarray, groups: int) -> list[NDArray[np.int64]]:
    """The positions in `keys_R` of each key 0..groups-1, rising; one sort, however many the groups."""
    ends_G = np.cumsum(np.bincount(keys_R, minlength=groups))
    return np.split(np.argsort(keys_R, kind="stable"), ends_G)[:-1]


@dataclass(frozen=True, eq=False)
class _Viewer:
    """A user with held-out ratings."""

    row: int
    seen: np.ndarray
    """Films rated in training."""
    films_H: np.ndarray
    stars_H: np.ndarray


def _check(training: Ratings, held_out: Ratings, factors: Factors) -> None:
    if training.user_ids != held_out.user_ids or training.item_ids != held_out.item_ids:
        raise ValueError("expected training and held-out ratings of the same lists of users and films")
    expected, found = (len(training.user_ids), len(training.item_ids)), (len(factors.users_UE), len(factors.items_IE))
    if found != expected:
        raise ValueError(f"expected factors of (users, films) {expected}, got {found}")


def _viewers(training: Ratings, held_out: Ratings, *, seed: int, users: int) -> Iterator[_Viewer]:
    before_U = grouped(training.users_R, len(training.user_ids))
    after_U = grouped(held_out.users_R, len(training.user_ids))
    measurable = np.unique(held_out.users_R)
    rng = np.random.default_rng(seed)
    for user in np.sort(rng.choice(measurable, min(users, len(measurable)), replace=False)).tolist():
        mine = after_U[user]
        yield _Viewer(user, training.items_R[before_U[user]], held_out.items_R[mine], held_out.values_R[mine])


def _measured(name: str, score: Score, viewers: Sequence[_Viewer], *, seed: int) -> Predictor:
    ndcg, recall = [], []
    for viewer in viewers:
        scores_I = score(viewer.row).astype(np.float64)
        if len(viewer.films_H) >= FEWEST:
            ndcg.append(metrics.ndcg(scores_I[viewer.films_H], viewer.stars_H))
        liked = viewer.films_H[viewer.stars_H >= LIKED]
        if len(liked):
            scores_I[viewer.seen] = -np.inf
            recall.append(np.isin(top(scores_I, BEST), liked).sum() / min(BEST, len(liked)))
    return Predictor(
        name=name, ndcg=metrics.mean_interval(ndcg, seed=seed), recall=metrics.mean_interval(recall, seed=seed)
    )
