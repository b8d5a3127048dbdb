"""Memory that is used again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Arrays by name, used again and again in one scan: a page that is new costs more than what is written to it."""

    def __init__(self) -> None:
        self._blocks: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], kind: type[np.generic] = np.float32) -> NDArray[Any]:
        """An array, its content whatever it was; good until the next one of the name."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        if name not in self._blocks or len(self._blocks[name]) < size:
            self._blocks.pop(name, None)
            self._blocks[name] = np.empty(size, np.uint8)
        return self._blocks[name][:size].view(kind).reshape(shape)

    def packed(self, name: str, part: NDArray[Any]) -> NDArray[Any]:
        """A part of an array in one piece."""
        if part.flags.c_contiguous:
            return part
        copy = self.array(name, part.shape, part.dtype.type)
        copy[:] = part
        return copy
