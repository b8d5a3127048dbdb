"""The pictures that a plan calls for, made from the frame a few rows at a time."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .frame import Pixels
from .planner import BAND, Plan, Size

TOGETHER = 32
"""Rows, or columns, of a level that are made by one matrix product."""
NEEDED_AGAIN = 3
"""Bands of the first level, the last one among them, that the next rows of the second may come from."""

Planes = NDArray[np.uint8]
"""(3, height, width): red, green, blue."""


class Shrink(Protocol):
    """The network graph that makes rows of a level; see `models.graphs.shrink`."""

    def __call__(
        self,
        planes: Planes,
        row_index: NDArray[np.int64],
        row_weights: NDArray[np.float32],
        column_index: NDArray[np.int64],
        column_weights: NDArray[np.float32],
        /,
    ) -> NDArray[np.uint8]:
        """Rows of one level, and which of them make which of the next, → those of the next."""
        ...


class Pyramid:
    """All levels of a plan, made a band of rows at a time, from top to bottom.

    The first level is never in memory as a whole unless it is the frame itself. As soon as a band of it is there, so
    are those of the further levels that it makes possible, so that none of it is made twice; each level comes from the
    one before, rounded to 8 bits.
    """

    def __init__(self, pixels: Pixels, plan: Plan, shrink: Shrink) -> None:
        """Over a decoded frame, (height, width, 3) uint8 RGB."""
        self._source = resample(pixels, plan.shrunk)
        self._size = plan.base
        self._native = self._source.shape[1::-1] == plan.base
        self._shrink = shrink
        self._bands: dict[int, Planes] = {}
        self._made = 0  # bands of the first level, counted from its top
        sizes = [level.size for level in plan.levels]
        self._below = [_Level(size, before, self._size[0]) for before, size in itertools.pairwise(sizes)]

    def rows(self, level: int, top: int, bottom: int) -> Planes:
        """Rows of a level, (3, bottom - top, width); a view where they lie together in memory."""
        while (self._below[level - 1].done if level else self._made * BAND) < bottom:
            self._advance()
        return self._below[level - 1].planes[:, top:bottom] if level else self._first(top, bottom)

    def _first(self, top: int, bottom: int) -> Planes:
        """Rows of the first level; of one that is not the frame itself only few bands are kept."""
        if self._native:
            return self._source[top:bottom].transpose(2, 0, 1)
        wanted = range(top // BAND, (bottom - 1) // BAND + 1)
        for old in [index for index in self._bands if index not in wanted and index < self._made - NEEDED_AGAIN]:
            del self._bands[old]
        for index in wanted:
            if index not in self._bands:
                self._bands[index] = self._band(index)
        bands = [self._bands[index] for index in wanted]
        joined = bands[0] if len(bands) == 1 else np.concatenate(bands, axis=1)
        start = wanted[0] * BAND
        return joined[:, top - start : bottom - start]

    def _band(self, index: int) -> Planes:
        top = index * BAND
        rows = resample_rows(self._source, self._size, top, min(top + BAND, self._size[1]))
        return np.ascontiguousarray(rows.transpose(2, 0, 1))

    def _advance(self) -> None:
        """Make the next band of the first level, and what it makes possible of the others."""
        if not self._native:
            self._bands[self._made] = self._band(self._made)
        self._made += 1
        there = min(self._made * BAND, self._size[1])
        for index, level in enumerate(self._below):
            while (needed := level.needed()) and needed.stop <= there:
                level.grow(self.rows(index, needed.start, needed.stop), needed.start, self._shrink)
            there = level.done


class _Level:
    """A level below the first, as far as it is made."""

    def __init__(self, size: Size, before: Size, widest: int) -> None:
        """Of a (width, height), from a level of the size ``before``; ``widest`` is the width of the first level."""
        self.planes = np.empty((3, size[1], size[0]), np.uint8)
        self.done = 0
        self._before = before
        self._columns = _taps(before[0], size[0])
        # Of narrow levels more at once: a call costs as much as many pixels.
        self._step = BAND * (widest // size[0])

    def needed(self) -> range:
        """The rows of the level before that the next ones come from; empty when all are there."""
        height, end = self.planes.shape[1], min(self.done + self._step, self.planes.shape[1])
        if self.done == height:
            return range(0)
        ratio = _ratio(self._before[1], height)
        return range(math.floor(self.done * ratio), min(math.floor((end - 1) * ratio) + 2, self._before[1]))

    def grow(self, source: Planes, first: int, shrink: Shrink) -> None:
        """Make the next rows from those that are `needed`, which begin with the row ``first``."""
        _, height, width = self.planes.shape
        end = min(self.done + self._step, height)
        rows = _taps(self._before[1], height, self.done, end, first)
        made = shrink(source, *rows, *self._columns)
        self.planes[:, self.done : end] = made.reshape(3, len(rows.source) * TOGETHER, -1)[:, : end - self.done, :width]
        self.done = end


class _Taps(NamedTuple):
    """Linear interpolation along one axis as small matrix products: `TOGETHER` neighbours from a window of the source.

    Two of a window's pixels have a weight in each; to multiply the others by zero is cheaper than to pick out the two.

    Attributes:
        source: the source's pixels of each window, (windows, k).
        weights: (windows, k, `TOGETHER`), zero beyond the last pixel.
    """

    source: NDArray[np.int64]
    weights: NDArray[np.float32]


def _taps(length: int, target: int, start: int = 0, end: int | None = None, first: int = 0) -> _Taps:
    """From ``length`` pixels to ``target``, the centres of the first and last pixel kept, as dlib does it.

    Only the target's pixels from ``start`` to ``end``, from a part of the source that begins with the pixel ``first``.
    """
    ratio = _ratio(length, target)
    positions = np.arange(start, target if end is None else end) * ratio
    low = positions.astype(np.int64)
    after = positions - low
    high = np.minimum(low + 1, length - 1)
    size = min(math.ceil((TOGETHER - 1) * ratio) + 2, int(high[-1]) - first + 1)
    left = np.minimum(low[::TOGETHER] - first, high[-1] - first + 1 - size)
    window, place = np.divmod(np.arange(len(positions)), TOGETHER)
    weights = np.zeros((len(left), size, TOGETHER), np.float32)
    weights[window, low - first - left[window], place] = 1 - after
    weights[window, high - first - left[window], place] += after
    return _Taps(left[:, None] + np.arange(size), weights)


def _ratio(length: int, target: int) -> float:
    """Pixels of the source from one pixel of the target to the next."""
    return (length - 1) / max(target - 1, 1)


def base(pixels: Pixels, plan: Plan) -> Pixels:
    """The first level as a whole, for detectors that take nothing less."""
    return resample(resample(pixels, plan.shrunk), plan.base)


def resample(pixels: Pixels, size: Size) -> Pixels:
    """Resize to (width, height), keeping the outer edges; smaller with antialiasing, larger bilinear."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    resized = np.empty((size[1], size[0], 3), np.uint8)
    for top in range(0, size[1], BAND):
        bottom = min(top + BAND, size[1])
        resized[top:bottom] = resample_rows(pixels, size, top, bottom)
    return resized


def resample_rows(pixels: Pixels, size: Size, top: int, bottom: int) -> Pixels:
    """Rows ``top`` to ``bottom`` of what `resample` makes."""
    height, width = pixels.shape[:2]
    ratio = height / size[1]
    support = math.ceil(max(ratio, 1.0)) + 1  # the triangle's half width, and one for rounding
    low, high = max(0, math.floor(top * ratio) - support), min(height, math.ceil(bottom * ratio) + support)
    part = Image.fromarray(np.ascontiguousarray(pixels[low:high]))
    box = (0.0, max(top * ratio - low, 0.0), width, min(bottom * ratio - low, high - low))
    return np.array(part.resize((size[0], bottom - top), Image.Resampling.BILINEAR, box=box))
