"""The live bar of training: stage, steps, loss, throughput, time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from vecspeak.stages import Progress


@contextmanager
def training_bar(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar per stage; what it yields is to be called after every step."""
    columns = (
        TextColumn("  {task.description:<6}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[told]}[/]"),
    )
    with Bar(*columns, console=console) as bar:
        stages: dict[str, TaskID] = {}

        def on_step(progress: Progress) -> None:
            if progress.stage not in stages:
                stages[progress.stage] = bar.add_task(progress.stage, total=progress.steps, told="")
            bar.update(stages[progress.stage], completed=progress.step, told=_told(progress))

        yield on_step


def _told(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"loss {progress.loss:.2f}  {progress.examples_per_second:.1f} examples/s  {minutes}:{seconds:02d} left"
