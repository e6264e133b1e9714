"""What is wanted of a teacher: for each task and entity without a text, the prompt to ask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from vecspeak.errors import TeacherError
from vecspeak.space import Space
from vecspeak.spacefile import RESERVED, one_line, open_space
from vecspeak.tasks import Task, TaskSet, as_text, fields
from vecspeak.teacher.answers import key_of

READ_THIS = "Read this text about the {slot}:\n\n{source}\n\n{question}\nAnswer from the text, in plain sentences."
"""For a task that does not say what to ask: its own question about a text. The base that will be trained on the answers
may be asked itself; it then learns to say of a vector what it says of the text (self-distillation, as xRAG trains)."""

UNNAMED = " Do not say its name."


@dataclass(frozen=True)
class Want:
    """One target to be written."""

    id: str
    task: str
    column: str
    prompt: str
    key: str
    """Of the answer."""
    title: str | None


@dataclass(frozen=True)
class Count:
    """Of one task's entities."""

    task: str
    column: str
    there: int
    """Have a text already, which stays as it is."""
    wanted: int
    sourceless: int
    """Have neither a text nor what the teacher would read."""


@dataclass(frozen=True, eq=False)
class Wants:
    """All that is wanted of a teacher for a space.

    Args:
        out: targets of earlier runs; what they list is the teacher's and is asked, or found, again.
        source: column to read for tasks without `teacher`; None leaves those tasks alone.
        unnamed: whether to tell the teacher not to name the entity.
    """

    space: Space
    tasks: TaskSet
    out: Path
    model: str
    max_tokens: int
    source: str | None = None
    unnamed: bool = False

    def __iter__(self) -> Iterator[Want]:
        for task in self._asked:
            for row in self._rows:
                if self._there(task, row):
                    continue
                prompt = self._prompt(task, row)
                if prompt is not None:
                    key = key_of(prompt, model=self.model, max_tokens=self.max_tokens)
                    yield Want(row["id"], task.name, task.columns[0], prompt, key, as_text(row.get("title")))

    @cached_property
    def counts(self) -> list[Count]:
        """Of each task of one slot and column, in the order of the file."""
        counts = []
        for task in self.tasks.values():
            there = sum(self._there(task, row) for row in self._rows)
            missing = [row for row in self._rows if not self._there(task, row)]
            wanted = sum(self._prompt(task, row) is not None for row in missing) if task in self._asked else 0
            counts.append(Count(task.name, ", ".join(task.columns), there, wanted, len(missing) - wanted))
        return counts

    def check(self) -> None:
        """Raises TeacherError where nothing is wanted, or a column to write holds no texts."""
        columns = [count.column for count in self.counts if count.wanted]
        if not columns:
            raise TeacherError("Nothing is wanted: give a task of the file `teacher = ...`, or name --source COLUMN.")
        schema = open_space(self.space.path)[0].schema
        for name in columns:
            kind = schema.field(name).type if name in schema.names else pa.null()
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
                raise TeacherError(f"Column {name!r} holds {kind}, no texts; rename the target.")

    @cached_property
    def _asked(self) -> list[Task]:
        """The tasks that a teacher writes for. Raises TeacherError for two of one column, or an unknown source."""
        found: dict[str, Task] = {}
        for task in self.tasks.values():
            plain = len(task.slots) == 1 and task.target == f"{{{task.columns[0]}}}"
            if task.teacher is None and (self.source is None or not plain or task.columns[0] == self.source):
                continue
            column = task.columns[0]
            if column in RESERVED:
                raise TeacherError(
                    f"Task {task.name!r} would write the column {column!r}, which the space itself uses."
                )
            if task.teacher is not None and column in found and found[column].teacher is not None:
                raise TeacherError(f"Tasks {found[column].name!r} and {task.name!r} both write the column {column!r}.")
            if column not in found or task.teacher is not None:
                found[column] = task
        self._check_sources(found.values())
        return list(found.values())

    def _check_sources(self, tasks: Any) -> None:
        read = {name: task.name for task in tasks for name in _columns_of(task, self.source)}
        for name, task in read.items():
            if name not in self.space.columns:
                raise TeacherError(
                    f"The teacher of task {task!r} reads the column {name!r}; the space has "
                    f"{', '.join(self.space.columns) or 'none'}."
                )

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return self.space.rows(self.space.ids)

    @cached_property
    def _taught(self) -> set[tuple[str, str]]:
        """(id, column) of the texts in the space that a teacher wrote."""
        if not self.out.exists():
            return set()
        try:
            table = parquet.read_table(self.out, columns=["id", "column"], filters=pc.field("rejected").is_null())
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise TeacherError(f"{self.out} holds no targets ({one_line(error)}). Name another --out.") from error
        return set(zip(table.column("id").to_pylist(), table.column("column").to_pylist(), strict=True))

    def _there(self, task: Task, row: Mapping[str, Any]) -> bool:
        column = task.columns[0]
        if any(as_text(row.get(name)) is None for name in task.columns):
            return False
        return not (task in self._asked and (row["id"], column) in self._taught)

    def _prompt(self, task: Task, row: Mapping[str, Any]) -> str | None:
        columns = _columns_of(task, self.source)
        texts = {name: as_text(row.get(name)) for name in columns}
        if any(text is None for text in texts.values()):
            return None
        if task.teacher is not None:
            return _filled(task.teacher, texts)
        slot = task.slots[0]
        question = _filled(task.prompts[0], {slot: f"the {slot.replace('_', ' ')}"})
        question += UNNAMED if self.unnamed else ""
        assert self.source is not None
        return _filled(READ_THIS, {"slot": slot, "source": texts[self.source], "question": question})


def _columns_of(task: Task, source: str | None) -> Sequence[str]:
    return list(dict.fromkeys(fields(task.teacher))) if task.teacher is not None else [source] if source else []


def _filled(template: str, values: Mapping[str, str | None]) -> str:
    parts = []
    for literal, name, _, _ in Formatter().parse(template):
        parts += [literal, values[name] or ""] if name is not None else [literal]
    return "".join(parts)
