"""Space x Task x texts -> Example: what training and evaluation run on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vecspeak.errors import TaskError
from vecspeak.space import Space
from vecspeak.tasks import TaskSet


@dataclass(frozen=True, eq=False)
class Example:
    """One training pair: a prompt with a point in each slot, and the text to answer."""

    task: str
    prompt: str
    points: Mapping[str, np.ndarray]
    """Slot name -> vector (E,) float32."""
    target: str
    ids: tuple[str, ...]
    """Entity ids in the order of the task's slots."""


def make_examples(
    space: Space, tasks: TaskSet, *, ids: Sequence[str], pairs: Iterable[tuple[str, str]] = ()
) -> list[Example]:
    """Every task for every entity of `ids`, every paraphrase in turn; two-slot tasks for `pairs`.

    A task whose text an entity lacks gives no example for it; callers compare the count. A pair is
    taken when both its entities are among `ids`, so that it never crosses a split.

    Raises:
        TaskError: a task of three or more slots.
    """
    rows = dict(zip(ids, space.rows(ids), strict=True))
    vectors = {id: space[id].vector for id in ids}
    kept = [pair for pair in pairs if pair[0] in rows and pair[1] in rows]
    examples: list[Example] = []
    for task in tasks.values():
        if len(task.slots) > 2:
            raise TaskError(f"Task {task.name!r} has {len(task.slots)} slots; training takes tasks of one or two.")
        tuples = [(id,) for id in ids] if len(task.slots) == 1 else kept
        for number, entities in enumerate(tuples):
            target = task.target_text({slot: rows[id] for slot, id in zip(task.slots, entities, strict=True)})
            if target is not None:
                points = {slot: vectors[id] for slot, id in zip(task.slots, entities, strict=True)}
                prompt = task.prompts[number % len(task.prompts)]
                examples.append(Example(task.name, prompt, points, target, entities))
    return examples


def partner_pairs(space: Space, column: str = "partner") -> list[tuple[str, str]]:
    """(id, partner id) for every entity whose `column` names another; none where the column is missing."""
    if column not in space.columns:
        return []
    return [(id, partner) for id, partner in zip(space.ids, space.column(column), strict=True) if partner is not None]
