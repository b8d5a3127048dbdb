"""From a frame's size and the options to pyramid levels and transforms: pure arithmetic, no model, no pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .errors import BudgetTooSmall, UsageError
from .geometry import Transform

Size = tuple[int, int]
"""(width, height) in pixels."""

MAX_UPSAMPLE = 4
SAME = 1.001
"""Two sizes of a face that differ by less are the same: sides are rounded to whole pixels."""
BAND = 64
"""Rows of a level that are made at once. Fixed, so that every pixel comes out the same however many are asked for."""
KEPT_BANDS = 8
"""Bands of the first level that are kept: a strip and the level below ask for the same rows."""
REDUCTIONS = (1, 2, 4, 8)
"""What a JPEG's sides can be divided by while it is decoded."""
DECODE_BYTES_PER_PIXEL = 7.0
"""Pillow's four bytes a pixel and the frame's three are there together for a moment."""
FRAME_BYTES_PER_PIXEL = 3.0
ALLOCATOR = 1.05
"""What the C library's bookkeeping and rounding add to large blocks."""
OVERHEAD = 7e6
"""Bytes that any frame takes, however small: stacks, the first run's allocations, slack."""
GRAIN_SAMPLE = 1e6
"""Bytes that `grain.estimate` takes for its sample of a frame; they stay in the process."""
COARSER = 5 / 6
"""How far the scale goes down at a time where the room is too small."""
LARGER = 6 / 5
"""A level finds faces up to this much larger than its smallest."""
MOST_PASSES = 4
FIRST_PASSES = 1
"""Passes of a level's smoothing that are enough for any grain; on the first level, more cost more than they find."""

Purpose = Literal["detail", "large-faces", "small-frame", "grain"]
"""What a level is for: the smallest faces; faces larger than the finer levels show; a second look, where the frame is
small and it costs little; faces that grain hides on the finer levels, only where there is that much of it."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """How dlib packs the levels of a pyramid into one picture, in pixels.

    It decides which pixels the detector's grid of cells falls on, level by level.
    """

    outer: int
    between: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How much of the canvas is computed at once, in cells of the score map.

    Attributes:
        strip: rows of features that the stem makes at once.
        rows: rows of scores that the tail makes at once.
        columns: widest tile of either.
    """

    strip: int
    rows: int
    columns: int


WHOLE = Tiling(1 << 30, 1 << 30, 1 << 30)
"""Everything at once: not streamed."""
TILINGS = (
    Tiling(32, 228, 208),
    Tiling(32, 144, 208),
    Tiling(16, 64, 208),
    Tiling(16, 32, 112),
    Tiling(8, 16, 112),
    Tiling(4, 8, 64),
)
"""From the fastest to the smallest; few, so that buffers are reused. A taller window of the tail has less halo."""
MOST_BUFFERS = 39e6
"""Bytes of buffers beyond which a smaller tiling is taken even where there is room: they would buy little speed."""
MODEST = 0.7
"""More than that is taken beside a large frame, as far as this share of the frame's own bytes."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a detector that is computed in strips takes; see docs/performance.md for how the bytes were measured.

    Attributes:
        stem_field: pixels that one cell of the features depends on, a side.
        tail_halo: cells of features that a score depends on beyond its own, on each side.
        feature_bytes: for each cell of the features that are kept.
        stem_bytes: for each pixel of a strip.
        tail_bytes: for each cell of a tile.
        band_bytes: for each pixel of the rows of a level that are made at once.
        block: levels are filled up with black to whole blocks of so many pixels, a side.
        stem_halo: cells of a strip, on each side, that are computed for its edges alone.
        tail_columns: how many times as wide as the widest strip the tail's widest tile may be.
        tilings: what to choose from, from the fastest to the smallest.
        most_buffers: bytes beyond which a smaller tiling is taken even where there is room.
    """

    stem_field: int
    tail_halo: int
    feature_bytes: float
    stem_bytes: float
    tail_bytes: float
    band_bytes: float
    block: int = 1
    stem_halo: int = 0
    tail_columns: int = 1
    tilings: tuple[Tiling, ...] = TILINGS
    most_buffers: float = MOST_BUFFERS


@dataclass(frozen=True, slots=True)
class Profile:
    """What a detector costs and sees, as far as a plan needs it.

    Attributes:
        name: the detector's name.
        smallest_face: side of the smallest face box it can report at scale 1, in pixels.
        stride: pixels from one cell of the score map to the next.
        receptive_field: side of the square of pixels that one score depends on.
        ratio: how much smaller each level of the pyramid is than the one before, which on a canvas is shrunk as dlib
            does it, and otherwise exactly by this; None where the detector makes its own pyramid inside
            and is handed one picture.
        smallest_level: height in pixels below which a level is not looked at.
        canvas: how the levels are laid out; None where each has a grid of its own.
        bytes_per_pixel: peak memory above the process's own for each pixel of the first level, where the detector
            takes whole pictures.
        operations_per_pixel: multiplications plus additions, for each pixel of every level.
        streaming: what it takes in strips; None where it takes whole pictures.
        largest_face: side of the largest face box it reports reliably at scale 1; None where each level is only
            there for the faces of one size.
        default_confidence: boxes at or below it are left out unless asked for, in the detector's own unit.
        regular: one level of so many is looked at on every frame; those between are there for what grain hides.
        bearable: grain at a level's own pixels, in the unit of `grain.estimate`, that hides no face on it; infinite
            where grain is not asked about.
        drowning: grain at the first level's own pixels, in which it shows no face that the next one does not show.
        smoothed_by: grain at a level's own pixels that each pass of its smoothing is for.
        small: pixels of the first level up to which a frame is looked at on every level.
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
    streaming: Streaming | None = None
    largest_face: float | None = None
    default_confidence: float = 0.0
    regular: int = 1
    bearable: float = math.inf
    drowning: float = math.inf
    smoothed_by: float = math.inf
    small: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """One picture that the detector looks at.

    Attributes:
        size: (width, height) in pixels.
        origin: (x, y) of its top-left pixel on the canvas; (0, 0) without one.
        to_native: level pixels → the native pixels of the frame.
        purpose: what it is there for.
        passes: how many times it is smoothed before it is looked at; see `pyramid.smoothed`.
    """

    size: Size
    origin: tuple[int, int]
    to_native: Transform
    purpose: Purpose = "detail"
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How one frame is looked at.

    Attributes:
        detector: whose plan it is.
        frame: the native size.
        reduction: what the sides are divided by while decoding.
        shrunk: the size after shrinking what was decoded; the decoded size itself where it is not shrunk.
        base: the size after upsampling what was shrunk; the first level has it, unless the frame's grain drowns that.
        levels: largest first; while the grain is not known, all that any grain could ask for.
        tiling: how much is computed at once.
        smallest_face: side of the smallest face that can be found, in native pixels.
        coarsened_from: the smallest face that was asked for, where the room was too small for it; else None.
        operations: multiplications plus additions of all levels.
        saved: operations of the levels that were dropped because no face of the wanted size shows on them.
        bytes: predicted peak memory above what the process has with its models loaded, whatever the grain.
        grain: of the frame, see `grain.estimate`; None while it is not known, or not asked about.
    """

    detector: str
    frame: Size
    reduction: int
    shrunk: Size
    base: Size
    levels: tuple[Level, ...]
    tiling: Tiling
    smallest_face: float
    coarsened_from: float | None
    operations: float
    saved: float
    bytes: float
    grain: float | None = None

    @property
    def scale(self) -> float:
        """Base pixels for each native pixel, the smaller of the two axes."""
        return min(self.base[0] / self.frame[0], self.base[1] / self.frame[1])

    @property
    def detail(self) -> float:
        """The scale of what is left of the snapshot's detail: enlarging adds none."""
        return min(self.scale, self.shrunk[0] / self.frame[0], self.shrunk[1] / self.frame[1])

    def to_dict(self) -> dict[str, Any]:
        """The plan as it stands in results and logs."""
        coarsened = {} if self.coarsened_from is None else {"coarsened_from": round(self.coarsened_from, 2)}
        return {
            "detector": self.detector,
            "frame": list(self.frame),
            "reduction": self.reduction,
            "shrunk": list(self.shrunk),
            "base": list(self.base),
            "levels": [list(level.size) for level in self.levels],
            "purposes": [level.purpose for level in self.levels],
            "passes": [level.passes for level in self.levels],
            "grain": None if self.grain is None else round(self.grain, 4),
            "strip_rows": self.tiling.strip,
            "smallest_face": round(self.smallest_face, 2),
            **coarsened,
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
    max_face: float | None = None,
    room: float | None = None,
    reducible: bool = False,
    encoded: int = 0,
    decoder: int = 0,
    tiling: Tiling | None = None,
    kept: float = 0.0,
) -> Plan:
    """Plan how a detector looks at a frame: the finest scale that was asked for and fits.

    Args:
        frame: native (width, height).
        profile: the detector's.
        max_side: shrink so that the longer side has at most this many pixels (the classic cure: 720). A smaller
            frame stays as it is.
        upsample: double the sides this many times after shrinking.
        min_face: choose the scale at which a face box of this side, in native pixels, is just large enough for the
            detector. It shrinks; it enlarges only as far as ``upsample`` allows, up to doubling that many times.
        max_face: leave out the levels on which only larger faces show, in native pixels.
        room: bytes that may be taken above what the process has with its models loaded; None for as many as needed.
        reducible: the frame can be decoded at 1/2, 1/4 or 1/8 of its sides.
        encoded: bytes of the picture where it is yet to be decoded; they are there until the frame is done.
        decoder: bytes that the decoder takes of its own, whatever the reduction.
        tiling: compute so much at once; by default as much as is of use and fits.
        kept: bytes of the networks' buffers, see `buffers`, that are there beside the frame whatever is planned: those
            of earlier frames, and those of the recognizer.

    Raises:
        UsageError: a value out of range, or ``max_side`` together with ``min_face``.
        BudgetTooSmall: the room does not hold even the coarsest plan; ``needed`` says how much would.
    """
    check(frame, max_side, upsample, min_face, max_face)
    if min_face is None:
        scale, doublings = 1.0 if max_side is None else min(1.0, max_side / max(frame)), upsample
    else:  # one resize does both: shrinking first and enlarging after would only lose detail
        scale, doublings = min(profile.smallest_face / min_face, 2.0**upsample), 0

    best: Plan | None = None
    least = math.inf
    for reduction in REDUCTIONS if reducible else (1,):
        transient = (
            OVERHEAD
            + kept
            + encoded
            + decoder
            + _area(_reduced(frame, reduction)) * (DECODE_BYTES_PER_PIXEL if encoded else FRAME_BYTES_PER_PIXEL)
        )
        coarser = 1.0
        while True:
            made = _at_scale(frame, profile, reduction, scale, doublings, coarser, max_face)
            tilings = (tiling,) if tiling else profile.streaming.tilings if profile.streaming else TILINGS
            needs = [(each, max(transient, encoded + _bytes(profile, made, each, kept))) for each in tilings]
            least = min(least, *(need for _, need in needs))
            fitting = [(each, need) for each, need in needs if room is None or need <= room]
            most = profile.streaming.most_buffers if profile.streaming else MOST_BUFFERS
            most = max(most, MODEST * FRAME_BYTES_PER_PIXEL * _area(_reduced(frame, reduction)))
            modest = [(each, need) for each, need in fitting if buffers(profile, made, each) <= most]
            fitting = modest or fitting[-1:]
            if fitting or max(made.base) * COARSER < profile.smallest_face:
                break
            coarser *= COARSER
        if fitting and (best is None or (made.detail, made.scale) > (best.detail, best.scale)):
            best = replace(made, tiling=fitting[0][0], bytes=fitting[0][1])
            if coarser == reduction == 1:
                break  # all the detail that was asked for
    if best is None:
        raise BudgetTooSmall(
            f"a {frame[0]}x{frame[1]} frame needs {least / 2**20:.0f} MiB more than the program itself takes, "
            f"and {(room or 0) / 2**20:.0f} MiB are there",
            needed=math.ceil(least),
        )
    asked = _at_scale(frame, profile, 1, scale, doublings, 1.0, max_face).smallest_face
    return replace(best, coarsened_from=asked) if best.smallest_face > asked * SAME else best


def _at_scale(
    frame: Size,
    profile: Profile,
    reduction: int,
    scale: float,
    doublings: int,
    coarser: float,
    max_face: float | None,
) -> Plan:
    """The plan for one scale, without a tiling and its bytes.

    A coarser one is enlarged less before it is shrunk more: detail is given up last.
    """
    decoded = _reduced(frame, reduction)
    most = 1.0 / reduction
    look = scale * 2**doublings * coarser if reduction == 1 else min(scale * coarser, most) * 2**doublings
    detail = min(scale, most, look)
    # What is only shrunk or only enlarged goes from the decoded frame to the base in one step, as it streams.
    shrunk = _scaled(frame, detail) if doublings and most > detail < look else decoded
    if look == most:
        base = decoded
    elif doublings and look == detail * 2**doublings:
        base = (shrunk[0] << doublings, shrunk[1] << doublings)
    else:
        base = _scaled(frame, look)

    sizes = [base] if profile.ratio is None else _pyramid(base, profile.ratio, profile.smallest_level)
    origins = _pack(sizes, profile.canvas) if profile.canvas else [(0, 0)] * len(sizes)
    sizes = sizes[: len(origins)]  # packing drops what has no room
    levels: list[Level] = []
    to_native = Transform.resize(base, frame)
    largest = math.inf if max_face is None else max_face
    shown = 0.0  # side of the largest face that the regular levels so far show
    for index, (size, origin) in enumerate(zip(sizes, origins, strict=True)):
        if index:
            larger = 1 / (profile.ratio or 1.0)
            step = (
                Transform.resize_aligned(size, sizes[index - 1]) if profile.canvas else Transform.scale(larger, larger)
            )
            to_native = step.then(to_native)
            if profile.smallest_face * to_native.a / LARGER > largest:
                break
        regular = index % profile.regular == 0
        purpose: Purpose = "detail"
        if index:
            wanted = regular and shown < min(largest, max(frame))
            purpose = "large-faces" if wanted else "small-frame" if _area(base) <= profile.small else "grain"
        levels.append(Level(size, origin, to_native, purpose))
        if regular:
            shown = (profile.largest_face or 0.0) * to_native.a
    pixels = sum(_area(level.size) for level in levels)
    return Plan(
        detector=profile.name,
        frame=frame,
        reduction=reduction,
        shrunk=shrunk,
        base=base,
        levels=tuple(levels),
        tiling=WHOLE,
        smallest_face=profile.smallest_face * max(frame[0] / base[0], frame[1] / base[1]),
        coarsened_from=None,
        operations=profile.operations_per_pixel * pixels,
        saved=profile.operations_per_pixel * (sum(map(_area, sizes)) - pixels),
        bytes=0.0,
    )


def suited(plan: Plan, profile: Profile, grain: float) -> Plan:
    """The plan for a frame whose grain is known: without the levels that are there for more of it, the others smoothed.

    Halving a picture's sides halves its grain, and enlarging it takes none away. Where grain hides nothing on the next
    finer level, or on the first one itself, none is smoothed away; the first level is left out where it hides all.

    Args:
        plan: for any grain.
        profile: the detector's.
        grain: of the decoded frame, see `grain.estimate`.
    """
    if profile.bearable == math.inf:
        return plan
    levels = []
    for level in plan.levels:
        if grain <= hiding(level, plan, profile):
            levels += [] if level.purpose == "grain" else [level]
            continue
        left = grain / max(level.to_native.a / plan.reduction, 1.0)
        if level.purpose == "detail" and left > profile.drowning and len(plan.levels) > 1:
            continue
        most = FIRST_PASSES if level.purpose == "detail" else MOST_PASSES
        levels.append(replace(level, passes=min(round(left / profile.smoothed_by), most)))
    return replace(
        plan,
        levels=tuple(levels),
        smallest_face=plan.smallest_face * levels[0].to_native.a / plan.levels[0].to_native.a,
        operations=profile.operations_per_pixel * sum(_area(level.size) for level in levels),
        grain=grain,
    )


def hiding(level: Level, plan: Plan, profile: Profile) -> float:
    """The most grain of the decoded frame of which no more than the detector bears is left on the next finer level.

    Where there is more, a level is looked at that is there for grain.
    """
    return profile.bearable * max(level.to_native.a / plan.reduction * (profile.ratio or 1.0), 1.0)


def canvas_size(levels: Sequence[Level], profile: Profile) -> Size:
    """(width, height) of the canvas that holds the levels, at least one cell large."""
    outer, field = (
        (profile.canvas.outer if profile.canvas else 0),
        profile.streaming.stem_field if profile.streaming else 1,
    )
    width, height = (max(field, outer + max(each.origin[i] + each.size[i] for each in levels)) for i in (0, 1))
    return width, height


def cells(pixels: int, profile: Profile) -> int:
    """How many cells the stem makes of so many pixels along one axis."""
    stream = profile.streaming
    field, block = (stream.stem_field, stream.block) if stream else (profile.stride, 1)
    return (-(-pixels // block) * block - field) // profile.stride + 1


def _bytes(profile: Profile, plan: Plan, tiling: Tiling, kept: float) -> float:
    """Peak memory of frame and detection above the process's own."""
    held = _area(_reduced(plan.frame, plan.reduction)) * FRAME_BYTES_PER_PIXEL
    if plan.shrunk != _reduced(plan.frame, plan.reduction):
        held += _area(plan.shrunk) * FRAME_BYTES_PER_PIXEL
    stream = profile.streaming
    if stream is None:
        return held + kept + profile.bytes_per_pixel * _area(plan.base)
    if plan.base != plan.shrunk or profile.bearable < math.inf:  # resampled, or smoothed
        held += FRAME_BYTES_PER_PIXEL * plan.base[0] * BAND * KEPT_BANDS
    held += FRAME_BYTES_PER_PIXEL * sum(_area(level.size) for level in plan.levels[1:])
    sample = GRAIN_SAMPLE if profile.bearable < math.inf else 0.0
    taken = max(buffers(profile, plan, tiling), kept) + sample
    return held * ALLOCATOR + taken + stream.band_bytes * BAND * plan.base[0] + OVERHEAD


def buffers(profile: Profile, plan: Plan, tiling: Tiling) -> float:
    """Bytes of the features that are kept, and of what comes between input and output of stem and tail.

    All networks take their buffers from one arena, one after the other, and what it has had once stays in the process.
    """
    stream = profile.streaming
    if stream is None:
        return 0.0
    width, height = (cells(side, profile) for side in canvas_size(plan.levels, profile))
    rows = min(tiling.rows + 2 * stream.tail_halo, height)
    strip, across = (
        profile.stride * (min(step + 2 * stream.stem_halo, length) - 1) + stream.stem_field
        for step, length in ((tiling.strip, height), (tiling.columns, width))
    )
    stem = stream.stem_bytes * strip * across
    tail = stream.tail_bytes * rows * min(stream.tail_columns * tiling.columns + 2 * stream.tail_halo, width)
    kept = stream.feature_bytes * min(rows + tiling.strip, height) * width
    return kept + max(stem, tail)  # one after the other, in the same arena


def _area(size: Size) -> int:
    return size[0] * size[1]


def _reduced(size: Size, reduction: int) -> Size:
    return -(-size[0] // reduction), -(-size[1] // reduction)


def check(
    frame: Size, max_side: int | None, upsample: int, min_face: float | None, max_face: float | None = None
) -> None:
    """Raise a `UsageError` for options that cannot work on any frame, or a frame without pixels."""
    if min(frame) < 1:
        raise UsageError(f"a frame of {frame[0]}x{frame[1]} has no pixels")
    if max_side is not None and max_side < 1:
        raise UsageError(f"max_side must be at least 1 pixel, not {max_side}")
    if not 0 <= upsample <= MAX_UPSAMPLE:
        raise UsageError(f"upsample must be 0 to {MAX_UPSAMPLE} doublings, not {upsample}")
    if min_face is not None and not (math.isfinite(min_face) and min_face > 0):
        raise UsageError(f"min_face must be a positive number of native pixels, not {min_face}")
    if max_face is not None and not max_face >= (min_face or 0) + 1e-9:
        raise UsageError(f"max_face must be a positive number of native pixels, and not below min_face, not {max_face}")
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
