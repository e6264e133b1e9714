"""What the commands share: lists of ids read, answers told, JSON printed, commands named."""

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vecspeak.errors import ConceptError

if TYPE_CHECKING:
    from vecspeak.answers import Answer
    from vecspeak.elm import Elm
    from vecspeak.tasks import TaskSet


def ask_command(model: Path, tasks: "TaskSet", ids: Sequence[str]) -> str:
    """A line for the shell that asks the first prompt of the tasks about the first entities."""
    from vecspeak.space import name_in_expression

    task = next(iter(tasks.values()))
    words = ["vecspeak", "ask", str(model), task.prompts[0]]
    for slot, id in zip(task.slots, ids, strict=False):
        words += [f"--{slot}", name_in_expression(id)]
    return shlex.join(words)


def read_ids(given: str) -> list[str]:
    """Ids from `1,2,3` or from a file with one a line. Raises ConceptError for a file that cannot be read."""
    path = Path(given)
    if "," not in given and path.suffix and not path.is_file():
        raise ConceptError(f"No file {given}. Give ids with commas between, or a text file with one id a line.")
    try:
        lines = path.read_text("utf-8").splitlines() if path.is_file() else given.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise ConceptError(f"{given} cannot be read as text: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def read_preferences(path: Path) -> list[tuple[str, str]]:
    """(more, less) of each row. Raises ConceptError naming the row that lacks one."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not {"more", "less"} <= set(reader.fieldnames or ()):
                raise ConceptError(
                    f"{path} needs the columns more and less; it has {', '.join(reader.fieldnames or ())}."
                )
            pairs = [(row["more"] or "", row["less"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConceptError(f"{path} cannot be read as CSV: {error}.") from error
    for number, pair in enumerate(pairs, 1):
        if not all(pair):
            raise ConceptError(f"{path}: row {number} lacks an id under more or less.")
    return pairs


def as_dict(answer: "Answer", elm: "Elm") -> dict[str, Any]:
    """An answer as plain JSON values."""
    return {
        "prompt": answer.prompt,
        "text": answer.text,
        "points": {slot: point.label for slot, point in answer.points.items()},
        "words": {slot: elm.words(point, 8) for slot, point in answer.points.items()},
        "tokens": answer.tokens,
        "consistency": answer.consistency,
        "distance": answer.distance,
        "caution": answer.caution,
        "neighbours": [vars(neighbour) for neighbour in answer.neighbours],
        "candidates": [vars(candidate) for candidate in answer.candidates],
    }


def trust_line(answer: "Answer") -> str:
    """Consistency, distance and nearest entities in one line."""
    parts = []
    if answer.consistency is not None:
        parts.append(f"consistency {answer.consistency:.2f}")
    if answer.distance is not None:
        parts.append(f"farther from the data than {answer.distance:.0f} % of it")
    if answer.caution:
        parts.append(answer.caution)
    if answer.neighbours:
        parts.append("nearest: " + ", ".join(near.title or near.id for near in answer.neighbours))
    return " | ".join(parts)


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
