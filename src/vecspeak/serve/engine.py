"""The one thread that decodes: requests that are there together share every forward, newcomers join the running ones.

The event loop talks to it through `submit` and `cancel`, and hears of it through each ticket's `deliver`.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from vecspeak.answers import Asked
from vecspeak.decoding import Decoding, Row, Token
from vecspeak.elm import Elm
from vecspeak.serve.failures import Failure
from vecspeak.serve.limits import Limits
from vecspeak.serve.metrics import Metrics
from vecspeak.serve.writing import Broken, Ended, Event, Piece, Writing

logger = logging.getLogger("vecspeak.serve")

Key = tuple["Ticket", int, int]
"""Whose row it is: of which request, which choice, which sample of best-of."""


@dataclass(eq=False)
class Ticket:
    """A request on its way through the engine."""

    asked: Asked
    decoding: Decoding
    rows: list[list[Row]]
    """Of each choice, its samples."""
    stop: Sequence[str]
    deliver: Callable[[Event], None]
    """Called on the engine's thread; must not block."""
    cancelled: bool = False
    written: list[list[Writing]] = field(default_factory=list)
    started: float = 0.0
    open: int = 0
    """Rows that have not ended."""

    @property
    def keyed(self) -> Mapping[Hashable, Row]:
        return {(self, c, s): row for c, samples in enumerate(self.rows) for s, row in enumerate(samples)}

    @property
    def size(self) -> int:
        return sum(map(len, self.rows))


class Engine:
    """Owns the Decoder. A bounded queue stands before it."""

    def __init__(self, elm: Elm, *, limits: Limits, metrics: Metrics) -> None:
        self._elm, self._limits, self._metrics = elm, limits, metrics
        self._decoder = elm.decoder()
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: list[Ticket] = []
        self._closing = False
        self._seconds = 1.0
        """How long an answer takes, a moving average."""
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        metrics.gauges(queue=lambda: self.waiting, running=lambda: sum(t.open for t in self._running))
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def check_room(self) -> None:
        """Raises Failure: 429 where the queue is full, 503 where the server is going down."""
        if self._closing:
            raise Failure(503, "The server is shutting down.", kind="server_error", code="shutting_down")
        if len(self._waiting) >= self._limits.waiting:
            self._metrics.refused.inc()
            raise self._full()

    def submit(self, ticket: Ticket) -> None:
        """Queue a request. Raises as `check_room`."""
        with self._changed:
            self.check_room()
            self._waiting.append(ticket)
            self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for it any more: it leaves the queue at once, the running batch with the next step."""
        with self._changed:
            ticket.cancelled = True
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def close(self, *, seconds: float) -> None:
        """Take no more, finish what is there."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _full(self) -> Failure:
        turns = (len(self._waiting) + 1) / self._limits.running
        wait = str(max(1, math.ceil(self._seconds * turns)))
        message = f"{self._limits.waiting} requests are waiting already. Come again in {wait} s."
        return Failure(429, message, kind="rate_limit_error", code="queue_full", headers={"retry-after": wait})

    # ---- on the engine's thread

    def _run(self) -> None:
        while self._admit():
            try:
                self._step()
            except Exception:
                logger.exception("Decoding failed; the requests that were running are told so")
                for ticket in self._running:
                    ticket.deliver(Broken())
                self._running, self._decoder = [], self._elm.decoder()

    def _admit(self) -> bool:
        """Wait for work and let in what fits; False once there is none and there will be none."""
        with self._changed:
            while not self._waiting and not self._running:
                if self._closing:
                    return False
                self._changed.wait()
            self._leave([ticket for ticket in self._running if ticket.cancelled])
            free = self._limits.running - len(self._decoder)
            newcomers: list[Ticket] = []
            while self._waiting and self._waiting[0].size <= free:
                newcomers.append(self._waiting.popleft())
                free -= newcomers[-1].size
        for ticket in newcomers:
            ticket.started, ticket.open = time.monotonic(), ticket.size
            ticket.written = [[Writing(self._elm, ticket.stop) for _ in samples] for samples in ticket.rows]
            self._decoder.add(ticket.keyed)
            ticket.rows = []  # the decoder has them; prompts of finished rows are freed there
            self._running.append(ticket)
        return True

    def _leave(self, gone: list[Ticket]) -> None:
        for ticket in gone:
            self._running.remove(ticket)
            self._decoder.drop(
                [(ticket, c, s) for c, samples in enumerate(ticket.written) for s in range(len(samples))]
            )

    def _step(self) -> None:
        if not self._running:
            return
        told = self._decoder.step()
        self._metrics.steps.inc()
        self._metrics.tokens.inc(sum(token.id is not None for token in told.values()))
        for key, token in told.items():
            self._tell(cast(Key, key), token)
        for ticket in [ticket for ticket in self._running if not ticket.open]:
            self._running.remove(ticket)
            self._seconds += 0.1 * (time.monotonic() - ticket.started - self._seconds)

    def _tell(self, key: Key, token: Token) -> None:
        ticket, choice, sample = key
        samples = ticket.written[choice]
        writing = samples[sample]
        piece = writing.add(token)
        if piece and len(samples) == 1:  # of several nobody knows yet which one will be the answer
            ticket.deliver(Piece(choice, piece))
        if writing.end is None:
            return
        if token.end is None:  # a stop string
            self._decoder.drop([key])
        ticket.open -= 1
        if all(other.end for other in samples):
            ticket.deliver(Ended(choice))
