"""Known people from a folder: ``DIR/NAME/*.jpg`` are each person's photos."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import FrameError, PeopleError
from .faces import UNKNOWN
from .frame import SUFFIXES
from .match import People
from .pipeline import Pipeline, Scale

Problem = Callable[[str, str], object]
"""Told of a path and the reason why it cannot be used."""


def pictures(folder: Path, problem: Problem | None = None) -> list[Path]:
    """The pictures below a folder by their suffix, sorted; hidden files and folders are left out.

    Args:
        folder: links to folders below it are not followed.
        problem: told of each folder that cannot be listed; the others' pictures come all the same.
    """

    def unlisted(error: OSError) -> None:
        if problem:
            problem(str(error.filename or folder), f"the folder cannot be listed: {error.strerror or error}")

    found: list[Path] = []
    for inside, folders, files in os.walk(folder, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(inside, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and _readable(path)]
    return sorted(found)


def _readable(path: Path) -> bool:
    """Whether reading is worth a try: a file, or something that only reading can tell why it is none."""
    return os.path.isfile(path) or not os.path.exists(path)  # noqa: PTH110, PTH113 - unlike Path's they never raise


def load_people(
    folder: str | os.PathLike[str],
    pipeline: Pipeline,
    *,
    scale: Scale = Scale(),  # noqa: B008 - immutable
    min_confidence: float = 0.0,
    progress: Callable[[str], object] | None = None,
) -> People:
    """Embed the photos of each person.

    A photo must show exactly one face. One that doesn't, or cannot be read, is left out and named in
    `People.problems`, as is a folder that cannot be listed; the person's other photos are used.

    Args:
        folder: holds a folder a person, named after them.
        pipeline: whose detector and recognizer look at the photos.
        scale, min_confidence: as for the frames.
        progress: told of each photo before it is looked at.

    Raises:
        PeopleError: there is no such folder, nobody in it, or not one usable photo.
    """
    root = Path(folder)
    if not os.path.isdir(root):  # noqa: PTH112 - unlike Path.is_dir it never raises
        raise PeopleError(f"{root} is not a folder; it should hold a folder of photos for each person")
    names: list[str] = []
    vectors: list[np.ndarray] = []
    problems: list[tuple[str, str]] = []

    def problem(path: str, reason: str) -> None:
        problems.append((path, reason))

    persons = _persons(root, problem)
    if not persons and not problems:
        raise PeopleError(f"{root} holds no person's folder; put each person's photos into {root}/NAME/")
    for person in persons:
        if person.name == UNKNOWN:
            raise PeopleError(f"{person}: {UNKNOWN!r} is what a stranger is called: give the person another name")
        before = len(names)
        for photo in pictures(person, problem):
            if progress:
                progress(str(photo))
            try:
                faces = pipeline.analyse(photo, scale=scale, min_confidence=min_confidence, embed=True).faces
            except FrameError as error:
                problem(str(photo), str(error))
                continue
            if len(faces) != 1 or faces.embeddings is None:
                found = "no face" if not len(faces) else f"{len(faces)} faces"
                problem(str(photo), f"{found} found, exactly one is needed")
                continue
            names.append(person.name)
            vectors.append(faces.embeddings[0])
        if len(names) == before:
            problem(str(person), f"no usable photo of {person.name}")
    if not names:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise PeopleError(f"{root} holds no usable photo: {reasons}")
    return People(tuple(names), np.stack(vectors), tuple(problems))


def _persons(root: Path, problem: Problem) -> list[Path]:
    """The folders in the people's folder, sorted, hidden ones left out."""
    persons = []
    try:
        for path in sorted(root.iterdir()):
            try:
                if not path.name.startswith(".") and path.is_dir():
                    persons.append(path)
            except OSError as error:
                problem(str(path), f"cannot be looked into: {error.strerror or error}")
    except OSError as error:
        raise PeopleError(f"{root} cannot be read: {error.strerror or error}") from error
    return persons
