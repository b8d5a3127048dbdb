"""Where a service's messages go: lines for people, JSON lines, a command for each visit, the gallery."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import FrameAbandoned, FrameDropped, UsageError
from .gallery import Gallery, VisitRecord, retain
from .report import escaped
from .spool import File, Message
from .tree import NOT_THERE, Tree
from .words import counted
from .worker.channel import anonymous_file

COMMAND_SECONDS = 30.0
"""How long the command for a visit may take."""
LAST_WORDS = 200
"""Bytes of what it says on standard error that are shown where it fails."""

log = logging.getLogger(__name__)


class Lines:
    """A line for each visit that opens, changes or closes, and for each frame that could not be looked at."""

    name = "output"

    def __init__(self, say: Callable[[str], object]) -> None:
        """What prints a line."""
        self._say = say

    def deliver(self, message: Message) -> None:
        """Print it."""
        camera = escaped(message["camera"])
        if message["type"] == "visit":
            event, names = message["event"], escaped(", ".join(message["names"]))
            line = f"{_local(message['last'])}  {camera}  {event:7}  {names}"
            if event == "closed":
                line += f"  ({message['last'] - message['first']:.0f} s, {counted(message['frames'], 'frame')})"
            self._say(line)
        elif "error" in message:
            said = escaped(f"{message['image']}: {message['error']['message']}")
            self._say(f"{_local(message['arrived'])}  {camera}  could not look: {said}")

    def close(self) -> None:
        """Nothing is held."""


class JsonLines:
    """A JSON line for each frame and each visit that opens, changes or closes; see docs/output.md."""

    name = "output"  # the other kind of output gets what this one did not

    def __init__(self, say: Callable[[str], object]) -> None:
        """What prints a line."""
        self._say = say

    def deliver(self, message: Message) -> None:
        """Print it."""
        self._say(json.dumps({key: value for key, value in message.items() if key != "file"}))

    def close(self) -> None:
        """Nothing is held."""


class Command:
    """Runs a command for each visit that opens, changes or closes, one after another."""

    name = "command"

    def __init__(self, command: str, *, timeout: float = COMMAND_SECONDS) -> None:
        """Take a command's words apart; no shell will see it, and nothing of an event is put into it.

        Args:
            command: a program and its arguments, quoted as in a shell.
            timeout: seconds; then it is killed.

        Raises:
            UsageError: there is no command in it.
        """
        try:
            self._words: Sequence[str] = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--on-visit {command!r}: {error}") from error
        if not self._words:
            raise UsageError("--on-visit: there is no command in it")
        self._timeout = timeout

    def deliver(self, message: Message) -> None:
        """Run it, the event as JSON on its standard input; that it fails is logged and no more."""
        if message["type"] != "visit":
            return
        told = {
            "PEEPHOLE_EVENT": message["event"],
            "PEEPHOLE_VISIT": message["visit"],
            "PEEPHOLE_CAMERA": message["camera"],
            "PEEPHOLE_NAMES": ",".join(message["names"]),
            "PEEPHOLE_FRAME": _frame(message),
            "PEEPHOLE_CROP": _crop(message),
        }
        environment = os.environ | {key: value.replace("\0", "") for key, value in told.items()}
        try:
            # Files, because a pipe would be waited for as long as anything that the command has started holds it.
            with anonymous_file(json.dumps(message).encode()) as event, anonymous_file() as said:
                os.lseek(event, 0, os.SEEK_SET)
                self._run(event, said, environment)
        except (OSError, ValueError) as error:
            log.warning("%s cannot be run: %s", self._words[0], error)

    def _run(self, event: int, said: int, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(  # noqa: S603 - the user's own command; no shell, no text from outside
            self._words,
            stdin=event,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            start_new_session=True,  # an interrupt from the terminal is not meant for it
        )
        try:
            status = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
            process.wait()
            log.warning("%s took longer than %g s and was killed", self._words[0], self._timeout)
            return
        if status:
            os.lseek(said, max(0, os.lseek(said, 0, os.SEEK_END) - LAST_WORDS), os.SEEK_SET)
            last = escaped(os.read(said, LAST_WORDS).decode(errors="replace").strip())
            log.warning("%s failed with status %d%s", self._words[0], status, f": {last}" if last else "")

    def close(self) -> None:
        """Nothing is held."""


class Visitors:
    """Keeps the visits in the gallery, for a set time; see `gallery.retain`."""

    name = "gallery"

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        """The gallery's file; it is opened by the first visit. And the time, UTC seconds."""
        self._path, self._clock = path, clock
        self._gallery: Gallery | None = None

    def deliver(self, message: Message) -> None:
        """Keep it, or what has become of it.

        Raises:
            GalleryError: it cannot be written.
        """
        if message["type"] == "visit":
            if self._gallery is None:
                self._gallery = Gallery.open(self._path, clock=self._clock)
            self._gallery.save_visit(_record(message))
            if message["event"] == "closed":
                retain(self._gallery)

    def close(self) -> None:
        """Let go of the gallery."""
        if self._gallery is not None:
            self._gallery.close()
            self._gallery = None


class Remover:
    """Removes the file of each frame that has its result, if it is still that file."""

    name = "remover"

    def __init__(self, tree: Tree) -> None:
        """Where files may be removed."""
        self._tree = tree

    def deliver(self, message: Message) -> None:
        """Remove it; one that nobody has looked at stays."""
        told, kind = message.get("file"), message.get("error", {}).get("kind")
        if told and kind not in (FrameDropped.kind, FrameAbandoned.kind):
            remove(File(told["path"], told["stamp"]), self._tree)

    def close(self) -> None:
        """Nothing is held."""


def remove(file: File, tree: Tree) -> None:
    """Remove a file of a tree, unless another has taken its place."""
    try:
        tree.remove(file.path, lambda status: File.of(file.path, status) == file)
    except NOT_THERE:
        return
    except ValueError:
        log.warning("%s stays: it is not below %s", file.path, tree.path)
    except OSError as error:
        log.warning("%s cannot be removed: %s", file.path, error.strerror)


def _frame(message: Message) -> str:
    """The file of the frame that shows a visit best, if it is still that file; otherwise nothing."""
    best = message.get("best") or {}
    path, stamp = best.get("image"), best.get("stamp")
    with suppress(OSError):
        if path and File.of(path, os.lstat(path)).stamp == stamp:
            return str(path)
    return ""


def _crop(message: Message) -> str:
    """The file of the face that is seen best in a visit, if it is still there; otherwise nothing."""
    path = (message.get("best") or {}).get("crop")
    return str(path) if path and Path(path).is_file() else ""


def _record(message: Message) -> VisitRecord:
    detail: dict[str, Any] = {"people": message["people"]}
    states: dict[str, Any] = {each: each for each in ("opened", "updated", "closed")}
    return VisitRecord(
        message["visit"],
        message["camera"],
        message["first"],
        message["last"],
        states[message["event"]],
        tuple(message["names"]),
        message["frames"],
        detail,
    )


def _local(seconds: float) -> str:
    """A time by this machine's clock on the wall."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
