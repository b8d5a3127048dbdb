"""Landmarks, and chips cut from the native frame by them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .faces import Faces
from .frame import Frame, Pixels
from .geometry import Boxes, Points, Transform, round_boxes
from .models import store

Kind = Literal["dlib", "arcface"]
"""Which five landmarks: dlib's (see `Landmarker`), or both pupils, the tip of the nose and the corners of the mouth,
what lies on the left of the picture first, as ArcFace and YuNet have them."""
ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
"""Where ArcFace's landmarks lie on a chip of 112 x 112 (insightface's ``arcface_src``, OpenCV's ``alignCrop``)."""
ARCFACE_SIDE = 112
DLIB_ON_ARCFACE = np.array([(37.6, 54.2), (72.9, 53.8), (55.7, 80.8)])
"""Where dlib's landmarks lie on such a chip: the middle of the left eye's corners, of the right eye's, and the nose.

Measured: the medians over 2,634 portraits aligned by YuNet's landmarks, on two sets that agree to 0.2 pixels. dlib
marks the base of the nose and not its tip, and corners lie lower than pupils, so these are not ArcFace's points.
"""
SQUARE = 0.92
"""Side of the square that dlib's detector draws around a face, in square roots of the area of YuNet's box.

Measured like `DLIB_ON_ARCFACE`: 0.920 and 0.917 on the two sets; the centres agree to 3 % of the height.
"""


class Landmarker:
    """dlib's 5-point shape predictor: corners of both eyes, then the base of the nose.

    The order is dlib's: the outer and inner corner of the eye on the right of the picture, the outer and inner
    corner of the eye on its left, the nose.
    """

    landmarks: Kind = "dlib"

    def __init__(self) -> None:
        import dlib

        path = store.locate(store.LANDMARKS)
        self._dlib = dlib
        self._predictor = dlib.shape_predictor(str(path))
        self.models = {store.LANDMARKS.name: store.LANDMARKS.sha256}

    def find(self, frame: Frame, faces: Faces) -> NDArray[np.float64]:
        """Landmarks of each face in native pixels, (n, 5, 2).

        dlib takes a face to stand upright: one whose landmarks by ArcFace say otherwise is turned before.
        """
        found = np.zeros((len(faces), 5, 2))
        for index, box in enumerate(faces.boxes):
            turn = 0 if faces.landmarks is None else (quarter(faces.landmarks[index]) - frame.turn) % 360
            seen = _cut(frame, box).turned(turn) if turn else frame
            left, top, right, bottom = round_boxes(seen.to_native.inverse().boxes(box))[0].tolist()
            shape = self._predictor(seen.pixels, self._dlib.rectangle(left, top, right - 1, bottom - 1))
            # dlib names a pixel by its index, so its centre is half a pixel further.
            found[index] = seen.to_native.points([(part.x + 0.5, part.y + 0.5) for part in shape.parts()])
        return found


def _cut(frame: Frame, box: Boxes) -> Frame:
    """What of a frame is around a box of native pixels, (4,): as much on each side as the box is large."""
    left, top, right, bottom = round_boxes(frame.to_native.inverse().boxes(box))[0].tolist()
    x, y = (max(0, 2 * low - high) for low, high in ((left, right), (top, bottom)))
    pixels = frame.pixels[y : max(2 * bottom - top, y + 1), x : max(2 * right - left, x + 1)]
    to_native = Transform.offset(x, y).then(frame.to_native)
    return Frame(np.ascontiguousarray(pixels), frame.source, frame.native_size, to_native, turn=frame.turn)


def lean(landmarks: Points) -> float:
    """Degrees clockwise, -180 to 180, by which a face leans, from ArcFace's five landmarks, (5, 2)."""
    to_upright = Transform.similarity(landmarks, ARCFACE)
    return -math.degrees(math.atan2(to_upright.d, to_upright.a))


def quarter(landmarks: Points) -> int:
    """By how much to turn a face clockwise, in whole quarters, so that it stands upright: 0, 90, 180 or 270 degrees."""
    return round(-lean(landmarks) / 90) % 4 * 90


def squares(boxes: Boxes) -> Boxes:
    """Boxes around faces from forehead to chin, as YuNet draws them, as the squares that dlib's landmarker expects."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    half = SQUARE * np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0.0).prod(1, keepdims=True)) / 2.0
    return np.concatenate([centres - half, centres + half], axis=1)


def matched(faces: Faces, kind: Kind, wanted: Kind, template: Points) -> tuple[Points, Points]:
    """Which points of the faces to match with which of the template: (n, points, 2) and (points, 2).

    All five where the faces' landmarks are those that the template is made for. Of dlib's, for a template of ArcFace's,
    the middles of the eyes and the nose; see `DLIB_ON_ARCFACE`.

    Raises:
        ValueError: the faces have no landmarks, or ArcFace's where the template is made for dlib's.
    """
    landmarks = faces.landmarks
    if landmarks is None:
        raise ValueError("there are no landmarks to align by")
    if kind == wanted:
        return landmarks, template
    if wanted != "arcface":
        raise ValueError(f"a template for {wanted} landmarks does not fit those of {kind}")
    eyes_and_nose = np.stack(
        [landmarks[:, 2:4].mean(1), landmarks[:, 0:2].mean(1), landmarks[:, 4]],
        axis=1,
    )
    return eyes_and_nose, Transform.similarity(ARCFACE, template).points(DLIB_ON_ARCFACE)


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
