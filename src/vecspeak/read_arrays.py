"""Readers of files that hold arrays, and of word2vec text."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from vecspeak.errors import SpaceError
from vecspeak.nearest import BLOCK_VALUES
from vecspeak.reading import Incoming, Reading, as_text, in_chunks, read_ids, read_lines
from vecspeak.space import real_matrix
from vecspeak.spacefile import Chunk, one_line

NUMBERED = "The ids are row numbers; give real ones with --ids FILE, one per line."


def read_npy(path: Path, reading: Reading) -> Incoming:
    """One array (rows, dimensions)."""
    rows, dimension = real_matrix(_memory_map(path), what=path.name).shape
    ids = read_ids(reading.ids, rows=rows) if reading.ids else _numbers(rows)

    def chunks() -> Iterator[Chunk]:
        for span in _spans(rows, dimension):
            # mapped anew each time: pages once touched count as resident until their mapping goes
            yield Chunk(ids[span], np.array(_memory_map(path)[span]))

    return Incoming(chunks(), rows, () if reading.ids else (NUMBERED,))


def read_npz(path: Path, reading: Reading) -> Incoming:
    """Named arrays; the archive is read whole."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise SpaceError(f"{path} is no archive of plain arrays: {one_line(error)}") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    return _named(path, reading, shapes=shapes, fetch=lambda name, span: arrays[name][span])


def read_safetensors(path: Path, reading: Reading) -> Incoming:
    """Named tensors, sliced from the file."""
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="np")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError) as error:
        raise SpaceError(f"{path} is no safetensors file: {one_line(error)}") from error

    def fetch(name: str, span: slice) -> np.ndarray:
        try:
            return slices[name][span]
        except (SafetensorError, TypeError, AttributeError) as error:
            kind = slices[name].get_dtype()
            raise SpaceError(f"{path}: {name!r} holds {kind}, which numpy lacks; store float32.") from error

    return _named(path, reading, shapes={name: tuple(part.get_shape()) for name, part in slices.items()}, fetch=fetch)


def read_words(path: Path, reading: Reading) -> Incoming:
    """word2vec text: an optional line "rows dimensions", then a word and its numbers per line."""
    lines = read_lines(path)
    first = next(lines, "").rstrip()
    rows, dimension = _words_header(first)
    if rows is None:
        lines = _and_then(first, lines)
    if dimension < 1:
        raise SpaceError(f"{path} is no word2vec text: expected a word and numbers per line.")
    return Incoming(_word_chunks(path, lines, rows=rows, dimension=dimension), rows)


def _memory_map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise SpaceError(f"{path} is no array of plain numbers: {one_line(error)}") from error


def _numbers(rows: int) -> pa.Array:
    return pa.array(np.arange(rows)).cast(pa.string())


def _spans(rows: int, dimension: int) -> Iterator[slice]:
    step = max(1, BLOCK_VALUES // max(1, dimension))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _named(
    path: Path, reading: Reading, *, shapes: Mapping[str, tuple[int, ...]], fetch: Callable[[str, slice], np.ndarray]
) -> Incoming:
    """Vectors, ids and further columns among named arrays; `fetch` gives some rows of one."""
    vector_name = _vector_name(path, reading.vector_column, shapes)
    rows, dimension = shapes[vector_name]
    real_matrix(fetch(vector_name, slice(0, 1)), what=f"{path}: {vector_name!r}")
    id_name = _id_name(path, reading, shapes)
    if id_name is not None and shapes[id_name] != (rows,):
        raise SpaceError(
            f"{path}: {id_name!r} has shape {shapes[id_name]}, expected one id for each of {rows} vectors."
        )
    whole = slice(0, rows)
    if reading.ids:
        ids = read_ids(reading.ids, rows=rows)
    elif id_name is not None:
        ids = as_text(_column(fetch(id_name, whole), f"{path}: {id_name!r}"), what=f"{path}: {id_name!r}")
    else:
        ids = _numbers(rows)
    others = [name for name in shapes if name not in (vector_name, id_name)]
    columns = {n: _column(fetch(n, whole), f"{path}: {n!r}") for n in others if shapes[n] == (rows,)}
    left_out = [name for name in others if name not in columns]
    notes = [] if reading.ids or id_name is not None else [NUMBERED]
    notes += [f"Left out, not one value per row: {', '.join(left_out)}."] if left_out else []

    def chunks() -> Iterator[Chunk]:
        for span in _spans(rows, dimension):
            yield Chunk(ids[span], fetch(vector_name, span), {name: array[span] for name, array in columns.items()})

    return Incoming(chunks(), rows, tuple(notes))


def _vector_name(path: Path, wanted: str | None, shapes: Mapping[str, tuple[int, ...]]) -> str:
    flat = [name for name, shape in shapes.items() if len(shape) == 2]
    if wanted is None and len(flat) == 1:
        return flat[0]
    if wanted in flat:
        return wanted
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "none at all"
    wish = f"no 2-d array {wanted!r}" if wanted else f"{len(flat)} 2-d arrays, name one with --vector-column"
    raise SpaceError(f"{path} has {wish}. Its arrays: {listed}.")


def _id_name(path: Path, reading: Reading, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if reading.ids and reading.id_column:
        raise SpaceError("Give either a file of ids or an id column, not both.")
    if reading.id_column is not None and reading.id_column not in shapes:
        raise SpaceError(f"{path} has no array {reading.id_column!r} for the ids. Its arrays: {', '.join(shapes)}.")
    return reading.id_column or ("ids" if "ids" in shapes and not reading.ids else None)


def _column(values: np.ndarray, what: str) -> pa.Array:
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise SpaceError(f"{what} holds {values.dtype}, which a space cannot store: {one_line(error)}") from error


def _words_header(line: str) -> tuple[int | None, int]:
    """Rows (None without a header) and dimensions, from the first line."""
    parts = line.split(" ")
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        return int(parts[0]), int(parts[1])
    return None, len(parts) - 1


def _and_then(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _word_chunks(path: Path, lines: Iterable[str], *, rows: int | None, dimension: int) -> Iterator[Chunk]:
    row = 0
    for batch in in_chunks(lines):
        words, vectors = [], np.empty((len(batch), dimension), np.float32)
        for place, line in enumerate(batch):
            # from the right, since a word may hold spaces; the C tool ends its lines with one
            word, *numbers = line.rstrip(" ").rsplit(" ", dimension)
            vectors[place] = _floats(numbers, path=path, row=row + place, dimension=dimension)
            words.append(word)
        row += len(words)
        yield Chunk(pa.array(words, pa.string()), vectors)
    if rows is not None and row != rows:
        raise SpaceError(f"{path} promises {rows} rows in its first line and has {row}.")


def _floats(numbers: list[str], *, path: Path, row: int, dimension: int) -> list[float]:
    if len(numbers) != dimension:
        raise SpaceError(f"{path}: row {row} (counted from 0) has {len(numbers)} numbers, expected {dimension}.")
    try:
        return [float(number) for number in numbers]
    except ValueError as error:
        raise SpaceError(f"{path}: row {row} (counted from 0): {one_line(error)}; expected {dimension}.") from error
