"""The command `vecspeak`: parse, call, print; the one place where errors become messages."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vecspeak.cli_ask import ask
from vecspeak.cli_concept import concept_app
from vecspeak.cli_explore import compare, gaps, label
from vecspeak.cli_export import export_app
from vecspeak.cli_init import init
from vecspeak.cli_movielens import movielens
from vecspeak.cli_narrate import narrate
from vecspeak.cli_rate import rate_app
from vecspeak.cli_reinforce import reinforce
from vecspeak.cli_serve import serve
from vecspeak.cli_space import space_app
from vecspeak.cli_teach import teach
from vecspeak.cli_train import ablate, evaluate, train
from vecspeak.errors import VecspeakError
from vecspeak.imports import fast_imports

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, help="Ask any embedding in plain language.")
app.add_typer(space_app, name="space")
app.add_typer(concept_app, name="concept")
app.add_typer(rate_app, name="rate")
app.add_typer(export_app, name="export")
# every slot of a prompt is an option of its own name
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(ask)
app.command()(narrate)
app.command()(label)
app.command()(compare)
app.command()(gaps)
app.command()(init)
app.command()(teach)
app.command()(train)
app.command()(ablate)
app.command()(evaluate)
app.command()(reinforce)
app.command()(movielens)
app.command()(serve)


@app.command()
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Train for seconds instead of three minutes.")] = False,
    no_train: Annotated[bool, typer.Option("--no-train", help="Leave out the training.")] = False,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("vecspeak-demo.html"),
) -> None:
    """Ask, train, measure and draw, with the bundled films; offline, in about five minutes."""
    with fast_imports():
        from vecspeak.demo import run_demo

    run_demo(out=out, quick=quick, train=not no_train)


@app.callback()
def _root() -> None:
    """Ask any embedding in plain language."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 for an error the user can mend."""
    try:
        app(args=argv)
    except SystemExit as end:
        return int(end.code or 0)
    except VecspeakError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
