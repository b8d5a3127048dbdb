"""Analyses without a model: faces whose vectors lie on a circle, so that a score is the cosine of an angle."""

from dataclasses import dataclass, replace

import numpy as np

from peephole.detectors.mmod import PROFILE
from peephole.faces import Faces
from peephole.frame import Frame
from peephole.match import People, Rule
from peephole.pipeline import Analysis, Memory, decide
from peephole.planner import plan
from peephole.quality import Quality

MODEL = "ab" * 32
RULE = Rule("cosine", 0.5, margin=0.1, impostors=((0.0, 0.1), (0.5, 1e-4), (0.9, 1e-6)))
CLEAR = Quality(size=100.0, sharpness=0.35, yaw=3.0, pitch=-2.0, roll=1.0, brightness=0.5, contrast=0.2, colour=0.2)
BLURRED = replace(CLEAR, sharpness=0.02)
NOBODY = People((), np.zeros((0, 2), np.float32), model=MODEL)


@dataclass(frozen=True)
class Circle:
    """A recognizer whose vectors lie on a circle: what is asked of one that has looked already."""

    name: str = "circle"
    model_id: str = MODEL
    similarity: str = "cosine"
    rule: Rule = RULE


def at(*degrees):
    """Vectors on the unit circle, (n, 2)."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1).astype(np.float32)


def family(**angles):
    """People by their photos' angles."""
    names = [name for name, all_ in angles.items() for _ in all_]
    return People(tuple(names), at(*[angle for all_ in angles.values() for angle in all_]), model=MODEL)


def frame(seed=0):
    """320x240 of noise, unlike any other number's."""
    return Frame(np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8), f"{seed}.jpg")


def analysis(*degrees, people=NOBODY, qualities=None, rule=RULE, threshold=None, seed=0, min_face=None, room=None):
    """A frame's analysis with a face at each angle, from left to right, 60 pixels wide."""
    n = len(degrees)
    boxes = np.array([(10.0 + 70 * i, 60.0, 70.0 + 70 * i, 130.0) for i in range(n)]).reshape(-1, 4)
    inside = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * (60, 70)
    faces = Faces(
        boxes,
        np.linspace(0.9, 0.8, n),
        boxes[:, None, :2] + inside,
        at(*degrees),
        qualities=tuple(qualities or [CLEAR] * n),
        kind="arcface",
    )
    planned = plan((320, 240), PROFILE, min_face=min_face, room=room)
    return Analysis(
        source=f"{seed}.jpg",
        width=320,
        height=240,
        faces=decide(faces, people, rule, threshold),
        plan=planned,
        memory=Memory(256_000_000, 150_000_000, 120_000_000),
        timings_ms={},
        models={},
    )
