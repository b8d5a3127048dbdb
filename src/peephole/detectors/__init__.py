"""Detectors behind one Protocol: the pictures of a plan's levels in, boxes on those levels out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..frame import Pixels
from ..geometry import Boxes, Points
from ..models.session import ONNXRUNTIME, Runtime
from ..planner import Level, Plan, Profile
from ..timings import StageClock

LandmarkKind = Literal["none", "arcface"]
"""Which landmarks a detector finds. ArcFace's five: right eye, left eye, tip of the nose, right and left corner of the
mouth, as the person has them; so the right eye is left in the picture."""


class Candidates(NamedTuple):
    """What was found on a level, in the level's own pixels.

    Attributes:
        level: the plan's.
        boxes: (n, 4).
        confidence: (n,), in the detector's own unit.
        landmarks: (n, 5, 2) x, y, of the detector's kind; None where it finds none.
    """

    level: Level
    boxes: Boxes
    confidence: NDArray[np.float64]
    landmarks: Points | None = None


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
    def voter(self) -> float | None:
        """Share of a face's strongest box's confidence that a box of it needs to have a say in where the face is.

        None: none but the strongest has. The others lie at confidences down to this share of what is asked for.
        """
        ...

    @property
    def landmarks(self) -> LandmarkKind:
        """Which landmarks come with the boxes."""
        ...

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of every model file in use, by name."""
        ...

    def scan(
        self, pixels: Pixels, plan: Plan, min_confidence: float, clock: StageClock | None = None
    ) -> Iterator[Candidates]:
        """Every box whose confidence exceeds ``min_confidence``, before suppression across levels.

        Args:
            pixels: the decoded frame, (height, width, 3) uint8 RGB.
            plan: how to look at it.
            min_confidence: in the detector's own unit.
            clock: gets the stages that there are of these: "resize", the pixels of the levels; "head", the network's
                part at high resolution; "tail", the rest of it. None is going on while a level's candidates are
                handed over.
        """
        ...


DETECTORS = ("mmod", "yunet", "dlib-cnn", "dlib-hog")
OWN_FILE = "yunet:"
"""With the path of an ONNX file behind it, also a detector's name."""


def profile(name: str) -> Profile:
    """A detector's profile, without loading its model; for the name see `open_detector`.

    Raises:
        UsageError: there is no such detector.
    """
    if name == "mmod":
        from .mmod import PROFILE

        return PROFILE
    if name == "yunet" or (name.startswith(OWN_FILE) and name != OWN_FILE):
        from .yunet import PROFILE

        return PROFILE
    if name in DETECTORS:
        from .reference import PROFILES

        return PROFILES[name]
    raise UsageError(f"there is no detector {name!r}; choose one of {', '.join(DETECTORS)}, {OWN_FILE}FILE")


def open_detector(name: str, runtime: Runtime = ONNXRUNTIME) -> Detector:
    """Load a detector by name.

    Args:
        name: one of `DETECTORS`, or "yunet:" and the path of an ONNX file with a YuNet in it.
        runtime: what runs it; dlib's own code takes no notice.

    Raises:
        UsageError: there is no such detector, or the runtime cannot be had.
        ModelError: its model cannot be used.
    """
    profile(name)
    if name == "mmod":
        from .mmod import Mmod

        return Mmod(runtime)
    if name.startswith("yunet"):
        from .yunet import Yunet

        return Yunet(name.removeprefix(OWN_FILE) if name != "yunet" else None, runtime)
    from . import reference

    return reference.DlibCnn() if name == "dlib-cnn" else reference.DlibHog()
