"""The evaluation's pictures of known people, who is on them and what was found there; not a benchmark of its own.

The pictures are the user's own to measure with: this project carries none. Some benchmarks look at them themselves
(`Looked`), others take what `peephole embed` printed of them (`read_household`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import arguments
from peephole.faces import Face, Faces
from peephole.match import RESNET_RULE, SFACE_RULE, People
from peephole.pipeline import Pipeline

RULES = {"sface": SFACE_RULE, "resnet": RESNET_RULE}
DETECTORS = {"sface": "yunet", "resnet": "mmod"}
FAMILY = 5
"""People of one family: their photos are its gallery."""


def check_evaluation(evaluation: Path, *sets: str) -> None:
    """End the benchmark where the folder lacks the pictures of one of these sets."""
    for each in sets:
        if not (evaluation / each / "images").is_dir():
            sys.exit(f"there is no {evaluation / each / 'images'}: this benchmark needs photographs of known people")


def read_protocol(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """The household's pictures by role (gallery, probe, stranger) and person; strangers have no name there."""
    roles: dict[str, dict[str, list[Path]]] = {"gallery": {}, "probe": {}, "stranger": {}}
    for line in (folder / "protocol.tsv").read_text().splitlines()[1:]:
        role, person, picture = line.split("\t")
        roles[role].setdefault(person, []).append(folder / picture)
    return roles


def by_family(names: Iterable[str]) -> list[list[str]]:
    """The people five by five, as the names sort."""
    everybody = sorted(names)
    return [everybody[start : start + FAMILY] for start in range(0, len(everybody), FAMILY)]


def people_of(vectors: Iterable[tuple[str, NDArray[np.float32]]]) -> People:
    """People of names and vectors, a pair a photo."""
    names, rows = zip(*vectors, strict=True)
    return People(names, np.stack(rows))


# For benchmarks that look at the pictures themselves


def looking_arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the evaluation's folder and what `open_pipeline` takes."""
    parser = arguments(description)
    parser.add_argument("evaluation", type=Path, metavar="EVAL")
    parser.add_argument("--detector", help="by default the command's")
    parser.add_argument("--recognizer", help="by default the command's")
    parser.add_argument("--threads", type=int)
    return parser


def chosen_models(options: argparse.Namespace) -> dict[str, str]:
    """The detector and the recognizer, where they were asked for."""
    return {name: getattr(options, name) for name in ("detector", "recognizer") if getattr(options, name)}


def open_pipeline(options: argparse.Namespace) -> Pipeline:
    return Pipeline(**chosen_models(options), threads=options.threads)


def nearest_middle(faces: Iterable[Face], width: int, height: int) -> Face | None:
    return min(
        faces,
        key=lambda f: (f.left + f.right - width) ** 2 + (f.top + f.bottom - height) ** 2,
        default=None,
    )


class Looked:
    """Pictures, each looked at once."""

    def __init__(self, pipeline: Pipeline, pictures: Iterable[Path], *, twins: bool = False) -> None:
        self.found: dict[Path, tuple[Faces, int, int]] = {}
        for picture in pictures:
            analysis = pipeline.analyse(picture, embed=True, twins=twins)
            self.found[picture] = analysis.faces, analysis.width, analysis.height

    def face(self, picture: Path, change: Callable[[Faces], Faces] = lambda faces: faces) -> Face | None:
        """The face nearest to a picture's middle, after a change to all its faces."""
        faces, width, height = self.found[picture]
        return nearest_middle(change(faces), width, height)


# For benchmarks that take what was printed


@dataclass(frozen=True, slots=True)
class Told:
    """The face nearest to a picture's middle."""

    box: tuple[float, float, float, float]
    embedding: NDArray[np.float32]


Printed = dict[str, Told | None]
"""By the picture's path from ``images/`` on; None where no face was found."""


@dataclass(frozen=True, slots=True)
class Household:
    """Who is on which picture: the faces of each person's photos and probes, and of the strangers' one each."""

    gallery: dict[str, list[Told | None]]
    probes: dict[str, list[Told | None]]
    strangers: dict[str, Told | None]

    @property
    def missing(self) -> int:
        """Pictures of probes and strangers without a face."""
        found = [face for faces in self.probes.values() for face in faces] + list(self.strangers.values())
        return sum(face is None for face in found)

    def families(self) -> list[People]:
        """The galleries, a family each."""
        return [
            people_of((name, face.embedding) for name in family for face in self.gallery[name] if face is not None)
            for family in by_family(self.gallery)
        ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="EVAL_FOLDER")
    parser.add_argument("--recognizer", default="sface", choices=sorted(RULES))
    parser.add_argument(
        "--embeddings", type=Path, nargs="+", metavar="FILE.jsonl", help="what `peephole embed` printed"
    )


def read_faces(options: argparse.Namespace, *parts: str) -> Printed:
    """The faces of the folders ``household`` and ``lfw``, as far as they are asked for."""
    check_evaluation(options.folder, *parts)
    if options.embeddings:
        return _parsed(line for file in options.embeddings for line in file.read_text().splitlines())
    with tempfile.TemporaryFile("w+") as out:
        for part in parts:
            images = options.folder / part / "images"
            print(f"embedding {images}", file=sys.stderr)
            models = ["--detector", DETECTORS[options.recognizer], "--recognizer", options.recognizer]
            command = [sys.executable, "-m", "peephole", "embed", "--jsonl", *models]
            pictures = [str(path) for path in sorted(images.rglob("*.jpg"))]
            subprocess.run([*command, *pictures], stdout=out, check=True)
        out.seek(0)
        return _parsed(out)


def read_household(options: argparse.Namespace, faces: Printed) -> Household:
    """The protocol and the faces together."""
    folder = options.folder / "household"
    roles = read_protocol(folder)

    def found(picture: Path) -> Told | None:
        return faces.get(picture.relative_to(folder).as_posix())

    named = (
        {person: [found(each) for each in pictures] for person, pictures in roles[role].items()}
        for role in ("gallery", "probe")
    )
    strangers = {each.parent.name: found(each) for pictures in roles["stranger"].values() for each in pictures}
    return Household(*named, strangers)


def _parsed(lines: Iterable[str]) -> Printed:
    faces: Printed = {}
    for line in lines:
        record = json.loads(line)
        picture = record["image"][record["image"].rindex("images/") :]
        middle = np.array([record.get("width", 0), record.get("height", 0)]) / 2
        found = [
            (face, np.array([face["left"], face["top"], face["right"], face["bottom"]]))
            for face in record.get("faces", ())
        ]
        if not found:
            faces[picture] = None
            continue
        face, box = min(found, key=lambda each: float((((each[1][:2] + each[1][2:]) / 2 - middle) ** 2).sum()))
        faces[picture] = Told(tuple(box.tolist()), np.array(face["embedding"], np.float32))
    return faces
