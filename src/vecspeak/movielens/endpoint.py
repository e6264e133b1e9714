"""A rival without vectors behind an OpenAI-compatible endpoint."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vecspeak.endpoint import Endpoint, in_parallel

if TYPE_CHECKING:
    from vecspeak.movielens.points import TextOnly

MAX_TOKENS = 200


def endpoint(url: str, model: str, *, key: str | None, concurrency: int = 4, timeout_s: float = 60) -> "TextOnly":
    """Prompts -> answers in their order, greedy, of at most MAX_TOKENS; "" where it says none.

    Args:
        url, key, timeout_s: as of `Endpoint`.
        concurrency: prompts under way at a time.

    Raises:
        ConfigError, ModelError: as `Endpoint`; when asked, as its `ask`.
    """
    remote = Endpoint(url, model, key=key, max_tokens=MAX_TOKENS, timeout_s=timeout_s)

    async def answer_all(prompts: Sequence[str]) -> list[str]:
        answers = [""] * len(prompts)
        async with remote.client() as client:

            async def ask(row: int) -> None:
                answers[row] = (await remote.ask(client, prompts[row])).text

            await in_parallel(range(len(prompts)), ask, concurrency=concurrency)
        return answers

    return lambda prompts: asyncio.run(answer_all(prompts))
