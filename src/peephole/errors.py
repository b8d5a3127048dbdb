"""Everything that Peephole raises on purpose.

    PeepholeError
    ├── UsageError            an option or argument that cannot work, and why
    ├── FrameError            one snapshot could not be looked at; the run goes on
    │   ├── FrameNotFound     no such file, or a folder without pictures
    │   ├── FrameUnreadable   the operating system would not hand the bytes over
    │   ├── FrameEmpty        no bytes at all
    │   ├── FrameNotAPicture  bytes in no picture format that is known here
    │   ├── FrameNotSupported  a picture, but of a format or kind that is not read here
    │   ├── FrameCorrupt      a picture that is cut off or damaged
    │   ├── FrameTooLarge     more pixels than the limit, or more beside them; refused before any is decoded
    │   ├── BudgetTooSmall    not even the coarsest plan fits into the memory budget
    │   ├── OutOfMemory       no memory for its pixels, or for looking at them at this scale
    │   ├── FrameDropped      left out of a full queue in favour of later ones
    │   ├── FrameAbandoned    the program ended again and again while it was looked at
    │   └── WorkerError       the process that looked at it gave no answer
    │       ├── WorkerNotStarted       it did not get as far as being ready
    │       ├── WorkerKilledForMemory  the kernel killed it for memory
    │       ├── WorkerKilled           somebody else killed it, nobody knows who
    │       ├── WorkerCrashed          its native code crashed
    │       ├── WorkerHung             it did not answer in time
    │       ├── WorkerEnded            it ended by itself, mostly by an exception
    │       └── WorkerProtocolError    what it said makes no sense
    ├── ModelError            a model's file cannot be used
    │   ├── ModelNotFound     the file, or the package that carries it, is not there
    │   ├── ModelDamaged      its bytes are not what they should be
    │   └── ModelDownload     it could not be fetched
    ├── PeopleError           the people's folder cannot be used
    ├── GalleryError          the gallery cannot be used, or not for this
    │   ├── GalleryNotFound   there is no such file
    │   ├── GalleryDamaged    no gallery, a damaged one, or a damaged export of one
    │   ├── GalleryFull       no space left on its disk; nothing was stored
    │   ├── GalleryModelMismatch  faces without an embedding of this model: `peephole gallery reembed`
    │   ├── NameRefused       a name that nobody can have, or that somebody has already
    │   ├── PhotoRefused      a photo that shows no face, several, an unclear one, or somebody else's
    │   └── NotInGallery      no such person, photo, face or group
    ├── SpoolError            the queue of frames cannot be used
    │   ├── SpoolDamaged      its file is no queue, or damaged
    │   ├── SpoolFull         no room in it, or on its disk; nothing was accepted or changed
    │   └── SpoolBusy         another process works through it
    └── TimingsError          a timing log, or the history of timings, cannot be read or written

Errors of the libraries underneath are translated once, where they are called, and kept as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class PeepholeError(Exception):
    """The root: catch it to catch whatever Peephole raises on purpose."""

    kind: ClassVar[str] = "error"
    """The word for this error in machine-readable output; stable across versions."""


class UsageError(PeepholeError):
    """An option or argument that cannot work."""

    kind = "usage"


class FrameError(PeepholeError):
    """One snapshot could not be looked at."""

    kind = "frame"


class FrameNotFound(FrameError):
    """There is no such file, or no picture in the folder."""

    kind = "not-found"


class FrameUnreadable(FrameError):
    """The operating system would not hand the bytes over."""

    kind = "unreadable"


class FrameEmpty(FrameError):
    """The file holds no bytes."""

    kind = "empty"


class FrameNotAPicture(FrameError):
    """The bytes are in no picture format that is known here."""

    kind = "not-a-picture"


class FrameNotSupported(FrameError):
    """It is a picture, maybe a sound one, of a format or kind that is not read here."""

    kind = "not-supported"


class FrameCorrupt(FrameError):
    """The picture is cut off or damaged."""

    kind = "corrupt"


class FrameTooLarge(FrameError):
    """The header claims more pixels than the limit, or more beside them than any picture needs."""

    kind = "too-large"


class BudgetTooSmall(FrameError):
    """Not even the coarsest plan for this frame fits into the memory budget.

    Attributes:
        needed: bytes above the program's own that would do.
    """

    kind = "budget-too-small"

    def __init__(self, message: str, *, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


class OutOfMemory(FrameError):
    """There is no memory for its pixels, or for looking at them at this scale."""

    kind = "out-of-memory"


class FrameDropped(FrameError):
    """It was left out of a full queue in favour of later ones; nobody looked at it."""

    kind = "dropped"


class FrameAbandoned(FrameError):
    """The whole program ended again and again while it was looked at."""

    kind = "abandoned"


class WorkerError(FrameError):
    """The process that looked at it gave no answer; see docs/reliability.md."""

    kind = "worker"


class WorkerNotStarted(WorkerError):
    """The worker did not get as far as being ready."""

    kind = "worker-not-started"


class WorkerKilledForMemory(WorkerError):
    """The kernel killed the worker for memory.

    Attributes:
        peak: bytes that it was last seen with, 0 where that is not known.
    """

    kind = "killed-for-memory"

    def __init__(self, message: str, *, peak: int = 0) -> None:
        super().__init__(message)
        self.peak = peak


class WorkerKilled(WorkerError):
    """A signal from outside ended the worker, and nothing says that it was for memory."""

    kind = "killed"


class WorkerCrashed(WorkerError):
    """The worker's native code crashed."""

    kind = "crashed"


class WorkerHung(WorkerError):
    """The worker did not answer within its deadline and was killed for it."""

    kind = "deadline"


class WorkerEnded(WorkerError):
    """The worker ended by itself, mostly by an exception that nobody expected."""

    kind = "ended"


class WorkerProtocolError(WorkerError):
    """What came through the pipe is no message, or not the one that was due."""

    kind = "worker-protocol"


class ModelError(PeepholeError):
    """A model's file cannot be used."""

    kind = "model"


class ModelNotFound(ModelError):
    """The model's file, or the package that carries it, is not there."""

    kind = "model-not-found"


class ModelDamaged(ModelError):
    """The model's bytes are not what they should be."""

    kind = "model-damaged"


class ModelDownload(ModelError):
    """The model could not be fetched; what has come so far is kept, and the next attempt goes on from there."""

    kind = "model-download"


class PeopleError(PeepholeError):
    """The people's folder cannot be used."""

    kind = "people"


class GalleryError(PeepholeError):
    """The gallery cannot be used, or not for this."""

    kind = "gallery"


class GalleryNotFound(GalleryError):
    """There is no such file."""

    kind = "gallery-not-found"


class GalleryDamaged(GalleryError):
    """It is no gallery, a damaged one, or a damaged export of one."""

    kind = "gallery-damaged"


class GalleryFull(GalleryError):
    """There is no space left on the gallery's disk; nothing was stored."""

    kind = "gallery-full"


class GalleryModelMismatch(GalleryError):
    """Some of its faces have no embedding of this model.

    Attributes:
        missing: how many faces.
    """

    kind = "gallery-model-mismatch"

    def __init__(self, message: str, *, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


class NameRefused(GalleryError):
    """A name that nobody can have, or that somebody has already."""

    kind = "name-refused"


class PhotoRefused(GalleryError):
    """A photo that cannot be enrolled: it shows no face, several, an unclear one, or somebody else's."""

    kind = "photo-refused"


class NotInGallery(GalleryError):
    """There is no such person, photo, face or group."""

    kind = "not-in-gallery"


class SpoolError(PeepholeError):
    """The queue of frames cannot be used."""

    kind = "spool"


class SpoolDamaged(SpoolError):
    """Its file is no queue, or damaged."""

    kind = "spool-damaged"


class SpoolFull(SpoolError):
    """There is no room in it, or on its disk; nothing was accepted or changed."""

    kind = "spool-full"


class SpoolBusy(SpoolError):
    """Another process works through it."""

    kind = "spool-busy"


class TimingsError(PeepholeError):
    """A timing log, or the history of timings, cannot be read or written."""

    kind = "timings"


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the `MemoryError` of a block, or of the function it decorates, into `OutOfMemory`."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"there is not enough memory for it{f': {error}' if str(error) else ''}") from error
