"""Annotated copies of frames."""

from __future__ import annotations

import os

from PIL import Image, ImageDraw, ImageFont

from .faces import RESERVED, Face, Faces
from .frame import Frame
from .geometry import round_boxes

KNOWN_COLOUR = (40, 200, 80)
UNKNOWN_COLOUR = (240, 150, 20)
FACE_COLOUR = (60, 150, 250)


def annotate(frame: Frame, faces: Faces) -> Image.Image:
    """A copy of the frame with each face's box and, above it, its name or confidence."""
    image = Image.fromarray(frame.pixels)
    draw = ImageDraw.Draw(image)
    unit = max(1, round(max(frame.size) / 500))
    font = ImageFont.load_default(size=max(10, 8 * unit))
    to_pixels = frame.to_native.inverse()  # a frame may have been decoded smaller than the snapshot is
    boxes = round_boxes(to_pixels.boxes(faces.boxes)).tolist()
    for face, (left, top, right, bottom) in zip(faces, boxes, strict=True):
        colour, text = _style(face)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=unit)
        if face.landmarks is not None:
            for x, y in to_pixels.points(face.landmarks):
                draw.ellipse((x - unit, y - unit, x + unit, y + unit), fill=colour)
        _, _, width, height = draw.textbbox((0, 0), text, font=font)
        x = min(max(left, 0), max(0, frame.width - width - 2 * unit))
        y = top - height - 2 * unit if top >= height + 2 * unit else min(bottom, frame.height - height - 2 * unit)
        draw.rectangle((x, y, x + width + 2 * unit, y + height + 2 * unit), fill=colour)
        draw.text((x + unit, y), text, fill=(0, 0, 0), font=font)
    return image


def write(frame: Frame, faces: Faces, target: str | os.PathLike[str]) -> str | None:
    """Write the annotated copy as a JPEG; returns the reason why that cannot be done, or None."""
    try:
        annotate(frame, faces).save(target, "JPEG", quality=90)
    except (OSError, ValueError, MemoryError) as error:  # ValueError: more pixels a side than a JPEG can have
        return str(error) or "not enough memory"
    return None


def _style(face: Face) -> tuple[tuple[int, int, int], str]:
    if face.match is None:
        return FACE_COLOUR, f"{face.confidence:.2f}"
    colour = UNKNOWN_COLOUR if face.match.name in RESERVED else KNOWN_COLOUR
    return colour, face.match.name if face.score is None else f"{face.match.name} {face.score:.2f}"
