"""How much of a face can be seen: its size, sharpness, pose and light. Pure.

Names given to faces that show too little are guesses. What is measured here decides which faces are not guessed at,
says why, and which photos are worth more than others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .geometry import Boxes, Points

Kind = Literal["dlib", "arcface"]
"""Which landmarks: see `peephole.align.Kind`."""
SIDE = 64
"""Side of the window on the chip that is looked at, in pixels; the eyes are half of it apart."""
# Of portraits made small or blurred SFace still knew 99 % at 24 pixels and 70 % at 16, and 60 % at a sharpness of 0.05,
# which is a blur of 4 pixels on a face of 107 (benchmarks/unclear.py). Of 1,318 portraits as they are 2 are unclear.
SMALLEST = 24.0
"""Geometric mean of the box's sides in native pixels."""
BLURRED = 0.045
TURNED = 60.0
"""Degrees to the side; one eye is hardly seen then."""
FLAT = 0.03
"""Standard deviation of the luminance, 0 to 1: nothing but noise is left below."""
GREY = 0.02
GRAIN_SIDE = 56
"""Side, in pixels, at which a chip's noise is measured."""
MASK = 6.0
"""What Immerkaer's mask of 1, -2 and 4 makes of the standard deviation of white noise."""
NORMAL = 0.6745
"""Median of the absolute values of a normal distribution, in standard deviations."""
GRAINY = 0.012
"""Grain from which a face is taken for noisy: sharp portraits by day have less, save for scans of old film."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What one face shows.

    Attributes:
        size: the geometric mean of the box's sides, in native pixels.
        sharpness: how much of the contrast is in fine detail, from 0; about 0.2 and more on a sharp face, less on a
            blurred or an enlarged one. See `sharpness`.
        yaw: how far the face is turned to the side, in degrees; positive: to the right of the picture.
        pitch: how far up it looks, in degrees; a rough guess, since noses differ.
        roll: how far it leans, in degrees, -180 to 180; positive: clockwise. 180: upside down.
        brightness: mean of the luminance, 0 to 1.
        contrast: standard deviation of the luminance, 0 to 1.
        colour: mean difference between the strongest and the weakest channel, 0 to 1; near 0 on grey and infrared
            pictures.
        grain: standard deviation of the noise at the scale of the face, 0 to 1; see `grain`.
        oriented: whether it is known which way up the face stands; see `peephole.upright`.
    """

    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    brightness: float
    contrast: float
    colour: float
    grain: float = 0.0
    oriented: bool = True

    @property
    def grey(self) -> bool:
        """Whether the picture has no colour: by infrared light, or black and white."""
        return self.colour < GREY


def reason(quality: Quality) -> str | None:
    """Why a face is unclear, in words, or None for one that is clear enough to be told."""
    if not quality.oriented:
        return "not upright: no turn of it is clearly the right one"
    if quality.size < SMALLEST:
        return f"too small: {quality.size:.0f} px, at least {SMALLEST:.0f} are needed"
    if quality.contrast < FLAT:
        return f"too little contrast: {quality.contrast:.3f}, at least {FLAT:g} is needed"
    if abs(quality.yaw) > TURNED:
        return f"turned too far: {abs(quality.yaw):.0f} degrees, at most {TURNED:.0f} can be told"
    if quality.sharpness < BLURRED:
        return f"too blurred: sharpness {quality.sharpness:.2f}, at least {BLURRED:g} is needed"
    return None


def assess(
    chips: NDArray[np.uint8],
    eyes_on_chip: Points,
    landmarks: NDArray[np.float64],
    kind: Kind,
    boxes: Boxes,
    oriented: NDArray[np.bool_],
) -> tuple[Quality, ...]:
    """The quality of each face.

    Args:
        chips: aligned, (n, side, side, 3) uint8 RGB.
        eyes_on_chip: where the eyes lie on them, (2, 2), the one on the picture's left first: see `eyes`.
        landmarks: (n, 5, 2) native pixels.
        kind: which landmarks they are.
        boxes: (n, 4) native pixels.
        oriented: (n,) whether it is known which way up each stands.
    """
    found = []
    for chip, points, (left, top, right, bottom), up in zip(
        chips, landmarks, boxes.tolist(), oriented.tolist(), strict=True
    ):
        face = _window(chip, eyes_on_chip)
        grey = luminance(face)
        yaw, pitch, roll = pose(points, kind)
        found.append(
            Quality(
                size=math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0)),
                sharpness=sharpness(grey),
                yaw=yaw,
                pitch=pitch,
                roll=roll,
                brightness=float(grey.mean()),
                contrast=float(grey.std()),
                colour=float((face.max(-1) - face.min(-1)).mean()) / 255.0,
                grain=grain(chip),
                oriented=up,
            )
        )
    return tuple(found)


def eyes(landmarks: Points, kind: Kind) -> Points:
    """The middles of both eyes, (2, 2), the one on the picture's left first, from five landmarks, (5, 2)."""
    if kind == "arcface":
        return landmarks[:2]
    return np.stack([landmarks[2:4].mean(0), landmarks[:2].mean(0)])


def _window(chip: NDArray[np.uint8], eyes_on_chip: Points) -> NDArray[np.float32]:
    """The face without its surroundings: (SIDE, SIDE, 3), from above the eyes to the chin, of the same scale always."""
    (x, y), apart = eyes_on_chip.mean(0), math.dist(*eyes_on_chip)
    box = (x - apart, y - 0.4 * apart, x + apart, y + 1.6 * apart)
    box = tuple(float(np.clip(edge, 0, chip.shape[0])) for edge in box)  # type: ignore[assignment]
    small = Image.fromarray(chip).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(small, np.float32)


def luminance(face: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rec. 601 luma, 0 to 1, of (h, w, 3) RGB, 0 to 255."""
    weights = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    return face @ weights


def sharpness(grey: NDArray[np.float32]) -> float:
    """The standard deviation of the Laplacian by that of the picture, (h, w), so that light and contrast don't count.

    A focus measure (J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000, takes the
    Laplacian's variance), on a picture smoothed with (1 2 1) both ways, which takes off most of a sensor's noise.
    """
    contrast = float(grey.std())
    if contrast < 1e-3:
        return 0.0
    smooth = (grey[:-2] + 2 * grey[1:-1] + grey[2:]) / 4
    smooth = (smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]) / 4
    inner = smooth[1:-1, 1:-1]
    laplacian = smooth[:-2, 1:-1] + smooth[2:, 1:-1] + smooth[1:-1, :-2] + smooth[1:-1, 2:] - 4 * inner
    return float(laplacian.std()) / contrast


def grain(chip: NDArray[np.uint8]) -> float:
    """The noise on a chip, (side, side, 3) RGB: its standard deviation as a share of full scale.

    It is that of the luminance at `GRAIN_SIDE`, about a face's half size: what blocks of JPEG and resampling have
    smoothed away at the chip's own size is still seen there, and features of a face are not yet. By the difference of
    two Laplacians, which passes over edges (J. Immerkaer, "Fast noise variance estimation", 1996), and the median
    absolute deviation (F. R. Hampel, "The influence curve and its role in robust estimation", 1974), which passes over
    what is left of them. Of white noise on a chip of 112 pixels it is the half.

    >>> flat = np.full((112, 112, 3), 128, np.uint8)
    >>> grain(flat)
    0.0
    """
    small = Image.fromarray(chip).resize((GRAIN_SIDE, GRAIN_SIDE), Image.Resampling.BOX)
    grey = luminance(np.asarray(small, np.float32))
    across = grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]
    mask = across[2:] - 2 * across[1:-1] + across[:-2]
    return float(np.median(np.abs(mask))) / (MASK * NORMAL)


@dataclass(frozen=True, slots=True)
class _Head:
    """Where the nose and the mouth are on a mean head, in halves of the eyes' distance, from the middle of the eyes.

    Attributes:
        nose: how far below, and how far in front.
        mouth: likewise, or None where no landmark is on it.
    """

    nose: tuple[float, float]
    mouth: tuple[float, float] | None


HEADS: dict[Kind, _Head] = {
    "arcface": _Head(nose=(1.30, 0.9), mouth=(2.31, 0.35)),
    "dlib": _Head(nose=(1.44, 0.6), mouth=None),
}


def pose(landmarks: Points, kind: Kind) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, from five landmarks, (5, 2); see `Quality`.

    The eyes' line gives the roll. Along it the nose, which stands out from the head, moves with the yaw; across it,
    with the pitch, against the mouth where there is one and else against its own place on the mean head.
    """
    left, right = eyes(landmarks, kind)
    middle, axis = (left + right) / 2, (right - left) / 2
    half = max(float(np.hypot(*axis)), 1e-6)
    along = axis / half if half > 1e-6 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    head = HEADS[kind]
    nose = landmarks[2 if kind == "arcface" else 4] - middle
    (down, front) = head.nose
    yaw = math.atan2(float(nose @ along) / half, front)
    if head.mouth is not None:
        mouth = landmarks[3:].mean(0) - middle
        ratio = float(nose @ across) / max(float(mouth @ across), 1e-6)
        low, out = head.mouth
        # nose and mouth at down·cos - front·sin: their ratio is that of the landmarks
        pitch = math.atan2(down - ratio * low, front - ratio * out)
    else:
        length = math.hypot(down, front)
        seen = float(nose @ across) / half * math.cos(yaw)
        pitch = math.acos(min(max(seen / length, -1.0), 1.0)) - math.atan2(front, down)
    roll = math.atan2(float(along[1]), float(along[0]))
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
