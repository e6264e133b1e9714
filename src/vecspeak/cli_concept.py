"""`vecspeak concept`: fit named directions of a space, list them, test them.

vecspeak concept fit films funny --column genres=Comedy
vecspeak concept fit films heist --text "a robbery planned by a crew of thieves"
vecspeak concept list films
vecspeak concept test films funny --preferences judged.csv
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecspeak.errors import ConceptError
from vecspeak.terminal import print_json, read_ids, read_preferences

if TYPE_CHECKING:
    from vecspeak.concepts import Concept
    from vecspeak.space import Space

concept_app = typer.Typer(no_args_is_help=True, help="Fit named directions of a space, list them, test them.")

SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="Folder of the space, or `films`, the bundled one.")]
ConceptName = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and underscores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Positive = Annotated[
    str | None, typer.Option(help="Entities that have it: ids with commas between, or a file with one id a line.")
]
Negative = Annotated[str | None, typer.Option(help="Entities that have it not (default: all others).")]
Preferences = Annotated[Path | None, typer.Option(help="CSV with the columns more, less: ids of two entities.")]


@concept_app.command()
def fit(
    space: SpaceName,
    name: ConceptName,
    positive: Positive = None,
    negative: Negative = None,
    column: Annotated[
        str | None, typer.Option(help="COLUMN=VALUE against the rest, or COLUMN of numbers, high against low.")
    ] = None,
    preferences: Preferences = None,
    text: Annotated[str | None, typer.Option(help="A text, read by the space's encoder.")] = None,
    method: Annotated[str, typer.Option(help="mean, logistic (for sets), ranking (for preferences).")] = "mean",
    force: Annotated[bool, typer.Option("--force", help="Keep a concept no better than chance.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a concept, measure it on held-out examples, and keep it beside the space."""
    from vecspeak.bundled import open_space
    from vecspeak.concepts import concept_folder, save_concept

    given = {"--positive": positive, "--column": column, "--preferences": preferences, "--text": text}
    chosen = [option for option, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ConceptError(f"Expected one of {', '.join(given)}; got {' and '.join(chosen) or 'none'}.")
    if negative is not None and positive is None:
        raise ConceptError("--negative goes with --positive.")
    _check_method(method, "ranking" if preferences else "logistic", fixed=text is not None)
    opened = open_space(space)
    fitted = _fitted(opened, name, positive, negative, column, preferences, text, method=method, force=force)
    save_concept(fitted, concept_folder(opened))
    if as_json:
        print_json(_facts(fitted))
        return
    typer.echo(f"{fitted.name}: {fitted.quality or 'quality not measured: a text gives no examples'}")
    typer.echo(f"from {fitted.source}; kept in {concept_folder(opened)}")
    typer.echo("most of it: " + ", ".join(_extremes(opened, fitted, most=True)))
    typer.echo("least: " + ", ".join(_extremes(opened, fitted, most=False)))


@concept_app.command("list")
def list_(space: SpaceName, as_json: AsJson = False) -> None:
    """List a space's concepts with their quality."""
    from rich.console import Console
    from rich.table import Table

    from vecspeak.bundled import open_space
    from vecspeak.concepts import load_concepts

    concepts = load_concepts(open_space(space))
    if as_json:
        print_json([_facts(concept) for concept in concepts.values()])
        return
    table = Table("concept", "quality", "p", "from")
    for concept in concepts.values():
        quality = concept.quality
        told = (
            ("not measured", "") if quality is None else (f"{quality.measure} {quality.value:.2f}", f"{quality.p:.3f}")
        )
        table.add_row(concept.name, *told, concept.source)
    Console(markup=False, highlight=False).print(
        table if concepts else "no concepts yet; `vecspeak concept fit` makes one"
    )


@concept_app.command()
def test(
    space: SpaceName,
    name: ConceptName,
    positive: Positive = None,
    negative: Negative = None,
    preferences: Preferences = None,
    as_json: AsJson = False,
) -> None:
    """Test a concept on other examples: how often it puts the one that has more of it ahead (chance 0.50)."""
    from vecspeak.bundled import open_space
    from vecspeak.concepts import load_concept

    if (preferences is None) == (positive is None or negative is None):
        raise ConceptError("Expected --preferences FILE, or both --positive and --negative.")
    opened = open_space(space)
    concept = load_concept(opened, name)
    if preferences is not None:
        pairs = read_preferences(preferences)
    else:
        pairs = [(more, less) for more in read_ids(positive or "") for less in read_ids(negative or "")]
    agreement = concept.agreement(opened, pairs)
    if as_json:
        print_json({"name": name, "agreement": agreement, "preferences": len(pairs)})
        return
    typer.echo(f"{name}: {agreement:.2f} of {len(pairs)} preferences in the right order (chance 0.50)")


def _fitted(
    space: "Space",
    name: str,
    positive: str | None,
    negative: str | None,
    column: str | None,
    preferences: Path | None,
    text: str | None,
    *,
    method: Any,
    force: bool,
) -> "Concept":
    from vecspeak.concepts import Concept, check_name
    from vecspeak.encode import load_encoder

    if positive is not None:
        others = None if negative is None else read_ids(negative)
        return Concept.fit(space, read_ids(positive), others, name=name, method=method, force=force)
    if column is not None:
        known, _, value = column.partition("=")
        return Concept.fit_column(space, known, value or None, name=name, method=method, force=force)
    if preferences is not None:
        return Concept.fit_preferences(space, read_preferences(preferences), name=name, method=method, force=force)
    check_name(name)
    if space.encoder is None:
        raise ConceptError(f"{space.name} names no text encoder, so no text says where its concepts point.")
    return Concept.fit_text(space, text or "", name=name, encoder=load_encoder(space.encoder))


def _check_method(method: str, other: str, *, fixed: bool) -> None:
    expected = ["mean"] if fixed else ["mean", other]
    if method not in expected:
        raise ConceptError(f"--method {method} does not go with these examples. One of: {', '.join(expected)}.")


def _extremes(space: "Space", concept: "Concept", *, most: bool) -> list[str]:
    """The five entities with most, or least, of a concept."""
    order = concept.strengths(space.vectors).argsort()
    ids = [space.ids[row] for row in (order[::-1] if most else order)[:5]]
    return [str(space.row(id).get("title") or id) for id in ids]


def _facts(concept: "Concept") -> dict[str, Any]:
    return {
        "name": concept.name,
        "method": concept.method,
        "source": concept.source,
        "quality": concept.quality.model_dump() if concept.quality else None,
    }
