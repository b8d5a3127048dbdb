"""Unknown faces grouped by likeness as they arrive: how many pairs of one person's faces end up together?

    python benchmarks/grouping.py EVAL_FOLDER [--recognizer sface] [--embeddings FILE.jsonl] [--seeds 10]

EVAL_FOLDER/household/protocol.tsv lists the pictures: the 600 strangers, one photo each, and the 331 probes of the
family come without names, in random order, and are grouped one by one (`peephole.unknowns`). Over all pairs of faces,
precision is the share of those put together that are one person's, recall the share of one person's that were put
together. A picture in which no face is found is left out and counted.

The embeddings are what `peephole embed --jsonl` prints for household/images; without --embeddings they are computed
first. At last a face is grouped among 10,000 groups of one made-up face each, for the time it takes.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common import Report, arguments
from peephole.match import Similarity
from peephole.unknowns import Groups
from protocol import RULES, Household, add_options, read_faces, read_household

PRECISION, RECALL = 0.99, 0.90
MANY = 10_000


def pairwise(people: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """Precision and recall over all pairs of faces, from the numbers of each person's faces in each group."""

    def pairs(labels: NDArray[np.int64]) -> int:
        _, counts = np.unique(labels, axis=0, return_counts=True)
        return int((counts * (counts - 1) // 2).sum())

    truth, found = (np.unique(np.asarray(each), return_inverse=True)[1] for each in (people, groups))
    right, same, together = pairs(np.stack([truth, found], 1)), pairs(truth), pairs(found)
    return (right / together if together else 1.0), (right / same if same else 1.0)


def grouped(embeddings: NDArray[np.float32], similarity: Similarity) -> tuple[NDArray[np.int64], int]:
    """The group of each face when they arrive in this order, and how many merges there were."""
    groups, merges = Groups.of(similarity), 0
    owner = np.zeros(len(embeddings), np.int64)
    for index, vector in enumerate(embeddings):
        found = groups.nearest(vector)
        owner[index] = index if found is None else found
        groups, done = groups.add(vector, int(owner[index])).merges(int(owner[index]))
        for each in done:
            owner[: index + 1][owner[: index + 1] == each.absorbed] = each.into
        merges += len(done)
    return owner, merges


def unnamed(household: Household) -> tuple[NDArray[np.float32], list[str]]:
    """The vectors of probes and strangers, and whose they are."""
    faces = [(face.embedding, name) for name, found in household.probes.items() for face in found if face is not None]
    faces += [(face.embedding, name) for name, face in household.strangers.items() if face is not None]
    return np.stack([vector for vector, _ in faces]), [name for _, name in faces]


def main() -> None:
    parser = arguments(__doc__)
    add_options(parser)
    parser.add_argument("--seeds", type=int, default=10)
    options: argparse.Namespace = parser.parse_args()
    household = read_household(options, read_faces(options, "household"))
    similarity = RULES[options.recognizer].similarity
    embeddings, people = unnamed(household)

    report = Report()
    print(f"{len(people)} faces of {len(set(people))} people; {household.missing} pictures without a face left out")
    rows = []
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(people))
        owner, merges = grouped(embeddings[order], similarity)
        precision, recall = pairwise([people[i] for i in order], owner)
        rows.append((precision, recall))
        print(f"  order {seed}: {len(set(owner.tolist()))} groups, {merges} merges, {precision:.4f}, {recall:.4f}")
    low, middle = np.min(rows, axis=0), np.median(rows, axis=0)
    print(f"median precision {middle[0]:.4f}, recall {middle[1]:.4f}")
    report.verdict("pairwise precision, worst order", float(low[0]), PRECISION, least=True)
    report.verdict("pairwise recall, worst order", float(low[1]), RECALL, least=True)

    rng = np.random.default_rng(0)
    strangers = rng.normal(size=(MANY, embeddings.shape[1])).astype(np.float32)
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    groups = Groups.of(similarity, np.arange(MANY), strangers)
    start = time.perf_counter()
    for vector in strangers[:20]:
        found = groups.nearest(vector)
        groups.add(vector, found or 0).merges(found)
    each = (time.perf_counter() - start) / 20 * 1000
    print(f"one more face among {MANY} groups: {each:.1f} ms")
    report.end(options.json, recognizer=options.recognizer, orders=rows, milliseconds_among_10000=each)


if __name__ == "__main__":
    sys.exit(main())
