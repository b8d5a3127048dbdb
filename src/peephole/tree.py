"""A folder and what lies below it, reached folder by folder, so that no link leads out of it.

Whoever may write into a folder can at any moment put a link in place of what is in it. So each step of a path is taken
from the descriptor of the folder before, and follows no link (openat(2), ``O_NOFOLLOW``); what was reached is read,
listed or removed by its name in the last descriptor, which is the same folder whatever becomes of its name.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

NOT_THERE = (FileNotFoundError, NotADirectoryError)
"""What is raised where nothing has such a path, or only by way of a link."""

_STEP = os.O_DIRECTORY | os.O_NOFOLLOW
_PASS = getattr(os, "O_PATH", os.O_RDONLY)  # a folder that one may pass through need not be readable


class Tree:
    """A folder, and the paths below it: those that begin with its own as it was given.

    Attributes:
        path: the folder's, as it was given. Links in it are followed once, by `__init__`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take the folder that is at this path now, or will be; nothing is opened, so it can be unmounted."""
        self.path = Path(path)
        self._absolute = os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps ".."
        self._real = PurePath(os.path.realpath(path)).parts[1:]

    def inside(self, path: str) -> tuple[str, ...]:
        """The names on the way from the folder to a path.

        Raises:
            ValueError: the path does not begin with the folder's.
        """
        return PurePath(os.path.abspath(path)).relative_to(self._absolute).parts  # noqa: PTH100 - as above

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """The descriptor of a folder, to reach what is in it; see `os.supports_dir_fd`.

        Raises:
            NOT_THERE: no folder has this path, or only by way of a link.
            OSError: it cannot be reached.
            ValueError: see `inside`.
        """
        descriptor = os.open(os.sep, _STEP | _PASS)
        try:
            for name in (*self._real, *self.inside(path)):
                below = _open(name, _STEP | _PASS, descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def listed(self, path: str) -> Iterator[int]:
        """The descriptor of a folder that can be listed; see `folder` for what it raises."""
        with self.folder(path) as folder:
            descriptor = os.open(".", _STEP, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def status(self, path: str) -> os.stat_result:
        """What the system says of a regular file.

        Raises:
            NOT_THERE: no regular file has this path, or only by way of a link.
            OSError: it cannot be reached.
            ValueError: see `inside`.
        """
        with self._beside(path) as (folder, name):
            return _status(folder, name)

    def open(self, path: str) -> io.FileIO:
        """A regular file, to be read; see `status` for what it raises. Nothing else is opened: devices act on it."""
        with self._beside(path) as (folder, name):
            _status(folder, name)
            # Something else may have taken its place since; not to block is for a pipe.
            file = io.FileIO(_open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, folder))
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise _not_there(path)
        return file

    def remove(self, path: str, is_it: Callable[[os.stat_result], bool]) -> bool:
        """Remove a regular file, if it is the one that is meant; whether it was.

        What takes its place between the question and the removal goes in its stead: no system removes a file by
        anything but its name.

        Args:
            path: the file's.
            is_it: says so by what the system says of it; see `status` for what is raised.
        """
        with self._beside(path) as (folder, name):
            if found := is_it(_status(folder, name)):
                os.unlink(name, dir_fd=folder)
            return found

    @contextmanager
    def _beside(self, path: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that a file is in, and the file's name there."""
        above, name = os.path.split(path)
        with self.folder(above) as folder:
            yield folder, name


def _status(folder: int, name: str) -> os.stat_result:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise _not_there(name)
    return status


def _open(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link, which systems say in different ways
            raise _not_there(name) from error
        raise


def _not_there(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
