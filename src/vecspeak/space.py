"""Spaces and their points.

films = Space.open("films.lance")
films["296"].toward(films["356"], 0.5).distance
films.neighbours(films["296"], 5)
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import lance
import numpy as np
import pyarrow as pa

from vecspeak.errors import PointError, SpaceError
from vecspeak.nearest import BLOCK_VALUES, Metric, kth_largest, own_nearest, similarities, top
from vecspeak.spacefile import SMALLEST_NORM, Chunk, Header, check_target, one_line, open_space, write_space

__all__ = ["Direction", "Metric", "Neighbour", "Point", "Space"]

NEARBY = 5
"""The neighbour whose distance says how far from the data a point lies."""

EXACT_UP_TO = 20_000
"""Entities up to which the own nearest-neighbour distances are taken from all of them (N^2 products)."""

SAMPLE = 2_000
"""Entities asked beyond that, drawn once with a fixed seed, each against all: a percentile is then within about 2."""


_PLAIN_NAME = re.compile(r"[\w.]+(?:[ -][\w.]+)*")


def name_in_expression(name: str) -> str:
    """A name as `geometry.parse` reads it: in quotes where it holds what could be taken for an operator."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, eq=False)
class Direction:
    """A way to move points of a space: what a strength of 1 adds to a point."""

    name: str
    """A word of letters, digits and underscores, as it stands in `296+funny*1.5`."""
    step_E: np.ndarray = field(repr=False)
    """(E,) float32: the unit direction times the standard deviation of the space's entities along it."""


@dataclass(frozen=True, eq=False)
class Point:
    """Any vector of a space: an entity's, or a made one. Raises PointError for what is not a finite vector."""

    vector: np.ndarray = field(repr=False)
    """(E,) float32, read-only."""
    label: str
    """How to call it: "296", "296:356@0.5", "raw"."""
    space: "Space | None" = field(default=None, repr=False)
    """Where it lives, if known."""
    id: str | None = None
    """The entity's id; None for a made point."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _as_vector(self.vector))

    def toward(self, other: "Point", share: float) -> "Point":
        """The point `share` of the way from here to `other`: 0 is here, 1 is there.

        Straight under dot and euclidean, and where no space is known. Under cosine along the great
        circle (slerp, Shoemake 1985), with the length interpolated linearly.

        Raises:
            PointError: a share outside 0..1, other dimensions or metrics, or opposite directions under
                cosine, between which no way is the shortest.
        """
        if not 0 <= share <= 1:
            raise PointError(f"Expected a share from 0 (here) to 1 (there), got {share}.")
        if self.vector.shape != other.vector.shape:
            raise PointError(f"{self.label} has {len(self.vector)} dimensions, {other.label} has {len(other.vector)}.")
        metrics = {point.space.metric for point in (self, other) if point.space}
        if len(metrics) > 1:
            raise PointError(f"{self.label} and {other.label} live in spaces of other metrics: {sorted(metrics)}.")
        between = _slerp if metrics == {"cosine"} else _lerp
        vector = between(self.vector.astype(np.float64), other.vector.astype(np.float64), share)
        label = f"{self._part}:{other._part}@{share:g}"
        return Point(vector.astype(np.float32), label, self.space or other.space)

    def steer(self, direction: Direction, strength: float) -> "Point":
        """The point pushed along a direction; 1 is one standard deviation of the space's entities along it.

        Under cosine the length is kept: there a point is a direction, and a longer one is no other place.

        Raises:
            PointError: a strength that is not finite, other dimensions, or a push that ends at zero under cosine.
        """
        if not math.isfinite(strength):
            raise PointError(f"Expected a finite strength for {direction.name}, got {strength}.")
        if self.vector.shape != direction.step_E.shape:
            raise PointError(
                f"{self.label} has {len(self.vector)} dimensions, {direction.name} has {len(direction.step_E)}."
            )
        vector_E = self.vector.astype(np.float64) + strength * direction.step_E.astype(np.float64)
        if self.space is not None and self.space.metric == "cosine":
            vector_E = at_length(
                vector_E, float(np.linalg.norm(self.vector)), what=f"{self.label} and {direction.name}"
            )
        sign = "-" if strength < 0 else "+"
        label = f"{self._part} {sign} {direction.name}*{abs(strength):g}"
        return Point(vector_E.astype(np.float32), label, self.space)

    @property
    def distance(self) -> float:
        """How far from the data, 0..100: the share of entities, in percent, whose fifth neighbour is nearer.

        The distance to its fifth nearest entity (NEARBY; itself left out) is compared with the data's own: 50 is as
        near as the typical entity, 100 is farther than every one. Not the first: a point pushed away from an entity
        would keep that as its neighbour, wherever it got to. Euclidean under dot, whose products
        are no distance; nan in a space of one entity. Raises PointError without a space.
        """
        if self.space is None:
            raise PointError(f"{self.label} has no space to be near to; make it with space.point(vector).")
        return float(self.space.distances([self])[0])

    @property
    def _part(self) -> str:
        plain = self.id is not None or _PLAIN_NAME.fullmatch(self.label)
        return name_in_expression(self.label) if plain else f"({self.label})"


@dataclass(frozen=True)
class Neighbour:
    """An entity near a point."""

    id: str
    """The entity's id."""
    similarity: float
    """Cosine, dot product, or minus the Euclidean distance: larger is nearer."""
    title: str | None
    """The entity's title, where it has one."""


class Space:
    """A table of vectors with ids, a metric, and optional columns; read-only. Open or create one, do not call it.

    Vectors and ids are read into memory when first used, and stay there.
    """

    def __init__(self, path: Path, dataset: lance.LanceDataset, header: Header) -> None:
        self.path = path
        self.name = header.name
        self.metric: Metric = header.metric
        self.encoder = header.encoder
        self.source = header.source
        self.licence = header.licence
        self._dataset = dataset

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The space in a folder. Raises SpaceError where there is none, or one that cannot be trusted."""
        path = Path(path)
        return cls(path, *open_space(path))

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        ids: Sequence[str],
        vectors: np.ndarray,
        columns: Mapping[str, Sequence[Any]] | None = None,
        name: str,
        metric: Metric = "cosine",
        encoder: str | None = None,
        source: str | None = None,
        licence: str | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Write a space from memory and open it.

        Args:
            path: the folder to make.
            ids: (N,) unique texts, none empty.
            vectors: (N, E) finite real numbers; no zero row under cosine.
            columns: further columns, N values each; "title" is shown beside ids.
            name: how the space is called.
            metric: how nearness is measured.
            encoder: the text encoder that made the vectors.
            source: where they come from.
            licence: the terms they may be used under.
            overwrite: replace a space that is there.

        Raises:
            SpaceError: what `write_space` refuses, shapes that do not fit, or a column of mixed types.
                Nothing is left behind.
        """
        path = Path(path)
        header = Header(name, metric, encoder, source, licence)
        check_target(path, overwrite=overwrite)
        chunk = Chunk(_ids_array(ids), real_matrix(vectors, what="vectors"), _columns(columns or {}))
        _check_lengths(chunk)
        write_space(path, header, [chunk], overwrite=overwrite)
        return cls.open(path)

    def __len__(self) -> int:
        return self._dataset.count_rows()

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, entity_id: object) -> bool:
        return entity_id in self._row_of

    def __getitem__(self, entity_id: str) -> Point:
        """The entity's point. Raises PointError for an unknown id."""
        return Point(self.vectors[self.row_number(entity_id)], entity_id, self, entity_id)

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {len(self)} entities, {self.dimension} dimensions, {self.metric})"

    @property
    def dimension(self) -> int:
        """E, numbers per vector."""
        return self._dataset.schema.field("vector").type.list_size

    @property
    def columns(self) -> list[str]:
        """Names of the further columns, "title" among them where there is one."""
        return [name for name in self._dataset.schema.names if name not in ("id", "vector")]

    @cached_property
    def ids(self) -> list[str]:
        """(N,) ids in the order of the rows."""
        with self._reading():
            return self._dataset.to_table(columns=["id"]).column("id").to_pylist()

    @cached_property
    def vectors(self) -> np.ndarray:
        """(N, E) float32, read-only."""
        vectors = np.empty((len(self), self.dimension), np.float32)
        start = 0
        with self._reading():
            for batch in self._dataset.to_batches(columns=["vector"]):
                rows = batch.column("vector").flatten().to_numpy().reshape(len(batch), -1)
                vectors[start : start + len(rows)] = rows
                start += len(rows)
        vectors.flags.writeable = False
        return vectors

    @cached_property
    def mean_vector(self) -> np.ndarray:
        """(E,) float32 mean of all vectors, read-only."""
        return _read_only(self._mean)

    @cached_property
    def _mean(self) -> np.ndarray:
        return np.asarray(np.mean(self.vectors, axis=0, dtype=np.float64))

    @cached_property
    def scale(self) -> np.ndarray:
        """(E,) float32 standard deviation of each dimension, read-only; 0 where all values are equal."""
        # block by block: numpy's own std would make a float64 copy of everything
        step = max(1, BLOCK_VALUES // self.dimension)
        blocks = (self.vectors[start : start + step] for start in range(0, len(self), step))
        variance = np.sum([np.sum((block - self._mean) ** 2, axis=0) for block in blocks], axis=0) / len(self)
        return _read_only(np.sqrt(variance))

    def column(self, name: str) -> list[Any]:
        """A further column as (N,) plain values. Raises SpaceError for an unknown one, listing those there."""
        if name not in self.columns:
            raise SpaceError(f"{self.name} has no column {name!r}. One of: {', '.join(self.columns) or 'none at all'}.")
        with self._reading():
            return self._dataset.to_table(columns=[name]).column(name).to_pylist()

    def row(self, entity_id: str) -> dict[str, Any]:
        """Id and further columns of an entity. Raises PointError for an unknown id."""
        return self.rows([entity_id])[0]

    def rows(self, entity_ids: Sequence[str]) -> list[dict[str, Any]]:
        """`row` of each, in one read. Raises PointError for an unknown id."""
        numbers = [self.row_number(entity_id) for entity_id in entity_ids]
        if not numbers:
            return []
        with self._reading():
            return self._dataset.take(numbers, columns=["id", *self.columns]).to_pylist()

    def point(self, vector: np.ndarray, *, label: str = "raw") -> Point:
        """A made point of this space.

        Raises:
            PointError: not (E,) finite numbers, a length beyond float32, or zero under cosine.
        """
        point = Point(vector, label, self)
        self._check(point)
        return point

    def neighbours(self, point: Point | np.ndarray, k: int, *, exclude: Collection[str] = ()) -> list[Neighbour]:
        """The k nearest entities, nearest first, ties in the order of rows; exact.

        Args:
            point: a point or (E,) numbers; an entity's point leaves the entity itself out.
            k: how many, at least 1; fewer come back where the space has no more.
            exclude: ids to leave out.

        Raises:
            PointError: a point that does not fit, an unknown id to exclude, or k below 1.
        """
        return self.neighbours_of([point if isinstance(point, Point) else self.point(point)], k, exclude=exclude)[0]

    def neighbours_of(self, points: Sequence[Point], k: int, *, exclude: Collection[str] = ()) -> list[list[Neighbour]]:
        """`neighbours` of many points at once, many times faster; memory for a block of them at a time."""
        if k < 1:
            raise PointError(f"Expected at least 1 neighbour to be asked for, got {k}.")
        left_out = [self.row_number(entity_id) for entity_id in exclude]
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for similarity_QN in self._similarities(points, self.metric):
            similarity_QN[:, left_out] = -np.inf
            for similarity_N in similarity_QN:
                rows = top(similarity_N, k)
                found.append((rows, similarity_N[rows]))
        titles = self._titles([row for rows, _ in found for row in rows.tolist()])
        return [
            [
                Neighbour(self.ids[row], value, titles.get(row) or None)
                for row, value in zip(*map(np.ndarray.tolist, pair), strict=True)
            ]
            for pair in found
        ]

    def distances(self, points: Sequence[Point]) -> np.ndarray:
        """(n,) `Point.distance` of each: percentiles 0..100 of how far from the data; nan in a space of one entity."""
        if len(self) == 1:
            return np.full(len(points), math.nan)
        nearest = [kth_largest(block_QN, NEARBY) for block_QN in self._similarities(points, self._distance_metric)]
        nearest_Q = np.concatenate([np.empty(0), *nearest])
        # an entity's own value must not count as nearer than itself by rounding
        beyond_Q = nearest_Q + 1e-6 * np.maximum(np.abs(nearest_Q), 1e-6)
        own = np.sort(self._own_nearest)
        return 100 * (1 - np.searchsorted(own, beyond_Q, side="right") / len(own))

    def _similarities(self, points: Sequence[Point], metric: Metric) -> Iterator[np.ndarray]:
        """Blocks (Q, N) of the similarities of points of this space, -inf for the entity a point is."""
        for point in points:
            self._check(point)
        step = max(1, 4 * BLOCK_VALUES // len(self))
        for start in range(0, len(points), step):
            block = points[start : start + step]
            similarity_QN = similarities(np.stack([point.vector for point in block]), self.vectors, metric=metric)
            for similarity_N, point in zip(similarity_QN, block, strict=True):
                own = self._row_of.get(point.id) if point.id is not None else None
                # by value, so that a point of the same space opened twice is still itself
                if own is not None and np.array_equal(self.vectors[own], point.vector):
                    similarity_N[own] = -np.inf
            yield similarity_QN

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raises SpaceError where the files of the space turn out to be damaged or gone."""
        try:
            yield
        except (OSError, ValueError, pa.ArrowException) as error:
            raise SpaceError(
                f"{self.path} can no longer be read. If it was replaced meanwhile, open it again; else it is damaged, "
                f"import it again: {one_line(error)}"
            ) from error

    def _titles(self, rows: Sequence[int]) -> dict[int, str | None]:
        """Row -> title, where the space has titles."""
        if "title" not in self.columns or not rows:
            return {}
        wanted = sorted(set(rows))
        taken = self._dataset.take(wanted, columns=["title"]).column("title").to_pylist()
        return dict(zip(wanted, taken, strict=True))

    @cached_property
    def _own_nearest(self) -> np.ndarray:
        rows = np.arange(len(self))
        if len(self) > EXACT_UP_TO:
            rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
        return own_nearest(self.vectors, rows, NEARBY, metric=self._distance_metric)

    @property
    def _distance_metric(self) -> Metric:
        return "euclidean" if self.metric == "dot" else self.metric

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {entity_id: row for row, entity_id in enumerate(self.ids)}

    def row_number(self, entity_id: str) -> int:
        """Place of an entity in `vectors`, counted from 0. Raises PointError for an unknown id."""
        if entity_id not in self._row_of:
            some = ", ".join(repr(known) for known in self.ids[:3])
            raise PointError(f"{self.name} has no entity {entity_id!r}; its {len(self)} ids are texts such as {some}.")
        return self._row_of[entity_id]

    def _check(self, point: Point) -> None:
        if len(point.vector) != self.dimension:
            raise PointError(
                f"{point.label} has {len(point.vector)} dimensions, the space {self.name} has {self.dimension}."
            )
        with np.errstate(over="ignore"):
            length = np.linalg.norm(point.vector)
        if not np.isfinite(length):
            raise PointError(f"{point.label} is too long: its length is beyond float32. Scale it down.")
        if self.metric == "cosine" and length < SMALLEST_NORM:
            raise PointError(f"{point.label} is zero and has no direction, so no place in a cosine space.")


def at_length(vector_E: np.ndarray, length: float, *, what: str) -> np.ndarray:
    """The vector scaled to a length. Raises PointError where it is zero; `what` names what led there."""
    own = float(np.linalg.norm(vector_E))
    if own < 1e-6 * max(length, 1e-30):
        raise PointError(f"{what} cancel out: what is left has no direction.")
    return vector_E * (length / own)


def real_matrix(array: np.ndarray, *, what: str) -> np.ndarray:
    """`array` as (n, E) real numbers; `what` names it in errors. Raises SpaceError for another shape or kind."""
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise SpaceError(f"{what} is ragged: every row needs the same number of values.") from error
    if array.dtype.kind not in "fiu":
        raise SpaceError(f"{what} holds {array.dtype}, expected real numbers.")
    if array.ndim != 2:
        raise SpaceError(f"{what} has shape {array.shape}, expected (rows, dimensions).")
    return array


def _as_vector(values: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise PointError(f"Expected a vector of numbers, got {type(values).__name__}.") from error
    if vector.ndim != 1 or not len(vector):
        raise PointError(f"Expected a vector of shape (E,), got shape {vector.shape}.")
    if not np.isfinite(vector).all():
        where = int(np.argmin(np.isfinite(vector)))
        raise PointError(f"Expected finite numbers, got {vector[where]} in dimension {where} (counted from 0).")
    return _read_only(vector) if vector.flags.writeable else vector


def _read_only(array: np.ndarray) -> np.ndarray:
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy


def _lerp(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    return (1 - share) * start + share * end


def _slerp(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if not all(lengths):
        raise PointError("A zero vector has no direction, so there is no way to it under cosine.")
    a, b = start / lengths[0], end / lengths[1]
    # the arc cosine of a dot product loses half the digits near 0 and 180 degrees; this form does not
    angle = 2 * math.atan2(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b)))
    if math.pi - angle < 1e-6:
        raise PointError("The two points look in opposite directions: no way between them is the shortest.")
    if angle < 1e-9:
        direction = a
    else:
        direction = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
    return direction * ((1 - share) * lengths[0] + share * lengths[1])


def _ids_array(ids: Sequence[str]) -> pa.Array:
    if isinstance(ids, str) or not all(isinstance(entity_id, str) for entity_id in ids):
        raise SpaceError("Ids are a list of texts; turn other kinds into text first.")
    return pa.array(ids, pa.string())


def _columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, pa.Array]:
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise SpaceError(f"Column {name!r} does not hold values of one type: {one_line(error)}") from error
    return arrays


def _check_lengths(chunk: Chunk) -> None:
    rows = len(chunk.vectors)
    if len(chunk.ids) != rows:
        raise SpaceError(f"There are {len(chunk.ids)} ids for {rows} vectors; expected one each.")
    for name, values in chunk.columns.items():
        if len(values) != rows:
            raise SpaceError(f"Column {name!r} has {len(values)} values for {rows} vectors; expected one each.")
