"""Keys and values of running rows, in buffers that grow in place: lanes join, leave and repeat.

Shapes: L lanes (rows of a forward), W columns. Lanes are aligned on the right, so every one grows by the same column.
"""

from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

ROOM = 64
"""Columns reserved whenever a buffer is made; a step within them copies nothing."""


class GrowingLayer(DynamicLayer):
    """`keys` and `values` (L, heads, W, width) are views of buffers with room on the right."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold(key_states, value_states)
            return self.keys, self.values
        start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self.hold(self.keys, self.values, room=end - start + ROOM)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self._show(end)
        return self.keys, self.values

    def hold(self, keys: Tensor, values: Tensor, *, room: int = ROOM) -> None:
        """Copy these into new buffers."""
        width = keys.shape[-2]
        self._buffers = tuple(_with_room(states, room) for states in (keys, values))
        self._show(width)

    def keep(self, lanes: Tensor, *, lead: int) -> None:
        self.hold(self.keys[lanes, :, lead:], self.values[lanes, :, lead:])

    def join(self, other: "GrowingLayer", *, mine: Tensor, others: Tensor) -> None:
        width = max(self.keys.shape[-2], other.keys.shape[-2])
        buffers = []
        for own, new in ((self.keys, other.keys), (self.values, other.values)):
            # zeros: what stands in the padding is masked, but would poison the sum if it were not finite
            buffer = own.new_zeros(len(own) + len(new), own.shape[1], width + ROOM, own.shape[-1])
            buffer[mine, :, width - own.shape[-2] : width] = own
            buffer[others, :, width - new.shape[-2] : width] = new
            buffers.append(buffer)
        self._buffers = tuple(buffers)
        self._show(width)

    def _show(self, width: int) -> None:
        self.keys, self.values = (buffer[:, :, :width] for buffer in self._buffers)


def _with_room(states: Tensor, room: int) -> Tensor:
    lanes, heads, width, size = states.shape
    buffer = states.new_empty(lanes, heads, width + room, size)
    buffer[:, :, :width] = states
    return buffer


class KeyValues(Cache):
    """A cache of growing layers."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)

    def keep(self, lanes: Tensor, *, lead: int = 0) -> None:
        """Only these lanes, in this order (one may come twice), without the first `lead` columns."""
        for layer in self._filled():
            layer.keep(lanes, lead=lead)

    def join(self, other: "KeyValues", *, mine: Tensor, others: Tensor) -> None:
        """Take in another cache: own lanes go to the places `mine`, the other's to `others`, together 0..L-1."""
        for layer, new in zip(self._filled(), other._filled(), strict=True):
            layer.join(new, mine=mine, others=others)

    def _filled(self) -> list[GrowingLayer]:
        # a layer that reads the cache of another has none of its own
        return [cast(GrowingLayer, layer) for layer in self.layers if layer.is_initialized]


def keeps_only_attention(config: PreTrainedConfig) -> bool:
    """Whether all that a base remembers are keys and values: recurrent layers keep states that have no columns."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers)


def shared_columns(embeds_LTD: Tensor) -> int:
    """Leading columns that are the same in all lanes, the last column never counted: it has to give logits."""
    same_T = (embeds_LTD == embeds_LTD[:1]).all(-1).all(0)[:-1]
    return int(torch.cumprod(same_T.long(), 0).sum())
