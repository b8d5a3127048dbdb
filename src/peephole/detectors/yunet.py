"""YuNet (W. Wu, H. Peng, S. Yu, 2023): boxes, confidence and five landmarks from one small network, in strips.

It answers as OpenCV's ``FaceDetectorYN`` does on the same file (``face_detect.cpp``): pictures are filled up with black
to whole blocks of 32 pixels at the right and at the bottom, a confidence is the geometric mean of two probabilities,
and boxes that overlap by more than 0.3 of their union are one face.

Two things are added. The boxes of a face vote on its place. And a frame is looked at on several levels, each of which
may report any face of 20 of its own pixels or more: at full size, and, as one scale shows faces up to 400 pixels, at a
quarter of the size, and so on; where the frame has grain, which hides faces on the finer levels, also at half the size,
at an eighth, and so on. A level with grain is smoothed as far as that asks for; full size is left out where nothing
helps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..buffers import Buffers
from ..frame import Pixels
from ..geometry import Boxes, Points, areas
from ..models import store
from ..models.session import ONNXRUNTIME, Runtime
from ..planner import BAND, Plan, Profile, Size, Streaming, Tiling
from ..pyramid import halved, resample, resample_rows, smoothed
from ..timings import StageClock
from . import Candidates, LandmarkKind
from .mmod import Span, spans

STRIDE = 8
"""Pixels from one cell of the stem's features to the next."""
HALF = 16
"""Pixels of a cell at half the features' resolution, a side; strips and tiles are whole ones."""
BLOCK = 32
"""Pixels that the network makes one cell of, at its coarsest, a side."""
STEM_HALO = 3
"""Cells of 16 pixels beyond its own that a feature depends on: 35 pixels above and left, 34 on the other sides."""
NECK_HALO = 5
"""Blocks beyond its own that what the neck makes of a block depends on: four at 1/32, and two cells at 1/16 before."""
KEPT = ("features", "maxima")
LANDMARKS = 5
TAIL_COLUMNS = 4
"""How much wider than a strip's the neck's tiles may be: its features take a quarter of the memory."""
REGULAR = 2
"""The first convolutions make the picture of the level after the next, at a quarter of the size, in passing."""
SMALLEST = 20.0
LARGEST = 400.0
"""Sides of squares as large as the smallest and the largest face found reliably at one scale; measured on portraits
enlarged step by step."""
BEARABLE = 0.015
"""At a grain of 0.01 the full size alone finds all faces that any level finds, at 0.02 it loses one in fourteen."""
DROWNING = 0.07
"""Of faces of 24 to 60 pixels the full size finds some, smoothed, at a grain of 0.06, and at 0.08 none that the half
size does not find."""
SMOOTHED_BY = 0.01
"""Of the fewest and the most passes that leave nothing to be gained, on frames of three grains, about the middle."""
LOG_SIDES = 16.0
"""Logarithm of a box's sides, in cells, that is not exceeded: noise must not overflow."""

PROFILE = Profile(
    name="yunet",
    smallest_face=SMALLEST,
    stride=STRIDE,
    receptive_field=(2 * NECK_HALO + 1) * BLOCK + 2 * STEM_HALO * HALF,
    ratio=1 / 2,
    smallest_level=80,
    canvas=None,
    bytes_per_pixel=0.0,
    # Multiply-adds for each pixel of the input, twice: of what is computed at 1/2, 1/4, 1/8, 1/16 and 1/32.
    operations_per_pixel=2 * (832 / 4 + 5136 / 16 + 15184 / 64 + 15184 / 256 + 15184 / 1024),
    streaming=Streaming(
        stem_field=STRIDE,
        tail_halo=NECK_HALO * BLOCK // STRIDE,
        feature_bytes=384.0,
        stem_bytes=60.0,
        tail_bytes=350.0,
        band_bytes=62.0,
        block=BLOCK,
        tail_columns=TAIL_COLUMNS,
        stem_halo=STEM_HALO * HALF // STRIDE,
        tilings=(
            Tiling(40, 96, 104),
            Tiling(32, 48, 104),
            Tiling(32, 32, 64),
            Tiling(16, 16, 64),
            Tiling(8, 8, 32),
        ),
        most_buffers=64e6,
    ),
    largest_face=LARGEST,
    default_confidence=0.8,
    regular=REGULAR,
    bearable=BEARABLE,
    drowning=DROWNING,
    smoothed_by=SMOOTHED_BY,
    small=640 * 480,
)


class Yunet:
    """YuNet from the installed package, or from a file of the user's own.

    OpenCV has no counterpart to ``nms_covered``: it takes out parts of a large face that a finer level took for faces.
    """

    profile = PROFILE
    nms_overlap = 0.3
    nms_covered = 0.8
    voter = 0.7
    landmarks: LandmarkKind = "arcface"

    def __init__(self, path: str | Path | None = None, runtime: Runtime = ONNXRUNTIME) -> None:
        """Load it into a runtime.

        Args:
            path: an ONNX file of YuNet, with weights of any precision; by default the published one.
            runtime: what runs it.

        Raises:
            ModelError: the file cannot be used, or is not YuNet's.
            UsageError: the runtime cannot be had.
        """
        published = store.YUNET
        asset = published if path is None else store.local("yunet", path, published.graphs, builder="yunet")
        prepared = store.prepare(asset)
        self._stem, self._neck, self._head = (runtime.open(prepared.graphs[name]) for name in ("stem", "neck", "head"))
        self.models = prepared.models

    def scan(
        self, pixels: Pixels, plan: Plan, min_confidence: float, clock: StageClock | None = None
    ) -> Iterator[Candidates]:
        """See `Detector.scan`; every level has landmarks, and confidence is from 0 to 1.

        The stem is the "head", neck and head are the "tail".
        """
        clock, buffers = clock or StageClock(), Buffers()
        with clock.stage("resize"):
            picture = frame = resample(pixels, plan.shrunk)
        quarters: dict[int, Pixels] = {}  # by the octave that they are the picture of
        for level in plan.levels:
            octave = round(math.log2(level.to_native.a * plan.base[0] / plan.frame[0]))
            with clock.stage("resize"):
                if octave in quarters:
                    picture = quarters.pop(octave)
                elif octave:
                    picture = halved(picture, plan.base if picture is frame else picture.shape[1::-1], buffers)
                picture = picture[: level.size[1], : level.size[0]] if octave else frame
                source = _Source(picture, level.size, level.passes)
            said = [each.above(min_confidence) for each in self._look(source, plan.tiling, buffers, clock)]
            quarters[octave + REGULAR] = source.quarter
            boxes, confidence, landmarks = (np.concatenate(parts) for parts in zip(*said, strict=True))
            # What is too small for a coarser level the finer one sees better.
            seen = areas(boxes) >= (SMALLEST**2 if octave else 0.0)
            yield Candidates(level, boxes[seen], confidence[seen], landmarks[seen])

    def _look(self, source: _Source, tiling: Tiling, buffers: Buffers, clock: StageClock) -> Iterator[_Said]:
        """What the heads say on a level, part by part, from top to bottom.

        As soon as the features under a window are there, the neck says what is at 1/16 and 1/32, and makes the finer
        features from which the head says what is at 1/8. Strips, windows and tiles are of equal sizes.
        """
        across, down = (side // BLOCK for side in source.size)
        windows = spans(down, max(tiling.rows * STRIDE // BLOCK, 1), NECK_HALO)
        for window, features, maxima in self._features(source, tiling, windows, buffers, clock):
            finer = buffers.array("finer", (*maxima.shape[:3], 2 * across))
            for tile in spans(across, max(TAIL_COLUMNS * tiling.columns * STRIDE // BLOCK, 1), NECK_HALO):
                with clock.stage("tail"):
                    below = maxima[:, :, :, 2 * tile.low : 2 * tile.high]
                    made, *said = self._neck.run_all(buffers.packed("tile", below))
                    along = _times(tile, 2)
                    finer[:, :, :, along.start : along.end] = made[:, :, :, along.inner]
                    parts = [
                        _Said.copied(each, BLOCK // times, _times(window, times), _times(tile, times))
                        for each, times in zip(said, (2, 1), strict=True)
                    ]
                    del made, said  # what the runtime made lies amid the memory that its next run wants
                yield from parts
            yield from self._finest(_times(window, 2), features, finer, tiling, buffers, clock)

    def _features(
        self, source: _Source, tiling: Tiling, windows: list[Span], buffers: Buffers, clock: StageClock
    ) -> Iterator[tuple[Span, NDArray[np.float32], NDArray[np.float32]]]:
        """Each window of blocks with its features and their maxima, (1, c, rows, columns); good until the next one.

        The stem makes strips of them, and only those from the window on are there. None is computed twice, but for
        the halos of the strips.
        """
        across, down = (side // HALF for side in source.size)
        strips = spans(down, max(tiling.strip * STRIDE // HALF, 1), STEM_HALO)
        tiles = spans(across, max(tiling.columns * STRIDE // HALF, 1), STEM_HALO)
        rows = 2 * (windows[0].high - windows[0].low) + max(each.end - each.start for each in strips)
        kept: list[NDArray[np.float32]] = []  # the features, and their maxima
        top = bottom = 0  # the rows that are there, in cells of 16 pixels
        for window in windows:
            low, high = 2 * window.low, 2 * window.high
            for each, times in zip(kept, (2, 1), strict=False):
                for plane in each[0]:
                    plane[: times * (bottom - low)] = plane[times * (low - top) : times * (bottom - top)]
            top = low
            while bottom < high:
                strip = strips.pop(0)
                for tile in tiles:
                    with clock.stage("resize"):
                        under = source.pixels(_times(strip, HALF), _times(tile, HALF), buffers)
                    with clock.stage("head"):
                        *made, quarter = self._stem.run_all(under)
                        if not kept:
                            shapes = [
                                (1, made[0].shape[1], times * min(rows, down), times * across) for times in (2, 1)
                            ]
                            kept = [buffers.array(name, shape) for name, shape in zip(KEPT, shapes, strict=True)]
                        for each, times in zip(kept, (2, 1), strict=True):
                            at, along = _times(strip, times), _times(tile, times)
                            there = each[:, :, at.start - times * top : at.end - times * top, along.start : along.end]
                            there[:] = made.pop(0)[:, :, at.inner, along.inner]
                        at, along = _times(strip, 4), _times(tile, 4)
                        source.quarter[at.start : at.end, along.start : along.end] = quarter[0, at.inner, along.inner]
                        del quarter
                bottom = strip.end
            features, maxima = (each[:, :, : times * (high - top)] for each, times in zip(kept, (2, 1), strict=True))
            yield window, features, maxima

    def _finest(
        self,
        window: Span,
        features: NDArray[np.float32],
        finer: NDArray[np.float32],
        tiling: Tiling,
        buffers: Buffers,
        clock: StageClock,
    ) -> Iterator[_Said]:
        """What the head says of a window, in cells of 16 pixels, from the features at 1/8 and at 1/16 under it."""
        # What the head sees beyond the kept rows is a row of these cells.
        low, high = max(window.start - 1, window.low), min(window.end + 1, window.high)
        at, start, end = low - window.low, window.start - window.low, window.end - window.low
        for row in spans(high - low, max(tiling.strip * STRIDE // HALF, 1), 1):
            for column in spans(finer.shape[3], max(tiling.columns * STRIDE // HALF, 1), 1):
                top, bottom, left, right = at + row.low, at + row.high, column.low, column.high
                near = features[:, :, 2 * top : 2 * bottom, 2 * left : 2 * right]
                far = finer[:, :, top:bottom, left:right]
                kept = Span(top, bottom, max(at + row.start, start), min(at + row.end, end))
                with clock.stage("tail"):
                    made = self._head.run(buffers.packed("near", near), buffers.packed("far", far))
                    part = _Said.copied(made, STRIDE, _times(kept, 2), _times(column, 2))
                    del made  # it would lie amid the memory that the next run wants
                yield replace(part, row=part.row + 2 * window.low)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the heads say on a part of a level.

    Attributes:
        stride: pixels from one cell to the next.
        row, column: of the part's first cell.
        logits: (16, rows, columns), see `models.yunet`.
    """

    stride: int
    row: int
    column: int
    logits: NDArray[np.float32]

    @classmethod
    def copied(cls, made: NDArray[np.float32], stride: int, rows: Span, columns: Span) -> _Said:
        """The kept part of what was made, (1, 16, rows, columns)."""
        return cls(stride, rows.start, columns.start, made[0, :, rows.inner, columns.inner].copy())

    def above(self, min_confidence: float) -> tuple[Boxes, NDArray[np.float64], Points]:
        """Boxes (n, 4), confidence (n,) and landmarks (n, 5, 2) of the cells that exceed a confidence."""
        # The mean of two probabilities exceeds it only where the smaller one exceeds its square.
        least = -math.inf if min_confidence <= 0 else math.inf
        if 0 < min_confidence < 1:
            least = math.log(min_confidence**2 / (1 - min_confidence**2))
        row, column = np.nonzero(np.minimum(self.logits[0], self.logits[1]) > least)
        logits = self.logits[:, row, column].astype(np.float64)
        confidence = np.exp(-0.5 * np.logaddexp(0.0, -logits[:2]).sum(0))
        above = confidence > min_confidence
        cells = np.stack([column + self.column, row + self.row], 1)[above]
        logits = logits[:, above].T
        middle = cells + logits[:, 2:4]
        half = np.exp(np.minimum(logits[:, 4:6], LOG_SIDES)) / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        landmarks = cells[:, None] + logits[:, 6:].reshape(-1, LANDMARKS, 2)
        return boxes * self.stride, confidence[above], landmarks * self.stride


class _Source:
    """The pixels of a level, filled up with black to whole blocks, resampled and smoothed as they are asked for.

    ``quarter`` takes the same at a quarter of the size, for the level after the next.
    """

    def __init__(self, pixels: Pixels, size: Size, passes: int = 0) -> None:
        """Of a picture, (height, width, 3), that is the level or is to be resampled to its (width, height)."""
        self._pixels, self._level, self._passes = pixels, size, passes
        self._bands: dict[int, Pixels] = {}
        self.size = tuple(-(-side // BLOCK) * BLOCK for side in size)
        self.quarter = np.empty((self.size[1] // 4, self.size[0] // 4, 3), np.uint8)

    def pixels(self, down: Span, across: Span, buffers: Buffers) -> Pixels:
        """A part as the stem takes it, (1, 1, height, 3 * width)."""
        width, height = self._level
        bottom, right = max(min(down.high, height), down.low), max(min(across.high, width), across.low)
        part = buffers.array("pixels", (down.high - down.low, across.high - across.low, 3), np.uint8)
        for top, rows in self._rows(down.low, bottom, buffers):
            part[top - down.low :][: len(rows), : right - across.low] = rows[:, across.low : right]
        part[bottom - down.low :] = part[:, right - across.low :] = 0
        return part.reshape(1, 1, len(part), -1)

    def _rows(self, top: int, bottom: int, buffers: Buffers) -> Iterator[tuple[int, Pixels]]:
        """Rows of the level, in parts, each with the row that it begins at."""
        if top >= bottom or not (self._passes or self._resampled):
            yield top, self._pixels[top:bottom]
            return
        wanted = range(top // BAND, (bottom - 1) // BAND + 1)
        kept = {index: band for index, band in self._bands.items() if index in wanted}
        free = [band for index, band in self._bands.items() if index not in wanted]
        for index in wanted:
            if index not in kept:
                kept[index] = free.pop() if free else np.empty((BAND, self._level[0], 3), np.uint8)
                self._fill(kept[index], index * BAND, buffers)
        self._bands = kept
        for index in wanted:
            start = max(top, index * BAND)
            yield start, kept[index][start - index * BAND : bottom - index * BAND]

    @property
    def _resampled(self) -> bool:
        return self._pixels.shape[1::-1] != self._level

    def _fill(self, band: Pixels, top: int, buffers: Buffers) -> None:
        """Rows of the level from one on; they are smoothed with as many more on each side as change them."""
        bottom = min(top + BAND, self._level[1])
        low, high = max(top - self._passes, 0), min(bottom + self._passes, self._level[1])
        rows = resample_rows(self._pixels, self._level, low, high) if self._resampled else self._pixels[low:high]
        band[: bottom - top] = smoothed(rows, self._passes, buffers)[top - low : bottom - low]


def _times(span: Span, times: int) -> Span:
    """The same stretch in cells so many times smaller."""
    return Span(span.low * times, span.high * times, span.start * times, span.end * times)
