"""The pictures that configurations are measured on: the user's own, or some that Peephole composes."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from . import demo
from .errors import FrameError, FrameNotFound, FrameUnreadable, PeepholeError
from .files import PassedOver, pictures
from .frame import Size, load, snapshot
from .sample import drawn_face

BUILT_IN = (0, 2, 7)
"""The demo's frames that are looked at where there are no pictures: one face, two, nobody."""
QUALITY = 92


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame to look at.

    Attributes:
        name: what it is called.
        source: a file's name, or the bytes.
        size: (width, height) by its header.
    """

    name: str
    source: str | bytes
    size: Size


Missing = tuple[str, FrameError]
"""A picture that nobody can look at, and why."""


def find_pictures(names: Sequence[str], passed: PassedOver | None = None) -> tuple[list[Picture], list[Missing]]:
    """The pictures of files and folders by their headers, each once, and those that cannot be looked at.

    Args:
        names: of files and folders.
        passed: told of what of the folders is passed over.

    Raises:
        FrameNotFound: there is not one that can.
    """
    missing: list[Missing] = []

    def unlisted(path: str, reason: str) -> None:
        missing.append((path, FrameUnreadable(reason)))

    files: dict[str, None] = {}
    for name in names:
        if not os.path.isdir(name):  # noqa: PTH112 - unlike Path.is_dir it never raises
            files[name] = None
            continue
        inside = [str(path) for path in pictures(Path(name), unlisted, passed)]
        files |= dict.fromkeys(inside)
        if not inside:
            missing.append((name, FrameNotFound("no picture in this folder")))
    found: list[Picture] = []
    for file in files:
        try:
            found.append(Picture(file, file, snapshot(load(file), file).size))
        except FrameError as error:
            missing.append((file, error))
    if not found:
        reasons = "; ".join(f"{name}: {error}" for name, error in missing[:5])
        raise FrameNotFound(f"there is no picture to look at: {reasons}")
    return found, missing


def built_in() -> list[Picture]:
    """Some of the demo's frames; or, where its portraits are not installed, a drawn face on a plain frame."""
    try:
        portraits = {each.person: demo.pixels(each) for each in (demo.EILEEN, demo.GRACE)}
    except PeepholeError:
        return [_picture("built-in/drawn", _drawn_frame())]
    return [
        _picture(f"built-in/{scene.name}", Image.fromarray(demo.compose(scene, portraits, seed=number)))
        for number, scene in enumerate(demo.SCENES)
        if number in BUILT_IN
    ]


def _drawn_frame() -> Image.Image:
    frame = Image.new("RGB", (demo.SIDE, demo.SIDE), (150, 160, 170))
    frame.paste(Image.fromarray(drawn_face()), (demo.SIDE // 3, demo.SIDE // 3))
    return frame


def _picture(name: str, image: Image.Image) -> Picture:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Picture(name, file.getvalue(), image.size)
