"""A language model behind an OpenAI-compatible chat completions endpoint: a service, vLLM, Ollama, llama.cpp.

An attempt is one request. What may pass is tried again after a pause: 408, 409, 429 and 5xx, no connection, no answer
in time, an answer cut short or that is no JSON. A server's Retry-After holds for all prompts. What each attempt may
cost is reserved before it is sent, so that a budget cannot be overrun by what is under way.
"""

import asyncio
import email.utils
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pydantic import BaseModel, ValidationError

from vecspeak.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAIError

T = TypeVar("T")

Prompt = str | Sequence[Mapping[str, str]]
"""A text, or the content parts of a message."""

MAX_RETRIES = 5
"""Of one prompt; the pauses grow to about 15 seconds in all, unless the server names others."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0

LONGEST_WAIT_S = 120.0
"""A Retry-After beyond it is not waited for."""

LONGEST_BODY = 1 << 20
"""Characters; more is no answer to a question of this program."""

TEMPLATE_TOKENS = 64
"""A chat template may add so many tokens to a prompt."""

_PASSES = {408, 409, 429}
_OF_ALL_PROMPTS = {401, 403, 404}


class Unanswered(ModelError):
    """This prompt got no answer; another may."""


@dataclass(frozen=True)
class Reply:
    """An answer."""

    text: str
    """Without blanks around it; empty where the model says nothing."""
    cut: bool
    """Whether it ends because it became too long."""
    filtered: bool
    """Whether the server's filter withheld it."""
    tokens_in: int
    tokens_out: int


class Purse(Protocol):
    """What pays for attempts."""

    async def reserve(self, tokens_in: int, tokens_out: int) -> int:
        """A ticket for an attempt that may cost so much; raises what ends the asking."""
        ...

    def settle(self, ticket: int, tokens_in: int, tokens_out: int) -> None:
        """What it has cost."""
        ...


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    """As much of an answer as is read."""

    choices: list[_Choice]
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    """As much of a list of models as is read."""

    data: list[_Model]


class _Malformed(Exception):
    """An answer that is no chat completion."""


class Endpoint:
    """A model asked over HTTP.

    Args:
        url: what comes before /chat/completions, as in https://api.openai.com/v1.
        key: sent to `url`; None for servers that want none. It stands in no message.
        max_tokens: of an answer, at most.
        timeout_s: seconds without a sign of an answer, after which a prompt is sent again.
        per_minute: attempts a minute, at most.
        temperature: 0 is greedy.
        settings: what else each request says.

    Raises:
        ConfigError: the package openai is not installed.
        ModelError: a URL or key that cannot be one.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None,
        max_tokens: int,
        timeout_s: float = 60,
        per_minute: float | None = None,
        temperature: float = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import openai as _  # noqa: F401 - told before any work
        except ImportError:
            raise ConfigError(
                "An endpoint needs openai, which is not installed: pip install 'vecspeak[teacher]'."
            ) from None
        self.url, self.model, self.max_tokens = url, model, max_tokens
        self._key, self._timeout_s = (key or "").strip(), timeout_s
        self._spacing_s = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._settings = {**(settings or {}), "temperature": temperature, "max_tokens": max_tokens}
        if not re.fullmatch(r"https?://\S+", url):
            raise ModelError(f"{url!r} is no URL of an endpoint; expected one like https://api.openai.com/v1.")
        if not re.fullmatch(r"[!-~]*", self._key):
            raise ModelError(f"The key for {url} has blanks or letters that no key has. Set OPENAI_API_KEY again.")

    @asynccontextmanager
    async def client(self) -> AsyncIterator["AsyncOpenAI"]:
        """A connection to ask through."""
        from openai import AsyncOpenAI

        # the client insists on a key; servers that want none do not read it. Its own retries are neither counted nor
        # paid for one by one, nor do they know of answers that are no JSON
        async with AsyncOpenAI(
            base_url=self.url, api_key=self._key or "none", timeout=self._timeout_s, max_retries=0
        ) as client:
            yield client

    async def models(self) -> list[str]:
        """Names of the models that the server has. Raises ModelError where none answers as such a server does."""
        from openai import NotFoundError, OpenAIError

        async with self.client() as client:
            try:
                told = (await client.models.with_raw_response.list()).text
            except NotFoundError:
                told = "404"
            except OpenAIError as error:
                raise self._refusal(ModelError, self._why(error)) from None
        try:
            return [model.id for model in _Models.model_validate_json(told).data]
        except ValidationError:
            why = f"lists no models. Check that the URL ends with /v1. It says: {told}"
            raise self._refusal(ModelError, why) from None

    async def ask(
        self, client: "AsyncOpenAI", prompt: Prompt, *, purse: Purse | None = None, seed: int | None = None
    ) -> Reply:
        """The answer, after as many attempts as it takes.

        Raises:
            Unanswered: none after MAX_RETRIES more attempts, or the server refuses this prompt.
            ModelError: a wrong key or an unknown model.
        """
        from openai import OpenAIError

        attempt = 0
        while True:
            await self._turn()
            sent = self._settings | ({} if seed is None else {"seed": seed})
            try:
                return await self._attempt(client, prompt, purse, sent)
            except (OpenAIError, _Malformed) as error:
                if self._without_what_is_refused(error, sent):
                    continue
                attempt += 1
                pause_s = self._pause_s(error, attempt)
                if pause_s is None:
                    kind = ModelError if getattr(error, "status_code", None) in _OF_ALL_PROMPTS else Unanswered
                    raise self._refusal(kind, self._why(error)) from None
            await asyncio.sleep(pause_s)

    async def _attempt(self, client: "AsyncOpenAI", prompt: Prompt, purse: Purse | None, sent: dict[str, Any]) -> Reply:
        from openai import APIStatusError

        used = most = most_tokens(prompt), self.max_tokens
        ticket = await purse.reserve(*most) if purse else 0
        try:
            create = client.chat.completions.with_raw_response.create
            messages = cast(Any, [{"role": "user", "content": prompt}])
            answer = await create(model=self.model, messages=messages, **sent)
            reply = _reply(answer.text, most)
            used = reply.tokens_in, reply.tokens_out
            return reply
        except APIStatusError:
            used = 0, 0
            raise
        finally:
            # an answer that was lost on its way may have been paid for
            if purse:
                purse.settle(ticket, *used)

    async def _turn(self) -> None:
        """Waits until an attempt may be made."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + self._spacing_s
        if at > now:
            await asyncio.sleep(at - now)

    def _pause_s(self, error: Exception, attempt: int) -> float | None:
        """Seconds until the next attempt; None where there is none."""
        from openai import APIStatusError

        status = error.status_code if isinstance(error, APIStatusError) else None
        if attempt > MAX_RETRIES or (status is not None and status < 500 and status not in _PASSES):
            return None
        told_s = _retry_after_s(error.response.headers) if isinstance(error, APIStatusError) else None
        if told_s is None:
            # from many workers, so that they do not all come back at once
            return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1)) * random.uniform(0.75, 1)
        if told_s > LONGEST_WAIT_S:
            return None
        self._next = max(self._next, time.monotonic() + told_s)
        return told_s

    def _without_what_is_refused(self, error: Exception, sent: Mapping[str, Any]) -> bool:
        """Some models take another name for the longest answer, or no temperature; True where it goes without now."""
        refused = getattr(error, "param", None) if getattr(error, "status_code", None) == 400 else None
        if refused not in ("max_tokens", "temperature") or refused not in sent:
            return False
        if refused in self._settings:  # else another prompt under way was refused for it before
            value = self._settings.pop(refused)
            if refused == "max_tokens":
                self._settings["max_completion_tokens"] = value
        return True

    def _why(self, error: "OpenAIError | _Malformed") -> str:
        """What is wrong and what to do, as the end of a sentence about the endpoint."""
        from openai import APIConnectionError, AuthenticationError, NotFoundError, PermissionDeniedError

        match error:
            case _Malformed():
                return f"gives no chat completion. Check that the URL ends before /chat/completions. It says: {error}"
            case AuthenticationError() | PermissionDeniedError():
                asked = self.model or "it"
                return f"refuses the key ({error.status_code}). Set OPENAI_API_KEY to one that may use {asked}."
            case NotFoundError():
                return (
                    f"has no model {self.model!r}, or no chat completions there (404). Check the name, and that the "
                    "URL ends before /chat/completions."
                )
            case APIConnectionError():
                return f"cannot be reached. Check the URL and that the server runs: {_root(error)}"
            case _:
                return f"does not answer as {self.model}: {error}"

    def _refusal(self, kind: type[ModelError], why: str) -> ModelError:
        """On one line, and without the key, which a server may quote; first that, as a cut could leave a part of it."""
        shown = why.replace(self._key, "(key)") if self._key else why
        return kind(f"{self.url} {' '.join(shown.split())[:300]}")


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


async def in_parallel(items: Iterable[T], do: Callable[[T], Awaitable[None]], *, concurrency: int) -> None:
    """`do` each item, so many at a time, taken as they are needed. The first error stops all."""
    rest = iter(items)

    async def work() -> None:
        for item in rest:
            await do(item)

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def most_tokens(prompt: Prompt) -> int:
    """Tokens that a prompt can have at most: no tokenizer makes more than one of a byte."""
    text = prompt if isinstance(prompt, str) else "".join("".join(part.values()) for part in prompt)
    return len(text.encode("utf-8", "replace")) + TEMPLATE_TOKENS


def _reply(body: str, most: tuple[int, int]) -> Reply:
    try:
        if len(body) > LONGEST_BODY:
            raise _Malformed(f"{len(body):,} characters")
        done = _Completion.model_validate_json(body)
    except ValidationError:
        raise _Malformed(body) from None
    first = done.choices[0] if done.choices else None
    finish = first.finish_reason if first else None
    return Reply(
        text=((first.message.content if first else None) or "").strip(),
        cut=finish == "length",
        filtered=finish == "content_filter",
        tokens_in=done.usage.prompt_tokens if done.usage else most[0],
        tokens_out=done.usage.completion_tokens if done.usage else most[1],
    )


def _retry_after_s(headers: Any) -> float | None:
    """Seconds from Retry-After: a number of them, or a date (RFC 9110, 10.2.3). None where it says neither."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", value):
        return float(value)
    date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None
