"""What a gallery holds, as values, and which names people can have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import NameRefused
from ..faces import RESERVED
from ..quality import Quality

MAX_NAME = 100
"""Characters of the longest name."""

PNG = b"\x89PNG\r\n\x1a\n"

JOINERS = frozenset("\u200c\u200d")  # inside emoji, and in Persian and Indic writing
TAGS = range(0xE0020, 0xE0080)  # the flags of England, Scotland and Wales


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A face as it is kept: cut from its picture, so that any later model can look at it again.

    Attributes:
        crop: PNG bytes, RGB, a cut of the picture at native resolution with some surroundings.
        landmarks: (5, 2) float64 x, y in the crop's pixels, or None where none were found.
        landmark_kind: which five points these are, ``dlib`` or ``arcface``, or ``none``.
        box: left, top, right, bottom of the face in the crop's pixels.
        source: where the picture came from, for people to read.
        sha256: of the picture's bytes, in hexadecimal.
        quality: how clear the face is, or None where nobody looked.
    """

    crop: bytes
    landmarks: NDArray[np.float64] | None
    landmark_kind: Literal["none", "dlib", "arcface"]
    box: tuple[float, float, float, float]
    source: str
    sha256: str
    quality: Quality | None = None

    def __post_init__(self) -> None:
        if not self.crop.startswith(PNG):
            raise ValueError("the crop must be the bytes of a PNG")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {self.sha256!r}")
        if self.landmarks is not None:
            if self.landmarks.shape != (5, 2):
                raise ValueError(f"landmarks must be (5, 2), not {self.landmarks.shape}")
            self.landmarks.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class StoredPhoto(Photo):
    """An enrolled photo: the gallery's number for it, whose it is, when it was enrolled (UTC seconds)."""

    id: int = field(kw_only=True)
    name: str = field(kw_only=True)
    created: float = field(kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Unknown(Photo):
    """A sighting of nobody that is known: its number, its group's, the camera, and when (UTC seconds)."""

    id: int = field(kw_only=True)
    group: int = field(kw_only=True)
    camera: str = field(kw_only=True)
    time: float = field(kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class StoredRejection(Photo):
    """A face of which somebody said that it is not this person's: its number, the person's name, and when."""

    id: int = field(kw_only=True)
    name: str = field(kw_only=True)
    created: float = field(kw_only=True)


StoredFace = StoredPhoto | Unknown | StoredRejection


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled.

    Attributes:
        id: stays through renaming and is never given to anybody else.
        name: see `checked_name`.
        photos: how many are enrolled.
        ignored: never named or announced; see `Gallery.ignore`.
        created: when the person was enrolled first, UTC seconds.
    """

    id: int
    name: str
    photos: int
    ignored: bool
    created: float


@dataclass(frozen=True, slots=True)
class Group:
    """Unknown faces that look alike.

    Attributes:
        id: never given to another group.
        faces: how many.
        first, last: when the earliest and the latest of them was seen, UTC seconds.
        cameras: which saw them, sorted.
        ignored: never announced or offered again; see `Gallery.ignore_group`.
    """

    id: int
    faces: int
    first: float
    last: float
    cameras: tuple[str, ...]
    ignored: bool

    @property
    def name(self) -> str:
        """What the group is called where a name is needed: no person can be called so."""
        return group_name(self.id)


@dataclass(frozen=True, slots=True)
class UnknownVectors:
    """The embeddings of all unknown faces, in the order seen, for grouping.

    Attributes:
        faces: (n,) int64, their numbers.
        groups: (n,) int64, the group of each.
        embeddings: (n, d) float32, of one model.
    """

    faces: NDArray[np.int64]
    groups: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.faces)


@dataclass(frozen=True, slots=True)
class VisitRecord:
    """A visit as it is kept.

    Attributes:
        id: what `visits.Visit.id` calls it.
        camera: which camera saw it.
        first, last: when, UTC seconds.
        state: ``opened``, ``updated`` or ``closed``.
        names: who was there, in the order of appearance; reserved names among them.
        frames: how many it has.
        detail: what else there is to keep, as JSON has it.
    """

    id: str
    camera: str
    first: float
    last: float
    state: Literal["opened", "updated", "closed"]
    names: tuple[str, ...] = ()
    frames: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expired:
    """How many unknown faces and visits were deleted because of their age or number."""

    unknowns: int
    visits: int

    def __add__(self, other: Expired) -> Expired:
        return Expired(self.unknowns + other.unknowns, self.visits + other.visits)


def checked_name(name: str) -> str:
    """A person's name as it is kept: in Unicode's composed form (NFC), without blanks around it.

    Any writing and emoji will do. It must stand in a line of text and in a file's name: no control characters, none
    that turn the direction of writing, no path separators, no dot in front.

    Raises:
        NameRefused: why nobody can have this name.
    """
    checked = unicodedata.normalize("NFC", name).strip()
    shown = checked if len(checked) <= MAX_NAME else f"{checked[:20]}…"
    if len(checked) > MAX_NAME:
        reason = f"it has {len(checked)} characters; {MAX_NAME} are the most"
    elif not any(unicodedata.category(each)[0] in "LNPS" for each in checked):
        reason = "there is nothing to see in it"
    elif _hidden(checked):
        reason = "it contains control characters"
    elif "/" in checked or "\\" in checked:
        reason = "it contains a path separator"
    elif checked.startswith("."):
        reason = "it begins with a dot"
    elif folded(checked) in RESERVED:
        reason = f"it is what {RESERVED[folded(checked)]} is called"
    elif re.fullmatch(r"group-[0-9]+", folded(checked)):
        reason = "it stands for a group of unknown faces"
    else:
        return checked
    raise NameRefused(f"{shown!r} cannot be a person's name: {reason}")


def folded(name: str) -> str:
    """What two names share that differ only in upper and lower case."""
    return unicodedata.normalize("NFC", name.casefold())


def group_name(group: int) -> str:
    """What a group is called where a name is needed."""
    return f"group-{group}"


def _hidden(name: str) -> bool:
    """Whether a character in it is not seen as itself: line ends, controls, direction marks, half surrogates."""
    return any(
        unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") and each not in JOINERS and ord(each) not in TAGS
        for each in name
    )
