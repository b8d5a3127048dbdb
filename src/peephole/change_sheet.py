"""The frames about which two models decide differently, as a contact sheet: each whole, and its changed faces near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .decisions import Change, FrameDecisions, called
from .draw import Colour, mark
from .faces import Face
from .frame import Frame
from .geometry import Boxes, Transform
from .sheets import GAP, INK, PAPER, TITLE_HEIGHT, TITLE_SIZE, Pixels, Row, contact_sheet, fitted, shortened

OLD_COLOUR: Colour = (60, 150, 250)
NEW_COLOUR: Colour = (245, 140, 20)
"""Blue and orange: also whoever does not tell red from green sees which is which."""
TILE = 256
COLUMNS = 4
MOST_FRAMES = 25
SURROUNDINGS = 2.2
"""A changed face is shown with this many times its width around it."""
THICK, THIN = 3, 1
"""Pixels: the old model's line is seen on both sides of the new model's where the two coincide."""


def change_sheet(
    changed: Sequence[FrameDecisions], frames: Callable[[str], Frame], names: tuple[str, str]
) -> Image.Image:
    """Draw the frames that changed, a row each: the whole frame, then the faces that changed.

    The old model's boxes and labels, above, are blue; the new model's, below, are orange. At most `MOST_FRAMES` rows
    are drawn, and the last line says how many are not.

    Args:
        changed: frames with changes; those without are left out.
        frames: a picture's name → the frame, asked for one at a time; it may be decoded smaller.
        names: what the old and the new model are called.

    Returns:
        An RGB image. Where nothing has changed it says so.

    Raises:
        FrameError: a frame cannot be decoded any more.
    """
    changed = [each for each in changed if each.changes]
    drawn = [_row(each, frames(each.picture)) for each in changed[:MOST_FRAMES]]
    rows = drawn + [("", ())] * (len(changed) - len(drawn))  # counted by the sheet, not drawn
    sheet = contact_sheet(rows, columns=COLUMNS, most_rows=MOST_FRAMES, tile=TILE) if rows else None
    width = sheet.width if sheet else COLUMNS * (TILE + GAP) + GAP
    parts = [_legend(width, names), sheet or _strip(width, "no frame changed")]
    whole = Image.new("RGB", (width, sum(each.height for each in parts)), PAPER)
    for each, top in zip(parts, (0, parts[0].height), strict=True):
        whole.paste(each, (0, top))
    return whole


def _legend(width: int, names: tuple[str, str]) -> Image.Image:
    """Whose colour is whose."""
    strip = _strip(width, "")
    draw, font = ImageDraw.Draw(strip), _font()
    room = width / 2 - 3 * GAP - TITLE_SIZE
    for index, (name, colour) in enumerate(zip(names, (OLD_COLOUR, NEW_COLOUR), strict=True)):
        x = GAP + index * width // 2
        draw.rectangle((x, GAP, x + TITLE_SIZE, GAP + TITLE_SIZE), fill=colour)
        words = shortened(f"{('old', 'new')[index]}: {name}", font, room)
        draw.text((x + TITLE_SIZE + GAP, GAP - 1), words, fill=INK, font=font)
    return strip


def _strip(width: int, text: str) -> Image.Image:
    """A line of text."""
    strip = Image.new("RGB", (width, GAP + TITLE_HEIGHT), PAPER)
    ImageDraw.Draw(strip).text((GAP, GAP - 1), text, fill=INK, font=_font())
    return strip


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=TITLE_SIZE)


def _row(decisions: FrameDecisions, frame: Frame) -> Row:
    name = "/".join(Path(decisions.picture).parts[-2:])  # of a long path the beginning tells the least
    title = f"{name}: {decisions.words()}"
    pictures = [(_overview(frame, decisions), f"{frame.native_size[0]}x{frame.native_size[1]}")]
    pictures += [(_near(frame, change), change.words()) for change in decisions.changes]
    return title, pictures


def _overview(frame: Frame, decisions: FrameDecisions) -> Pixels:
    """The whole frame with every box: those of faces that did not change are thin."""
    image = fitted(frame.pixels, TILE)
    there = frame.to_native.inverse().then(Transform.resize(frame.size, image.size))
    for old, new in decisions.pairs:
        _boxes(image, there, old, new, width=THIN, labels=False)
    for change in decisions.changes:
        _boxes(image, there, change.old, change.new, width=THICK, labels=False)
    return np.asarray(image)


def _near(frame: Frame, change: Change) -> Pixels:
    """The surroundings of a changed face, as large as fits a tile."""
    to_pixels = frame.to_native.inverse()
    faces = [each for each in (change.old, change.new) if each is not None]
    left, top, right, bottom = _around(to_pixels.boxes([each.box for each in faces]), frame.size)
    image = fitted(frame.pixels[top:bottom, left:right], TILE)
    there = to_pixels.then(Transform.offset(-left, -top)).then(
        Transform.resize((right - left, bottom - top), image.size)
    )
    _boxes(image, there, change.old, change.new, width=THICK, labels=True)
    return np.asarray(image)


def _around(boxes: Boxes, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around the boxes, cut off at the frame's edges, in whole pixels, never empty."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    half = max(float((high - low).max()) * SURROUNDINGS / 2, 8.0)
    middle = np.clip((low + high) / 2, 0, size)  # a box may lie outside the frame
    left, top = np.clip(np.floor(middle - half), 0, np.array(size) - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(middle + half), (left + 1, top + 1), size).astype(int).tolist()
    return left, top, right, bottom


def _boxes(
    image: Image.Image, there: Transform, old: Face | None, new: Face | None, *, width: int, labels: bool
) -> None:
    """Both models' boxes of a face, the new one's on top; labels on opposite sides, so that both can be read."""
    if old is not None:
        mark(image, there.boxes([old.box]), called(old) if labels else "", OLD_COLOUR, width=width)
    if new is not None:
        thin = width if old is None else THIN
        mark(image, there.boxes([new.box]), called(new) if labels else "", NEW_COLOUR, width=thin, below=True)
