"""Readers of tables: Parquet, CSV, JSON lines and Lance."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from vecspeak.errors import SpaceError
from vecspeak.reading import LONGEST_LINE, ROWS, Incoming, Reading, as_text, in_chunks, read_lines
from vecspeak.spacefile import Chunk, one_line


def read_parquet(path: Path, reading: Reading) -> Incoming:
    """A Parquet file."""
    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise SpaceError(f"{path} is no Parquet file: {one_line(error)}") from error
    roles = _roles(path, file.schema_arrow.names, reading)
    return Incoming(_chunks(path, file.iter_batches(batch_size=ROWS), roles), file.metadata.num_rows)


def read_lance(path: Path, reading: Reading) -> Incoming:
    """A Lance dataset, or a table of LanceDB, which is one."""
    if not (path / "_versions").is_dir():
        tables = ", ".join(sorted(str(table) for table in path.glob("*.lance")))
        hint = f"It is a database; name one of its tables: {tables}." if tables else "Expected a Lance dataset."
        raise SpaceError(f"{path} is no table. {hint}")
    try:
        dataset = lance.dataset(str(path.absolute()))
    except (OSError, ValueError) as error:
        raise SpaceError(f"{path} does not open: {one_line(error)}") from error
    roles = _roles(path, dataset.schema.names, reading)
    return Incoming(_chunks(path, dataset.to_batches(batch_size=ROWS), roles), dataset.count_rows())


def read_csv(path: Path, reading: Reading) -> Incoming:
    """A CSV file with a header line. Ids, title and texts stay as written; other types are read off all rows."""
    try:
        names = _open_csv(path, {}).schema.names
        roles = _roles(path, names, reading)
        types = {name: pa.string() for name in (roles.id, roles.title) if name is not None}
        kept = [roles.id, *roles.further]
        # the whole column decides its type: guessing from the first rows fails at the first odd row
        small = csv.read_csv(
            path,
            read_options=csv.ReadOptions(block_size=LONGEST_LINE),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=kept),
        )
        types |= {name: small.schema.field(name).type for name in kept}
        types |= dict.fromkeys(roles.vector, pa.float64() if roles.spread else pa.string())
        batches: Iterable[pa.RecordBatch] = _open_csv(path, types)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path} is no table: {one_line(error)}") from error
    if not roles.spread:
        batches = _parsed_vectors(path, batches, roles.vector[0])
    return Incoming(_chunks(path, batches, roles), small.num_rows)


def read_jsonl(path: Path, reading: Reading) -> Incoming:
    """One JSON object per line; read twice, first for the types of the columns. A field may be missing."""
    types: dict[str, pa.DataType] = {}
    rows = 0
    for objects in in_chunks(_objects(path)):
        rows += len(objects)
        for name in dict.fromkeys(name for item in objects for name in item):
            values = [item.get(name) for item in objects]
            types[name] = _wider(path, name, types.get(name, pa.null()), values, reading)
    roles = _roles(path, list(types), reading)
    batches = (_batch(path, objects, types, start=start) for start, objects in _numbered(_objects(path)))
    return Incoming(_chunks(path, batches, roles), rows)


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    id: str
    vector: tuple[str, ...]
    spread: bool
    """Whether each vector column is one dimension; otherwise there is one, of lists."""
    title: str | None
    further: tuple[str, ...]


def _roles(path: Path, names: list[str], reading: Reading) -> _Roles:
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise SpaceError(f"{path} has two columns {repeated[0]!r}; rename one.")
    title = reading.title_column or ("title" if "title" in names else None)
    entity_id = reading.id_column or "id"
    wanted = reading.vector_column or "vector"
    vector = tuple(name for name in names if _is_vector(name, reading) and name not in (entity_id, title))
    for role, option, name in (("id", "--id-column", entity_id), ("title", "--title-column", title)):
        if name is not None and name not in names:
            raise SpaceError(_missing(path, role, option, name, names))
    if not vector:
        raise SpaceError(_missing(path, "vector", "--vector-column", wanted, names))
    if title not in (None, "title") and "title" in names:
        raise SpaceError(f"{path} has a column 'title' beside {title!r}, which would become it; rename one.")
    taken = {entity_id, title, *vector}
    return _Roles(entity_id, vector, wanted.endswith("*"), title, tuple(n for n in names if n not in taken))


def _missing(path: Path, role: str, option: str, name: str, names: list[str]) -> str:
    return f"{path} has no {role} column {name!r}. Choose with {option} one of: {', '.join(names) or 'none at all'}."


def _is_vector(name: str, reading: Reading) -> bool:
    wanted = reading.vector_column or "vector"
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _chunks(path: Path, batches: Iterable[pa.RecordBatch], roles: _Roles) -> Iterator[Chunk]:
    start, dimension = 0, None
    try:
        for batch in batches:
            if not batch.num_rows:
                continue
            if roles.spread:
                vectors = _spread_vectors(path, batch, roles, start=start)
            else:
                vectors = _listed_vectors(path, batch.column(roles.vector[0]), start=start, dimension=dimension)
            dimension = vectors.shape[1]
            ids = as_text(batch.column(roles.id), what=f"{path}: id column {roles.id!r}")
            yield Chunk(ids, vectors, _kept(path, batch, roles))
            start += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise SpaceError(f"{path}, after row {start}: {one_line(error)}") from error


def _kept(path: Path, batch: pa.RecordBatch, roles: _Roles) -> dict[str, pa.Array]:
    columns = {}
    if roles.title is not None:
        columns["title"] = as_text(batch.column(roles.title), what=f"{path}: title column {roles.title!r}")
    for name in roles.further:
        values = batch.column(name)
        columns[name] = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return columns


def _listed_vectors(path: Path, column: pa.Array, *, start: int, dimension: int | None) -> np.ndarray:
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not _is_number(kind.value_type):
        raise SpaceError(
            f"{path}: the vector column holds {kind}, expected lists of numbers; emb_* means many columns."
        )
    if column.null_count:
        raise SpaceError(f"{path}: row {start + _first(column.is_null())} (counted from 0) has no vector.")
    lengths = pc.call_function("list_value_length", [column]).to_numpy(zero_copy_only=False)
    dimension = dimension or int(lengths[0])
    if not dimension:
        raise SpaceError(f"{path}: row {start} (counted from 0) has an empty vector.")
    if (lengths != dimension).any():
        row = int(np.argmax(lengths != dimension))
        raise SpaceError(
            f"{path}: row {start + row} (counted from 0) has {lengths[row]} numbers, the first row has {dimension}."
        )
    flat = column.flatten()
    if flat.null_count:
        row, place = divmod(_first(flat.is_null()), dimension)
        raise SpaceError(f"{path}: row {start + row}, column {place} (counted from 0) has no number.")
    return flat.to_numpy(zero_copy_only=False).reshape(-1, dimension)


def _spread_vectors(path: Path, batch: pa.RecordBatch, roles: _Roles, *, start: int) -> np.ndarray:
    columns = []
    for name in roles.vector:
        values = batch.column(name)
        if not _is_number(values.type):
            raise SpaceError(f"{path}: vector column {name!r} holds {values.type}, expected numbers.")
        if values.null_count:
            row = start + _first(values.is_null())
            raise SpaceError(f"{path}: row {row} (counted from 0), column {name!r} has no number.")
        columns.append(values.to_numpy(zero_copy_only=False))
    return np.stack(columns, axis=1)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _first(mask: pa.Array) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _open_csv(path: Path, types: Mapping[str, pa.DataType]) -> csv.CSVStreamingReader:
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=LONGEST_LINE),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types),
    )


def _parsed_vectors(path: Path, batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        place = batch.schema.names.index(name)
        lists = [_loads(text, path=path, row=start + row) for row, text in enumerate(batch.column(place).to_pylist())]
        yield batch.set_column(place, name, _typed(path, lists, _LIST, start=start))
        start += batch.num_rows


_LIST = pa.list_(pa.float64())


def _typed(path: Path, values: list[Any], kind: pa.DataType, *, start: int) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        for row, value in enumerate(values, start):
            try:
                pa.array([value], kind)
            except (pa.ArrowException, OverflowError) as error:
                raise SpaceError(f"{path}: row {row} (counted from 0): {one_line(error)}; expected {kind}.") from error
        raise


def _loads(text: str, *, path: Path, row: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"{path}: row {row} (counted from 0) is not JSON: {one_line(error)}") from error


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for row, line in enumerate(line for line in read_lines(path) if line.strip()):
        item = _loads(line, path=path, row=row)
        if not isinstance(item, dict):
            raise SpaceError(f"{path}: row {row} (counted from 0) is {type(item).__name__}, expected an object.")
        yield item


def _numbered(objects: Iterable[dict[str, Any]]) -> Iterator[tuple[int, tuple[dict[str, Any], ...]]]:
    return ((ROWS * number, some) for number, some in enumerate(in_chunks(objects)))


def _wider(path: Path, name: str, known: pa.DataType, values: list[Any], reading: Reading) -> pa.DataType:
    """The type that holds what was known of a column and `values`."""
    if _is_vector(name, reading):
        return pa.float64() if (reading.vector_column or "").endswith("*") else _LIST
    if name == (reading.id_column or "id"):
        return pa.string()
    try:
        schemas = [pa.schema([(name, kind)]) for kind in (known, pa.array(values).type)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowException, OverflowError) as error:
        raise SpaceError(f"{path}: column {name!r} holds values of different types: {one_line(error)}") from error


def _batch(
    path: Path, objects: Iterable[dict[str, Any]], types: Mapping[str, pa.DataType], *, start: int
) -> pa.RecordBatch:
    columns = {}
    for name, kind in types.items():
        values = [item.get(name) for item in objects]
        if pa.types.is_string(kind):
            # an id may be written as a number
            values = [str(value) if type(value) is int else value for value in values]
        columns[name] = _typed(path, values, kind, start=start)
    return pa.record_batch(columns)
