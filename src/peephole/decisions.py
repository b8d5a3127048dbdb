"""What two models decide about the same frames, and where they differ: faces lost, gained or named otherwise. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .extent import face_extent
from .faces import UNCLEAR, UNKNOWN, Face, Faces
from .geometry import Boxes, overlaps

Kind = Literal["lost", "gained", "renamed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SAME_FACE = 0.35
"""Two boxes are of one face where they share so much of their union.

`yunet` and `mmod` draw faces differently even as `extent.face_extent` has them: of 144 faces that both found on every
eighth picture of FDDB's folds 1, 3 and 5, 11 in 100 share less than half of their union, 1 in 100 less than 0.4.
"""
NAMELESS = frozenset({UNKNOWN, UNCLEAR})
"""From one of these to the other nobody's name changes."""


@dataclass(frozen=True, slots=True)
class Change:
    """A face about which two models decide differently.

    Attributes:
        kind: the new model does not find it, only the new model finds it, or it gets another name.
        old: as the old model has it; None where it found none.
        new: likewise.
    """

    kind: Kind
    old: Face | None
    new: Face | None

    def words(self) -> str:
        """The change for people: ``lost Ann, confidence 0.93``, or with both scores ``Ann 0.61 -> unknown 0.44``."""
        face = self.old or self.new
        if self.kind == "renamed" or face is None:
            return f"{called(self.old)} -> {called(self.new)}"
        return f"{self.kind} {face.name or 'face'}, confidence {face.confidence:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """As the report has it; boxes in native pixels, as each detector draws them."""
        return {"kind": self.kind, "old": _face(self.old), "new": _face(self.new)}


def called(face: Face | None) -> str:
    """A face by its name and score, as drawings have it, or by its confidence where nobody asked who it is."""
    if face is None:
        return "nobody"
    if face.name is None:
        return f"face {face.confidence:.2f}"
    return face.name if face.score is None else f"{face.name} {face.score:.2f}"


def _face(face: Face | None) -> dict[str, Any] | None:
    if face is None:
        return None
    named = {} if face.name is None else {"name": face.name, "score": face.score}
    return {"box": list(face.box), "confidence": face.confidence, **named}


@dataclass(frozen=True, slots=True)
class FrameDecisions:
    """Two models on one frame.

    Attributes:
        picture: the frame's name.
        pairs: the faces that both found, as the old and as the new model has them, changed or not.
        changes: where they differ: renamed ones first, then lost, then gained.
    """

    picture: str
    pairs: tuple[tuple[Face, Face], ...]
    changes: tuple[Change, ...]

    def of(self, kind: Kind) -> tuple[Change, ...]:
        """The changes of one kind."""
        return tuple(each for each in self.changes if each.kind == kind)

    def words(self) -> str:
        """How many changes of each kind there are: ``2 lost, 1 renamed``."""
        counts = {kind: len(self.of(kind)) for kind in KINDS}
        return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def compare_faces(picture: str, old: Faces, new: Faces, detectors: tuple[str, str]) -> FrameDecisions:
    """Match the faces of two models on one frame, and tell the differences.

    Args:
        picture: the frame's name.
        old, new: what each found; names are compared where both have them.
        detectors: whose boxes they are, see `extent.face_extent`: boxes of one face are drawn differently.
    """
    matched = match_boxes(face_extent(old.boxes, detectors[0]), face_extent(new.boxes, detectors[1]))
    pairs = tuple((old[i], new[j]) for i, j in matched)
    seen, found = {i for i, _ in matched}, {j for _, j in matched}
    changes = [Change("renamed", before, after) for before, after in pairs if _renamed(before, after)]
    changes += [Change("lost", old[i], None) for i in range(len(old)) if i not in seen]
    changes += [Change("gained", None, new[j]) for j in range(len(new)) if j not in found]
    return FrameDecisions(picture, pairs, tuple(changes))


def match_boxes(one: Boxes, other: Boxes, least: float = SAME_FACE) -> list[tuple[int, int]]:
    """Pairs of boxes, (n, 4) and (m, 4), that are of one face; each box is in one pair at most.

    Taken by falling intersection over union, as long as it is at least ``least``: of the greedy one-to-one matchings
    that scores of detectors go by, as PASCAL VOC's.
    """
    shared = overlaps(one, other)
    order = np.argsort(-shared, axis=None, kind="stable")
    rows, columns = np.unravel_index(order, shared.shape)
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(len(one))), set(range(len(other)))
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        if shared[i, j] < least:
            break
        if i in free_rows and j in free_columns:
            pairs.append((i, j))
            free_rows.discard(i)
            free_columns.discard(j)
    return sorted(pairs)


def _renamed(old: Face, new: Face) -> bool:
    names = {old.name, new.name}
    return None not in names and len(names) == 2 and not names <= NAMELESS


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a score moved from the old model to the new one, over the faces that both found.

    Attributes:
        count: how many faces.
        median, largest: differences, new less old; the largest by its size, with its sign.
    """

    count: int
    median: float
    largest: float

    @classmethod
    def of(cls, pairs: Iterable[tuple[float | None, float | None]]) -> Drift | None:
        """Of pairs of scores, old and new, those with a None left out; None where there are no others."""
        moved: NDArray[np.float64] = np.array([b - a for a, b in pairs if a is not None and b is not None], np.float64)
        if not len(moved):
            return None
        return cls(len(moved), float(np.median(moved)), float(moved[np.abs(moved).argmax()]))

    def words(self) -> str:
        """For people."""
        return f"median {self.median:+.3f}, largest {self.largest:+.3f}, {self.count} faces"

    def to_dict(self) -> dict[str, Any]:
        """As the report has it."""
        return asdict(self)


def confidence_drift(frames: Sequence[FrameDecisions]) -> Drift | None:
    """Of the detectors' confidence; of use only where both give it in the same unit."""
    return Drift.of((old.confidence, new.confidence) for frame in frames for old, new in frame.pairs)


def score_drift(frames: Sequence[FrameDecisions]) -> Drift | None:
    """Of the matches' scores, each the nearest person's; of use only where both recognizers compare alike."""
    return Drift.of((old.score, new.score) for frame in frames for old, new in frame.pairs)
