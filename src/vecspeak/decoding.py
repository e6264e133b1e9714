"""Token by token from prompt embeddings: greedy or sampled, guided, in batches that do not mix.

A row's tokens depend on its own prompt, points and seed alone: neither on the rows beside it nor on
the padding before it.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from vecspeak.errors import ConfigError

PLAUSIBLE = 0.1
"""Guidance chooses among tokens at least this fraction as likely as the likeliest (Li et al. 2023)."""


@dataclass(frozen=True)
class Decoding:
    """How answers are generated. Raises ConfigError for values out of range."""

    max_tokens: int = 120
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0 is greedy; above, sampling."""
    top_p: float = 1.0
    """Sample among the likeliest tokens that together have this probability."""
    seed: int = 0
    guidance: float = 0.0
    """g: logits c + g (c - u), c with the point and u with the mean vector in its place; 0 is off."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer holds it already, as in OpenAI's API; stops loops."""
    best_of: int = 1
    """Sample so many answers (at temperature 0.7 if it is 0) and return the most consistent."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_tokens", 1, 4096),
            ("temperature", 0, 10),
            ("guidance", 0, 20),
            ("frequency_penalty", -2, 2),
            ("best_of", 1, 64),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {low} to {high}.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; expected above 0, at most 1.")

    def but(self, **changes: float | None) -> "Decoding":
        """A copy with these values; None leaves a value as it is. Raises as the constructor."""
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **given)

    @property
    def sampling_temperature(self) -> float:
        """Candidates of best-of must differ, so it never samples greedily."""
        return 0.7 if self.best_of > 1 and self.temperature == 0 else self.temperature


@torch.inference_mode()
def decode(
    base: PreTrainedModel,
    embeds_BTD: Tensor,
    mask_BT: Tensor,
    *,
    decoding: Decoding,
    seeds: Sequence[int],
    end_token: int | None,
    unguided_BTD: Tensor | None = None,
) -> Iterator[list[int | None]]:
    """Yield the next token id of every row, None for rows that have ended, until all have.

    Args:
        base: the causal language model, in eval mode.
        embeds_BTD: left-padded prompt embeddings.
        mask_BT: 1 for positions that count.
        decoding: length, sampling and guidance.
        seeds: one a row; equal seeds draw equal numbers.
        end_token: ends an answer beside those that the base names: the tokenizer's, which training teaches.
        unguided_BTD: the same prompts with the mean vector in every slot; needed when guidance > 0.
    """
    rows = len(embeds_BTD)
    ends = _end_tokens(base) | (set() if end_token is None else {end_token})
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    if decoding.guidance > 0:
        assert unguided_BTD is not None
        embeds_BTD, mask_BT = torch.cat([embeds_BTD, unguided_BTD]), mask_BT.repeat(2, 1)
    alive = list(range(rows))
    counts_BV: Tensor | None = None
    cache: Any = None
    step_input: dict[str, Tensor] = {"inputs_embeds": embeds_BTD}
    for _ in range(decoding.max_tokens):
        output = base(
            **step_input,
            **_positions(base, mask_BT, step_input),
            attention_mask=mask_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        logits_BV = output.logits[:, -1].float()
        if decoding.frequency_penalty and counts_BV is not None:
            # before guidance, which chooses among the tokens plausible now; it sees the same penalty on both sides
            logits_BV = logits_BV - decoding.frequency_penalty * counts_BV.repeat(len(logits_BV) // len(alive), 1)
        if decoding.guidance > 0:
            logits_BV = _guide(*logits_BV.chunk(2), strength=decoding.guidance)
        chosen = _choose(logits_BV, decoding, [generators[row] for row in alive])
        tokens: list[int | None] = [None] * rows
        picked: list[int] = chosen.tolist()
        for row, token in zip(alive, picked, strict=True):
            tokens[row] = token if token not in ends else None
        yield tokens
        if decoding.frequency_penalty:
            counts_BV = torch.zeros_like(logits_BV) if counts_BV is None else counts_BV
            counts_BV[torch.arange(len(chosen), device=chosen.device), chosen] += 1
        going = [i for i, token in enumerate(picked) if token not in ends]
        if not going:
            return
        if len(going) < len(alive):
            kept = going + [len(alive) + i for i in going] if decoding.guidance > 0 else going
            index = torch.tensor(kept, device=mask_BT.device)
            cache.batch_select_indices(index)
            mask_BT, chosen = mask_BT[index], chosen[going]
            counts_BV = None if counts_BV is None else counts_BV[going]
            alive = [alive[i] for i in going]
        chosen = chosen.repeat(2) if decoding.guidance > 0 else chosen
        step_input = {"input_ids": chosen[:, None]}
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(mask_BT), 1)], dim=1)


def _guide(right_BV: Tensor, mean_BV: Tensor, *, strength: float) -> Tensor:
    guided = right_BV + strength * (right_BV - mean_BV)
    floor = right_BV.amax(-1, keepdim=True) + torch.log(torch.tensor(PLAUSIBLE))
    return guided.masked_fill(right_BV < floor, float("-inf"))


def _choose(logits_BV: Tensor, decoding: Decoding, generators: list[torch.Generator]) -> Tensor:
    temperature = decoding.sampling_temperature
    if temperature == 0:
        return logits_BV.argmax(-1)
    probabilities_BV = torch.softmax(logits_BV / temperature, -1)
    if decoding.top_p < 1:
        sorted_BV, order_BV = probabilities_BV.sort(-1, descending=True)
        beyond_BV = sorted_BV.cumsum(-1) - sorted_BV >= decoding.top_p
        probabilities_BV = torch.zeros_like(sorted_BV).scatter(-1, order_BV, sorted_BV.masked_fill(beyond_BV, 0))
    # one draw a row, from the row's own generator: the neighbours cannot change it
    draws_B1 = torch.cat([torch.rand(1, generator=g) for g in generators])[:, None].to(logits_BV.device)
    cumulative_BV = probabilities_BV.cumsum(-1)
    threshold_B1 = draws_B1 * cumulative_BV[:, -1:]
    return (cumulative_BV <= threshold_B1).sum(-1).clamp(max=logits_BV.shape[-1] - 1)


def _positions(base: PreTrainedModel, mask_BT: Tensor, step_input: dict[str, Tensor]) -> dict[str, Tensor]:
    """Positions that skip the padding, for the bases that take them; the others read the mask."""
    if not _takes_positions(type(base)):
        return {}
    width = next(iter(step_input.values())).shape[1]
    return {"position_ids": (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, -width:]}


@lru_cache
def _takes_positions(kind: type[PreTrainedModel]) -> bool:
    return "position_ids" in inspect.signature(kind.forward).parameters


def _end_tokens(base: PreTrainedModel) -> set[int]:
    configured = base.generation_config.eos_token_id if base.generation_config is not None else None
    configured = base.config.eos_token_id if configured is None else configured
    if configured is None:
        return set()
    return set(configured) if isinstance(configured, list) else {configured}
