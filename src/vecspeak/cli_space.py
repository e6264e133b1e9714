"""`vecspeak space`: import vectors, look at a space, find neighbours.

vecspeak space import films.parquet films.lance --title-column name
vecspeak space info films.lance
vecspeak space neighbours films.lance 296 -k 5
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecspeak.terminal import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from vecspeak.space import Space

space_app = typer.Typer(no_args_is_help=True, help="Import vectors, look at a space, find neighbours.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpacePath = Annotated[Path, typer.Argument(metavar="SPACE", help="Folder of the space.")]


@space_app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help=".npy, .npz, .safetensors, .parquet, .csv, .jsonl, word2vec text, a Lance folder.")
    ],
    target: Annotated[Path, typer.Argument(help="Folder to make, such as films.lance.")],
    ids: Annotated[Path | None, typer.Option(help="Text file with one id per line, for files of arrays.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the ids (default: id).")] = None,
    vector_column: Annotated[
        str | None, typer.Option(help="Column with the vectors; emb_* for one column per dimension (default: vector).")
    ] = None,
    title_column: Annotated[str | None, typer.Option(help="Column to show beside the ids (default: title).")] = None,
    metric: Annotated[str, typer.Option(help="cosine, dot or euclidean.")] = "cosine",
    name: Annotated[str | None, typer.Option(help="Name of the space (default: name of the target).")] = None,
    encoder: Annotated[str | None, typer.Option(help="Text encoder that made the vectors.")] = None,
    licence: Annotated[str | None, typer.Option(help="Terms the vectors may be used under.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a space that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a space of the vectors in a file. Nothing is written unless all of it is sound."""
    import time
    from typing import cast

    from vecspeak.importing import Reading, import_space
    from vecspeak.nearest import Metric
    from vecspeak.spacefile import Header

    header = Header(name or target.stem, cast(Metric, metric), encoder, source.name, licence)
    reading = Reading(ids, id_column, vector_column, title_column)
    began = time.perf_counter()
    with _progress() as progress:
        made = import_space(
            source, target, header=header, reading=reading, overwrite=overwrite, on_rows=_advance(progress)
        )
    seconds = time.perf_counter() - began
    if as_json:
        print_json(_facts(made.space) | {"notes": list(made.notes), "seconds": seconds})
        return
    _print(
        f"{len(made.space):,} entities, {made.space.dimension} dimensions, {made.space.metric} -> {target}"
        f" ({seconds:.1f} s, {len(made.space) / seconds:,.0f} rows/s)"
    )
    for note in made.notes:
        _print(note)


@space_app.command()
def factorise(
    ratings: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines of ratings, such as MovieLens's.")],
    items: Annotated[Path, typer.Argument(help="Folder to make, such as items.lance.")],
    users: Annotated[Path, typer.Argument(help="Folder to make, such as users.lance.")],
    user_column: Annotated[str, typer.Option(help="Column of ratings.")] = "userId",
    item_column: Annotated[str, typer.Option(help="Column of ratings.")] = "movieId",
    rating_column: Annotated[str, typer.Option(help="Column of ratings.")] = "rating",
    entities: Annotated[
        Path | None, typer.Option(help="Table of the items, with titles and texts, joined by --entity-column.")
    ] = None,
    entity_column: Annotated[str | None, typer.Option(help="Its ids (default: the item column's name).")] = None,
    factors: Annotated[int, typer.Option(min=2, max=4096, help="Dimensions of the vectors.")] = 48,
    regularisation: Annotated[float, typer.Option(min=0, help="More of it for noisier ratings.")] = 20.0,
    fewest: Annotated[int, typer.Option(min=1, help="Leave out items with fewer ratings.")] = 5,
    licence: Annotated[str | None, typer.Option(help="Terms the vectors may be used under.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace spaces that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a space of items and one of users from ratings: behavioural vectors."""
    import time

    from vecspeak.factors import check_entities, check_installed, check_targets, read_ratings, write_spaces
    from vecspeak.factors import factorise as factors_of

    check_installed()
    check_targets(items, users, overwrite=overwrite)
    if entities is not None:
        check_entities(entities, entity_column or item_column)
    began = time.perf_counter()
    read = read_ratings(ratings, user=user_column, item=item_column, rating=rating_column, fewest=fewest)
    *made, notes = write_spaces(
        read,
        factors_of(read, factors=factors, regularisation=regularisation),
        items,
        users,
        entities=entities,
        entity_column=entity_column or item_column,
        source=ratings.name,
        licence=licence,
        overwrite=overwrite,
    )
    if as_json:
        print_json({"items": _facts(made[0]), "users": _facts(made[1]), "notes": [*read.notes, *notes]})
        return
    _print(
        f"{len(read.values_R):,} ratings of {len(made[0]):,} items by {len(made[1]):,} users -> {items}, {users}"
        f" ({time.perf_counter() - began:.1f} s)"
    )
    for note in (*read.notes, *notes):
        _print(note)


@space_app.command()
def info(path: SpacePath, as_json: AsJson = False) -> None:
    """Show what a space says about itself."""
    from rich.table import Table

    from vecspeak.space import Space

    facts = _facts(Space.open(path))
    if as_json:
        print_json(facts)
        return
    table = Table("", "", show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/]", _escaped(", ".join(value) if isinstance(value, list) else _shown(value)))
    _print(table)


@space_app.command()
def neighbours(
    path: SpacePath,
    entity_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the entity to start from.")],
    k: Annotated[int, typer.Option("-k", help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List the entities nearest to one, and how far it lies from the data."""
    from dataclasses import asdict

    from rich.table import Table

    from vecspeak.space import Space

    space = Space.open(path)
    point = space[entity_id]
    found = space.neighbours(point, k)
    if as_json:
        near = [asdict(neighbour) for neighbour in found]
        # JSON has no nan: a single entity has no neighbours to be far from
        distance = point.distance if len(space) > 1 else None
        print_json({"id": entity_id, "distance": distance, "neighbours": near})
        return
    table = Table("id", "similarity", "title")
    for neighbour in found:
        table.add_row(_escaped(neighbour.id), f"{neighbour.similarity:.4f}", _escaped(_shown(neighbour.title)))
    _print(table)
    _print(f"distance to the data: {point.distance:.0f} (percentile)")


def _facts(space: "Space") -> dict[str, Any]:
    return {
        "name": space.name,
        "entities": len(space),
        "dimension": space.dimension,
        "metric": space.metric,
        "encoder": space.encoder,
        "source": space.source,
        "licence": space.licence,
        "columns": space.columns,
    }


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RowsPerSecond(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")

    console = Console(stderr=True)
    return Progress(
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        RowsPerSecond(),
        TimeRemainingColumn(),
        console=console,
        # in a log or a pipe it would leave an empty line
        disable=not console.is_terminal,
        # gone at the end, so that an error stands alone on its line
        transient=True,
    )


def _advance(progress: "Progress") -> "Callable[[int, int | None], None]":
    task = progress.add_task("importing", total=None)

    def advance(rows: int, total: int | None) -> None:
        progress.update(task, advance=rows, total=total)

    return advance


def _shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text) or "-"


def _print(what: Any) -> None:
    from rich.console import Console

    Console(soft_wrap=isinstance(what, str), highlight=False, markup=not isinstance(what, str)).print(what)
