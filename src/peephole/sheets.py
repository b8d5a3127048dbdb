"""Contact sheets: rows of small pictures with a title above each row and a caption under each picture. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Row = tuple[str, Sequence[tuple[Pixels, str]]]
"""A title, and pictures, (h, w, 3) uint8 RGB of any size, with a caption each."""

TILE = 112
"""Side of the square that a picture is usually fitted into, in pixels of the sheet."""
GAP = 8
TITLE_SIZE, CAPTION_SIZE = 15, 11
TITLE_HEIGHT, CAPTION_HEIGHT = 22, 15
PAPER, INK, FAINT = (250, 250, 248), (25, 25, 25), (110, 110, 110)
MORE = "\N{HORIZONTAL ELLIPSIS}"
LONGEST = 1000
"""Characters of a text that are looked at: no sheet has room for more."""


def contact_sheet(rows: Sequence[Row], *, columns: int = 8, most_rows: int = 40, tile: int = TILE) -> Image.Image:
    """Draw the rows one under the other, each on one line of at most ``columns`` pictures.

    The sheet is bounded: of a longer row the first ``columns`` pictures are drawn and its title says how many are
    not, of more rows the first ``most_rows``, and a last line says how many are not. No pictures at all give a sheet
    that says so. Letters with accents lose them, and other
    characters that Pillow's own font does not have show as boxes.

    Args:
        rows: a line each.
        columns, most_rows: the bounds.
        tile: side of the square that a picture is fitted into, in pixels of the sheet.

    Returns:
        An RGB image, at most ``columns * (tile + GAP) + GAP`` pixels wide, or room for four tiles of `TILE`.
    """
    titles = ImageFont.load_default(size=TITLE_SIZE)
    captions = ImageFont.load_default(size=CAPTION_SIZE)
    shown, more = rows[:most_rows], len(rows) - most_rows
    across = min(columns, max((len(pictures) for _, pictures in shown), default=0))
    width = max(across * (tile + GAP), 4 * (TILE + GAP)) + GAP  # four: a title needs some room, too
    row_height = TITLE_HEIGHT + tile + CAPTION_HEIGHT + GAP
    last = f"and {more} more" if more > 0 else "" if rows else "no pictures"
    sheet = Image.new("RGB", (width, GAP + len(shown) * row_height + bool(last) * (TITLE_HEIGHT + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = GAP
    for title, pictures in shown:
        hidden = len(pictures) - columns
        note = f" (+{hidden} more)" if hidden > 0 else ""
        room = width - 2 * GAP - draw.textlength(note, font=titles)
        draw.text((GAP, y), shortened(title, titles, room) + note, fill=INK, font=titles)
        for column, (pixels, caption) in enumerate(pictures[:columns]):
            x, top = GAP + column * (tile + GAP), y + TITLE_HEIGHT
            picture = fitted(pixels, tile)
            sheet.paste(picture, (x + (tile - picture.width) // 2, top + (tile - picture.height) // 2))
            draw.text((x, top + tile + 1), shortened(caption, captions, tile), fill=FAINT, font=captions)
        y += row_height
    if last:
        draw.text((GAP, y), last, fill=FAINT, font=titles)
    return sheet


def fitted(pixels: Pixels, tile: int = TILE) -> Image.Image:
    """The picture as large as fits a square of ``tile`` pixels, its proportions kept to a pixel."""
    image = Image.fromarray(pixels)
    scale = tile / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    """The text on one line, cut off with an ellipsis where it is wider than ``room`` pixels."""
    # The font that Pillow carries knows no letters beyond ASCII: those with marks are drawn without.
    plain = unicodedata.normalize("NFD", text[: LONGEST + 1])
    line = "".join(each if each.isprintable() else " " for each in plain if not unicodedata.combining(each))
    if len(line) <= LONGEST and font.getlength(line) <= room:
        return line
    low, high = 0, min(len(line), LONGEST)
    while low < high:  # the longest beginning that fits, by bisection
        middle = (low + high + 1) // 2
        if font.getlength(line[:middle].rstrip() + MORE) <= room:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + MORE
