"""Everything that Peephole raises on purpose.

    PeepholeError
    ├── UsageError            an option or argument that cannot work, and why
    ├── FrameError            one snapshot could not be looked at; the run goes on
    │   ├── FrameNotFound     no such file, or a folder without pictures
    │   ├── FrameUnreadable   the operating system would not hand the bytes over
    │   ├── FrameEmpty        no bytes at all
    │   ├── FrameNotAPicture  bytes in no picture format that is read here
    │   ├── FrameCorrupt      a picture that is cut off or damaged
    │   ├── FrameTooLarge     more pixels than the limit, refused before any is decoded
    │   ├── BudgetTooSmall    not even the coarsest plan fits into the memory budget
    │   └── OutOfMemory       no memory for its pixels, or for looking at them at this scale
    ├── ModelError            a model's file cannot be used
    │   ├── ModelNotFound     the file, or the package that carries it, is not there
    │   └── ModelDamaged      its bytes are not what they should be
    └── PeopleError           the people's folder cannot be used

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
    """The bytes are in no picture format that is read here."""

    kind = "not-a-picture"


class FrameCorrupt(FrameError):
    """The picture is cut off or damaged."""

    kind = "corrupt"


class FrameTooLarge(FrameError):
    """The header claims more pixels than the limit."""

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


class ModelError(PeepholeError):
    """A model's file cannot be used."""

    kind = "model"


class ModelNotFound(ModelError):
    """The model's file, or the package that carries it, is not there."""

    kind = "model-not-found"


class ModelDamaged(ModelError):
    """The model's bytes are not what they should be."""

    kind = "model-damaged"


class PeopleError(PeepholeError):
    """The people's folder cannot be used."""

    kind = "people"


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn the `MemoryError` of a block, or of the function it decorates, into `OutOfMemory`."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"there is not enough memory for it{f': {error}' if str(error) else ''}") from error
