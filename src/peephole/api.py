"""The whole job in one call each, with the models loaded once and kept."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from .align import Landmarker
from .detectors import Detector, open_detector
from .frame import Frame, Source
from .geometry import round_boxes
from .match import People
from .people import load_people as _load_people
from .people import pictures
from .pipeline import Analysis, Pipeline, Scale
from .planner import Plan, Size
from .recognizers import Recognizer, open_recognizer

CLASSIC_SIDE = 720
CLASSIC_UPSAMPLE = 1


class ClassicFace(TypedDict):
    """What `detect_faces` yields: whole native pixels, ``right`` and ``bottom`` exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    confidence: float


_loading, _enrolling = threading.RLock(), threading.RLock()
"""Held while models, or people, are loaded: of two first calls at once the second waits for the first one's."""

_detector = functools.lru_cache(maxsize=8)(open_detector)
_recognizer = functools.lru_cache(maxsize=8)(open_recognizer)
_landmarker = functools.lru_cache(maxsize=1)(Landmarker)


class _Shared(Pipeline):
    """A pipeline whose models are also those of the others that are called the same."""

    @functools.cached_property
    def detector(self) -> Detector:
        with _loading, self._loading():
            return _detector(self._detector, self._runtime)  # type: ignore[arg-type]

    @functools.cached_property
    def landmarker(self) -> Landmarker:
        with _loading, self._loading():
            return _landmarker()

    @functools.cached_property
    def recognizer(self) -> Recognizer:
        with _loading, self._loading():
            return _recognizer(self._recognizer, self._runtime)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def _pipeline(
    detector: str,
    recognizer: str,
    threads: int | None,
    memory: int | str | None,
    runtime: str = "onnxruntime",
    precision: str = "float32",
) -> Pipeline:
    return _Shared(detector, recognizer, threads=threads, memory=memory, runtime=runtime, precision=precision)


def _open(*choices: Any) -> Pipeline:
    with _loading:
        return _pipeline(*choices)


def detect(
    image: Source | Frame,
    *,
    detector: str = "mmod",
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
    max_face: float | None = None,
    min_confidence: float = 0.0,
    threads: int | None = None,
    memory: int | str | None = None,
    runtime: str = "onnxruntime",
    precision: str = "float32",
) -> Analysis:
    """Where the faces are.

    Args:
        image: a path, encoded bytes, or an (h, w, 3) uint8 RGB array.
        detector: ``mmod``, ``dlib-cnn`` or ``dlib-hog``.
        max_side: shrink the frame so that its longer side has at most this many pixels; never enlarges.
        upsample: double the sides this many times after shrinking.
        min_face: choose the scale for faces of this many native pixels instead of ``max_side``.
        max_face: leave out the levels on which only faces larger than this show, in native pixels.
        min_confidence: boxes at or below it are left out.
        threads: compute threads; by default one a processor that this process may use.
        memory: what the whole process may take, in bytes or as "256MiB"; by default what is found, see
            `peephole.memory.find_budget`. Where it is too small for the wanted detail, the plan is coarsened and says
            so.
        runtime, precision: what runs the networks: ``onnxruntime``, or ``openvino`` where it is installed, and
            ``float32`` or, in OpenVINO on processors that have it, ``bfloat16``.

    Raises:
        FrameError, UsageError, ModelError: see `peephole.errors`.
    """
    return _open(detector, "resnet", threads, memory, runtime, precision).analyse(
        image, scale=Scale(max_side, upsample, min_face, max_face), min_confidence=min_confidence
    )


def embed(
    image: Source | Frame,
    *,
    detector: str = "mmod",
    recognizer: str = "resnet",
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
    max_face: float | None = None,
    min_confidence: float = 0.0,
    threads: int | None = None,
    memory: int | str | None = None,
    runtime: str = "onnxruntime",
    precision: str = "float32",
) -> Analysis:
    """Where the faces are, with landmarks and a vector each; see `detect` for the arguments."""
    return _open(detector, recognizer, threads, memory, runtime, precision).analyse(
        image, scale=Scale(max_side, upsample, min_face, max_face), min_confidence=min_confidence, embed=True
    )


def label(
    image: Source | Frame,
    people: People | str | os.PathLike[str],
    *,
    threshold: float | None = None,
    detector: str = "mmod",
    recognizer: str = "resnet",
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
    max_face: float | None = None,
    min_confidence: float = 0.0,
    threads: int | None = None,
    memory: int | str | None = None,
    runtime: str = "onnxruntime",
    precision: str = "float32",
) -> Analysis:
    """Whose faces they are.

    Args:
        image: see `detect`.
        people: what `load_people` returned, or the folder for it, ``DIR/NAME/*.jpg``. A folder is read again only
            when a photo in it has changed.
        threshold: largest Euclidean distance that is still the same person; by default 0.6, dlib's convention.
        detector, recognizer, max_side, upsample, min_face, max_face, min_confidence, threads, memory, runtime,
            precision: see `detect`.

    Raises:
        PeopleError: the folder cannot be used.
        FrameError, UsageError, ModelError: see `peephole.errors`.
    """
    scale = Scale(max_side, upsample, min_face, max_face)
    pipeline = _open(detector, recognizer, threads, memory, runtime, precision)
    known = people
    if not isinstance(known, People):
        with _enrolling:
            known = _known(pipeline, Path(known), _state(Path(known)), scale, min_confidence)
    return pipeline.analyse(image, scale=scale, min_confidence=min_confidence, people=known, threshold=threshold)


def load_people(
    folder: str | os.PathLike[str],
    *,
    detector: str = "mmod",
    recognizer: str = "resnet",
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
    max_face: float | None = None,
    min_confidence: float = 0.0,
    threads: int | None = None,
    memory: int | str | None = None,
    runtime: str = "onnxruntime",
    precision: str = "float32",
) -> People:
    """The people of a folder, ``DIR/NAME/*.jpg``; see `peephole.people.load_people` and `detect`."""
    pipeline = _open(detector, recognizer, threads, memory, runtime, precision)
    return _load_people(
        folder, pipeline, scale=Scale(max_side, upsample, min_face, max_face), min_confidence=min_confidence
    )


def plan(
    size: Size,
    *,
    detector: str = "mmod",
    max_side: int | None = None,
    upsample: int = 0,
    min_face: float | None = None,
    max_face: float | None = None,
    memory: int | str | None = None,
    reducible: bool = True,
) -> Plan:
    """How a detector would look at a frame of (width, height), within the memory budget.

    Loads the detector, to know what the process takes before any frame. See `detect` for the arguments; ``reducible``
    says that the frame is a JPEG, which can be decoded at a part of its size.
    """
    pipeline = _open(detector, "resnet", None, memory)
    return pipeline.plan(size, Scale(max_side, upsample, min_face, max_face), reducible=reducible, encoded=1)


def detect_faces(
    image_path: Source, *, max_side: int | None = CLASSIC_SIDE, upsample: int = CLASSIC_UPSAMPLE
) -> Iterator[ClassicFace]:
    """The classic cure: shrink to 720, upsample once, detect, scale the boxes back to native pixels."""
    faces = detect(image_path, max_side=max_side, upsample=upsample).faces
    for (left, top, right, bottom), confidence in zip(round_boxes(faces.boxes), faces.confidence, strict=True):
        yield ClassicFace(
            left=int(left), top=int(top), right=int(right), bottom=int(bottom), confidence=float(confidence)
        )


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a photo does: path, time and size of each."""
    files = pictures(folder) if os.path.isdir(folder) else []  # noqa: PTH112 - unlike Path.is_dir it never raises
    state = []
    for file in files:
        with contextlib.suppress(OSError):  # gone meanwhile, or not to be looked at: no photo to load either
            stat = file.stat()
            state.append((str(file), stat.st_mtime_ns, stat.st_size))
    return tuple(state)


@functools.lru_cache(maxsize=8)
def _known(
    pipeline: Pipeline,
    folder: Path,
    state: tuple[tuple[str, int, int], ...],  # noqa: ARG001 - part of the cache's key
    scale: Scale,
    min_confidence: float,
) -> People:
    return _load_people(folder, pipeline, scale=scale, min_confidence=min_confidence)
