"""Human ratings: what people judge, drawn from a report, and the key that says what is hidden about it.

The protocol is the paper's (arXiv 2310.04475, App. C): a ground truth, then one text, judged by three statements
from 1 (disagree) to 5 (agree). Unlike there, the teacher's own texts are judged too, mixed among the answers.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vecspeak.errors import RatingError
from vecspeak.report import Report, Sample
from vecspeak.space import Space
from vecspeak.spacefile import one_line
from vecspeak.tasks import TaskSet

Kind = Literal["generated", "reference"]
"""`reference`: the teacher's own text."""

STATEMENTS = ("consistency", "language", "quality")
"""Columns of the ratings; `statements_of` says what is stated."""

LOWEST, HIGHEST = 1, 5

Texts = Mapping[str, Mapping[str, str]]
"""Id -> task -> the teacher's text."""


# ---- what is stated

_CONSISTENCY = {
    "film": "What the text says is consistent with the plot of the film.",
    "first": "What the text says is consistent with the plots of the two films.",
    "user": "What the text says is consistent with what this viewer likes and dislikes.",
}
"""By the first slot of the prompt."""

_QUALITY = {
    "summary": "The text is a good summary: it tells what matters and leaves the rest out.",
    "description": "The text is a full and vivid description.",
    "positive_review": "The review is positive.",
    "negative_review": "The review is negative.",
    "neutral_review": "The review is neutral: it weighs both sides and takes neither.",
    "five_positive": "The points are good reasons to like the film.",
    "five_negative": "The points are good reasons to dislike the film.",
    "improve": "The changes would make the film better.",
    "criticize": "The criticism names faults that viewers would mind.",
    "pitch": "The pitch would convince a producer.",
    "convince1": "The text is convincing, and it covers all that speaks for the film.",
    "convince2": "The text would convince someone to watch the film.",
    "convince3": "The text is convincing, short and to the point.",
    "dissuade1": "The text puts one off the film, and it covers all that speaks against it.",
    "dissuade2": "The text would keep someone from watching the film.",
    "funnier": "This version is funnier than the original.",
    "sadder": "This version is sadder or more dramatic than the original.",
    "scarier": "This version is scarier than the original.",
    "viewer": "The viewers described would like to watch the film.",
    "interpolation": "The new film combines the plots of both in a sensible way.",
    "similarities": "The likenesses and differences named are major ones.",
    "why_like_nn": "The text is a convincing reason why someone who likes the first film would like the second.",
    "diff_than_nn": "The differences named are major ones.",
    "common_with_nn": "The likenesses named are major ones.",
    "user_profile": "The profile would help to choose a film that this viewer likes.",
}


def statements_of(task: str, prompt: str) -> dict[str, str]:
    """What raters agree or disagree with, by the names of `STATEMENTS` (paper, App. C; our own words).

    A task or slot that is not one of the bundled film and user tasks gets general statements.
    """
    slots = _SLOT.findall(prompt)
    return {
        "consistency": _CONSISTENCY.get(slots[0] if slots else "", "What the text says agrees with the ground truth."),
        "language": "The text is written in coherent language.",
        "quality": _QUALITY.get(task, "The text does well what was asked for."),
    }


_SLOT = re.compile(r"\{(\w+)\}")


# ---- export


@dataclass(frozen=True)
class Item:
    """One text to judge, with all that a rater may know."""

    item: int
    """From 1, in an order that says nothing."""
    task: str
    title: str | None
    prompt: str
    ground_truth: str
    text: str
    statements: dict[str, str]


class KeyItem(BaseModel):
    """What is hidden about an item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    id: str
    title: str | None
    kind: Kind
    ground_truth: str
    """Task whose text by the teacher is shown as the ground truth."""


class Key(BaseModel):
    """key.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    export: str
    """Stands in every form, so that ratings of another export are noticed."""
    space: str
    decoding: str
    seed: int
    items: dict[int, KeyItem]


@dataclass(frozen=True)
class Sheet:
    """All items in the order of their numbers, the key to them, and what was left out."""

    items: tuple[Item, ...]
    key: Key
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Shown:
    """A sample, what raters see beside its texts, and which of them they judge."""

    sample: Sample
    truth_task: str
    truth: str
    kinds: tuple[Kind, ...]


def read_report(path: Path) -> Report:
    """A report saved as JSON. Raises RatingError."""
    try:
        return Report.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RatingError(f"{path} cannot be read: {one_line(error)}") from error
    except ValidationError as error:
        raise RatingError(
            f"{path} is no report. Make one with `vecspeak evaluate ... --report report.json`. {one_line(error)}"
        ) from error


def teacher_texts(report: Report, space: Space, tasks: TaskSet) -> dict[str, dict[str, str]]:
    """The teacher's texts of all one-slot tasks about the entities of a report's samples.

    Raises:
        RatingError: an entity of the report is not in the space.
    """
    texts: dict[str, dict[str, str]] = {}
    for id in dict.fromkeys(sample.id for sample in report.samples):
        if id not in space:
            raise RatingError(f"Entity {id!r} of the report is not in {space.name}. Give the space of the report.")
        row = space.row(id)
        told = {name: task.target_text({task.slots[0]: row}) for name, task in tasks.items() if len(task.slots) == 1}
        texts[id] = {name: text for name, text in told.items() if text is not None}
    return texts


def make_sheet(
    report: Report, *, decoding: str = "own", per_task: int = 40, seed: int = 0, texts: Texts | None = None
) -> Sheet:
    """Items to rate: of each task up to `per_task` samples, drawn at random.

    A sample gives two items, the answer and the teacher's own text, each beside the same ground truth: a text of
    the teacher of another task about the entity, so that the ground truth does not tell which is which. Samples
    without one are left out; where a whole task has none, only its answers are rated, beside the teacher's text of
    the task itself, as in the paper.

    Args:
        decoding: whose answers.
        texts: the teacher's texts to choose the ground truth from, beside those in the report.
        seed: of the draw and of the order of items.

    Raises:
        RatingError: no samples, a decoding that is not among the answers, or samples of a task without scores.
    """
    _check_report(report, decoding)
    rng = np.random.default_rng(seed)
    known = _merged(report, texts or {})
    prompts = {scores.task: scores.prompt for scores in report.tasks}
    pairs, notes = _drawn(report, known, per_task, rng)
    order = [pairs[row] for row in rng.permutation(len(pairs))]
    items = tuple(
        _item(number, shown, kind, prompts[shown.sample.task], decoding)
        for number, (shown, kind) in enumerate(order, 1)
    )
    key = Key(
        export=hashlib.sha256(json.dumps([asdict(item) for item in items]).encode()).hexdigest()[:12],
        space=report.space,
        decoding=decoding,
        seed=seed,
        items={number: _key_item(shown, kind) for number, (shown, kind) in enumerate(order, 1)},
    )
    return Sheet(items, key, tuple(notes))


def _check_report(report: Report, decoding: str) -> None:
    if not report.samples:
        raise RatingError("The report has no samples to rate. Evaluate again, with evaluate(samples=...).")
    known = list(dict.fromkeys(answer.decoding for sample in report.samples for answer in sample.answers))
    for sample in report.samples:
        if decoding not in [answer.decoding for answer in sample.answers]:
            raise RatingError(f"No answer of decoding {decoding!r} to {sample.task!r}. One of: {', '.join(known)}.")
    unscored = {sample.task for sample in report.samples} - {scores.task for scores in report.tasks}
    if unscored:
        raise RatingError(f"The report has samples of task {min(unscored)!r}, but no prompt of it.")


def _merged(report: Report, texts: Texts) -> dict[str, dict[str, str]]:
    known = {id: dict(told) for id, told in texts.items()}
    for sample in report.samples:
        known.setdefault(sample.id, {}).setdefault(sample.task, sample.target)
    return known


def _drawn(
    report: Report, known: Texts, per_task: int, rng: np.random.Generator
) -> tuple[list[tuple[_Shown, Kind]], list[str]]:
    """What is judged, task by task, and notes on what is not."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in report.samples:
        groups[sample.task].append(sample)
    pairs: list[tuple[_Shown, Kind]] = []
    notes: list[str] = []
    fewer: list[str] = []
    for task, samples in groups.items():
        shown = _shown(task, samples, known, notes)
        rows = sorted(rng.permutation(len(shown))[:per_task])
        if len(rows) < per_task:
            fewer.append(f"{task} {len(rows)}")
        pairs += [(shown[row], kind) for row in rows for kind in shown[row].kinds]
    if fewer:
        notes.append(f"fewer than {per_task} samples in the report: {', '.join(fewer)}")
    return pairs, notes


def _shown(task: str, samples: Sequence[Sample], known: Texts, notes: list[str]) -> list[_Shown]:
    """A task's samples with their ground truth; all judged in one way, or the way would tell the kind."""
    truths = [_truth(sample, known[sample.id]) for sample in samples]
    both = [_Shown(s, *t, ("generated", "reference")) for s, t in zip(samples, truths, strict=True) if t is not None]
    if not both:
        notes.append(
            f"{task}: no other text of the teacher about these entities, so only answers are rated, beside the "
            "teacher's text of the task; --space may have other texts"
        )
        return [_Shown(sample, task, sample.target, ("generated",)) for sample in samples]
    if len(both) < len(samples):
        notes.append(f"{task}: {len(samples) - len(both)} samples without another text of the teacher left out")
    return both


def _truth(sample: Sample, told: Mapping[str, str]) -> tuple[str, str] | None:
    """Task and text of what else the teacher wrote about the entity."""
    target = sample.target.strip()
    for task in dict.fromkeys(["summary", "description", *told]):
        text = told.get(task, "").strip()
        # tasks may share a text or a part of it
        if task != sample.task and text and text not in target and target not in text:
            return task, text
    return None


def _item(number: int, shown: _Shown, kind: Kind, prompt: str, decoding: str) -> Item:
    sample = shown.sample
    answers = {answer.decoding: answer.text for answer in sample.answers}
    return Item(
        item=number,
        task=sample.task,
        title=sample.title,
        prompt=_SLOT.sub(lambda slot: f"“{sample.title}”" if sample.title else f"this {slot[1]}", prompt),
        ground_truth=_plain(shown.truth),
        text=_plain(answers[decoding] if kind == "generated" else sample.target),
        statements=statements_of(sample.task, prompt),
    )


def _key_item(shown: _Shown, kind: Kind) -> KeyItem:
    sample = shown.sample
    return KeyItem(task=sample.task, id=sample.id, title=sample.title, kind=kind, ground_truth=shown.truth_task)


def _plain(text: str) -> str:
    """Without what would tell a text's origin or what a spreadsheet takes for a formula: outer blanks, `- ` bullets."""
    return re.sub(r"(?m)^[ \t]*[-*] ", "• ", text.strip()) or "(no text)"
