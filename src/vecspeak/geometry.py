"""Points made of entities: the short syntax of the command line, `296`, `296:356@0.5`, `mean(1,2,3)`."""

import re
from collections.abc import Sequence

import numpy as np

from vecspeak.errors import PointError
from vecspeak.space import Point, Space

_MEAN = re.compile(r"mean\((.+)\)")
_BETWEEN = re.compile(r"(.+):(.+)@([^@]+)")


def parse_point(space: Space, text: str) -> Point:
    """The point `text` names: an id, `A:B@share` (from A towards B), or `mean(A,B,...)`.

    An entity whose id looks like an expression wins over the expression.

    Raises:
        PointError: an unknown id, or a share that is no number from 0 to 1.
    """
    if text in space:
        return space[text]
    if match := _MEAN.fullmatch(text):
        return mean([space[id.strip()] for id in match[1].split(",")])
    if match := _BETWEEN.fullmatch(text):
        try:
            share = float(match[3])
        except ValueError:
            raise PointError(f"{text!r}: expected a share from 0 to 1 after '@', got {match[3]!r}.") from None
        return space[match[1]].toward(space[match[2]], share)
    return space[text]


def mean(points: Sequence[Point]) -> Point:
    """The middle of points of one space; under cosine at the mean of their lengths, since a mean is shorter.

    Raises:
        PointError: no points, points without a space, or a mean without direction under cosine.
    """
    spaces = [point.space for point in points]
    if not points or spaces[0] is None or any(space is not spaces[0] for space in spaces):
        raise PointError("A mean needs points of one space, at least one.")
    vector_E = np.stack([point.vector for point in points]).astype(np.float64).mean(0)
    if spaces[0].metric == "cosine":
        length = float(np.linalg.norm(vector_E))
        if length < 1e-6:
            raise PointError("These points cancel out: their mean has no direction.")
        vector_E *= np.mean([np.linalg.norm(point.vector) for point in points]) / length
    return spaces[0].point(vector_E.astype(np.float32), label=f"mean({','.join(point.label for point in points)})")
