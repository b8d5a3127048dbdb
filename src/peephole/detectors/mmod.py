"""dlib's MMOD detector ("max-margin object detection", D. E. King, 2015) in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..frame import Pixels
from ..geometry import Points
from ..models import dat, store
from ..models.session import Session
from ..planner import Canvas, Level, Plan, Profile, Size
from . import Candidates

STRIDE = 8
FIRST_CENTRE = 14
"""Input pixel, counted from 0, in the middle of what the first cell sees: three unpadded 5x5 of stride 2."""
STEM_FIELD = 29
"""Pixels that one cell of the stem's output depends on, a side."""
OUTER = 11
BETWEEN = 10
"""Pixels around and between the levels on dlib's canvas: its defaults, which this model was trained with."""
GAP_COLOUR = (123, 117, 104)
"""What lies between the levels on dlib's canvas: zero after normalisation, so the mean colour, here in 8 bits."""

PROFILE = Profile(
    name="mmod",
    smallest_face=80.0,
    stride=STRIDE,
    receptive_field=STEM_FIELD + STRIDE * (3 * 4 + 8),  # three 5x5 and one 9x9 behind the stem
    ratio=5.0 / 6.0,
    smallest_level=5,
    canvas=Canvas(outer=OUTER, between=BETWEEN),
    bytes_per_pixel=220.0,
    # Multiply-adds of the seven convolutions for each pixel of their input, twice.
    operations_per_pixel=2 * (75 * 16 / 4 + 400 * 32 / 16 + (800 * 32 + 800 * 45 + 1125 * 45 + 1125 * 45 + 3645) / 64),
)


class Mmod:
    """The detector of dlib's ``mmod_human_face_detector.dat``: score threshold 0, one square window."""

    profile = PROFILE

    def __init__(self, *, threads: int | None = None) -> None:
        prepared = store.prepare(store.MMOD)
        self._stem = Session(prepared.graphs["stem"], threads=threads)
        self._tail = Session(prepared.graphs["tail"], threads=threads)
        self._shrink = Session(prepared.graphs["shrink"], threads=threads)
        window = dat.read_network(prepared.source.read_bytes()).window
        assert window is not None  # noqa: S101 - graphs.mmod has seen it
        self.window = window
        self.nms_overlap = window.nms_overlap
        self.nms_covered = window.nms_covered
        self.models = prepared.models

    def shrink(self, pixels: Pixels, size: Size) -> Pixels:
        """See `Detector.shrink`."""
        shrunk: Pixels = self._shrink.run(pixels[None], np.array([1, size[1], size[0], 3]))[0]
        return shrunk

    def scan(self, plan: Plan, images: Iterator[tuple[Level, Pixels]], min_confidence: float) -> Iterator[Candidates]:
        """See `Detector.scan`.

        The levels are looked at on one canvas, laid out as dlib does it, for two reasons. It sets which pixels the
        grid of cells falls on, and cells near a level's edge see across it: with a canvas of its own a level's
        scores differ by up to 0.4 from dlib's there, enough to swap two boxes that are about equally strong.
        """
        canvas = _canvas(plan.levels)
        for level, pixels in images:
            x, y = level.origin
            canvas[y : y + level.size[1], x : x + level.size[0]] = pixels
        scores = self._tail.run(self._stem.run(canvas[None]))[0]
        rows, columns = np.nonzero(scores > min_confidence)
        # The middle of each cell's middle pixel, on the canvas.
        centres = np.stack([columns, rows], axis=1).astype(np.float64) * STRIDE + (FIRST_CENTRE + 0.5)
        confidence = scores[rows, columns].astype(np.float64)
        owner = _nearest(centres, plan.levels)
        half = np.array([self.window.width / 2, self.window.height / 2])
        for index, level in enumerate(plan.levels):
            own = owner == index
            middle = centres[own] - level.origin
            yield level, np.concatenate([middle - half, middle + half], axis=1), confidence[own]


def _canvas(levels: tuple[Level, ...]) -> Pixels:
    """An empty canvas that holds all levels, in the colour of the gaps; at least one cell large."""
    width, height = (
        max(STEM_FIELD, OUTER + max(level.origin[axis] + level.size[axis] for level in levels)) for axis in (0, 1)
    )
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = GAP_COLOUR
    return canvas


def _nearest(points: Points, levels: tuple[Level, ...]) -> NDArray[np.intp]:
    """Index of the level that each point of the canvas, (n, 2), lies in or nearest to, the larger level first."""
    low = np.array([level.origin for level in levels], np.float64)
    high = low + [level.size for level in levels]
    beside = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0.0)
    return np.asarray((beside**2).sum(-1).argmin(1))
