"""What was found on one frame: a struct of arrays, immutable, empty being an ordinary value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Boxes

UNKNOWN = "unknown"
"""The name of a face that matches nobody."""


@dataclass(frozen=True, slots=True)
class Match:
    """Who a face is, by its nearest known photo.

    ``score`` is ``1 - distance``, so larger is more alike and 1 is the same vector; ``distance`` is Euclidean, the
    unit of the threshold. ``margin`` is how much nearer that person is than the next one (None with one person).
    ``nearest`` names the nearest person even where the threshold says unknown. Where nobody is known at all, there is
    nothing to be near to, and all but the name are None.
    """

    name: str
    score: float | None
    distance: float | None
    margin: float | None
    nearest: str | None


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

    @property
    def name(self) -> str | None:
        """The person's name, `UNKNOWN`, or None when nobody asked who it is."""
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
            out |= {"name": self.match.name, "score": self.match.score, "distance": self.match.distance}
            out |= {"margin": self.match.margin}
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
    """

    boxes: Boxes = field(default_factory=_no_boxes)
    confidence: NDArray[np.float64] = field(default_factory=_no_confidence)
    landmarks: NDArray[np.float64] | None = None
    embeddings: NDArray[np.float32] | None = None
    matches: tuple[Match, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4):
            raise ValueError(f"boxes must be (n, 4), not {self.boxes.shape}")
        columns = (self.confidence, self.landmarks, self.embeddings, self.matches)
        if any(column is not None and len(column) != n for column in columns):
            raise ValueError(f"every column must have {n} rows, one a box")
        for array in (self.boxes, self.confidence, self.landmarks, self.embeddings):
            if array is not None:
                array.setflags(write=False)

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
        )

    def __iter__(self) -> Iterator[Face]:
        return (self[index] for index in range(len(self)))
