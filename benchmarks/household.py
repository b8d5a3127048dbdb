"""Families among strangers: the names that `peephole label --people DIR` gives, by its defaults.

    python benchmarks/household.py EVAL [--turned DEGREES] [--detector NAME --recognizer NAME] [--json FILE]

EVAL/household/protocol.tsv has people with three gallery photos each, taken in families of five as the names sort.
Each family's photos become a folder as the command wants it; the family's own probes should be named rightly, and
strangers not at all. A picture's name is that of the face nearest to its middle. Every picture is looked at once and
then matched with each family, as the command does in one go; for the first family the command itself is run as well,
and must say the same. With --turned the probes and the strangers are turned clockwise before, the photos are not.

Below that the ways to score a person by several photos are compared, by the thresholds that half of the families and
half of the strangers call for, tried on the other halves.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import Report
from peephole.match import People, compare
from peephole.people import load_people
from peephole.pipeline import Pipeline
from peephole.pipeline import decide as named
from protocol import (
    Looked,
    by_family,
    check_evaluation,
    chosen_models,
    looking_arguments,
    open_pipeline,
    read_protocol,
)

STRANGERS_NAMED, FAMILY_NAMED = 1e-3, 0.98
ALSO_LABELLED = 40
"""Strangers whom the command looks at too."""
HALVES = 200
NOBODY = "no face"


def decide(looked: Looked, pipeline: Pipeline, people: People, picture: Path, threshold: float | None) -> str:
    """The face's name, or that there is none."""
    face = looked.face(picture, lambda faces: named(faces, people, pipeline.recognizer.rule, threshold))
    return NOBODY if face is None or face.name is None else face.name


def arrange(family: list[str], gallery: dict[str, list[Path]], folder: Path) -> Path:
    for person in family:
        (folder / person).mkdir(parents=True)
        for picture in gallery[person]:
            shutil.copy(picture, folder / person)
    return folder


def turned(picture: Path, degrees: float, target: Path) -> Path:
    """A copy of a picture, turned clockwise; by whole quarters its sides change, otherwise it loses its corners."""
    with Image.open(picture) as image:
        whole = degrees % 90 == 0
        image.convert("RGB").rotate(-degrees, Image.Resampling.BICUBIC, expand=whole).save(target)
    return target


def labelled(folder: Path, pictures: list[Path], models: list[str]) -> list[str]:
    """The names that the command itself gives."""
    command = [sys.executable, "-m", "peephole", "label", "--jsonl", "--people", str(folder), *models]
    done = subprocess.run([*command, *map(str, pictures)], check=True, capture_output=True, text=True)
    names = []
    for line in done.stdout.splitlines():
        record = json.loads(line)
        middle = record["width"], record["height"]
        faces = sorted(
            record["faces"],
            key=lambda f: (f["left"] + f["right"] - middle[0]) ** 2 + (f["top"] + f["bottom"] - middle[1]) ** 2,
        )
        names.append(faces[0]["name"] if faces else NOBODY)
    return names


class Tally:
    """What became of a family's faces and of the strangers."""

    def __init__(self) -> None:
        self.family: Counter[str] = Counter()
        self.strangers: Counter[str] = Counter()

    def add_own(self, name: str, person: str) -> None:
        """Count a face of the family."""
        known = name not in ("unknown", "unclear", "ignored", NOBODY)
        self.family["right" if name == person else "wrong" if known else name] += 1

    def add_stranger(self, name: str) -> None:
        """Count a stranger's face."""
        self.strangers["named" if name not in ("unknown", "unclear", "ignored", NOBODY) else name] += 1

    def summary(self) -> dict[str, Any]:
        """Shares and counts."""
        return {
            "family_named_rightly": self.family["right"] / self.family.total(),
            "strangers_named": self.strangers["named"] / self.strangers.total(),
            "family": dict(self.family),
            "strangers": dict(self.strangers),
        }


# How to score a person by several photos


def ways() -> dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]]:
    """By name: scores with each photo, (n, photos), and with their mean vector, (n,) → the person's, (n,)."""
    return {
        "best photo": lambda each, _: each.max(1),
        "mean of all": lambda each, _: each.mean(1),
        "mean of the best two": lambda each, _: np.sort(each, 1)[:, -2:].mean(1),
        "mean vector": lambda _, mean: mean,
        "best photo and mean vector": lambda each, mean: (each.max(1) + mean) / 2,
    }


def by_person(vectors: NDArray[np.float32], people: People, similarity: Any, way: Any) -> NDArray[np.float64]:
    """Scores of each vector with each person, (n, people), sorted by name."""
    columns = []
    for person in people.persons:
        photos = people.embeddings[np.array(people.names) == person]
        mean = photos.mean(0, keepdims=True)
        columns.append(way(compare(vectors, photos, similarity), compare(vectors, mean, similarity)[:, 0]))
    return np.stack(columns, 1)


def cross_validate(
    families: list[People], probes: dict[str, NDArray[np.float32]], strangers: NDArray[np.float32], rule: Any
) -> dict[str, dict[str, float]]:
    """Each way's shares at a threshold fitted to 1 stranger in 1,000 on other families and other strangers."""
    out = {}
    for name, way in ways().items():
        alien, own = [], []  # by family: of each stranger the best score, and of each probe, if with the right person
        for people in families:
            alien.append(by_person(strangers, people, rule.similarity, way).max(1))
            right = []
            for column, person in enumerate(people.persons):
                if person in probes:
                    scores = by_person(probes[person], people, rule.similarity, way)
                    right.append(np.where(scores.argmax(1) == column, scores.max(1), -np.inf))
            own.append(np.concatenate(right))
        table, rng = np.stack(alien), np.random.default_rng(0)
        let_in, known = [], []
        for _ in range(HALVES):
            order, seen = rng.permutation(len(families)), rng.permutation(len(strangers))
            half, middle = order[: len(order) // 2], len(seen) // 2
            fitted = np.sort(table[np.ix_(half, seen[:middle])], axis=None)[::-1]
            threshold = fitted[int(STRANGERS_NAMED * len(fitted))]
            others = order[len(order) // 2 :]
            let_in.append((table[np.ix_(others, seen[middle:])] > threshold).mean())
            known.append((np.concatenate([own[family] for family in others]) > threshold).mean())
        out[name] = {"strangers_named": float(np.mean(let_in)), "family_named_rightly": float(np.mean(known))}
    return out


def main() -> None:
    parser = looking_arguments(__doc__)
    parser.add_argument("--turned", type=float, default=0.0, metavar="DEGREES")
    options = parser.parse_args()
    check_evaluation(options.evaluation, "household")
    with tempfile.TemporaryDirectory() as temporary:
        measure(options, Path(temporary))


def measure(options: argparse.Namespace, temporary: Path) -> None:
    """Look at everybody, and print what became of them."""
    folder = options.evaluation / "household"
    models = [word for name, value in chosen_models(options).items() for word in (f"--{name}", value)]
    pipeline = open_pipeline(options)
    roles, report = read_protocol(folder), Report()
    if options.turned:
        for person, pictures in [*roles["probe"].items(), *roles["stranger"].items()]:
            pictures[:] = [turned(each, options.turned, temporary / f"{person}-{each.stem}.png") for each in pictures]
    strangers = [picture for pictures in roles["stranger"].values() for picture in pictures]
    probes = [picture for pictures in roles["probe"].values() for picture in pictures]
    looked = Looked(pipeline, [*probes, *strangers])
    tally, convention, families, problems = Tally(), Tally(), [], []
    for family in by_family(roles["gallery"]):
        own = [(picture, person) for person in family for picture in roles["probe"].get(person, ())]
        with tempfile.TemporaryDirectory() as home_of:
            home = arrange(family, roles["gallery"], Path(home_of) / "people")
            people = load_people(home, pipeline)
            if not families:
                tried = [picture for picture, _ in own] + strangers[:ALSO_LABELLED]
                said = labelled(home, tried, models)
                mine = [decide(looked, pipeline, people, picture, None) for picture in tried]
                report.verdict("pictures that the command labels otherwise", sum(map(str.__ne__, said, mine)), 0)
        families.append(people)
        problems += [f"{Path(path).name}: {why}" for path, why in people.problems]
        for count, threshold in ((tally, None), (convention, pipeline.recognizer.threshold)):
            for picture, person in own:
                count.add_own(decide(looked, pipeline, people, picture, threshold), person)
            for picture in strangers:
                count.add_stranger(decide(looked, pipeline, people, picture, threshold))
    for problem in problems:
        print(f"left out: {problem}")
    print(f"by default           {json.dumps(tally.summary())}")
    print(f"by convention ({pipeline.recognizer.threshold:g}) {json.dumps(convention.summary())}")
    summary = tally.summary()
    report.verdict("strangers named", summary["strangers_named"], STRANGERS_NAMED)
    report.verdict("family named rightly", summary["family_named_rightly"], FAMILY_NAMED, least=True)
    vectors = {picture: face.embedding for picture in looked.found if (face := looked.face(picture)) is not None}
    by_name = {
        person: np.stack(found)
        for person, pictures in roles["probe"].items()
        if (found := [vectors[picture] for picture in pictures if picture in vectors])
    }
    outside = np.stack([vectors[picture] for picture in strangers if picture in vectors])
    study = cross_validate(families, by_name, outside, pipeline.recognizer.rule)
    for name, figures in study.items():
        print(f"{name:28s}{json.dumps({key: round(value, 5) for key, value in figures.items()})}")
    report.end(options.json, default=summary, convention=convention.summary(), problems=problems, ways=study)


if __name__ == "__main__":
    main()
