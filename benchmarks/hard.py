"""People as a door really sees them: by infrared light, in the dark, in motion, far away; single frames and visits.

    python benchmarks/hard.py EVAL [--kinds ir dark blur px40 px28] [--no-visits] [--json FILE]

EVAL/make_hard.py degrades the probes and the strangers of EVAL/household and leaves the gallery's photos as they are.
Each set is looked at by default settings. The vectors are scored with EVAL/score_identity.py; the names are those that
`peephole label --people DIR` gives, with the photos' colourless twins. Then visits of `FRAMES` frames: by infrared
light the same picture with as many seeds of grain; from afar, where a seed changes nothing, as many pictures of one
person, and of a stranger the one there is. Every visit goes through the tracker that the product uses, and counts by
the names that it has when it closes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import Report
from household import Tally
from peephole.faces import Face
from peephole.match import People
from peephole.pipeline import Pipeline
from peephole.pipeline import decide as named
from peephole.visits import Sighting, Visits, weight
from protocol import by_family, check_evaluation, looking_arguments, nearest_middle, open_pipeline, read_protocol

NAMED = {"ir": 0.96, "dark": 0.985, "blur": 0.98, "px40": 0.98, "px28": 0.90}
"""Least share of the family named rightly while 1 stranger in 1,000 is named."""
STRANGERS = 1e-3
VISITS = {"ir": 0.99, "px28": 0.97}
FRAMES = 5
KNOWN = "named_right_at_0.001_strangers_named"

Faces = dict[Path, Face | None]
"""By picture, the face nearest to its middle."""


def look(pipeline: Pipeline, folder: Path, pictures: Iterable[Path], lines: Path, *, twins: bool = False) -> Faces:
    """The faces of pictures; what `peephole embed --jsonl` would print of them is added to a file."""
    found: Faces = {}
    with lines.open("a") as out:
        for picture in pictures:
            analysis = pipeline.analyse(picture, twins=twins, embed=True)
            out.write(json.dumps(analysis.to_dict()) + "\n")
            found[picture.relative_to(folder)] = nearest_middle(analysis.faces, analysis.width, analysis.height)
    return found


def make(evaluation: Path, kind: str, seed: int, folder: Path) -> Path:
    """One degraded household; without a kind the one there is."""
    if not kind:
        return evaluation / "household"
    made = folder / f"{kind}-{seed}"
    command = [sys.executable, evaluation / "make_hard.py", "household", kind, evaluation / "household", made]
    subprocess.run([*command, "--seed", str(seed)], check=True)
    return made


def score(evaluation: Path, folder: Path, lines: Path) -> float:
    """What the folder's own scorer says of the vectors."""
    command = [sys.executable, evaluation / "score_identity.py", "household", folder / "protocol.tsv", lines]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(json.dumps(said))
    return float(said[KNOWN])


def family_people(family: list[str], gallery: dict[str, list[Path]], faces: Faces, folder: Path) -> People:
    """A family by its photos, with their twins."""
    rows = [
        (person, face.embedding, face.twin)
        for person in family
        for picture in gallery[person]
        if (face := faces[picture.relative_to(folder)]) is not None
    ]
    names, vectors, twins = zip(*rows, strict=True)
    return People(names, np.stack(vectors), twins=np.stack(twins))


def alone(face: Face | None, people: People, pipeline: Pipeline) -> str:
    """The name of a face by itself."""
    if face is None:
        return "no face"
    from peephole.faces import Faces as Rows

    one = Rows(
        np.array([face.box]),
        np.array([face.confidence]),
        embeddings=face.embedding[None],
        qualities=(face.quality,),
    )
    return named(one, people, pipeline.recognizer.rule)[0].name or "no face"


def together(faces: Sequence[Face | None], people: People, pipeline: Pipeline) -> str:
    """The name of a visit of these faces when it closes, the first of several."""
    tracker = Visits(people, pipeline.recognizer.rule)
    for time, face in enumerate(faces):
        if face is not None:
            seen = Sighting("door", time, str(time), face.box, face.embedding, weight(face.quality), grey=face.grey)
            tracker.update([seen], time)
    closed = tracker.close()
    known = [name for name in closed[0].visit.names if name in people.persons] if closed else []
    return known[0] if known else "unknown"


def count(roles: dict[str, dict[str, list[Path]]], folder: Path, gallery: Faces, answer: Any) -> dict[str, Any]:
    """What became of every family's faces and of the strangers; ``answer`` gives (name, picture's) pairs a role."""
    tally = Tally()
    for family in by_family(roles["gallery"]):
        people = family_people(family, roles["gallery"], gallery, folder)
        for person in family:
            for name in answer("probe", person, people):
                tally.add_own(name, person)
        for stranger in roles["stranger"]:
            for name in answer("stranger", stranger, people):
                tally.add_stranger(name)
    summary = tally.summary()
    print(json.dumps(summary))
    return summary


def main() -> None:
    parser = looking_arguments(__doc__)
    parser.add_argument("--kinds", nargs="*", default=["", *NAMED], help="'' for the household as it is")
    parser.add_argument("--no-visits", action="store_true")
    options = parser.parse_args()
    check_evaluation(options.evaluation, "household")
    pipeline, report, results = open_pipeline(options), Report(), {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in options.kinds:
            folder = make(options.evaluation, kind, 1, Path(temporary))
            roles, lines = read_protocol(folder), Path(temporary) / f"{kind}.jsonl"
            pictures = {role: [each for found in people.values() for each in found] for role, people in roles.items()}
            gallery = look(pipeline, folder, pictures["gallery"], lines, twins=True)
            seen = [look(pipeline, folder, [*pictures["probe"], *pictures["stranger"]], lines)]
            what = kind or "as it is"
            print(f"\n{what}: {sum(each is None for each in seen[0].values())} pictures without a face")
            share = score(options.evaluation, folder, lines)
            if kind:
                report.verdict(f"{what}, family named rightly at 1 stranger in 1,000", share, NAMED[kind], least=True)

            def by_itself(role: str, person: str, people: People) -> list[str]:
                pictures = roles[role].get(person, ())  # noqa: B023 - called at once
                return [alone(seen[0][each.relative_to(folder)], people, pipeline) for each in pictures]  # noqa: B023

            results[what] = count(roles, folder, gallery, by_itself)
            report.verdict(f"{what}, strangers named by default", results[what]["strangers_named"], STRANGERS)
            if kind not in VISITS or options.no_visits:
                continue
            if kind == "ir":
                for seed in range(2, FRAMES + 1):
                    other = make(options.evaluation, kind, seed, Path(temporary))
                    again = [other / each for each in seen[0]]
                    seen.append(look(pipeline, other, again, Path(temporary) / "unused.jsonl"))

            def as_visit(role: str, person: str, people: People) -> list[str]:
                shown = [each.relative_to(folder) for each in roles[role].get(person, ())]  # noqa: B023
                if len(seen) > 1:  # noqa: B023
                    return [together([frame[each] for frame in seen], people, pipeline) for each in shown]  # noqa: B023
                chunks = [shown[start : start + FRAMES] for start in range(0, len(shown), FRAMES)]
                whole = [each for each in chunks if role == "stranger" or len(each) == FRAMES]
                return [together([seen[0][each] for each in chunk], people, pipeline) for chunk in whole]  # noqa: B023

            visits = results[f"{what}, visits"] = count(roles, folder, gallery, as_visit)
            named_rightly = visits["family_named_rightly"]
            report.verdict(f"{what}, visits: family named rightly", named_rightly, VISITS[kind], least=True)
            report.verdict(f"{what}, visits: strangers named", visits["strangers_named"], STRANGERS)
    report.end(options.json, results=results)


if __name__ == "__main__":
    main()
