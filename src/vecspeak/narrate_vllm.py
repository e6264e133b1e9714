"""Narration by a vLLM server: the adapter is here, the base is there.

vecspeak export vllm films-elm films-vllm
vllm serve films-vllm/base --enable-prompt-embeds
vecspeak narrate films-elm films.lance --task summary --out summaries.parquet --guidance 0 \\
    --engine vllm --url http://127.0.0.1:8000/v1

Any server that takes vLLM's `prompt_embeds` content parts will do. They are written here, and none is read.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import torch

from vecspeak.answers import consistencies_of
from vecspeak.data.vllm_client import parts
from vecspeak.decoding import Decoding
from vecspeak.encode import load_encoder
from vecspeak.endpoint import Endpoint, in_parallel
from vecspeak.errors import ConfigError, ModelError
from vecspeak.narrate import Job, open_adapter, reference, rows_from, table_of
from vecspeak.prompts import the_slot
from vecspeak.space import Point
from vecspeak.spacefile import open_space

TIMEOUT_S = 600.0
"""Of one answer: on a busy server it waits for those before it."""


class OnVllm:
    """The engine of a server; `batch_size` of the job is the number of its requests under way."""

    def __init__(self, job: Job, *, url: str, key: str | None):
        """
        Args:
            url: of the server, with /v1.
            key: sent to it; None for servers that want none.

        Raises:
            ConfigError: the job's decoding needs more than a server tells.
            ModelError: model, space and URL do not fit, or no server answers there.
        """
        self._job, self._slot = job, the_slot(job.prompt)
        self._adapter, fingerprint, space = open_adapter(job)
        _check(job.decoding, encoded=fingerprint.encoder is not None)
        self._endpoint = asyncio.run(_endpoint(url, key, job.decoding))
        self._encoder = load_encoder(fingerprint.encoder) if fingerprint.encoder else None
        self._near = reference(space)

    def tables(self, first: int, *, size: int, on_rows: Callable[[int], None]) -> Iterator[pa.Table]:
        """As `Engine.tables`. Raises ModelError where the server stops answering."""
        dataset, _ = open_space(self._job.space)
        rows = rows_from(dataset, first, self._job.rows)
        while some := list(islice(rows, size)):
            points = [Point(vector, id, self._near, id) for id, vector in some]
            yield self._table(points, asyncio.run(self._ask(points, on_rows)))

    def _table(self, points: list[Point], texts: list[list[str]]) -> pa.Table:
        consistencies = consistencies_of(texts, [{self._slot: point} for point in points], encoder=self._encoder)
        found = [list(zip(*told, strict=True)) for told in zip(texts, consistencies, strict=True)]
        best = [max(samples, key=lambda sample: sample[1] or 0.0) for samples in found]
        return table_of(points, best, near=self._near, model=self._job.fingerprint)

    async def _ask(self, points: list[Point], on_rows: Callable[[int], None]) -> list[list[str]]:
        """`best_of` texts about each point."""
        soft_NKD = self._soft(np.stack([point.vector for point in points]))
        decoding = self._job.decoding
        texts: list[dict[int, str]] = [{} for _ in points]

        async def answer(number: int, sample: int) -> None:
            content = parts(self._job.prompt, {self._slot: soft_NKD[number]})
            # the seed of the sample, as in one process; a greedy server need not know seeds
            seed = decoding.seed * 1009 + sample if decoding.sampling_temperature > 0 else None
            texts[number][sample] = (await self._endpoint.ask(client, content, seed=seed)).text
            if len(texts[number]) == decoding.best_of:
                on_rows(1)

        wanted = ((number, sample) for number in range(len(points)) for sample in range(decoding.best_of))
        async with self._endpoint.client() as client:
            await in_parallel(wanted, lambda one: answer(*one), concurrency=self._job.batch_size)
        return [[samples[number] for number in sorted(samples)] for samples in texts]

    @torch.inference_mode()
    def _soft(self, vectors_NE: np.ndarray) -> torch.Tensor:
        return self._adapter(torch.from_numpy(vectors_NE))


def _check(decoding: Decoding, *, encoded: bool) -> None:
    if decoding.guidance:
        raise ConfigError(f"Guidance is {decoding.guidance:g}, which vLLM does not offer. Say --guidance 0.")
    if decoding.best_of > 1 and (decoding.chosen_by == "support" or not encoded):
        raise ConfigError(
            f"best_of is {decoding.best_of}; a server does not tell support, so the best is chosen by consistency, in "
            "a space with an encoder. Say --chosen-by consistency, or --best-of 1."
        )


async def _endpoint(url: str, key: str | None, decoding: Decoding) -> Endpoint:
    """The endpoint of the model that the server has."""
    settings = {"top_p": decoding.top_p, "frequency_penalty": decoding.frequency_penalty}
    asked = {
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.sampling_temperature,
        "timeout_s": TIMEOUT_S,
        "settings": settings,
    }
    models = await Endpoint(url, "", key=key, **asked).models()
    if not models:
        raise ModelError(f"{url} serves no model. Start it as the README of `vecspeak export vllm` says.")
    return Endpoint(url, models[0], key=key, **asked)
