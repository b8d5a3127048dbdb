"""What was found on one frame: a struct of arrays, immutable, empty being an ordinary value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .geometry import Boxes
from .quality import Kind, Quality

UNKNOWN = "unknown"
"""The name of a face that matches nobody."""
UNCLEAR = "unclear"
"""The name of a face that is too small, too blurred or too far turned to tell whose it is."""
IGNORED = "ignored"
"""The name of a face whose person is to be ignored."""
RESERVED = {UNKNOWN: "a stranger", UNCLEAR: "a face that shows too little", IGNORED: "whoever is ignored"}
"""What no person may be called, and who is."""

Decision = Literal["named", "below-threshold", "small-margin", "corrected", "ignored", "unclear", "nobody-known"]
"""The rule that decided a face's name, see `peephole.match.match`."""


@dataclass(frozen=True, slots=True)
class Match:
    """Who a face is, and how that was decided.

    ``score`` is that of the nearest person's most alike photo: the cosine of the vectors' angle, or ``1 - distance``
    for a model whose vectors are compared by Euclidean distance; larger is more alike and 1 is the same vector.
    ``distance`` is ``1 - score``. ``margin`` is how much better that person's score is than the ``runner_up``'s (None
    with one person). ``nearest`` names the nearest person even where the face does not get that name.
    ``false_alarm`` estimates the share of strangers who reach this score. Where nobody is known at all, there is
    nothing to be near to, and all but the name and ``decided`` are None.
    """

    name: str
    score: float | None = None
    distance: float | None = None
    margin: float | None = None
    nearest: str | None = None
    runner_up: str | None = None
    false_alarm: float | None = None
    decided: Decision = "named"


@dataclass(frozen=True, slots=True)
class Face:
    """One row of `Faces`: native pixels, ``right`` and ``bottom`` exclusive."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float
    landmarks: NDArray[np.float64] | None = None
    embedding: NDArray[np.float32] | None = None
    match: Match | None = None
    quality: Quality | None = None
    kind: Kind | None = None
    twin: NDArray[np.float32] | None = None

    @property
    def grey(self) -> bool:
        """Whether it is known to have no colour; see `Quality.grey`."""
        return self.quality is not None and self.quality.grey

    @property
    def name(self) -> str | None:
        """The person's name, `UNKNOWN`, `UNCLEAR`, `IGNORED`, or None when nobody asked who it is."""
        return self.match.name if self.match else None

    @property
    def score(self) -> float | None:
        """The match's score, larger being more alike, or None."""
        return self.match.score if self.match else None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """``(left, top, right, bottom)``."""
        return self.left, self.top, self.right, self.bottom

    def to_dict(self) -> dict[str, Any]:
        """The face as the output contract has it; what was not computed is left out."""
        out: dict[str, Any] = {
            "left": self.left,
            "top": self.top,
            "right": self.right,
            "bottom": self.bottom,
            "confidence": self.confidence,
        }
        if self.landmarks is not None:
            out["landmarks"] = self.landmarks.tolist()
        if self.embedding is not None:
            out["embedding"] = self.embedding.tolist()
        if self.match is not None:
            out |= asdict(self.match)
        if self.quality is not None:
            out["quality"] = asdict(self.quality)
        return out


def _no_boxes() -> Boxes:
    return np.zeros((0, 4))


def _no_confidence() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Faces:
    """All faces of one frame, the most confident first, in native pixels.

    Attributes:
        boxes: (n, 4) float64, left, top, right, bottom.
        confidence: (n,) float64, the detector's own score.
        landmarks: (n, 5, 2) float64 x, y, or None before alignment. The order is the model's.
        embeddings: (n, d) float32, or None before embedding.
        matches: one `Match` a face, or None before matching.
        qualities: one `Quality` a face, or None before alignment.
        kind: which landmarks they are, or None before alignment.
        twins: (n, d) float32, the embeddings of the same faces without their colour, or None where nobody asked for
            them; see `peephole.embedding`.
    """

    boxes: Boxes = field(default_factory=_no_boxes)
    confidence: NDArray[np.float64] = field(default_factory=_no_confidence)
    landmarks: NDArray[np.float64] | None = None
    embeddings: NDArray[np.float32] | None = None
    matches: tuple[Match, ...] | None = None
    qualities: tuple[Quality, ...] | None = None
    kind: Kind | None = None
    twins: NDArray[np.float32] | None = None

    @property
    def grey(self) -> NDArray[np.bool_]:
        """Which faces are known to have no colour, (n,); see `Quality.grey`."""
        return np.array([each.grey for each in self.qualities or ()] or [False] * len(self), bool)

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4):
            raise ValueError(f"boxes must be (n, 4), not {self.boxes.shape}")
        columns = (self.confidence, self.landmarks, self.embeddings, self.matches, self.qualities, self.twins)
        if any(column is not None and len(column) != n for column in columns):
            raise ValueError(f"every column must have {n} rows, one a box")
        for array in (self.boxes, self.confidence, self.landmarks, self.embeddings, self.twins):
            if array is not None:
                array.setflags(write=False)

    @classmethod
    def of(cls, face: Face) -> Faces:
        """One row: a face without its vector and its match."""
        return cls(
            np.array([face.box]),
            np.array([face.confidence]),
            None if face.landmarks is None else face.landmarks[None],
            qualities=None if face.quality is None else (face.quality,),
            kind=face.kind,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> Face:
        left, top, right, bottom = (float(v) for v in self.boxes[index])
        return Face(
            left,
            top,
            right,
            bottom,
            float(self.confidence[index]),
            None if self.landmarks is None else self.landmarks[index],
            None if self.embeddings is None else self.embeddings[index],
            None if self.matches is None else self.matches[index],
            None if self.qualities is None else self.qualities[index],
            self.kind,
            None if self.twins is None else self.twins[index],
        )

    def __iter__(self) -> Iterator[Face]:
        return (self[index] for index in range(len(self)))
