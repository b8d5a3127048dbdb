"""A drawn face, for checks on a machine that has no photograph at hand."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .frame import Pixels

SIDE = 480
BOX = (154.0, 154.0, 326.0, 326.0)
"""Where a detector should draw the face's box, within a few pixels."""


def drawn_face() -> Pixels:
    """A plain portrait, (480, 480, 3) uint8 RGB: the CNN detectors take it for a face with confidence."""
    image = Image.new("RGB", (SIDE, SIDE), (150, 160, 170))
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)

    ellipse(240, 215, 105, 135, (60, 42, 32))  # hair
    draw.rectangle((205, 320, 275, 420), fill=(190, 145, 120))  # neck
    ellipse(240, 470, 160, 80, (60, 70, 110))  # shoulders
    ellipse(240, 240, 85, 118, (215, 170, 145))  # face
    for x in (203, 277):
        ellipse(x, 215, 20, 9, (235, 230, 225))  # eye
        ellipse(x, 215, 9, 9, (60, 40, 30))
        ellipse(x, 195, 24, 5, (70, 50, 40))  # brow
    draw.polygon([(240, 205), (228, 258), (252, 258)], fill=(205, 160, 135))  # nose
    ellipse(240, 262, 14, 8, (190, 140, 115))
    for x in (233, 247):
        ellipse(x, 266, 4, 3, (120, 70, 60))
    ellipse(240, 300, 32, 10, (160, 70, 70))  # mouth
    draw.line((210, 300, 270, 300), fill=(110, 40, 40), width=3)
    return np.array(image.filter(ImageFilter.GaussianBlur(2.5)))
