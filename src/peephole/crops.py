"""Faces of visits as files, for whoever is told of a visit: the last few, for a set time, their owner's alone."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .database import private_folder

MOST = 200
"""Crops that are kept: of one face each, up to 320 pixels a side, some 30 MB in all."""
SECONDS = 86_400.0
"""How long."""

log = logging.getLogger(__name__)


class Crops:
    """A folder of crops, PNG files named by their frames. One service writes there; nothing else is touched."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The folder, made with the first crop; how many are kept and how long; and the time, UTC seconds."""
        self._folder = Path(folder).absolute()
        self._most, self._seconds, self._clock = most, seconds, clock

    def path(self, frame: str, index: int) -> Path:
        """Where the crop of a frame's face is, once it is kept.

        Args:
            frame: the frame's name in its visit, ``NUMBER@SECONDS``.
            index: the face's, in the frame's order.
        """
        return self._folder / f"visit-{frame.replace('@', '-')}-{index}.png"

    def keep(self, path: Path, crop: bytes) -> None:
        """Write a crop, whole or not at all; those that are too many go.

        Raises:
            OSError: it cannot be written.
        """
        private_folder(self._folder)
        new = path.with_name(f".{path.name}")
        new.unlink(missing_ok=True)  # a killed process left it; and what takes its place is made anew
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(crop)
        new.replace(path)
        self.tidy()

    def tidy(self) -> None:
        """Remove what is too old or too much."""
        try:
            kept = sorted(
                (entry.stat(follow_symlinks=False).st_mtime, entry.path)
                for entry in os.scandir(self._folder)
                if _OURS.fullmatch(entry.name)
            )
        except OSError:  # there is no folder yet, or another process tidies it too
            return
        too_many, now = max(0, len(kept) - self._most), self._clock()
        for number, (written, path) in enumerate(kept):
            if number < too_many or now - written > self._seconds:
                with suppress(OSError):
                    Path(path).unlink()


_OURS = re.compile(r"\.?visit-\d+-\d+-\d+\.png")
