"""Points, boxes and the transforms between pixel grids.

One convention everywhere: continuous pixels, the origin at the top-left corner of the top-left pixel, x to the
right, y down. A box is ``[left, top, right, bottom]`` with ``right`` and ``bottom`` exclusive, so the box of a
whole ``width`` x ``height`` frame is ``[0, 0, width, height]``, and the centre of the top-left pixel is
``(0.5, 0.5)``. All of it is float64; rounding happens once, at the edge, in `round_boxes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transform:
    """An affine map of the plane: ``x' = a·x + b·y + c``, ``y' = d·x + e·y + f``."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0

    @classmethod
    def scale(cls, x: float, y: float) -> Transform:
        """Multiply coordinates by ``x`` and ``y``: what a resize does whose pixel edges line up."""
        return cls(a=x, e=y)

    @classmethod
    def offset(cls, x: float, y: float) -> Transform:
        """Add ``x`` and ``y``."""
        return cls(c=x, f=y)

    @classmethod
    def resize(cls, source: tuple[int, int], target: tuple[int, int]) -> Transform:
        """Source to target of a resize that keeps the frame's outer edges, sizes as (width, height).

        The two axes have their own scale, because a target size is rounded to whole pixels.
        """
        return cls.scale(target[0] / source[0], target[1] / source[1])

    @classmethod
    def resize_aligned(cls, source: tuple[int, int], target: tuple[int, int]) -> Transform:
        """Source to target of a resize that keeps the centres of the corner pixels ("align corners")."""

        def axis(length: int, shrunk: int) -> tuple[float, float]:
            if length == 1 or shrunk == 1:  # one pixel has one centre: both corners are the first pixel's
                return 1.0, 0.0
            ratio = (shrunk - 1) / (length - 1)
            return ratio, 0.5 - 0.5 * ratio

        (a, c), (e, f) = axis(source[0], target[0]), axis(source[1], target[1])
        return cls(a=a, c=c, e=e, f=f)

    @classmethod
    def turn(cls, size: tuple[int, int], degrees: int) -> Transform:
        """A picture of (width, height) to the same turned clockwise by 0, 90, 180 or 270 degrees."""
        width, height = size
        return {
            0: cls(),
            90: cls(a=0.0, b=-1.0, c=float(height), d=1.0, e=0.0),
            180: cls(a=-1.0, c=float(width), e=-1.0, f=float(height)),
            270: cls(a=0.0, b=1.0, d=-1.0, e=0.0, f=float(width)),
        }[degrees]

    @classmethod
    def similarity(cls, source: ArrayLike, target: ArrayLike) -> Transform:
        """The rotation, uniform scale and shift that bring ``source`` points nearest to ``target``, both (n, 2).

        Least squares without reflection: S. Umeyama, "Least-squares estimation of transformation parameters
        between two point patterns", 1991, in its closed form for the plane.

        Raises:
            ValueError: fewer than two points, or all source points the same.
        """
        s, t = np.asarray(source, np.float64), np.asarray(target, np.float64)
        if s.shape != t.shape or s.ndim != 2 or s.shape[1] != 2 or len(s) < 2:
            raise ValueError(f"two equal lists of at least two points are needed, not {s.shape} and {t.shape}")
        sm, tm = s.mean(0), t.mean(0)
        s, t = s - sm, t - tm
        spread = float((s * s).sum())
        if spread <= 0.0:
            raise ValueError("all source points are the same, so no scale follows from them")
        cosine = float((s * t).sum()) / spread
        sine = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / spread
        return cls(
            a=cosine,
            b=-sine,
            c=float(tm[0] - cosine * sm[0] + sine * sm[1]),
            d=sine,
            e=cosine,
            f=float(tm[1] - sine * sm[0] - cosine * sm[1]),
        )

    def then(self, after: Transform) -> Transform:
        """This transform first, ``after`` second."""
        return Transform(
            a=after.a * self.a + after.b * self.d,
            b=after.a * self.b + after.b * self.e,
            c=after.a * self.c + after.b * self.f + after.c,
            d=after.d * self.a + after.e * self.d,
            e=after.d * self.b + after.e * self.e,
            f=after.d * self.c + after.e * self.f + after.f,
        )

    def inverse(self) -> Transform:
        """The way back.

        Raises:
            ZeroDivisionError: the transform folds the plane onto a line.
        """
        k = 1.0 / (self.a * self.e - self.b * self.d)
        a, b, d, e = self.e * k, -self.b * k, -self.d * k, self.a * k
        return Transform(a=a, b=b, c=-(a * self.c + b * self.f), d=d, e=e, f=-(d * self.c + e * self.f))

    def points(self, points: ArrayLike) -> Points:
        """Map points, (..., 2)."""
        p = np.asarray(points, np.float64)
        x, y = p[..., 0], p[..., 1]
        return np.stack([self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f], axis=-1)

    def boxes(self, boxes: ArrayLike) -> Boxes:
        """Map boxes, (n, 4). Turned by a quarter, a half or three, a box stays a box, and its left remains the lesser.

        Raises:
            ValueError: the transform rotates by another angle, so a box would not stay a box.
        """
        if (self.b or self.d) and (self.a or self.e):
            raise ValueError("a rotated box is not a box: map its corners with points()")
        b = np.asarray(boxes, np.float64).reshape(-1, 4)
        if self.b or self.d:
            b = b[:, [1, 0, 3, 2]]
        x, y = self.a + self.b, self.d + self.e  # one of each is 0
        b = b * (x, y, x, y) + (self.c, self.f, self.c, self.f)
        return b[:, [0 if x >= 0 else 2, 1 if y >= 0 else 3, 2 if x >= 0 else 0, 3 if y >= 0 else 1]]


IDENTITY = Transform()


def round_boxes(boxes: ArrayLike) -> NDArray[np.int64]:
    """Boxes, (n, 4) float, to whole pixels: to the nearest edge, halves towards the bottom right.

    Not ``int()``, which rounds towards zero and so moves what lies left of or above the frame the other way.
    """
    return np.floor(np.asarray(boxes, np.float64).reshape(-1, 4) + 0.5).astype(np.int64)


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """The area of each box, (n, 4), in square pixels; 0 for one that is turned inside out."""
    return np.clip(boxes[:, 2] - boxes[:, 0], 0.0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0.0, None)


def intersections(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """The common area of every box of ``one``, (n, 4), with every box of ``other``, (m, 4): (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common: NDArray[np.float64] = np.clip(high - low, 0.0, None).prod(-1)
    return common


def overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union of every box of ``one`` with every box of ``other``: (n, m), 0 to 1."""
    common = intersections(one, other)
    union = areas(one)[:, None] + areas(other)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0.0)


def suppress(boxes: Boxes, scores: NDArray[np.floating[Any]], overlap: float, covered: float = 1.0) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes that stay, strongest first.

    Boxes are taken by falling score (equal scores in the order given); one falls when its intersection over union
    with a box that stayed exceeds ``overlap``, or when more than ``covered`` of either box's area is common.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    alive = np.ones(len(order), bool)
    area = areas(boxes)
    for position, index in enumerate(order):
        if not alive[position]:
            continue
        kept.append(int(index))
        rest = order[position + 1 :]
        common = intersections(boxes[index : index + 1], boxes[rest])[0]
        union = area[index] + area[rest] - common
        smaller = np.minimum(area[index], area[rest])
        alive[position + 1 :] &= ~((common > overlap * union) | (common > covered * smaller))
    return np.array(kept, np.intp)


def voters(boxes: Boxes, scores: NDArray[np.floating[Any]], strongest: int, share: float) -> NDArray[np.intp]:
    """Indices of the boxes that have a say in where one of them is: those of the same thing, and not much weaker.

    Box voting (S. Gidaris, N. Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN
    model", 2015): they overlap it by more than half of their union and have at least ``share`` of its score; it is one.
    """
    near = overlaps(boxes[strongest : strongest + 1], boxes)[0] > 0.5
    near[strongest] = True  # a box without an area overlaps nothing, not even itself
    return np.flatnonzero(near & (scores >= share * scores[strongest]))
