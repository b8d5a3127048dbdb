"""``peephole demo``: eight doorbell frames with known faces, composed, labelled and checked."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

from .align import warp
from .draw import annotate
from .errors import PeepholeError
from .faces import UNKNOWN, Face
from .frame import Pixels, read
from .geometry import Boxes, Transform, overlaps, round_boxes
from .people import load_people
from .pipeline import Analysis, Pipeline, Scale
from .report import NOBODY, Table

SIDE = 1536
SCALE = Scale(min_face=56, upsample=1)
"""The smallest face here is 60 px wide, and a detector's box may come out a little narrower than the face."""
MIN_OVERLAP = 0.5
"""A box that overlaps its face's known place by less of their union is misplaced."""
STAGES = ("decode", "plan", "detect", "map", "align", "embed", "match")


@dataclass(frozen=True, slots=True)
class Portrait:
    """A public-domain portrait that a package carries.

    Attributes:
        person: who it is.
        package, file: where it is found.
        centre, width: of the face's square box, in the portrait's pixels, measured by eye.
    """

    person: str
    package: str
    file: str
    centre: tuple[float, float]
    width: float


EILEEN = Portrait("Eileen Collins", "skimage", "data/astronaut.png", (219.0, 118.0), 100.0)
GRACE = Portrait("Grace Hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (272.0, 228.0), 168.0)
ENROLLED = EILEEN


@dataclass(frozen=True, slots=True)
class Visitor:
    """A face on a frame: its box's width and centre in native pixels, its lean in degrees."""

    portrait: Portrait
    width: float
    centre: tuple[float, float]
    lean: float = 0.0

    def placement(self) -> Transform:
        """The portrait's pixels → the frame's."""
        size, angle = self.width / self.portrait.width, math.radians(self.lean)
        a, d = size * math.cos(angle), size * math.sin(angle)
        x, y = self.portrait.centre
        return Transform(a, -d, self.centre[0] - a * x + d * y, d, a, self.centre[1] - d * x - a * y)

    def box(self) -> Boxes:
        """Where the face is, (1, 4): the upright square around its centre."""
        (x, y), half = self.centre, self.width / 2
        return np.array([[x - half, y - half, x + half, y + half]])


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame: who is on it, and the light: brightness, colour, the share that falls from one side, noise."""

    name: str
    visitors: tuple[Visitor, ...]
    light: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    side: float = 0.0
    noise: float = 3.0
    infrared: bool = False


SCENES = (
    Scene("1-noon", (Visitor(EILEEN, 320, (760, 640)),)),
    Scene("2-evening", (Visitor(GRACE, 240, (640, 700), 6),), light=0.7, tint=(1.1, 0.95, 0.8), noise=5),
    Scene("3-together", (Visitor(EILEEN, 170, (500, 720), -8), Visitor(GRACE, 150, (1010, 700), 5)), side=0.3),
    Scene("4-at-the-gate", (Visitor(EILEEN, 90, (820, 560), 4),), light=0.9),
    Scene("5-on-the-street", (Visitor(GRACE, 60, (430, 520)), Visitor(EILEEN, 72, (1120, 540), -5))),
    Scene("6-infrared", (Visitor(EILEEN, 210, (900, 760), 10),), light=0.8, noise=7, infrared=True),
    Scene("7-low-sun", (Visitor(GRACE, 300, (700, 690), -12),), light=1.15, tint=(1.1, 1.0, 0.85), side=0.5),
    Scene("8-leaves", (), light=0.85, noise=5),
)


def run(folder: Path, say: Callable[[str], object]) -> bool:
    """Compose, enrol, label and check; say the table and return whether every answer was right.

    Args:
        folder: gets ``frames/``, ``people/`` and ``labelled/``.
        say: called with each line of the report.

    Raises:
        PeepholeError: the portraits are not installed, or the folder cannot be written.
    """
    try:
        frames, people_folder = _write_pictures(folder)
    except OSError as error:
        raise PeepholeError(f"{folder} cannot be written: {error.strerror or error}") from error
    pipeline = Pipeline()
    people = load_people(people_folder, pipeline)
    for photo, reason in people.problems:
        say(f"{photo}: {reason}")
    table = Table(
        [("frame", -16), ("face", 4), ("name", -14), ("score", 5), ("native box", -22), ("error", 6), ("verdict", -9)]
        + [(stage, 6) for stage in STAGES]
    )
    models = f"{pipeline.detector.profile.name} and {pipeline.recognizer.name}"
    say(f"{len(people)} photos of {ENROLLED.person} enrolled; frames of {SIDE}x{SIDE}; {models}; times in milliseconds")
    say("error: from the centre of the box found to the centre of the face, in native pixels\n")
    say(table.header())
    right = True
    for scene, path in zip(SCENES, frames, strict=True):
        frame = read(path)
        analysis = pipeline.analyse(path, scale=SCALE, people=people)
        for row, good in _judge(scene, analysis):
            right &= good
            say(table.row(row))
        annotate(frame, analysis.faces).save(folder / "labelled" / path.name, quality=90)
    say(f"\nannotated frames: {folder / 'labelled'}")
    say("every face found, named and placed rightly" if right else "SOMETHING IS WRONG: see the verdicts above")
    return right


def _judge(scene: Scene, analysis: Analysis) -> list[tuple[list[str], bool]]:
    """A row of the table for each face that was found or should have been, and whether it is right."""
    times = [f"{analysis.timings_ms.get(stage, 0):.0f}" for stage in STAGES]
    rows: list[tuple[list[str], bool]] = []
    left = list(scene.visitors)
    for number, face in enumerate(analysis, 1):
        overlap = [float(overlaps(np.array([face.box]), visitor.box())[0, 0]) for visitor in left]
        visitor = left.pop(int(np.argmax(overlap))) if overlap and max(overlap) >= MIN_OVERLAP else None
        verdict, error = _verdict(face, visitor)
        box = _whole(face.box)
        name, score = face.name or "", f"{face.score:.2f}"
        rows.append(([scene.name, str(number), name, score, box, error, verdict, *times], verdict == "right"))
    for visitor in left:
        box = _whole(visitor.box())
        rows.append(([scene.name, "-", visitor.portrait.person, "", box, "", "MISSED"], False))
    if not rows:
        rows.append(([scene.name, "0", NOBODY, "", "", "", "right", *times], True))
    return rows


def _whole(box: ArrayLike) -> str:
    return " ".join(str(side) for side in round_boxes(box)[0])


def _verdict(face: Face, visitor: Visitor | None) -> tuple[str, str]:
    if visitor is None:
        return "MISPLACED", ""
    centre = ((face.left + face.right) / 2, (face.top + face.bottom) / 2)
    error = f"{math.dist(centre, visitor.centre):.1f}px"
    wanted = visitor.portrait.person if visitor.portrait is ENROLLED else UNKNOWN
    return ("right" if face.name == wanted else "MISNAMED"), error


def _write_pictures(folder: Path) -> tuple[list[Path], Path]:
    portraits = {portrait.person: pixels(portrait) for portrait in (EILEEN, GRACE)}
    for kind in ("frames", "labelled", f"people/{ENROLLED.person}"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    frames = []
    for number, scene in enumerate(SCENES):
        file = folder / "frames" / f"{scene.name}.jpg"
        Image.fromarray(compose(scene, portraits, seed=number)).save(file, quality=92)
        frames.append(file)
    for number, crop in enumerate(_enrolment(portraits[ENROLLED.person])):
        Image.fromarray(crop).save(folder / "people" / ENROLLED.person / f"{number + 1}.jpg", quality=92)
    return frames, folder / "people"


def pixels(portrait: Portrait) -> Pixels:
    """A portrait's picture.

    Raises:
        PeepholeError: the package that carries it is not installed.
    """
    spec = importlib.util.find_spec(portrait.package)
    if spec is None or not spec.submodule_search_locations:
        raise PeepholeError(f"the demo needs {portrait.package}: pip install 'peephole[demo]'")
    return read(Path(spec.submodule_search_locations[0]) / portrait.file).pixels


def _enrolment(portrait: Pixels) -> list[Pixels]:
    """Three crops that differ from what is on the frames: in size, lean and light."""
    crops = []
    for width, lean, light in ((150.0, 0.0, 1.0), (190.0, 9.0, 0.8), (120.0, -7.0, 1.15)):
        placement = Visitor(ENROLLED, width, (200, 190), lean).placement()
        crops.append(_light(warp(portrait, placement, (400, 400)), light))
    return crops


def compose(scene: Scene, portraits: dict[str, Pixels], *, seed: int) -> Pixels:
    """A scene as a picture, (1536, 1536, 3) uint8 RGB; the same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    picture: NDArray[np.floating[Any]] = _porch(rng).astype(np.float32)
    for visitor in scene.visitors:
        portrait = portraits[visitor.portrait.person]
        placed = warp(portrait, visitor.placement(), (SIDE, SIDE))
        mask = warp(_mask(visitor.portrait, portrait.shape[:2]), visitor.placement(), (SIDE, SIDE))
        share = mask / np.float32(255)
        picture = placed * share + picture * (1 - share)
    picture *= np.array(scene.tint, np.float32)
    picture *= 1 + np.float32(scene.side) * np.linspace(0.6, -0.8, SIDE, dtype=np.float32)[None, :, None]
    if scene.infrared:
        picture = picture @ np.array([0.5, 0.3, 0.2], np.float32)[:, None] * np.ones(3, np.float32)
    noisy = picture * scene.light + rng.normal(0, scene.noise, (SIDE, SIDE, 1))
    clipped: Pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return clipped


def _light(pixels: Pixels, light: float) -> Pixels:
    lit: Pixels = np.clip(pixels * np.float32(light), 0, 255).astype(np.uint8)
    return lit


def _mask(portrait: Portrait, shape: tuple[int, ...]) -> Pixels:
    """Head and shoulders, fading out: white where the portrait covers the scene."""
    (x, y), unit = portrait.centre, portrait.width
    mask = Image.new("RGB", (shape[1], shape[0]))
    draw = ImageDraw.Draw(mask)
    draw.ellipse((x - 0.95 * unit, y - 1.0 * unit, x + 0.95 * unit, y + 1.15 * unit), fill=(255, 255, 255))
    draw.ellipse((x - 1.25 * unit, y + 0.55 * unit, x + 1.25 * unit, y + 3.0 * unit), fill=(255, 255, 255))
    edge = Image.new("RGB", mask.size)  # fade towards the portrait's own border, where the picture ends
    border = int(0.12 * unit)
    edge.paste((255, 255, 255), (border, border, mask.width - border, mask.height - border))
    blur = ImageFilter.GaussianBlur(0.06 * unit)
    both: NDArray[np.uint8] = np.minimum(np.array(mask.filter(blur)), np.array(edge.filter(blur)))
    return both


def _porch(rng: np.random.Generator) -> Pixels:
    """What a doorbell sees when nobody is there: sky, a hedge of leaves, a path, a gate."""
    image = Image.new("RGB", (SIDE, SIDE), (178, 196, 214))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 460, SIDE, SIDE), fill=(104, 112, 86))
    draw.polygon([(560, 460), (976, 460), (1420, SIDE), (116, SIDE)], fill=(150, 144, 136))
    for _ in range(2600):
        x, y, r = rng.uniform(0, SIDE), rng.normal(430, 60), rng.uniform(5, 22)
        shade = rng.uniform(0.6, 1.2)
        draw.ellipse((x - r, y - 0.6 * r, x + r, y + 0.6 * r), fill=tuple(int(c * shade) for c in (72, 104, 58)))
    for x in range(600, 960, 40):
        draw.rectangle((x, 380, x + 10, 560), fill=(70, 62, 58))
    draw.rectangle((590, 390, 960, 404), fill=(70, 62, 58))
    draw.rectangle((0, 0, 120, SIDE), fill=(128, 84, 66))
    for y in range(0, SIDE, 48):
        draw.line((0, y, 120, y), fill=(108, 70, 56), width=4)
    return np.array(image.filter(ImageFilter.GaussianBlur(1.2)))
