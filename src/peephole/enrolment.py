"""Photos of people into the gallery: looked at, judged, and kept as crops that any later model can look at again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .align import cut_chips, matched, squares
from .embedding import colourless, embed
from .errors import FrameError, GalleryDamaged, PhotoRefused
from .faces import Face, Faces
from .frame import Frame, Pixels, Snapshot, Source, decode
from .gallery import Gallery, Photo, StoredFace, checked_name
from .geometry import Transform, areas, round_boxes
from .looking import Looking
from .match import People, Rule, compare, match
from .outliers import outliers, unlike
from .people import subject
from .pipeline import How, Pipeline
from .quality import BLURRED, FLAT, SMALLEST, TURNED, Quality, grain, reason
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


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A photo that was looked at."""

    photo: Photo
    embedding: NDArray[np.float32]
    twin: NDArray[np.float32]
    quality: Quality


def enroll(
    looking: Looking,
    gallery: Gallery,
    name: str,
    source: Source | Frame,
    *,
    force: bool = False,
    **how: Unpack[How],
) -> Enrolment:
    """Enrol one photo of a person, who is made with the first one; see `enroll_all`.

    Raises:
        PhotoRefused: it shows no face, several, an unclear one, somebody else's or one unlike the person's photos;
            nothing was stored.
        NameRefused: nobody can have this name, or somebody has it in other letters' case.
        GalleryModelMismatch: those enrolled have no embedding of this recognizer.
        FrameError, ModelError, GalleryError: see `peephole.errors`; nothing was stored.
    """
    (done,) = enroll_all(looking, gallery, name, [source], force=force, **how)
    if not isinstance(done, Enrolment):
        raise done
    return done


def enroll_all(
    looking: Looking,
    gallery: Gallery,
    name: str,
    sources: Sequence[Source | Frame],
    *,
    force: bool = False,
    progress: Callable[[int, int], object] | None = None,
    **how: Unpack[How],
) -> Iterator[Enrolment | FrameError | PhotoRefused]:
    """Enrol photos of a person, who is made with the first one.

    All are looked at before any is judged, so their order does not matter; until then their crops are held, of at most
    300 kB each.

    Each must show exactly one face, apart from such as are less than `people.BYSTANDER` as large, that is clear enough
    to be told, that is nobody else's who is enrolled or ignored, and that is not unlike the person's other photos, be
    they in the gallery or among these. The same picture again takes the place of the one before.

    Args:
        looking: looks at the photos.
        gallery: where to.
        name: whose photos they are.
        sources: see `frame.read`.
        force: take a face that is unclear, like somebody else's or unlike the others all the same; then it is weak.
        progress: told of how many photos were looked at, and how many there are.
        how: see `Pipeline.analyse`.

    Yields:
        For each source, in their order, what became of it: enrolled, or the reason why nothing of it was stored.

    Raises:
        NameRefused, GalleryModelMismatch: see `enroll`.
        ModelError, GalleryError: see `peephole.errors`; what was yielded before is stored.
    """
    name = checked_name(name)
    looked: list[_Candidate | FrameError | PhotoRefused] = []
    for source in sources:
        try:
            looked.append(_look(looking, source, how))
        except (FrameError, PhotoRefused) as error:
            looked.append(error)
        if progress:
            progress(len(looked), len(sources))
    recognizer = looking.recognizer
    # Looking may have taken minutes, in which others have enrolled.
    known, rule = gallery.known(recognizer.model_id), gallery.rule(recognizer.model_id) or recognizer.rule
    again, before = [], set[str]()
    for each in looked:
        if isinstance(each, _Candidate):
            sha256 = each.photo.sha256
            again.append(sha256 in before or gallery.has_photo(name, sha256))
            before.add(sha256)
    faces = [(each.embedding, each.quality) for each in looked if isinstance(each, _Candidate)]
    twins = [each.twin for each in looked if isinstance(each, _Candidate)]
    verdicts = zip(again, judge_all(name, faces, known, rule, twins=twins, again=again), strict=True)
    for each in looked:
        if not isinstance(each, _Candidate):
            yield each
            continue
        same, (refusals, weak) = next(verdicts)
        if refusals and not force:
            yield PhotoRefused(f"{'; '.join(refusals)}; --force takes it all the same")
            continue
        vectors = np.stack([each.embedding, each.twin])
        number = gallery.add_photo(name, each.photo, {recognizer.model_id: vectors})
        yield Enrolment(name, each.photo.source, number, same, (*refusals, *weak), each.quality)


def _look(looking: Looking, source: Source | Frame, how: How) -> _Candidate:
    """The one face of a photo.

    Raises:
        PhotoRefused: it shows none, or several.
        FrameError: it cannot be read.
    """
    analysis = looking.analyse(source, **how, twins=True)
    face = analysis.faces[_only(analysis.faces)]
    if face.quality is None or face.embedding is None or face.twin is None:
        raise ValueError("a face without quality and embedding cannot be enrolled")
    return _Candidate(looking.photo(source, analysis, face), face.embedding, face.twin, face.quality)


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
    name: str, embedding: NDArray[np.float32], quality: Quality, known: People, rule: Rule
) -> tuple[list[str], list[str]]:
    """What speaks against enrolling a face as this person's, and what only makes it a weak photo, in words. Pure.

    Args:
        name: the person's.
        embedding: the face's, (d,).
        quality: the face's.
        known: who is enrolled, this person or not.
        rule: what gives names.
    """
    unclear = reason(quality)
    refusals = [unclear] if unclear else []
    weak = [] if unclear else flaws(quality)
    (found,) = match(embedding[None], known, rule, grey=np.array([quality.grey]))
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
    return refusals, weak


def judge_all(
    name: str,
    faces: Sequence[tuple[NDArray[np.float32], Quality]],
    known: People,
    rule: Rule,
    *,
    twins: Sequence[NDArray[np.float32]] | None = None,
    again: Sequence[bool] | None = None,
) -> list[tuple[list[str], list[str]]]:
    """`judge` for faces that are to be enrolled together, and whether they are one person's. Pure.

    Which photos are the person's is decided by those that are enrolled, or else by the majority of the faces; see
    `outliers.outliers`. Unclear faces, and those that are somebody else's, have no part in it. Faces most of which are
    one enrolled person's are all compared with them: that is the same person under two names.

    Args:
        name: the person's.
        faces: the embedding, (d,), and the quality of each.
        known: who is enrolled, this person or not.
        rule: what gives names.
        twins: the embedding of each without its colour, (d,); by default its own.
        again: which of them take the place of the same picture.

    Returns:
        What speaks against each, and what makes it weak.
    """
    if not faces:
        return []
    vectors = np.stack([embedding for embedding, _ in faces])
    grey = np.array([quality.grey for _, quality in faces])
    alike = vectors if twins is None else np.stack(twins)
    mine = [each == name for each in known.names]
    own = known.embeddings[mine].reshape(-1, vectors.shape[1])
    own_alike = known.at_night().embeddings[mine].reshape(-1, vectors.shape[1])
    clear = np.array([reason(quality) is None for _, quality in faces])
    taken = _taken(name, vectors, grey, known, rule)
    whose = None if len(own) else _most(taken[clear])

    voters = np.flatnonzero(clear & (taken == ""))
    rows = np.concatenate([own, vectors[voters]])
    without = np.concatenate([own_alike, alike[voters]])
    out, scores = outliers(rows, rule, twins=without, trusted=np.arange(len(rows)) < len(own))
    belongs = np.zeros(len(faces), bool)
    belongs[voters] = ~out[len(own) :]
    nobody = not len(own) and not belongs.any()
    apart = {
        index: unlike(name, score, nobody=nobody)
        for index, score in zip(voters.tolist(), scores[len(own) :].tolist(), strict=True)
        if not belongs[index]
    }

    verdicts = []
    for index, (embedding, quality) in enumerate(faces):
        beside = np.arange(len(faces)) != index
        others = np.flatnonzero(beside & belongs)
        added = np.flatnonzero(beside & (taken == whose)) if whose else others
        people = _with(known, whose or name, vectors[added], alike[added])
        refusals, weak = judge(name, embedding, quality, people, rule)
        if index in apart:
            refusals.append(apart[index])
        elif not (again and again[index]):
            seen = (own_alike, alike) if grey[index] else (own, vectors)
            like = compare(embedding[None], np.concatenate([seen[0], seen[1][others]]), rule.similarity)[0]
            there = np.concatenate([np.ones(len(own), bool), others < index])
            weak += _likeness(name, like, there, DUPLICATE[rule.similarity], rule.limit(people.known))
        verdicts.append((refusals, weak))
    return verdicts


def _taken(
    name: str, embeddings: NDArray[np.float32], grey: NDArray[np.bool_], known: People, rule: Rule
) -> NDArray[np.object_]:
    """Whose each face is, to all appearance, where it is somebody else's than this person's; or nothing: (n,)."""
    found = match(embeddings, known, rule, grey=grey)
    theirs = [each.decided in ("named", "ignored") and each.nearest != name for each in found]
    return np.array([each.nearest if yes else "" for each, yes in zip(found, theirs, strict=True)], object)


def _most(names: NDArray[np.object_]) -> str | None:
    """The name that more than half of them are, if there is one."""
    return next((each for each in set(names) if each and 2 * (names == each).sum() > len(names)), None)


def _with(known: People, name: str, embeddings: NDArray[np.float32], twins: NDArray[np.float32]) -> People:
    """The known people, and these faces as photos of one of them."""
    if not len(embeddings):
        return known
    before = (known.embeddings, known.at_night().embeddings)
    rows, without = (
        np.concatenate([old.reshape(-1, new.shape[1]), new])
        for old, new in zip(before, (embeddings, twins), strict=True)
    )
    return replace(known, names=(*known.names, *[name] * len(embeddings)), embeddings=rows, twins=without)


def _likeness(name: str, scores: NDArray[np.float64], there: NDArray[np.bool_], same: float, least: float) -> list[str]:
    """What a photo's scores with the person's other photos, (n,), make weak of it, in words.

    Args:
        name: the person's.
        scores: see above.
        there: which of the other photos come before this one, (n,).
        same: from what score on two photos are nearly the same.
        least: the least score that gives the name.
    """
    nearest = scores[there].max(initial=-np.inf)
    if nearest >= same:
        return [f"nearly the same as a photo that is there: score {nearest:.2f}"]
    if len(scores) and scores.max() < least:
        return [f"little like {name}'s other photos: score {scores.max():.2f}; is it {name}?"]
    return []


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
    cut.save(out, "PNG", compress_level=1)  # a quarter of the time for 8 % more bytes
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
    """Stored faces, n of them, as the pipeline's recognizer sees them: (n, 2, d), as they are and without colour.

    Each by its stored landmarks where they will do; otherwise by dlib's, found on the crop.

    Raises:
        GalleryDamaged: a crop is no picture.
    """
    recognizer = pipeline.recognizer
    if not stored:
        return np.zeros((0, 2, recognizer.dimensions), np.float32)
    chips = np.stack([_chip(each, pipeline) for each in stored])
    grains = np.array([grain(each) for each in chips])
    sizes = np.sqrt(areas(np.array([each.box for each in stored])))
    for index, each in enumerate(stored):
        if each.quality is not None:  # the crop may have been shrunk, or come from a frame that was
            sizes[index] = each.quality.size
    ways = (chips, colourless(chips))
    return np.stack([embed(recognizer, each, grains, sizes) for each in ways], axis=1)


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
