"""How far a long piece of work over many rows is, and how fast: a bar, or in a log a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0
"""In a log, where no bar can be drawn."""


class Pace:
    """Made by `pace_bar`; told on standard error."""

    def __init__(self, bar: Bar, rows: int):
        self._bar, self._rows = bar, rows
        self._first = self._done = 0
        self._began = self._told = time.monotonic()

    def start(self, done: int) -> None:
        """Rows that are there already; the clock starts now."""
        self._first = self._done = done
        self._began = self._told = time.monotonic()
        self._task = self._bar.add_task("rows", total=self._rows, completed=done, told="")

    def advance(self, rows: int) -> None:
        """So many rows more are done."""
        self._done += rows
        self._bar.update(self._task, completed=self._done, told=str(self))
        now = time.monotonic()
        if not self._bar.console.is_terminal and now - self._told > SECONDS_BETWEEN_LINES:
            self._told = now
            self._bar.console.print(f"{self._done:,} of {self._rows:,} rows, {self}", highlight=False)

    def __str__(self) -> str:
        rate = (self._done - self._first) / max(time.monotonic() - self._began, 1e-9)
        minutes, seconds = divmod(round((self._rows - self._done) / max(rate, 1e-9)), 60)
        return f"{rate:.1f} rows/s, {minutes}:{seconds:02d} left"


@contextmanager
def pace_bar(rows: int) -> Iterator[Pace]:
    """What it yields is told where the work begins and how it goes on."""
    columns = BarColumn(bar_width=28), MofNCompleteColumn(), TextColumn("[dim]{task.fields[told]}[/]")
    with Bar(*columns, console=Console(stderr=True)) as bar:
        yield Pace(bar, rows)
