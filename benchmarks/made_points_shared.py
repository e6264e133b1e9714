"""What the parts of made_points.py share: asking, rank correlation, tables."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from vecspeak import Elm, Point, Space
from vecspeak.answers import Question
from vecspeak.metrics import Interval, unit_rows

RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Asked:
    """Answers about points, row by row."""

    texts_NE: np.ndarray
    """(N, E) unit rows: the encoded answers"""
    sc_N: np.ndarray


def ask(elm: Elm, points: Sequence[Point], *, part: str, chunk: int = 64) -> Asked:
    """Answers about points; one that comes twice is asked once. Tells on stderr how fast it goes."""
    keys = [point.vector.tobytes() for point in points]
    once = dict(zip(keys, points, strict=True))
    waiting, answers, start = list(once.values()), [], time.monotonic()
    decoding = elm.decoding.but(max_tokens=60)
    for first in range(0, len(waiting), chunk):
        questions = [Question("Summarise {film}.", {"film": point}) for point in waiting[first : first + chunk]]
        answers += elm.ask_many(questions, decoding=decoding, batch_size=chunk)
        rate = len(answers) / (time.monotonic() - start)
        print(f"{part}: {len(answers)} of {len(waiting)}, {rate:.2f} a second", file=sys.stderr)
    row_of = {key: row for row, key in enumerate(once)}
    rows = [row_of[key] for key in keys]
    texts_NE = unit_rows(encode(elm, [answer.text for answer in answers]))
    return Asked(texts_NE[rows], np.array([answers[row].consistency for row in rows]))


def encode(elm: Elm, texts: Sequence[str]) -> np.ndarray:
    assert elm.encoder is not None, "the film space names an encoder"
    return elm.encoder.encode(texts)


def side(space: Space, name: str) -> list[str]:
    return [id for id, its in zip(space.ids, space.column("split"), strict=True) if its == name]


def spearman(x_N: np.ndarray, y_N: np.ndarray, *, constant: float = float("nan")) -> float:
    """Rank correlation; `constant` where either side never changes."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (x_N, y_N)]
    lengths = [float(np.linalg.norm(rank_N)) for rank_N in ranks]
    return float(ranks[0] @ ranks[1]) / (lengths[0] * lengths[1]) if all(lengths) else constant


def spearman_interval(x_KN: np.ndarray, y_KN: np.ndarray) -> Interval:
    """Over all values, with an interval that resamples columns: points made of the same film stay together."""
    rng = np.random.default_rng(0)
    value = spearman(x_KN.ravel(), y_KN.ravel())
    n = x_KN.shape[1]
    drawn = [rng.integers(n, size=n) for _ in range(RESAMPLES)]
    resampled = np.array([spearman(x_KN[:, rows].ravel(), y_KN[:, rows].ravel()) for rows in drawn])
    if np.isnan(value) or np.isnan(resampled).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanpercentile(resampled, (2.5, 97.5))
    return Interval(value, float(low), float(high))


def shown(interval: Interval) -> str:
    if np.isnan(interval.value):
        return "-"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |", flush=True)
