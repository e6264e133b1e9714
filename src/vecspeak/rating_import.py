"""What raters sent back: scores of generated and reference texts, and how far raters agree.

Letters of shapes: R raters, I items, V values that occur.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from math import isfinite, nan
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vecspeak.errors import RatingError
from vecspeak.metrics import Interval, mean_interval
from vecspeak.rating import HIGHEST, LOWEST, STATEMENTS, Key, Kind
from vecspeak.spacefile import one_line


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
