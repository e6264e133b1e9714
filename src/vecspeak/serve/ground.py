"""From places of a map to points of the space and back, by what lives near."""

import numpy as np

from vecspeak.errors import PointError
from vecspeak.space import Point, Space, name_in_expression

NEAR = 8
"""Entities that a place, or a point's place, is made of."""


def expression_at(space: Space, places_N2: np.ndarray, x: float, y: float) -> str:
    """The point that would lie at a place, as `geometry.parse_point` reads it: `296*0.61 + 356*0.39`.

    A sum of the nearest entities; their weights fall with the square of the distance (Shepard 1968).
    """
    squared_N = ((places_N2 - np.array([x, y])) ** 2).sum(1)
    near = np.argsort(squared_N, kind="stable")[:NEAR].tolist()
    weights = 1 / (squared_N[near] + 1e-8)
    shares = [f"{weight:.4f}" for weight in weights / weights.sum()]
    terms = zip(near, shares, strict=True)
    return " + ".join(f"{name_in_expression(space.ids[row])}*{share}" for row, share in terms if float(share))


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
