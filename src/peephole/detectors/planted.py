"""A detector that sees only what it was told: for tests, and for the self-test of the way back to native pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..frame import Pixels
from ..geometry import Boxes
from ..planner import Plan, Profile
from ..timings import StageClock
from . import Candidates, LandmarkKind, mmod


class Planted:
    """Reports boxes that were planted in native pixels, each from one level of the plan, whatever the picture."""

    profile: Profile = mmod.PROFILE
    nms_overlap = 1.0
    nms_covered = 1.0
    voter = None
    landmarks: LandmarkKind = "none"

    def __init__(self, boxes: Boxes, levels: Sequence[int]) -> None:
        """Plant boxes, (n, 4) native pixels; ``levels`` says from which level each is reported."""
        self._boxes, self._levels = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(levels, np.intp)
        self.models: dict[str, str] = {}

    def scan(
        self,
        pixels: Pixels,  # noqa: ARG002
        plan: Plan,
        min_confidence: float,
        clock: StageClock | None = None,  # noqa: ARG002
    ) -> Iterator[Candidates]:
        """See `Detector.scan`; every box has confidence 1."""
        for index, level in enumerate(plan.levels):
            own = self._boxes[self._levels % len(plan.levels) == index]
            own = own[: len(own) if min_confidence < 1 else 0]
            yield Candidates(level, level.to_native.inverse().boxes(own), np.ones(len(own)))
