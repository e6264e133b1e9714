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
    """Wanted and not asked yet; targets of earlier runs among them."""
    columns: dict[str, dict[str, str | None]]
    """Column -> id -> target; None for a text that a gate refused."""


def write_targets(
    path: Path,
    wants: Iterable[Want],
    answers: Answers,
    *,
    model: str,
    unanswered: Mapping[str, str],
    unnamed: bool,
) -> Written:
    """Write the table of targets, whole or not at all: one row for each want that was asked, and the old ones.

    Only an answer takes the place of an old text: where there is none, the text stays.

    Args:
        unanswered: key -> why there is no answer.
        unnamed: whether a text that holds the entity's title is refused.

    Raises:
        TeacherError: the file cannot be written.
    """
    rejected: Counter[str] = Counter()
    columns: dict[str, dict[str, str | None]] = {}
    left = 0
    old = {(row["id"], row["column"]): row for row in _rows(path)}

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal left
        for want in wants:
            columns.setdefault(want.column, {})
            before = old.pop((want.id, want.column), None)
            row = _row(want, answers, model=model, unanswered=unanswered, unnamed=unnamed)
            left += row is None
            if (row is None or row["text"] is None) and before is not None and before["text"] is not None:
                row = before
            if row is None:
                continue
            if row["text"] is not None:
                columns[want.column][want.id] = row["text"] if row["rejected"] is None else None
            if row["rejected"] is not None:
                rejected[row["rejected"].partition(":")[0]] += 1
            yield row
        yield from old.values()

    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with parquet.ParquetWriter(fresh, SCHEMA) as file:
            for some in in_chunks(rows()):
                file.write_table(pa.Table.from_pylist(list(some), SCHEMA))
        fresh.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise TeacherError(f"{path} cannot be written: {one_line(error)}") from error
    finally:
        fresh.unlink(missing_ok=True)
    targets = sum(text is not None for texts in columns.values() for text in texts.values())
    return Written(targets, rejected, left, columns)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Of the table of earlier runs, where there is one."""
    for batch in parquet.ParquetFile(path).iter_batches() if path.exists() else ():
        yield from batch.to_pylist()


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


def join(space: Space, columns: Mapping[str, Mapping[str, str | None]]) -> None:
    """Put targets into their columns of the space, and take away what a gate refused; other texts stay.

    The space is written anew beside the old one and takes its place at the end.

    Args:
        columns: column -> id -> target or None; a column that is there holds texts (`Wants.check`).

    Raises:
        SpaceError: the disk refuses.
    """
    dataset, header = open_space(space.path)
    columns = {name: texts for name, texts in columns.items() if name in space.columns or any(texts.values())}
    if columns:
        write_space(space.path, header, _chunks(dataset, columns), overwrite=True)


def _chunks(dataset: Any, columns: Mapping[str, Mapping[str, str | None]]) -> Iterator[Chunk]:
    for batch in dataset.to_batches():
        ids = batch.column("id")
        vectors = batch.column("vector").flatten().to_numpy().reshape(len(batch), -1)
        kept = {name: batch.column(name) for name in batch.schema.names if name not in ("id", "vector")}
        for name, new in columns.items():
            old = kept[name].to_pylist() if name in kept else [None] * len(batch)
            texts = [new.get(id, text) for id, text in zip(ids.to_pylist(), old, strict=True)]
            kept[name] = pa.array(texts, pa.string())
        yield Chunk(ids, vectors, kept)
