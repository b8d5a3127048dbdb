"""The stage clock: how long each part of the work on one frame took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

WAITING = "wait."
"""Before the names of what is no work: how long a frame waited in a queue. A name with a dot is in no total."""


class StageClock:
    """Milliseconds by stage, in the order in which the stages first began; a stage that runs again adds up.

    By the clock, and of processor time: of all threads of this process together, so that neighbours on the machine,
    who make everything take longer, can be told from work that has become more.

    Stages nest: what is timed inside another stage has that stage's name and a dot before its own, as
    ``detect.resize``, and is a part of it. So the total is the sum of the names without a dot, see `record.total`.
    Not for several threads at once.
    """

    __slots__ = ("_inside", "milliseconds", "processor")

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        """By the clock."""
        self.processor: dict[str, float] = {}
        """Of processor time."""
        self._inside = ""

    def stage(self, name: str) -> _Stage:
        """Time a block; also one that raises."""
        return _Stage(self, name)

    def waited(self, name: str, seconds: float) -> None:
        """Note how long the frame waited for something; that is no work, and in no total."""
        self.milliseconds[WAITING + name] = max(seconds, 0.0) * 1e3

    def update(self, milliseconds: Mapping[str, float], processor: Mapping[str, float]) -> None:
        """Take over the stages of another process' clock."""
        self.milliseconds.update(milliseconds)
        self.processor.update(processor)

    def rounded(self) -> dict[str, float]:
        """The stages by the clock to a microsecond, as results and logs have them."""
        return {name: round(value, 3) for name, value in self.milliseconds.items()}

    def rounded_processor(self) -> dict[str, float]:
        """Likewise of processor time."""
        return {name: round(value, 3) for name, value in self.processor.items()}


class _Stage:
    """One block; a class, because `contextlib.contextmanager` takes three times as long."""

    __slots__ = ("_busy", "_clock", "_name", "_outer", "_start")

    def __init__(self, clock: StageClock, name: str) -> None:
        self._clock, self._name = clock, name

    def __enter__(self) -> None:
        clock = self._clock
        self._outer = outer = clock._inside
        self._name = name = outer + self._name
        clock._inside = name + "."
        if name not in clock.milliseconds:  # before its parts
            clock.milliseconds[name] = clock.processor[name] = 0.0
        self._busy = time.process_time()
        self._start = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.perf_counter() - self._start
        busy = time.process_time() - self._busy
        clock = self._clock
        clock.milliseconds[self._name] += elapsed * 1e3
        clock.processor[self._name] += busy * 1e3
        clock._inside = self._outer
