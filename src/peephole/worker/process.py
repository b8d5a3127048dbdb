"""One worker process, from its start to its end, and what is known of how it ended."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import (
    WorkerCrashed,
    WorkerEnded,
    WorkerError,
    WorkerHung,
    WorkerKilled,
    WorkerKilledForMemory,
    WorkerProtocolError,
)
from ..memory import oom_kills, oom_kills_in, peak_of
from .channel import Channel, anonymous_file

if TYPE_CHECKING:
    from .messages import Message

COMMAND = (sys.executable, "-P", "-m", "peephole.worker.child")
"""``-P``: a folder into which strangers upload pictures may be the working directory, and is no place for modules."""
NATIVE = frozenset({"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP"})
"""Signals that a process's own code brings on itself."""
GRACE = 2.0
"""Seconds that a process may take to end after its stream has."""
LAST_WORDS = 0.3
"""Seconds that a hung one may take to write down where it is."""
MOST_WORDS = 64 * 2**10
"""Bytes of standard error that are read at the most, the last ones; it is emptied before each request."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        status: exit status, the negative number of a signal, or None where nobody knows.
        oom: what says that the kernel killed it for memory, or None.
        peak: bytes that it was last seen with; 0 where nobody looked.
        words: what it left on standard error.
        hung: seconds after which the host killed it, or None.
    """

    status: int | None
    oom: str | None = None
    peak: int = 0
    words: str = ""
    hung: float | None = None

    def error(self, doing: str) -> WorkerError:
        """The ending by its name, with what is known.

        Args:
            doing: what it should have done, as "looking at the frame".
        """
        if self.hung is not None:
            where = f" (it was {self._place()})" if self._place() else ""
            return WorkerHung(f"{doing} took longer than {self.hung:g} s{where}; the worker was killed")
        if self.status is None or self.status >= 0:
            said = self.words.strip().splitlines()[-1:]
            how = "for reasons unknown" if self.status is None else f"with status {self.status}"
            return WorkerEnded(f"the worker ended {how} while {doing}{f': {said[0]}' if said else ''}")
        name = _signal(-self.status)
        if self.oom and name == "SIGKILL":
            had = f", it had {self.peak / 1e6:.0f} MB" if self.peak else ""
            return WorkerKilledForMemory(
                f"the kernel killed the worker for memory while {doing} ({name}; {self.oom}{had})", peak=self.peak
            )
        if name in NATIVE:
            said = [line for line in self.words.splitlines() if line.strip()][:1]
            more = ", ".join(part for part in (*said, self._place()) if part)
            return WorkerCrashed(
                f"the worker crashed in native code while {doing} ({name}{f': {more}' if more else ''})"
            )
        return WorkerKilled(f"the worker was killed from outside while {doing} ({name})")

    def _place(self) -> str:
        """The innermost line of Python in what `faulthandler` wrote."""
        _, _, current = self.words.rpartition("Current thread")
        found = re.search(r'File "([^"]+)", line (\d+) in (\S+)', current)
        return f"in {Path(found[1]).name}, line {found[2]}, {found[3]}" if found else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Process:
    """A worker that was started; its requests go through one at a time."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Start it; the descriptor of its end of the socket is added to the command.

        It dies with the thread that starts it: that one should live as long as the worker is to.

        Raises:
            OSError: it cannot be started.
        """
        self._log = KernelLog()
        with contextlib.ExitStack() as undo:
            self._words = undo.enter_context(anonymous_file())
            mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(mine.close)
            with its:
                self._own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                self._process = subprocess.Popen(  # noqa: S603 - our own code
                    [*command, str(its.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=self._words,
                    stderr=self._words,
                    pass_fds=(its.fileno(),),
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                )
            self._undo = undo.pop_all()
        self._channel = Channel(mine)
        self._group = b""
        self._before: tuple[Path, int] | None = None
        self._seen = 0
        self._ending: Ending | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._ending is None and not self._reap()

    def send(self, message: Message, descriptor: int | None, doing: str) -> None:
        """Ask for something; remember what the kernel has counted so far.

        Raises:
            WorkerError: the process has ended.
            WorkerProtocolError: there is too much to say; the process is as it was.
        """
        with contextlib.suppress(OSError):
            os.ftruncate(self._words, 0)
            os.lseek(self._words, 0, os.SEEK_SET)
        self._before, self._seen = self._kills(), 0
        try:
            self._channel.send(message, descriptor)
        except OSError:
            raise self.end().error(doing) from None

    def receive(self, deadline: float, doing: str) -> Message:
        """The answer.

        Args:
            deadline: seconds to wait for it; then the process is killed.
            doing: for messages, as "looking at the frame".

        Raises:
            WorkerError: there is none; the process has ended.
        """
        last = time.monotonic() + deadline

        def wait() -> None:
            self._seen = max(self._seen, peak_of(self.pid))
            if time.monotonic() >= last:
                raise self.end(hung=deadline).error(doing)
            if self._reap():
                raise self.end().error(doing)

        try:
            answer = self._channel.receive(wait)
        except WorkerProtocolError as error:  # nonsense, or it ended within a message
            self._wait(LAST_WORDS)
            ended, ending = self._reap(), self.end()
            raise (ending.error(doing) if ended and ending.status else error) from error
        if answer is None:
            raise self.end().error(doing)
        return answer

    def end(self, *, hung: float | None = None, grace: float = GRACE) -> Ending:
        """End it, if it has not ended, and say how.

        Args:
            hung: the deadline that it has missed: it is killed at once.
            grace: seconds that it may take to end by itself otherwise.
        """
        if self._ending:
            return self._ending
        if hung is not None and not self._reap():
            self._signal(signal.SIGABRT)  # it writes down where it is, see faulthandler
            self._wait(LAST_WORDS)
        else:
            self._channel.close()
            self._wait(grace)
        killed = not self._reap()
        if killed:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._channel.close()
        status = None if self._process.returncode == UNKNOWN else self._process.returncode
        words = os.pread(self._words, MOST_WORDS, max(0, os.fstat(self._words).st_size - MOST_WORDS))
        oom = None if killed or hung is not None else self._oom()
        self._ending = Ending(status, oom, self._seen, words.decode(errors="replace"), hung)
        self._log.close()
        self._undo.close()
        return self._ending

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _wait(self, seconds: float) -> None:
        last = time.monotonic() + seconds
        while not self._reap() and time.monotonic() < last:
            time.sleep(0.002)

    def _reap(self) -> bool:
        """Whether it has ended; takes its status and its size from the system when it first has."""
        if self._process.returncode is not None:
            return True
        try:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has taken it, or nobody wants to know (SIGCHLD is ignored)
            self._process.returncode = UNKNOWN
            return True
        if not pid:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        # It counts from before the exec: a parent that is larger says nothing.
        if usage.ru_maxrss > self._own_peak:
            self._seen = max(self._seen, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        return True

    def _kills(self) -> tuple[Path, int] | None:
        """Where the kernel counts whom it kills for memory, and how many so far.

        Found again only where the process has been moved: that takes ten times as long as counting.
        """
        group = b""
        with contextlib.suppress(OSError):
            group = Path(f"/proc/{self.pid}/cgroup").read_bytes()
        if self._before is None or group != self._group:
            self._group = group
            return oom_kills(self.pid)
        path, _ = self._before
        kills = oom_kills_in(path)
        return None if kills is None else (path, kills)

    def _oom(self) -> str | None:
        """What says that the kernel killed it for memory."""
        if self._before:
            path, before = self._before
            now = oom_kills_in(path)
            if now is not None and now > before:
                return f"{path.name}: oom_kill {before} to {now}"
        return self._log.killed(self.pid)


UNKNOWN = 1 << 16
"""A return code that no process has."""


class KernelLog:
    """The kernel's log from now on, where it can be read: mostly by root alone."""

    def __init__(self) -> None:
        """Go to its end."""
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)

    def killed(self, pid: int) -> str | None:
        """The line in which the kernel says that it killed this process for memory, or None."""
        while self._file is not None:
            try:
                record = os.read(self._file, 8192).decode(errors="replace")
            except BrokenPipeError:  # records were lost: go on with the next
                continue
            except OSError:
                break
            if re.search(rf"\bKilled process {pid} \(", record):
                return record.partition(";")[2].splitlines()[0]
        return None

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
