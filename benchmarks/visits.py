"""Visits of three frames against single frames: does deciding over all frames make fewer errors of both kinds?

    python benchmarks/visits.py EVAL_FOLDER [--recognizer sface] [--embeddings FILE.jsonl...] [--orders 10]

Families of five with three photos each are the galleries (EVAL_FOLDER/household/protocol.tsv). A family's visit is
three probes of one person. Its strangers have one photo each, and three frames that are one photo say nothing, so the
visits of strangers are made of EVAL_FOLDER/lfw: everybody who is in no gallery and has at least three photos there. Of
each person's pictures in random order threes are taken; one or two that are left over wait for another order. Every
visit goes through the tracker that the product uses (`peephole.visits`), frames a second apart, and counts by the names
it has when it closes; the same frames, each matched by itself, are the single frames. A picture in which no face is
found is left out and counted.

Errors are of two kinds: a stranger who gets a name, and a person of the family who does not get theirs (nobody's, or
somebody else's). Both are shown at the recognizer's own rule, and at rules that let in more strangers or fewer, so that
there are errors to compare.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common import Report, arguments
from peephole.match import People, Rule, match
from peephole.visits import Sighting, Visits
from protocol import RULES, Told, add_options, read_faces, read_household

FRAMES = 3
STEPS = (-0.04, -0.02, 0.0, 0.02, 0.04)
"""Added to the rule's threshold."""


@dataclass
class Errors:
    """Of so many trials."""

    trials: int = 0
    errors: int = 0

    def add(self, wrong: bool) -> None:
        """Count one more."""
        self.trials += 1
        self.errors += wrong

    @property
    def share(self) -> float:
        """Errors by trials."""
        return self.errors / max(self.trials, 1)

    def __str__(self) -> str:
        return f"{self.errors:4d} of {self.trials} ({self.share:.3%})"


def closing_names(faces: Sequence[Told], people: People, rule: Rule) -> tuple[str, ...]:
    """The names of a visit of these frames when it closes."""
    tracker = Visits(people, rule)
    for time, face in enumerate(faces):
        (alone,) = match(face.embedding[None], people, rule)
        tracker.update([Sighting("door", time, str(time), face.box, face.embedding, 1.0, alone)], time)
    (event,) = tracker.close()
    return event.visit.names


def threes(faces: Sequence[Told], rng: np.random.Generator) -> list[list[Told]]:
    """As many visits as the pictures make, in random order."""
    order = rng.permutation(len(faces))
    return [[faces[i] for i in order[k : k + FRAMES]] for k in range(0, len(order) - FRAMES + 1, FRAMES)]


def count(
    visits: Sequence[tuple[str | None, Sequence[Told]]], people: People, rule: Rule, total: dict[str, Errors]
) -> None:
    """Add up the errors of visits, each with whose it is (None: a stranger's), by themselves and frame by frame."""
    known = set(people.persons)
    for person, faces in visits:
        kind = "stranger" if person is None else "family"
        named = known.intersection(closing_names(faces, people, rule))
        total[f"{kind} visit"].add(named != ({person} if person else set()))
        for each in match(np.stack([face.embedding for face in faces]), people, rule):
            alone = known.intersection([each.name])
            total[f"{kind} frame"].add(alone != ({person} if person else set()))


def main() -> None:
    parser = arguments(__doc__)
    add_options(parser)
    parser.add_argument("--orders", type=int, default=10)
    options: argparse.Namespace = parser.parse_args()
    faces = read_faces(options, "household", "lfw")
    household = read_household(options, faces)
    others: dict[str, list[Told]] = {}
    for path, face in sorted(faces.items()):
        person = path.split("/")[1]
        if face is not None and person not in household.gallery:
            others.setdefault(person, []).append(face)

    report = Report()
    own = RULES[options.recognizer]
    rng = np.random.default_rng(0)
    alien = [
        (None, visit)
        for _ in range(options.orders)
        for person in sorted(others)
        for visit in threes(others[person], rng)
    ]
    probes = {name: [face for face in found if face is not None] for name, found in household.probes.items()}
    print(f"{len(alien) // options.orders} visits of strangers; {household.missing} pictures without a face left out")
    table = []
    for step in STEPS:
        rule = replace(own, threshold=own.threshold + step)
        total = {f"{kind} {unit}": Errors() for kind in ("family", "stranger") for unit in ("frame", "visit")}
        for family in household.families():
            at_home = [
                (name, visit)
                for _ in range(options.orders)
                for name in family.persons
                for visit in threes(probes.get(name, []), rng)
            ]
            count([*at_home, *alien], family, rule, total)
        table.append({"threshold": rule.threshold} | {what: vars(each) for what, each in total.items()})
        print(f"threshold {rule.threshold:.2f}{' (the rule)' if not step else ''}")
        for kind in ("family", "stranger"):
            error = "not named rightly" if kind == "family" else "named"
            print(f"  {kind} {error}: frames {total[f'{kind} frame']}, visits {total[f'{kind} visit']}")
        if not step:
            for kind in ("family", "stranger"):
                frame, visit = total[f"{kind} frame"], total[f"{kind} visit"]
                report.verdict(f"{kind}: errors of visits", 100 * visit.share, 100 * frame.share, unit=" %")
    report.end(options.json, recognizer=options.recognizer, table=table)


if __name__ == "__main__":
    sys.exit(main())
