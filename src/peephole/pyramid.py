"""The pictures that a plan calls for, made from the frame a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .frame import Pixels
from .planner import BAND, KEPT_BANDS, Plan, Size

INSIDE = 1 - 2**-22
"""As far as ``part`` may reach; the next number of float32 but three below 1."""

Shrink = Callable[[Pixels, NDArray[np.float32], NDArray[np.int64]], Pixels]
"""``(1, h, w, 3)`` rows, the part of them to span, the shape to get → those rows; see `models.graphs`."""


class Pyramid:
    """All levels of a plan, made as they are asked for.

    The first level is never in memory as a whole unless it is the frame itself. Of each further level the rows up to
    the last one asked for are there; they come from the level before, rounded to 8 bits, as they stream.
    """

    def __init__(self, pixels: Pixels, plan: Plan, shrink: Shrink) -> None:
        """Over a decoded frame, (height, width, 3) uint8 RGB."""
        self._source = resample(pixels, plan.shrunk)
        self._sizes = [level.size for level in plan.levels]
        self._shrink = shrink
        self._bands: dict[int, Pixels] = {}
        self._levels: dict[int, Pixels] = {}
        self._done = [0] * len(self._sizes)

    def rows(self, level: int, top: int, bottom: int) -> Pixels:
        """Rows of a level, (bottom - top, width, 3); a view where they lie together in memory."""
        width, height = self._sizes[level]
        if level:
            while self._done[level] < bottom:
                self._grow(level)
            return self._levels[level][top:bottom]
        if self._source.shape == (height, width, 3):
            return self._source[top:bottom]
        bands = [self._band(index) for index in range(top // BAND, (bottom - 1) // BAND + 1)]
        joined = bands[0] if len(bands) == 1 else np.concatenate(bands)
        start = top // BAND * BAND
        return joined[top - start : bottom - start]

    def _band(self, index: int) -> Pixels:
        if index not in self._bands:
            for old in [key for key in self._bands if key <= index - KEPT_BANDS]:
                del self._bands[old]
            bottom = min((index + 1) * BAND, self._sizes[0][1])
            self._bands[index] = resample_rows(self._source, self._sizes[0], index * BAND, bottom)
        return self._bands[index]

    def _grow(self, level: int) -> None:
        """Make the next `BAND` rows of a level from the one before."""
        (width, height), (_, source_height) = self._sizes[level], self._sizes[level - 1]
        if level not in self._levels:
            self._levels[level] = np.empty((height, width, 3), np.uint8)
        top = self._done[level]
        bottom = min(top + BAND, height)
        # Where the centres of the first and last row fall, in rows of the level before.
        ratio = (source_height - 1) / max(height - 1, 1)
        first, last = top * ratio, (bottom - 1) * ratio
        low, high = math.floor(first), min(math.floor(last) + 2, source_height)
        rows = self.rows(level - 1, low, high)
        span = max(high - low - 1, 1)
        # Inside: in float32 the position may step beyond the last pixel, and there ONNX shows black. A single column
        # is the first one's, as in Transform.resize_aligned; ONNX would take the mean of both ends.
        across = INSIDE if width > 1 else 0.0
        part = np.array([0, (first - low) / span, 0, 0, 1, min((last - low) / span, INSIDE), across, 1], np.float32)
        shape = np.array([1, bottom - top, width, 3], np.int64)
        self._levels[level][top:bottom] = self._shrink(rows[None], part, shape)[0]
        self._done[level] = bottom


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
