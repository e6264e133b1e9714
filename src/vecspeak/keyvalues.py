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

    keys: Tensor
    values: Tensor
    _buffers: tuple[Tensor, Tensor]
    _lead: int = 0
    """Columns of the buffers before those in view."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold(key_states, value_states)
            return self.keys, self.values
        width, added = self.keys.shape[-2], key_states.shape[-2]
        if self._lead + width + added > self._buffers[0].shape[-2]:
            self.hold(self.keys, self.values, room=added + ROOM)
        start = self._lead + width
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : start + added] = new
        self._show(width + added)
        return self.keys, self.values

    def hold(self, keys: Tensor, values: Tensor, *, room: int = ROOM) -> None:
        """Copy these into new buffers."""
        self._buffers, self._lead = (_with_room(keys, room), _with_room(values, room)), 0
        self._show(keys.shape[-2])

    def trim(self, lead: int) -> None:
        self._lead += lead
        self._show(self.keys.shape[-2] - lead)

    def replace(self, other: "GrowingLayer", *, lanes: Tensor) -> None:
        for own, new in ((self.keys, other.keys), (self.values, other.values)):
            own[lanes, :, own.shape[-2] - new.shape[-2] :] = new

    def keep(self, lanes: Tensor, *, lead: int) -> None:
        self.hold(self.keys[lanes, :, lead:], self.values[lanes, :, lead:])

    def join(self, other: "GrowingLayer", *, mine: Tensor, others: Tensor) -> None:
        places = (mine, others)
        self._buffers = (_joined((self.keys, other.keys), places), _joined((self.values, other.values), places))
        self._lead = 0
        self._show(max(self.keys.shape[-2], other.keys.shape[-2]))

    def _show(self, width: int) -> None:
        self.keys, self.values = (buffer[:, :, self._lead : self._lead + width] for buffer in self._buffers)


def _with_room(states: Tensor, room: int) -> Tensor:
    lanes, heads, width, size = states.shape
    buffer = states.new_empty(lanes, heads, width + room, size)
    buffer[:, :, :width] = states
    return buffer


def _joined(states: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor]) -> Tensor:
    first, width = states[0], max(part.shape[-2] for part in states)
    # zeros: what stands in the padding is masked, but would poison the sum if it were not finite
    buffer = first.new_zeros(sum(map(len, states)), first.shape[1], width + ROOM, first.shape[-1])
    for part, lanes in zip(states, places, strict=True):
        buffer[lanes, :, width - part.shape[-2] : width] = part
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

    def trim(self, lead: int) -> None:
        """Leave out the first `lead` columns; nothing is copied."""
        for layer in self._filled():
            layer.trim(lead)

    def replace(self, other: "KeyValues", *, lanes: Tensor) -> None:
        """Put another cache, no wider than this one, in the place of `lanes`; left of it stays what they held."""
        for layer, new in zip(self._filled(), other._filled(), strict=True):
            layer.replace(new, lanes=lanes)

    def _filled(self) -> list[GrowingLayer]:
        # a layer that reads the cache of another has none of its own
        return [layer for layer in cast(list[GrowingLayer], self.layers) if layer.is_initialized]


def keeps_only_attention(config: PreTrainedConfig) -> bool:
    """Whether all that a base remembers are keys and values: recurrent layers keep states that have no columns."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers)


def shared_columns(embeds_LTD: Tensor) -> int:
    """Leading columns that are the same in all lanes, the last column never counted: it has to give logits."""
    same_T = (embeds_LTD == embeds_LTD[:1]).all(-1).all(0)[:-1]
    return int(torch.cumprod(same_T.long(), 0).sum())
