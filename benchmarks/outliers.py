"""A photo of somebody else among a person's, and one person under two names: are they found, and who else is accused?

    python benchmarks/outliers.py EVAL_FOLDER [--recognizer sface] [--embeddings FILE.jsonl]

EVAL_FOLDER/household/protocol.tsv lists the pictures. Each person's gallery photos are looked at as they are, with each
of their probes as a further photo, and with each of everybody else's probes planted among two or three of them; see
`peephole.outliers`. Then each family's galleries get a second name, with up to three of a person's probes as photos.
The embeddings are what `peephole embed --jsonl` prints for household/images; without --embeddings they are computed
first.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from common import Report, arguments
from peephole.match import Rule
from peephole.outliers import outliers, same_person
from protocol import FAMILY, RULES, Household, Told, add_options, by_family, people_of, read_faces, read_household

FOUND, ACCUSED = 0.99, 0.005
SECOND = "another name"

Vectors = dict[str, NDArray[np.float32]]


def vectors_of(found: dict[str, list[Told | None]]) -> Vectors:
    """Each person's vectors, (n, d); a picture without a face is left out."""
    return {name: np.stack([face.embedding for face in faces if face is not None]) for name, faces in found.items()}


def share(found: list[bool]) -> float:
    return float(np.mean(found))


def honest(gallery: Vectors, probes: Vectors, rule: Rule) -> dict[str, float]:
    """The shares of photos that are refused though they are the person's."""
    together = [bool(each) for photos in gallery.values() for each in outliers(photos, rule)[0]]
    further = []
    for name, photos in gallery.items():
        there = np.arange(len(photos) + 1) < len(photos)
        further += [bool(outliers(np.vstack([photos, probe]), rule, trusted=there)[0][-1]) for probe in probes[name]]
    return {"the person's own, all together": share(together), "the person's own, one more": share(further)}


def planted(gallery: Vectors, probes: Vectors, rule: Rule, among: int) -> tuple[float, float]:
    """The share of planted photos that are found, and of the cases in which one of the person's is refused too."""
    found, accused = [], []
    for name, photos in gallery.items():
        for rest in map(list, combinations(range(len(photos)), among)):
            for wrong in (probe for other in probes if other != name for probe in probes[other]):
                out, _ = outliers(np.vstack([wrong, photos[rest]]), rule)
                found.append(bool(out[0]))
                accused.append(bool(out[1:].any()))
    return share(found), share(accused)


def doubled(gallery: Vectors, probes: Vectors, rule: Rule, photos: int) -> tuple[float, int]:
    """The share of second names that are found, of so many photos, and how many other pairs are taken for one."""
    found, wrong = [], 0
    for family in by_family(gallery):
        vectors = [(name, row) for name in family for row in gallery[name]]
        wrong += sum(len(same_person(name, people_of(vectors), rule)) for name in family)
        for name in family:
            for start in range(0, len(probes[name]) - photos + 1, photos):
                second = [(SECOND, row) for row in probes[name][start : start + photos]]
                same = same_person(SECOND, people_of(vectors + second), rule)
                found.append(name in {other for other, _ in same})
                wrong += sum(other != name for other, _ in same)
    return share(found), wrong


def main() -> None:
    parser = arguments(__doc__)
    add_options(parser)
    options: argparse.Namespace = parser.parse_args()
    household: Household = read_household(options, read_faces(options, "household"))
    rule, report = RULES[options.recognizer], Report()
    gallery, probes = vectors_of(household.gallery), vectors_of(household.probes)
    for what, value in honest(gallery, probes, rule).items():
        report.verdict(f"refused: {what}", value, ACCUSED)
    for among in (2, 3):
        found, accused = planted(gallery, probes, rule, among)
        report.verdict(f"found: one of somebody else's among {among}", found, FOUND, least=True)
        report.verdict("  one of the person's refused beside it", accused, ACCUSED)
    rows = {}
    for photos in (1, 2, 3):
        rows[photos], wrong = doubled(gallery, probes, rule, photos)
        print(f"found: a second name with {photos} photos, in a family of {FAMILY}: {rows[photos]:.4f}")
        report.verdict("  two people taken for one", wrong, 0)
    report.end(options.json, recognizer=options.recognizer, second_names_found=rows)


if __name__ == "__main__":
    sys.exit(main())
