"""Targets: every wanted text with where it comes from, those that a gate refused among them; joined to the space."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from vecspeak.errors import TeacherError
from vecspeak.reading import in_chunks
from vecspeak.space import Space
from vecspeak.spacefile import Chunk, one_line, open_space, write_space
from vecspeak.teacher.answers import Answers
from vecspeak.teacher.gates import reason
from vecspeak.teacher.wants import Want

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("column", pa.string(), nullable=False),
        ("text", pa.string()),
        # null for a target; else why it is none
        ("rejected", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_sha256", pa.string(), nullable=False),
        ("time", pa.timestamp("ms", tz="UTC")),
    ]
)

UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Written:
    """What was written."""

    targets: int
    rejected: Counter[str]
    """Reason -> texts."""
    left: int
    """Wanted, and neither: not asked yet."""
    columns: dict[str, dict[str, str]]
    """Column -> id -> target."""


def write_targets(
    path: Path,
    wants: Iterable[Want],
    answers: Answers,
    *,
    model: str,
    unanswered: Mapping[str, str],
    unnamed: bool,
) -> Written:
    """Write the table of targets, whole or not at all: one row for each want that was asked, and old ones of no want.

    Args:
        unanswered: key -> why there is no answer.
        unnamed: whether a text that holds the entity's title is refused.

    Raises:
        TeacherError: the file cannot be written.
    """
    rejected: Counter[str] = Counter()
    columns: dict[str, dict[str, str]] = {}
    left = 0
    wanted: set[tuple[str, str]] = set()

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal left
        for want in wants:
            wanted.add((want.id, want.column))
            columns.setdefault(want.column, {})
            row = _row(want, answers, model=model, unanswered=unanswered, unnamed=unnamed)
            if row is None:
                left += 1
                continue
            if row["rejected"] is None:
                columns[want.column][want.id] = row["text"]
            else:
                rejected[row["rejected"].partition(":")[0]] += 1
            yield row

    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with parquet.ParquetWriter(fresh, SCHEMA) as file:
            for some in in_chunks(rows()):
                file.write_table(pa.Table.from_pylist(list(some), SCHEMA))
            for batch in _batches(path):
                others = [row for row in batch.to_pylist() if (row["id"], row["column"]) not in wanted]
                file.write_table(pa.Table.from_pylist(others, SCHEMA))
        fresh.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise TeacherError(f"{path} cannot be written: {one_line(error)}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return Written(sum(map(len, columns.values())), rejected, left, columns)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Of the table of earlier runs, where there is one."""
    return parquet.ParquetFile(path).iter_batches() if path.exists() else iter(())


def _row(
    want: Want, answers: Answers, *, model: str, unanswered: Mapping[str, str], unnamed: bool
) -> dict[str, Any] | None:
    hashed = hashlib.sha256(want.prompt.encode()).hexdigest()
    row: dict[str, Any] = {"id": want.id, "task": want.task, "column": want.column, "model": model}
    row |= {"prompt_sha256": hashed, "text": None, "rejected": None, "time": None}
    answer = answers.get(want.key)
    if answer is None:
        why = unanswered.get(want.key)
        return None if why is None else row | {"rejected": f"{UNANSWERED}: {why}"}
    why = reason(answer.text, prompt=want.prompt, cut=answer.cut, unnamed=want.title if unnamed else None)
    return row | {"text": answer.text, "rejected": why, "time": datetime.fromtimestamp(answer.time, UTC)}


def join(space: Space, columns: Mapping[str, Mapping[str, str]], taught: Iterable[tuple[str, str]]) -> None:
    """Put targets into their columns of the space; other texts stay, but those of `taught` without a target go.

    The space is written anew beside the old one and takes its place at the end: a kill leaves the one or the other.

    Args:
        columns: column -> id -> target.
        taught: (id, column) of what a teacher wrote before.

    Raises:
        SpaceError: the disk refuses.
        TeacherError: a column that is there and does not hold texts.
    """
    dataset, header = open_space(space.path)
    columns = {name: targets for name, targets in columns.items() if targets or name in space.columns}
    if not columns:
        return
    for name in columns:
        if name in space.columns and not pa.types.is_string(dataset.schema.field(name).type):
            raise TeacherError(f"Column {name!r} holds {dataset.schema.field(name).type}, no texts; rename the target.")
    write_space(space.path, header, _chunks(dataset, columns, set(taught)), overwrite=True)


def _chunks(dataset: Any, columns: Mapping[str, Mapping[str, str]], taught: set[tuple[str, str]]) -> Iterator[Chunk]:
    for batch in dataset.to_batches():
        ids = batch.column("id")
        vectors = batch.column("vector").flatten().to_numpy().reshape(len(batch), -1)
        kept = {name: batch.column(name) for name in batch.schema.names if name not in ("id", "vector")}
        for name, targets in columns.items():
            old = kept[name].to_pylist() if name in kept else [None] * len(batch)
            texts = [
                targets.get(id, None if (id, name) in taught else text)
                for id, text in zip(ids.to_pylist(), old, strict=True)
            ]
            kept[name] = pa.array(texts, pa.string())
        yield Chunk(ids, vectors, kept)
