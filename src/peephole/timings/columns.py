"""Very many timings as columns of numbers, a few bytes each: what summary and pictures are made of."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import TimingsError
from .record import Glance, Setup

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TOTAL = "total"
"""Stands for all stages together."""
SLOT = 900
"""Seconds: clocks are put forward and back at full quarters of an hour."""
EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which timings to take; by default all of them.

    Attributes:
        since, until: seconds since 1970; from the one on, and before the other.
        model: a model's name, or the beginning of its file's hash.
        detector: the detector's name.
        size: (width, height) of the frame, native pixels.
    """

    since: float = float("-inf")
    until: float = float("inf")
    model: str | None = None
    detector: str | None = None
    size: tuple[int, int] | None = None

    def takes(self, seen: Glance) -> bool:
        """Whether this one is taken. A frame that could not be looked at has no size, detector and models."""
        return (
            self.since <= seen.seconds < self.until
            and (self.size is None or self.size == (seen.width, seen.height))
            and (self.detector is None or self.detector == seen.setup.detector)
            and (self.model is None or has_model(seen.setup, self.model))
        )


def has_model(setup: Setup, wanted: str) -> bool:
    """Whether a model of this name, or whose file's hash begins like this, took part."""
    return any(name == wanted or digest.startswith(wanted) for name, digest in setup.models.items())


@dataclass(frozen=True, slots=True)
class Kind:
    """What frames have in common that are of one kind.

    Attributes:
        setup: what they were looked at with.
        size: of the frame, as "1536x1536".
        plan: see `Record.plan`.
    """

    setup: Setup
    size: str
    plan: str

    @property
    def model(self) -> str:
        """See `Record.model`."""
        return self.setup.model


@dataclass(slots=True)
class _Same:
    """Frames that went through the same stages, one behind the other."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    kinds: array[int] = field(default_factory=lambda: array("i"))
    milliseconds: array[float] = field(default_factory=lambda: array("f"))


class Columns:
    """Timings of frames that were looked at, and how many could not be."""

    def __init__(self, seen: Iterable[Glance], chosen: Filter = Filter()) -> None:
        """Take them in, in any order.

        Raises:
            TimingsError: none of them is chosen, or nobody could look at any.
        """
        self.kinds: list[Kind] = []
        """The kinds of frames, in the order in which they were met."""
        self.errors: Counter[str] = Counter()
        """How many frames could not be looked at, by the error's kind."""
        self._same: dict[tuple[str, ...], _Same] = {}
        self._take(seen, chosen)
        if not self._same:
            failed = f"; {self.errors.total()} frames could not be looked at" if self.errors else ""
            raise TimingsError(f"there are no such timings{failed}")

    def _take(self, seen: Iterable[Glance], chosen: Filter) -> None:
        numbers: dict[tuple[int, int, int, str], int] = {}
        setups: dict[int, Setup] = {}
        everything = chosen == Filter()
        for each in seen:
            if not everything and not chosen.takes(each):
                continue
            seconds, width, height, plan, setup, stages, error = each
            if error is not None:
                self.errors[error] += 1
                continue
            key = (id(setup), width, height, plan)
            if (number := numbers.get(key)) is None:
                setups[id(setup)] = setup  # so that no other object gets its number
                number = numbers[key] = len(self.kinds)
                self.kinds.append(Kind(setup, f"{width}x{height}", plan))
            names = tuple(stages)
            if (same := self._same.get(names)) is None:
                same = self._same[names] = _Same()
            same.seconds.append(seconds)
            same.kinds.append(number)
            same.milliseconds.extend(stages.values())

    def __len__(self) -> int:
        return sum(len(same.seconds) for same in self._same.values())

    @cached_property
    def stages(self) -> list[str]:
        """The stages that there are, the parts of each right behind it; `TOTAL` is not among them."""
        found = list(dict.fromkeys(name for names in self._same for name in names))
        first = {name.partition(".")[0]: position for position, name in reversed(list(enumerate(found)))}
        return sorted(found, key=lambda name: (first[name.partition(".")[0]], "." in name, found.index(name)))

    @cached_property
    def seconds(self) -> Floats:
        """(frames,) their times, since 1970, in the columns' order."""
        return np.concatenate([np.frombuffer(same.seconds, np.float64) for same in self._same.values()])

    @cached_property
    def kind(self) -> NDArray[np.int32]:
        """(frames,) the number of each one's kind."""
        return np.concatenate([np.frombuffer(same.kinds, np.int32) for same in self._same.values()])

    @cached_property
    def days(self) -> Numbers:
        """(frames,) the day of each by this machine's time zone, counted from 1970."""
        slots, place = np.unique(self.seconds // SLOT, return_inverse=True)
        local = [datetime.fromtimestamp(slot * SLOT).date().toordinal() - EPOCH for slot in slots]
        return np.array(local, np.int64)[place]

    def of(self, stage: str) -> NDArray[np.float32]:
        """(frames,) milliseconds of a stage, or of all together; not a number where a frame does not have it."""
        found = []
        for names, same in self._same.items():
            values = np.frombuffer(same.milliseconds, np.float32).reshape(-1, len(names)) if names else None
            if values is None or (stage != TOTAL and stage not in names):
                found.append(np.full(len(same.seconds), np.nan if stage != TOTAL else 0.0, np.float32))
            elif stage == TOTAL:
                found.append(values[:, [at for at, name in enumerate(names) if "." not in name]].sum(1))
            else:
                found.append(values[:, names.index(stage)])
        return np.concatenate(found)

    def numbered(self, words: Sequence[str]) -> tuple[list[str], Numbers]:
        """Different words of a list with one for each kind, and (frames,) the number of each frame's word."""
        different = list(dict.fromkeys(words))
        numbers = np.array([different.index(word) for word in words], np.int64)
        return different, numbers[self.kind]


def day_name(day: int) -> str:
    """A day as ``2026-05-01``."""
    return date.fromordinal(day + EPOCH).isoformat()
