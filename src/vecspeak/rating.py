"""Human ratings: blind forms from a report, and scores and agreement from what raters send back.

The protocol is the paper's (arXiv 2310.04475, App. C): a ground truth, then one text, judged by three statements
from 1 (disagree) to 5 (agree). Unlike there, the teacher's own texts are judged too, mixed among the answers.

Letters of shapes: R raters, I items, V values that occur.
"""

import csv
import hashlib
import json
import re
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib import resources
from io import StringIO
from math import isfinite, nan
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vecspeak.errors import VecspeakError
from vecspeak.metrics import Interval, mean_interval
from vecspeak.report import Report, Sample
from vecspeak.space import Space
from vecspeak.spacefile import one_line, put_in_place
from vecspeak.tasks import TaskSet

Kind = Literal["generated", "reference"]
"""`reference`: the teacher's own text."""

STATEMENTS = ("consistency", "language", "quality")
"""Columns of the ratings; `statements_of` says what is stated."""

LOWEST, HIGHEST = 1, 5

Texts = Mapping[str, Mapping[str, str]]
"""Id -> task -> the teacher's text."""


class RatingError(VecspeakError, ValueError):
    """A report that cannot be rated, or ratings that cannot be read."""


# ---- what is stated

_LANGUAGE = "The text is written in coherent language."

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
        "language": _LANGUAGE,
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


def write_sheet(sheet: Sheet, folder: Path, *, raters: int = 3, overwrite: bool = False) -> None:
    """A form for each rater (rater-1.html ...), items.csv and key.json; the folder comes whole or not at all.

    Every rater gets the same items in another order.

    Raises:
        RatingError: a folder that exists (one that holds nothing but an export gives way to `overwrite`), or that
            cannot be written.
        SpaceError: the finished folder cannot be put in place.
    """
    check_folder(folder, overwrite=overwrite)
    files = {
        "key.json": sheet.key.model_dump_json(indent=1) + "\n",
        # the mark at the beginning tells spreadsheet programs that it is UTF-8
        "items.csv": "\ufeff" + _items_csv(sheet),
    }
    for number in range(1, raters + 1):
        order = np.random.default_rng([sheet.key.seed, number]).permutation(len(sheet.items))
        rater = f"rater-{number}"
        files[f"{rater}.html"] = _form(sheet.key.export, rater, [sheet.items[row] for row in order])
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    try:
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8", newline="")
        put_in_place(fresh, folder)
    except OSError as error:
        raise RatingError(f"{folder} cannot be written: {one_line(error)}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raises RatingError unless an export may be written there. Ratings that lie in it are never replaced."""
    if not folder.absolute().parent.is_dir():
        raise RatingError(f"Folder {folder.absolute().parent} does not exist; make it first.")
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise RatingError(f"{folder} exists. Choose another name, or replace it with --overwrite (overwrite=True).")
    if not (folder / "key.json").is_file():
        raise RatingError(f"{folder} exists and is no export of forms to rate, so it is not replaced.")
    others = [path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name)]
    if others:
        raise RatingError(f"{folder} also holds {min(others)}, which would be lost. Move it elsewhere.")


_OURS = re.compile(r"key\.json|items\.csv|rater-\d+\.html")


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


def _items_csv(sheet: Sheet) -> str:
    out = StringIO()
    stated = [f"{name}_statement" for name in STATEMENTS]
    told = ["task", "title", "prompt", "ground_truth", "text"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rater", "item", "export", *STATEMENTS, *told, *stated])
    for item in sheet.items:
        blank = [""] * len(STATEMENTS)
        texts = [item.task, item.title or "", item.prompt, item.ground_truth, item.text, *item.statements.values()]
        # a spreadsheet would run a cell that begins like a formula
        safe = [f"'{text}" if text.startswith(("=", "+", "-", "@")) else text for text in texts]
        writer.writerow(["", item.item, sheet.key.export, *blank, *safe])
    return out.getvalue()


def _form(export: str, rater: str, items: Sequence[Item]) -> str:
    """One HTML file that needs no other and may load none."""
    told = [{name: value for name, value in asdict(item).items() if name != "task"} for item in items]
    data = {"export": export, "rater": rater, "statements": STATEMENTS, "items": told}
    # a text must not be able to end the script that holds it
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    package = resources.files("vecspeak")
    style, script = (package.joinpath(f"rating.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Texts to rate: {escape(rater)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<span id="count" role="status"></span>
<progress id="progress" aria-label="Items rated" value="0"></progress>
<button id="download" type="button">Download</button>
</header>
<details>
<summary>How to rate</summary>
<p>Each page shows what is true of something, what was asked about it, and one text that answers. Take the ground truth
as given, read the text, and say how far you agree with each statement, from 1 (disagree) to 5 (agree). Judge each text
for itself; the same question may come twice, with another text. Leave out what you cannot judge.</p>
<p>Your answers stay in this browser until you download them and send the file back. You can stop and go on later.</p>
</details>
<p id="warning" hidden>This browser keeps nothing for this page: download before you close it.</p>
<noscript><p>This form needs JavaScript. You can rate in items.csv with a spreadsheet program instead.</p></noscript>
<main id="item" tabindex="-1">
<h1 id="title"></h1>
<h2>Ground truth</h2>
<p id="truth" class="text"></p>
<h2>Asked</h2>
<p id="prompt"></p>
<h2>Text to judge</h2>
<p id="judged" class="text"></p>
{"".join(map(_scale, range(len(STATEMENTS))))}
<nav>
<button id="back" type="button">Back</button>
<button id="next" type="button">Next</button>
<button id="open" type="button">Next unrated</button>
</nav>
</main>
<p class="keys">Keys: <kbd>1</kbd> to <kbd>5</kbd> rate, <kbd>0</kbd> clears, <kbd>Enter</kbd> next,
<kbd>Backspace</kbd> back, <kbd>Tab</kbd> to any statement.</p>
<script id="form" type="application/json">{content}</script>
<script>
{script}</script>
</body>
</html>
"""


def _scale(number: int) -> str:
    choices = "".join(
        f'<label><input type="radio" name="statement-{number}" value="{value}">{value}</label>'
        for value in range(LOWEST, HIGHEST + 1)
    )
    return f"""<fieldset tabindex="-1">
<legend id="says-{number}"></legend>
<div class="scale">{choices}</div>
<div class="ends"><span>disagree</span><span>agree</span></div>
</fieldset>
"""


# ---- import


class _Frozen(BaseModel):
    # a figure that could not be measured is NaN, which JSON can only hold as a string
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class TaskRatings(_Frozen):
    """The generated or the reference texts of one task, as people judged them."""

    task: str
    kind: Kind
    rated: int
    """Items with a rating."""
    items: int
    """Items sent out."""
    scores: dict[str, Interval]
    """Statement -> mean over items of the raters' mean of (x - 1) / 4, range 0..1; the interval resamples items."""


class Ratings(_Frozen):
    """What raters said, joined with the key."""

    space: str
    decoding: str
    raters: tuple[str, ...]
    ratings: int
    """Numbers that count, at most raters x items x statements."""
    tasks: tuple[TaskRatings, ...]
    agreement: dict[str, float]
    """Statement -> Krippendorff's alpha over all items, NaN where it is not defined."""
    problems: tuple[str, ...]
    """Everything that was not taken as it stood, one line each."""


@dataclass
class _Read:
    """What the files hold so far."""

    key: Key
    answers: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    """(rater, item) -> statement -> 1..5."""
    problems: list[str] = field(default_factory=list)

    def add(self, where: str, row: Mapping[str, str]) -> None:
        marks = {name: row[name] for name in STATEMENTS if row[name]}
        if not marks:
            return  # a row of the sheet that nobody has filled in
        item, rater = _whole(row["item"]), row["rater"]
        if item not in self.key.items:
            return self._refuse(where, f"no item {row['item']!r}")
        if not rater:
            return self._refuse(where, "no rater")
        if row.get("export", self.key.export) != self.key.export:
            return self._refuse(where, f"of another export, {row['export']!r}")
        taken = {}
        for name, mark in marks.items():
            value = _whole(mark)
            if value is not None and LOWEST <= value <= HIGHEST:
                taken[name] = value
            else:
                self._refuse(where, f"{name} is {mark!r}, expected a whole number from {LOWEST} to {HIGHEST}")
        if taken and (rater, item) in self.answers:
            self.problems.append(f"{where}: {rater!r} rates item {item} again; the later row holds")
        if taken:
            self.answers[rater, item] = taken

    def _refuse(self, where: str, why: str) -> None:
        self.problems.append(f"{where}: {why}; left out")


def import_ratings(folder: Path, files: Sequence[Path]) -> Ratings:
    """Scores and agreement from the CSV files that raters sent back, joined with the key in `folder`.

    A row that cannot be used is left out and named in `problems`; blanks are missing ratings.

    Raises:
        RatingError: no key, a file that is no table with the columns rater, item and `STATEMENTS`, or no rating.
    """
    read = _Read(_read_key(folder))
    for path in files:
        for where, row in _rows(path):
            read.add(where, row)
    if not read.answers:
        first = f" The first problem: {read.problems[0]}." if read.problems else " All rows are blank."
        raise RatingError(f"No rating in {', '.join(map(str, files))}.{first}")
    raters = tuple(dict.fromkeys(rater for rater, _ in read.answers))
    return Ratings(
        space=read.key.space,
        decoding=read.key.decoding,
        raters=raters,
        ratings=sum(map(len, read.answers.values())),
        tasks=tuple(_task_ratings(read)),
        agreement={name: krippendorff_alpha(_matrix(read, raters, name)) for name in STATEMENTS},
        problems=tuple(read.problems),
    )


def krippendorff_alpha(ratings_RI: ArrayLike) -> float:
    """Agreement of raters on an ordinal scale: 1 is perfect, 0 is chance; below 0, they disagree systematically.

        alpha = 1 - (n - 1) sum_ck o_ck d_ck / sum_ck n_c n_k d_ck
        o_ck = sum over items of (ordered pairs of ratings c, k in the item) / (its ratings - 1)
        d_ck = (sum of n_g for g from c to k - (n_c + n_k) / 2)^2

    where n_c is the sum of o_ck over k, and n that of n_c. Source: Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability". Items with fewer than two ratings say nothing about agreement and are not used.

    Args:
        ratings_RI: one row per rater, NaN where one is missing.

    Returns:
        NaN where no item has two ratings, or all ratings of such items are equal.
    """
    ratings_RI = np.asarray(ratings_RI, np.float64)
    values_V = np.unique(ratings_RI[~np.isnan(ratings_RI)])
    counts_VI = (ratings_RI == values_V[:, None, None]).sum(1)
    counts_VI = counts_VI[:, counts_VI.sum(0) >= 2]
    weighted_VI = counts_VI / (counts_VI.sum(0) - 1)
    coincidences_VV = weighted_VI @ counts_VI.T - np.diag(weighted_VI.sum(1))
    totals_V = coincidences_VV.sum(1)
    middles_V = np.cumsum(totals_V) - totals_V / 2
    distances_VV = (middles_V[:, None] - middles_V) ** 2
    expected = totals_V @ distances_VV @ totals_V
    if expected == 0:
        return nan
    return float(1 - (totals_V.sum() - 1) * (coincidences_VV * distances_VV).sum() / expected)


def _read_key(folder: Path) -> Key:
    path = folder / "key.json"
    try:
        return Key.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RatingError(f"{path} cannot be read; expected the folder `vecspeak rate export` wrote.") from error
    except ValidationError as error:
        raise RatingError(f"{path} is no key to ratings: {one_line(error)}. Export again.") from error


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """File and line of each row, and its cells by column. Raises RatingError."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RatingError(f"{path} cannot be read as UTF-8 text: {one_line(error)}. Save it as CSV UTF-8.") from error
    header = text.partition("\n")[0]
    # spreadsheet programs of many countries write semicolons
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(path, columns)
        for cells in reader:
            if len(cells) > len(columns):
                raise RatingError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(columns)} columns; "
                    "quote a cell that holds the separator."
                )
            padded = cells + [""] * (len(columns) - len(cells))
            yield (
                f"{path.name}, line {reader.line_num}",
                {name: cell.strip() for name, cell in zip(columns, padded, strict=True)},
            )
    except csv.Error as error:
        raise RatingError(f"{path}, line {reader.line_num}, is no CSV: {one_line(error)}") from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    needed = ("rater", "item", *STATEMENTS)
    counts = Counter(columns)
    wrong = [name for name in needed if counts[name] != 1]
    if wrong:
        found = ", ".join(columns) or "none"
        raise RatingError(
            f"{path} needs the columns {', '.join(needed)}, each once; look at {wrong[0]!r}. Has: {found}."
        )


def _whole(text: str) -> int | None:
    """A whole number, also as 4.0, which table programs make of columns with blanks."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if isfinite(value) and value.is_integer() else None


def _task_ratings(read: _Read) -> Iterator[TaskRatings]:
    numbers: dict[tuple[str, Kind], list[int]] = defaultdict(list)
    for number, item in read.key.items.items():
        numbers[item.task, item.kind].append(number)
    marks: dict[tuple[int, str], list[int]] = defaultdict(list)
    for (_, number), given in read.answers.items():
        for name, value in given.items():
            marks[number, name].append(value)
    rated = {number for number, _ in marks}
    for task, kind in sorted(numbers):
        scores = {}
        for name in STATEMENTS:
            means_I = [np.mean(marks[number, name]) for number in numbers[task, kind] if (number, name) in marks]
            scaled_I = (np.array(means_I) - LOWEST) / (HIGHEST - LOWEST)
            scores[name] = mean_interval(scaled_I, seed=read.key.seed)
        items = numbers[task, kind]
        yield TaskRatings(task=task, kind=kind, rated=len(rated.intersection(items)), items=len(items), scores=scores)


def _matrix(read: _Read, raters: Sequence[str], name: str) -> NDArray[np.float64]:
    """(R, I) ratings of one statement, NaN where there is none."""
    return np.array(
        [[read.answers.get((rater, item), {}).get(name, nan) for item in read.key.items] for rater in raters]
    )
