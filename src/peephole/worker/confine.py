"""What a worker gives up before it touches a picture: privileges, network, core dumps, memory without end.

Everything here is best effort and says what it achieved: a step that a system does not have or does not allow is
passed over. Linux's calls are in the man pages prctl(2), unshare(2), setrlimit(2) and proc(5). Nothing but the standard
library is imported here: a process that has started threads can no longer leave its user namespace.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

HEAD_ROOM = 512 * 2**20
"""Bytes of address space beyond what the budget still has room for.

`RLIMIT_DATA` counts what is reserved and not what is used. Measured on two processors: at most 201 MB more than the
resident set grows by.
"""
THREAD = 16 * 2**20
"""The same for each processor: a thread's stack and its share of the arenas."""
LARGEST_FILE = 256 * 2**20
"""Bytes of the largest file that it may write; drawings are all that it writes."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a worker gave up.

    Attributes:
        no_new_privileges: no program that it starts can have more rights than it has.
        dies_with_parent: the kernel kills it when its host ends, however that ends.
        first_to_go: where memory is short, the kernel kills it before anything else.
        no_core: a crash writes no memory to disk.
        network: "none", or "shared" and why.
        data_bytes: the most private memory that it can reserve, or None for no limit.
    """

    no_new_privileges: bool = False
    dies_with_parent: bool = False
    first_to_go: bool = False
    no_core: bool = False
    network: str = "shared: nothing was tried"
    data_bytes: int | None = None

    def lines(self) -> list[str]:
        """For people, a line each."""
        data = "no limit" if self.data_bytes is None else f"at most {self.data_bytes / 2**20:.0f} MiB of private memory"
        return [
            f"no new privileges   {_yes(self.no_new_privileges)}",
            f"dies with its host  {_yes(self.dies_with_parent)}",
            f"killed first        {_yes(self.first_to_go)}",
            f"no core dumps       {_yes(self.no_core)}",
            f"network             {self.network}",
            f"memory              {data}",
        ]


def _yes(done: bool) -> str:
    return "yes" if done else "no: the system does not have it or does not allow it"


def confine() -> Confinement:
    """Give up what can be given up before anything is loaded. Call it first of all, in a process with one thread."""
    # An interrupt from the terminal goes to the whole group of processes. When to end is the host's business.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return Confinement(
        first_to_go=_write("/proc/self/oom_score_adj", "1000"),
        no_core=_limit(resource.RLIMIT_CORE, 0),
        network=_without_network(),
        dies_with_parent=_prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # a change of user namespace could undo it
        no_new_privileges=_prctl(PR_SET_NO_NEW_PRIVS, 1),
    )


def bound(room: int) -> int | None:
    """Bound the memory that can be reserved and the files that can be written, once the models are loaded.

    Args:
        room: bytes that the budget leaves for frames.

    Returns:
        The limit on private memory, or None where there is none.
    """
    _limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    try:
        status = Path("/proc/self/status").read_text()
        data = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    except (OSError, ValueError, StopIteration):
        return None
    most = data + max(room, 0) + HEAD_ROOM + THREAD * (os.cpu_count() or 1)
    return most if _limit(resource.RLIMIT_DATA, most) else None


def _limit(what: int, most: int) -> bool:
    """Lower a limit; one that is lower already stays."""
    try:
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    except (OSError, ValueError):
        return False
    return True


def _libc() -> Callable[[str], Callable[..., int]]:
    library = ctypes.CDLL(None, use_errno=True)
    return lambda name: getattr(library, name)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return _libc()("prctl")(option, ctypes.c_ulong(value), 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def _without_network() -> str:
    """Leave the network: root simply can, others in a user namespace of their own, where the system has those."""
    if sys.platform != "linux":
        return "shared: only Linux can take it away"
    try:
        unshare = _libc()("unshare")
    except (OSError, AttributeError):
        return "shared: the C library has no unshare"
    if unshare(CLONE_NEWNET) == 0:
        return "none"
    user, group = os.getuid(), os.getgid()
    if unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        _write("/proc/self/setgroups", "deny")  # the system asks for this before a group is mapped
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        return "none"
    return f"shared: {os.strerror(ctypes.get_errno())}"


def _write(path: str, text: str) -> bool:
    try:
        Path(path).write_text(text)
    except OSError:
        return False
    return True
