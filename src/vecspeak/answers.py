"""A question, and the answer to it: text with how far to trust it, whole or piece by piece."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vecspeak.encode import Encoder
from vecspeak.prompts import Conversation, Prompt
from vecspeak.space import Neighbour, Point

BEYOND = 99.0
"""Percentile of the distance to the data above which an answer says that its point lies beyond it."""

_UNSETTLED = re.compile(r"\W+$")
"""The end of a text that the next token may still change: blanks that are stripped if nothing follows,
punctuation that a decoder joins to its neighbours, U+FFFD for half a character."""


@dataclass(frozen=True)
class Question:
    """A prompt with slots and a point for each."""

    prompt: Conversation
    points: Mapping[str, Point | np.ndarray]


@dataclass(frozen=True, eq=False)
class Asked:
    """A question that has been checked: the prompt as token ids, and a Point for every slot."""

    text: Conversation
    """The prompt as it was asked."""
    prompt: Prompt
    points: dict[str, Point]


@dataclass(frozen=True)
class Candidate:
    """One sampled answer of best-of."""

    text: str
    consistency: float | None
    """As of an answer."""
    support: float
    """Nats by which the point makes the text likelier than the mean vector does; 0 for what fits any entity."""


@dataclass(frozen=True)
class Answer:
    """What the model said about the points, and how far to trust it."""

    prompt: Conversation
    text: str
    points: Mapping[str, Point]
    tokens: int
    """Tokens generated, the end token not counted."""
    consistency: float | None
    """Semantic consistency, -1..1: mean cosine of the re-encoded text with the points (paper 3.2).
    None when the space's encoder is unknown."""
    distance: float | None
    """Percentile 0..100 of the farthest point's distance to the data; None without a space."""
    neighbours: tuple[Neighbour, ...]
    """Nearest entities of the (first) point; empty without a space."""
    candidates: tuple[Candidate, ...] = field(default=())
    """All samples of best-of, best first; empty otherwise."""

    @property
    def caution(self) -> str | None:
        """In words, why to believe little of it; None where nothing is known against it."""
        return caution_at(self.distance)


def caution_at(distance: float | None) -> str | None:
    """Why to believe little of what is said at such a distance to the data, a percentile; None where it is near."""
    if distance is None or not distance > BEYOND:
        return None
    return "This point lies beyond the data: hardly an entity is so far from the others. Believe little of this."


def consistencies_of(
    texts: Sequence[list[str]], points: Sequence[Mapping[str, Point]], *, encoder: Encoder | None
) -> Sequence[Sequence[float | None]]:
    """Mean cosine of each text, re-encoded, with the points of its question; None without an encoder.

    Args:
        texts: those about each question's points.
    """
    if encoder is None:
        return [[None] * len(group) for group in texts]
    encoded = iter(encoder.encode([text for group in texts for text in group]))
    scores: list[list[float | None]] = []
    for group, named in zip(texts, points, strict=True):
        unit_SE = [p.vector / max(float(np.linalg.norm(p.vector)), 1e-12) for p in named.values()]
        middle_E = np.mean(unit_SE, axis=0)
        scores.append([float(next(encoded) @ middle_E) for _ in group])
    return scores


class AnswerText:
    """The text of an answer while its tokens come, and how much of it the next token can no longer change."""

    def __init__(self, read: Callable[[list[int]], str]):
        """`read` gives the text of tokens: `Elm.read`."""
        self._read = read
        self._shown = 0
        self.ids: list[int] = []
        self.text = ""

    def add(self, token: int) -> str:
        """The piece of text, often empty, that this token settles."""
        self.ids.append(token)
        self.text = self._read(self.ids)
        return self._up_to(len(_UNSETTLED.sub("", self.text)))

    def rest(self) -> str:
        """The last piece, once the answer has ended."""
        return self._up_to(len(self.text))

    def _up_to(self, end: int) -> str:
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece


class Stream(Iterator[str]):
    """The pieces of an answer while it is generated, then the answer: `for piece in stream: ...; stream.answer`."""

    def __init__(self, pieces: Generator[str, None, Answer]):
        self._pieces = pieces
        self._answer: Answer | None = None

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as end:
            self._answer = self._answer or end.value
            raise StopIteration from None

    @property
    def answer(self) -> Answer:
        """The whole answer and how far to trust it; generates what has not been asked for yet."""
        for _ in self:
            pass
        assert self._answer is not None
        return self._answer
