"""Which way up faces stand: each is looked at again, turned, until it stands upright.

YuNet finds faces that lean, stand on their sides or upside down, but with less confidence, and it lays their landmarks
as if they stood nearly upright: chips cut by them show faces that are not upright, and to a recognizer those are all
alike. Measured on portraits turned in the plane (docs/accuracy.md): an upright face has a confidence of 0.91 or more
19 times in 20, one upside down 0.90 at the most; and the landmarks of a face that leans by 30 degrees say 10.

So a face of less confidence is cut out, turned, and shown to the same detector again, which takes one or two
milliseconds a time; the turn of the strongest answer is the right one. That needs no memory of other frames. The
detector reports one of ten faces that stand on their sides, though, and two of three that are upside down. So of a
frame without an upright face fainter boxes are tried as well, and if that finds none either, a smaller copy of the
frame is looked at once more on its side. And `Mounting` notes how the last frames' faces stood: a camera that is
mounted turned soon has its frames turned before they are looked at.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import planner
from .align import ARCFACE, lean, warp
from .detectors import Detector
from .embedding import FAR
from .errors import UsageError
from .faces import Faces
from .frame import Frame, Size
from .geometry import Boxes, Points, Transform, areas, suppress
from .pyramid import resample

TURNS = (0, 90, 180, 270)
"""Degrees by which a frame can be turned."""
SURE = 0.91
"""A face of this confidence stands upright, as far as its landmarks say so."""
LEAN = 4.0
"""Degrees that the landmarks of an upright face may say: 98 % of portraits say less, which is a third of the truth."""
CLEAR, CLEAR_LEAN = 0.93, 6.0
"""The same of a clearer face, half of all portraits: of 250 that lean by 30 degrees one in a hundred is as clear."""
TALL = 1.2
"""Least height of an upright face's box by its width: 19 of 20 portraits have more, and half of those that lean by 30
degrees have less."""
LEANS = 15.0
"""Degrees that the landmarks of a face that was not turned may say."""
PROFILE = 1.5
"""The same of a face turned to the side, which has less confidence; it may be upside down, but not on its side."""
TOWARDS = 12.0
"""Degrees that the landmarks of such a face may say, or the looks at one that is upright but hard to see."""
FAINT = 0.15
"""Confidence of a box that may be a face upside down: all of 331 such portraits had more, and 327 more than 0.3."""
FAINT_TURNS = (180, 30, 330)
"""Degrees by which what is in such a box may lean."""
MOST_FAINT = 2
"""So many faint boxes of a frame are looked at, the strongest."""
SIDE, FACE = 128, 64.0
"""Side in pixels of what is looked at again, and of the square as large as the face's box there."""
NEAR = 0.35
"""How far a box's centre may lie from the middle, in `FACE`, to be the same face's."""
STEP = 45
"""Degrees from one look to the next. The detector's confidence falls slowly up to 30 degrees and fast behind."""
UNDERSTATED = 3.0
"""How much more a face leans, up to 30 degrees, than its landmarks say."""
STRAIGHT = 1.0
"""Degrees that landmarks may say of a face that needs no further turning."""
REFINED = 4
"""How often a face is turned further, at most."""
STANDS = 0.875
"""Confidence of a face that has been turned upright: 99 of 100 portraits have more, by day and by infrared light; what
only seemed to be a face's turn had less."""
CERTAIN = 0.9
"""The same where it was too faint to be reported as it stood: of so many boxes some seem to be faces by chance."""
LEAD = 0.02
"""By how much a face's confidence must exceed that of the same face upside down: 99 of 100 portraits exceed it."""
AGAIN = 512
"""Longer side in pixels of a frame's copy that is looked at on its side: a ninth of the pixels of 1536x1536."""
AGREED = 3
"""So many frames, one after the other, show how a camera is mounted."""
HOPELESS = 0.03
"""Grain of a frame, see `grain.estimate`, above which turned faces are not searched for: the detector hardly sees them,
unless the whole frame is turned first."""
FRUITLESS = 8
"""So many frames in a row without a face are searched for turned ones; from there on one in so many."""
SIZES = 8
"""Sizes of frames that are told apart: cameras differ in them, and so do pictures that lie and that stand."""


def check_rotate(rotate: object) -> None:
    """Raise a `UsageError` for what is neither a turn of a frame nor None, which is to find out."""
    if rotate is not None and rotate not in TURNS:
        raise UsageError(f"rotate must be one of {', '.join(map(str, TURNS))} degrees, or None to find out: {rotate!r}")


class Mounting:
    """How the faces on the last frames stood, by the frames' size: by how much to turn the next one first.

    What is looked at first depends on it, and whether a frame without an upright face is searched for turned ones. Each
    face that is found is turned by what its own looks say.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._last: OrderedDict[Size, deque[int]] = OrderedDict()
        self._empty: OrderedDict[Size, int] = OrderedDict()
        self._lock = threading.Lock()  # a pipeline may be shared

    def turn(self, size: Size) -> int:
        """Degrees clockwise by which to turn a frame of this native size: what the last ones agree on, or 0."""
        with self._lock:
            last = tuple(self._last.get(size, ()))
        return last[0] if len(last) == AGREED and len(set(last)) == 1 else 0

    def searches(self, size: Size) -> bool:
        """Whether it is worth while to search a frame of this native size that shows no upright face.

        A search takes about two thirds of what all the rest takes, and most frames without a face show leaves or cars.
        So if the last `FRUITLESS` have shown nobody, one in so many is searched.
        """
        with self._lock:
            empty = self._empty.get(size, 0)
        return empty < FRUITLESS or empty % FRUITLESS == 0

    def note(self, size: Size, turns: Iterable[int]) -> None:
        """Note how much each face of a frame of this native size had to be turned; one without says nothing of that."""
        said = set(turns)
        with self._lock:
            self._empty[size] = 0 if said else self._empty.pop(size, 0) + 1
            self._empty.move_to_end(size)
            if said:
                last = self._last.setdefault(size, deque(maxlen=AGREED))
                self._last.move_to_end(size)
                last.append(said.pop() if len(said) == 1 else 0)
            for known in (self._empty, self._last):
                if len(known) > SIZES:
                    known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Look:
    """A face looked at again.

    Attributes:
        angle: degrees clockwise by which it is taken to lean, and was turned back.
        confidence: of what the detector found in the middle; 0 where it found nothing there.
        lean: what the landmarks say that it leans by all the same.
        box: in the frame's pixels, (4,), where the angle is one of whole quarters.
        landmarks: in the frame's pixels, (5, 2).
    """

    angle: float
    confidence: float
    lean: float
    box: Boxes | None
    landmarks: Points | None


class Looks:
    """Looks at parts of one frame again, turned."""

    def __init__(self, frame: Frame, detector: Detector) -> None:
        """With the detector that has found the faces."""
        self._frame, self._detector = frame, detector
        self._plan = planner.plan((SIDE, SIDE), detector.profile)

    def upright(self, faces: Faces, least: float) -> tuple[Faces, NDArray[np.bool_]]:
        """The faces with the landmarks that they have once they stand upright; and for which of them that is known.

        Args:
            faces: boxes, confidence and landmarks in native pixels, the most confident first; those at or below
                ``least`` count only if no other stands upright as the frame is and they are found turned.
            least: confidence that a face must exceed.

        Raises:
            ValueError: the faces have no landmarks.
        """
        if faces.landmarks is None:
            raise ValueError("faces without landmarks do not say how they stand")
        boxes, confidence, landmarks = faces.boxes.copy(), faces.confidence.copy(), faces.landmarks.copy()
        kept, known = confidence > least, np.ones(len(faces), bool)
        to_pixels = self._frame.to_native.inverse()
        places, points = to_pixels.boxes(boxes), to_pixels.points(landmarks)
        straight = False
        for index in np.flatnonzero(kept).tolist():
            found, known[index] = self._checked(places[index], confidence[index], points[index])
            straight |= found is None and bool(known[index])
            if known[index] and found is not None and found.landmarks is not None:
                # Box and confidence stay as the detector has them.
                landmarks[index] = self._frame.to_native.points(found.landmarks)
        found_more = False
        fainter = np.flatnonzero(~kept & (confidence > FAINT))[:MOST_FAINT].tolist()
        for index in () if straight else fainter:
            found = self._turned(places[index], least)
            if found is not None and found.landmarks is not None:
                kept[index], confidence[index], found_more = True, found.confidence, True
                landmarks[index] = self._frame.to_native.points(found.landmarks)
                if found.box is not None:
                    boxes[index] = self._frame.to_native.boxes(found.box)[0]
        rows = np.flatnonzero(kept)
        faces, known = Faces(boxes[rows], confidence[rows], landmarks[rows]), known[rows]
        return _one_each(faces, known, self._detector) if found_more else (faces, known)

    def closer(self, faces: Faces) -> Faces:
        """The faces, far ones with the landmarks that they have once they are seen as large as `FACE`.

        A landmark that is a pixel off is off by a twentieth of such a face. Faces that lean were looked at so before.

        Args:
            faces: with landmarks, native pixels.

        Raises:
            ValueError: the faces have no landmarks.
        """
        if faces.landmarks is None:
            raise ValueError("faces without landmarks cannot be placed any better")
        landmarks, to_pixels = faces.landmarks.copy(), self._frame.to_native.inverse()
        places, points = to_pixels.boxes(faces.boxes), to_pixels.points(landmarks)
        for index in np.flatnonzero(areas(faces.boxes) < FAR**2).tolist():
            if abs(lean(points[index])) <= LEANS and (seen := self._look(places[index], 0).landmarks) is not None:
                landmarks[index] = self._frame.to_native.points(seen)
        return replace(faces, landmarks=landmarks)

    def _checked(self, box: Boxes, confidence: float, landmarks: Points) -> tuple[_Look | None, bool]:
        """How a face stands: None where it is as the detector has it; and whether that is known."""
        said = lean(landmarks)
        most = CLEAR_LEAN if confidence >= CLEAR else LEAN
        if confidence >= SURE and abs(said) <= most and _tall(box):
            return None, True
        if confidence <= FAINT:
            return None, False
        profile = _tall(box, PROFILE)
        straight = abs(said) <= (TOWARDS if profile else LEAN)
        first = self._look(box, 0 if straight else UNDERSTATED * said)
        if straight and abs(first.lean) <= LEAN and first.confidence >= STANDS:  # upside down at the worst, or leaning
            if first.confidence >= SURE and first.box is not None and _tall(first.box):
                return None, True
            first = max([first, self._look(box, 30), self._look(box, -30)], key=_confidence)
            if first.angle == 0 and (first.confidence >= SURE or self._leads(first, box)):
                return None, True
        if profile and straight and self._leads(first, box):
            return None, True
        if first.confidence >= SURE:
            return self._straightened(first)
        looks = [self._look(box, angle) for angle in range(0, 360, STEP)]
        best = max(looks, key=_confidence)
        if best.angle == 0 and straight and abs(best.lean) <= LEAN:
            return None, best.confidence - looks[180 // STEP].confidence >= LEAD
        found, known = self._straightened(best)
        if not known and best.angle == 0 and abs(found.angle) <= TOWARDS:  # as the detector has it, or nearly
            return None, best.confidence - looks[180 // STEP].confidence >= LEAD
        return found, known

    def _turned(self, box: Boxes, least: float) -> _Look | None:
        """A face that a faint box is of, if it stands upside down or leans; otherwise None."""
        looks = [self._look(box, angle) for angle in FAINT_TURNS]
        best = max(looks, key=_confidence)
        if best.confidence <= least:  # the right one of these turns is no more than 30 degrees away
            return None
        found, known = self._straightened(best)
        return _boxed(found, looks) if known and found.confidence > max(least, CERTAIN) else None

    def _straightened(self, look: _Look) -> tuple[_Look, bool]:
        """A look at the angle at which the face stands straight; and whether that way up is clearly the right one."""
        for _ in range(REFINED):
            if look.landmarks is None or abs(look.lean) <= STRAIGHT:
                break
            further = self._look(_around(look), look.angle + UNDERSTATED * look.lean)
            if further.confidence < look.confidence - LEAD:
                break
            look = further
        if look.landmarks is None or look.confidence < STANDS:
            return look, False
        return look, look.confidence >= SURE or self._leads(look, _around(look))

    def _leads(self, look: _Look, box: Boxes) -> bool:
        """Whether what was seen in a box is clearly not upside down."""
        return look.confidence - self._look(box, look.angle + 180).confidence >= LEAD

    def _look(self, box: Boxes, angle: float) -> _Look:
        """Look at what is in a box of the frame's pixels, taken to lean clockwise by an angle in degrees."""
        left, top, right, bottom = box.tolist()
        scale = FACE / max(math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0)), 1.0)
        whole = angle % 90 == 0
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        if whole:  # exactly, so that a box stays a box
            cosine, sine = round(cosine), round(sine)
        turned = Transform(a=scale * cosine, b=scale * sine, d=-scale * sine, e=scale * cosine)
        there = Transform.offset(-(left + right) / 2, -(top + bottom) / 2).then(turned)
        there = there.then(Transform.offset(SIDE / 2, SIDE / 2))
        pixels = warp(self._frame.pixels, there, (SIDE, SIDE))
        best = _Look(angle, 0.0, 0.0, None, None)
        for level, boxes, confidence, landmarks in self._detector.scan(pixels, self._plan, FAINT):
            boxes = level.to_native.boxes(boxes)
            for row in np.flatnonzero(confidence > best.confidence):
                middle = (boxes[row, :2] + boxes[row, 2:]) / 2 - SIDE / 2
                if landmarks is not None and confidence[row] > best.confidence and math.hypot(*middle) < NEAR * FACE:
                    points = level.to_native.points(landmarks[row])
                    back = there.inverse()
                    placed = back.boxes(boxes[row])[0] if whole else None
                    best = _Look(angle, float(confidence[row]), lean(points), placed, back.points(points))
        return best


def sideways(frame: Frame, faces: Faces, known: NDArray[np.bool_]) -> Frame | None:
    """What of a frame is to be looked at once more: a smaller copy on its side, where that may show more; else None.

    It shows faces that stand on either side: those on the other one are upside down there.

    Args:
        frame: that has been looked at.
        faces: what was found, with landmarks.
        known: for which of them it is known which way up they stand.
    """
    for landmarks, confidence in zip(np.asarray(faces.landmarks)[known], faces.confidence[known], strict=True):
        leans = (lean(landmarks) + frame.turn + 45) % 180 - 45  # by less than 45 degrees: upright, or upside down
        if abs(leans) <= LEAN or (abs(leans) <= 45 and confidence > CERTAIN):
            return None
    scale = min(1.0, AGAIN / max(frame.size))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    to_native = Transform.resize(size, frame.size).then(frame.to_native)
    return Frame(resample(frame.pixels, size), frame.source, frame.native_size, to_native, turn=frame.turn).turned(90)


def joined(one: Faces, known: NDArray[np.bool_], other: Faces, detector: Detector) -> tuple[Faces, NDArray[np.bool_]]:
    """What was found on a frame and on its copy on its side, a face once, and for which it is known how they stand.

    Args:
        one: boxes, confidence and landmarks in native pixels.
        known: for which of these it is known which way up they stand.
        other: the same of what was found on the side, and that only of which it is known.
        detector: that has found them.
    """
    if not len(other):
        return one, known
    both = Faces(
        np.concatenate([one.boxes, other.boxes]),
        np.concatenate([one.confidence, other.confidence]),
        np.concatenate([np.asarray(one.landmarks), np.asarray(other.landmarks)]),
    )
    return _one_each(both, np.concatenate([known, np.ones(len(other), bool)]), detector)


def _one_each(faces: Faces, known: NDArray[np.bool_], detector: Detector) -> tuple[Faces, NDArray[np.bool_]]:
    """A face once, the most confident first."""
    kept = suppress(faces.boxes, faces.confidence, detector.nms_overlap, detector.nms_covered)
    landmarks = None if faces.landmarks is None else faces.landmarks[kept]
    return Faces(faces.boxes[kept], faces.confidence[kept], landmarks), known[kept]


def _confidence(look: _Look) -> float:
    return look.confidence


def _tall(box: Boxes, times: float = TALL) -> bool:
    """Whether a box is so many times as tall as wide, by default as those of upright faces are."""
    left, top, right, bottom = box.tolist()
    return bool(bottom - top >= times * (right - left))


def _around(look: _Look) -> Boxes:
    """A square box around a face by its landmarks, as large as YuNet would draw it, in the frame's pixels."""
    assert look.landmarks is not None  # noqa: S101 - the callers have asked
    to_frame = Transform.similarity(ARCFACE, look.landmarks)
    middle, half = to_frame.points(MIDDLE), HALF * math.hypot(to_frame.a, to_frame.d)
    return np.concatenate([middle - half, middle + half])


MIDDLE, HALF = np.array([56.0, 66.3]), 46.4
"""The centre of YuNet's box and half the side of a square as large, where the landmarks lie as `align.ARCFACE`."""


def _boxed(found: _Look, looks: list[_Look]) -> _Look:
    """What was found, with the box that it has in the look that is turned by the nearest whole quarter."""
    near = round(found.angle / 90) * 90 % 360
    for each in looks:
        if each.angle == near and each.box is not None:
            return _Look(found.angle, found.confidence, found.lean, each.box, found.landmarks)
    return found
