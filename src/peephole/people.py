"""Known people: from a folder, where ``DIR/NAME/*.jpg`` are each person's photos, or from a gallery."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import FrameError, PeopleError
from .faces import RESERVED, Faces
from .files import PassedOver, Problem, is_aside, is_snapshot, pictures
from .gallery import Gallery
from .geometry import areas
from .match import People, Rule, match
from .outliers import outliers, same_person, unlike
from .pipeline import Analysis, Identified, Scale
from .words import counted

log = logging.getLogger(__name__)

BYSTANDER = 0.5
"""A face whose side is a smaller part of the largest one's is somebody in the background."""


class Embedder(Protocol):
    """What finds faces and embeds them; see `pipeline.Pipeline`."""

    @property
    def recognizer(self) -> Identified:
        """The recognizer whose vectors come out."""
        ...

    def analyse(
        self, source: Path, *, scale: Scale = ..., min_confidence: float | None = ..., twins: bool = ...
    ) -> Analysis:
        """Look at one frame."""
        ...


def load_people(
    folder: str | os.PathLike[str],
    pipeline: Embedder,
    *,
    scale: Scale = Scale(),  # noqa: B008 - immutable
    min_confidence: float | None = None,
    progress: Callable[[str], object] | None = None,
) -> People:
    """Embed the photos of each person.

    A photo must show exactly one face, apart from such as are less than `BYSTANDER` as large, or exactly one that the
    recognizer's rule knows by the person's photos of that kind. One that doesn't, cannot be read, or is unlike the
    person's other photos (see `outliers.outliers`) is left out and named in `People.problems`, as is a folder that
    cannot be listed; the person's other photos are used. Named there, too, is a person who is another one, to all
    appearance (see `outliers.same_person`), and, all together, what is passed over.

    Args:
        folder: holds a folder a person, named after them.
        pipeline: looks at the photos: a `pipeline.Pipeline`, or what does its work elsewhere.
        scale, min_confidence: as for the frames.
        progress: told of each photo before it is looked at.

    Raises:
        PeopleError: there is no such folder, nobody in it, or not one usable photo.
    """
    root = Path(folder)
    if not os.path.isdir(root):  # noqa: PTH112 - unlike Path.is_dir it never raises
        raise PeopleError(f"{root} is not a folder; it should hold a folder of photos for each person")
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []  # each photo's own and its twin, (2, d)
    problems: list[tuple[str, str]] = []

    def problem(path: str, reason: str) -> None:
        problems.append((path, reason))

    passed = PassedOver()
    persons = _persons(root, problem, passed)
    if not persons and not problems:
        but = f" ({passed})" if passed else ""
        raise PeopleError(f"{root} holds no person's folder{but}; put each person's photos into {root}/NAME/")
    for person in persons:
        if person.name in RESERVED:
            meaning = RESERVED[person.name]
            raise PeopleError(f"{person}: {person.name!r} is what {meaning} is called: give the person another name")
        looked: list[tuple[Path, Faces | FrameError]] = []
        for photo in pictures(person, problem, passed):
            if progress:
                progress(str(photo))
            try:
                analysis = pipeline.analyse(photo, scale=scale, min_confidence=min_confidence, twins=True)
                looked.append((photo, analysis.faces))
            except FrameError as error:
                looked.append((photo, error))
        own = _own(person.name, looked, pipeline.recognizer.rule, problem)
        names += [person.name] * len(own)
        vectors += own
        if not own:
            problem(str(person), f"no usable photo of {person.name}")
    if passed:
        problem(str(root), str(passed))
    if not names:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise PeopleError(f"{root} holds no usable photo: {reasons}")
    rows, twins = np.stack(vectors, axis=1)
    people = People(tuple(names), rows, model=pipeline.recognizer.model_id, twins=twins)
    return replace(people, problems=(*problems, *_same(root, people, pipeline.recognizer.rule)))


def _same(root: Path, people: People, rule: Rule) -> Iterator[tuple[str, str]]:
    """The folders of people who are others under a second name."""
    for name in people.persons:
        for other, score in same_person(name, people, rule):
            if other < name:
                yield str(root / name), f"the same person as {other}, to all appearance: score {score:.2f}"


def _own(
    name: str, looked: Sequence[tuple[Path, Faces | FrameError]], rule: Rule, problem: Problem
) -> list[NDArray[np.float32]]:
    """A person's vectors and twins, (2, d), from their photos; those without one are told of, all in their order."""
    sure = {
        photo: _vectors(faces, shown)
        for photo, faces in looked
        if isinstance(faces, Faces)
        and faces.embeddings is not None
        and (shown := subject(faces)) is not None
        and _upright(faces, shown)
    }
    seen, twins = np.stack([*sure.values()], axis=1) if sure else (np.zeros((0, 0), np.float32),) * 2
    out, scores = outliers(seen, rule, twins=twins) if sure else ((), ())
    apart = {photo: score for photo, yes, score in zip(sure, out, scores, strict=True) if yes}
    own = [vector for photo, vector in sure.items() if photo not in apart]
    person = People((name,) * len(own), np.stack(own)[:, 0], twins=np.stack(own)[:, 1]) if own else None
    vectors = []
    for photo, faces in looked:
        if photo in apart:
            problem(str(photo), unlike(name, apart[photo], nobody=not own))
        elif photo in sure:
            vectors.append(sure[photo])
        elif not isinstance(faces, Faces):
            problem(str(photo), str(faces))
        elif (known := _recognized(name, faces, person, rule)) is not None:
            vectors.append(known)
        elif (shown := subject(faces)) is not None and not _upright(faces, shown):
            problem(str(photo), "nobody can say which way up the face stands; turn the photo")
        else:
            found = "no face" if not len(faces) else f"{len(faces)} faces"
            problem(str(photo), f"{found} found, exactly one is needed")
    return vectors


def _upright(faces: Faces, index: int) -> bool:
    """Whether a face stands upright as far as anybody knows: those that do not are alike, whoever they are."""
    quality = faces[index].quality
    return quality is None or quality.oriented


def _recognized(name: str, faces: Faces, person: People | None, rule: Rule) -> NDArray[np.float32] | None:
    """The vector and twin of the one face that is the person's by their other photos, or None."""
    if person is None or faces.embeddings is None:
        return None
    found = match(faces.embeddings, person, rule, grey=faces.grey)
    known = [index for index, each in enumerate(found) if each.name == name]
    return _vectors(faces, known[0]) if len(known) == 1 else None


def _vectors(faces: Faces, index: int) -> NDArray[np.float32]:
    """A face's vector and its twin, (2, d); the vector twice where nobody has made the twin."""
    face = faces[index]
    if face.embedding is None:
        raise ValueError("faces without embeddings cannot be compared")
    return np.stack([face.embedding, face.embedding if face.twin is None else face.twin])


def subject(faces: Faces) -> int | None:
    """Which face the photo is of, or None where that is not clear."""
    sizes = np.sqrt(areas(faces.boxes))
    largest = np.flatnonzero(sizes >= BYSTANDER * sizes.max(initial=0.0))
    return int(largest[0]) if len(largest) == 1 else None


def _persons(root: Path, problem: Problem, passed: PassedOver) -> list[Path]:
    """The folders in the people's folder, sorted, without those that are passed over."""
    persons = []
    try:
        for path in sorted(root.iterdir()):
            try:
                if not path.is_dir():
                    if is_snapshot(path.name):
                        passed.add(f"{path.name} (in no person's folder)")
                elif is_aside(path.name):
                    passed.add(path.name)
                else:
                    persons.append(path)
            except OSError as error:
                problem(str(path), f"cannot be looked into: {error.strerror or error}")
    except OSError as error:
        raise PeopleError(f"{root} cannot be read: {error.strerror or error}") from error
    return persons


def refuse_nobody(gallery: Gallery) -> None:
    """Raise a `PeopleError` for a gallery that nobody is enrolled in."""
    if not any(person.photos for person in gallery.people()):
        raise PeopleError(f"nobody is enrolled in {gallery.path}; enrol somebody first: peephole enroll NAME FILE")


class Known:
    """Whom a gallery knows and what decides, read again only when it has changed, by whichever process."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._last: tuple[object, People, Rule] | None = None
        self._said = False  # that twins are missing

    def read(self, gallery: Gallery, recognizer: Identified) -> tuple[People, Rule]:
        """The people, and the rule calibrated for the recognizer or else its own.

        Takes microseconds where nothing has changed: ask before each frame.

        Raises:
            GalleryModelMismatch: some faces have no embedding of this recognizer.
            GalleryError: the gallery cannot be read.
        """
        try:
            file = gallery.path.stat()
            identity = (file.st_dev, file.st_ino, file.st_mtime_ns)  # a new gallery begins to count anew
        except OSError:
            identity = (0, 0, 0)
        state = (identity, gallery.version(), recognizer.model_id)
        last = self._last
        if last is None or last[0] != state:
            people = gallery.known(recognizer.model_id)
            if not self._said and (lacking := gallery.twinless_count(recognizer.model_id)):
                self._said = True
                log.warning(
                    "%s in %s without a twin that has no colour, told less well at night; make them: "
                    "peephole gallery reembed",
                    counted(lacking, "face"),
                    gallery.path,
                )
            last = self._last = (state, people, gallery.rule(recognizer.model_id) or recognizer.rule)
        return last[1], last[2]
