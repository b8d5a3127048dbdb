"""The timing log: a JSON line a frame, in files that are rotated by size, shared by any number of processes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ..errors import TimingsError, UsageError
from .record import Record

ROTATE = 16 * 2**20
"""Bytes at which a file is put aside: some 13,000 frames."""
KEEP = 4
"""Files in all, the one that is written to included."""
PATIENCE = 2.0
"""Seconds to wait for another process that holds the file: a line takes it a few microseconds."""

log = logging.getLogger(__name__)


class TimingLog:
    """Appends a line a frame; see docs/output.md for the fields.

    Each line is one write at the file's end, and the file is locked for it (`flock`), so that lines of several
    processes neither mix nor get lost when one of them puts the file aside: ``FILE`` becomes ``FILE.1``, that
    ``FILE.2``, and the oldest goes.
    """

    name = "timing log"

    def __init__(self, path: str | os.PathLike[str], *, rotate: int = ROTATE, keep: int = KEEP) -> None:
        """Make the file if need be.

        Args:
            path: the file; anything else that can be written to, as ``/dev/stderr``, gets the lines too.
            rotate: bytes that a file has at the most, unless a single line has more.
            keep: files in all, at least 1.

        Raises:
            UsageError: it cannot be written, or never could be with these numbers.
        """
        if rotate < 1 or keep < 1:
            raise UsageError(f"a timing log needs at least one file of at least one byte, not {keep} of {rotate}")
        self.path = Path(os.path.realpath(path))  # its siblings lie beside the file, not beside a link to it
        self._rotate_at, self._keep, self._rotates = rotate, keep, True
        try:
            self._append(b"")
        except OSError as error:
            raise UsageError(f"the timing log {path} cannot be written: {error.strerror}") from error

    def frame(self, record: Record) -> None:
        """Log a frame.

        Raises:
            TimingsError: the line cannot be written, and is not there in part either.
        """
        try:
            self._append(msgspec.json.encode(record.to_dict()) + b"\n")
        except OSError as error:
            raise TimingsError(f"the timing log {self.path} cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Every line is written at once."""

    def close(self) -> None:
        """Nothing is held."""

    def _append(self, line: bytes) -> None:
        while True:
            # Opened anew for every line: another process may have put the file aside.
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if self._appended(file, line):
                    return
            finally:
                os.close(file)  # the lock goes with it

    def _appended(self, file: int, line: bytes) -> bool:
        """Write a line, or find that it belongs into another file."""
        if not stat.S_ISREG(os.fstat(file).st_mode):
            _write(file, line)
            return True
        locked = _lock(file)
        if locked and not self._still_there(file):
            return False
        size = os.fstat(file).st_size
        if locked and line and size and size + len(line) > self._rotate_at and self._put_aside():
            return False
        if line and size and os.pread(file, 1, size - 1) != b"\n":  # somebody was killed, or the power went
            line = b"\n" + line
        try:
            _write(file, line)
        except OSError:
            if locked:  # nobody has written behind it
                with suppress(OSError):
                    os.ftruncate(file, size)
            raise
        return True

    def _still_there(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _put_aside(self) -> bool:
        """Move every file on by one, this one last; False where that cannot be done. The caller holds the lock."""
        if not self._rotates:
            return False
        try:
            if self._keep == 1:
                self.path.unlink()
                return True
            for number in range(self._keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    sibling(self.path, number - 1).replace(sibling(self.path, number))
        except OSError as error:  # a file mounted by itself, or a folder that cannot be written to
            self._rotates = False
            log.warning("the timing log %s grows on: it cannot be put aside: %s", self.path, error.strerror)
            return False
        return True


def sibling(path: Path, number: int) -> Path:
    """The file that was put aside ``number`` times; the log itself for 0."""
    return path.with_name(f"{path.name}.{number}") if number else path


def siblings(path: Path) -> list[Path]:
    """The log's files as they are now, the newest first."""
    path = Path(os.path.realpath(path))
    found = [path] if path.exists() else []
    numbers = [each.name.removeprefix(f"{path.name}.") for each in path.parent.glob(f"{_literal(path.name)}.*")]
    return found + [sibling(path, number) for number in sorted(int(each) for each in numbers if each.isdecimal())]


def _literal(name: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def _write(file: int, line: bytes) -> None:
    """All of it in one write.

    Raises:
        OSError: a part did not find room.
    """
    if line and os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _lock(file: int) -> bool:
    """Have the file for oneself; False where that cannot be had: appending is safe without, putting aside is not."""
    end, pause = time.monotonic() + PATIENCE, 0.0001
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:  # a process that was stopped in the middle: no frame waits for it
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.01)
        except OSError:  # a file system without locks
            return False
        else:
            return True
