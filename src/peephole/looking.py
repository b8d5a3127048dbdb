"""Who looks at frames: a worker process that may be killed, or this process itself. Both do the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self, Unpack

from .faces import Face
from .frame import Frame, Pixels, Snapshot, Source, load, open_source, snapshot
from .pipeline import Analysis, Asked, Identified, Pipeline
from .timings import StageClock

if TYPE_CHECKING:
    from .gallery import Photo, StoredFace
    from .recognizers import Embeddings


class Looking(Protocol):
    """Looks at frames, one after another; see `worker.host.WorkerHost` and `InProcess`."""

    @property
    def recognizer(self) -> Identified:
        """The recognizer whose vectors come out."""
        ...

    def analyse(
        self,
        source: Source | Frame,
        *,
        name: str | None = None,
        clock: StageClock | None = None,
        **asked: Unpack[Asked],
    ) -> Analysis:
        """Look at one frame; see `Pipeline.analyse`. ``name`` is what it is called, by default the file's."""
        ...

    def draw(self, source: Source | Frame, analysis: Analysis, target: str | os.PathLike[str]) -> str | None:
        """Draw an analysis on a copy of its frame, a JPEG; the reason why it cannot be written, or None.

        Raises:
            FrameError: the frame cannot be decoded any more.
        """
        ...

    def photo(self, source: Source | Frame, analysis: Analysis, face: Face) -> Photo:
        """A face of an analysis as a gallery keeps it, cut out of its frame; see `enrolment.photo_of`.

        Raises:
            FrameError: the frame cannot be decoded any more.
        """
        ...

    def vectors(self, stored: Sequence[StoredFace]) -> Embeddings:
        """A gallery's faces, n of them, by the recognizer: (n, 2, d); see `enrolment.vectors_of`.

        Raises:
            GalleryDamaged: a crop is no picture.
        """
        ...

    def portrait(self, stored: StoredFace) -> Pixels:
        """A gallery's face for people to look at; see `enrolment.portrait`.

        Raises:
            GalleryDamaged: its crop is no picture.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class InProcess:
    """Looks at frames in this process, and keeps the last one for whoever draws on it or cuts faces out."""

    def __init__(self, pipeline: Pipeline, *, keep: bool = True) -> None:
        """Look with a pipeline; without ``keep`` a frame that is to be drawn on is decoded again."""
        self._pipeline, self._keep = pipeline, keep
        self._last: tuple[Analysis, Snapshot | Frame, Frame] | None = None

    @property
    def recognizer(self) -> Identified:
        """See `Looking`."""
        return self._pipeline.recognizer

    def analyse(
        self,
        source: Source | Frame,
        *,
        name: str | None = None,
        clock: StageClock | None = None,
        **asked: Unpack[Asked],
    ) -> Analysis:
        """See `Looking`."""
        self._last = None  # the next frame needs its room
        clock = clock or StageClock()
        with clock.stage("decode"):
            opened = _opened(source, name)
        frames: list[Frame] = []
        keep = frames.append if self._keep else None
        analysis = self._pipeline.analyse(opened, **asked, clock=clock, keep=keep)
        if frames:
            self._last = analysis, opened, frames[0]
        return analysis

    def draw(self, source: Source | Frame, analysis: Analysis, target: str | os.PathLike[str]) -> str | None:
        """See `Looking`."""
        from .draw import write

        _, frame = self._frame(source, analysis)
        return write(frame, analysis.faces, target)

    def photo(self, source: Source | Frame, analysis: Analysis, face: Face) -> Photo:
        """See `Looking`."""
        from .enrolment import digest, photo_of

        opened, frame = self._frame(source, analysis)
        return photo_of(frame, face, sha256=digest(opened))

    def vectors(self, stored: Sequence[StoredFace]) -> Embeddings:
        """See `Looking`."""
        from .enrolment import vectors_of

        return vectors_of(stored, self._pipeline)

    def portrait(self, stored: StoredFace) -> Pixels:
        """See `Looking`."""
        from .enrolment import portrait

        return portrait(stored)

    def _frame(self, source: Source | Frame, analysis: Analysis) -> tuple[Snapshot | Frame, Frame]:
        """What an analysis is of: as it was given, and decoded as it was then."""
        if self._last and self._last[0].source == analysis.source:
            return self._last[1:]
        opened = _opened(source, analysis.source)
        return opened, opened.decode(analysis.plan.reduction) if isinstance(opened, Snapshot) else opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._last = None


def _opened(source: Source | Frame, name: str | None) -> Snapshot | Frame:
    if isinstance(source, bytes):
        return snapshot(source, name or "bytes")
    if isinstance(source, (str, os.PathLike)):
        return snapshot(load(source), name or os.fspath(source))
    return open_source(source)
