"""The whole job in one call each, with the models loaded once and kept."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from .enrolment import Enrolment
from .enrolment import enroll as _enroll
from .errors import UsageError
from .files import pictures
from .frame import Frame, Source
from .gallery import Gallery
from .geometry import round_boxes
from .looking import InProcess
from .match import People
from .people import Known, refuse_nobody
from .people import load_people as _load_people
from .pipeline import Analysis, How, Pipeline, Scale
from .planner import Plan, Size

M = TypeVar("M")

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

_kept = functools.cache(functools.lru_cache(maxsize=8))
"""What opens a model → the same, but what is opened again is the model that is there."""


class _Shared(Pipeline):
    """A pipeline whose models are also those of the others that are called the same."""

    def _load(self, opener: Callable[..., M], *arguments: object) -> M:
        kept: Callable[..., M] = _kept(opener)
        with _loading:
            return super()._load(kept, *arguments)


@functools.lru_cache(maxsize=8)
def _pipeline(**choice: Any) -> Pipeline:
    return _Shared(**choice)


class Options(TypedDict, total=False):
    """How to look; every call below takes these.

    Attributes:
        profile: ``modern`` (YuNet and SFace, the default) or ``classic`` (dlib's two networks).
        detector: instead of the profile's: ``mmod``, ``yunet``, ``yunet:FILE``, ``dlib-cnn`` or ``dlib-hog``; see
            `detectors.open_detector`.
        recognizer: instead of the profile's: ``sface``, ``resnet``, ``dlib-resnet``, ``onnx:FILE``; see
            `recognizers.open_recognizer`.
        max_side: shrink the frame so that its longer side has at most this many pixels; never enlarges.
        upsample: double the sides this many times after shrinking.
        min_face: choose the scale for faces of this many native pixels instead of ``max_side``.
        max_face: leave out the levels on which only faces larger than this show, in native pixels.
        min_confidence: boxes at or below it are left out; by default what suits the detector.
        rotate: degrees clockwise by which a frame is to be turned so that people stand upright, 0, 90, 180 or 270; by
            default that is found out, see `peephole.upright`. It is not for photos of known people.
        threads: compute threads; by default one a processor that this process may use.
        memory: what the whole process may take, in bytes or as "256MiB"; by default what is found, see
            `peephole.memory.find_budget`. Where it is too small for the wanted detail, the plan is coarsened and says
            so.
        runtime, precision: what runs the networks: ``onnxruntime``, or ``openvino`` where it is installed, and
            ``float32`` or, in OpenVINO on processors that have it, ``bfloat16``.
    """

    profile: str
    detector: str | None
    recognizer: str | None
    max_side: int | None
    upsample: int
    min_face: float | None
    max_face: float | None
    min_confidence: float | None
    rotate: int | None
    threads: int | None
    memory: int | str | None
    runtime: str
    precision: str


def _open(options: Options) -> tuple[Pipeline, How]:
    """The shared pipeline that the options ask for, and what it is to be told."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    # In one order: they are a cache's key.
    choice = {name: value for name, value in sorted(options.items()) if name not in (*_LOOK, *_SCALE)}
    scale = Scale(**{name: value for name, value in options.items() if name in _SCALE})  # type: ignore[arg-type]
    with _loading:
        how = How(scale=scale, min_confidence=options.get("min_confidence"), rotate=options.get("rotate"))
        return _pipeline(**choice), how


_LOOK = ("min_confidence", "rotate")
_SCALE = ("max_side", "upsample", "min_face", "max_face")


def detect(image: Source | Frame, **options: Unpack[Options]) -> Analysis:
    """Where the faces are.

    Args:
        image: a path, encoded bytes, or an (h, w, 3) uint8 RGB array.
        options: see `Options`.

    Raises:
        FrameError, UsageError, ModelError: see `peephole.errors`.
    """
    pipeline, look = _open(options)
    return pipeline.analyse(image, **look)


def embed(image: Source | Frame, **options: Unpack[Options]) -> Analysis:
    """Where the faces are, with landmarks and a vector each; see `detect`."""
    pipeline, look = _open(options)
    return pipeline.analyse(image, **look, embed=True)


def label(
    image: Source | Frame,
    people: People | str | os.PathLike[str] | None = None,
    *,
    gallery: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    **options: Unpack[Options],
) -> Analysis:
    """Whose faces they are.

    Args:
        image: see `detect`.
        people: what `load_people` returned, or the folder for it, ``DIR/NAME/*.jpg``. A folder is read again only
            when a photo in it has changed. None: whoever the gallery knows.
        gallery: its file; by default that of `peephole.gallery.gallery_path`. What is enrolled by other processes
            counts from the next call on.
        threshold: decide by this alone: the largest Euclidean distance (ResNet; 0.6 by dlib's convention), or the least
            cosine (SFace), that is the same person. By default the recognizer's rule decides, see `peephole.match`.
        options: see `Options`.

    Raises:
        PeopleError: the folder cannot be used, or nobody is enrolled in the gallery.
        GalleryError: there is no gallery, or it knows nobody by this recognizer.
        FrameError, UsageError, ModelError: see `peephole.errors`.
    """
    pipeline, look = _open(options)
    known, rule = people, None
    if known is None:
        with Gallery.open(gallery, create=False) as opened, _enrolling:
            refuse_nobody(opened)
            known, rule = _known_to(opened.path).read(opened, pipeline.recognizer)
    elif gallery is not None:
        raise UsageError("people take the gallery's place: name one of them")
    elif not isinstance(known, People):
        with _enrolling:
            known = _known(pipeline, Path(known), _state(Path(known)), look["scale"], look["min_confidence"])
    return pipeline.analyse(image, **look, people=known, rule=rule, threshold=threshold)


def enroll(
    name: str,
    image: Source | Frame,
    *,
    gallery: str | os.PathLike[str] | None = None,
    force: bool = False,
    **options: Unpack[Options],
) -> Enrolment:
    """Enrol a photo of a person in the gallery, which is made if there is none.

    Args:
        name: whose photo it is.
        image: see `detect`.
        gallery: its file; by default that of `peephole.gallery.gallery_path`.
        force: take a face that is unclear, like somebody else's, or unlike the person's photos, all the same.
        options: see `Options`.

    Raises:
        PhotoRefused: it shows no face, several, an unclear one, somebody else's, or one unlike the person's photos.
        GalleryError: the name, or the gallery, will not do.
        FrameError, UsageError, ModelError: see `peephole.errors`.
    """
    pipeline, look = _open(options)
    with Gallery.open(gallery) as opened:
        return _enroll(InProcess(pipeline), opened, name, image, force=force, **look)


def load_people(folder: str | os.PathLike[str], **options: Unpack[Options]) -> People:
    """The people of a folder, ``DIR/NAME/*.jpg``; see `peephole.people.load_people` and `Options`."""
    pipeline, look = _open(options)
    return _load_people(folder, pipeline, scale=look["scale"], min_confidence=look["min_confidence"])


def plan(size: Size, *, reducible: bool = True, **options: Unpack[Options]) -> Plan:
    """How a detector would look at a frame of (width, height), within the memory budget.

    Loads the detector, to know what the process takes before any frame.

    Args:
        size: the frame's native (width, height).
        reducible: the frame is a JPEG, which can be decoded at a part of its size.
        options: see `Options`.

    Raises:
        BudgetTooSmall, UsageError, ModelError: see `peephole.errors`.
    """
    pipeline, look = _open(options)
    return pipeline.plan(size, look["scale"], reducible=reducible, encoded=1)


def detect_faces(
    image_path: Source, *, max_side: int | None = CLASSIC_SIDE, upsample: int = CLASSIC_UPSAMPLE
) -> Iterator[ClassicFace]:
    """The classic cure: shrink to 720, upsample once, detect, scale the boxes back to native pixels."""
    faces = detect(image_path, profile="classic", max_side=max_side, upsample=upsample).faces
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
def _known_to(gallery: Path) -> Known:  # noqa: ARG001 - the cache's key
    return Known()


@functools.lru_cache(maxsize=8)
def _known(
    pipeline: Pipeline,
    folder: Path,
    state: tuple[tuple[str, int, int], ...],  # noqa: ARG001 - part of the cache's key
    scale: Scale,
    min_confidence: float | None,
) -> People:
    return _load_people(folder, pipeline, scale=scale, min_confidence=min_confidence)
