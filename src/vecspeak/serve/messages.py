"""`POST /v1/chat/completions`: what may come in, and how it becomes a question."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vecspeak.answers import Question
from vecspeak.decoding import Decoding
from vecspeak.geometry import parse_point
from vecspeak.prompts import Turn, literal
from vecspeak.serve.failures import Failure
from vecspeak.serve.limits import Limits
from vecspeak.space import Direction, Point, Space

Expression = Annotated[str, Field(min_length=1, max_length=2000)]
"""A point as `geometry.parse_point` reads it: 296 ; 296:356@0.5 ; 296+funny*1.5 ; mean(1,2,3)"""
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=65_536)]


class _Strict(BaseModel):
    """A field that is not known is refused, but for one that says nothing: clients send `"tools": null`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"additionalProperties": {"type": "null"}})

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None or name in cls.model_fields}


class TextPart(_Strict):
    """Words, as they stand: braces are no slots."""

    type: Literal["text"]
    text: str


class EntityPart(_Strict):
    """A row of the space, by its id."""

    type: Literal["entity"]
    entity: Annotated[str, Field(min_length=1, max_length=2000)]


class PointPart(_Strict):
    """A made point: between two, a mean, pushed along a concept."""

    type: Literal["point"]
    point: Expression


class VectorPart(_Strict):
    """Any vector of the space's dimension."""

    type: Literal["vector"]
    vector: Vector


class PromptEmbedsPart(BaseModel):
    """vLLM's way to pass soft tokens. Always refused: what it carries is a pickled tensor."""

    type: Literal["prompt_embeds"]
    data: Any = None


Part = Annotated[TextPart | EntityPart | PointPart | VectorPart | PromptEmbedsPart, Field(discriminator="type")]


class Message(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None
    vecspeak: Any = None
    """What this server said of its own answer, when that comes back as a turn."""


class StreamOptions(BaseModel):
    include_usage: bool = False
    include_obfuscation: bool = False


class ResponseFormat(_Strict):
    type: Literal["text"]


class ChatRequest(_Strict):
    """OpenAI's request, with points among the content parts, `guidance` and `best_of`.

    What is left out is as the model's elm.json has it. A field that would change the answer and that this server
    cannot honour is refused, not ignored.
    """

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    guidance: float | None = None
    """Push away from what the mean vector says; 0 is off."""
    best_of: Annotated[int, Field(ge=1)] | None = None
    """Sample so many answers for each choice, and give the best."""
    chosen_by: Literal["consistency", "support"] | None = None
    """What makes one of `best_of` the best."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Choices. The i-th is what the same request with seed + i and n = 1 gets."""
    seed: Annotated[int, Field(ge=0, lt=2**52)] | None = None
    """Equal seeds, equal answers; 0 where there is none."""
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "ChatRequest":
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        if any(not stop or len(stop) > 200 for stop in self.stops):
            raise ValueError("stop holds an empty text, or one of more than 200 characters")
        return self

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def choices(self) -> int:
        return self.n or 1


def decoding_of(request: ChatRequest, default: Decoding, limits: Limits) -> Decoding:
    """How the request wants to be answered.

    Raises:
        ConfigError: a value out of range.
        Failure: more rows than one request may have.
    """
    decoding = default.but(
        max_tokens=request.max_completion_tokens or request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        guidance=request.guidance,
        frequency_penalty=request.frequency_penalty,
        best_of=request.best_of,
        chosen_by=request.chosen_by,
    )
    rows, most = request.choices * decoding.best_of, min(limits.rows, limits.running)
    if rows > most:
        raise Failure(
            400, f"n times best_of is {rows}; this server samples at most {most}.", param="n", code="too_many"
        )
    return decoding


def question_of(
    messages: Sequence[Message], space: Space, concepts: Mapping[str, Direction], limits: Limits
) -> Question:
    """The conversation with a slot for each of its points; a point that is named twice has one slot.

    Raises:
        Failure: an unknown entity (404), no point at all, more of anything than the limits allow, prompt_embeds.
        PointError: an expression or vector that is no point of the space.
    """
    characters = sum(len(m.content) if isinstance(m.content, str) else _length(m.content) for m in messages)
    if characters > limits.text_characters:
        raise _too_many(f"The conversation has {characters:,} characters", limits.text_characters)
    points: dict[str, Point] = {}
    slots: dict[Any, str] = {}
    named = 0
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        parts = [TextPart(type="text", text=message.content)] if isinstance(message.content, str) else message.content
        text = ""
        for place, part in enumerate(parts):
            if isinstance(part, TextPart):
                text += literal(part.text)
                continue
            named += 1
            if named > limits.points:
                raise _too_many(f"The conversation names points {named} times or more", limits.points)
            key = _key(part)
            if key not in slots:
                slots[key] = f"p{len(slots)}"
                points[slots[key]] = point_of(part, space, concepts, param=f"messages.{number}.content.{place}")
            text += f"{{{slots[key]}}}"
        turns.append(Turn("system" if message.role == "developer" else message.role, text))
    if not points:
        example = '{"type": "entity", "entity": "' + space.ids[0] + '"}'
        raise Failure(400, f"The conversation names no point. Add a content part such as {example}.", param="messages")
    return Question(tuple(turns), points)


def point_of(part: Part, space: Space, concepts: Mapping[str, Direction], *, param: str) -> Point:
    """The point that a content part names. Raises as `question_of`."""
    match part:
        case EntityPart(entity=entity) if entity in space:
            return space[entity]
        case EntityPart(entity=entity):
            some = ", ".join(repr(known) for known in space.ids[:3])
            message = f"{space.name} has no entity {entity!r}. Its {len(space)} ids are texts such as {some}."
            raise Failure(404, message, param=param, code="entity_not_found")
        case PointPart(point=point):
            return parse_point(space, point, directions=concepts)
        case VectorPart(vector=vector):
            return space.point(np.asarray(vector), label="vector")
        case _:
            message = (
                "prompt_embeds carries a pickled tensor, which this server does not open. "
                "Send the point itself: a part of type entity, point or vector."
            )
            raise Failure(400, message, param=param, code="prompt_embeds_refused")


def _key(part: Part) -> Any:
    match part:
        case EntityPart(entity=entity):
            return "entity", entity
        case PointPart(point=point):
            return "point", point
        case VectorPart(vector=vector):
            return "vector", tuple(vector)
        case _:
            return id(part)


def _length(parts: Sequence[Part]) -> int:
    return sum(len(part.text) for part in parts if isinstance(part, TextPart))


def _too_many(what: str, most: int) -> Failure:
    return Failure(400, f"{what}; this server takes {most:,}.", param="messages", code="too_many")
