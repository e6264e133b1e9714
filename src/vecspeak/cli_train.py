"""`vecspeak train` and `vecspeak evaluate`.

vecspeak train films.toml --run runs/films
vecspeak evaluate films --report report.md
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vecspeak.stages import Progress


def train(
    config: Annotated[Path, typer.Argument(help="Config file (TOML).")],
    run: Annotated[Path, typer.Option(help="Run folder: checkpoints, metrics, the model.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """Train a model of a space in stages; it is saved in RUN/model."""
    from vecspeak.training import read_config
    from vecspeak.training import train as run_training

    settings = read_config(config)
    with progress_bar() as on_step:
        run_training(settings, run, resume=resume, on_step=on_step, on_event=typer.echo)
    typer.echo(f'saved in {run / "model"}; ask it: vecspeak ask {run / "model"} "Describe {{x}}." --x ID')


@contextmanager
def progress_bar() -> "Iterator[Callable[[Progress], None]]":
    """A live bar of loss, examples/s and time left; what it yields is called after every step."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
    with Bar(*columns) as bar:
        tasks: dict[str, int] = {}

        def on_step(progress: "Progress") -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage, total=progress.steps, told="")
            minutes, seconds = divmod(int(progress.seconds_left), 60)
            told = (
                f"loss {progress.loss:.3f}  {progress.examples_per_second:.1f} examples/s  {minutes}:{seconds:02d} left"
            )
            bar.update(tasks[progress.stage], completed=progress.step, told=told)

        yield on_step


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    report: Annotated[Path, typer.Option(help="File to write: .md or .json.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    tasks: Annotated[str, typer.Option(help="Task set or task file.")] = "films",
    side: Annotated[str, typer.Option(help="Which entities: test or validation.")] = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this task; may be given several times.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many entities.")] = None,
    seed: Annotated[int, typer.Option(help="Of sampling and intervals.")] = 0,
) -> None:
    """Measure a model on held-out entities, with controls."""
    from vecspeak.cli_ask import load_model
    from vecspeak.evaluate import evaluate as measure
    from vecspeak.tasks import load_tasks, pick_task

    if report.suffix not in (".md", ".json"):
        raise ConfigError(f"--report {report}: expected a name ending in .md or .json.")
    known = load_tasks(tasks)
    chosen = {name: pick_task(known, name) for name in only or known}
    elm = load_model(model, space)
    assert elm.space is not None

    def tell(what: str, done: int, total: int) -> None:
        typer.echo(f"[{done + 1}/{total}] {what}", err=True)

    found = measure(elm, elm.space, chosen, side=side, limit=limit, seed=seed, progress=tell)
    report.write_text(found.to_json() if report.suffix == ".json" else found.to_markdown(), encoding="utf-8")
    typer.echo(f"written: {report}")
