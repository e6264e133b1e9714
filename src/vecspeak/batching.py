"""Example -> Batch: padded token ids, where the points go, and which tokens are targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vecspeak.examples import Example
from vecspeak.prompts import Prompt, end_token, render, token_ids


@dataclass(frozen=True)
class Batch:
    """Right-padded sequences for training, left-padded ones for generation."""

    ids_BT: Tensor
    mask_BT: Tensor
    """1 for tokens and soft tokens, 0 for padding."""
    points_SE: Tensor
    """The points of all slots of the batch, row after row."""
    rows_S: Tensor
    """Row of each slot."""
    starts_S: Tensor
    """First position of each slot in its row."""
    target_BT: Tensor
    """True where the token is to be predicted; empty of True for generation."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def target_ids(tokenizer: PreTrainedTokenizerBase, target: str, *, max_tokens: int) -> list[int]:
    """Token ids of a target, cut at `max_tokens`; ends with the end token unless it was cut."""
    ids, end = token_ids(tokenizer, target), end_token(tokenizer)
    if len(ids) > max_tokens:
        return ids[:max_tokens]
    return ids if end is None else [*ids, end]


def training_batch(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, tokens_per_vector: int, max_target_tokens: int
) -> Batch:
    """Prompts and targets, padded on the right: a causal model never looks there, so no mask is needed."""
    prompts = [render(tokenizer, example.prompt, tokens_per_vector) for example in examples]
    targets = [target_ids(tokenizer, example.target, max_tokens=max_target_tokens) for example in examples]
    width = max(len(p.ids) + len(t) for p, t in zip(prompts, targets, strict=True))
    ids = np.zeros((len(examples), width), np.int64)
    mask, wanted = np.zeros_like(ids), np.zeros(ids.shape, bool)
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        end = len(prompt.ids) + len(target)
        ids[row, :end] = [*prompt.ids, *target]
        mask[row, :end] = 1
        wanted[row, len(prompt.ids) : end] = True
    points, rows, starts = _slots(prompts, [e.points for e in examples], shifts=[0] * len(prompts))
    return Batch(_tensor(ids), _tensor(mask), points, rows, starts, _tensor(wanted))


def asking_batch(prompts: Sequence[Prompt], points: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Prompts padded on the left, so that all answers begin in one column."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = np.zeros((len(prompts), width), np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = prompt.ids
        mask[row, width - len(prompt.ids) :] = 1
    shifts = [width - len(prompt.ids) for prompt in prompts]
    vectors, rows, starts = _slots(prompts, points, shifts=shifts)
    return Batch(_tensor(ids), _tensor(mask), vectors, rows, starts, torch.zeros(ids.shape, dtype=torch.bool))


def answered_batch(
    prompts: Sequence[Prompt], points: Sequence[Mapping[str, np.ndarray]], answers: Sequence[Sequence[int]]
) -> Batch:
    """Prompts and answers padded on the right, the answers' tokens as targets."""
    width = max(len(prompt.ids) + len(ids) for prompt, ids in zip(prompts, answers, strict=True))
    whole, target = [], np.zeros((len(prompts), width), bool)
    for row, (prompt, ids) in enumerate(zip(prompts, answers, strict=True)):
        both = (*prompt.ids, *ids)
        whole.append(replace(prompt, ids=(*both, *[0] * (width - len(both)))))
        target[row, len(prompt.ids) : len(both)] = True
    return replace(asking_batch(whole, points), target_BT=_tensor(target))


def _slots(
    prompts: Sequence[Prompt], points: Sequence[Mapping[str, np.ndarray]], *, shifts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    vectors, rows, starts = [], [], []
    for row, (prompt, given) in enumerate(zip(prompts, points, strict=True)):
        for name, start in zip(prompt.slots, prompt.starts, strict=True):
            vectors.append(given[name])
            rows.append(row)
            starts.append(start + shifts[row])
    stacked = np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, 1), np.float32)
    return torch.from_numpy(stacked), torch.tensor(rows, dtype=torch.long), torch.tensor(starts, dtype=torch.long)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)
