"""`vecspeak narrate`: one question about every entity of a space, into a Parquet file.

vecspeak narrate films films --task summary --out summaries.parquet
vecspeak narrate items-elm items.lance --prompt "Who buys {item}?" --out buyers.parquet --limit 1000
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import ConfigError
from vecspeak.imports import fast_imports

if TYPE_CHECKING:
    from vecspeak.narrate import Engine, Job

ENGINES = ("local", "ray", "vllm")

WORKERS = 2


def narrate(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    space: Annotated[str, typer.Argument(help="Folder of the space, or `films`, the bundled one.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write: id, text, consistency, distance, model.")],
    task: Annotated[str | None, typer.Option(help="Ask the first prompt of this task of the model's.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Ask this; one slot: 'Describe {x}.'")] = None,
    tasks: Annotated[str | None, typer.Option(help="Task set or file of --task (default: the model's).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many entities, from the first on.")] = None,
    batch_size: Annotated[int, typer.Option(help="Answers written at a time.")] = 64,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Keep what is done every so many entities.")] = 1000,
    engine: Annotated[str, typer.Option(help="local, ray or vllm.")] = "local",
    workers: Annotated[
        int | None, typer.Option(help=f"Of engine ray, each with the model (default: {WORKERS}).")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Of engine vllm: the server (.../v1); its key from OPENAI_API_KEY.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds, equal answers.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Push away from what the mean vector says; 0: off.")] = None,
    frequency_penalty: Annotated[float | None, typer.Option(help="Against repeated words; 0: off.")] = None,
    best_of: Annotated[int | None, typer.Option(help="Sample so many, give the best.")] = None,
    chosen_by: Annotated[str | None, typer.Option(help="What is best: consistency or support.")] = None,
) -> None:
    """Ask about every entity of a space. The same command again goes on where one was stopped.

    Options of the answers left out are as the model's elm.json has them.
    """
    _check(out, engine, url, workers)
    with fast_imports():
        from vecspeak.bundled import model_folder, open_space
        from vecspeak.narrate import Job, narrate_to
        from vecspeak.pace import pace_bar
        from vecspeak.store import read_manifest

    opened = open_space(space)
    folder = model_folder(model)
    manifest = read_manifest(folder)
    asked = _question(task, prompt, tasks=tasks or manifest.tasks)
    decoding = manifest.decoding.but(
        max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed, guidance=guidance,
        frequency_penalty=frequency_penalty, best_of=best_of, chosen_by=chosen_by,
    )  # fmt: skip
    rows = len(opened) if limit is None else min(limit, len(opened))
    job = Job(folder.resolve(), opened.path.resolve(), asked, decoding, rows, batch_size)
    with pace_bar(rows) as bar:
        done = narrate_to(
            out,
            job,
            engine=_engine(engine, workers=WORKERS if workers is None else workers, url=url),
            checkpoint_every=checkpoint_every,
            on_start=bar.start,
            on_rows=bar.advance,
        )
    typer.echo(f"{rows:,} rows, {done:,} of them now -> {out}")


def _check(out: Path, engine: str, url: str | None, workers: int | None) -> None:
    """What needs no other module, before any is loaded."""
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine} is unknown. One of: {', '.join(ENGINES)}.")
    if (engine == "vllm") != (url is not None):
        raise ConfigError("Engine vllm and --url go together: --engine vllm --url http://127.0.0.1:8000/v1.")
    if engine != "ray" and workers is not None:
        raise ConfigError(f"--workers is for engine ray, got engine {engine}. Say --engine ray, or leave it out.")
    if out.suffix != ".parquet" or out.is_dir() or not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: expected a file name ending in .parquet, in a folder that exists.")


def _engine(name: str, *, workers: int, url: str | None) -> "Callable[[Job], Engine]":
    if name == "ray":
        from vecspeak.narrate_ray import OnRay

        return partial(OnRay, workers=workers)
    if url is not None:
        from vecspeak.narrate_vllm import OnVllm

        return partial(OnVllm, url=url, key=os.environ.get("OPENAI_API_KEY"))
    from vecspeak.narrate import Local

    return Local


def _question(task: str | None, prompt: str | None, *, tasks: str) -> str:
    """The prompt given, or the first of the task given; with one slot."""
    from vecspeak.prompts import the_slot
    from vecspeak.tasks import load_tasks, pick_task

    if (task is None) == (prompt is None):
        raise ConfigError("Say what to ask: either --task NAME or --prompt 'Describe {x}.'")
    asked = prompt if prompt is not None else pick_task(load_tasks(tasks), task or "").prompts[0]
    the_slot(asked)
    return asked
