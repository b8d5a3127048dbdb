"""Who looks at frames: a worker process that may be killed, or this process itself. Both do the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, Self

from .faces import Face
from .frame import Frame, Snapshot, load, snapshot
from .match import People, Rule
from .pipeline import Analysis, Identified, Pipeline, Scale
from .timings import StageClock

if TYPE_CHECKING:
    from .gallery import Photo

Encoded = str | os.PathLike[str] | bytes
"""A picture: a file's name, or its bytes."""


class Looking(Protocol):
    """Looks at frames, one after another; see `worker.host.WorkerHost` and `InProcess`."""

    @property
    def recognizer(self) -> Identified:
        """The recognizer whose vectors come out."""
        ...

    def analyse(
        self,
        source: Encoded,
        *,
        name: str | None = None,
        scale: Scale = Scale(),  # noqa: B008 - immutable
        min_confidence: float | None = None,
        embed: bool = False,
        people: People | None = None,
        threshold: float | None = None,
        rule: Rule | None = None,
        clock: StageClock | None = None,
    ) -> Analysis:
        """Look at one frame; see `Pipeline.analyse`. ``name`` is what it is called, by default the file's."""
        ...

    def draw(self, source: Encoded, analysis: Analysis, target: str | os.PathLike[str]) -> str | None:
        """Draw an analysis on a copy of its frame, a JPEG; the reason why it cannot be written, or None.

        Raises:
            FrameError: the frame cannot be decoded any more.
        """
        ...

    def photo(self, source: Encoded, analysis: Analysis, face: Face) -> Photo:
        """A face of an analysis as a gallery keeps it, cut out of its frame.

        Raises:
            FrameError: the frame cannot be decoded any more.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class InProcess:
    """Looks at frames in this process, and keeps the last one for whoever draws on it."""

    def __init__(self, pipeline: Pipeline, *, keep: bool = True) -> None:
        """Look with a pipeline; without ``keep`` a frame that is to be drawn on is decoded again."""
        self._pipeline, self._keep = pipeline, keep
        self._last: tuple[Analysis, Frame] | None = None

    @property
    def recognizer(self) -> Identified:
        """See `Looking`."""
        return self._pipeline.recognizer

    def analyse(
        self,
        source: Encoded,
        *,
        name: str | None = None,
        scale: Scale = Scale(),  # noqa: B008 - immutable
        min_confidence: float | None = None,
        embed: bool = False,
        people: People | None = None,
        threshold: float | None = None,
        rule: Rule | None = None,
        clock: StageClock | None = None,
    ) -> Analysis:
        """See `Looking`."""
        self._last = None  # the next frame needs its room
        clock = clock or StageClock()
        with clock.stage("decode"):
            opened = _opened(source, name)
        frames: list[Frame] = []
        analysis = self._pipeline.analyse(
            opened,
            scale=scale,
            min_confidence=min_confidence,
            embed=embed,
            people=people,
            threshold=threshold,
            rule=rule,
            clock=clock,
            keep=frames.append if self._keep else None,
        )
        if frames:
            self._last = analysis, frames[0]
        return analysis

    def draw(self, source: Encoded, analysis: Analysis, target: str | os.PathLike[str]) -> str | None:
        """See `Looking`."""
        from .draw import write

        return write(self._frame(source, analysis), analysis.faces, target)

    def photo(self, source: Encoded, analysis: Analysis, face: Face) -> Photo:
        """See `Looking`."""
        from .enrolment import photo_of

        return photo_of(self._frame(source, analysis), face)

    def _frame(self, source: Encoded, analysis: Analysis) -> Frame:
        if self._last and self._last[0].source == analysis.source:
            return self._last[1]
        return _opened(source, analysis.source).decode(analysis.plan.reduction)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._last = None


def _opened(source: Encoded, name: str | None) -> Snapshot:
    if isinstance(source, bytes):
        return snapshot(source, name or "bytes")
    return snapshot(load(source), name or os.fspath(source))
