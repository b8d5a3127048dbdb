"""Known people from a folder: ``DIR/NAME/*.jpg`` are each person's photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .errors import FrameError, PeopleError
from .faces import UNKNOWN
from .frame import SUFFIXES
from .match import People
from .pipeline import Pipeline, Scale


def pictures(folder: Path) -> list[Path]:
    """The pictures below a folder by their suffix, sorted; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def load_people(
    folder: str | os.PathLike[str],
    pipeline: Pipeline,
    *,
    scale: Scale = Scale(),  # noqa: B008 - immutable
    min_confidence: float = 0.0,
) -> People:
    """Embed the photos of each person.

    A photo must show exactly one face. One that doesn't, or cannot be read, is left out and named in
    `People.problems`; the person's other photos are used.

    Args:
        folder: holds a folder a person, named after them.
        pipeline: whose detector and recognizer look at the photos.
        scale, min_confidence: as for the frames.

    Raises:
        PeopleError: there is no such folder, nobody in it, or not one usable photo.
    """
    root = Path(folder)
    if not os.path.isdir(root):  # noqa: PTH112 - unlike Path.is_dir it never raises
        raise PeopleError(f"{root} is not a folder; it should hold a folder of photos for each person")
    try:
        persons = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise PeopleError(f"{root} cannot be read: {error.strerror or error}") from error
    if not persons:
        raise PeopleError(f"{root} holds no person's folder; put each person's photos into {root}/NAME/")
    names: list[str] = []
    vectors: list[np.ndarray] = []
    problems: list[tuple[str, str]] = []
    for person in persons:
        if person.name == UNKNOWN:
            raise PeopleError(f"{person}: {UNKNOWN!r} is what a stranger is called: give the person another name")
        before = len(names)
        for photo in pictures(person):
            try:
                faces = pipeline.analyse(photo, scale=scale, min_confidence=min_confidence, embed=True).faces
            except FrameError as error:
                problems.append((str(photo), str(error)))
                continue
            if len(faces) != 1 or faces.embeddings is None:
                found = "no face" if not len(faces) else f"{len(faces)} faces"
                problems.append((str(photo), f"{found} found, exactly one is needed"))
                continue
            names.append(person.name)
            vectors.append(faces.embeddings[0])
        if len(names) == before:
            problems.append((str(person), f"no usable photo of {person.name}"))
    if not names:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise PeopleError(f"{root} holds no usable photo: {reasons}")
    return People(tuple(names), np.stack(vectors), tuple(problems))
