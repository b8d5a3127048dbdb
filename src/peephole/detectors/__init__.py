"""Detectors behind one Protocol: the pictures of a plan's levels in, boxes on those levels out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Pixels
from ..geometry import Boxes
from ..models.session import ONNXRUNTIME, Runtime
from ..planner import Level, Plan, Profile

Candidates = tuple[Level, Boxes, NDArray[np.float64]]
"""A level, boxes in its own pixels, (n, 4), and their confidence, (n,)."""


class Detector(Protocol):
    """Finds faces on the pictures of a plan; knows nothing of native pixels."""

    @property
    def profile(self) -> Profile:
        """What a plan needs to know of it."""
        ...

    @property
    def nms_overlap(self) -> float:
        """How much two boxes may overlap and both stay; see `geometry.suppress`."""
        ...

    @property
    def nms_covered(self) -> float:
        """How much of a box another may cover and both stay; see `geometry.suppress`."""
        ...

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of every model file in use, by name."""
        ...

    def scan(self, pixels: Pixels, plan: Plan, min_confidence: float) -> Iterator[Candidates]:
        """Every box whose confidence exceeds ``min_confidence``, before suppression across levels.

        Args:
            pixels: the decoded frame, (height, width, 3) uint8 RGB.
            plan: how to look at it.
            min_confidence: in the detector's own unit.
        """
        ...


DETECTORS = ("mmod", "dlib-cnn", "dlib-hog")


def profile(name: str) -> Profile:
    """A detector's profile, without loading its model.

    Raises:
        UsageError: there is no such detector.
    """
    if name == "mmod":
        from .mmod import PROFILE

        return PROFILE
    if name in DETECTORS:
        from .reference import PROFILES

        return PROFILES[name]
    raise UsageError(f"there is no detector {name!r}; choose one of {', '.join(DETECTORS)}")


def open_detector(name: str, runtime: Runtime = ONNXRUNTIME) -> Detector:
    """Load a detector by name.

    Args:
        name: one of `DETECTORS`.
        runtime: what runs it; dlib's own code takes no notice.

    Raises:
        UsageError: there is no such detector, or the runtime cannot be had.
        ModelError: its model cannot be used.
    """
    profile(name)
    if name == "mmod":
        from .mmod import Mmod

        return Mmod(runtime)
    from . import reference

    return reference.DlibCnn() if name == "dlib-cnn" else reference.DlibHog()
