"""`vecspeak init`: from vectors and texts to a config that trains.

vecspeak init items --vectors items.npy --ids ids.txt --texts items.csv
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.terminal import ask_command, print_json

if TYPE_CHECKING:
    from vecspeak.survey import Survey

NO_ENCODER = "none named: answers will have no consistency; if a text encoder made the vectors, say --encoder NAME"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make: space, task file and config.")],
    vectors: Annotated[Path, typer.Option(help="Any file that `vecspeak space import` reads.")],
    ids: Annotated[Path | None, typer.Option(help="Ids of the vectors, one per line, for files of arrays.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help=".parquet, .csv or .jsonl with ids and texts (default: the table of vectors).")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ids (default: found by itself).")] = None,
    vector_column: Annotated[str | None, typer.Option(help="Column with the vectors, as in `space import`.")] = None,
    title_column: Annotated[str | None, typer.Option(help="Column to show beside the ids.")] = None,
    text_column: Annotated[
        list[str] | None, typer.Option(help="Column to learn from; may be given several times (default: all texts).")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="cosine, dot or euclidean (default: seen from the vectors).")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Text encoder that made the vectors, to measure the consistency of answers.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="Language model: a name of the Hugging Face hub, a folder, or pocket.")
    ] = "pocket",
    minutes: Annotated[float, typer.Option(min=0.1, help="Of training to aim at, on this machine.")] = 10.0,
    licence: Annotated[str | None, typer.Option(help="Terms the vectors may be used under.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is in vectors and texts, and write a space, tasks and a config that `train` runs as it is."""
    from typing import cast

    from vecspeak.imports import fast_imports
    from vecspeak.nearest import Metric
    from vecspeak.spacefile import Header

    with fast_imports():
        from vecspeak.importing import Reading
        from vecspeak.starting import CONFIG, check_encoder, check_folder, start
        from vecspeak.survey import survey

    check_folder(folder)
    Header(folder.name, cast(Metric, metric or "cosine"))  # a wrong metric is told before the data are read
    reading = Reading(ids, id_column if texts is None else None, vector_column, title_column)
    found = survey(
        vectors, texts, reading=reading, id_column=id_column, text_columns=text_column or (),
        metric=cast("Metric | None", metric),
    )  # fmt: skip
    judged = check_encoder(found, encoder) if encoder else NO_ENCODER
    if not as_json:
        _tell(found, judged)
    header = Header(folder.name, found.metric, encoder, vectors.name, licence)
    made = start(folder, found, header=header, base=base, minutes=minutes)
    if as_json:
        print_json(
            _facts(found) | {"encoder": judged, "steps": made.steps, "minutes": made.minutes, "tasks": [*made.tasks]}
        )
        return
    config = folder / CONFIG
    typer.echo(
        f"\nwritten: {folder}; tasks {', '.join(made.tasks)}; {made.steps:,} steps, about {made.minutes:.0f} min here"
    )
    typer.echo(f"train it: {shlex.join(['vecspeak', 'train', str(config)])}")
    typer.echo(f"then ask: {ask_command(folder / 'run' / 'model', made.tasks, found.ids)}")


def _tell(found: "Survey", judged: str) -> None:
    typer.echo(f"{len(found.ids):,} vectors of {found.dimension} dimensions")
    typer.echo(f"metric    {found.metric}: {found.reason}")
    typer.echo(f"encoder   {judged}")
    for column in found.columns:
        typer.echo(_line(column.kind, column.name, column.filled, column.words, column.example))
    if found.without_text:
        typer.echo(f"{found.without_text:,} entities have no text: they can be asked about, but teach nothing")
    for note in found.notes:
        typer.echo(note)


def _line(kind: str, name: str, filled: int, words: float, example: str) -> str:
    length = f", {words:.0f} words" if words >= 2 else ""
    shown = " ".join(example.split())
    shown = shown if len(shown) <= 50 else shown[:49] + "…"
    return f"{kind:<9} {name}: {filled:,} filled{length}, such as {shown!r}"


def _facts(found: "Survey") -> dict[str, object]:
    return {
        "entities": len(found.ids),
        "dimension": found.dimension,
        "metric": found.metric,
        "reason": found.reason,
        "columns": {column.name: {"kind": column.kind, "filled": column.filled} for column in found.columns},
        "title": found.title,
        "without_text": found.without_text,
        "notes": list(found.notes),
    }
