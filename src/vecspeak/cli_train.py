"""`vecspeak train`, `vecspeak ablate` and `vecspeak evaluate`.

vecspeak train films.toml --run runs/films
vecspeak ablate films.toml --run runs/films-ablations
vecspeak evaluate films --report report.md
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import ConfigError
from vecspeak.terminal import ask_command

if TYPE_CHECKING:
    from vecspeak.estimates import Estimate
    from vecspeak.stages import Progress


def train(
    config: Annotated[Path, typer.Argument(help="Config file (TOML).")],
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder: checkpoints, metrics, the model (default: `run` beside the config)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check config and data, and say what training would take.")
    ] = False,
) -> None:
    """Train a model of a space in stages; it is saved in RUN/model."""
    from rich.console import Console

    from vecspeak.imports import fast_imports

    with fast_imports():
        from vecspeak.bars import training_bar
        from vecspeak.stages import processes
        from vecspeak.tasks import load_tasks
        from vecspeak.training import check_run, read_config
        from vecspeak.training import train as run_training

    settings = read_config(config)
    run = run or config.parent / "run"
    if check:
        from vecspeak.estimates import estimate

        check_run(run, settings, resume=resume)
        for line in told(estimate(settings)):
            typer.echo(line)
        return
    tells = processes().is_main_process  # of those that train together, one
    with training_bar(Console(quiet=not tells)) as on_step:
        elm = run_training(settings, run, resume=resume, on_step=on_step, on_event=typer.echo)
    if tells:
        assert elm.space is not None
        command = ask_command(run / "model", load_tasks(settings.tasks), elm.space.ids)
        typer.echo(f"saved in {run / 'model'}; ask it: {command}")


def told(found: "Estimate") -> list[str]:
    """An estimate in lines."""
    lines = [f"{found.examples:,} training examples, {found.held_out:,} held out for the gate"]
    if found.cut:
        lines.append(f"{found.cut:,} targets are longer than the {found.longest} tokens that are learnt; they are cut")
    for pace in found.paces:
        stage = pace.stage
        lines.append(f"{stage.name}: {stage.steps:,} steps of {pace.seconds_per_step:.2f} s, {_duration(pace.seconds)}")
    memory = "not told by this system" if found.memory is None else f"{found.memory / 2**30:.1f} GiB"
    lines.append(f"in all {_duration(found.seconds)} on {found.device}, from {found.timed} real steps of each stage")
    lines.append(f"memory at most {memory} in a step of the longest texts; disk {found.disk / 2**30:.2f} GiB")
    return lines


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


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
    tasks: Annotated[str | None, typer.Option(help="Task set or task file (default: the model's own).")] = None,
    side: Annotated[str, typer.Option(help="Which entities: test or validation.")] = "test",
    only: Annotated[list[str] | None, typer.Option(help="Only this task; may be given several times.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many entities.")] = None,
    seed: Annotated[int, typer.Option(help="Of intervals and swaps.")] = 0,
    samples: Annotated[int, typer.Option(min=0, help="Unpicked answers to show.")] = 20,
    answers: Annotated[Path | None, typer.Option(help="Folder that keeps answers, to go on after a stop.")] = None,
) -> None:
    """Measure a model on held-out entities, with controls."""
    from vecspeak.bundled import model_folder, open_model
    from vecspeak.evaluate import evaluate as measure
    from vecspeak.store import read_manifest
    from vecspeak.tasks import load_tasks, pick_task

    if report.suffix not in (".md", ".json"):
        raise ConfigError(f"--report {report}: expected a name ending in .md or .json.")
    known = load_tasks(tasks or read_manifest(model_folder(model)).tasks)
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
