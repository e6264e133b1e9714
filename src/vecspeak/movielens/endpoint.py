"""A rival without vectors behind an OpenAI-compatible chat completions endpoint: a service, vLLM, Ollama, llama.cpp."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from vecspeak.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from openai import OpenAIError
    from openai.types.chat import ChatCompletionMessageParam

    from vecspeak.movielens.points import TextOnly

MAX_TOKENS = 200
MAX_RETRIES = 5
"""Of one prompt after an error that may pass (429, 5xx, no connection); the pauses grow to 15 seconds in all."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    """As much of an answer as is read."""

    choices: list[_Choice]

    @property
    def text(self) -> str:
        return (self.choices[0].message.content or "").strip() if self.choices else ""


def endpoint(url: str, model: str, *, key: str | None, concurrency: int = 4, timeout_s: float = 60) -> "TextOnly":
    """A model asked over HTTP: prompts -> answers in their order, greedy, of at most MAX_TOKENS; "" where it says none.

    Args:
        url: what comes before /chat/completions, as in https://api.openai.com/v1.
        key: sent to `url`; None for servers that want none. It stands in no message.
        concurrency: prompts under way at a time.
        timeout_s: seconds without a sign of an answer, after which a prompt is sent again.

    Raises:
        ConfigError: the package openai is not installed.
        ModelError: a URL or key that cannot be one. When asked: a wrong key, an unknown model, no connection, or an
            answer that is no chat completion.
    """
    try:
        from openai import OpenAI, OpenAIError
    except ImportError:
        raise ConfigError("A rival needs openai, which is not installed: pip install 'vecspeak[movielens]'.") from None

    key = (key or "").strip()
    if not re.fullmatch(r"https?://\S+", url):
        raise ModelError(f"{url!r} is no URL of an endpoint; expected one like https://api.openai.com/v1.")
    if not re.fullmatch(r"[!-~]*", key):
        raise ModelError(f"The key for {url} has blanks or letters that no key has. Set OPENAI_API_KEY again.")

    def ask(client: OpenAI, prompt: str) -> str:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": prompt}]
        create = client.chat.completions.with_raw_response.create
        try:
            answer = create(model=model, messages=messages, temperature=0, max_tokens=MAX_TOKENS).text
        except OpenAIError as error:
            raise _refusal(url, key, _why(error, model)) from None
        try:
            return _Completion.model_validate_json(answer).text
        except ValidationError:
            why = f"gives no chat completion. Check that the URL ends before /chat/completions. It says: {answer}"
            raise _refusal(url, key, why) from None

    def answer_all(prompts: Sequence[str]) -> list[str]:
        with (
            # the client insists on a key; servers that want none do not read it
            OpenAI(base_url=url, api_key=key or "none", timeout=timeout_s, max_retries=MAX_RETRIES) as client,
            ThreadPoolExecutor(concurrency) as pool,
        ):
            return list(pool.map(partial(ask, client), prompts))

    return answer_all


def _why(error: "OpenAIError", model: str) -> str:
    """What is wrong and what to do, as the end of a sentence about the endpoint."""
    from openai import APIConnectionError, AuthenticationError, NotFoundError, PermissionDeniedError

    match error:
        case AuthenticationError() | PermissionDeniedError():
            return f"refuses the key ({error.status_code}). Set OPENAI_API_KEY to one that may use {model}."
        case NotFoundError():
            return (
                f"has no model {model!r}, or no chat completions there (404). Check the name, and that the URL ends "
                "before /chat/completions."
            )
        case APIConnectionError():
            return f"cannot be reached. Check the URL and that the server runs: {error.__cause__ or error}"
        case _:
            return f"does not answer as {model}: {error}"


def _refusal(url: str, key: str, why: str) -> ModelError:
    """On one line, and without the key, which a server may quote; first that, as a cut could leave a part of it."""
    shown = why.replace(key, "(key)") if key else why
    return ModelError(f"{url} {' '.join(shown.split())[:300]}")
