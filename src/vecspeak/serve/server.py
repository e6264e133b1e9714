"""`vecspeak serve`: a port taken before any slow work, a model opened, a server run until it is stopped."""

import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from vecspeak.bundled import FILMS, model_folder, open_model
from vecspeak.errors import ConfigError, TaskError
from vecspeak.serve.guard import Access
from vecspeak.serve.layouts import Layouts, layout_folder
from vecspeak.serve.limits import Limits
from vecspeak.serve.served import Served
from vecspeak.store import read_manifest
from vecspeak.tasks import Task, load_tasks

logger = logging.getLogger("vecspeak.serve")

SHORTEST_TOKEN = 16

OTHER_CONNECTIONS = 1000
"""Beside those of the questions that run or wait: of the page, of who is refused, and idle ones."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigError where the port is taken or the host is none of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigError(f"--host {host} is no address: {error.strerror}. Try 127.0.0.1.") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"Port {port} of {host} cannot be had ({error.strerror}). Stop what listens there, or name another: --port."
        ) from error
    return bound


def access_to(host: str, token: str | None) -> Access:
    """Who may ask on that host. Raises ConfigError beyond loopback without a token, or with one that can be guessed."""
    if token is not None:
        if not re.fullmatch(rf"[!-~]{{{SHORTEST_TOKEN},}}", token):
            raise ConfigError(
                f"The token needs at least {SHORTEST_TOKEN} characters, letters, digits or signs, no blanks."
            )
        return Access(token)
    if not is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached from other machines, so it needs a token that its users send: "
            "set VECSPEAK_TOKEN, for example to the output of `openssl rand -hex 16`."
        )
    return Access(hosts={*LOCAL_NAMES, host})


def check_origins(origins: Sequence[str]) -> None:
    """Raises ConfigError for an origin that no browser would send."""
    for origin in origins:
        if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s]+", origin):
            raise ConfigError(
                f"--cors {origin} is no origin: expected scheme and host without a path, as in https://their.site"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_served(model: str, space: Path | None, *, name: str | None, limits: Limits) -> Served:
    """A model ready to be served.

    Args:
        model: its folder, or `films`.
        space: its space, by default the one it was trained on.
        name: what requests call it, by default the folder's name.

    Raises: as `open_model`; ConceptError for damaged concepts; EncoderError for an encoder that does not load.
    """
    elm = open_model(model, space)
    assert elm.space is not None
    _ = elm.encoder  # an encoder that is missing is said now, not with the first answer
    folder = model_folder(model)
    return Served(
        name=name or (model if model == FILMS else folder.resolve().name),
        elm=elm,
        space=elm.space,
        tasks=tasks_of(folder),
        limits=limits,
        layouts=Layouts(elm.space, layout_folder(elm.space)),
    )


def tasks_of(folder: Path) -> Sequence[Task]:
    """The tasks a model was trained on; the general ones where their file is no longer there."""
    try:
        return list(load_tasks(read_manifest(folder).tasks).values())
    except TaskError as error:
        logger.warning("The page shows general questions: %s", error)
        return list(load_tasks("general").values())


def run(app: FastAPI, bound: socket.socket, *, limits: Limits, started: Callable[[], None]) -> None:
    """Serve until told to stop; what runs then is finished, for at most `limits.seconds`."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.waiting + limits.running + OTHER_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(limits.seconds),
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once all is finished
        _Server(config, started).run([bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()
