"""Chips from the native frame against chips from the 720-pixel frame: who is still known at 60 to 120 native pixels?

    python benchmarks/crops.py EVAL [--detector NAME --recognizer NAME] [--json FILE]

The probes and strangers of EVAL/household are pasted into frames of 1536x1536, each so that its face's box is of a
wanted size, as many side by side as have room. Faces are looked for at 720 pixels both times: once on the frame itself,
whose own pixels then make the chips, and once on a copy of the frame that was shrunk to 720 pixels first. The families'
photos are enrolled as they are. A face that is not found is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import Report
from peephole.match import People, Rule, match
from peephole.pipeline import Pipeline, Scale
from protocol import Looked, by_family, check_evaluation, looking_arguments, open_pipeline, people_of, read_protocol

FRAME, SHRUNK = 1536, 720
SIZES = (60, 80, 100, 120)
GROUND = 96


@dataclass(frozen=True, slots=True)
class Tile:
    """A photo on a frame: where the middle of its face is."""

    picture: Path
    centre: tuple[float, float]


def compose(faces: dict[Path, tuple[float, float, float, float]], size: float) -> Iterator[tuple[Any, list[Tile]]]:
    """Frames, (FRAME, FRAME, 3) uint8 RGB, and what is on them, row by row."""
    canvas, tiles, x, y, deepest = Image.new("RGB", (FRAME, FRAME), (GROUND,) * 3), [], 0, 0, 0
    for picture, (left, top, right, bottom) in faces.items():
        with Image.open(picture) as opened:
            photo = opened.convert("RGB")
        scale = size / ((right - left) * (bottom - top)) ** 0.5
        width, height = round(photo.width * scale), round(photo.height * scale)
        if x + width > FRAME:
            x, y, deepest = 0, y + deepest, 0
        if y + height > FRAME:
            yield np.array(canvas), tiles
            canvas, tiles, x, y, deepest = Image.new("RGB", (FRAME, FRAME), (GROUND,) * 3), [], 0, 0, 0
        canvas.paste(photo.resize((width, height), Image.Resampling.LANCZOS), (x, y))
        tiles.append(Tile(picture, (x + scale * (left + right) / 2, y + scale * (top + bottom) / 2)))
        x, deepest = x + width, max(deepest, height)
    if tiles:
        yield np.array(canvas), tiles


def embed(pipeline: Pipeline, frame: Any, tiles: list[Tile], size: float) -> dict[Path, NDArray[np.float32]]:
    """The vector of each face that is found in its place; ``size`` and places in native pixels."""
    analysis = pipeline.analyse(frame, scale=Scale(max_side=SHRUNK), embed=True)
    zoom = FRAME / analysis.width
    boxes = analysis.faces.boxes * zoom
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = {}
    for tile in tiles:
        distance = np.hypot(*(centres - tile.centre).T) if len(centres) else np.array([np.inf])
        if distance.min() < size / 3 and analysis.faces.embeddings is not None:
            found[tile.picture] = analysis.faces.embeddings[int(distance.argmin())]
    return found


def score(
    vectors: dict[Path, NDArray[np.float32]],
    roles: dict[str, dict[str, list[Path]]],
    families: list[People],
    rule: Rule,
) -> tuple[dict[str, float], dict[Path, float]]:
    """Shares at the recognizer's own rule, and each probe's score with the right person; 0 where no face was found."""
    right, named, own = 0, 0, {}
    strangers = [picture for pictures in roles["stranger"].values() for picture in pictures]
    outside = np.stack([vectors[picture] for picture in strangers if picture in vectors])
    for people in families:
        named += sum(found.decided == "named" for found in match(outside, people, rule))
        for column, person in enumerate(people.persons):
            for picture in roles["probe"].get(person, []):
                face = vectors.get(picture)
                own[picture] = 0.0
                if face is not None:
                    right += match(face[None], people, rule)[0].name == person
                    own[picture] = float(people.scores(face[None], rule.similarity)[0, column])
    figures = {
        "family_named_rightly": right / len(own),
        "strangers_named": named / (len(strangers) * len(families)),
        "faces_found": len(vectors),
        "median_score": float(np.median(list(own.values()))),
    }
    return figures, own


def main() -> None:
    options = looking_arguments(__doc__).parse_args()
    check_evaluation(options.evaluation, "household")
    pipeline = open_pipeline(options)
    rule, roles, report = pipeline.recognizer.rule, read_protocol(options.evaluation / "household"), Report()
    pictures = {role: [each for many in people.values() for each in many] for role, people in roles.items()}
    looked = Looked(pipeline, [each for many in pictures.values() for each in many])
    found = {picture: face for picture in looked.found if (face := looked.face(picture)) is not None}
    families = [
        people_of(
            (person, found[picture].embedding)
            for person in family
            for picture in roles["gallery"][person]
            if picture in found
        )
        for family in by_family(roles["gallery"])
    ]
    boxes = {picture: found[picture].box for picture in pictures["probe"] + pictures["stranger"] if picture in found}
    results: dict[int, Any] = {}
    known: dict[str, list[float]] = {"native": [], "shrunk": []}
    for size in SIZES:
        native: dict[Path, NDArray[np.float32]] = {}
        shrunk: dict[Path, NDArray[np.float32]] = {}
        for frame, tiles in compose(boxes, size):
            native |= embed(pipeline, frame, tiles, size)
            small = Image.fromarray(frame).resize((SHRUNK, SHRUNK), Image.Resampling.LANCZOS)
            shrunk |= embed(pipeline, np.array(small), tiles, size)
        scores = {}
        results[size] = {}
        for which, vectors in (("native", native), ("shrunk", shrunk)):
            figures, scores[which] = score(vectors, roles, families, rule)
            results[size][which] = figures
            known[which].append(figures["family_named_rightly"])
            shown = json.dumps({key: round(value, 4) for key, value in figures.items()})
            print(f"{size:4d} px  {which:7s} {shown}", flush=True)
        better = [scores["native"][picture] > scores["shrunk"][picture] for picture in scores["native"]]
        results[size]["better"] = float(np.mean(better))
        report.verdict(
            f"{size} px, probes whose score is better by native chips", float(np.mean(better)), 0.5, least=True
        )
    gain = float(np.mean(known["native"]) - np.mean(known["shrunk"]))
    report.verdict("family named rightly over all sizes, native more than shrunk", gain, 0.0, least=True)
    report.end(options.json, sizes=results)


if __name__ == "__main__":
    main()
