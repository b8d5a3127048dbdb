"""Detectors draw a face differently; here their boxes become the extent of the face, forehead to chin."""

from __future__ import annotations

import numpy as np

from .geometry import Boxes

EXTENTS = {"mmod": (1.0, 1.5, -0.1), "dlib-cnn": (1.0, 1.5, -0.1)}
"""By detector: factors of the box's width and height, and how far its middle moves down, in heights.

dlib's network was trained on squares from the eyebrows to the lower lip. Medians over 361 faces in every third picture
of FDDB's folds 1, 3 and 5, whose truth are ellipses around whole heads; those over each of the other two thirds differ
by at most 0.02. Rounded to tenths. YuNet's boxes are near the extent and stay as they are, as OpenCV draws them.
"""


def face_extent(boxes: Boxes, detector: str) -> Boxes:
    """The extent of the faces in a detector's boxes, (n, 4) native pixels; it may reach beyond the frame.

    A detector without an entry in `EXTENTS` draws the extent itself, or squares that nobody has measured.
    """
    if detector not in EXTENTS:
        return boxes
    across, down, shift = EXTENTS[detector]
    size = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + size * (0.0, shift)
    half = size * (across, down) / 2
    return np.concatenate([middle - half, middle + half], axis=1)
