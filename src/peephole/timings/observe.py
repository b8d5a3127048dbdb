"""Who is told of each frame's record: the log, the history, the metrics; none of them may cost a result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, Self

from ..errors import PeepholeError
from .record import Record

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Takes a record a frame; see `log.TimingLog`, `history.History` and `metrics.Metrics`."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def frame(self, record: Record) -> None:
        """Take one.

        Raises:
            PeepholeError: it cannot be taken just now.
        """
        ...

    def flush(self) -> None:
        """There is time: write down what is still held.

        Raises:
            PeepholeError: not now.
        """
        ...

    def close(self) -> None:
        """There will be no more; write down what is still held.

        Raises:
            PeepholeError: it cannot be written, and is lost.
        """
        ...


class Observers:
    """Several observers as one that never fails: where one of them cannot go on, that is said once, and the rest do."""

    name = "timings"

    def __init__(self, *observers: Observer, warn: Callable[[str], object] = log.warning) -> None:
        """Tell these, in this order; ``warn`` is told when one fails, and when it goes on again."""
        self._observers, self._warn = observers, warn
        self._failing: set[int] = set()
        self.failed = False
        """Whether any of them has failed so far."""

    def __bool__(self) -> bool:
        return bool(self._observers)

    def frame(self, record: Record) -> None:
        """Tell all of them."""
        for index, each in enumerate(self._observers):
            if self._done(index, partial(each.frame, record)) and index in self._failing:
                self._failing.discard(index)
                self._warn(f"the {each.name} is written again")

    def flush(self) -> None:
        """See `Observer.flush`."""
        for index, each in enumerate(self._observers):
            self._done(index, each.flush)

    def close(self) -> None:
        """See `Observer.close`."""
        for index, each in enumerate(self._observers):
            self._done(index, each.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _done(self, index: int, call: Callable[[], object]) -> bool:
        try:
            call()
        except PeepholeError as error:
            if index not in self._failing:
                self._warn(f"{error}; looking goes on without it")
            self._failing.add(index)
            self.failed = True
            return False
        return True
