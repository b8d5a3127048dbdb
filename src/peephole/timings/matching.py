"""Which frames of two sets may be compared: the same picture, or else pictures that are the same work. Pure numpy."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..errors import TimingsError
from .record import Record, total

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

LEAST_FRAMES = 20
"""On each side; with fewer nothing can be said about drift."""
TURNS = 8
"""Changes from one side to the other, from which on sides are taken to have run alternately."""
Key = Callable[[Record], Hashable]
"""Frames with the same key are alike; one without a key, None, is like none."""
TOTAL = "total"
"""Stands among the stages for all of them together."""


@dataclass(frozen=True, slots=True)
class Side:
    """The frames of one side that have a counterpart, in the order of time.

    Attributes:
        wall: (n, stages) milliseconds by the clock, 0 where the frame does not have the stage.
        cpu: (n, stages) milliseconds of processor time; not a number where it was not measured.
        group: (n,) the number of what makes frames alike, the same on both sides.
    """

    wall: Floats
    cpu: Floats
    group: Ints


@dataclass(frozen=True, slots=True)
class Matched:
    """Two sides of frames that may be compared.

    Attributes:
        stages: the columns' names, `TOTAL` last.
        before, after: the frames.
        by: what makes frames alike: "picture, size and plan", "size, plan and faces" and so on.
        groups: how many different pictures, or kinds of frame.
        runs: of how many runs of the program the side with fewer is, as far as the records tell; at least 1.
        interleaved: the sides took turns at least `TURNS` times.
    """

    stages: tuple[str, ...]
    before: Side
    after: Side
    by: str
    groups: int
    runs: int
    interleaved: bool


def _picture(record: Record) -> Hashable:
    # A service's CAMERA/NUMBER is another picture in another queue.
    known = record.frame and "/" not in record.frame
    return (record.frame, record.width, record.height, record.plan) if known else None


def _kind(record: Record) -> Hashable:
    return record.width, record.height, record.plan, record.faces


def _picture_alone(record: Record) -> Hashable:
    key = _picture(record)
    return key[:3] if isinstance(key, tuple) else None


def _size(record: Record) -> Hashable:
    return record.width, record.height, record.faces


_WAYS: tuple[tuple[str, Key], ...] = (
    ("picture, size and plan", _picture),
    ("size, plan and faces", _kind),
    ("picture and size", _picture_alone),
    ("size and faces", _size),
)
"""What makes two frames alike, the strictest first: in words, and the key."""


def match_frames(before: Sequence[Record], after: Sequence[Record]) -> Matched:
    """Keep the frames of both sides that are alike, by the strictest rule that leaves enough of them.

    Frames that could not be looked at are left out.

    Raises:
        TimingsError: a side is empty, no frame has a counterpart, or fewer than `LEAST_FRAMES` have.
    """
    sides = [[each for each in side if each.error is None and each.stages] for side in (before, after)]
    for name, side in zip(("before", "after"), sides, strict=True):
        if not side:
            raise TimingsError(f"there is no frame that was looked at among those {name}")
    most = 0
    for by, key in _ways(sides):
        kept = _common(sides, key)
        most = max(most, min(map(len, kept)))
        if min(map(len, kept)) >= LEAST_FRAMES:
            return _matched(kept, by, key)
    if most:
        raise TimingsError(
            f"only {most} frames have a counterpart on the other side; to tell a change from the machine's noise there "
            f"must be {LEAST_FRAMES} on each, better 200"
        )
    raise TimingsError(
        f"no frame has a counterpart on the other side: before {_sizes(sides[0])}, after {_sizes(sides[1])}"
    )


def _ways(sides: Sequence[Sequence[Record]]) -> Iterator[tuple[str, Key]]:
    """What makes frames alike; where a side was made in several ways, as by ``peephole bench``, that comes first."""
    if any(len({_setup(each) for each in side}) > 1 for side in sides):
        for by, key in _WAYS:
            yield f"{by}, and model, runtime and threads", partial(_within_setup, key)
    yield from _WAYS


def _within_setup(key: Key, record: Record) -> Hashable:
    alike = key(record)
    return None if alike is None else (alike, _setup(record))


def _setup(record: Record) -> Hashable:
    return record.detector, record.recognizer, record.runtime.partition(" ")[0], record.threads


def _sizes(side: Sequence[Record]) -> str:
    """The most frequent sizes, as 1536x1536."""
    counted = Counter(f"{each.width}x{each.height} with {each.faces} faces" for each in side).most_common(3)
    return ", ".join(name for name, _ in counted)


def _common(sides: Sequence[Sequence[Record]], key: Key) -> list[list[Record]]:
    both = {key(each) for each in sides[0]} & {key(each) for each in sides[1]} - {None}
    return [sorted((each for each in side if key(each) in both), key=lambda each: each.time) for side in sides]


def _matched(sides: Sequence[Sequence[Record]], by: str, key: Key) -> Matched:
    numbers = {found: number for number, found in enumerate(dict.fromkeys(key(each) for each in sides[0]))}
    stages = (*_stages(sides), TOTAL)
    before, after = (_side(side, stages, [numbers[key(each)] for each in side]) for side in sides)
    runs = min(len({each.run for each in side}) for side in sides)
    return Matched(stages, before, after, by, len(numbers), runs, _turns(sides) >= TURNS)


def _turns(sides: Sequence[Sequence[Record]]) -> int:
    """How often the side changes in the order of time."""
    both = sorted((each.time, number) for number, side in enumerate(sides) for each in side)
    return sum(first[1] != second[1] for first, second in itertools.pairwise(both))


def _stages(sides: Sequence[Sequence[Record]]) -> list[str]:
    """The stages that both sides have often enough, in the order in which they ran; waiting is no work."""
    counted = [Counter(name for each in side for name in each.stages) for side in sides]
    names = [name for name in counted[0] if min(each[name] for each in counted) >= LEAST_FRAMES]
    return [name for name in names if "." not in name or name.partition(".")[0] in names]


def _side(side: Sequence[Record], stages: Sequence[str], group: list[int]) -> Side:
    names = stages[:-1]
    wall = [[each.stages.get(name, 0.0) for name in names] + [each.total_ms] for each in side]
    cpu = [[_cpu(each, name) for name in names] + [total(each.cpu_ms) if each.cpu_ms else np.nan] for each in side]
    return Side(np.maximum(wall, 0.0), np.maximum(cpu, 0.0), np.array(group, np.intp))


def _cpu(record: Record, stage: str) -> float:
    """Of a stage; 0 where the frame does not have it, not a number where it was not measured."""
    return record.cpu_ms.get(stage, np.nan if stage in record.stages else 0.0)


_SETUP: tuple[tuple[str, Callable[[Record], object]], ...] = (
    ("processor", lambda each: each.cpu or "not known"),
    ("threads", lambda each: each.threads or "not known"),
    ("runtime", lambda each: each.runtime or "not known"),
    ("models", lambda each: each.model or "not known"),
    ("peephole", lambda each: each.version or "not known"),
)
"""What a reader must know of both sides, what matters most first."""


def differences(matched: Matched, before: Sequence[Record], after: Sequence[Record]) -> tuple[str, ...]:
    """What else than time differs between the sides, in words.

    Args:
        matched: what came of the records.
        before, after: the records.
    """
    failed = [sum(each.error is not None for each in side) for side in (before, after)]
    sides = [[each for each in side if each.error is None] for side in (before, after)]
    found = []
    for noun, get in _SETUP:
        first, second = ({str(get(each)) for each in side} for side in sides)
        if first != second:
            found.append(f"{noun}: {', '.join(sorted(first))} before; {', '.join(sorted(second))} after")
    if "plan" not in matched.by:
        found.append("no plan is on both sides: the frames were not looked at at the same scale")
    if "picture" in matched.by:
        faces = [{_picture_alone(each): each.faces for each in side} for side in sides]
        pictures = [each for each in faces[0] if each is not None and each in faces[1]]
        other = sum(faces[0][each] != faces[1][each] for each in pictures)
        if other:
            found.append(f"faces: not as many as before on {other} of {len(pictures)} pictures")
    if any(failed):
        found.append(f"could not be looked at: {failed[0]} frames before, {failed[1]} after")
    return tuple(found)
