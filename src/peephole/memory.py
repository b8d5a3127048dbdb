"""What this process takes of the machine, and what it may take: memory measured and budgeted, processors counted.

Linux tells through ``/proc`` and the cgroup file systems; their formats are in the man pages proc(5) and cgroups(7) and
in the kernel's ``admin-guide/cgroup-v1/memory.rst`` and ``admin-guide/cgroup-v2.rst``. None of those files is sure to
be there, readable or sane; one that is not is passed over, as though it set no limit and counted nothing.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal

from .errors import UsageError
from .mounts import unescape

MEMORY_VARIABLE = "PEEPHOLE_MEMORY"
"""The environment variable that sets the budget where no argument does; empty is as good as unset."""

LARGE_BLOCK = 256 * 2**10
"""Blocks from this size on go back to the system when they are freed."""
RESERVE = 16 * 2**20
"""Bytes of the found room that are left alone, at least; or 5 % of it, if that is more.

What is found is true for a moment only. The fixed part is for what a cgroup is charged for and a resident set does not
show: page tables, the kernel's buffers, the cache of the files being read. The share is for the neighbours, who grow
with the machine. A budget that is asked for is taken as it is.
"""

ASSUMED = 512 * 2**20
"""Bytes taken to be there where nothing at all can be found out: the smallest box that Peephole is made for."""

_UNLIMITED = 2**60
"""Version 1 says "no limit" with the largest multiple of the page size, which varies; no machine has this much."""

_SIZE = re.compile(r"\s*([0-9]{1,24}(?:\.[0-9]{1,24})?)\s*(?:([kmgt])(i?))?b?\s*", re.ASCII | re.IGNORECASE)

# By the type of the file system: the files with a limit, the one with the usage, and what memory.stat calls the file
# pages that nobody used lately, in the group and those below it. The usage counts them, yet they go when room is short.
_MEMORY_FILES = {
    "cgroup": (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    # Past memory.high nothing is killed, but all is slowed down so much that it is a limit too.
    "cgroup2": (("memory.max", "memory.high"), "memory.current", "inactive_file"),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What the whole process may take."""

    bytes: int
    """Its resident set at the most, what it has already included; 0 where there is no room at all."""
    source: str
    """Where the number came from, for people."""


def parse_size(text: str | int) -> int:
    """A size in bytes from words like ``256MiB``, ``1.5 GB``, ``300M`` or ``300000000``.

    With an ``i`` the units are powers of 1024, without they are powers of 1000; case and a final ``B`` do not matter.

    Raises:
        UsageError: It is no such thing, or less than one byte.
    """
    size = 0
    if match := _SIZE.fullmatch(str(text)):
        number, prefix, binary = match.groups(default="")
        power = " kmgt".index(prefix.lower() or " ")
        size = int(Fraction(number) * (1024 if binary else 1000) ** power)
    if size < 1:
        raise UsageError(f"{str(text)!r} is not a size of memory; write it like 256MiB, 1.5GiB or 300000000 (bytes)")
    return size


def find_budget(requested: int | str | None = None, *, root: Path = Path("/")) -> Budget:
    """What this process may take: the argument, or else `MEMORY_VARIABLE`, or else what is found.

    Found is the smallest room under any limit along the process's cgroup path and on the machine, less `RESERVE`.

    Args:
        requested: Bytes, or words for `parse_size`.
        root: Where ``/proc`` and the cgroups' mount points are looked for.

    Raises:
        UsageError: The argument or the variable is not a size.
    """
    if requested is not None:
        size = parse_size(requested)
        return Budget(size, f"{in_words(size)} as asked for (--memory)")
    if text := os.environ.get(MEMORY_VARIABLE):
        try:
            size = parse_size(text)
        except UsageError as error:
            raise UsageError(f"{MEMORY_VARIABLE}: {error}") from error
        return Budget(size, f"{in_words(size)} as asked for ({MEMORY_VARIABLE})")
    return found_budget(root=root)


def found_budget(*, root: Path = Path("/")) -> Budget:
    """What `find_budget` finds where nobody asks for anything; for ``root`` see there."""
    room, source = min(_rooms(root), default=(ASSUMED, f"{in_words(ASSUMED)} assumed, as nothing could be found out"))
    reserve = max(RESERVE, room // 20)
    return Budget(max(0, room - reserve), f"{source}, {in_words(reserve)} kept in reserve")


def current_rss() -> int:
    """The resident size of this process, in bytes; the largest so far where the system does not tell."""
    return _field(Path("/proc/self/status"), "VmRSS") or peak_rss()


def peak_rss() -> int:
    """The largest resident size that this process has had, in bytes; since `reset_peak`, if that worked."""
    # Not ru_maxrss where there is a choice: that also remembers the process that started this one.
    if peak := _field(Path("/proc/self/status"), "VmHWM"):
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, the others in KiB


def reset_peak() -> bool:
    """Let `peak_rss` start anew from the present size; False where the system does not allow that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def usable_cpus(*, root: Path = Path("/")) -> int:
    """Processors that this process may keep busy, at least 1: its affinity, or its cgroups' quota if that is less."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for _, quota in cpu_quotas(root=root))]))


@dataclass(frozen=True, slots=True)
class Limit:
    """A memory limit along a process's cgroup path.

    Attributes:
        path: the file that sets it.
        bytes: what the group and those below it may take.
        used: what they take, without what would go if room were short; in bytes.
        version: of the cgroups that it is in.
    """

    path: Path
    bytes: int
    used: int
    version: Literal[1, 2]


def limits(*, root: Path = Path("/")) -> Iterator[Limit]:
    """The memory limits along this process's cgroup path, its own group's first; for ``root`` see `find_budget`."""
    for folder, kind in _groups(root, "memory"):
        names, usage, cache = _MEMORY_FILES[kind]
        used = (_number(folder / usage) or 0) - (_field(folder / "memory.stat", cache) or 0)
        for path in (folder / name for name in names):
            limit = _number(path)
            if limit is not None and 0 <= limit < _UNLIMITED:  # None is "max" too
                yield Limit(path, limit, used, 1 if kind == "cgroup" else 2)


def cgroup(*, root: Path = Path("/")) -> tuple[Path, Literal[1, 2]] | None:
    """The folder in which the kernel accounts for this process's memory, and its cgroups' version; None without one."""
    for folder, kind in _groups(root, "memory"):
        if (folder / "memory.stat").exists():
            return folder, 1 if kind == "cgroup" else 2
    return None


def _rooms(root: Path) -> Iterator[tuple[int, str]]:
    """What the whole process could take under each limit, in bytes, and the words for it."""
    own = current_rss()  # it is part of every usage, and the budget counts it
    for limit in limits(root=root):
        # Not below 0: pages that came along from another group, or that others touched first, are charged elsewhere.
        others = max(0, limit.used - own)
        words = f"cgroup limit {in_words(limit.bytes)} in {limit.path}, {in_words(others)} of it used by others"
        yield limit.bytes - others, words
    if (free := _field(root / "proc/meminfo", "MemAvailable")) is not None:
        words = f"{in_words(free)} available on the machine (MemAvailable) and {in_words(own)} in this process already"
        yield free + own, words
    elif total := _physical():
        yield (
            total,
            f"{in_words(total)} of memory in the machine (how much of it is available cannot be read here)",
        )


def cpu_quotas(*, root: Path = Path("/")) -> Iterator[tuple[Path, Fraction]]:
    """The CPU quotas along this process's cgroup path: the file that sets each, and how many processors it allows."""
    for folder, kind in _groups(root, "cpu"):
        names = ("cpu.max",) if kind == "cgroup2" else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            quota, period = (int(word) for name in names for word in _read(folder / name).split())
        except ValueError:  # "max" of version 2, or nothing that can be read
            continue
        if quota > 0 and period > 0:  # version 1 says -1 for no quota
            yield folder / names[0], Fraction(quota, period)


def oom_kills(process: int | Literal["self"] = "self", *, root: Path = Path("/")) -> tuple[Path, int] | None:
    """The file in which the kernel counts whom it killed for memory in a process's own cgroup, and how many so far.

    None where there is none. Version 2 counts the groups below it too.
    """
    for folder, kind in _groups(root, "memory", process):
        path = folder / ("memory.oom_control" if kind == "cgroup" else "memory.events")
        if (kills := oom_kills_in(path)) is not None:
            return path, kills
    return None


def oom_kills_in(path: Path) -> int | None:
    """How many processes the kernel has killed so far, by a file that `oom_kills` has found; None where it is gone."""
    return _field(path, "oom_kill")


def peak_of(process: int, *, root: Path = Path("/")) -> int:
    """The largest resident size of another process, in bytes, as `peak_rss`; 0 once it has ended."""
    return _field(root / f"proc/{process}/status", "VmHWM") or 0


def _groups(root: Path, controller: str, process: int | str = "self") -> Iterator[tuple[Path, str]]:
    """The folders of a process's own cgroup and those above it, and the type of file system they are in.

    A system can have both versions mounted with the controller in one of them; folders without it have no files of it.
    """
    paths: dict[str, str] = {}
    for line in _read(root / f"proc/{process}/cgroup").split("\n"):  # "4:cpu,cpuacct:/x", or "0::/x" for version 2
        _, controllers, path = line.split(":", 2) if line.count(":") > 1 else ("", "-", "")
        if not controllers or controller in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = path
    above: list[tuple[Path, str, PurePosixPath]] = []
    aside: list[tuple[Path, str, PurePosixPath]] = []
    for line in _read(root / "proc/self/mountinfo").split("\n"):
        # "35 31 0:32 ROOT POINT rw,relatime [more...] - TYPE SOURCE OPTIONS"; version 1 has its controllers in OPTIONS.
        mount, _, system = line.partition(" - ")
        match (*mount.split(" ")[3:5], *system.split(" ")):
            case (top, point, kind, _, options) if kind in paths:
                if kind == "cgroup" and controller not in options.split(","):
                    continue
                folder, own = root / unescape(point).lstrip("/"), PurePosixPath(paths[kind])
                # A container sees a part of the tree, mounted from a root of its own, and its path is told from the
                # host's root or from its own. What is outside a mount, "/.." in a namespace, cannot be followed in it.
                if own.is_relative_to(unescape(top)) and ".." not in own.parts:
                    above.append((folder, kind, own.relative_to(unescape(top))))
                else:
                    aside.append((folder, kind, PurePosixPath()))
    # A mount that does not show the process's group is the container's own at best: only where there is none better.
    kinds = {kind for _, kind, _ in above}
    for folder, kind, below in (*above, *(mount for mount in aside if mount[1] not in kinds)):
        yield from ((folder / part, kind) for part in (below, *below.parents))


def _physical() -> int:
    """Bytes of memory in the machine, or 0 where the system does not tell."""
    try:
        return max(0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 0


def _read(path: Path) -> str:
    """The text of a file, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # ValueError: a garbled path with a null in it
        return ""


def _number(path: Path) -> int | None:
    """The number that is all of a file, or None."""
    try:
        return int(_read(path))
    except ValueError:
        return None


def _field(path: Path, name: str) -> int | None:
    """The number after a name in a file of lines like ``VmRSS: 12 kB`` or ``inactive_file 4096``, in bytes, or None."""
    match = re.search(rf"^{name}:?[ \t]+([0-9]{{1,20}})( kB)?$", _read(path), re.MULTILINE)
    return int(match[1]) * (1024 if match[2] else 1) if match else None  # /proc writes kB and means KiB


def in_words(size: int) -> str:
    """Bytes for people: ``12.3 MiB``."""
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:.1f}".removesuffix(".0") + (" bytes", " KiB", " MiB", " GiB")[power]


@functools.cache
def return_what_is_freed() -> None:
    """Have the C library give large freed blocks back to the system at once, where it can be told to (glibc).

    By default it raises its own threshold to the size of the largest block that was freed, 32 MiB in the end, and
    keeps what is freed below that: a decoded frame's memory would stay with the process and count against its budget.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library, with ways of its own
    for parameter in (mmap_threshold, trim_threshold):
        mallopt(parameter, LARGE_BLOCK)
