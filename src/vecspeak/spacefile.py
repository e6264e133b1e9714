"""The folder of a space: what is in it, how it is checked and written, and how it is opened.

A space is a Lance dataset with the columns `id` (string), `vector` (fixed-size list of float32) and any
further ones, and a JSON header under the key `vecspeak` of its schema's metadata. It is written
to a hidden folder beside the target and renamed at the end: there is a whole space or none.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import get_args

import lance
import numpy as np
import pyarrow as pa

from vecspeak.errors import SpaceError
from vecspeak.nearest import Metric

FORMAT = 1
"""Version of the folder; a reader refuses a newer one."""

RESERVED = ("id", "vector")

_KEY = b"vecspeak"

SMALLEST_NORM = 1e-18
"""Length below which a vector counts as zero: the squares of its numbers leave the range of float32."""


@dataclass(frozen=True)
class Header:
    """What a space says about itself. Raises SpaceError for a metric or a name that is not valid."""

    name: str
    """How it is called, in prompts and pages."""
    metric: Metric = "cosine"
    """How nearness is measured."""
    encoder: str | None = None
    """Name of the text encoder that made the vectors, if one did."""
    source: str | None = None
    """Where the vectors come from."""
    licence: str | None = None
    """Under which terms they may be used."""

    def __post_init__(self) -> None:
        if self.metric not in get_args(Metric):
            raise SpaceError(f"Unknown metric {self.metric!r}. One of: {', '.join(get_args(Metric))}.")
        if not self.name.strip():
            raise SpaceError("A space needs a name that is not blank.")


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows on their way into a space."""

    ids: pa.Array
    """(n,) strings."""
    vectors: np.ndarray
    """(n, E) numbers of any real type; stored as float32."""
    columns: dict[str, pa.Array] = field(default_factory=dict)
    """Further columns, (n,) each; of the same names and types in every chunk."""


def write_space(
    path: Path,
    header: Header,
    chunks: Iterable[Chunk],
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Check and write chunks as the space at `path`, a few at a time.

    Args:
        path: the folder to make; its parent exists.
        header: what the space says about itself.
        chunks: the rows in order.
        overwrite: replace a space that is there, once the new one is complete.
        on_rows: called with the number of rows of each chunk handed on.

    Raises:
        SpaceError: `check_target` refuses, there are no rows, an id is missing or there twice, a value
            is NaN or infinite, a vector is zero under cosine, or the disk refuses. Nothing is left behind.
    """
    check_target(path, overwrite=overwrite)
    rest = iter(chunks)
    first = next((chunk for chunk in rest if len(chunk.ids)), None)
    if first is None:
        raise SpaceError("There are no rows; a space has at least one.")
    schema = _schema(header, first)
    batches = _checked(chain([first], rest), schema, metric=header.metric, on_rows=on_rows)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    try:
        _write(fresh, schema, batches)
        put_in_place(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raises SpaceError unless a space may be written at `path`."""
    if not path.absolute().parent.is_dir():
        raise SpaceError(f"Folder {path.absolute().parent} does not exist; make it first.")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise SpaceError(f"{path} exists. Choose another name, or replace it with --overwrite (overwrite=True).")
    try:
        open_space(path)
    except SpaceError as error:
        raise SpaceError(f"{path} exists and is not a space this version can read, so it is not replaced.") from error


def open_space(path: Path) -> tuple[lance.LanceDataset, Header]:
    """The dataset at `path` and its header.

    Raises:
        SpaceError: no folder, no Lance dataset, no header of ours, a newer format, or other columns.
    """
    if not path.is_dir():
        raise SpaceError(f"There is no space at {path}: expected a folder such as films.lance.")
    if not (path / "_versions").is_dir():
        raise SpaceError(f"{path} is not a space: it is no Lance dataset. Make one with `vecspeak space import`.")
    try:
        dataset = lance.dataset(str(path.absolute()))
        rows = dataset.count_rows()
    except (OSError, ValueError) as error:
        raise SpaceError(f"{path} does not open: {one_line(error)}") from error
    header = _header(path, dataset.schema)
    _check_columns(path, dataset.schema)
    if not rows:
        raise SpaceError(f"{path} has no rows; a space has at least one.")
    return dataset, header


def one_line(error: BaseException) -> str:
    """The first words of an error of another library, on one line of 200 characters at most."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def _schema(header: Header, first: Chunk) -> pa.Schema:
    dimension = first.vectors.shape[1]
    if not dimension:
        raise SpaceError("The vectors have no numbers; expected at least one per row.")
    taken = [name for name in first.columns if name in RESERVED]
    if taken:
        raise SpaceError(f"A further column is called {taken[0]!r}, a name the space itself uses; rename it.")
    fields = [pa.field("id", pa.string(), nullable=False)]
    fields += [pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False)]
    fields += [pa.field(name, values.type) for name, values in first.columns.items()]
    return pa.schema(fields, metadata={_KEY: json.dumps({"format": FORMAT, **asdict(header)})})


def _checked(
    chunks: Iterable[Chunk], schema: pa.Schema, *, metric: Metric, on_rows: Callable[[int], None] | None
) -> Iterator[pa.RecordBatch]:
    seen: set[str] = set()
    start = 0
    for chunk in chunks:
        ids = chunk.ids.to_pylist()
        _check_ids(ids, seen, start=start)
        with np.errstate(over="ignore", under="ignore"):
            vectors = np.ascontiguousarray(chunk.vectors, np.float32)
            _check_vectors(vectors, ids, metric=metric, start=start)
        listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        yield pa.record_batch([chunk.ids, listed, *chunk.columns.values()], schema=schema)
        start += len(ids)
        if on_rows:
            on_rows(len(ids))


def _check_ids(ids: list[str | None], seen: set[str], *, start: int) -> None:
    for row, entity_id in enumerate(ids, start):
        if not entity_id:
            raise SpaceError(f"Row {row} (counted from 0) has no id; expected text in every row.")
        if entity_id in seen:
            raise SpaceError(f"Id {entity_id!r} is there twice, again in row {row} (counted from 0); ids are unique.")
        seen.add(entity_id)


def _check_vectors(vectors: np.ndarray, ids: list[str], *, metric: Metric, start: int) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(norms).all():
        wrong = np.argwhere(~np.isfinite(vectors))
        if not len(wrong):
            row = int(np.argmin(np.isfinite(norms)))
            raise SpaceError(f"Row {start + row} (counted from 0), id {ids[row]!r}: the length is beyond float32.")
        row, column = wrong[0]
        raise SpaceError(
            f"Row {start + row}, column {column} (counted from 0), id {ids[row]!r}: expected a finite float32,"
            f" got {vectors[row, column]}. Mend or drop that row."
        )
    if metric == "cosine" and (norms < SMALLEST_NORM).any():
        row = int(np.argmax(norms < SMALLEST_NORM))
        raise SpaceError(
            f"Row {start + row} (counted from 0), id {ids[row]!r}: a zero vector has no direction, so no place in a"
            " cosine space. Drop that row, or choose metric euclidean."
        )


def _write(folder: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    raised: list[BaseException] = []

    def relay() -> Iterator[pa.RecordBatch]:
        # Lance turns what a reader raises into an OSError with a traceback for its text
        try:
            yield from batches
        except BaseException as error:
            raised.append(error)
            raise

    try:
        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, relay()), str(folder.absolute()))
    except (OSError, ValueError, pa.ArrowException) as error:
        if raised:
            raise raised[0] from None
        raise SpaceError(f"Writing failed: {one_line(error)}") from error


def put_in_place(fresh: Path, path: Path) -> None:
    """Rename a finished folder to its name; one that is there goes once the new one stands.

    A kill between the two renames leaves none at `path`: the old one is then beside it, as `.NAME.*.old`.

    Raises:
        SpaceError: the disk refuses; the old folder is back in its place.
    """
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
    replaces = path.exists()
    try:
        if replaces:
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if replaces:
                old.rename(path)
            raise
    except OSError as error:
        raise SpaceError(f"{path} could not be put in place: {one_line(error)}") from error
    if replaces:
        shutil.rmtree(old, ignore_errors=True)


def _header(path: Path, schema: pa.Schema) -> Header:
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        raise SpaceError(f"{path} is a Lance dataset, but no space. Make one of it with `vecspeak space import`.")
    try:
        values = json.loads(text)
        version = values.pop("format")
        if version > FORMAT:
            raise SpaceError(f"{path} has format {version}; this version reads up to {FORMAT}. Upgrade vecspeak.")
        return Header(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(f"{path} has a damaged header: {one_line(error)}. Import it again.") from error


def _check_columns(path: Path, schema: pa.Schema) -> None:
    for name, expected, fits in (
        ("id", "string", pa.types.is_string),
        ("vector", "fixed-size list of float32", _is_vector),
    ):
        if name not in schema.names:
            raise SpaceError(f"{path} has no column {name!r}, only: {', '.join(schema.names)}.")
        if not fits(schema.field(name).type):
            raise SpaceError(f"{path}: column {name!r} is {schema.field(name).type}, expected {expected}.")


def _is_vector(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type)
