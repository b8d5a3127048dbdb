"""Snapshot → analysis: the whole way through, on one page."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from . import planner
from .align import Landmarker, cut_chips
from .detectors import Detector, open_detector
from .errors import BudgetTooSmall, UsageError, memory_errors
from .faces import Face, Faces
from .frame import Frame, Snapshot, Source, open_source
from .geometry import suppress
from .match import People, match
from .memory import Budget, current_rss, find_budget, parse_size, peak_rss, reset_peak, return_what_is_freed
from .models.session import Runtime
from .planner import Plan, Size
from .recognizers import Recognizer, open_recognizer
from .timings import StageClock


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the whole process for one frame, in bytes.

    Attributes:
        budget: what it may take.
        predicted: the peak that the plan foresaw.
        measured: the peak that it had; since the process began, where the system does not let it be reset.
    """

    budget: int
    predicted: int
    measured: int

    def to_dict(self) -> dict[str, float]:
        """In 10^6 bytes, as results and logs have it."""
        return {f"{name}_mb": round(getattr(self, name) / 1e6, 1) for name in ("budget", "predicted", "measured")}


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was seen on one frame. Iterating over it yields its faces, the most confident first.

    Attributes:
        source: the frame's.
        width, height: of the frame, native pixels.
        faces: in native pixels.
        plan: how the frame was looked at.
        memory: what was allowed, predicted and measured.
        timings_ms: milliseconds by stage, in their order.
        models: SHA-256 of every model file that took part, by name.
    """

    source: str
    width: int
    height: int
    faces: Faces
    plan: Plan
    memory: Memory
    timings_ms: dict[str, float]
    models: dict[str, str]

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def to_dict(self) -> dict[str, Any]:
        """The analysis as the output contract has it; see docs/output.md."""
        return {
            "image": self.source,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "plan": self.plan.to_dict(),
            "memory": self.memory.to_dict(),
            "timings_ms": self.timings_ms,
            "models": self.models,
        }


@dataclass(frozen=True, slots=True)
class Scale:
    """The options that choose the scale; see `peephole.planner.plan`."""

    max_side: int | None = None
    upsample: int = 0
    min_face: float | None = None
    max_face: float | None = None

    def __post_init__(self) -> None:
        whole("max_side", self.max_side)
        if self.upsample is None:
            raise UsageError("upsample must be a whole number, not None")
        whole("upsample", self.upsample)
        if self.min_face is not None and not isinstance(self.min_face, Real):
            raise UsageError(f"min_face must be a number of native pixels, not {self.min_face!r}")


def whole(name: str, value: object) -> None:
    """Raise a `UsageError` for an option that is neither a whole number nor None."""
    if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
        raise UsageError(f"{name} must be a whole number, not {value!r}")


def check(min_confidence: float, threshold: float | None) -> None:
    """Raise a `UsageError` for values that every comparison would answer in the same way."""
    if math.isnan(min_confidence):
        raise UsageError("min_confidence must be a number")
    if threshold is not None and not threshold >= 0:
        raise UsageError(f"threshold must be a distance of at least 0, not {threshold}")


class Pipeline:
    """A detector and a recognizer, loaded when first needed and kept."""

    def __init__(
        self,
        detector: str | Detector = "mmod",
        recognizer: str | Recognizer = "resnet",
        *,
        threads: int | None = None,
        memory: int | str | None = None,
        runtime: str = "onnxruntime",
        precision: str = "float32",
    ) -> None:
        """Choose the models, by name or ready made.

        Args:
            detector: see `detectors.open_detector`.
            recognizer: see `recognizers.open_recognizer`.
            threads: compute threads, at least 1; by default one a processor that this process may use.
            memory: what the whole process may take, in bytes or as "256MiB"; by default what is found, see
                `memory.find_budget`.
            runtime, precision: what runs the networks; see `models.session.Runtime`.

        Raises:
            UsageError: ``threads`` is no whole number of at least 1, ``memory`` is no size, or there is no detector or
                recognizer.
        """
        whole("threads", threads)
        for what, chosen in (("detector", detector), ("recognizer", recognizer)):
            if chosen is None:
                raise UsageError(f"{what} must be a name or a {what}, not None")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self._detector, self._recognizer = detector, recognizer
        self._runtime = Runtime(runtime, precision, threads)
        self._requested = None if memory is None else parse_size(memory)
        self.floor = 0
        """Bytes that the process has with its models loaded, before it looks at a frame; grows with each model."""
        return_what_is_freed()

    @functools.cached_property
    def budget(self) -> Budget:
        """What the whole process may take, found when first needed."""
        return find_budget(self._requested)

    @functools.cached_property
    def detector(self) -> Detector:
        """The detector, loaded on first use."""
        chosen = self._detector
        with self._loading():
            return open_detector(chosen, self._runtime) if isinstance(chosen, str) else chosen

    @functools.cached_property
    def landmarker(self) -> Landmarker:
        """The landmarker, loaded on first use."""
        with self._loading():
            return Landmarker()

    @functools.cached_property
    def recognizer(self) -> Recognizer:
        """The recognizer, loaded on first use."""
        chosen = self._recognizer
        with self._loading():
            return open_recognizer(chosen, self._runtime) if isinstance(chosen, str) else chosen

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Add what a model takes to the floor: what the process has before it looks at a frame."""
        before = current_rss() if self.floor else 0
        yield
        self.floor += max(current_rss() - before, 0)

    def plan(
        self, frame: Size, scale: Scale = Scale(), *, reducible: bool = False, encoded: int = 0, decoder: int = 0
    ) -> Plan:
        """Plan a frame within the budget; see `planner.plan`.

        Raises:
            BudgetTooSmall: not even the coarsest plan fits; the message names the least budget that would do.
        """
        profile = self.detector.profile
        room = self.budget.bytes - self.floor
        try:
            return planner.plan(
                frame,
                profile,
                max_side=scale.max_side,
                upsample=scale.upsample,
                min_face=scale.min_face,
                max_face=scale.max_face,
                room=room,
                reducible=reducible,
                encoded=encoded,
                decoder=decoder,
            )
        except BudgetTooSmall as error:
            least = math.ceil((self.floor + error.needed) / 2**20)
            raise BudgetTooSmall(
                f"a {frame[0]}x{frame[1]} frame needs a memory budget of at least {least} MiB; there are "
                f"{self.budget.bytes / 2**20:.0f} MiB: {self.budget.source}",
                needed=least * 2**20,
            ) from error

    @memory_errors()
    def analyse(
        self,
        source: Source | Snapshot | Frame,
        *,
        scale: Scale = Scale(),
        min_confidence: float = 0.0,
        embed: bool = False,
        people: People | None = None,
        threshold: float | None = None,
        clock: StageClock | None = None,
        keep: Callable[[Frame], object] | None = None,
    ) -> Analysis:
        """Look at one frame.

        Args:
            source: see `frame.read`.
            scale: how large it is looked at.
            min_confidence: boxes at or below it are left out, in the detector's own unit.
            embed: also find landmarks and embeddings.
            people: also say who it is; implies ``embed``.
            threshold: largest Euclidean distance that is the same person; by default the recognizer's convention.
            clock: the caller's, where it has timed stages of its own already.
            keep: called with the decoded frame, for a caller that wants to draw on it.

        Raises:
            FrameError: the frame cannot be looked at.
            UsageError: an option cannot work.
            ModelError: a model cannot be used.
        """
        check(min_confidence, threshold)
        clock = clock or StageClock()
        embed = embed or people is not None
        if embed:  # the recognizer first: while it loads it takes more than afterwards
            recognizer, landmarker = self.recognizer, self.landmarker
        detector = self.detector
        models = detector.models | (recognizer.models | landmarker.models if embed else {})
        reset_peak()

        with clock.stage("decode"):
            opened = open_source(source)
        with clock.stage("plan"):
            if isinstance(opened, Snapshot):
                planned = self.plan(
                    opened.size,
                    scale,
                    reducible=opened.reducible,
                    encoded=len(opened.data),
                    decoder=opened.decoder_bytes,
                )
            else:
                planned = self.plan(opened.native_size, scale)
        with clock.stage("decode"):
            frame = opened.decode(planned.reduction) if isinstance(opened, Snapshot) else opened
        if frame.native_size != planned.frame:  # turned by an orientation that stood behind the pixels
            planned = self.plan(frame.native_size, scale)
        if keep:
            keep(frame)
        with clock.stage("detect"):
            candidates = list(detector.scan(frame.pixels, planned, min_confidence))
        with clock.stage("map"):  # the one place where coordinates become native
            boxes = np.concatenate([level.to_native.boxes(boxes) for level, boxes, _ in candidates])
            confidence = np.concatenate([scores for _, _, scores in candidates])
            kept = suppress(boxes, confidence, detector.nms_overlap, detector.nms_covered)
            faces = Faces(boxes[kept], confidence[kept])

        if embed:
            with clock.stage("align"):
                landmarks = landmarker.find(frame, faces)
                chips = cut_chips(frame, landmarks, recognizer.template, recognizer.side)
            with clock.stage("embed"):
                embeddings = recognizer.embed(chips)
            faces = replace(faces, landmarks=landmarks, embeddings=embeddings)
            if people is not None:
                with clock.stage("match"):
                    limit = recognizer.threshold if threshold is None else threshold
                    faces = replace(faces, matches=match(embeddings, people, limit))

        memory = Memory(self.budget.bytes, self.floor + math.ceil(planned.bytes), peak_rss())
        width, height = frame.native_size
        return Analysis(frame.source, width, height, faces, planned, memory, clock.rounded(), models)
