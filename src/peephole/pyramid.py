"""The pictures that a plan calls for, made from the frame a few rows at a time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import Image

from .buffers import Buffers
from .frame import Pixels
from .planner import BAND, Plan, Size

ROWS, COLUMNS = 5, 10
"""Rows, or columns, of a level that are made by one matrix product; of those that were tried the fastest."""
AT_ONCE = 6
"""Such products of rows in one call, of the widest level: what they need and make stays near the processor."""
WIDEST = 4096
"""Columns of such a product: from some 5,000 on BLAS wakes its threads, which takes longer than the product."""
NEEDED_AGAIN = 3
"""Bands of the first level, the last one among them, that the next rows of the second may come from."""

Planes = NDArray[np.uint8]
"""(3, height, width): red, green, blue."""
Floats = NDArray[np.float32]


class Pyramid:
    """All levels of a plan, made a band of rows at a time, from top to bottom.

    The first level is never in memory as a whole unless it is the frame itself. As soon as a band of it is there, so
    are those of the further levels that it makes possible, so that none of it is made twice; each level comes from the
    one before, rounded to 8 bits.
    """

    def __init__(self, pixels: Pixels, plan: Plan) -> None:
        """Over a decoded frame, (height, width, 3) uint8 RGB."""
        self._source = resample(pixels, plan.shrunk)
        self._size = plan.base
        self._native = self._source.shape[1::-1] == plan.base
        self._bands: dict[int, Planes] = {}
        self._made = 0  # bands of the first level, counted from its top
        sizes = [level.size for level in plan.levels]
        self._below = [_Level(size, before, self._size[0]) for before, size in itertools.pairwise(sizes)]
        self._buffers = Buffers()

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
                level.grow(self.rows(index, needed.start, needed.stop), self._buffers)
            there = level.done


class _Level:
    """A level below the first, as far as it is made."""

    def __init__(self, size: Size, before: Size, widest: int) -> None:
        """Of a (width, height), from a level of the size ``before``; ``widest`` is the width of the first level."""
        self.planes = np.empty((3, size[1], size[0]), np.uint8)
        self.done = 0
        self._height = before[1]
        self._rows = Taps.between(before[1], size[1], ROWS)
        self._columns = Taps.between(before[0], size[0], COLUMNS)
        self._column_weights = np.ascontiguousarray(self._columns.weights.transpose(0, 2, 1))
        # Of narrow levels more at once: a call costs as much as many pixels.
        self._windows = AT_ONCE * (widest // size[0])

    def needed(self) -> range:
        """The rows of the level before that the next ones come from; empty when all are there."""
        first = self.done // ROWS
        if first == self._rows.windows or self.done == self.planes.shape[1]:
            return range(0)
        last = min(first + self._windows, self._rows.windows) - 1
        return range(first * self._rows.step, min(last * self._rows.step + self._rows.taps, self._height))

    def grow(self, source: Planes, buffers: Buffers) -> None:
        """Make the next rows from those that are `needed`."""
        _, height, width = self.planes.shape
        first = self.done // ROWS
        weights = self._rows.weights[first : first + self._windows]
        count, columns = len(weights), self._columns
        pixels = buffers.array("pixels", (3, (count - 1) * self._rows.step + self._rows.taps, columns.reach))
        pixels[:, : source.shape[1], : source.shape[2]] = source
        # What lies beyond has no weight, but zero times what is not a number would be none.
        pixels[:, source.shape[1] :] = pixels[:, :, source.shape[2] :] = 0.0
        between = buffers.array("between", (3, count * ROWS, columns.reach))
        sources, target = windows(pixels, 1, self._rows, count), between.reshape(3, count, ROWS, -1)
        for left in range(0, columns.reach, WIDEST):
            part = slice(left, left + WIDEST)
            np.matmul(weights, sources[..., part], out=target[..., part])
        made = buffers.array("made", (3, count * ROWS, columns.windows * COLUMNS))
        target = made.reshape(3, count * ROWS, columns.windows, COLUMNS).transpose(0, 2, 1, 3)
        np.matmul(windows(between, 2, columns, columns.windows), self._column_weights, out=target)
        made += 0.5  # the cast rounds down
        end = min(self.done + count * ROWS, height)
        self.planes[:, self.done : end] = made[:, : end - self.done, :width]
        self.done = end


@dataclass(frozen=True, slots=True)
class Taps:
    """Linear interpolation along one axis as matrix products: a few neighbours from a window of the source.

    Two of a window's pixels have a weight in each; to multiply the others by zero is cheaper than to pick out the two.
    All windows are equally long and equally far apart, so that they are views: nothing is copied.

    Attributes:
        weights: (windows, n, taps), zero beyond the last pixel.
        step: pixels of the source from one window to the next.
    """

    weights: Floats
    step: int

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.weights)

    @property
    def taps(self) -> int:
        """Pixels of a window."""
        return int(self.weights.shape[2])

    @property
    def reach(self) -> int:
        """Pixels from the first window's first to the last one's last, which may lie beyond the source."""
        return (self.windows - 1) * self.step + self.taps

    @classmethod
    def between(cls, length: int, target: int, together: int) -> Taps:
        """From ``length`` pixels to ``target``, the centres of the first and last pixel kept, as dlib does it."""
        ratio = (length - 1) / max(target - 1, 1)
        positions = np.arange(target) * ratio
        low = positions.astype(np.int64)
        after = positions - low
        high = np.minimum(low + 1, length - 1)
        step = max(1, math.floor(ratio * together))
        window, place = np.divmod(np.arange(target), together)
        taps = int((high - window * step).max()) + 1
        weights = np.zeros((-(-target // together), together, taps), np.float32)
        weights[window, place, low - window * step] = 1 - after
        weights[window, place, high - window * step] += after
        return cls(weights, step)


def windows(planes: Floats, axis: int, taps: Taps, count: int) -> Floats:
    """The first windows along an axis of (3, height, width): a view (3, count, height or taps, width or taps)."""
    shape, strides = list(planes.shape), list(planes.strides)
    shape[axis] = taps.taps
    shape.insert(1, count)
    strides.insert(1, taps.step * planes.strides[axis])
    return as_strided(planes, shape, strides, writeable=False)


def base(pixels: Pixels, plan: Plan) -> Pixels:
    """The first level as a whole, for detectors that take nothing less."""
    return resample(resample(pixels, plan.shrunk), plan.base)


def halved(pixels: Pixels, size: Size, buffers: Buffers) -> Pixels:
    """Half of what `resample` makes of a picture: rounded means of 2x2 pixels, without an odd last row or column."""
    width, height = size[0] // 2, size[1] // 2
    half = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND // 2):
        end = min(top + BAND // 2, height)
        low, high = 2 * top, 2 * end
        rows = pixels[low:high] if pixels.shape[1::-1] == size else resample_rows(pixels, size, low, high)
        pairs = buffers.array("pairs", (end - top, 2 * width, 3), np.uint16)
        np.add(rows[::2, : 2 * width], rows[1::2, : 2 * width], out=pairs, dtype=np.uint16)
        sums = _neighbours(pairs.reshape(-1), 3, buffers.array("sums", (pairs.size,), np.uint16))
        sums += 2
        sums >>= 2
        for channel in range(3):  # every other pixel; one channel is copied three times as fast as all of them
            half[top:end, :, channel] = sums.reshape(end - top, width, 6)[:, :, channel]
    return half


def smoothed(rows: Pixels, passes: int, buffers: Buffers) -> Pixels:
    """Rows of a picture, (height, width, 3), smoothed so many times by (1, 2, 1) / 4 along each axis.

    Two passes are summed at once in 16 bits, and rounded; beyond an edge lies its last pixel. So many rows as there are
    passes depend on what lies beyond the first row, and beyond the last. They are good until the next ones.
    """
    height, width = rows.shape[:2]
    for done in range(0, passes, 2):
        taps = min(passes - done, 2)
        wide = buffers.array("wide", (height + 2 * taps, width + 2 * taps, 3), np.uint16)
        inner = wide[:, taps:-taps]
        inner[taps:-taps] = rows
        inner[:taps], inner[-taps:] = rows[:1], rows[-1:]
        wide[:, :taps], wide[:, -taps:] = inner[:, :1], inner[:, -1:]
        sums, other = wide.reshape(-1), buffers.array("other", (wide.size,), np.uint16)
        for step in [3] * 2 * taps + [wide[0].size] * 2 * taps:
            sums, other = _neighbours(sums, step, other), sums
        sums += 1 << (4 * taps - 1)
        sums >>= 4 * taps
        rows = buffers.array("smoothed", (height, width, 3), np.uint8)
        rows[:] = sums.reshape(wide.shape)[:height, :width]
    return rows


def _neighbours(numbers: NDArray[np.uint16], step: int, out: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The sum of each number and the one so many further; the last ones mean nothing. Flat, because that is fast."""
    np.add(numbers[:-step], numbers[step:], out=out[:-step])
    return out


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
