"""Timings read back, a record at a time: from a log with those of its files that were put aside, or from a history.

Lines are decoded by msgspec, in one step into what is needed of them. What is the same in line after line, as the
models' hashes, is decoded once: its bytes are looked up.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from ..errors import TimingsError
from .log import siblings
from .record import SCHEMA, Glance, Record, Setup, plan_key

if TYPE_CHECKING:
    from .history import History

T = TypeVar("T")
L = TypeVar("L", bound="_Short")

MOST_LINE = 2**20
"""Bytes of a line; a longer one is broken. A log's have about a thousand."""
MOST_SHARED = 4096
"""Settings and plans of old lines that are remembered; a log has a handful."""
BUFFER = 2**18
"""Bytes that are read at a time: a call of the system takes as long as a line."""
BLANK = b" \t\r\n\0"
"""What an empty line is made of; a power cut may leave zeros."""
SQLITE = b"SQLite format 3\0"

log = logging.getLogger(__name__)


def read(path: str | os.PathLike[str], *, warn: Callable[[str], object] = log.warning) -> Iterator[Record]:
    """The records of a timing log, the oldest first, or of a history.

    A last line that is broken off, as after a power cut, is passed over. Other lines that are none are counted, and
    ``warn`` is told how many.

    Args:
        path: a log's current file, to which those that were put aside belong too; one of these alone; or a history.
        warn: told of broken lines, and of lines that a newer Peephole has written.

    Raises:
        TimingsError: there is no such file, or it holds no timings.
    """
    return _read(path, warn, _Line, _record, lambda history: history.records())


def glance(path: str | os.PathLike[str], *, warn: Callable[[str], object] = log.warning) -> Iterator[Glance]:
    """The same in short, twice as fast; see `read`."""
    return _read(path, warn, _Short, _glance, lambda history: history.glances())


def _read(
    path: str | os.PathLike[str],
    warn: Callable[[str], object],
    kind: type[L],
    of_line: Callable[[L, Setup, str], T],
    of_history: Callable[[History], Iterator[T]],
) -> Iterator[T]:
    with ExitStack() as stack:
        try:
            opened = [stack.enter_context(file) for file in _open(Path(path))]
            if not opened:
                raise TimingsError(f"there are no timings {path}; they come with --timings FILE")
            start = opened[0].read(len(SQLITE))
            opened[0].seek(0)
        except OSError as error:
            raise TimingsError(f"the timings {path} cannot be read: {error.strerror}") from error
        if start == SQLITE:
            from .history import History

            yield from of_history(stack.enter_context(History(path, create=False)))
        else:
            yield from _Lines(os.fspath(path), warn, kind).of(opened[::-1], of_line)


def _open(path: Path) -> Iterator[IO[bytes]]:
    """A log's files, the newest first: one that is put aside meanwhile is met again, and not missed."""
    seen: set[tuple[int, int]] = set()
    for file in siblings(path):
        try:
            opened = file.open("rb", BUFFER)
        except FileNotFoundError:  # put aside, or gone
            continue
        status = os.fstat(opened.fileno())
        if (status.st_dev, status.st_ino) in seen:
            opened.close()
        else:
            seen.add((status.st_dev, status.st_ino))
            yield opened


class _Setup(msgspec.Struct):
    """See `Setup`."""

    detector: str = ""
    recognizer: str = ""
    models: dict[str, str] = {}
    runtime: str = ""
    threads: int = 0
    cpu: str = ""
    peephole: str = ""
    libraries: dict[str, str] = {}


class _Error(msgspec.Struct):
    kind: str
    message: str = ""


class _Short(msgspec.Struct, gc=False):
    """What a `Glance` needs of a line of schema 1 or 2; all else is passed over."""

    schema: int
    time: datetime
    source: str
    timings_ms: dict[str, float]
    width: int = 0
    height: int = 0
    error: _Error | None = None
    plan: msgspec.Raw = msgspec.Raw(b'""')
    setup: msgspec.Raw = msgspec.Raw(b"{}")
    # of schema 1
    models: msgspec.Raw = msgspec.Raw(b"{}")
    versions: msgspec.Raw = msgspec.Raw(b"{}")


class _Line(_Short, gc=False):
    """All of it. msgspec copies the defaults."""

    faces: int = 0
    frame: str = ""
    cpu_ms: dict[str, float] = {}
    predicted_mb: float = 0.0
    measured_mb: float = 0.0
    run: str = ""
    # of schema 1
    memory: dict[str, float] = {}
    peak_rss_mb: float = 0.0


class _Lines(Generic[L]):
    """Turns lines into records, or what stands for them."""

    def __init__(self, path: str, warn: Callable[[str], object], kind: type[L]) -> None:
        self._path, self._warn = path, warn
        self._decode = msgspec.json.Decoder(kind).decode
        self._setups: dict[bytes, Setup] = {}
        self._plans: dict[bytes, str] = {}
        self._last: tuple[bytes, Setup] = (b"", _NOTHING)

    def of(self, files: list[IO[bytes]], make: Callable[[L, Setup, str], T]) -> Iterator[T]:
        """What is made of the lines of some files, in their order."""
        decode, plans = self._decode, self._plans
        good = broken = newer = 0
        first = b""
        for file in files:
            last = b""
            while text := file.readline(MOST_LINE):
                if last:
                    broken += 1  # another came behind it
                    last = b""
                first = first or text[:80]
                try:
                    try:
                        line = decode(text)
                    except msgspec.DecodeError as error:
                        line = self._again(text, error)
                    if line.schema == SCHEMA:
                        setup = self._setup(bytes(line.setup), _new_setup, line)
                        plan = plans.get(key := bytes(line.plan)) or self._plan(key)
                    else:
                        setup, plan = self._old(line)
                except _Newer:
                    newer += 1
                except (msgspec.DecodeError, ValueError, TypeError, KeyError, RecursionError):
                    if text.strip(BLANK):
                        last = text
                else:
                    good += 1
                    yield make(line, setup, plan)
            if last.endswith(b"\n"):  # broken, and not just broken off
                broken += 1
        self._tell(good, broken, newer, first)

    def _tell(self, good: int, broken: int, newer: int, first: bytes) -> None:
        """Say what was left out; raise where that was all."""
        if newer and not good:
            raise TimingsError(f"{self._path} was written by a newer Peephole; update this one")
        if not good and not first.strip(BLANK):
            raise TimingsError(f"{self._path} is empty: no frame has been logged yet")
        if not good:
            raise TimingsError(f"{self._path} is no timing log and no history: it begins with {first[:40]!r}")
        if newer:
            self._warn(f"{self._path}: {newer} lines of a newer Peephole are left out")
        if broken:
            self._warn(f"{self._path}: {broken} lines are no timings and are left out")

    def _again(self, text: bytes, error: msgspec.DecodeError) -> L:
        if isinstance(error, msgspec.ValidationError):
            raise error
        return self._decode(_spelled_out(text))

    def _setup(self, key: bytes, make: Callable[[_Short], Setup], line: _Short) -> Setup:
        """What most lines have in common, decoded once for all that have these bytes."""
        if key == self._last[0]:  # quicker than to look it up
            return self._last[1]
        if (setup := self._setups.get(key)) is None:
            setup = make(line)
            self._remember(self._setups, key, setup)
        self._last = key, setup
        return setup

    def _plan(self, key: bytes) -> str:
        plan: str = msgspec.json.decode(key, type=str)
        self._remember(self._plans, key, plan)
        return plan

    def _old(self, line: _Short) -> tuple[Setup, str]:
        """Of a line of schema 1."""
        if line.schema != 1:
            raise _Newer
        key = bytes(line.plan)
        setup = self._setup(b"".join(map(bytes, (line.models, line.versions, line.plan))), _old_setup, line)
        if (plan := self._plans.get(key)) is None:
            said = msgspec.json.decode(key)
            plan = plan_key(said) if said else ""
            self._remember(self._plans, key, plan)
        return setup, plan

    @staticmethod
    def _remember(known: dict[bytes, Any], key: bytes, value: object) -> None:
        if len(known) >= MOST_SHARED:
            known.clear()
        known[key] = value


_NOTHING = Setup("", "", {}, "", 0, "", "", {})


def _new_setup(line: _Short) -> Setup:
    told = msgspec.json.decode(line.setup, type=_Setup)
    return Setup(*(getattr(told, name) for name in _Setup.__struct_fields__))


def _old_setup(line: _Short) -> Setup:
    """Of schema 1, which has neither the recognizer's name nor the runtime's, and the detector's in the plan."""
    plan = msgspec.json.decode(line.plan) or {}
    models = msgspec.json.decode(line.models, type=dict[str, str])
    libraries = msgspec.json.decode(line.versions, type=dict[str, str])
    version = libraries.pop("peephole", "")
    recognizer = next((name for name in models if f"{name}-embed" in models), "")
    return Setup(plan.get("detector", ""), recognizer, models, "", 0, "", version, libraries)


def _record(line: _Line, setup: Setup, plan: str) -> Record:
    error = line.error
    return Record(
        line.time if line.time.tzinfo is UTC else line.time.astimezone(UTC),
        line.source,
        line.frame,
        line.width,
        line.height,
        plan,
        line.faces,
        line.timings_ms,
        line.predicted_mb or line.memory.get("predicted_mb", 0.0),
        line.measured_mb or line.memory.get("measured_mb", line.peak_rss_mb),
        setup.detector,
        setup.recognizer,
        setup.models,
        setup.runtime,
        setup.threads,
        setup.cpu,
        setup.version,
        None if error is None else error.kind,
        "" if error is None else error.message,
        setup.libraries,
        line.cpu_ms,
        line.run,
    )


def _glance(line: _Short, setup: Setup, plan: str) -> Glance:
    error = None if line.error is None else line.error.kind
    return Glance(line.time.timestamp(), line.width, line.height, plan, setup, line.timings_ms, error)


class _Newer(Exception):
    """A line of a schema that this Peephole does not know."""


def _spelled_out(text: bytes) -> bytes:
    """A line that is JSON for Python and not for msgspec: halves of surrogate pairs, of a name that is no UTF-8."""
    line = json.dumps(json.loads(text), ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda half: rf"\\u{ord(half[0]):04x}", line).encode()
