"""Behavioural consistency: does a text order films, or users, as the real ratings do? (paper §3.2)

Texts and candidates are compared by the cosine of their semantic vectors, as the paper does. It counts what a user
has not rated as zero stars, which rewards a text that tells the rated from the rest; so the order among the rated
alone is given beside it.

Shapes: N texts, M candidates of one entity, F films of the space, U users, R ratings, E dimension.
"Paper" is arXiv 2310.04475.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecspeak import metrics
from vecspeak.factors import Ratings
from vecspeak.movielens.predictors import grouped
from vecspeak.space import Space

MEASURES = ("BC NDCG, rated", "BC Spearman, rated", "BC NDCG, unrated = 0", "BC Spearman, unrated = 0")

FEWEST = 5
"""Ratings of an entity below which none of the four is given: all are means over the same entities."""

DECIMALS = 6
"""Places that cosines are rounded to: candidates with equal vectors tie, as by `metrics.TIE`."""

ZERO = 1e-9
"""A taste shorter than this share of its user's stars is what rounding left of zero."""


class _Candidates(NamedTuple):
    """What the text of one entity puts in order."""

    vectors_ME: NDArray[np.float64]
    """Of length 1, or zero."""
    stars_M: NDArray[np.float64]
    """The rated first; 0 for the others."""
    rated: int


class _Rated(NamedTuple):
    """A user's ratings of films of the space."""

    films: NDArray[np.int64]
    """Rows of the space."""
    stars: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UserBehaviour:
    """For profiles of users: films are ordered by nearness to the text, and compared with held-out ratings."""

    films_FE: NDArray[np.float64]
    rated: Mapping[str, _Rated]
    """User -> held-out ratings."""
    before: Mapping[str, _Rated]
    """User -> earlier ratings, of films that are never candidates."""
    left_out: Mapping[str, Sequence[int]]
    """User -> rows of further films that are never candidates."""
    unrated: int
    seed: int
    known: dict[str, _Candidates | None] = field(default_factory=dict, init=False, repr=False)
    """Candidates of users asked about before."""

    @staticmethod
    def of(
        held_out: Ratings,
        films: Space,
        *,
        rated_before: Ratings,
        left_out: Mapping[str, Collection[str]],
        unrated: int = 100,
        seed: int = 0,
    ) -> "UserBehaviour":
        """Prepare to measure texts about users.

        Args:
            held_out: the ratings that texts are compared with; stars of 0 and more.
            films: films with semantic vectors; ratings of others do not count.
            rated_before: what the user's vector was made from: never a candidate.
            left_out: user -> further films that are never candidates, such as those its profile was written from.
            unrated: how many films that the user has not rated stand beside the rated; fewer where there are no more.
            seed: of their draw, which depends on it, the user's id and the order of `films` alone.
        """
        row_of = {id: row for row, id in enumerate(films.ids)}
        return UserBehaviour(
            films_FE=metrics.unit_rows(films.vectors),
            rated=_by_user(_within(held_out, films)),
            before=_by_user(_within(rated_before, films)),
            left_out={user: [row_of[id] for id in barred if id in row_of] for user, barred in left_out.items()},
            unrated=unrated,
            seed=seed,
        )

    def consistency(self, texts_NE: NDArray[np.float32], ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """The four `MEASURES` of each text, (N,): how well its order of films fits the user's stars.

        Rated: candidates are the held-out rated films; "unrated = 0" (the paper's): with random unrated ones, which
        have 0 stars. NDCG with the stars as gains, above 0 to 1; Spearman -1 to 1. NaN for users that are not
        known or have fewer than `FEWEST` rated candidates; Spearman also where all stars are equal.

        Args:
            texts_NE: encoded texts about users, by the encoder of the films.
            ids: (N,) the user that each is about.

        Raises:
            ValueError: as many texts as ids are needed, of the dimension of the films.
        """
        for user in set(ids) - self.known.keys():
            self.known[user] = self._candidates(user)
        return _consistency(texts_NE, [self.known[user] for user in ids])

    def _candidates(self, user: str) -> _Candidates | None:
        barred_F = np.zeros(len(self.films_FE), bool)
        barred_F[self.before.get(user, _NO_RATINGS).films] = True
        barred_F[self.left_out.get(user, [])] = True
        films, stars = self.rated.get(user, _NO_RATINGS)
        films, stars = films[~barred_F[films]], stars[~barred_F[films]]
        if len(films) < FEWEST:
            return None
        barred_F[films] = True
        drawn = _draw(np.flatnonzero(~barred_F), self.unrated, seed=self.seed, id=user)
        return _candidates(self.films_FE[films], stars, self.films_FE[drawn])


@dataclass(frozen=True, eq=False)
class FilmBehaviour:
    """For texts about a film: users are ordered by nearness of their taste to the text.

    The paper does not say how it represents users. Here the taste of user u for judging film m is, over the other
    films i of the space that u has rated,

        taste_um = sum over i != m of (r_ui - mean of r_uj over j != m) v_i,  scaled to length 1

    with v_i the film's unit semantic vector: towards what the user likes, away from what the user does not. It is
    zero, and its cosine 0, for one who rated those all alike.
    """

    row_of: Mapping[str, int]
    """Film -> row of the space."""
    films_FE: NDArray[np.float64]
    ratings: Ratings
    """Those of films of the space, in whose rows `items_R` counts."""
    raters_F: Sequence[NDArray[np.int64]]
    """Positions in `ratings` of each film's."""
    counts_U: np.ndarray
    """How many ratings each user has."""
    stars_U: np.ndarray
    """Sum of them."""
    away_R: np.ndarray
    """Stars minus the user's mean."""
    tastes_UE: NDArray[np.float64]
    """Sum over all the user's films of away x vector."""
    sums_UE: NDArray[np.float64]
    """Sum of the vectors of the user's films."""
    unrated: int
    seed: int
    known: dict[str, _Candidates | None] = field(default_factory=dict, init=False, repr=False)
    """Candidates of films asked about before."""

    @staticmethod
    def of(ratings: Ratings, films: Space, *, unrated: int = 100, seed: int = 0) -> "FilmBehaviour":
        """Prepare to measure texts about films.

        Args:
            ratings: whose users are ordered; stars of 0 and more.
            films: films with semantic vectors; ratings of others do not count, nor make a taste.
            unrated: how many users who have not rated the film stand beside its raters; fewer where there are no more.
            seed: of their draw, which depends on it, the film's id and the order of the users alone.
        """
        from scipy.sparse import csr_matrix

        ratings = _within(ratings, films)
        films_FE = metrics.unit_rows(films.vectors)
        users = len(ratings.user_ids)
        counts_U = np.bincount(ratings.users_R, minlength=users)
        stars_U = np.bincount(ratings.users_R, ratings.values_R, minlength=users)
        away_R = ratings.values_R - (stars_U / np.maximum(counts_U, 1))[ratings.users_R]
        places = (ratings.users_R, ratings.items_R)
        shape = (users, len(films_FE))
        return FilmBehaviour(
            row_of={id: row for row, id in enumerate(films.ids)},
            films_FE=films_FE,
            ratings=ratings,
            raters_F=grouped(ratings.items_R, len(films_FE)),
            counts_U=counts_U,
            stars_U=stars_U,
            away_R=away_R,
            tastes_UE=csr_matrix((away_R, places), shape) @ films_FE,
            sums_UE=csr_matrix((np.ones_like(away_R), places), shape) @ films_FE,
            unrated=unrated,
            seed=seed,
        )

    def consistency(self, texts_NE: NDArray[np.float32], ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """The four `MEASURES` of each text, (N,): how well its order of users fits the stars they gave the film.

        Rated: candidates are the users who rated it; "unrated = 0" (the paper's): with random users who did not,
        with 0 stars. NDCG with the stars as gains, above 0 to 1; Spearman -1 to 1. NaN for films that are not
        in the space or have fewer than `FEWEST` ratings; Spearman also where all stars are equal.

        Args:
            texts_NE: encoded texts about films, by the encoder of the films.
            ids: (N,) the film that each is about.

        Raises:
            ValueError: as many texts as ids are needed, of the dimension of the films.
        """
        for film in set(ids) - self.known.keys():
            self.known[film] = self._candidates(film)
        return _consistency(texts_NE, [self.known[film] for film in ids])

    def _candidates(self, film: str) -> _Candidates | None:
        if film not in self.row_of or len(self.raters_F[self.row_of[film]]) < FEWEST:
            return None
        chosen = self.raters_F[self.row_of[film]]
        others_U = self.counts_U > 0
        others_U[self.ratings.users_R[chosen]] = False
        drawn = _draw(np.flatnonzero(others_U), self.unrated, seed=self.seed, id=film)
        others_ME = _directions(self.tastes_UE[drawn], self.stars_U[drawn])
        return _candidates(self._tastes_without(chosen), self.ratings.values_R[chosen], others_ME)

    def _tastes_without(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Unit tastes of the users of some ratings, (M, E), each without the film that is rated.

        With A the sum of away x vector over all n films of the user, and V that of the vectors, leaving out film m
        moves the mean from mu to mu - (r_m - mu) / (n - 1), so that the taste becomes

            A - (r_m - mu) / (n - 1) * (n v_m - V)

        and 0 for n = 1, where r_m = mu and A = 0.
        """
        users, vectors_ME = self.ratings.users_R[chosen], self.films_FE[self.ratings.items_R[chosen]]
        n_M1 = self.counts_U[users][:, None]
        shift_M1 = self.away_R[chosen][:, None] / np.maximum(n_M1 - 1, 1)
        tastes_ME = self.tastes_UE[users] - shift_M1 * (n_M1 * vectors_ME - self.sums_UE[users])
        return _directions(tastes_ME, self.stars_U[users])


_NO_RATINGS = _Rated(np.empty(0, np.int64), np.empty(0))


def _consistency(
    texts_NE: NDArray[np.float32], candidates: Sequence[_Candidates | None]
) -> dict[str, NDArray[np.float64]]:
    values_4N = np.full((len(MEASURES), len(candidates)), np.nan)
    for row, (text_E, found) in enumerate(zip(metrics.unit_rows(texts_NE), candidates, strict=True)):
        if found is not None:
            cosines_M = np.round(found.vectors_ME @ text_E, DECIMALS)
            rated = cosines_M[: found.rated], found.stars_M[: found.rated]
            every = cosines_M, found.stars_M
            values_4N[:, row] = [
                measure(*pair) for pair in (rated, every) for measure in (metrics.ndcg, metrics.spearman)
            ]
    return dict(zip(MEASURES, values_4N, strict=True))


def _candidates(
    rated_ME: NDArray[np.float64], stars_M: NDArray[np.float64], others_ME: NDArray[np.float64]
) -> _Candidates:
    zeros_M = np.zeros(len(others_ME))
    return _Candidates(np.concatenate([rated_ME, others_ME]), np.concatenate([stars_M, zeros_M]), len(stars_M))


def _directions(tastes_ME: NDArray[np.float64], stars_M: np.ndarray) -> NDArray[np.float64]:
    """Tastes at length 1; zero for those that rounding alone keeps from zero, which would point anywhere."""
    lengths_M = np.linalg.norm(tastes_ME, axis=1)
    return metrics.unit_rows(np.where((lengths_M > ZERO * stars_M)[:, None], tastes_ME, 0))


def _draw(rows: NDArray[np.int64], count: int, *, seed: int, id: str) -> NDArray[np.int64]:
    """`count` of the rows or all there are, the same for the same seed and id whatever was drawn before."""
    number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, number]).choice(rows, min(count, len(rows)), replace=False)


def _within(ratings: Ratings, films: Space) -> Ratings:
    """The ratings of films of the space, in whose rows `items_R` then counts."""
    row_of = {id: row for row, id in enumerate(films.ids)}
    row_I = np.array([row_of.get(id, -1) for id in ratings.item_ids], np.int64)
    films_R = row_I[ratings.items_R]
    kept_R = films_R >= 0
    stars_R = ratings.values_R[kept_R].astype(np.float64)
    return Ratings(ratings.user_ids, films.ids, ratings.users_R[kept_R], films_R[kept_R], stars_R)


def _by_user(ratings: Ratings) -> dict[str, _Rated]:
    rows_U = grouped(ratings.users_R, len(ratings.user_ids))
    return {
        user: _Rated(ratings.items_R[rows], ratings.values_R[rows])
        for user, rows in zip(ratings.user_ids, rows_U, strict=True)
    }
