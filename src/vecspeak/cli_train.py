"""`vecspeak train` and `vecspeak evaluate`.

vecspeak train films.toml --run runs/films
vecspeak evaluate films --report report.md
"""

from pathlib import Path
from typing import Annotated

import typer

from vecspeak.errors import ConfigError


def train(
    config: Annotated[Path, typer.Argument(help="Config file (TOML).")],
    run: Annotated[Path, typer.Option(help="Run folder: checkpoints, metrics, the model.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """Train a model of a space in stages; it is saved in RUN/model."""
    from rich.console import Console

    from vecspeak.bars import training_bar
    from vecspeak.training import read_config
    from vecspeak.training import train as run_training

    settings = read_config(config)
    with training_bar(Console()) as on_step:
        run_training(settings, run, resume=resume, on_step=on_step, on_event=typer.echo)
    typer.echo(f'saved in {run / "model"}; ask it: vecspeak ask {run / "model"} "Describe {{x}}." --x ID')


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    report: Annotated[Path, typer.Option(help="File to write: .md or .json.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    tasks: Annotated[str, typer.Option(help="Task set or task file.")] = "films",
    side: Annotated[str, typer.Option(help="Which entities: test or validation.")] = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this task; may be given several times.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many entities.")] = None,
    seed: Annotated[int, typer.Option(help="Of intervals and swaps.")] = 0,
) -> None:
    """Measure a model on held-out entities, with controls."""
    from vecspeak.bundled import open_model
    from vecspeak.evaluate import evaluate as measure
    from vecspeak.tasks import load_tasks, pick_task

    if report.suffix not in (".md", ".json"):
        raise ConfigError(f"--report {report}: expected a name ending in .md or .json.")
    known = load_tasks(tasks)
    chosen = {name: pick_task(known, name) for name in only or known}
    elm = open_model(model, space)
    assert elm.space is not None

    def tell(what: str, done: int, total: int) -> None:
        typer.echo(f"[{done + 1}/{total}] {what}", err=True)

    found = measure(elm, elm.space, chosen, side=side, limit=limit, seed=seed, progress=tell)
    report.write_text(found.to_json() if report.suffix == ".json" else found.to_markdown(), encoding="utf-8")
    typer.echo(f"written: {report}")
