"""`vecspeak train`, `vecspeak ablate` and `vecspeak evaluate`.

vecspeak train films.toml --run runs/films
vecspeak ablate films.toml --run runs/films-ablations
vecspeak evaluate films --report report.md
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import ConfigError

if TYPE_CHECKING:
    from vecspeak.stages import Progress


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


def ablate(
    config: Annotated[Path, typer.Argument(help="Config file (TOML) of `vecspeak train`.")],
    run: Annotated[Path, typer.Option(help="Folder: the tables, and a run folder for each arm.")],
    only: Annotated[list[str] | None, typer.Option(help="Only this variant; may be given several times.")] = None,
    seeds: Annotated[int, typer.Option(help="Train each arm with so many seeds.")] = 1,
) -> None:
    """Train a config and one variant of it at a time; tables in RUN/ablations.md. Goes on where it was stopped."""
    from rich.console import Console

    from vecspeak.ablation import MARKDOWN
    from vecspeak.ablation import ablate as compare
    from vecspeak.training import read_config

    settings = read_config(config)
    with Console().status("") as status:

        def tell(progress: "Progress") -> None:
            left = f"{progress.seconds_left / 60:.1f} min left"
            status.update(f"{progress.stage}: {progress.step}/{progress.steps}, loss {progress.loss:.2f}, {left}")

        compare(settings, run, only=only or (), seeds=seeds, on_step=tell, on_event=typer.echo)
    typer.echo(f"written: {run / MARKDOWN}")


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    report: Annotated[Path, typer.Option(help="File to write: .md or .json.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    tasks: Annotated[str, typer.Option(help="Task set or task file.")] = "films",
    side: Annotated[str, typer.Option(help="Which entities: test or validation.")] = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this task; may be given several times.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many entities.")] = None,
    seed: Annotated[int, typer.Option(help="Of intervals and swaps.")] = 0,
    samples: Annotated[int, typer.Option(min=0, help="Unpicked answers to show.")] = 20,
    answers: Annotated[Path | None, typer.Option(help="Folder that keeps answers, to go on after a stop.")] = None,
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

    found = measure(
        elm, elm.space, chosen, answers=answers, side=side, limit=limit, seed=seed, samples=samples, progress=tell
    )
    report.write_text(found.to_json() if report.suffix == ".json" else found.to_markdown(), encoding="utf-8")
    typer.echo(f"written: {report}")
