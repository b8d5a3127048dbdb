"""From what size and sharpness on is a face known? The limits of `peephole.quality`.

    python benchmarks/unclear.py EVAL [--detector NAME --recognizer NAME] [--json FILE]

Every fourth probe of EVAL/household, as it is, blurred by so many pixels, and shrunk so that its face's box has so
many, against the gallery photos of all 40 people. Landmarks and boxes are those that were found on the picture as it
is, so that only the recognizer is asked. Known: named rightly by the recognizer's rule, unclear or not. The last column
is the share that is unclear by the limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from common import Report
from peephole.align import cut_chips, matched
from peephole.faces import Faces
from peephole.frame import read
from peephole.match import match
from peephole.quality import assess, eyes, reason
from protocol import Looked, check_evaluation, looking_arguments, open_pipeline, people_of, read_protocol

EVERY = 4
BLURS = (1, 2, 3, 4, 5, 6, 8)
SIDES = (60, 48, 40, 32, 28, 24, 20, 16, 12)


def main() -> None:
    options = looking_arguments(__doc__).parse_args()
    check_evaluation(options.evaluation, "household")
    pipeline, report = open_pipeline(options), Report()
    recognizer = pipeline.recognizer
    roles = read_protocol(options.evaluation / "household")
    probes = [(picture, person) for person, pictures in roles["probe"].items() for picture in pictures][::EVERY]
    gallery = [(picture, person) for person, pictures in roles["gallery"].items() for picture in pictures]
    looked = Looked(pipeline, [picture for picture, _ in probes + gallery])
    people = people_of(
        (person, face.embedding) for picture, person in gallery if (face := looked.face(picture)) is not None
    )
    kind = recognizer.landmarks if pipeline.detector.landmarks == recognizer.landmarks else "dlib"

    def tried(change: Callable[[Any, float], Any]) -> dict[str, float]:
        """Shares over all probes, changed, given the side of each one's face."""
        known, unclear, sharpness = [], [], []
        for picture, person in probes:
            face = looked.face(picture)
            if face is None or face.landmarks is None:
                continue
            frame = read(picture)
            box = np.array([face.box])
            side = float(np.sqrt((box[0, 2] - box[0, 0]) * (box[0, 3] - box[0, 1])))
            image = change(Image.fromarray(frame.pixels), side)
            zoom = image.width / frame.size[0]
            faces = Faces(box * zoom, np.ones(1), face.landmarks[None] * zoom)
            points, template = matched(faces, kind, recognizer.landmarks, recognizer.template)
            chips = cut_chips(replace(frame, pixels=np.array(image)), points, template, recognizer.side)
            on_chip = eyes(recognizer.template, recognizer.landmarks)
            (quality,) = assess(chips, on_chip, face.landmarks[None] * zoom, kind, faces.boxes, np.ones(1, bool))
            (found,) = match(recognizer.embed(chips), people, recognizer.rule)
            known.append(found.name == person)
            unclear.append(reason(quality) is not None)
            sharpness.append(quality.sharpness)
        return {
            "known": float(np.mean(known)),
            "sharpness": float(np.median(sharpness)),
            "unclear": float(np.mean(unclear)),
        }

    def blurred(pixels: int) -> Callable[[Any, float], Any]:
        return lambda image, side: image.filter(ImageFilter.GaussianBlur(pixels))  # noqa: ARG005

    def shrunk(pixels: int) -> Callable[[Any, float], Any]:
        def change(image: Any, side: float) -> Any:
            size = round(image.width * pixels / side), round(image.height * pixels / side)
            return image.resize(size, Image.Resampling.LANCZOS)

        return change

    changes = {"as it is": blurred(0)}
    changes |= {f"blurred by {pixels} px": blurred(pixels) for pixels in BLURS}
    changes |= {f"{pixels} px large": shrunk(pixels) for pixels in SIDES}
    rows = {}
    for name, change in changes.items():
        rows[name] = tried(change)
        print(f"{name:18s} {json.dumps({key: round(value, 3) for key, value in rows[name].items()})}", flush=True)
    report.verdict("unclear as they are", rows["as it is"]["unclear"], 0.01)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
