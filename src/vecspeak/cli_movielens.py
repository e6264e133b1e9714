"""`vecspeak movielens`: the paper's whole experiment.

vecspeak movielens ml-latest-small --texts plots.csv
vecspeak movielens data --download ml-25m
"""

from pathlib import Path
from typing import Annotated

import typer

from vecspeak.errors import ConfigError


def movielens(
    folder: Annotated[Path, typer.Argument(help="Folder of a MovieLens release, or where --download puts it.")],
    out: Annotated[Path, typer.Option(help="Run folder; run again with it to go on.")] = Path("runs/movielens"),
    download: Annotated[str | None, typer.Option(help="Get this release first: ml-latest-small, ml-25m, ...")] = None,
    texts: Annotated[
        list[Path] | None, typer.Option(help="Table of film texts: movieId or imdbId, and text. May be repeated.")
    ] = None,
    profiles: Annotated[Path | None, typer.Option(help="User profiles (JSON lines).")] = None,
    base: Annotated[str, typer.Option(help="Any Hugging Face causal model, or `pocket`.")] = "pocket",
    encoder: Annotated[str | None, typer.Option(help="Any sentence-transformers model.")] = None,
    tune: Annotated[str, typer.Option(help="What stage two trains: all or lora.")] = "all",
    align_steps: Annotated[int, typer.Option(min=1, help="Steps of stage one.")] = 120,
    tune_steps: Annotated[int, typer.Option(min=1, help="Steps of stage two.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 64,
    factors: Annotated[int, typer.Option(min=1, help="Length of the behavioural vectors.")] = 48,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="Train and measure with so many seeds.")] = 1,
    films_of_behaviour: Annotated[
        bool, typer.Option("--films-of-behaviour", help="Ask about films' behavioural vectors, too.")
    ] = False,
    rival_url: Annotated[
        str | None,
        typer.Option(help="OpenAI-compatible endpoint (.../v1) to compare with; its key from OPENAI_API_KEY."),
    ] = None,
    rival_model: Annotated[str | None, typer.Option(help="Model to ask there, in words alone.")] = None,
) -> None:
    """Run the paper's experiment on a MovieLens release: vectors, models, measures with controls, a report.

    Interrupted, run the same command again: it goes on where it was.
    """
    from rich.console import Console

    from vecspeak.bars import training_bar
    from vecspeak.encode import DEFAULT_ENCODER
    from vecspeak.movielens.download import download as get
    from vecspeak.movielens.experiment import run_experiment
    from vecspeak.movielens.settings import Settings, Told

    if tune not in ("all", "lora"):
        raise ConfigError(f"--tune {tune}: expected all or lora.")
    if (rival_url is None) != (rival_model is None):
        raise ConfigError("--rival-url and --rival-model go together: where to ask, and which model is to answer.")
    release = get(download, folder) if download else folder
    settings = Settings(
        folder=release,
        texts=tuple(texts or ()),
        profiles=profiles,
        base=base,
        encoder=encoder or DEFAULT_ENCODER,
        tune=tune,
        align_steps=align_steps,
        tune_steps=tune_steps,
        batch_size=batch_size,
        factors=factors,
        seeds=seeds,
        films_of_behaviour=films_of_behaviour,
        rival_url=rival_url,
        rival_model=rival_model,
    )
    with training_bar(Console()) as on_step:
        results = run_experiment(settings, out, Told(typer.echo, on_step))
    seconds, peak = sum(step.seconds for step in results.steps), max(step.peak_gib for step in results.steps)
    typer.echo(f"{seconds / 60:.1f} minutes in all, peak memory {peak:.1f} GiB; report: {out / 'report/report.html'}")
