"""Photos of people into the gallery: looked at, judged, and kept as crops that any later model can look at again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .align import cut_chips, matched, squares
from .errors import FrameError, GalleryDamaged, PhotoRefused
from .faces import Face, Faces
from .frame import Frame, Pixels, Snapshot, Source, decode
from .gallery import Gallery, Photo, StoredFace, checked_name
from .geometry import Transform, round_boxes
from .looking import Looking
from .match import People, Rule, compare, match
from .people import subject
from .pipeline import How, Pipeline
from .quality import BLURRED, FLAT, SMALLEST, TURNED, Quality, reason
from .recognizers import Embeddings
from .standing import DUPLICATE

AROUND = 2.5
"""Side of a crop by the longer side of the face's box: room for every recognizer's chip, however the face leans."""
LARGEST = 320
"""Side of the largest crop, in pixels: the face has 128 then, as many as a chip shows of it."""
SHOWN = 1.5
"""The same as `AROUND` for people to look at."""
ROOM = 2.0
"""A photo that is less than this many times as large, sharp or rich in contrast as a face must be is weak."""
SIDEWAYS = 0.75 * TURNED
"""Degrees to the side from which a photo is weak."""
LEANS = 30.0
"""Degrees from which it is said that a photo's face does not stand upright; heads lean by less."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A photo that was enrolled.

    Attributes:
        name: whose it is.
        source: where it came from.
        photo: its number in the gallery.
        again: the same picture was there before, and this one took its place.
        weak: what another photo could do better, in words; nothing for a good one.
        quality: of the face.
    """

    name: str
    source: str
    photo: int
    again: bool
    weak: tuple[str, ...]
    quality: Quality

    @property
    def turned(self) -> int:
        """Degrees by which the face was turned to stand upright, clockwise, -180 to 180; 0 for less than `LEANS`."""
        return -round(self.quality.roll) if abs(self.quality.roll) >= LEANS else 0


def enroll(
    looking: Looking,
    gallery: Gallery,
    name: str,
    source: Source | Frame,
    *,
    force: bool = False,
    **how: Unpack[How],
) -> Enrolment:
    """Enrol one photo of a person, who is made with the first one.

    It must show exactly one face, apart from such as are less than `people.BYSTANDER` as large, that is clear enough to
    be told and that is nobody else's who is enrolled or ignored. The same picture again takes the place of the one
    before.

    Args:
        looking: looks at the photo.
        gallery: where to.
        name: whose photo it is.
        source: see `frame.read`.
        force: take a face that is unclear or like somebody else's all the same; then it is weak.
        how: see `Pipeline.analyse`.

    Raises:
        PhotoRefused: it shows no face, several, an unclear one or somebody else's; nothing was stored.
        NameRefused: nobody can have this name, or somebody has it in other letters' case.
        GalleryModelMismatch: those enrolled have no embedding of this recognizer.
        FrameError, ModelError, GalleryError: see `peephole.errors`; nothing was stored.
    """
    name = checked_name(name)
    analysis = looking.analyse(source, **how, embed=True)
    face = analysis.faces[_only(analysis.faces)]
    photo = looking.photo(source, analysis, face)
    recognizer = looking.recognizer
    known, rule = gallery.known(recognizer.model_id), gallery.rule(recognizer.model_id) or recognizer.rule
    again = gallery.has_photo(name, photo.sha256)
    if face.quality is None or face.embedding is None:
        raise ValueError("a face without quality and embedding cannot be enrolled")
    refusals, weak = judge(name, face.embedding, face.quality, known, rule, again=again)
    if refusals and not force:
        raise PhotoRefused("; ".join(refusals))
    number = gallery.add_photo(name, photo, {recognizer.model_id: face.embedding})
    return Enrolment(name, photo.source, number, again, (*refusals, *weak), face.quality)


def digest(source: Snapshot | Frame) -> str:
    """The SHA-256 of a picture: of its bytes, or of its pixels where there are only these."""
    return hashlib.sha256(source.data if isinstance(source, Snapshot) else source.pixels.data).hexdigest()


def places(faces: Faces, among: Sequence[int] | None = None) -> str:
    """Where faces are, in words: whole native pixels, numbered from 1 in their order."""
    boxes = round_boxes(faces.boxes).tolist()
    shown = range(len(faces)) if among is None else among
    return ", ".join("{} at {},{} to {},{}".format(index + 1, *boxes[index]) for index in shown)


def _only(faces: Faces) -> int:
    """The face that a photo is of.

    Raises:
        PhotoRefused: there is none, or several.
    """
    found = subject(faces)
    if found is not None:
        return found
    if not len(faces):
        raise PhotoRefused(
            "no face found, exactly one is needed: the face may be too small (--upsample 1), turned or dark"
        )
    raise PhotoRefused(f"{len(faces)} faces found, exactly one is needed: {places(faces)}; cut the others off")


def judge(
    name: str, embedding: NDArray[np.float32], quality: Quality, known: People, rule: Rule, *, again: bool = False
) -> tuple[list[str], list[str]]:
    """What speaks against enrolling a face as this person's, and what only makes it a weak photo, in words. Pure.

    Args:
        name: the person's.
        embedding: the face's, (d,).
        quality: the face's.
        known: who is enrolled, this person or not.
        rule: what gives names.
        again: this very picture is among the person's photos.
    """
    unclear = reason(quality)
    refusals = [unclear] if unclear else []
    weak = [] if unclear else flaws(quality)
    (found,) = match(embedding[None], known, rule)
    theirs, score = found.nearest != name, f"{found.score or 0:.2f}"
    if found.decided == "named" and theirs:
        refusals.append(f"this is {found.nearest}'s face, to all appearance: score {score}")
    elif found.decided == "ignored" and theirs:
        refusals.append(f"this is the face of {found.nearest}, who is ignored: score {score}")
    elif found.decided == "corrected" and not theirs:
        refusals.append(f"this is like a face that is not {name}'s, as somebody has said: score {score}")
    elif found.decided == "small-margin":
        two = f"it is as much like {found.nearest} as like {found.runner_up}: score {score}"
        (weak if name in (found.nearest, found.runner_up) else refusals).append(two)
    own = np.array([each == name for each in known.names], bool)
    if own.any() and not again:
        best = float(compare(embedding[None], known.embeddings[own], rule.similarity).max())
        if best >= DUPLICATE[rule.similarity]:
            weak.append(f"nearly the same as a photo that is there: score {best:.2f}")
        elif best < rule.limit(known.known):
            weak.append(f"little like {name}'s other photos: score {best:.2f}; is it {name}?")
    return refusals, weak


def flaws(quality: Quality) -> list[str]:
    """What a clear photo could do better, in words."""
    found = []
    if quality.size < ROOM * SMALLEST:
        found.append(f"small: {quality.size:.0f} px")
    if quality.sharpness < ROOM * BLURRED:
        found.append(f"soft: sharpness {quality.sharpness:.2f}")
    if abs(quality.yaw) > SIDEWAYS:
        found.append(f"turned: {abs(quality.yaw):.0f} degrees")
    if quality.contrast < ROOM * FLAT:
        found.append(f"flat: contrast {quality.contrast:.3f}")
    return found


def photo_of(frame: Frame, face: Face, *, sha256: str | None = None) -> Photo:
    """A face as the gallery keeps it: the region around it at the frame's resolution, up to `LARGEST` pixels.

    It is turned by whole quarters so that the face stands upright, for people and for dlib's landmarks.

    Args:
        frame: that the face was found on.
        face: in native pixels, with what is known of it; landmarks with their kind.
        sha256: of the picture's bytes; by default of the frame's pixels.
    """
    to_frame = frame.to_native.inverse()
    cut, (left, top) = _around(frame.pixels, to_frame.boxes([face.box])[0], AROUND)
    to_crop = to_frame.then(Transform.offset(-left, -top))
    scale = LARGEST / max(cut.size)
    if scale < 1:
        size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
        to_crop = to_crop.then(Transform.resize(cut.size, size))
        cut = cut.resize(size, Image.Resampling.LANCZOS)
    roll = 0.0 if face.quality is None else face.quality.roll
    if turn := round(-(roll + frame.turn) / 90) % 4 * 90:  # the frame may have been turned already
        to_crop = to_crop.then(Transform.turn(cut.size, turn))
        cut = cut.rotate(-turn, expand=True)  # Pillow turns the other way round
    box = to_crop.boxes([face.box])[0].tolist()
    out = io.BytesIO()
    cut.save(out, "PNG")
    return Photo(
        crop=out.getvalue(),
        landmarks=None if face.landmarks is None else to_crop.points(face.landmarks),
        landmark_kind="none" if face.landmarks is None or face.kind is None else face.kind,
        box=(box[0], box[1], box[2], box[3]),
        source=frame.source.encode("utf-8", "backslashreplace").decode(),  # a file's name may be any bytes
        sha256=sha256 or digest(frame),
        quality=face.quality,
    )


def vectors_of(stored: Sequence[StoredFace], pipeline: Pipeline) -> Embeddings:
    """Stored faces, n of them, as the pipeline's recognizer sees them: (n, d).

    Each by its stored landmarks where they will do; otherwise by dlib's, found on the crop.

    Raises:
        GalleryDamaged: a crop is no picture.
    """
    side = pipeline.recognizer.side
    chips = [_chip(each, pipeline) for each in stored]
    return pipeline.recognizer.embed(np.stack(chips) if chips else np.zeros((0, side, side, 3), np.uint8))


def _chip(stored: StoredFace, pipeline: Pipeline) -> Pixels:
    """A stored face as the recognizer takes it, (side, side, 3) uint8 RGB."""
    recognizer = pipeline.recognizer
    frame = _decoded(stored)
    kind, landmarks = stored.landmark_kind, stored.landmarks
    faces = Faces(np.array([stored.box]), np.ones(1), None if landmarks is None else landmarks[None])
    if landmarks is None or kind == "none" or (kind == "arcface" and recognizer.landmarks == "dlib"):
        seen = replace(faces, boxes=squares(faces.boxes)) if kind == "arcface" else faces
        faces, kind = replace(faces, landmarks=pipeline.landmarker.find(frame, seen)), "dlib"
    points, template = matched(faces, kind, recognizer.landmarks, recognizer.template)
    chip: Pixels = cut_chips(frame, points, template, recognizer.side)[0]
    return chip


def portrait(stored: StoredFace) -> Pixels:
    """A stored face for people to look at, (h, w, 3) uint8 RGB: the box with a little around it.

    Raises:
        GalleryDamaged: its crop is no picture.
    """
    return np.asarray(_around(_decoded(stored).pixels, np.array(stored.box), SHOWN)[0])


def _decoded(stored: StoredFace) -> Frame:
    try:
        return decode(stored.crop, stored.source)
    except FrameError as error:
        raise GalleryDamaged(f"the gallery is damaged: the crop of face {stored.id}: {error}") from error


def _around(pixels: Pixels, box: NDArray[np.float64], times: float) -> tuple[Image.Image, tuple[int, int]]:
    """The square around a box's centre, so many times its longer side, clipped; and where its corner is."""
    height, width = pixels.shape[:2]
    centre, half = (box[:2] + box[2:]) / 2, times * (box[2:] - box[:2]).max() / 2
    square = np.clip(np.concatenate([centre - half, centre + half]), 0, (width, height, width, height))
    left, top, right, bottom = round_boxes(square)[0].tolist()
    left, top = min(left, width - 1), min(top, height - 1)  # a box beside the picture still gets a pixel of it
    return Image.fromarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]), (left, top)
