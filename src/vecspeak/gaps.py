"""Gaps: points where many users would find a favourite and no item lies.

The paper's motive: a hypothetical item for which a large audience is predicted. Candidates are the middles of two
items that one user would like best; a candidate's audience is the share of users who would like it better than all
but a few of the items that exist.

Shapes: U users, I items, C candidates, E dimension.
"""

from dataclasses import dataclass

import numpy as np

from vecspeak.answers import BEYOND
from vecspeak.errors import ConfigError, SpaceError
from vecspeak.space import Neighbour, Point, Space

FAVOURITES = 20
"""A point is a user's favourite if it would be among the best so many of all items, by dot product."""
KNOWN = 0.95
"""Candidates get the length of this quantile of the items: as well known as one item in twenty.

Length grows with the number of ratings; left to its parents' length, the middle of two hits would win by fame.
"""
MOST_USERS = 20_000
MOST_PAIRS = 20_000
MOST_LOCATED = 2_000
"""Of the candidates, those of the largest audience, which are looked at one after the other."""
BLOCK_SCORES = 1 << 24
"""Scores held at once: 64 MiB of float32."""
OPPOSITE = 1e-3
"""Length of the sum of two unit vectors below which they have no middle."""


@dataclass(frozen=True)
class Gap:
    """A place for an item that does not exist."""

    point: Point
    """The middle of two items, as `a:b@0.5` names it, at the mean of their lengths."""
    audience: float
    """Share of users, 0..1, of whom an item in its direction would be a favourite, at the length KNOWN."""
    fans: tuple[str, ...]
    """Ids of the users who would like it most, beyond their least favourite favourite."""
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Gaps:
    """What was found, and what existing items reach, to compare with."""

    found: tuple[Gap, ...]
    users: int
    """Users looked at."""
    median_item: float
    best_item: float
    """Audience of the median and of the best existing item, at the length that candidates have."""


def find_gaps(items: Space, users: Space, *, count: int = 10, emptiness: float = 50.0, seed: int = 0) -> Gaps:
    """Places of large audience and few items, largest audience first; no item is the parent of two of them.

    Args:
        items: the space of items.
        users: a space of users in the same dimensions, so that a dot product predicts what a user likes.
        count: how many at most.
        emptiness: only points at least so far from the items, as a percentile of the items' own distances.
        seed: of the sample of users and pairs that is tried, at most MOST_USERS and MOST_PAIRS.

    Raises:
        SpaceError: spaces of different dimension, metric or source, fewer than three items, or no pair of
            favourites with a middle.
        ConfigError: a count below 1, or an emptiness outside 0..99.
    """
    if items.dimension != users.dimension:
        raise SpaceError(
            f"Items have {items.dimension} dimensions, users {users.dimension}. Expected two spaces of one "
            "factorisation, as `vecspeak space factorise` makes them."
        )
    if items.metric != "cosine":
        raise SpaceError(f"{items.name} has the metric {items.metric}; gaps need cosine, where a length is no place.")
    if items.source != users.source:
        raise SpaceError(
            f"The items come from {items.source}, the users from {users.source}: not of one factorisation."
        )
    if len(items) < 3:
        raise SpaceError(f"{items.name} has {len(items)} items; a gap needs at least 3.")
    if count < 1 or not 0 <= emptiness <= BEYOND:
        raise ConfigError(f"count {count} and emptiness {emptiness}: expected at least 1, and 0 to {BEYOND}.")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(users))[:MOST_USERS])
    users_UE, items_IE = users.vectors[rows], items.vectors
    best = min(FAVOURITES, len(items) - 1)
    favourites_UF, least_U = _favourites(users_UE, items_IE, best)
    length = float(np.quantile(np.linalg.norm(items_IE, axis=1), KNOWN))
    pairs_C2 = _pairs(favourites_UF, rng)
    sums_CE = _unit(items_IE[pairs_C2[:, 0]]) + _unit(items_IE[pairs_C2[:, 1]])
    apart_C = np.linalg.norm(sums_CE, axis=1) > OPPOSITE
    if not apart_C.any():
        raise SpaceError(f"No two favourites of a user in {items.name} have a middle: all lie opposite.")
    pairs_C2, middles_CE = pairs_C2[apart_C], _at(sums_CE[apart_C], length)
    audience_C = _audience(users_UE, middles_CE, least_U)
    audience_I = _audience(users_UE, _at(items_IE, length), least_U)
    order = np.argsort(-audience_C, kind="stable")[:MOST_LOCATED]
    distances = items.distances([items.point(middles_CE[c]) for c in order])
    found: list[Gap] = []
    taken: set[int] = set()
    for c, distance in zip(order.tolist(), distances.tolist(), strict=True):
        parents = pairs_C2[c].tolist()
        fits = audience_C[c] > 0 and emptiness <= distance <= BEYOND
        if fits and not taken & set(parents) and len(found) < count:
            taken |= set(parents)
            margins_U = users_UE @ middles_CE[c] - least_U
            fans = tuple(users.ids[rows[u]] for u in np.argsort(-margins_U)[:5] if margins_U[u] > 0)
            first, second = (items[items.ids[row]] for row in parents)
            point = first.toward(second, 0.5)
            found.append(Gap(point, float(audience_C[c]), fans, tuple(items.neighbours(point, 5))))
    return Gaps(tuple(found), len(rows), float(np.median(audience_I)), float(audience_I.max()))


def _favourites(users_UE: np.ndarray, items_IE: np.ndarray, best: int) -> tuple[np.ndarray, np.ndarray]:
    """(U, best) rows of each user's favourites, and (U,) the score of the least liked of them."""
    rows, least = [], []
    step = max(1, BLOCK_SCORES // len(items_IE))
    for first in range(0, len(users_UE), step):
        scores_UI = users_UE[first : first + step] @ items_IE.T
        top_UF = np.argpartition(scores_UI, len(items_IE) - best, axis=1)[:, -best:]
        rows.append(top_UF)
        least.append(np.take_along_axis(scores_UI, top_UF, 1).min(1))
    return np.concatenate(rows), np.concatenate(least)


def _pairs(favourites_UF: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(C, 2) pairs of rows that some user has among the favourites: a sample of each user's, MOST_PAIRS or so."""
    first_P, second_P = np.triu_indices(favourites_UF.shape[1], 1)
    users = rng.permutation(len(favourites_UF))
    pairs: set[tuple[int, int]] = set()
    for user in users:
        if len(pairs) >= MOST_PAIRS:
            break
        some_P = rng.permutation(len(first_P))[: max(1, 4 * MOST_PAIRS // len(users))]
        left, right = favourites_UF[user, first_P[some_P]], favourites_UF[user, second_P[some_P]]
        pairs |= set(zip(np.minimum(left, right).tolist(), np.maximum(left, right).tolist(), strict=True))
    return np.array(sorted(pairs))


def _audience(users_UE: np.ndarray, points_CE: np.ndarray, least_U: np.ndarray) -> np.ndarray:
    step = max(1, BLOCK_SCORES // len(users_UE))
    blocks = (points_CE[first : first + step] for first in range(0, len(points_CE), step))
    return np.concatenate([(block_CE @ users_UE.T > least_U).mean(1) for block_CE in blocks])


def _unit(vectors_NE: np.ndarray) -> np.ndarray:
    return vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)


def _at(vectors_NE: np.ndarray, length: float) -> np.ndarray:
    return (length * _unit(vectors_NE)).astype(np.float32)
