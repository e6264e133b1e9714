"""`vecspeak export`: a model in the form that another server takes.

vecspeak export vllm run/model films-vllm
"""

from pathlib import Path
from typing import Annotated

import typer

from vecspeak.imports import fast_imports

export_app = typer.Typer(no_args_is_help=True, help="Write a model in the form that another server takes.")


@export_app.callback()
def _root() -> None:
    """Write a model in the form that another server takes."""


@export_app.command()
def vllm(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
) -> None:
    """Merged Hugging Face weights, the adapter, and a client that asks a vLLM server about points."""
    with fast_imports():
        from vecspeak.bundled import open_model
        from vecspeak.export import export_vllm

    elm = open_model(model, space)
    architecture = type(elm.base).__name__
    export_vllm(elm, out, name=out.name, prompt="Describe {x}.", slot="x")
    typer.echo(f"{architecture} with its adapter -> {out}; start it as {out / 'README.md'} says")
    if elm.base.config.model_type == "bert":
        typer.echo("note: vLLM serves no BERT that generates; the pocket base is for vecspeak serve only", err=True)
