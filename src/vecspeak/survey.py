"""A look at someone's vectors and texts before anything is made of them: what is there, what is what, what is odd.

| metric    | chosen where                                                                            |
|-----------|-----------------------------------------------------------------------------------------|
| euclidean | there are at most three dimensions: places on a map                                     |
| cosine    | all lengths are 1, or differ little (less than DOT_SPREAD): the direction says it all   |
| dot       | lengths differ much, as those of recommenders' factors do, where long means popular     |
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from vecspeak.errors import SpaceError
from vecspeak.importing import Reading, read_source
from vecspeak.nearest import Metric
from vecspeak.read_arrays import NUMBERED
from vecspeak.read_texts import id_column, own_ids, plain_columns, read_texts, rows_by_id
from vecspeak.read_texts import ids_of as text_ids
from vecspeak.reading import as_text as stored_as_text
from vecspeak.spacefile import RESERVED, SMALLEST_NORM, Chunk
from vecspeak.tasks import as_text

DOT_SPREAD = 0.5
"""Standard deviation over mean of the lengths, above which length is taken to mean something. Word vectors have up to
0.4, item factors of recommenders 0.6 and more."""

TEXT_WORDS = 4
"""Words in the mean value of a column, from which on it is a text and not a name."""

CATEGORIES = 50
"""Different values at most of a column that sorts entities; each value three times at least."""

Kind = Literal["text", "label", "category", "other"]


@dataclass(frozen=True)
class Column:
    """A column beside the vectors."""

    name: str
    kind: Kind
    filled: int
    """Entities that have a value."""
    words: float
    """In the mean value; 0 for what is no text."""
    example: str


@dataclass(frozen=True)
class Survey:
    """What was found, and all that a space needs beside the vectors themselves."""

    vectors: Path
    reading: Reading
    ids: list[str]
    values: Mapping[str, pa.Array]
    """Name -> (N,) values, as they will stand in the space."""
    columns: tuple[Column, ...]
    """The same, described."""
    title: str | None
    """What the column `title` was called, where there is one."""
    dimension: int
    metric: Metric
    reason: str
    """Why this metric."""
    without_text: int
    """Entities that no text column says anything about."""
    notes: tuple[str, ...]
    """What the user should know."""

    @property
    def texts(self) -> list[Column]:
        """Text columns, that of most words first."""
        return sorted((c for c in self.columns if c.kind == "text"), key=lambda c: -c.words * c.filled)

    def chunks(self) -> Iterator[Chunk]:
        """The rows, read anew, for `write_space`."""
        start = 0
        for chunk in read_source(self.vectors, self.reading).chunks:
            span = slice(start, start + len(chunk.vectors))
            columns = {name: values[span] for name, values in self.values.items()}
            yield Chunk(pa.array(self.ids[span], pa.string()), chunk.vectors, columns)
            start = span.stop


@dataclass(frozen=True)
class _Vectors:
    """The vectors' side, read once."""

    ids: list[str | None]
    named: bool
    """Whether the ids come with the vectors and are not their row numbers."""
    dimension: int
    norms: np.ndarray
    twins: int
    """Rows whose vector another row had before."""
    columns: dict[str, pa.Array]
    notes: tuple[str, ...]


def survey(
    vectors: Path,
    texts: Path | None,
    *,
    reading: Reading,
    id_column: str | None = None,
    text_columns: Sequence[str] = (),
    metric: Metric | None = None,
) -> Survey:
    """Look at vectors and texts.

    Args:
        vectors: any file or folder that `vecspeak space import` reads.
        texts: .parquet, .csv or .jsonl with ids and texts; None where the table of vectors holds the texts.
        reading: what to take from `vectors`; its `title_column` may be one of `texts`.
        id_column: of `texts`; the one with most of the ids unless given.
        text_columns: columns to learn from; all that look like texts unless given.
        metric: chosen from the vectors unless given.

    Raises:
        SpaceError: a file that cannot be read, vectors and texts that do not belong together, ids or vectors that a
            space cannot hold (all are counted), or no texts.
    """
    title = reading.title_column
    reading = Reading(reading.ids, reading.id_column, reading.vector_column, title if texts is None else None)
    found = _read_vectors(vectors, reading)
    metric, reason = (metric, "as told") if metric else _metric(found)
    _check_rows(found.ids, found.norms, metric=metric, source=vectors)
    if texts is None:
        ids, values, notes = found.ids, found.columns, []
    else:
        ids, values, notes = _joined(found, read_texts(texts), path=texts, wanted=id_column)
    named, renamed = _named(values)
    title = _title(named, title if texts is not None else None)
    if title is not None:
        named = {"title" if name == title else name: array for name, array in named.items()}
        named["title"] = stored_as_text(named["title"], what=f"title column {title!r}")
        text_columns = ["title" if name == title else name for name in text_columns]
    columns = tuple(_described(name, array, text_columns) for name, array in named.items())
    _check_texts(columns, text_columns, texts or vectors)
    chosen = [c.name for c in columns if c.kind == "text"]
    missing = _without(named, chosen)
    twins = [f"{found.twins:,} vectors are equal to an earlier one: their answers will be, too."] if found.twins else []
    return Survey(
        vectors=vectors,
        reading=reading,
        ids=[entity_id for entity_id in ids if entity_id],
        values=named,
        columns=columns,
        title=title,
        dimension=found.dimension,
        metric=metric,
        reason=reason,
        without_text=missing,
        notes=(*(found.notes if texts is None else ()), *notes, *twins, *renamed),
    )


def _read_vectors(path: Path, reading: Reading) -> _Vectors:
    incoming = read_source(path, reading)
    ids: list[str | None] = []
    norms: list[np.ndarray] = []
    seen: set[bytes] = set()
    parts: dict[str, list[pa.Array]] = {}
    dimension = 0
    for chunk in incoming.chunks:
        dimension = chunk.vectors.shape[1]
        ids += chunk.ids.to_pylist()
        with np.errstate(over="ignore", invalid="ignore"):
            stored = np.ascontiguousarray(chunk.vectors, np.float32)
            norms.append(np.linalg.norm(stored, axis=1))
        seen.update(hashlib.blake2b(row, digest_size=16).digest() for row in stored)
        for name, values in chunk.columns.items():
            parts.setdefault(name, []).append(values)
    if not ids or not dimension:
        raise SpaceError(f"{path} has {len(ids)} rows of {dimension} numbers; expected at least one of each.")
    return _Vectors(
        ids=ids,
        named=NUMBERED not in incoming.notes,
        dimension=dimension,
        norms=np.concatenate(norms),
        twins=len(ids) - len(seen),
        columns={name: pa.concat_arrays(values) for name, values in parts.items()},
        notes=incoming.notes,
    )


def _joined(
    found: _Vectors, table: pa.Table, *, path: Path, wanted: str | None
) -> tuple[list[str | None], dict[str, pa.Array], list[str]]:
    """Ids, the columns in the order of the vectors, and what to tell."""
    if not found.named:
        if table.num_rows != len(found.ids):
            raise SpaceError(
                f"{len(found.ids):,} vectors without ids, and {path} has {table.num_rows:,} rows, so rows cannot be "
                "matched by their order. Give the ids of the vectors, one per line: --ids FILE."
            )
        column, own = own_ids(table, wanted, path=path)
        told = f"ids from its column {column!r}" if column else "ids are the row numbers"
        kept = table.drop_columns([column] if column else [])
        return [*own], plain_columns(kept), [f"Vectors and rows of {path.name} are matched by their order; {told}."]
    column = id_column(table, wanted, [entity_id for entity_id in found.ids if entity_id], path=path)
    rows, repeated = rows_by_id(text_ids(table, column))
    places = [rows.get(entity_id or "") for entity_id in found.ids]
    values = plain_columns(table.drop_columns([column]).take(pa.array(places, pa.int64())).combine_chunks())
    matched = sum(place is not None for place in places)
    unused = len(rows) - len(set(rows).intersection(entity_id for entity_id in found.ids if entity_id))
    notes = [f"{matched:,} of {len(places):,} vectors have a row in {path.name}, matched by its column {column!r}."]
    notes += [f"{unused:,} ids of {path.name} have no vector; they are left out."] if unused else []
    notes += [f"{repeated:,} rows of {path.name} repeat an id; its first row is taken."] if repeated else []
    return found.ids, {**found.columns, **values}, notes


def _metric(found: _Vectors) -> tuple[Metric, str]:
    norms = found.norms[np.isfinite(found.norms)].astype(np.float64)
    if found.dimension <= 3:
        return "euclidean", f"{found.dimension} dimensions look like places on a map"
    if not len(norms) or not norms.mean():
        return "cosine", "the vectors have no lengths to tell from"
    spread = norms.std() / norms.mean()
    told = f"lengths are {norms.mean():.3g} on average and differ by {100 * spread:.0f} %"
    if np.abs(norms - 1).max() < 1e-2:
        return "cosine", "all vectors have length 1"
    if spread < DOT_SPREAD:
        return "cosine", f"{told}, little enough that direction decides"
    return "dot", f"{told}, as those of recommenders' factors do; say --metric cosine if length means nothing"


def _check_rows(ids: Sequence[str | None], norms: np.ndarray, *, metric: Metric, source: Path) -> None:
    """All at once, so that a user can mend all at once. Raises SpaceError."""
    _, repeated = rows_by_id(ids)
    faults = {
        "without an id": [row for row, entity_id in enumerate(ids) if not entity_id],
        "whose id came before": _repeats(ids) if repeated else [],
        "with a value that is not a finite float32": np.flatnonzero(~np.isfinite(norms)).tolist(),
    }
    if metric == "cosine":
        faults["of zeros, which have no direction under cosine"] = np.flatnonzero(norms < SMALLEST_NORM).tolist()
    told = [f"{len(rows):,} rows {what} ({_some_rows(rows, ids)})" for what, rows in faults.items() if rows]
    if told:
        raise SpaceError(
            f"{source} has {'; '.join(told)}. Rows are counted from 0. Mend or drop them in vectors and ids."
        )


def _repeats(ids: Sequence[str | None]) -> list[int]:
    seen: set[str] = set()
    return [row for row, entity_id in enumerate(ids) if entity_id and (entity_id in seen or seen.add(entity_id))]


def _some_rows(rows: list[int], ids: Sequence[str | None]) -> str:
    shown = [f"{row}, id {ids[row]!r}" if ids[row] else str(row) for row in rows[:3]]
    return "row " + "; ".join(shown) + ("; ..." if len(rows) > 3 else "")


def _named(values: Mapping[str, pa.Array]) -> tuple[dict[str, pa.Array], list[str]]:
    """Columns under names that a space and a task's target can hold, and what was renamed or left out."""
    named: dict[str, pa.Array] = {}
    notes: list[str] = []
    for name, array in values.items():
        if pa.types.is_null(array.type):
            notes.append(f"Column {name!r} is empty and left out.")
            continue
        fit = re.sub(r"[^\w -]", "_", name).strip() or "column"
        if fit in RESERVED or (fit == "split" and not _is_split(array)):
            fit = f"own_{fit}"
        while fit in named:
            fit += "_"
        if fit != name:
            notes.append(f"Column {name!r} is called {fit!r} in the space.")
        named[fit] = array
    return named, notes


def _is_split(array: pa.Array) -> bool:
    return set(array.unique().to_pylist()) <= {"train", "validation", "test", None} and not array.null_count


def _described(name: str, array: pa.Array, text_columns: Sequence[str]) -> Column:
    given = [text for text in map(as_text, array.to_pylist()) if text is not None]
    example = given[0] if given else ""
    if not _is_text(array.type) and name not in text_columns:
        return Column(name, "other", len(given), 0.0, example)
    words = sum(len(text.split()) for text in given) / len(given) if given else 0.0
    distinct = len(set(given))
    kind: Kind = "label"
    long = words >= TEXT_WORDS and distinct > len(given) / 5
    if name in text_columns or (long and not text_columns and name != "title"):
        kind = "text"
    elif distinct <= CATEGORIES and 3 * distinct <= len(given):
        kind = "category"
    return Column(name, kind, len(given), words, example)


def _is_text(kind: pa.DataType) -> bool:
    inner: Any = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner)


def _title(values: Mapping[str, pa.Array], wanted: str | None) -> str | None:
    """The column to show beside ids: the one named, else `title` or `name`. Raises SpaceError for an unknown one."""
    if wanted is not None and wanted not in values:
        raise SpaceError(f"There is no title column {wanted!r}. One of: {', '.join(values) or 'none at all'}.")
    if wanted not in (None, "title") and "title" in values:
        raise SpaceError(f"There is a column 'title' beside {wanted!r}, which would become it; rename one.")
    known = {name.lower(): name for name in reversed(list(values)) if _is_text(values[name].type)}
    return wanted or ("title" if "title" in known else known.get("title") or known.get("name"))


def _check_texts(columns: Sequence[Column], wanted: Sequence[str], path: Path) -> None:
    names = [column.name for column in columns]
    unknown = [name for name in wanted if name not in names]
    listed = ", ".join(f"{c.name} ({c.kind})" for c in columns) or "none"
    if unknown:
        raise SpaceError(f"There is no text column {unknown[0]!r}. Columns: {listed}.")
    if not any(column.kind == "text" and column.filled for column in columns):
        raise SpaceError(
            f"{path} has no column of texts (at least {TEXT_WORDS} words in the mean value), which a model needs to "
            f"learn from. Columns: {listed}. Name one with --text-column, or give a table of texts with --texts."
        )


def _without(values: Mapping[str, pa.Array], texts: Sequence[str]) -> int:
    columns = [[as_text(value) is None for value in values[name].to_pylist()] for name in texts]
    return sum(all(blank) for blank in zip(*columns, strict=True))
