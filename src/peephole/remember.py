"""Faces that nobody has a name for, kept in groups of those that look alike, for a set time.

What is kept is what may be of use: a face that is unknown and clear. Blurred ones are alike whoever they are, and who
is ignored is not to be offered again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .enrolment import photo_of
from .errors import NotInGallery
from .faces import UNKNOWN, Face
from .frame import Frame
from .gallery import Gallery, Photo, Unknown, retain
from .gallery.retention import DAY, MAX_AGE
from .match import Similarity, compare
from .pipeline import Analysis, Identified
from .quality import Quality, reason
from .standing import DUPLICATE
from .unknowns import Groups, Merge

log = logging.getLogger(__name__)

ENOUGH = 10
"""Photos of a person beyond which another one of the same group adds little."""
SAME = 1e-4
"""Two vectors' scores that differ from 1 by less are of the same picture."""
SHARP = 0.3
"""Sharpness from which more of it does not make a face clearer; see `Quality.sharpness`."""
LARGE = 112.0
"""The same for the size, in native pixels: the recognizer sees no more."""


def remember(
    gallery: Gallery,
    frame: Frame | Callable[[Face], Photo],
    analysis: Analysis,
    recognizer: Identified,
    *,
    camera: str = "",
    time: float | None = None,
) -> list[Unknown]:
    """Keep the unknown, clear faces of a frame, each in the group that it looks like.

    Groups that turn out to be one person become one, the older number stays. A face that looks like an ignored group
    is not kept, nor is one that was seen longer ago than `MAX_AGE`. What is too old is deleted; see `gallery.retain`.

    Args:
        gallery: where to.
        frame: the analysis's, or what cuts a face out of it.
        analysis: with matches.
        recognizer: the one that made the analysis's vectors.
        camera: which camera took the frame.
        time: when, UTC seconds; now by default.

    Returns:
        The faces kept, in the analysis's order. One that was kept before, because the same frame came before, is not.

    Raises:
        GalleryModelMismatch: faces kept before have no embedding of this recognizer.
        GalleryError: the gallery cannot be written.
        ValueError: the faces have no embeddings.
    """
    faces = [face for face in analysis if worth_keeping(face)]
    kept: list[Unknown] = []
    if faces and time is not None and time < gallery.now() - MAX_AGE:
        days = round((gallery.now() - time) / DAY)
        log.warning("%s is %d days old: its unknown faces would not be kept any more", analysis.source, days)
    elif faces:
        groups, before = _stored(gallery, recognizer)
        for face in faces:
            vector = face.embedding
            if vector is None:
                raise ValueError("faces without embeddings cannot be kept")
            group = groups.nearest(vector)
            if group in groups.ignored or _seen(vector, before, recognizer.similarity):
                continue
            photo = photo_of(frame, face) if isinstance(frame, Frame) else frame(face)
            embeddings = {recognizer.model_id: vector}
            try:
                stored = gallery.add_unknown(photo, embeddings, group=group, camera=camera, time=time)
            except NotInGallery:  # somebody has just named the group, or had it deleted
                groups, _ = _stored(gallery, recognizer)
                group = groups.nearest(vector)
                stored = gallery.add_unknown(photo, embeddings, group=group, camera=camera, time=time)
            kept.append(stored)
            groups, merges = groups.add(vector, stored.group).merges(stored.group)
            kept = _merged(gallery, kept, merges)
    retain(gallery)
    return kept


def worth_keeping(face: Face) -> bool:
    """Whether it is nobody's that is known, and clear enough to be told."""
    return face.name == UNKNOWN and (face.quality is None or reason(face.quality) is None)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which faces of a group to enrol.

    Attributes:
        photos: their positions, the best first.
        left_out: (position, reason) of the others.
    """

    photos: tuple[int, ...]
    left_out: tuple[tuple[int, str], ...]


def choose(
    vectors: NDArray[np.float32], qualities: Sequence[Quality | None], similarity: Similarity, alike: float
) -> Chosen:
    """The photos of a group that are worth enrolling: clear, unlike each other, and surely of one person.

    The best first; one that is nearly the same as a better one is left out, and so is whatever is beyond `ENOUGH`.

    Args:
        vectors: of the group's faces, (n, d).
        qualities: of each; None where nobody looked.
        similarity: how the vectors are compared.
        alike: the least score that is one person. In a group of three or more, a face that scores less with more
            than half of the others has come into the group by mistake.
    """
    scores = compare(vectors, vectors, similarity)
    n = len(vectors)
    others = scores[~np.eye(n, dtype=bool)].reshape(n, max(n - 1, 0))
    typical = np.quantile(others, 0.5, axis=1, method="higher") if n > 1 else np.ones(n)
    photos: list[int] = []
    left_out: list[tuple[int, str]] = []
    for index in sorted(range(n), key=lambda each: -worth(qualities[each])):
        quality = qualities[index]
        twin = next((each for each in photos if scores[index, each] >= DUPLICATE[similarity]), None)
        if quality is not None and (why := reason(quality)):
            left_out.append((index, why))
        elif n >= 3 and typical[index] < alike:
            left_out.append((index, f"unlike the others: {typical[index]:.2f} with most of them"))
        elif twin is not None:
            left_out.append((index, "nearly the same as a better one"))
        elif len(photos) == ENOUGH:
            left_out.append((index, f"{ENOUGH} better ones are enough"))
        else:
            photos.append(index)
    return Chosen(tuple(photos), tuple(left_out))


def worth(quality: Quality | None) -> float:
    """How good a photo is, 0 to 1: large, sharp and from the front."""
    if quality is None:
        return 0.0
    size, sharp = min(quality.size / LARGE, 1.0), min(quality.sharpness / SHARP, 1.0)
    return size * sharp * max(math.cos(math.radians(quality.yaw)), 0.0)


def _stored(gallery: Gallery, recognizer: Identified) -> tuple[Groups, NDArray[np.float32]]:
    """The groups as they are in the gallery, and the vectors of all their faces, (n, d)."""
    stored = gallery.unknown_vectors(recognizer.model_id)
    ignored = [group.id for group in gallery.groups(ignored=True)]
    return Groups.of(recognizer.similarity, stored.groups, stored.embeddings, ignored=ignored), stored.embeddings


def _seen(vector: NDArray[np.float32], before: NDArray[np.float32], similarity: Similarity) -> bool:
    """Whether this very face is there already: no two pictures give the same vector."""
    return len(before) > 0 and bool(compare(vector[None], before, similarity).max() > 1.0 - SAME)


def _merged(gallery: Gallery, kept: list[Unknown], merges: Sequence[Merge]) -> list[Unknown]:
    """The faces with their groups' numbers after merging, in the gallery first."""
    for merge in merges:
        with suppress(NotInGallery):  # somebody has just named one of them: they stay apart
            gallery.merge_groups(merge.absorbed, merge.into)
            kept = [replace(each, group=merge.into) if each.group == merge.absorbed else each for each in kept]
    return kept
