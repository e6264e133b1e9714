"""A real server around a tiny model: 40 toys in a space of six dimensions, uvicorn on a free port."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tiny
import uvicorn

from vecspeak.decoding import Decoder
from vecspeak.elm import Elm
from vecspeak.maps import pca_layout
from vecspeak.serve.app import make_app
from vecspeak.serve.guard import Access
from vecspeak.serve.layouts import Layouts, digest_of
from vecspeak.serve.limits import Limits
from vecspeak.serve.mapping import write_layout
from vecspeak.serve.served import Served
from vecspeak.space import Space
from vecspeak.tasks import load_tasks

TOYS = 40


def toy_space(folder: Path) -> Space:
    """Toys whose first dimension says their kind: the concept `soft` can be learnt."""
    vectors = tiny.vectors(TOYS)
    vectors[: TOYS // 2, 0] += 2
    return Space.create(
        folder / "toys.lance",
        ids=[str(number) for number in range(TOYS)],
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        columns={
            "title": [f"{'Bear' if n < TOYS // 2 else 'Café robot'} {n}" for n in range(TOYS)],
            "price": [float("nan") if n == 3 else n / 2 for n in range(TOYS)],
            "tags": [["soft", "new"] if n < TOYS // 2 else [] for n in range(TOYS)],
            "note": [f"note {n}" for n in range(TOYS)],
        },
        name="toys",
        encoder="letters",
    )


def toy_elm(space: Space) -> Elm:
    elm = tiny.elm(space=space)
    elm.__dict__["encoder"] = tiny.LetterEncoder()
    return elm


def toy_served(folder: Path, *, limits: Limits | None = None, space: Space | None = None) -> Served:
    """A toy model with the files of its maps made beforehand: UMAP would compile for many seconds."""
    space = space or toy_space(folder)
    for layout in ("umap", "tsne"):
        write_layout(folder / "layouts" / f"{layout}-{digest_of(space)}.npy", pca_layout(space.vectors))
    return Served(
        name="toys",
        elm=toy_elm(space),
        space=space,
        tasks=list(load_tasks("general").values()),
        limits=limits or Limits(),
        layouts=Layouts(space, folder / "layouts"),
    )


@contextmanager
def serving(served: Served, *, access: Access | None = None, origins: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of a running server."""
    app = make_app(served, access=access or Access(), origins=origins)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def until(holds, *, seconds: float = 20) -> None:
    """Wait for something another thread does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.005)


class GatedDecoder(Decoder):
    """A decoder that takes a step only when it is told to, or freely once it is `open`."""

    def __init__(self, base, *, end_token):
        super().__init__(base, end_token=end_token)
        self._steps = threading.Semaphore(0)
        self.batches: list[int] = []
        """Rows of each step."""
        self.open = False

    def let(self, steps: int) -> None:
        for _ in range(steps):
            self._steps.release()

    def step(self):
        while not self.open and not self._steps.acquire(timeout=0.01):
            pass
        self.batches.append(len(self))
        return super().step()


def gate(served_elm: Elm) -> list[GatedDecoder]:
    """Make the model's next decoders gated ones; they appear in the list."""
    made: list[GatedDecoder] = []

    def decoder() -> GatedDecoder:
        made.append(GatedDecoder(served_elm.base, end_token=1))
        return made[-1]

    served_elm.__dict__["decoder"] = decoder
    return made
