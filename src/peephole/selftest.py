"""Does it work on this machine: geometry, model files, parity with dlib; a verdict a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .detectors import mmod, open_detector, planted, yunet
from .errors import PeepholeError
from .frame import Frame
from .geometry import overlaps, round_boxes, suppress
from .models import store
from .pipeline import Pipeline, Scale
from .planner import WHOLE, plan
from .recognizers import DlibResnet, Resnet
from .sample import BOX, drawn_face

SIZES = ((1536, 1536), (1537, 1023), (333, 1999), (80, 81), (641, 79))
SCALES = (Scale(), Scale(max_side=720, upsample=1), Scale(max_side=719), Scale(upsample=1), Scale(min_face=97.3))
ROUND_TRIP = 1e-6
PARITY_VECTOR = 1e-4
PARITY_OVERLAP = 0.7
PARITY_SCORE = 0.02
PARITY_STRIPS = 0.01
DRAWN_CONFIDENCE = 0.5

Verdict = str
Check = Callable[[], Verdict]


class _Failed(Exception):
    """A check's own verdict that something is wrong."""


def run(say: Callable[[str], object]) -> bool:
    """Run every check, say a line for each, and return whether all passed."""
    passed = True
    for name, check in _checks():
        try:
            verdict, good = check(), True
        except (_Failed, PeepholeError, ImportError) as error:
            verdict, good = str(error), False
        say(f"{'ok  ' if good else 'FAIL'}  {name}: {verdict}")
        passed &= good
    say("everything works" if passed else "something is wrong: see the lines above")
    return passed


def _checks() -> Iterator[tuple[str, Check]]:
    yield "boxes there and back", round_trips
    yield "a planted box through the pipeline", planted_box
    for asset in store.ASSETS:
        yield f"model file {asset.name}", lambda asset=asset: _hash(asset)  # type: ignore[misc]
    for asset in store.ASSETS:
        if asset.graphs:
            yield f"prepared graphs of {asset.name}", lambda asset=asset: _graphs(asset)  # type: ignore[misc]
    yield "detector against dlib", detector_parity
    yield "yunet in strips and at once", yunet_parity
    yield "recognizer against dlib", recognizer_parity


def _hash(asset: store.Asset) -> Verdict:
    store.locate(asset)
    return f"SHA-256 {asset.sha256[:16]}... as published, {asset.licence}"


def _graphs(asset: store.Asset) -> Verdict:
    prepared = store.prepare(asset)
    return f"{', '.join(prepared.graphs)} as written"


def round_trips() -> Verdict:
    """Known boxes go down to every level and up again."""
    worst, count = 0.0, 0
    for size in SIZES:
        known = np.array([[0, 0, *size], [0.25, 1 / 3, 7.5, 11], [size[0] * 0.4, size[1] * 0.1, *size]], np.float64)
        for scale in SCALES:
            options = {"max_side": scale.max_side, "upsample": scale.upsample, "min_face": scale.min_face}
            for level in plan(size, mmod.PROFILE, **options).levels:  # type: ignore[arg-type]
                back = level.to_native.boxes(level.to_native.inverse().boxes(known))
                worst, count = max(worst, float(np.abs(back - known).max())), count + 1
    if worst > ROUND_TRIP:
        raise _Failed(f"a box came back {worst:.2g} px off")
    return f"{count} levels, at most {worst:.1g} px off"


def planted_box() -> Verdict:
    """A blank frame goes through the whole pipeline, and a planted box comes back."""
    worst = 0.0
    for width, height in SIZES:
        known = np.array([[width * 0.31, height * 0.27, width * 0.31 + 40.6, height * 0.27 + 41.2]])
        blank = Frame(np.zeros((height, width, 3), np.uint8), "blank")
        for scale in SCALES:
            for level in (0, 3):
                pipeline = Pipeline(planted.Planted(known, [level]))
                found = pipeline.analyse(blank, scale=scale).faces.boxes
                if len(found) != 1:
                    raise _Failed(f"{len(found)} boxes came back from a {width}x{height} frame")
                worst = max(worst, float(np.abs(found - known).max()))
                if np.abs(round_boxes(found) - known).max() > 1.0:
                    raise _Failed(f"a box came back as {round_boxes(found)[0].tolist()} for {known[0].tolist()}")
    if worst > ROUND_TRIP:
        raise _Failed(f"a box came back {worst:.2g} px off")
    return f"{len(SIZES) * len(SCALES) * 2} frames, at most {worst:.1g} px off"


def detector_parity() -> Verdict:
    """The ONNX detector and dlib's own see the same on a drawn face."""
    frame = Frame(drawn_face(), "drawn")
    ours, theirs = (Pipeline(name).analyse(frame).faces for name in ("mmod", "dlib-cnn"))
    if len(ours) != 1 or len(theirs) != 1:
        raise _Failed(f"{len(ours)} faces found here and {len(theirs)} by dlib, where 1 is drawn")
    overlap = float(overlaps(ours.boxes, theirs.boxes)[0, 0])
    difference = abs(float(ours.confidence[0] - theirs.confidence[0]))
    place = float(overlaps(ours.boxes, np.array([BOX]))[0, 0])
    if min(overlap, place) < PARITY_OVERLAP or difference > PARITY_SCORE:
        raise _Failed(
            f"overlap {overlap:.3f} with dlib's box, {place:.3f} with the drawn one, scores {difference:.2g} apart"
        )
    return f"same face, overlap {overlap:.3f}, scores {difference:.1g} apart"


def yunet_parity() -> Verdict:
    """YuNet finds a drawn face, in the smallest strips where it does at once; and where OpenCV does, if it is there."""
    frame = drawn_face()
    size = (frame.shape[1], frame.shape[0])
    detector = open_detector("yunet")
    found = []
    for tiling in (WHOLE, yunet.PROFILE.streaming.tilings[-1]):  # type: ignore[union-attr]
        (candidates, *_) = detector.scan(frame, plan(size, yunet.PROFILE, tiling=tiling), DRAWN_CONFIDENCE)
        found.append(candidates.boxes[suppress(candidates.boxes, candidates.confidence, detector.nms_overlap)])
    if [len(each) for each in found] != [1, 1]:
        raise _Failed(f"{len(found[0])} faces found at once and {len(found[1])} in strips, where 1 is drawn")
    difference = float(np.abs(found[0] - found[1]).max())
    if difference > PARITY_STRIPS:
        raise _Failed(f"boxes differ by {difference:.2g} px")
    verdict = f"same face, boxes {difference:.1g} px apart"
    try:
        import cv2
    except ImportError:
        return verdict
    opencv = cv2.FaceDetectorYN.create(str(store.locate(store.YUNET)), "", size, DRAWN_CONFIDENCE, 0.3, 100)
    _, theirs = opencv.detect(np.ascontiguousarray(frame[:, :, ::-1]))
    boxes = np.zeros((0, 4)) if theirs is None else theirs[:, :4].astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    overlap = float(overlaps(found[0], boxes).max(initial=0.0))
    if len(boxes) != 1 or overlap < PARITY_OVERLAP:
        raise _Failed(f"OpenCV finds {len(boxes)} faces, overlap {overlap:.3f}")
    return f"{verdict}, overlap {overlap:.3f} with OpenCV's"


def recognizer_parity() -> Verdict:
    """The ONNX recognizer and dlib's own give the same vectors."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
    chips = np.concatenate([noise, drawn_face()[None, 165:315, 165:315]])
    worst = float(np.abs(Resnet().embed(chips) - DlibResnet().embed(chips)).max())
    if worst > PARITY_VECTOR:
        raise _Failed(f"vectors differ by {worst:.2g}")
    return f"{len(chips)} chips, at most {worst:.1g} apart"
