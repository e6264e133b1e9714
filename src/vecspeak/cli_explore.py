"""`vecspeak label`, `compare` and `gaps`: what lives in a space's regions, what sets two apart, what is missing.

vecspeak label films --out films-labels.parquet
vecspeak compare films 1,2,3 4,5,6
vecspeak gaps items-elm users.lance
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecspeak.errors import ConfigError
from vecspeak.imports import fast_imports
from vecspeak.terminal import as_dict, print_json, read_ids, trust_line

if TYPE_CHECKING:
    from vecspeak.decoding import Decoding
    from vecspeak.elm import Elm

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, or `films`, the bundled one.")]
SpaceFolder = Annotated[Path | None, typer.Option("--space", help="Folder of the space (default: the model's own).")]
BestOf = Annotated[
    int | None, typer.Option(help="Sample so many answers, give the most consistent (default: 4 with an encoder).")
]
Guidance = Annotated[float | None, typer.Option(help="Push away from what the mean vector says; 0: off.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def label(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Parquet file to write: id, vector, x, y, cluster, label, text, score.")],
    prompt: Annotated[str, typer.Option(help="Asked of every centre; one slot.")] = "Describe {x} in brief.",
    method: Annotated[str, typer.Option(help="kmeans or hdbscan.")] = "kmeans",
    count: Annotated[int | None, typer.Option(help="How many clusters kmeans makes.")] = None,
    column: Annotated[str | None, typer.Option(help="Take this column's values as the clusters.")] = None,
    space: SpaceFolder = None,
    guidance: Guidance = None,
    best_of: BestOf = None,
) -> None:
    """Find the clusters of a space and name each by asking about its centre."""
    from rich.console import Console
    from rich.table import Table

    with fast_imports():
        from vecspeak.bundled import open_model
        from vecspeak.labels import cluster_numbers, column_clusters, label_clusters, write_labels
        from vecspeak.maps import check_map, map_layout
        from vecspeak.prompts import the_slot

    the_slot(prompt)
    if column is not None and (count is not None or method != "kmeans"):
        raise ConfigError("--column gives the clusters: leave out --count and --method, or --column.")
    if method not in ("kmeans", "hdbscan"):
        raise ConfigError(f"--method {method} is unknown. One of: kmeans, hdbscan.")
    if not out.resolve().parent.is_dir() or out.is_dir():
        raise ConfigError(f"--out {out}: expected a file in a folder that exists.")
    check_map()
    elm = open_model(model, space)
    decoding = _decoding(elm, max_tokens=60, guidance=guidance, best_of=best_of)
    opened = elm.space
    assert opened is not None
    console = Console(stderr=True)
    with console.status("Drawing the map"):
        layout_N2 = map_layout(opened.vectors)
    if column is not None:
        names = column_clusters(opened, column)
    else:
        names = cluster_numbers(opened, layout_N2, method=method, count=count)
    with console.status("Asking about the centres"):
        clusters = label_clusters(elm, names, prompt, decoding=decoding, own_names=column is not None)
    write_labels(out, opened, layout_N2, names, clusters)
    table = Table("label", "entities", "score", "text")
    for cluster in clusters:
        score = cluster.answer.consistency
        table.add_row(cluster.label, str(cluster.size), "" if score is None else f"{score:.2f}", cluster.answer.text)
    Console(markup=False, highlight=False).print(table)
    none = sum(name is None for name in names)
    typer.echo(f"{len(clusters)} clusters, {none} of {len(names)} entities in none -> {out}")


def compare(
    model: ModelName,
    first: Annotated[str, typer.Argument(metavar="A", help="Ids with commas between, or a file with one id a line.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    prompt: Annotated[str, typer.Option(help="A question with two slots.")] = "How does {x} differ from {y}?",
    save: Annotated[str | None, typer.Option(help="Keep the direction from B to A as a concept of this name.")] = None,
    space: SpaceFolder = None,
    guidance: Guidance = None,
    best_of: BestOf = None,
    as_json: AsJson = False,
) -> None:
    """Compare two sets of entities: words, a direction with its quality, and an answer about both centres."""
    with fast_imports():
        from vecspeak.bundled import open_model
        from vecspeak.compare import compare as compared
        from vecspeak.concepts import concept_folder, save_concept

    sides = read_ids(first), read_ids(second)
    elm = open_model(model, space)
    decoding = _decoding(elm, max_tokens=100, guidance=guidance, best_of=best_of)
    assert elm.space is not None
    found = compared(elm, *sides, prompt, name=save or "difference", decoding=decoding)
    if save is not None:
        save_concept(found.concept, concept_folder(elm.space))
    quality = found.concept.quality
    if as_json:
        facts: dict[str, Any] = {"words": list(found.words), "quality": quality.model_dump() if quality else None}
        print_json(facts | {"answer": as_dict(found.answer, elm)})
        return
    typer.echo(f"A, more than B: {found.words[0]}")
    typer.echo(f"B, more than A: {found.words[1]}")
    typer.echo(f"told apart: {quality}")
    typer.echo(found.answer.text)
    typer.echo(trust_line(found.answer), err=True)


def gaps(
    model: ModelName,
    users: Annotated[Path, typer.Argument(help="Space of users, from the same factorisation as the model's items.")],
    prompt: Annotated[str, typer.Option(help="Asked of every gap; one slot.")] = "Describe {x}.",
    count: Annotated[int, typer.Option(help="How many gaps.")] = 10,
    emptiness: Annotated[
        float, typer.Option(help="How far from the items, as a percentile of the items' own distances.")
    ] = 50.0,
    space: SpaceFolder = None,
    guidance: Guidance = None,
    best_of: BestOf = None,
    as_json: AsJson = False,
) -> None:
    """Find where many users would have a favourite though no item is there, and ask what it would be."""
    with fast_imports():
        from vecspeak.answers import Question
        from vecspeak.bundled import open_model
        from vecspeak.gaps import find_gaps
        from vecspeak.prompts import the_slot
        from vecspeak.space import Space

    slot, audience = the_slot(prompt), Space.open(users)
    elm = open_model(model, space)
    assert elm.space is not None
    decoding = _decoding(elm, max_tokens=60, guidance=guidance, best_of=best_of)
    found = find_gaps(elm.space, audience, count=count, emptiness=emptiness)
    answers = elm.ask_many([Question(prompt, {slot: gap.point}) for gap in found.found], decoding=decoding)
    if as_json:
        told = [
            {"point": gap.point.label, "audience": gap.audience, "fans": list(gap.fans), **as_dict(answer, elm)}
            for gap, answer in zip(found.found, answers, strict=True)
        ]
        items = {"users": found.users, "median_item": found.median_item, "best_item": found.best_item}
        print_json(items | {"gaps": told})
        return
    typer.echo(
        f"{len(found.found)} gaps. Of an existing item, as well known: a favourite of {found.median_item:.1%} of "
        f"{found.users:,} users (median), {found.best_item:.1%} (best)."
    )
    if len(found.found) < count:
        typer.echo(f"No more than these lie beyond the {emptiness:g}th percentile; lower --emptiness for others.")
    for gap, answer in zip(found.found, answers, strict=True):
        nearest = ", ".join(neighbour.title or neighbour.id for neighbour in gap.neighbours)
        typer.echo(f"\n{gap.point.label}  a favourite of {gap.audience:.1%}, most of users {', '.join(gap.fans)}")
        typer.echo(f"  {answer.text}")
        typer.echo(f"  farther from the items than {answer.distance:.0f} % of them are; nearest: {nearest}")


def _decoding(elm: "Elm", *, max_tokens: int, guidance: float | None, best_of: int | None) -> "Decoding":
    """The model's own, but for what was asked; several samples only where an encoder can choose among them."""
    several = 4 if elm.fingerprint.encoder and elm.decoding.best_of == 1 else None
    return elm.decoding.but(max_tokens=max_tokens, guidance=guidance, best_of=several if best_of is None else best_of)
