"""From a frame's size and the options to pyramid levels and transforms: pure arithmetic, no model, no pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .geometry import Transform

Size = tuple[int, int]
"""(width, height) in pixels."""

MAX_UPSAMPLE = 4


@dataclass(frozen=True, slots=True)
class Canvas:
    """How dlib packs the levels of a pyramid into one picture, in pixels.

    It decides which pixels the detector's grid of cells falls on, level by level.
    """

    outer: int
    between: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What a detector costs and sees, as far as a plan needs it.

    Attributes:
        name: the detector's name.
        smallest_face: side of the smallest face box it can report at scale 1, in pixels.
        stride: pixels from one cell of the score map to the next.
        receptive_field: side of the square of pixels that one score depends on.
        ratio: how much smaller each level of the pyramid is; None where the detector makes its own pyramid inside
            and is handed one picture.
        smallest_level: height in pixels below which a level is not looked at.
        canvas: how the levels are laid out; None where each has a grid of its own.
        bytes_per_pixel: peak memory above the process's own, for each pixel of the first level.
        operations_per_pixel: multiplications plus additions, for each pixel of every level.
    """

    name: str
    smallest_face: float
    stride: int
    receptive_field: int
    ratio: float | None
    smallest_level: int
    canvas: Canvas | None
    bytes_per_pixel: float
    operations_per_pixel: float


@dataclass(frozen=True, slots=True)
class Level:
    """One picture that the detector looks at.

    Attributes:
        size: (width, height) in pixels.
        origin: (x, y) of its top-left pixel on the canvas; (0, 0) without one.
        to_native: level pixels → the native pixels of the frame.
    """

    size: Size
    origin: tuple[int, int]
    to_native: Transform


@dataclass(frozen=True, slots=True)
class Plan:
    """How one frame is looked at.

    Attributes:
        detector: whose plan it is.
        frame: the native size.
        shrunk: the size after shrinking; the frame's own where it is not shrunk.
        base: the size after upsampling what was shrunk; the first level has it.
        levels: largest first.
        smallest_face: side of the smallest face that can be found, in native pixels.
        operations: multiplications plus additions of all levels.
        bytes: estimated peak memory above the process's own.
    """

    detector: str
    frame: Size
    shrunk: Size
    base: Size
    levels: tuple[Level, ...]
    smallest_face: float
    operations: float
    bytes: float

    @property
    def scale(self) -> float:
        """Base pixels for each native pixel, the smaller of the two axes."""
        return min(self.base[0] / self.frame[0], self.base[1] / self.frame[1])

    def to_dict(self) -> dict[str, Any]:
        """The plan as it stands in results and logs."""
        return {
            "detector": self.detector,
            "frame": list(self.frame),
            "shrunk": list(self.shrunk),
            "base": list(self.base),
            "levels": [list(level.size) for level in self.levels],
            "smallest_face": round(self.smallest_face, 2),
            "gflop": round(self.operations / 1e9, 3),
            "megabytes": round(self.bytes / 1e6, 1),
        }


def plan(
    frame: Size,
    profile: Profile,
    *,
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
) -> Plan:
    """Plan how a detector looks at a frame.

    Args:
        frame: native (width, height).
        profile: the detector's.
        max_side: shrink so that the longer side has at most this many pixels (the classic cure: 720). A smaller
            frame stays as it is.
        upsample: double the sides this many times after shrinking.
        min_face: choose the scale at which a face box of this side, in native pixels, is just large enough for the
            detector. It shrinks; it enlarges only as far as ``upsample`` allows, up to doubling that many times.

    Raises:
        UsageError: a value out of range, or ``max_side`` together with ``min_face``.
    """
    width, height = frame
    check(frame, max_side, upsample, min_face)
    if min_face is not None:
        # One resize does both: shrinking first and enlarging after would only lose detail.
        shrunk = base = _scaled(frame, min(profile.smallest_face / min_face, 2.0**upsample))
    else:
        shrunk = frame if max_side is None else _scaled(frame, min(1.0, max_side / max(frame)))
        base = (shrunk[0] << upsample, shrunk[1] << upsample)

    sizes = [base] if profile.ratio is None else _pyramid(base, profile.ratio, profile.smallest_level)
    origins = _pack(sizes, profile.canvas) if profile.canvas else [(0, 0)] * len(sizes)
    levels = []
    to_native = Transform.resize(base, frame)
    for index, (size, origin) in enumerate(zip(sizes, origins, strict=False)):  # packing drops what has no room
        if index:
            to_native = Transform.resize_aligned(size, sizes[index - 1]).then(to_native)
        levels.append(Level(size, origin, to_native))

    pixels = sum(level.size[0] * level.size[1] for level in levels)
    return Plan(
        detector=profile.name,
        frame=frame,
        shrunk=shrunk,
        base=base,
        levels=tuple(levels),
        smallest_face=profile.smallest_face * max(width / base[0], height / base[1]),
        operations=profile.operations_per_pixel * pixels,
        bytes=profile.bytes_per_pixel * base[0] * base[1],
    )


def check(frame: Size, max_side: int | None, upsample: int, min_face: float | None) -> None:
    """Raise a `UsageError` for options that cannot work on any frame, or a frame without pixels."""
    if min(frame) < 1:
        raise UsageError(f"a frame of {frame[0]}x{frame[1]} has no pixels")
    if max_side is not None and max_side < 1:
        raise UsageError(f"max_side must be at least 1 pixel, not {max_side}")
    if not 0 <= upsample <= MAX_UPSAMPLE:
        raise UsageError(f"upsample must be 0 to {MAX_UPSAMPLE} doublings, not {upsample}")
    if min_face is not None and not (math.isfinite(min_face) and min_face > 0):
        raise UsageError(f"min_face must be a positive number of native pixels, not {min_face}")
    if max_side is not None and min_face is not None:
        raise UsageError("max_side and min_face both choose the scale: give one of them")


def _scaled(size: Size, scale: float) -> Size:
    return max(1, math.floor(size[0] * scale + 0.5)), max(1, math.floor(size[1] * scale + 0.5))


def _pyramid(base: Size, ratio: float, smallest: int) -> list[Size]:
    """Level sizes from ``base`` down, as dlib rounds them (``pyramid_down``); the base in any case."""
    sizes = [base]
    while True:
        width, height = int(ratio * sizes[-1][0]), int(ratio * sizes[-1][1])
        if width < 1 or height < smallest:
            return sizes
        sizes.append((width, height))


def _pack(sizes: list[Size], canvas: Canvas) -> list[tuple[int, int]]:
    """Where dlib puts each level on its canvas: (x, y) of the top-left pixel.

    The levels go down a first column until the rest fit beside the narrowest one, then up a second column at the
    right edge. Levels for which the second column has no room are dropped, as dlib drops them.
    After ``compute_tiled_image_pyramid_details`` in dlib's image_pyramid.h.
    """
    width, first = sizes[0]
    total = sum(height + canvas.between for _, height in sizes) - 2 * canvas.between
    column, previous = 0, 0
    for w, h in sizes:
        if w <= width - previous - canvas.between and 2 * (column - first) >= total - first:
            break
        column += h + canvas.between
        previous = w
    column -= canvas.between

    origins: list[tuple[int, int]] = []
    y = canvas.outer
    for _, h in sizes:
        if y >= column + canvas.outer:
            break
        origins.append((canvas.outer, y))
        y += h + canvas.between
    y -= canvas.between
    for w, h in sizes[len(origins) :]:
        x, top = canvas.outer + width - w, y - h
        if top < canvas.outer + first:  # it would cover the first level
            break
        origins.append((x, top))
        y = top - canvas.between
    return origins
