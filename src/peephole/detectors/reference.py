"""dlib's own detectors, as reference: slow, and the CNN hungry, but the original."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import pyramid
from ..frame import Pixels
from ..models import store
from ..planner import Plan, Profile
from ..timings import StageClock
from . import Candidates, LandmarkKind, mmod

PYRAMID_AREA = 1 / (1 - (5 / 6) ** 2)
"""Pixels of all levels for each pixel of the first: both shrink by 5/6 a level."""

PROFILES = {
    "dlib-cnn": Profile(
        name="dlib-cnn",
        smallest_face=mmod.PROFILE.smallest_face,
        stride=mmod.PROFILE.stride,
        receptive_field=mmod.PROFILE.receptive_field,
        ratio=None,
        smallest_level=1,
        canvas=None,
        bytes_per_pixel=960.0,
        operations_per_pixel=mmod.PROFILE.operations_per_pixel * PYRAMID_AREA,
    ),
    "dlib-hog": Profile(
        name="dlib-hog",
        smallest_face=80.0,
        stride=8,
        receptive_field=80,
        ratio=None,
        smallest_level=1,
        canvas=None,
        bytes_per_pixel=60.0,
        # Five templates of 10 x 10 cells of 8 x 8 pixels with 31 planes, run as rows and columns, and the gradients.
        operations_per_pixel=(2 * 5 * 31 * (10 + 10) / 64 + 50) * PYRAMID_AREA,
    ),
}


class _Dlib(ABC):
    """What both have in common: the pyramid and the suppression happen inside dlib, so the plan has one level."""

    nms_overlap = 1.0  # dlib has suppressed already
    nms_covered = 1.0
    voter = None
    landmarks: LandmarkKind = "none"

    @abstractmethod
    def find(self, pixels: Pixels, min_confidence: float) -> list[tuple[Any, float]]:
        """Dlib's rectangles and their confidence."""

    def scan(
        self, pixels: Pixels, plan: Plan, min_confidence: float, clock: StageClock | None = None
    ) -> Iterator[Candidates]:
        """See `Detector.scan`; what happens inside dlib is all its "head"."""
        clock = clock or StageClock()
        with clock.stage("resize"):
            base = pyramid.base(pixels, plan)
        with clock.stage("head"):
            found = self.find(base, min_confidence)
        kept = [(rect, score) for rect, score in found if score > min_confidence]
        # dlib's rectangles include their last row and column; ours end behind them.
        boxes = [(rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1) for rect, _ in kept]
        confidence = np.array([score for _, score in kept], np.float64)
        yield Candidates(plan.levels[0], np.array(boxes, np.float64).reshape(-1, 4), confidence)


class DlibCnn(_Dlib):
    """``dlib.cnn_face_detection_model_v1`` on the weights file of `mmod`."""

    profile = PROFILES["dlib-cnn"]

    def __init__(self) -> None:
        import dlib

        self._model = dlib.cnn_face_detection_model_v1(str(store.locate(store.MMOD)))
        self.models = {store.MMOD.name: store.MMOD.sha256}

    def find(self, pixels: Pixels, min_confidence: float) -> list[tuple[Any, float]]:  # noqa: ARG002
        """Dlib's own call; it reports no confidence of 0 or below."""
        if min(pixels.shape[:2]) < mmod.STEM_FIELD:  # no cell fits, and below 10 pixels dlib writes outside its canvas
            return []
        return [(found.rect, found.confidence) for found in self._model(pixels, 0)]


class DlibHog(_Dlib):
    """``dlib.get_frontal_face_detector``: histograms of gradients, its weights compiled in."""

    profile = PROFILES["dlib-hog"]

    def __init__(self) -> None:
        import dlib

        self._model = dlib.get_frontal_face_detector()
        self.models: dict[str, str] = {}

    def find(self, pixels: Pixels, min_confidence: float) -> list[tuple[Any, float]]:
        """Dlib's own call."""
        rects, scores, _ = self._model.run(pixels, 0, min_confidence)
        return list(zip(rects, scores, strict=True))
