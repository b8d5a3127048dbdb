"""Known people: from a folder, where ``DIR/NAME/*.jpg`` are each person's photos, or from a gallery."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
from .pipeline import Analysis, Identified, Scale

BYSTANDER = 0.5
"""A face whose side is a smaller part of the largest one's is somebody in the background."""


class Embedder(Protocol):
    """What finds faces and embeds them; see `pipeline.Pipeline`."""

    @property
    def recognizer(self) -> Identified:
        """The recognizer whose vectors come out."""
        ...

    def analyse(
        self, source: Path, *, scale: Scale = ..., min_confidence: float | None = ..., embed: bool = ...
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
    recognizer's rule knows by the person's photos of that kind. One that doesn't, or cannot be read, is left out and
    named in `People.problems`, as is a folder that cannot be listed; the person's other photos are used. What is passed
    over is one of the problems, all together.

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
    vectors: list[NDArray[np.float32]] = []
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
                analysis = pipeline.analyse(photo, scale=scale, min_confidence=min_confidence, embed=True)
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
    return People(tuple(names), np.stack(vectors), tuple(problems), model=pipeline.recognizer.model_id)


def _own(
    name: str, looked: Sequence[tuple[Path, Faces | FrameError]], rule: Rule, problem: Problem
) -> list[NDArray[np.float32]]:
    """A person's vectors from their photos; the photos without one are told of, all in their order."""
    sure = [
        faces.embeddings[shown]
        for _, faces in looked
        if isinstance(faces, Faces) and faces.embeddings is not None and (shown := subject(faces)) is not None
    ]
    person = People((name,) * len(sure), np.stack(sure)) if sure else None
    vectors = []
    for photo, faces in looked:
        if not isinstance(faces, Faces):
            problem(str(photo), str(faces))
            continue
        shown = subject(faces)
        if shown is None and person and faces.embeddings is not None:
            known = [index for index, each in enumerate(match(faces.embeddings, person, rule)) if each.name == name]
            shown = known[0] if len(known) == 1 else None
        if shown is None or faces.embeddings is None:
            found = "no face" if not len(faces) else f"{len(faces)} faces"
            problem(str(photo), f"{found} found, exactly one is needed")
        else:
            vectors.append(faces.embeddings[shown])
    return vectors


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
            last = self._last = (state, people, gallery.rule(recognizer.model_id) or recognizer.rule)
        return last[1], last[2]
