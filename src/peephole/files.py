"""Which files of a folder are pictures, and what is passed over: one list for every command."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from .errors import FrameError, FrameNotFound, FrameUnreadable

READ = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"})
"""Suffixes of the formats that are read; see `frame.FORMATS`."""
NOT_READ = frozenset({".avif", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jp2", ".jxl", ".psd"})
RAW = frozenset(
    {".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw", ".x3f"}
)
SUFFIXES = READ | NOT_READ | RAW
"""Which files count as pictures, in lower case. Those that are not read fail by their format's name: none is lost.

What a file is, its bytes say: a HEIC under the name of a JPEG is refused, a JPEG under that of a HEIC is read.
"""
TEMPORARY = frozenset(
    {".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download", ".upload", ".uploading", ".lock"}
)
"""Suffixes, wherever they stand in a name, of files that are still being written."""
ASIDE = frozenset(
    {
        *("@eadir", "@tmp", "#recycle", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot"),  # QNAP
        *("$recycle.bin", "recycler", "system volume information"),  # Windows
        *("lost+found", "__macosx"),  # Linux's file systems; macOS's archives
        "train",  # Frigate: crops of faces that nobody has named yet
    }
)
"""Folders, in lower case, that other programs keep for themselves: thumbnails, what was deleted, what is no photo."""
MOST_NAMES = 8

Problem = Callable[[str, str], object]
"""Told of a path and the reason why it cannot be used."""


def is_snapshot(name: str) -> bool:
    """Whether a file of this name is a picture, and not hidden or still being written.

    >>> [is_snapshot(name) for name in ("a.jpg", "A.JPEG", "a.jpg.part", "a.part.jpg", ".a.jpg", "~a.jpg", "a.txt")]
    [True, True, False, False, False, False, False]
    """
    path = PurePath(name)
    suffixes = {each.lower() for each in path.suffixes}
    return not name.startswith((".", "~")) and path.suffix.lower() in SUFFIXES and not suffixes & TEMPORARY


def is_aside(folder: str) -> bool:
    """Whether a folder of this name is passed over: a hidden one, or one of `ASIDE`.

    >>> [is_aside(name) for name in ("front", "@eaDir", ".cache", "$Recycle.Bin")]
    [False, True, True, True]
    """
    return folder.startswith(".") or folder.lower() in ASIDE


class PassedOver:
    """The names of what is passed over, so that it can be said once.

    >>> passed = PassedOver()
    >>> for name in ("@eaDir", "train", "@eaDir"): passed.add(name)
    >>> passed.file("a.txt"), passed.file(".b.jpg"), str(passed)
    (None, None, 'passed over: 2 @eaDir, train, .b.jpg')
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._names: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._names)

    def __str__(self) -> str:
        names = [name if number == 1 else f"{number} {name}" for name, number in self._names.items()]
        more = [f"{len(names) - MOST_NAMES} other names"] if len(names) > MOST_NAMES else []
        return f"passed over: {', '.join(names[:MOST_NAMES] + more)}"

    def add(self, name: str) -> None:
        """One more."""
        self._names[name] += 1

    def file(self, name: str) -> None:
        """One more, if it has anything of a picture's name; others are not worth a word."""
        if SUFFIXES.intersection(each.lower() for each in PurePath(name).suffixes):
            self.add(name)


def pictures(folder: Path, problem: Problem | None = None, passed: PassedOver | None = None) -> list[Path]:
    """The pictures below a folder by their names, sorted.

    Args:
        folder: links to folders below it are not followed.
        problem: told of each folder that cannot be listed; the others' pictures come all the same.
        passed: told of what is passed over: those links, and by their names what `is_snapshot` and `is_aside` say.
    """
    passed = PassedOver() if passed is None else passed

    def unlisted(error: OSError) -> None:
        if problem:
            problem(str(error.filename or folder), f"the folder cannot be listed: {error.strerror or error}")

    found: list[Path] = []
    for inside, folders, files in os.walk(folder, onerror=unlisted):
        for name in sorted(folders):
            if is_aside(name) or os.path.islink(os.path.join(inside, name)):  # noqa: PTH114, PTH118 - never raises
                passed.add(name)
        folders[:] = [name for name in folders if not is_aside(name)]
        for name in sorted(files):
            path = Path(inside, name)
            if not is_snapshot(name):
                passed.file(name)
            elif _readable(path):
                found.append(path)
            else:
                passed.add(name)
    return sorted(found)


def listed(
    name: str, left_out: Callable[[Path], bool] | None = None, passed: PassedOver | None = None
) -> Iterator[tuple[str, FrameError | None]]:
    """What somebody named: a file, or a folder, which stands for its `pictures`.

    Args:
        name: of either; it need not be there.
        left_out: which of a folder's pictures are not meant.
        passed: told of what is passed over.

    Yields:
        Paths, each with the reason why it cannot be looked at, if that is known by now.
    """
    if not os.path.isdir(name):  # noqa: PTH112 - unlike Path.is_dir it never raises
        yield name, None
        return
    unlisted: list[tuple[str, FrameError]] = []
    inside = pictures(Path(name), lambda path, why: unlisted.append((path, FrameUnreadable(why))), passed)
    meant = [path for path in inside if not (left_out and left_out(path))]
    yield from ((str(path), None) for path in meant)
    yield from unlisted
    if not meant and not unlisted:
        yield name, FrameNotFound("no picture in this folder")


def _readable(path: Path) -> bool:
    """Whether reading is worth a try: a file, or something that only reading can tell why it is none."""
    return os.path.isfile(path) or not os.path.exists(path)  # noqa: PTH110, PTH113 - unlike Path's they never raise
