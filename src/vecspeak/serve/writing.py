"""One answer as its tokens come: what may be shown, where a stop string ends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vecspeak.answers import AnswerText
from vecspeak.decoding import Token
from vecspeak.elm import Elm

End = Literal["stop", "length"]


class Writing:
    """The text of one answer. Text that could be the beginning of a stop string is held back until it is none."""

    def __init__(self, elm: Elm, stop: Sequence[str]) -> None:
        self.end: End | None = None
        self._reading = AnswerText(elm.read)
        self._stop = stop
        self._settled = ""
        self._shown = 0

    def add(self, token: Token) -> str:
        """The piece, often empty, that may be shown now; sets `end` where the answer ends."""
        if token.id is not None:
            self._settled += self._reading.add(token.id)
        if token.end is not None:
            self._settled += self._reading.rest()
        found = [at for at in (self._settled.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self._settled, self.end = self._settled[: min(found)].rstrip(), "stop"
        elif token.end is not None:
            self.end = token.end
        upto = len(self._settled) if self.end else len(self._settled) - self._held
        piece = self._settled[self._shown : upto]
        self._shown = max(self._shown, upto)
        return piece

    @property
    def text(self) -> str:
        """What has been written, without the stop string."""
        return self._settled

    @property
    def ids(self) -> list[int]:
        """Tokens generated, those of a stop string among them."""
        return self._reading.ids

    @property
    def _held(self) -> int:
        """Characters at the end that a stop string may begin with."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self._settled)), longest, -1):
                if self._settled.endswith(stop[:length]):
                    longest = length
                    break
        return longest


@dataclass(frozen=True)
class Piece:
    """Words of a choice that may be shown."""

    choice: int
    text: str


@dataclass(frozen=True)
class Ended:
    """All samples of a choice have ended."""

    choice: int


@dataclass(frozen=True)
class Broken:
    """The engine failed; nothing more will come."""


Event = Piece | Ended | Broken
