"""`/v1`: chat completions and models, as OpenAI's clients speak them."""

import asyncio
import json
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from vecspeak.answers import Answer
from vecspeak.decoding import Decoding
from vecspeak.serve.engine import Engine, Ticket
from vecspeak.serve.failures import ERRORS, Failure, our_fault, too_slow
from vecspeak.serve.judging import Job
from vecspeak.serve.messages import ChatRequest, decoding_of, question_of
from vecspeak.serve.replies import NeighbourReply
from vecspeak.serve.served import Served
from vecspeak.serve.writing import Broken, Ended, Event, Piece

logger = logging.getLogger("vecspeak.serve")

T = TypeVar("T")

router = APIRouter(prefix="/v1", responses=ERRORS)


class Trust(BaseModel):
    """How far to trust a choice; plain clients ignore it."""

    consistency: float | None
    """Cosine, -1..1, of the re-encoded answer with the points; null without an encoder."""
    distance: float | None
    """Percentile 0..100 of the farthest point's distance to the data."""
    caution: str | None
    points: list[dict[str, str]]
    neighbours: list[NeighbourReply]


class ChoiceMessage(BaseModel):
    role: str = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: ChoiceMessage
    finish_reason: str
    logprobs: None = None
    vecspeak: Trust


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Model(BaseModel):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "vecspeak"


class Models(BaseModel):
    object: str = "list"
    data: list[Model]


@router.get("/models")
async def models(request: Request) -> Models:
    """The one model that is served."""
    served: Served = request.app.state.served
    return Models(data=[Model(id=served.name, created=served.started)])


@router.get("/models/{model}")
async def model(request: Request, model: str) -> Model:
    """The model of that name."""
    served: Served = request.app.state.served
    check_model(model, served)
    return Model(id=served.name, created=served.started)


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def complete(request: Request, body: ChatRequest) -> Response:
    """Ask about points. With `stream`, Server-Sent Events in OpenAI's form; a choice's last chunk has `vecspeak`."""
    served: Served = request.app.state.served
    check_model(body.model, served)
    asking = Asking(request, body, served)
    await asking.submit()
    if body.stream:
        lines = asking.lines(include_usage=bool(body.stream_options and body.stream_options.include_usage))
        return StreamingResponse(lines, media_type="text/event-stream", headers={"cache-control": "no-cache"})
    return await asking.whole()


def check_model(name: str, served: Served) -> None:
    """Raises Failure, 404, for a model that is not served here."""
    if name != served.name:
        message = f"There is no model {name!r} here. The one served is {served.name!r}."
        raise Failure(404, message, param="model", code="model_not_found")


class Asking:
    """One request from arrival to the last word."""

    def __init__(self, request: Request, body: ChatRequest, served: Served) -> None:
        self._request, self._body, self._served = request, body, served
        self._engine: Engine = served.engine
        self._arrived = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + served.limits.seconds
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": served.name}

    async def submit(self) -> None:
        """Check and queue. Raises Failure or VecspeakError."""
        self._engine.check_room()  # before any work, of which a busy server has enough
        self._ticket = await run_in_threadpool(self._checked)
        self._engine.submit(self._ticket)

    async def whole(self) -> Response:
        """All choices at once; gives up where the client has gone."""
        done = asyncio.create_task(self._completion())
        gone = asyncio.create_task(disconnected(self._request))
        try:
            await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
            return JSONResponse((await done).model_dump()) if done.done() else Response(status_code=499)
        finally:
            done.cancel()
            gone.cancel()
            self._engine.cancel(self._ticket)

    async def lines(self, *, include_usage: bool) -> AsyncIterator[str]:
        """Server-Sent Events; an error that comes after the first is one of them."""
        try:
            for choice in range(self._body.choices):
                yield self._line(choice, {"role": "assistant", "content": ""})
            async for event in self._told():
                if isinstance(event, Piece):
                    yield self._line(event.choice, {"content": event.text})
                    continue
                answer = await self._judged(event.choice)
                if self._ticket.decoding.best_of > 1:
                    yield self._line(event.choice, {"content": answer.text})
                yield self._line(event.choice, {}, self._end(event.choice, answer), trust_of(answer))
            if include_usage:
                yield _event(
                    {
                        **self._head,
                        "object": "chat.completion.chunk",
                        "choices": [],
                        "usage": self._usage().model_dump(),
                    }
                )
            yield "data: [DONE]\n\n"
        except Failure as failure:
            yield _event(failure.body)
        finally:
            self._engine.cancel(self._ticket)

    # ---- inside

    def _checked(self) -> Ticket:
        """On a thread of its own: tokenizing and the adapter take milliseconds."""
        served, elm = self._served, self._served.elm
        decoding = decoding_of(self._body, elm.decoding, served.limits)
        question = question_of(self._body.messages, served.space, served.concepts.directions(), served.limits)
        if decoding.chosen_by == "consistency" and elm.encoder is None:
            raise Failure(400, "This space names no encoder to tell consistency. Choose by support.", param="chosen_by")
        asked = elm.check(question, decoding)
        rows = [elm.rows([asked], each)[0] for each in seeded(decoding, self._body.choices)]
        self._prompt_tokens = len(asked.prompt.ids)
        return Ticket(asked, decoding, rows, self._body.stops, self._deliver)

    def _deliver(self, event: Event) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def _told(self) -> AsyncIterator[Piece | Ended]:
        """Events until every choice has ended. Raises Failure as `_in_time`, or when the engine has failed."""
        left, first = self._body.choices, True
        while left:
            event = await self._in_time(self._events.get())
            if isinstance(event, Broken):
                raise our_fault()
            if first:
                self._served.metrics.first_word.observe(time.perf_counter() - self._arrived)
                first = False
            left -= isinstance(event, Ended)
            yield event

    async def _in_time(self, awaited: Awaitable[T]) -> T:
        """Raises Failure when time is up."""
        try:
            return await asyncio.wait_for(awaited, self._deadline - self._loop.time())
        except TimeoutError:
            raise too_slow(self._served.limits.seconds) from None

    async def _completion(self) -> Completion:
        answers: dict[int, Answer] = {}
        async for event in self._told():
            if isinstance(event, Ended):
                answers[event.choice] = await self._judged(event.choice)
        choices = [
            Choice(
                index=i,
                message=ChoiceMessage(content=answers[i].text),
                finish_reason=self._end(i, answers[i]),
                vecspeak=trust_of(answers[i]),
            )
            for i in range(self._body.choices)
        ]
        return Completion(**self._head, choices=choices, usage=self._usage())

    async def _judged(self, choice: int) -> Answer:
        job = Job(self._ticket.asked, self._ticket.written[choice], self._ticket.decoding.chosen_by)
        self._served.judge.judge(job)
        try:
            return await self._in_time(asyncio.wrap_future(job.answer))
        except Failure:
            raise
        except Exception as error:
            logger.exception("An answer could not be judged")
            raise our_fault() from error

    def _end(self, choice: int, answer: Answer) -> str:
        """Why the sample that was chosen ended."""
        return next(w.end for w in self._ticket.written[choice] if w.text == answer.text and w.end)

    def _usage(self) -> Usage:
        """Tokens of all samples are counted: all were generated."""
        written = sum(len(writing.ids) for samples in self._ticket.written for writing in samples)
        return Usage(
            prompt_tokens=self._prompt_tokens, completion_tokens=written, total_tokens=self._prompt_tokens + written
        )

    def _line(self, choice: int, delta: dict[str, str], end: str | None = None, trust: Trust | None = None) -> str:
        told: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": end, "logprobs": None}
        if trust is not None:
            told["vecspeak"] = trust.model_dump()
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [told]})


def seeded(decoding: Decoding, choices: int) -> Sequence[Decoding]:
    """The decoding of each choice."""
    return [decoding.but(seed=decoding.seed + choice) for choice in range(choices)]


def trust_of(answer: Answer) -> Trust:
    """What the answer says of itself, as JSON values."""
    return Trust(
        consistency=number(answer.consistency),
        distance=number(answer.distance),
        caution=answer.caution,
        points=[{"label": point.label} for point in answer.points.values()],
        neighbours=[NeighbourReply(**vars(neighbour)) for neighbour in answer.neighbours],
    )


def number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or math.isnan(value) else value


async def disconnected(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n"
