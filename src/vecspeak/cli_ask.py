"""`vecspeak ask`: a question about points, answered in words.

vecspeak ask films "Describe {film}." --film 296
vecspeak ask films "How does {x} differ from {y}?" --x 296 --y 296:356@0.5 --json
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vecspeak.errors import PromptError
from vecspeak.imports import answering_only
from vecspeak.terminal import as_dict, print_json, trust_line


def ask(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    prompt: Annotated[str, typer.Argument(help="Any sentence with slots: 'Describe {film}.'")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds, equal answers.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Push away from what the mean vector says; 0: off.")] = None,
    frequency_penalty: Annotated[float | None, typer.Option(help="Against repeated words; 0: off.")] = None,
    best_of: Annotated[int | None, typer.Option(help="Sample so many, give the best.")] = None,
    chosen_by: Annotated[
        str | None, typer.Option(help="What is best: consistency (by the space's encoder) or support (by the model).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask about points of a space.

    Each slot of the prompt is an option: --film 296 for an entity, --film 296:356@0.5 for a point between
    two, --film 'mean(1,2,3)' for a middle, --film 296+funny*1.5 for one pushed along a concept.

    Options left out are as the model's elm.json has them.
    """
    slots = dict(_slot_options(context.args))
    with answering_only():
        from vecspeak.bundled import open_model
        from vecspeak.concepts import load_concepts
        from vecspeak.geometry import parse_point

        elm = open_model(model, space)
        assert elm.space is not None
        concepts = load_concepts(elm.space)
        points: dict[str, Any] = {
            slot: parse_point(elm.space, text, directions=concepts) for slot, text in slots.items()
        }
        chooser: dict[str, Any] = {"best_of": best_of, "chosen_by": chosen_by}
        options: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "guidance": guidance,
            "frequency_penalty": frequency_penalty,
        }
        if elm.decoding.but(best_of=best_of).best_of == 1 and not as_json:
            stream = elm.stream(prompt, **options, **points)
            for piece in stream:
                typer.echo(piece, nl=False)
            typer.echo()
            answer = stream.answer
        else:
            answer = elm.ask(prompt, **chooser, **options, **points)
            if as_json:
                print_json(as_dict(answer, elm))
                return
            typer.echo(answer.text)
        typer.echo(trust_line(answer), err=True)


def _slot_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """("film", "296") from `--film 296` or `--film=296`. Raises PromptError for anything else."""
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, given, value = option.removeprefix("--").partition("=")
        if not option.startswith("--") or not name:
            raise PromptError(f"Expected a slot and its point, as in --film 296; got {option!r}.")
        if not given:
            if not rest:
                raise PromptError(f"--{name} needs a point, as in --{name} 296.")
            value = rest.pop(0)
        yield name.replace("-", "_"), value
