"""What host and worker say to each other: typed values, framed by a header with their lengths. Pure.

A message is a header, a JSON text and raw arrays. The header is 16 bytes, little-endian: ``PEEP``, the protocol's
version and the kind of message (one byte each), two bytes of zeros, the length of the text and the length of the
arrays. The lengths are bounded, nothing is read beyond them, and nothing that is read can run. A file descriptor may
come along with the first byte, see `channel`.

The host says `Start`; the worker confines itself, loads its models and says `Ready`. Then the host asks, one request at
a time, and the worker answers, or says `Failed`; the end of the stream ends it.

    Look → Seen    Draw → Drawn    Cut → Cutting    Embed → Embedded    Show → Shown
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import PeepholeError, UsageError, WorkerProtocolError
from ..faces import Faces
from ..match import Rule, Similarity
from ..pipeline import Analysis, Scale
from ..quality import Quality
from .confine import Confinement
from .values import Arrays, pack, unpack

MAGIC = b"PEEP"
VERSION = 3
"""Of the protocol; counts up when a message changes. Host and worker are of one installation, or refuse each other."""
HEADER = struct.Struct("<4sBBHII")
MOST_TEXT = 8 * 2**20
MOST_ARRAYS = 16 * 2**20
"""Bytes: some 10,000 faces with vectors of 128 numbers. The host's own memory is small."""
AT_ONCE = 64 * 2**10
"""Bytes that are read at a time: what a header promises is believed only as it comes."""


@dataclass(frozen=True, slots=True)
class Start:
    """Which models to load, and the budget; see `pipeline.Pipeline`.

    Attributes:
        version: the host's.
        detector, recognizer, profile, threads, memory, runtime, precision: as for the pipeline, models by name.
        embed: load the recognizer and what goes with it too.
    """

    version: str
    detector: str | None
    recognizer: str | None
    profile: str
    threads: int | None
    memory: int | str | None
    runtime: str
    precision: str
    embed: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """The recognizer that a worker has loaded, as far as its vectors' owner needs to know; see `recognizers`."""

    name: str
    model_id: str
    similarity: Similarity
    dimensions: int
    threshold: float
    rule: Rule


@dataclass(frozen=True, slots=True)
class Ready:
    """The models are loaded.

    Attributes:
        version: the worker's.
        models: SHA-256 of every model file that is loaded, by name.
        recognizer: None where none was asked for.
        budget: what the worker may take, in bytes.
        budget_source: where that came from, for people.
        floor: bytes that it has with its models loaded.
        confinement: what it gave up.
    """

    version: str
    models: dict[str, str]
    recognizer: Identity | None
    budget: int
    budget_source: str
    floor: int
    confinement: Confinement


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the worker finds the picture; its bytes never come through the pipe.

    Attributes:
        kind: a file by its name, encoded bytes in a descriptor that comes along, or (h, w, 3) uint8 RGB in one.
        name: the file's, or what the frame is called.
        size: (width, height) of pixels; (0, 0) otherwise.
    """

    kind: Literal["file", "encoded", "pixels"]
    name: str
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Look:
    """Look at a frame; see `pipeline.Pipeline.analyse`.

    Attributes:
        picture: the frame.
        scale, min_confidence, rotate, embed, twins: as for the pipeline.
        learned: bytes that the worker may take at the most, after it was killed for memory; None before.
    """

    picture: Picture
    scale: Scale
    min_confidence: float | None
    rotate: int | None
    embed: bool
    twins: bool
    learned: int | None


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw faces on a copy of a frame and write that to a file, as a JPEG.

    Attributes:
        picture: the frame.
        reduction: what to divide its sides by while decoding.
        faces: in native pixels.
        target: the file.
    """

    picture: Picture
    reduction: int
    faces: Faces
    target: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut a face out of a frame; see `enrolment.photo_of`.

    Attributes:
        picture, reduction: as for `Draw`.
        face: one row.
    """

    picture: Picture
    reduction: int
    face: Faces


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen; whose faces they are is left to the host."""

    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Drawn:
    """Whether a drawing was written.

    Attributes:
        problem: why not, or None.
    """

    problem: str | None


@dataclass(frozen=True, slots=True)
class Cutting:
    """The face as it was cut out: what `gallery.Photo` has."""

    crop: bytes
    landmarks: NDArray[np.float64] | None
    landmark_kind: Literal["none", "dlib", "arcface"]
    box: tuple[float, float, float, float]
    source: str
    sha256: str
    quality: Quality | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A face that a gallery holds: its number there, and the face as it was cut out once."""

    id: int
    photo: Cutting


@dataclass(frozen=True, slots=True)
class Embed:
    """Embed faces that a gallery holds; see `enrolment.vectors_of`."""

    faces: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Their vectors, (n, 2, d): as they are, and without their colour."""

    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Show:
    """Make a face that a gallery holds a picture for people; see `enrolment.portrait`."""

    face: Stored


@dataclass(frozen=True, slots=True)
class Shown:
    """The picture, (h, w, 3) RGB."""

    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Failed:
    """An error that Peephole raises on purpose.

    Attributes:
        kind: `PeepholeError.kind`.
        message: for people.
        needed: of `BudgetTooSmall`.
        timings_ms: of the stages before.
    """

    kind: str
    message: str
    needed: int | None
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, error: PeepholeError, timings_ms: dict[str, float]) -> Failed:
        """What to say of an error."""
        return cls(error.kind, str(error), getattr(error, "needed", None), timings_ms)

    def error(self) -> PeepholeError:
        """The same error again.

        Raises:
            WorkerProtocolError: there is no such kind.
        """
        kind = _errors().get(self.kind)
        if kind is None:
            raise WorkerProtocolError(f"the worker failed with an unknown {self.kind!r}: {self.message}")
        more = {} if self.needed is None else {"needed": self.needed}
        try:
            return kind(self.message, **more)
        except TypeError as error:
            raise WorkerProtocolError(f"an error of kind {self.kind!r} came incomplete: {self.message}") from error


def _errors(root: type[PeepholeError] = PeepholeError) -> dict[str, type[PeepholeError]]:
    found = {root.kind: root}
    for kind in root.__subclasses__():
        found |= _errors(kind)
    return found


Request = Look | Draw | Cut | Embed | Show
Answer = Seen | Drawn | Cutting | Embedded | Shown
Message = Start | Ready | Request | Answer | Failed
KINDS: tuple[type[Message], ...] = (Start, Ready, *get_args(Request), *get_args(Answer), Failed)


def encode(message: Message) -> bytes:
    """A message as it goes through the pipe.

    Raises:
        WorkerProtocolError: it is larger than a message may be.
    """
    arrays: list[NDArray[Any]] = []
    text = json.dumps(pack(message, arrays), separators=(",", ":")).encode()
    raw = b"".join(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays)
    if len(text) > MOST_TEXT or len(raw) > MOST_ARRAYS:
        raise WorkerProtocolError(
            f"too much for one message: {len(text)} bytes of text and {len(raw)} of arrays; are there really so many "
            "faces? A larger --min-confidence leaves the least likely ones out"
        )
    return HEADER.pack(MAGIC, VERSION, KINDS.index(type(message)), 0, len(text), len(raw)) + text + raw


def read(source: Callable[[int], bytes]) -> Message | None:
    """The next message, or None at the end of the stream.

    Args:
        source: gives at most so many bytes, at least one, and none at the end.

    Raises:
        WorkerProtocolError: what comes is no message, or ends within one.
    """
    header = _exactly(source, HEADER.size, may_end=True)
    if not header:
        return None
    magic, version, number, zeros, text_size, raw_size = HEADER.unpack(header)
    if magic != MAGIC or zeros:
        raise WorkerProtocolError(f"no message: it begins with {bytes(header)!r}")
    if version != VERSION:
        raise WorkerProtocolError(f"a message of version {version}, here it is {VERSION}: was Peephole updated?")
    if number >= len(KINDS):
        raise WorkerProtocolError(f"a message of unknown kind {number}")
    if text_size > MOST_TEXT or raw_size > MOST_ARRAYS:
        raise WorkerProtocolError(f"a message of {text_size} and {raw_size} bytes is larger than one may be")
    text, raw = _exactly(source, text_size), _exactly(source, raw_size)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkerProtocolError(f"a message without sound JSON: {error}") from error
    arrays = Arrays(raw)
    message: Message = unpack(KINDS[number], data, arrays)
    arrays.end()
    return message


def _exactly(source: Callable[[int], bytes], size: int, *, may_end: bool = False) -> bytearray:
    found = bytearray()
    while len(found) < size:
        part = source(min(size - len(found), AT_ONCE))
        if not part:
            if may_end and not found:
                break
            raise WorkerProtocolError(f"the stream ends after {len(found)} of {size} bytes")
        found += part
    return found


def same_version(other: str) -> None:
    """Raise a `UsageError` where host and worker are not of one installation, as after an update."""
    if other != __version__:
        raise UsageError(f"Peephole was updated while it ran, {__version__} to {other}: start it again")
