"""Figures of one model trained with one or several seeds, and how they stand in a table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from statistics import fmean, stdev

from vecspeak.metrics import Interval
from vecspeak.movielens.document import Cell, number
from vecspeak.report import Report, TextScores

Measure = Callable[[TextScores], Interval]

UNKNOWN = Interval(nan, nan, nan)
"""Of what was not measured."""


class Runs:
    """The reports of one model trained with several seeds, looked up by task and source of the texts."""

    def __init__(self, reports: Sequence[Report]):
        self.reports = reports
        self._texts = [{(t.task, s.name): s for t in report.tasks for s in t.texts} for report in reports]
        self._losses = [{loss.task: loss for loss in report.losses} for report in reports]

    @property
    def tasks(self) -> list[str]:
        """Those about one entity, whose texts were judged."""
        return list(dict.fromkeys(task.task for report in self.reports for task in report.tasks))

    @property
    def all_tasks(self) -> list[str]:
        """Those of which texts or losses were measured."""
        return list(dict.fromkeys([*self.tasks, *(task for losses in self._losses for task in losses)]))

    def sources(self, *kinds: str) -> list[str]:
        """Names of the decodings, of the selected answers or of the controls."""
        return list(dict.fromkeys(s.name for texts in self._texts for s in texts.values() if s.kind in kinds))

    @property
    def own(self) -> str:
        """The decoding the model answers with by itself."""
        return next((name for name in self.sources("decoding") if name != "greedy"), "greedy")

    def values(self, task: str, source: str, measure: Measure) -> list[Interval]:
        """One per seed, NaN where a seed's report does not have it."""
        found = [texts.get((task, source)) for texts in self._texts]
        return [measure(scores) if scores else UNKNOWN for scores in found]

    def gaps(self, task: str) -> list[Interval]:
        """Vector use, one per seed: nats per token that another entity's vector costs more."""
        return [losses[task].gap_shuffled if task in losses else UNKNOWN for losses in self._losses]

    @property
    def using(self) -> int:
        """Tasks in which vectors are used: the gap's interval is above zero in every seed."""
        return sum(above_zero(self.gaps(task)) for task in self.all_tasks)

    def beats(self, task: str, source: str, other: str, measure: Measure) -> bool:
        """Whether the source's interval lies above the other's in every seed."""
        return all(mine.low > its.high for mine, its in self._pairs(task, source, other, measure))

    def lead(self, task: str, source: str, other: str, measure: Measure) -> float:
        """How far the source's value is above the other's, mean over the seeds that have both; else NaN."""
        leads = [mine.value - its.value for mine, its in self._pairs(task, source, other, measure)]
        leads = [lead for lead in leads if not isnan(lead)]
        return fmean(leads) if leads else nan

    def _pairs(self, task: str, source: str, other: str, measure: Measure) -> Iterator[tuple[Interval, Interval]]:
        return zip(self.values(task, source, measure), self.values(task, other, measure), strict=True)


def above_zero(values: Sequence[Interval]) -> bool:
    """Whether every interval is."""
    return all(x.low > 0 for x in values)


def over_seeds(values: Sequence[Interval], *, digits: int = 3) -> Cell:
    """One seed: the value and its interval. Several: mean and standard deviation of the values that are not NaN."""
    measured = [x.value for x in values if not isnan(x.value)]
    if not measured:
        return Cell("n/a")
    if len(values) == 1:
        low, high = (number(end, digits=digits) for end in (values[0].low, values[0].high))
        return Cell(number(measured[0], digits=digits), f"[{low}, {high}]")
    spread = f"± {stdev(measured):.{digits}f}" if len(measured) > 1 else ""
    missing = f"{len(measured)} of {len(values)} seeds" if len(measured) < len(values) else ""
    return Cell(f"{fmean(measured):.{digits}f}", ", ".join(filter(None, (spread, missing))))


@dataclass(frozen=True)
class Column:
    """A measure as a column of a table."""

    name: str
    measure: Measure
    digits: int = 3
    spread: bool = True
    """Whether intervals are shown."""

    def cell(self, runs: Runs, task: str, source: str) -> Cell:
        """Of the texts of one source."""
        shown = over_seeds(runs.values(task, source, self.measure), digits=self.digits)
        return shown if self.spread else replace(shown, spread="")
