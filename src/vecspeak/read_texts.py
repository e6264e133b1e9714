"""A table of texts beside the vectors: read, and joined to them by id.

| file     | read by                                                      |
|----------|--------------------------------------------------------------|
| .parquet | pyarrow                                                      |
| .csv     | pyarrow; ids and titles stay as written, `007` is not 7      |
| .jsonl   | pyarrow, one object per line                                 |
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet
from pyarrow import json as arrow_json

from vecspeak.errors import SpaceError
from vecspeak.reading import LONGEST_LINE
from vecspeak.spacefile import one_line

_PADDED = re.compile(r"0\d")

SHOWN = 3
"""Ids quoted in a message."""


def read_texts(path: Path) -> pa.Table:
    """The table as it is. Raises SpaceError for a missing or unknown file, no rows, or two columns of one name."""
    if not path.is_file():
        raise SpaceError(f"There is no file of texts at {path}.")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise SpaceError(f"{path} has an unknown format for texts. Known: {' '.join(_READERS)}.")
    try:
        table = read(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} is no table: {one_line(error)}") from error
    _check_names(table.column_names, path=path)
    if not table.num_rows:
        raise SpaceError(f"{path} has no rows; expected one for each entity with a text.")
    return table.combine_chunks()


def ids_of(table: pa.Table, column: str) -> list[str | None]:
    """A column as ids: texts as they are, whole numbers as text, None where blank."""
    return [str(value).strip() or None if value is not None else None for value in table.column(column).to_pylist()]


def id_column(table: pa.Table, wanted: str | None, ids: Collection[str], *, path: Path) -> str:
    """The column that holds the ids of the vectors: the one named, or that in which most of them are found.

    Raises:
        SpaceError: no such column, or none that holds any of the ids.
    """
    known = set(ids)
    candidates = _candidates(table)
    if wanted is not None:
        if wanted not in candidates:
            raise SpaceError(f"{path} has no id column {wanted!r}. One of: {', '.join(candidates) or 'none at all'}.")
        candidates = [wanted]
    found = {name: len(known.intersection(ids_of(table, name))) for name in candidates}
    best = max(found, key=found.__getitem__, default=None)
    if best is None or not found[best]:
        shown = "; ".join(f"{name}: {_some(ids_of(table, name))}" for name in candidates[:6])
        raise SpaceError(
            f"No column of {path} holds ids of the vectors, which are such as {_some(ids)}. Its columns hold {shown}. "
            "Give ids that match, or name the column with --id-column."
        )
    return best


def own_ids(table: pa.Table, wanted: str | None, *, path: Path) -> tuple[str | None, list[str]]:
    """Ids of a table whose rows are those of the vectors: its column and the ids, or None and the row numbers.

    Raises:
        SpaceError: the column named is not there, or does not hold one id a row.
    """
    for name in [wanted] if wanted is not None else _candidates(table):
        if name not in table.column_names:
            raise SpaceError(f"{path} has no id column {name!r}. One of: {', '.join(table.column_names)}.")
        ids = ids_of(table, name)
        given = [text for text in ids if text is not None]
        if len(set(given)) == len(ids) and (wanted is not None or not any(" " in text for text in given)):
            return name, given
    if wanted is not None:
        raise SpaceError(f"{path}: the column {wanted!r} does not hold one id for each row, each once.")
    return None, [str(row) for row in range(table.num_rows)]


def rows_by_id(ids: Iterable[str | None]) -> tuple[dict[str, int], int]:
    """id -> first row that has it, and how many rows have an id that came before."""
    rows: dict[str, int] = {}
    repeated = 0
    for row, entity_id in enumerate(ids):
        if entity_id is not None:
            repeated += entity_id in rows
            rows.setdefault(entity_id, row)
    return rows, repeated


def plain_columns(table: pa.Table) -> dict[str, pa.Array]:
    """Columns as arrays, dictionaries decoded."""
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        chunked = table.column(name)
        values = chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)
        columns[name] = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return columns


def _check_names(names: Sequence[str], *, path: Path) -> None:
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise SpaceError(f"{path} has two columns {repeated[0]!r}; rename one.")


def _candidates(table: pa.Table) -> list[str]:
    """Columns that could hold ids, `id` first."""
    kinds = {field.name: field.type for field in table.schema}
    kinds = {n: k.value_type if pa.types.is_dictionary(k) else k for n, k in kinds.items()}
    names = [n for n, k in kinds.items() if pa.types.is_string(k) or pa.types.is_large_string(k) or _is_whole(k)]
    return sorted(names, key=lambda name: name != "id")


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind)


def _some(ids: Iterable[str | None]) -> str:
    given = [entity_id for entity_id in ids if entity_id is not None][:SHOWN]
    return ", ".join(repr(entity_id if len(entity_id) <= 40 else entity_id[:39] + "…") for entity_id in given)


def _read_csv(path: Path) -> pa.Table:
    options = {
        "read_options": csv.ReadOptions(block_size=LONGEST_LINE),
        "parse_options": csv.ParseOptions(newlines_in_values=True),
    }
    with path.open("rb") as file:
        names = csv.open_csv(file, **options).schema.names
    _check_names(names, path=path)
    # first all as text, since only the values tell which whole numbers are ids such as 007
    strings = csv.read_csv(
        path, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())), **options
    )
    padded = [n for n in names if any(text and _PADDED.match(text) for text in strings.column(n).to_pylist())]
    types = dict.fromkeys(padded, pa.string())
    return csv.read_csv(
        path,
        convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
        **options,
    )


def _read_jsonl(path: Path) -> pa.Table:
    return arrow_json.read_json(path, read_options=arrow_json.ReadOptions(block_size=LONGEST_LINE))


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": parquet.read_table,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}
