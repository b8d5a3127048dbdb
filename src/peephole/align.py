"""Landmarks, and chips cut from the native frame by them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .faces import Faces
from .frame import Frame, Pixels
from .geometry import Points, Transform, round_boxes
from .models import store


class Landmarker:
    """dlib's 5-point shape predictor: corners of both eyes, then the base of the nose.

    The order is dlib's: the outer and inner corner of the eye on the right of the picture, the outer and inner
    corner of the eye on its left, the nose.
    """

    def __init__(self) -> None:
        import dlib

        path = store.locate(store.LANDMARKS)
        self._dlib = dlib
        self._predictor = dlib.shape_predictor(str(path))
        self.models = {store.LANDMARKS.name: store.LANDMARKS.sha256}

    def find(self, frame: Frame, faces: Faces) -> NDArray[np.float64]:
        """Landmarks of each face in native pixels, (n, 5, 2)."""
        found = np.zeros((len(faces), 5, 2))
        boxes = frame.to_native.inverse().boxes(faces.boxes)
        for index, (left, top, right, bottom) in enumerate(round_boxes(boxes).tolist()):
            rectangle = self._dlib.rectangle(left, top, right - 1, bottom - 1)
            shape = self._predictor(frame.pixels, rectangle)
            # dlib names a pixel by its index, so its centre is half a pixel further.
            found[index] = [(part.x + 0.5, part.y + 0.5) for part in shape.parts()]
        return frame.to_native.points(found)


def cut_chips(frame: Frame, landmarks: NDArray[np.float64], template: Points, side: int) -> Pixels:
    """One upright square a face, cut from the frame's own pixels: (n, side, side, 3) uint8 RGB.

    Args:
        frame: as large as it was decoded; chips from a shrunk copy would have lost what the recognizer looks at.
        landmarks: (n, points, 2) native pixels.
        template: where the landmarks should lie on the chip, (points, 2) chip pixels.
        side: of the chip, in pixels.
    """
    chips = np.zeros((len(landmarks), side, side, 3), np.uint8)
    for chip, points in zip(chips, landmarks, strict=True):
        to_chip = frame.to_native.then(Transform.similarity(points, template))
        chip[:] = warp(frame.pixels, to_chip, (side, side))
    return chips


def warp(pixels: Pixels, transform: Transform, size: tuple[int, int]) -> Pixels:
    """Resample a picture through a similarity transform, source pixels → target pixels.

    Bilinear; where it shrinks, whole-number blocks of source pixels are averaged first, so that nothing aliases.
    What lies outside the source is black.

    Args:
        pixels: (height, width, 3) uint8.
        transform: of the source's continuous pixels to the target's.
        size: (width, height) of the target.
    """
    width, height = size
    back = transform.inverse()
    corners = back.points([(0, 0), (width, 0), (0, height), (width, height)])
    factor = max(1, math.floor(math.hypot(back.a, back.d)))
    # Only the source's part under the target is touched, a few blocks more for the interpolation.
    margin = 2 * factor
    left, top = (max(0, math.floor(v) - margin) for v in corners.min(0))
    right, bottom = (
        min(limit, math.ceil(v) + margin) for v, limit in zip(corners.max(0), pixels.shape[1::-1], strict=True)
    )
    if left >= right or top >= bottom:
        return np.zeros((height, width, 3), np.uint8)
    # Block averages of an uneven rest would stand for less than a block: give up at most factor - 1 edge pixels.
    right -= (right - left) % factor if right - left >= factor else 0
    bottom -= (bottom - top) % factor if bottom - top >= factor else 0
    part = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    if factor > 1:
        part = part.reduce(factor)
    source = back.then(Transform.offset(-left, -top)).then(Transform.scale(1 / factor, 1 / factor))
    coefficients = (source.a, source.b, source.c, source.d, source.e, source.f)
    return np.array(part.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
