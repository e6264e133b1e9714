"""`vecspeak serve`: a model over HTTP, with a page to explore its space.

vecspeak serve films
vecspeak serve run/model --port 8080
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecspeak.errors import ConfigError
from vecspeak.imports import answering_only

if TYPE_CHECKING:
    from vecspeak.serve.served import Served

PORT = 8017


def serve(
    model: Annotated[str, typer.Argument(help="Model folder, or `films`, the bundled one.")],
    space: Annotated[Path | None, typer.Option(help="Folder of the space (default: the model's own).")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine it needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = PORT,
    name: Annotated[str | None, typer.Option(help="What requests call the model (default: its folder's name).")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="VECSPEAK_TOKEN", help="Users send it as a bearer token; better set by the variable."),
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="Origin of another site whose pages may ask; repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Answers decoded together.")] = 32,
    queue: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests that may wait; the next gets status 429.")
    ] = 128,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds from a question to its last word.")] = 120,
) -> None:
    """Serve a model: an OpenAI-compatible API and a page to explore its space."""
    with answering_only():
        try:
            from vecspeak.serve.app import make_app
            from vecspeak.serve.limits import Limits
            from vecspeak.serve.server import access_to, check_origins, listen, open_served, run
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Serving needs {error.name}, which is not installed: pip install 'vecspeak[serve]'."
            ) from error

        limits = Limits(running=batch, waiting=queue, seconds=timeout)
        access = access_to(host, token)
        check_origins(cors or ())
        bound = listen(host, port)
        served = open_served(model, space, name=name, limits=limits)
    app = make_app(served, access=access, origins=cors or ())
    where = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
    run(app, bound, limits=limits, started=lambda: typer.echo(greeting(served, where, token=token is not None)))


def greeting(served: "Served", where: str, *, token: bool) -> str:
    """Where it listens, what it serves, how to ask."""
    space = served.space
    authorization = ' -H "Authorization: Bearer $VECSPEAK_TOKEN"' if token else ""
    words, entity = {"type": "text", "text": "Describe this: "}, {"type": "entity", "entity": space.ids[0]}
    body = {"model": served.name, "messages": [{"role": "user", "content": [words, entity]}]}
    return f"""\
{served.name}: {len(space):,} entities of {space.name}, {space.dimension} dimensions

  explore  {where}
  API      {where}/v1 (OpenAI-compatible), {where}/openapi.json
  ask      curl {where}/v1/chat/completions{authorization} \\
             -H "Content-Type: application/json" -d {shlex.quote(json.dumps(body))}

Ctrl-C finishes what is being answered and stops."""
