"""Points made of entities and concepts, and the short syntax for them, the same everywhere.

296                     an entity
296:356@0.5             half of the way from one to the other
mean(1,2,3)             the middle of several
296+funny*1.5           pushed along a concept, by 1.5 standard deviations of the space
296 - 356 + 1           arithmetic; a minus needs a blank before it, since ids hold hyphens
(296:356@0.5)+funny     any of these where an entity may stand
"an id: with signs"     quotes around a name that holds signs
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vecspeak.errors import PointError
from vecspeak.space import Direction, Point, Space, at_length, name_in_expression

DEEPEST = 32
"""Brackets within brackets, at most: an expression comes from outside."""


@dataclass(frozen=True)
class Name:
    """An entity or a concept."""

    text: str


@dataclass(frozen=True)
class Between:
    """`start:end@share`"""

    start: "Expression"
    end: "Expression"
    share: float


@dataclass(frozen=True)
class Mean:
    """`mean(a,b,...)`"""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Sum:
    """`a + b*2 - c`: two or more terms, or one with a weight that is not 1."""

    terms: tuple[tuple[float, "Expression"], ...]


Expression = Name | Between | Mean | Sum


def parse_point(space: Space, text: str, *, directions: Mapping[str, Direction] | None = None) -> Point:
    """The point an expression names; an entity whose id looks like an expression wins over the expression.

    Args:
        space: where the entities live.
        text: the expression.
        directions: the concepts it may name; an entity of the same name wins.

    Raises:
        PointError: bad syntax (with the place), an unknown name (with the known concepts), a share outside
            0..1, a concept where a point must stand, or points that cancel out under cosine.
    """
    if text in space:
        return space[text]
    expression = parse(text)
    point = _resolved(expression, space, directions or {})
    return point if point.id is not None else replace(point, label=written(expression))


def parse(text: str) -> Expression:
    """An expression's structure. Raises PointError saying what was expected where."""
    return _Parser(text).whole()


def written(expression: Expression) -> str:
    """The expression as text that parses to it again."""
    match expression:
        case Name(text):
            return name_in_expression(text)
        case Between(start, end, share):
            return f"{_bracketed(start)}:{_bracketed(end)}@{_number(share)}"
        case Mean(parts):
            return f"mean({','.join(map(written, parts))})"
        case Sum(terms):
            signed = [(" - " if weight < 0 else " + ", abs(weight), part) for weight, part in terms]
            pieces = [
                sign + _bracketed(part) + ("" if size == 1 else f"*{_number(size)}") for sign, size, part in signed
            ]
            return "".join(pieces).removeprefix(" + ").removeprefix(" ")


def mean(points: Sequence[Point]) -> Point:
    """The middle of points of one space; under cosine at the mean of their lengths, since a mean is shorter.

    Raises:
        PointError: no points, points without a space, or a mean without direction under cosine.
    """
    label = f"mean({','.join(point.label for point in points)})"
    return _combined(points, [1 / len(points)] * len(points) if points else [], label=label)


def grounded(point: Point, share: float, *, k: int = 10) -> Point:
    """A made point pulled back towards the data: `share` of the way to the middle of its k nearest entities.

    Raises:
        PointError: a share outside 0..1, or a point without a space.
    """
    if point.space is None:
        raise PointError(f"{point.label} has no space to be pulled towards; make it with space.point(vector).")
    near = [point.space[neighbour.id] for neighbour in point.space.neighbours(point, k)]
    return point.toward(mean(near), share)


# ---- from structure to points


def _resolved(expression: Expression, space: Space, directions: Mapping[str, Direction]) -> Point:
    match expression:
        case Name(text) if text in space or not directions:
            return space[text]
        case Name(text) if text in directions:
            raise PointError(f"{text!r} is a concept, a way and no place: add it to a point, as in 296+{text}.")
        case Name(text):
            known = ", ".join(directions)
            raise PointError(f"{space.name} has neither an entity nor a concept {text!r}. Its concepts: {known}.")
        case Between(start, end, share):
            return _resolved(start, space, directions).toward(_resolved(end, space, directions), share)
        case Mean(parts):
            return mean([_resolved(part, space, directions) for part in parts])
        case Sum(terms):
            return _summed(terms, space, directions)


def _summed(terms: Sequence[tuple[float, Expression]], space: Space, directions: Mapping[str, Direction]) -> Point:
    pushes: list[tuple[float, Direction]] = []
    placed: list[tuple[float, Expression]] = []
    for weight, part in terms:
        if isinstance(part, Name) and part.text not in space and part.text in directions:
            pushes.append((weight, directions[part.text]))
        else:
            placed.append((weight, part))
    if not placed:
        raise PointError(f"{pushes[0][1].name!r} is a concept, a way and no place: begin with a point.")
    points = [_resolved(part, space, directions) for _, part in placed]
    weights = [weight for weight, _ in placed]
    point = points[0] if weights == [1] else _combined(points, weights, label="these points")
    for strength, direction in pushes:
        point = point.steer(direction, strength)
    return point


def _combined(points: Sequence[Point], weights: Sequence[float], *, label: str) -> Point:
    """The weighted sum; under cosine at the mean of the points' lengths."""
    spaces = [point.space for point in points]
    if not points or spaces[0] is None or any(space is not spaces[0] for space in spaces):
        raise PointError("A mean or a sum needs points of one space, at least one.")
    vectors_NE = np.stack([point.vector for point in points]).astype(np.float64)
    vector_E = np.array(weights) @ vectors_NE
    if spaces[0].metric == "cosine":
        vector_E = at_length(vector_E, float(np.linalg.norm(vectors_NE, axis=1).mean()), what="These points")
    return spaces[0].point(vector_E.astype(np.float32), label=label)


# ---- from text to structure

# a minus is a sign only after a blank or a bracket, and a part of the word elsewhere: ids hold hyphens
_TOKEN = re.compile(
    r"""\s*(?:
    "((?:[^"\\]|\\.)*)"                                   # a name in quotes
    | ([+*:@(),])                                         # a sign
    | ((?<=[\s(),"])- | ^-)                               # a minus
    | ((?: [^\s+*:@(),"] | \s+(?![-\s+*:@(),"]|$) )+)     # a word, blanks inside it too
    | (\S)                                                # a quotation mark that is not closed
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    """word, quoted, end, or the sign itself"""
    text: str
    at: int


class _Parser:
    """Recursive descent; each method reads what its name says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.depth = 0

    def whole(self) -> Expression:
        expression = self.sum()
        if self.tokens[0].kind != "end":
            raise self.expected("an operator or the end")
        return expression

    def sum(self) -> Expression:
        self.depth += 1
        if self.depth > DEEPEST:
            raise PointError(f"{self.text[:40]!r}...: brackets are nested more than {DEEPEST} deep.")
        terms = [self.term(-1.0 if self.take("+", "-") == "-" else 1.0)]
        while sign := self.take("+", "-"):
            terms.append(self.term(-1.0 if sign == "-" else 1.0))
        self.depth -= 1
        return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Sum(tuple(terms))

    def term(self, sign: float) -> tuple[float, Expression]:
        part = self.between()
        return (sign * self.number("a number") if self.take("*") else sign), part

    def between(self) -> Expression:
        start = self.atom()
        if not self.take(":"):
            return start
        end = self.atom()
        if not self.take("@"):
            raise self.expected("'@' and a share from 0 to 1")
        return Between(start, end, self.number("a share from 0 to 1"))

    def atom(self) -> Expression:
        token = self.tokens[0]
        if self.take("("):
            inner = self.sum()
            self.close()
            return inner
        if token.kind not in ("word", "quoted"):
            raise self.expected("an entity")
        self.tokens.pop(0)
        if (token.kind, token.text) == ("word", "mean") and self.take("("):
            parts = [self.sum()]
            while self.take(","):
                parts.append(self.sum())
            self.close()
            return Mean(tuple(parts))
        return Name(token.text)

    def number(self, what: str) -> float:
        sign = -1.0 if self.take("+", "-") == "-" else 1.0
        token = self.tokens[0]
        try:
            value = sign * float(token.text if token.kind == "word" else "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.expected(what)
        self.tokens.pop(0)
        return value

    def close(self) -> None:
        if not self.take(")"):
            raise self.expected("')'")

    def take(self, *kinds: str) -> str:
        """The next token's sign, taken, if it is one of these; else an empty text."""
        return self.tokens.pop(0).kind if self.tokens[0].kind in kinds else ""

    def expected(self, what: str) -> PointError:
        token = self.tokens[0]
        found = "the end" if token.kind == "end" else repr(token.text)
        return PointError(f"{self.text!r}: expected {what} at character {token.at + 1}, got {found}.")


def _tokens(text: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(text):
        quoted, sign, minus, word, stray = match.groups()
        at = match.start(match.lastindex or 0)
        if stray:
            raise PointError(f"{text!r}: the quotes at character {at + 1} are not closed.")
        if quoted is not None:
            found.append(_Token("quoted", re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL), at))
        else:
            found.append(_Token(sign or minus or "word", sign or minus or word, at))
    return [*found, _Token("end", "", len(text))]


def _bracketed(expression: Expression) -> str:
    return f"({written(expression)})" if isinstance(expression, Between | Sum) else written(expression)


def _number(value: float) -> str:
    text = f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return text.replace("e+", "e")
