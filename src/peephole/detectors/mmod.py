"""dlib's MMOD detector ("max-margin object detection", D. E. King, 2015) in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import planner
from ..frame import Pixels
from ..geometry import Points
from ..models import dat, store
from ..models.session import ONNXRUNTIME, Runtime
from ..planner import Canvas, Level, Plan, Profile, Streaming
from ..pyramid import Pyramid
from ..timings import StageClock
from . import Candidates, LandmarkKind

STRIDE = 8
FIRST_CENTRE = 14
"""Input pixel, counted from 0, in the middle of what the first cell sees: three unpadded 5x5 of stride 2."""
STEM_FIELD = 29
"""Pixels that one cell of the stem's output depends on, a side."""
FEATURES = 32
"""Channels of the stem's output."""
TAIL_HALO = 3 * 2 + 4
"""Cells on each side that a score depends on: three 5x5 and one 9x9."""
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
    bytes_per_pixel=0.0,
    # Multiply-adds of the seven convolutions for each pixel of their input, twice.
    operations_per_pixel=2 * (75 * 16 / 4 + 400 * 32 / 16 + (800 * 32 + 800 * 45 + 1125 * 45 + 1125 * 45 + 3645) / 64),
    streaming=Streaming(
        stem_field=STEM_FIELD,
        tail_halo=TAIL_HALO,
        feature_bytes=4.0 * FEATURES,
        stem_bytes=44.0,
        tail_bytes=640.0,
        band_bytes=60.0,
    ),
)


class Mmod:
    """The detector of dlib's ``mmod_human_face_detector.dat``: score threshold 0, one square window."""

    profile = PROFILE
    voter = None
    landmarks: LandmarkKind = "none"

    def __init__(self, runtime: Runtime = ONNXRUNTIME) -> None:
        """Load it into a runtime.

        Raises:
            ModelError: its file cannot be used.
            UsageError: the runtime cannot be had.
        """
        prepared = store.prepare(store.MMOD)
        self._stem = runtime.open(prepared.graphs["stem"])
        self._tail = runtime.open(prepared.graphs["tail"])
        window = dat.read_network(prepared.source.read_bytes()).window
        assert window is not None  # noqa: S101 - graphs.mmod has seen it
        self.window = window
        self.nms_overlap = window.nms_overlap
        self.nms_covered = window.nms_covered
        self.models = prepared.models

    def scan(
        self, pixels: Pixels, plan: Plan, min_confidence: float, clock: StageClock | None = None
    ) -> Iterator[Candidates]:
        """See `Detector.scan`; the stem is the "head".

        The levels are looked at on one canvas, laid out as dlib does it, for two reasons. It sets which pixels the
        grid of cells falls on, and cells near a level's edge see across it: with a canvas of its own a level's
        scores differ by up to 0.4 from dlib's there, enough to swap two boxes that are about equally strong.
        """
        clock = clock or StageClock()
        with clock.stage("resize"):
            canvas = _Canvas(Pyramid(pixels, plan), plan)
        cells, confidence = self._scores(canvas, plan, min_confidence, clock)
        # The middle of each cell's middle pixel, on the canvas.
        centres = cells.astype(np.float64) * STRIDE + (FIRST_CENTRE + 0.5)
        owner = _nearest(centres, plan.levels)
        half = np.array([self.window.width / 2, self.window.height / 2])
        for index, level in enumerate(plan.levels):
            own = owner == index
            middle = centres[own] - level.origin
            yield Candidates(level, np.concatenate([middle - half, middle + half], axis=1), confidence[own])

    def _scores(
        self, canvas: _Canvas, plan: Plan, min_confidence: float, clock: StageClock
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Cells of the canvas whose score exceeds ``min_confidence``, (n, 2) column and row, and their scores.

        From top to bottom: the stem makes strips of features, and as soon as a window of the tail is complete it is
        turned into scores. Only the features from that window on are there, and none is computed twice. Those of a
        window lie together, so that a tail as wide as the canvas takes them as they are.
        """
        tiling = plan.tiling
        width, height = (planner.cells(side, PROFILE) for side in canvas.size)
        windows = spans(height, tiling.rows, TAIL_HALO)
        strip = min(tiling.strip, height)
        features = np.empty((1, FEATURES, windows[0].high - windows[0].low, width), np.float32)
        ahead = np.empty((1, FEATURES, strip, width), np.float32)  # what strips have made beyond the window
        found: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
        bottom = end = 0  # of the rows of features that were made, and of the window
        for rows in windows:
            top, kept = rows.low, end - rows.low
            features[:, :, :kept] = features[:, :, features.shape[2] - kept :].copy()
            taken = min(bottom, rows.high) - end
            features[:, :, kept : kept + taken] = ahead[:, :, :taken]
            ahead[:, :, : bottom - end - taken] = ahead[:, :, taken : bottom - end].copy()
            end = rows.high
            while bottom < end:
                low = min(bottom, height - strip)  # the last strip is as high as the others: one shape for all
                inside = min(low + strip, end)
                for columns in spans(width, tiling.columns, 0):
                    with clock.stage("resize"):
                        under = canvas.pixels(low, low + strip, columns.low, columns.high)[None]
                    with clock.stage("head"):
                        made = self._stem.run(under)
                        across = slice(columns.low, columns.high)
                        features[:, :, bottom - top : inside - top, across] = made[:, :, bottom - low : inside - low]
                        ahead[:, :, : low + strip - inside, across] = made[:, :, inside - low :]
                        del made  # it would lie there while the tail runs
                bottom = low + strip
            for columns in spans(width, tiling.columns, TAIL_HALO):
                tile = features[:, :, :, columns.low : columns.high]
                with clock.stage("tail"):
                    scores = self._tail.run(np.ascontiguousarray(tile))[0, rows.inner, columns.inner]
                    row, column = np.nonzero(scores > min_confidence)
                at = np.stack([column + columns.start, row + rows.start], axis=1)
                found.append((at, scores[row, column].astype(np.float64)))
        return np.concatenate([at for at, _ in found]), np.concatenate([score for _, score in found])


class _Canvas:
    """What the stem looks at: every level in its place, made a strip at a time."""

    def __init__(self, pyramid: Pyramid, plan: Plan) -> None:
        self._pyramid, self._levels = pyramid, plan.levels
        self.size = planner.canvas_size(plan.levels, PROFILE)
        self._strip = np.empty((3, 0, 0), np.uint8)

    def pixels(self, top: int, bottom: int, left: int, right: int) -> Pixels:
        """The pixels under some rows and columns of cells, (3, height, width) uint8; good until the next call."""
        y, x = top * STRIDE, left * STRIDE
        height, width = ((high - low - 1) * STRIDE + STEM_FIELD for low, high in ((top, bottom), (left, right)))
        if self._strip.shape != (3, height, width):
            self._strip = np.empty((3, height, width), np.uint8)
        self._strip[:] = np.array(GAP_COLOUR, np.uint8)[:, None, None]
        for index, level in enumerate(self._levels):
            # The level's part of the strip, in the level's pixels.
            x0, y0 = max(x - level.origin[0], 0), max(y - level.origin[1], 0)
            x1, y1 = min(x + width - level.origin[0], level.size[0]), min(y + height - level.origin[1], level.size[1])
            if x0 < x1 and y0 < y1:
                there = self._strip[:, y0 + level.origin[1] - y :, x0 + level.origin[0] - x :]
                there[:, : y1 - y0, : x1 - x0] = self._pyramid.rows(index, y0, y1)[:, :, x0:x1]
        return self._strip


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of cells that is computed, ``low`` to ``high``, and the part of it that is kept, from ``start`` on."""

    low: int
    high: int
    start: int
    end: int

    @property
    def inner(self) -> slice:
        """The kept part, counted from ``low``."""
        return slice(self.start - self.low, self.end - self.low)


def spans(length: int, step: int, halo: int) -> list[Span]:
    """Stretches of equal length, each with ``halo`` on both sides, whose kept parts cover ``length`` without a gap.

    As few as keep no more than ``step``, and then as short as so many can be. At the two ends a stretch is shifted
    inwards instead of cut off, and there keeps what would have been its halo: nothing lies beyond.
    """
    count = max(1, -(-(length - 2 * halo) // step))
    size = min(-(-(length + 2 * halo * (count - 1)) // count), length)
    found: list[Span] = []
    start = 0
    while start < length:
        low = min(max(start - halo, 0), length - size)
        high = low + size
        end = length if high == length else high - halo
        found.append(Span(low, high, start, end))
        start = end
    return found


def _nearest(points: Points, levels: tuple[Level, ...]) -> NDArray[np.intp]:
    """Index of the level that each point of the canvas, (n, 2), lies in or nearest to, the larger level first."""
    low = np.array([level.origin for level in levels], np.float64)
    high = low + [level.size for level in levels]
    beside = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0.0)
    return np.asarray((beside**2).sum(-1).argmin(1))
