"""A key-value cache that grows in place.

transformers' DynamicCache makes a new tensor of all keys and values at every token; here they lie
in buffers with room at the end, which are copied only when that is used up.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64
_GROWTH = 1.5


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer (batch, heads, tokens, width), views of larger buffers."""

    keys: Tensor
    values: Tensor
    _buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Adds those of new tokens and returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        length = held + key_states.shape[-2]
        if self._buffers is None or length > self._buffers[0].shape[-2]:
            room = max(length + _ROOM, round(held * _GROWTH))
            keys, values = _roomy(key_states, room), _roomy(value_states, room)
            if held:
                keys[..., :held, :], values[..., :held, :] = self.keys, self.values
            self._buffers = keys, values
        keys, values = self._buffers
        keys[..., held:length, :], values[..., held:length, :] = key_states, value_states
        self.keys, self.values = keys[..., :length, :], values[..., :length, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps these rows of the batch."""
        if self.get_seq_length() > 0:
            self.keys = self.keys.index_select(0, indices)
            self.values = self.values.index_select(0, indices)
            self._buffers = None


def growing_cache(config: Any) -> DynamicCache:
    """A cache for a model, with growing layers wherever its own are plain dynamic ones."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer  # type: ignore[no-untyped-call]
        for layer in cache.layers
    ]
    return cache


def can_drop_rows(cache: DynamicCache) -> bool:
    """Whether rows of the batch can be taken out of every layer."""
    return bool(cache.layers) and all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def _roomy(like: Tensor, length: int) -> Tensor:
    batch, heads, _, width = like.shape
    return torch.empty(batch, heads, length, width, dtype=like.dtype, device=like.device)
