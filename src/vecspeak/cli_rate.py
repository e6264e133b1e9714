"""`vecspeak rate`: forms for people to judge answers blindly, and what they say.

vecspeak rate export report.json forms --space films
vecspeak rate import forms ratings-rater-1.csv ratings-rater-2.csv ratings-rater-3.csv
"""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vecspeak.metrics import Interval
    from vecspeak.rating_import import Ratings

rate_app = typer.Typer(no_args_is_help=True, help="Have people judge answers, blindly, and read what they say.")

NAMED_PROBLEMS = 20
"""Problems that are listed; all are counted."""


@rate_app.command()
def export(
    report: Annotated[Path, typer.Argument(help="A report in JSON, of `vecspeak evaluate`.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    decoding: Annotated[str, typer.Option(help="Whose answers: the name of a decoding in the report.")] = "own",
    per_task: Annotated[int, typer.Option(min=1, help="At most so many samples of each task.")] = 40,
    raters: Annotated[int, typer.Option(min=1, help="How many forms.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and of the orders.")] = 0,
    space: Annotated[
        str | None, typer.Option(help="Space of the report, or `films`: its texts serve as ground truth.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Task set or task file that names its texts.")] = "films",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """Write a form for each rater, a table of the items, and the key that tells generated from reference texts."""
    from vecspeak.rating import make_sheet, read_report, teacher_texts
    from vecspeak.rating_forms import check_folder, write_sheet
    from vecspeak.tasks import load_tasks

    check_folder(folder, overwrite=overwrite)
    read = read_report(report)
    texts = None
    if space is not None:
        from vecspeak.bundled import open_space

        texts = teacher_texts(read, open_space(space), load_tasks(tasks))
    sheet = make_sheet(read, decoding=decoding, per_task=per_task, seed=seed, texts=texts)
    write_sheet(sheet, folder, raters=raters, overwrite=overwrite)
    forms = "1 form" if raters == 1 else f"{raters} forms"
    typer.echo(f"{len(sheet.items)} items, {forms} -> {folder}; keep {folder / 'key.json'} from the raters")
    for note in sheet.notes:
        typer.echo(note)


@rate_app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="What `rate export` wrote.")],
    ratings: Annotated[list[Path], typer.Argument(help="CSV files the raters sent back.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Join ratings with the key: scores of generated and reference texts, and how far raters agree."""
    from vecspeak.rating_import import import_ratings

    found = import_ratings(folder, ratings)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    _print_table(found)
    typer.echo(f"{found.ratings} ratings by {len(found.raters)} raters of {found.space}, decoding {found.decoding!r}.")
    alphas = ", ".join(f"{name} {_figure(alpha)}" for name, alpha in found.agreement.items())
    typer.echo(f"Krippendorff's alpha (ordinal): {alphas}")
    if found.problems:
        typer.echo(f"problems: {len(found.problems)}")
        for problem in found.problems[:NAMED_PROBLEMS]:
            typer.echo(f"  {problem}")
    if len(found.problems) > NAMED_PROBLEMS:
        typer.echo(f"  and {len(found.problems) - NAMED_PROBLEMS} more; --json lists all")


def _print_table(found: "Ratings") -> None:
    from rich.console import Console
    from rich.table import Table

    from vecspeak.rating import STATEMENTS

    table = Table("task", "text", "rated", *STATEMENTS)
    for row in found.tasks:
        cells = [_cell(row.scores[name]) for name in STATEMENTS]
        table.add_row(row.task, row.kind, f"{row.rated}/{row.items}", *cells)
    # in brackets stand intervals, not markup
    Console(highlight=False, markup=False).print(table)


def _cell(interval: "Interval") -> str:
    if isnan(interval.value):
        return "n/a"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _figure(value: float) -> str:
    return "n/a" if isnan(value) else f"{value:.3f}"
