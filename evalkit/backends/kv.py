"""Keys and values in fixed slots, written in place: what continuous batching needs of a transformers cache.

Knows where a forward pass writes (`Window`), not why: which row sits in which slot is the decoder's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(slots=True)
class Window:
    """Where the next forward pass writes and how far it reads; one object shared by all layers."""

    rows: slice
    """Slots of the batch, a contiguous range of B slots."""
    stop: int
    """Columns read: [0, stop)."""
    start: int = 0
    """First column written where all rows write the same ones."""
    columns: Tensor | None = None
    """(B,) the one column that each row writes, where rows differ."""


class SlotLayer(DynamicLayer):  # type: ignore[no-untyped-call] # transformers leaves its subclass hook untyped
    """One layer's keys and values, (slots, heads, capacity, width), allocated at the first write and never moved."""

    def __init__(self, slots: int, capacity: int, window: Window) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # as above
        self.slots, self.capacity, self.window = slots, capacity, window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros in the shape and dtype of the first states, (B, heads, T, width)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = self._zeros(key_states)
        self.values = self._zeros(value_states)
        self.index = torch.arange(self.slots, device=self.device)
        self.is_initialized = True

    def _zeros(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.slots, like.shape[1], self.capacity, like.shape[-1])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write states (B, heads, T, width) where the window says; return views (B, heads, stop, width)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._write(self.keys, key_states), self._write(self.values, value_states)

    def _write(self, store: Tensor | None, states: Tensor) -> Tensor:
        assert store is not None
        window, target = self.window, store[self.window.rows]
        if window.columns is None:
            target[:, :, window.start : window.start + states.shape[2]] = states
        else:
            target[self.index[: len(target)], :, window.columns] = states[:, :, 0]
        return target[:, :, : window.stop]

    def get_seq_length(self) -> int:
        """Return the number of columns before the ones being written."""
        return self.window.start if self.window.columns is None else self.window.stop - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return length and offset of the keys that a mask covers."""
        return self.window.stop, 0


class SlotCache(Cache):
    """All layers' slots, with the moves that a change of rows needs."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.window = Window(slice(0, 1), 0)
        self.slots = slots
        layer: Any = partial(SlotLayer, slots, capacity, self.window)  # called once a layer, as a class would be
        super().__init__(layer_class_to_replicate=layer)

    def aim(self, rows: slice, stop: int, start: int = 0, columns: Tensor | None = None) -> None:
        """Set where the next forward pass writes; see `Window`."""
        self.window.rows, self.window.stop, self.window.start, self.window.columns = rows, stop, start, columns

    def _stores(self) -> list[Tensor]:
        layers: Any = self.layers
        return [store for layer in layers for store in (layer.keys, layer.values)]

    @torch.inference_mode()
    def share(self, length: int) -> None:
        """Copy the first `length` columns of slot 0 into every slot."""
        for store in self._stores():
            store[1:, :, :length] = store[:1, :, :length]

    @torch.inference_mode()
    def adopt(self, other: SlotCache, length: int) -> None:
        """Copy the first `length` columns of another cache's slot 0 into every slot."""
        layers: Any = self.layers
        for number, source in enumerate(other._stores()):
            layer, part = number // 2, source[:1, :, :length]
            if number % 2 == 0:
                layers.append(self.layer_class_to_replicate())  # type: ignore[misc] # a partial, see __init__
                layers[layer].lazy_initialization(part, other._stores()[number + 1])
            (layers[layer].keys if number % 2 == 0 else layers[layer].values)[:, :, :length] = part

    @torch.inference_mode()
    def move(self, source: int, target: int, stop: int) -> None:
        """Copy the first `stop` columns of one slot over another."""
        for store in self._stores():
            store[target, :, :stop] = store[source, :, :stop]

    @torch.inference_mode()
    def clear(self, slot: int, start: int) -> None:
        """Zero a slot from column `start` on: a NaN left there would reach later rows through a masked zero weight."""
        for store in self._stores():
            store[slot, :, start:] = 0

    def bytes_per_column(self) -> int:
        """Return the memory of one token in one slot over all layers, in bytes."""
        return sum(store[0, :, 0].numel() * store.element_size() for store in self._stores())
