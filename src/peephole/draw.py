"""Annotated copies of frames."""

from __future__ import annotations

import os

from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from .faces import RESERVED, Face, Faces
from .frame import Frame
from .geometry import round_boxes

Colour = tuple[int, int, int]

KNOWN_COLOUR: Colour = (40, 200, 80)
UNKNOWN_COLOUR: Colour = (240, 150, 20)
FACE_COLOUR: Colour = (60, 150, 250)


def annotate(frame: Frame, faces: Faces) -> Image.Image:
    """A copy of the frame with each face's box and, above it, its name or confidence."""
    frame = frame.turned(-frame.turn % 360)  # as the snapshot is, however it was looked at
    image = Image.fromarray(frame.pixels)
    to_pixels = frame.to_native.inverse()  # a frame may have been decoded smaller than the snapshot is
    draw, unit = ImageDraw.Draw(image), _unit(image)
    for face, box in zip(faces, to_pixels.boxes(faces.boxes), strict=True):
        colour, text = _style(face)
        if face.landmarks is not None:
            for x, y in to_pixels.points(face.landmarks):
                draw.ellipse((x - unit, y - unit, x + unit, y + unit), fill=colour)
        mark(image, box, text, colour)
    return image


def mark(
    image: Image.Image, box: ArrayLike, text: str, colour: Colour, *, width: int | None = None, below: bool = False
) -> None:
    """Draw a box on a picture, and its label above it; on the other side of it where there is no room.

    Args:
        image: drawn on.
        box: left, top, right and bottom, in its pixels.
        text: the label; empty for none.
        colour: of both.
        width: of the line, in pixels; by default what suits the picture.
        below: the label goes below the box.
    """
    draw, unit = ImageDraw.Draw(image), _unit(image)
    left, top, right, bottom = round_boxes(box)[0].tolist()
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width or unit)
    if not text:
        return
    font = ImageFont.load_default(size=max(10, 8 * unit))
    _, _, across, down = draw.textbbox((0, 0), text, font=font)
    across, down = across + 2 * unit, down + 2 * unit
    x = min(max(left, 0), max(0, image.width - across))
    if below:
        y = bottom if bottom + down <= image.height else max(0, top - down)
    else:
        y = top - down if top >= down else min(bottom, image.height - down)
    draw.rectangle((x, y, x + across, y + down), fill=colour)
    draw.text((x + unit, y), text, fill=(0, 0, 0), font=font)


def _unit(image: Image.Image) -> int:
    """Pixels of a line that can be seen on the whole picture."""
    return max(1, round(max(image.size) / 500))


def write(frame: Frame, faces: Faces, target: str | os.PathLike[str]) -> str | None:
    """Write the annotated copy as a JPEG; returns the reason why that cannot be done, or None."""
    try:
        annotate(frame, faces).save(target, "JPEG", quality=90)
    except (OSError, ValueError, MemoryError) as error:  # ValueError: more pixels a side than a JPEG can have
        return str(error) or "not enough memory"
    return None


def _style(face: Face) -> tuple[Colour, str]:
    if face.match is None:
        return FACE_COLOUR, f"{face.confidence:.2f}"
    colour = UNKNOWN_COLOUR if face.match.name in RESERVED else KNOWN_COLOUR
    return colour, face.match.name if face.score is None else f"{face.match.name} {face.score:.2f}"
