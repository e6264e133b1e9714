"""What every reader of vector files takes and gives, and safe reading of text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from vecspeak.errors import SpaceError
from vecspeak.spacefile import Chunk

T = TypeVar("T")

ROWS = 4096
"""Rows per chunk of tables and texts."""

LONGEST_LINE = 1 << 24
"""Characters a line of a text file may have (bytes in CSV); a longer one is taken for a file of another kind."""


@dataclass(frozen=True)
class Reading:
    """What to take from a file. None means the format's own default, see `vecspeak.importing`."""

    ids: Path | None = None
    """A text file with one id per line, in the order of the rows."""
    id_column: str | None = None
    """Column or array with the ids."""
    vector_column: str | None = None
    """Column or array with the vectors; `emb_*` for one column per dimension."""
    title_column: str | None = None
    """Column to show beside the ids, stored as `title`."""


@dataclass(frozen=True)
class Incoming:
    """What a reader hands on."""

    chunks: Iterator[Chunk]
    """The rows; reading happens as they are taken, and raises SpaceError."""
    rows: int | None
    """How many there will be, if the file tells."""
    notes: tuple[str, ...] = ()
    """What the user should know: ids that were made, arrays that were left out."""


def read_lines(path: Path) -> Iterator[str]:
    """Lines of UTF-8 text without their ends. Raises SpaceError for another encoding or an endless line."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise SpaceError(f"{path}, line {number}: longer than {LONGEST_LINE:,} characters.")
                yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise SpaceError(f"{path}, after line {number}: not UTF-8 text; convert it first.") from error


def in_chunks(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """`ROWS` items at a time."""
    rest = iter(items)
    while some := tuple(islice(rest, ROWS)):
        yield some


def read_ids(path: Path, *, rows: int) -> pa.Array:
    """(rows,) ids, one per line. Raises SpaceError for a missing file or another number of lines."""
    if not path.is_file():
        raise SpaceError(f"There is no file of ids at {path}.")
    ids = pa.array(read_lines(path), pa.string())
    if len(ids) != rows:
        raise SpaceError(f"{path} has {len(ids)} ids for {rows} vectors; expected one line each.")
    return ids


def as_text(values: pa.Array, *, what: str) -> pa.Array:
    """Texts or whole numbers as strings. Raises SpaceError for other kinds, floats among them."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise SpaceError(f"{what} holds {kind}, expected text or whole numbers.")
    return values.cast(kind).cast(pa.string())
