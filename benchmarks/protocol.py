"""The household of the evaluation pictures with its embeddings, for benchmarks; not a benchmark of its own.

The pictures are the user's own to measure with: this project carries none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peephole.match import RESNET_RULE, SFACE_RULE, People

RULES = {"sface": SFACE_RULE, "resnet": RESNET_RULE}
DETECTORS = {"sface": "yunet", "resnet": "mmod"}
FAMILY = 5
"""People of one family: their photos are its gallery."""


@dataclass(frozen=True, slots=True)
class Face:
    """The face nearest to a picture's centre."""

    box: tuple[float, float, float, float]
    embedding: NDArray[np.float32]


Faces = dict[str, Face | None]
"""By the picture's path from ``images/`` on; None where no face was found."""


@dataclass(frozen=True, slots=True)
class Household:
    """Who is on which picture: the faces of each person's photos and probes, and of the strangers' one each."""

    gallery: dict[str, list[Face | None]]
    probes: dict[str, list[Face | None]]
    strangers: dict[str, Face | None]

    @property
    def missing(self) -> int:
        """Pictures of probes and strangers without a face."""
        found = [face for faces in self.probes.values() for face in faces] + list(self.strangers.values())
        return sum(face is None for face in found)

    def families(self) -> list[People]:
        """The galleries, people taken five by five as the names sort."""
        names = sorted(self.gallery)
        return [self._people(names[start : start + FAMILY]) for start in range(0, len(names), FAMILY)]

    def _people(self, names: list[str]) -> People:
        rows = [(name, face.embedding) for name in names for face in self.gallery[name] if face is not None]
        return People(tuple(name for name, _ in rows), np.stack([vector for _, vector in rows]))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="EVAL_FOLDER")
    parser.add_argument("--recognizer", default="sface", choices=sorted(RULES))
    parser.add_argument(
        "--embeddings", type=Path, nargs="+", metavar="FILE.jsonl", help="what `peephole embed` printed"
    )


def read_faces(options: argparse.Namespace, *parts: str) -> Faces:
    """The faces of the folders ``household`` and ``lfw``, as far as they are asked for."""
    folders = [options.folder / part for part in parts]
    for folder in folders:
        if not (folder / "images").is_dir():
            sys.exit(f"there is no {folder / 'images'}: give the folder of the evaluation pictures")
    if options.embeddings:
        return _parsed(line for file in options.embeddings for line in file.read_text().splitlines())
    with tempfile.TemporaryFile("w+") as out:
        for folder in folders:
            print(f"embedding {folder / 'images'}", file=sys.stderr)
            models = ["--detector", DETECTORS[options.recognizer], "--recognizer", options.recognizer]
            command = [sys.executable, "-m", "peephole", "embed", "--jsonl", *models]
            pictures = [str(path) for path in sorted((folder / "images").rglob("*.jpg"))]
            subprocess.run([*command, *pictures], stdout=out, check=True)
        out.seek(0)
        return _parsed(out)


def read_household(options: argparse.Namespace, faces: Faces) -> Household:
    """The protocol and the faces together."""
    household = Household({}, {}, {})
    for line in (options.folder / "household" / "protocol.tsv").read_text().splitlines()[1:]:
        role, person, picture = line.split("\t")
        face = faces.get(picture)
        if role == "stranger":
            household.strangers[picture.split("/")[1]] = face
        else:
            (household.gallery if role == "gallery" else household.probes).setdefault(person, []).append(face)
    return household


def _parsed(lines: Iterable[str]) -> Faces:
    faces: Faces = {}
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
        faces[picture] = Face(tuple(box.tolist()), np.array(face["embedding"], np.float32))
    return faces
