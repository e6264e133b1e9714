"""Tasks: named prompts with slots, and where their target text comes from.

A task set is a TOML file of `[[task]]` tables; `films`, `user` and `general` come with the package,
any other file is named by its path.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vecspeak.errors import TaskError

BUNDLED = ("films", "user", "general")

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


class Task(BaseModel):
    """One task. All fields are checked when it is made; `TaskError` says what is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """How the task is called, in lower case."""
    slots: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...], Field(min_length=1)]
    """Names of the places for points, in order; each once."""
    target: str
    """A template over the entity's columns: `"{summary}"`; `"{y.text}"` reads slot y's column; `{{` is a brace."""
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paraphrases; each names every slot once."""
    sentences: Annotated[int, Field(ge=1)] | None = None
    """Keep only the first sentences of the target."""
    teacher: str | None = None
    """What a teacher is asked, to write the target: a template over the entity's columns, as in
    `"Who is this for? {text}"`. The target is then one column, which `vecspeak teach` fills."""

    @model_validator(mode="after")
    def _slots_match(self) -> "Task":
        if len(set(self.slots)) != len(self.slots):
            raise ValueError(f"slots {list(self.slots)} name one twice")
        for prompt in self.prompts:
            named = fields(prompt)
            if sorted(named) != sorted(self.slots):
                raise ValueError(f"prompt {prompt!r} names the slots {named}, the task has {list(self.slots)}")
        named = fields(self.target)
        if not named:
            raise ValueError(f"target {self.target!r} names no column, as in '{{summary}}'")
        for slot, column in map(_slot_and_column, named):
            if not column or (slot is not None and slot not in self.slots):
                raise ValueError(
                    f"target {self.target!r} holds {{{slot}.{column}}}, expected {{column}} or {{slot.column}} "
                    f"with a slot of {list(self.slots)}"
                )
        return self

    @model_validator(mode="after")
    def _teacher_fills_a_column(self) -> "Task":
        if self.teacher is None:
            return self
        if not fields(self.teacher):
            raise ValueError(f"teacher {self.teacher!r} names no column to read, as in 'Who is this for? {{text}}'")
        if len(self.slots) > 1 or self.target != f"{{{self.columns[0]}}}" or "." in self.target:
            raise ValueError(f"a teacher writes the one column of a one-slot task; target is {self.target!r}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns the target reads, without slot prefixes."""
        return tuple(dict.fromkeys(_slot_and_column(name)[1] for name in fields(self.target)))

    def target_text(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        """The target for entities `rows` (slot -> row), or None where a text it needs is missing.

        A plain column is read from the first slot's row; a list becomes a bulleted list.
        """
        filled = ""
        for literal, name, _, _ in Formatter().parse(self.target):
            filled += literal
            if name is not None:
                slot, column = _slot_and_column(name)
                text = as_text(rows[slot or self.slots[0]].get(column))
                if text is None:
                    return None
                filled += text
        if self.sentences is not None:
            filled = " ".join(_SENTENCE_END.split(filled)[: self.sentences])
        return filled


TaskSet = dict[str, Task]
"""Task name -> task, in the order of the file."""


def fields(template: str) -> list[str]:
    """Names in braces, in order; `{{` is a literal brace.

    Raises:
        ValueError: unbalanced braces, or braces that hold more than a name.
    """
    names: list[str] = []
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name.strip() or spec or conversion:
            raise ValueError(f"braces of {template!r} hold {name!r}, expected a plain name, as in '{{film}}'")
        names.append(name)
    return names


def as_text(value: object) -> str | None:
    """A column's value as text: None where it is missing or blank, a bulleted list for a list."""
    if isinstance(value, list | tuple):
        return "\n".join(f"- {text}" for text in map(as_text, value) if text is not None) or None
    return str(value).strip() or None if value is not None else None


def _slot_and_column(name: str) -> tuple[str | None, str]:
    slot, dot, column = name.partition(".")
    return (slot, column) if dot else (None, name)


def load_tasks(name_or_path: str | Path) -> TaskSet:
    """A bundled task set by name, or any task file by path.

    Raises:
        TaskError: no such set or file, TOML that does not parse, or a task that is not valid.
    """
    if name_or_path in BUNDLED:
        text = resources.files("vecspeak").joinpath(f"data/tasks/{name_or_path}.toml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise TaskError(
                f"No task set {str(name_or_path)!r}. Give one of {', '.join(BUNDLED)}, or the path of a task file."
            )
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"Task file {path} cannot be read as UTF-8 text: {error}") from error
    return parse_tasks(text, origin=str(name_or_path))


def parse_tasks(text: str, *, origin: str) -> TaskSet:
    """Task set from TOML text; `origin` is named in errors. Raises TaskError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside TOMLDecodeError: integers too long, tables too deep
        raise TaskError(f"{origin} is not valid TOML: {error}") from error
    entries = table.get("task")
    if not isinstance(entries, list) or not entries or set(table) != {"task"}:
        raise TaskError(f"{origin}: expected [[task]] tables and nothing else, got {sorted(table) or 'nothing'}")
    tasks: TaskSet = {}
    for number, entry in enumerate(entries, 1):
        try:
            task = Task.model_validate(entry)
        except ValidationError as error:
            name = f" {entry['name']!r}" if isinstance(entry, dict) and "name" in entry else ""
            raise TaskError(f"{origin}, task {number}{name}: {_first_fault(error)}") from error
        if task.name in tasks:
            raise TaskError(f"{origin}: two tasks are named {task.name!r}")
        tasks[task.name] = task
    return tasks


def pick_task(tasks: TaskSet, name: str) -> Task:
    """The task of that name. Raises TaskError, listing the known ones."""
    if name not in tasks:
        raise TaskError(f"Unknown task {name!r}. One of: {', '.join(tasks)}.")
    return tasks[name]


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
