"""What the machine is: its system, what it runs in, memory and its limits, clock and terminal."""

from __future__ import annotations

import errno
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .. import memory
from ..memory import in_words
from .findings import Fact, Finding
from .processor import ARM, X86, board, is_virtual

LITTLE = 256 * 2**20
"""Bytes: with less available, even a small frame may be looked at more coarsely."""
SMALL_MACHINE = 2 * 2**30
"""Bytes of memory up to which a missing swap is worth a word."""
COMMITTABLE = 2**30
"""Bytes that a worker reserves at the most beyond what it uses, about: the networks' arena, stacks, libraries."""
PRESSED = 5.0
"""Percent of the time that something waits for memory, from which on that shows."""
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
"""Peephole is younger than this: a clock that says otherwise is not set."""


@dataclass(frozen=True, slots=True)
class Build:
    """What this Python was built for and runs on.

    Attributes:
        system: as `platform.system`, "Linux".
        release: the kernel's.
        machine: as `platform.machine`, "x86_64".
        bits: of an address.
        libc: the C library and its version, or "" where it is not glibc.
    """

    system: str
    release: str
    machine: str
    bits: int
    libc: str

    @classmethod
    def here(cls) -> Build:
        """This one."""
        try:
            libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (AttributeError, OSError, ValueError):  # another C library does not know the name
            libc = ""
        bits = 64 if sys.maxsize > 2**32 else 32
        return cls(platform.system(), platform.release(), platform.machine(), bits, libc)


def system(root: Path, build: Build) -> Iterator[Finding]:
    """The operating system, and whether the libraries are built for it."""
    name = _distribution(root) or build.system
    libc = build.libc or ("not glibc" if build.system == "Linux" else "")
    parts = [name, build.machine, f"{build.bits} bits", f"{build.system} {build.release}", *([libc] if libc else [])]
    summary = ", ".join(parts)
    facts: dict[str, Fact] = {
        "system": name,
        "machine": build.machine,
        "bits": build.bits,
        "kernel": build.release,
        "libc": libc,
    }
    if build.bits == 32:
        kernel = " The kernel is a 64-bit one, Python is not." if build.machine in X86 | ARM else ""
        advice = (
            f"ONNX Runtime is built for 64 bits alone.{kernel} Install the 64-bit system (Raspberry Pi: Raspberry "
            "Pi OS, 64-bit)."
        )
        yield Finding("system", "problem", summary, (advice,), facts)
    elif build.machine not in X86 | ARM:
        advice = "ONNX Runtime and dlib have wheels for x86-64 and 64-bit ARM alone."
        yield Finding("system", "problem", summary, (advice,), facts)
    elif build.system == "Linux" and not build.libc:
        advice = (
            "ONNX Runtime and dlib have wheels for glibc alone. In a container use an image of Debian's kind, as "
            "python:3.12-slim, in place of Alpine's."
        )
        yield Finding("system", "warning", summary, (advice,), facts)
    else:
        yield Finding("system", "ok", summary, facts=facts)


def _distribution(root: Path) -> str:
    try:
        text = (root / "etc/os-release").read_text(errors="replace")
    except OSError:
        return ""
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', text, re.MULTILINE)
    return match[1] if match else ""


def container(root: Path, environ: Mapping[str, str]) -> str:
    """The kind of container that this runs in, as "Docker"; empty outside one."""
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "Kubernetes"
    if (root / ".dockerenv").exists():
        return "Docker"
    if (root / "run/.containerenv").exists():
        return "Podman"
    for path in (root / "run/systemd/container", root / "proc/1/environ"):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # the second one is root's alone
            continue
        match = re.search(r"(?:^|\0)container=([\w-]+)", text) or re.fullmatch(r"\s*([\w-]+)\s*", text)
        if match:
            return match[1].upper() if match[1] == "lxc" else match[1]
    return ""


def surroundings(root: Path, build: Build, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What it runs in: a container, a virtual machine, a small computer."""
    found = []
    if name := board(root):
        found.append(name)
    if kind := container(root, environ):
        found.append(f"{kind} container")
    windows = "microsoft" in build.release.lower()
    if windows:
        found.append("Windows Subsystem for Linux")
    elif is_virtual(root):
        vendor = _line(root / "sys/class/dmi/id/sys_vendor")
        found.append(f"virtual machine{f' ({vendor})' if vendor else ''}")
    summary = ", ".join(found) or "nothing: a machine of its own"
    facts: dict[str, Fact] = {"in": found}
    if windows:
        advice = "Changes below /mnt/c and the like are not announced: watch folders there with --poll 1."
        yield Finding("runs in", "note", summary, (advice,), facts)
    else:
        yield Finding("runs in", "ok", summary, facts=facts)


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def meminfo(root: Path) -> dict[str, int]:
    """The fields of ``/proc/meminfo``, in bytes.

    Raises:
        OSError: it cannot be read.
    """
    found = re.findall(r"^(\w+):\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    return {name: int(value) * 1024 for name, value in found}


def available(root: Path) -> Iterator[Finding]:
    """Memory, and how much of it is available.

    Raises:
        OSError, KeyError: the system does not tell.
    """
    fields = meminfo(root)
    total, free = fields["MemTotal"], fields["MemAvailable"]
    summary = f"{in_words(free)} of {in_words(total)} available"
    facts: dict[str, Fact] = {"total": total, "available": free}
    pressed = _pressure(root, "memory")
    if pressed is not None:
        facts["pressure"] = pressed
    if pressed is not None and pressed > PRESSED:
        summary += f"; something waited for memory {pressed:g} % of the last minute"
        advice = "The machine is short of memory: end something else, or give Peephole less (--memory)."
        yield Finding("memory", "warning", summary, (advice,), facts)
    elif free < LITTLE:
        advice = "That is little: frames will be looked at more coarsely, see the plans below. End something else."
        yield Finding("memory", "warning", summary, (advice,), facts)
    else:
        yield Finding("memory", "ok", summary, facts=facts)


def _pressure(root: Path, what: str) -> float | None:
    """Percent of the last minute in which something waited for it; None where the kernel does not count that."""
    match = re.search(r"^some .*\bavg60=([0-9.]+)", _line(root / f"proc/pressure/{what}"), re.MULTILINE)
    return float(match[1]) if match else None


def swap(root: Path) -> Iterator[Finding]:
    """Swap, and whether the kernel promises more memory than there is.

    Raises:
        OSError, KeyError: the system does not tell.
    """
    fields = meminfo(root)
    total, used = fields["SwapTotal"], fields["SwapTotal"] - fields["SwapFree"]
    areas = [line.split()[0] for line in _line(root / "proc/swaps").splitlines()[1:] if line]
    summary = f"{in_words(used)} of {in_words(total)} used ({', '.join(areas)})" if total else "none"
    facts: dict[str, Fact] = {"total": total, "used": used}
    promised = fields.get("CommitLimit", 0) - fields.get("Committed_AS", 0)
    if _line(root / "proc/sys/vm/overcommit_memory") == "2" and promised < COMMITTABLE:
        summary += f"; the kernel promises only {in_words(max(0, promised))} more memory (vm.overcommit_memory is 2)"
        advice = (
            "A worker reserves more memory than it uses, and here that is refused: set vm.overcommit_memory to 0, "
            "or raise vm.overcommit_ratio."
        )
        yield Finding("swap", "warning", summary, (advice,), facts)
    elif not total and fields["MemTotal"] <= SMALL_MACHINE:
        advice = (
            "Peephole needs none, but where the memory runs out the kernel kills at once: zram, or a file of some "
            "hundred megabytes, leaves room for others' peaks."
        )
        yield Finding("swap", "note", summary, (advice,), facts)
    elif total and used > total * 0.8:
        advice = (
            "Swap is nearly full: when it is, the kernel kills. End something else, or give Peephole less (--memory)."
        )
        yield Finding("swap", "warning", summary, (advice,), facts)
    else:
        yield Finding("swap", "ok", summary, facts=facts)


def limit(root: Path) -> Iterator[Finding]:
    """The memory limit of the process's cgroups, and whom the kernel has killed for it.

    Whether the limit is large enough, `work.budget` says.
    """
    own = memory.cgroup(root=root)
    if own is None:
        yield Finding("memory limit", "ok", "no cgroup here accounts for memory", facts={"limit": None})
        return
    folder, version = own
    smallest = min(memory.limits(root=root), key=lambda each: each.bytes - each.used, default=None)
    facts: dict[str, Fact] = {"version": version, "path": str(folder), "limit": smallest.bytes if smallest else None}
    if smallest is None:
        summary = f"none along the cgroup path (version {version}, {folder})"
    else:
        summary = (
            f"{in_words(smallest.bytes)}, {in_words(max(0, smallest.used))} of it used "
            f"(cgroup version {smallest.version}, {smallest.path})"
        )
    if _line(folder / "memory.oom.group") == "1":
        advice = (
            "Beyond its limit the kernel kills all of this group at once, the program that starts the worker too: it "
            f"comes back only if somebody starts it again. Echo 0 to {folder}/memory.oom.group; with systemd: "
            "OOMPolicy=continue."
        )
        yield Finding("memory limit", "warning", f"{summary}; killed as a group", (advice,), facts)
    else:
        yield Finding("memory limit", "ok", summary, facts=facts)
    counted = memory.oom_kills(root=root)
    if counted and counted[1]:
        advice = (
            "If one was Peephole's worker, its frame was tried again more coarsely, and the log names it; a larger "
            "limit, or a --memory below it, avoids that."
        )
        summary = f"{counted[1]} processes of this group so far ({counted[0]})"
        yield Finding("killed for memory", "note", summary, (advice,), {"kills": counted[1]})


_RLIMITS = (
    ("RLIMIT_AS", 4 * 2**30, "address space (ulimit -v)"),
    ("RLIMIT_DATA", 2**30, "private memory (ulimit -d)"),
    ("RLIMIT_FSIZE", 512 * 2**20, "size of a file (ulimit -f)"),
    ("RLIMIT_NOFILE", 128, "open files (ulimit -n)"),
    ("RLIMIT_NPROC", 64, "processes (ulimit -u)"),
)
"""Limits of a process that can hinder, and from where on they do not."""


def process_limits(limits: Callable[[int], tuple[int, int]] = resource.getrlimit) -> Iterator[Finding]:
    """Limits that a shell or a service manager has set for its processes."""
    low = []
    for name, enough, words in _RLIMITS:
        number = getattr(resource, name, None)
        most = resource.RLIM_INFINITY if number is None else limits(number)[0]
        if most not in (resource.RLIM_INFINITY, -1) and most < enough:
            low.append(f"{words}: {most if enough < 2**20 else in_words(most)}")
    if low:
        advice = "These are low: workers may fail to start or run out. Raise them where Peephole is started."
        yield Finding("process limits", "warning", ", ".join(low), (advice,), {"low": low})
    else:
        yield Finding("process limits", "ok", "none that hinders", facts={"low": []})


def clock(now: float | None = None, installed: float | None = None) -> Iterator[Finding]:
    """Whether the clock can be right.

    Args:
        now: UTC seconds; by default the clock's.
        installed: when Peephole's files were written; by default as the disk says.

    Raises:
        OSError: the disk does not.
    """
    now = time.time() if now is None else now
    installed = Path(__file__).stat().st_mtime if installed is None else installed
    said = datetime.fromtimestamp(now, UTC)
    summary = f"{said:%Y-%m-%d %H:%M} UTC"
    facts: dict[str, Fact] = {"time": said.isoformat(timespec="seconds")}
    day = 86_400
    if said < EPOCH or now < installed - day:
        written = datetime.fromtimestamp(installed, UTC)
        summary += "; it is not set" if said < EPOCH else f"; Peephole's own files are of {written:%Y-%m-%d}"
        advice = (
            "Visits and photos get wrong dates, and unknown faces are forgotten too late or too early. Have it set "
            "over the network (timedatectl set-ntp true); a Raspberry Pi has no clock that runs without power."
        )
        yield Finding("clock", "warning", summary, (advice,), facts)
    else:
        yield Finding("clock", "ok", summary, facts=facts)


def terminal(output: str | None, files: str) -> Iterator[Finding]:
    """Whether names come out as they were written.

    Args:
        output: the encoding of standard output, None where there is none.
        files: the encoding of file names.
    """
    summary = f"{output or 'no output'}, file names {files}"
    facts: dict[str, Fact] = {"output": output, "files": files}
    if {_plain(name) for name in (output or "utf-8", files)} != {"utf8"}:
        advice = "Names with letters beyond ASCII come out escaped. Set LANG=C.UTF-8 (or PYTHONUTF8=1)."
        yield Finding("encoding", "note", summary, (advice,), facts)
    else:
        yield Finding("encoding", "ok", summary, facts=facts)


def _plain(encoding: str) -> str:
    return encoding.lower().replace("-", "").replace("_", "")


def watching(root: Path, opened: Callable[[], object]) -> Iterator[Finding]:
    """Whether the kernel announces changes of folders, as ``peephole watch`` wants it.

    Args:
        root: of the file system.
        opened: opens one subscription and closes it again.

    Raises:
        OSError: for another reason than that there are too many.
        ImportError: its library is not there.
    """
    try:
        opened()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        most = _line(root / "proc/sys/fs/inotify/max_user_instances")
        summary = f"others have taken all {most} of the user's subscriptions".replace("  ", " ")
        advice = (
            "peephole watch is not told of changes and looks at all files every second. Raise the number: sysctl "
            "fs.inotify.max_user_instances=512; in an LXC container, on its host."
        )
        yield Finding("watching", "warning", summary, (advice,))
    else:
        yield Finding("watching", "ok", "the kernel announces changes of folders")
