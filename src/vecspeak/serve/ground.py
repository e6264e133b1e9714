"""From places of a map to points of the space and back, by what lives near."""

import numpy as np

from vecspeak.errors import PointError
from vecspeak.space import Point, Space, at_length

NEAR = 8
"""Entities that a place, or a point's place, is made of."""


def point_at(space: Space, places_N2: np.ndarray, x: float, y: float) -> Point:
    """The point that would lie at a place: the mean of the nearest entities' vectors, nearer ones counting more.

    Weights fall with the square of the distance (Shepard 1968); under cosine the length is the mean of theirs.

    Raises:
        PointError: vectors that cancel out.
    """
    squared_N = ((places_N2 - np.array([x, y])) ** 2).sum(1)
    near = np.argsort(squared_N, kind="stable")[:NEAR]
    weights = 1 / (squared_N[near] + 1e-8)
    weights /= weights.sum()
    vectors_KE = space.vectors[near].astype(np.float64)
    vector_E = weights @ vectors_KE
    if space.metric == "cosine":
        vector_E = at_length(vector_E, float(weights @ np.linalg.norm(vectors_KE, axis=1)), what="The entities there")
    return space.point(vector_E.astype(np.float32), label=f"map({x:.3f},{y:.3f})")


def place_of(space: Space, places_N2: np.ndarray, point: Point) -> tuple[float, float] | None:
    """Where a point lies on the map: an entity where it is, another at the middle of its nearest, nearer ones more.

    The median of weights, not the mean: neighbours in two parts of the map would put it between, where nothing is.
    """
    if point.id is not None:
        x, y = places_N2[space.row_number(point.id)]
        return float(x), float(y)
    try:
        near = space.neighbours(point, NEAR)
    except PointError:
        return None
    places_K2 = places_N2[[space.row_number(neighbour.id) for neighbour in near]]
    similarities = np.array([neighbour.similarity for neighbour in near])
    spread = float(np.ptp(similarities)) or 1.0
    weights = np.exp((similarities - similarities.max()) / spread * 3)
    x, y = (_weighted_median(places_K2[:, axis], weights) for axis in (0, 1))
    return x, y


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
