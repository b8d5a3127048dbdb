"""What computes: processors, how many of them may be used, their vector extensions, and what slows them down.

Linux's formats are in proc(5), cgroups(7) and the kernel's ``accounting/psi.rst``; the levels of x86-64 in the System V
psABI, "Micro-Architecture Levels".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .. import memory
from .findings import Fact, Finding

X86 = frozenset({"x86_64", "amd64", "AMD64"})
ARM = frozenset({"aarch64", "arm64"})

_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS = (("x86-64-v4", _V4), ("x86-64-v3", _V3), ("x86-64-v2", _V2))
SHOWN = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
"""Extensions that the networks' runtimes look for, by Linux's names."""

ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd49": "Neoverse-N2",
}
"""ARM's own cores by the part number of ``/proc/cpuinfo``; the kernel tells no name there."""

BUSY = 1.5
"""Runnable processes for each usable processor from which on frames wait for others."""

HIDDEN = (
    "This is a virtual machine, and its CPU type hides what the processor can do. Proxmox: Hardware, Processors, Type: "
    "host. libvirt: <cpu mode='host-passthrough'/>. QEMU: -cpu host. Then power the machine off and on again; a reboot "
    "from within is not enough."
)
NO_AVX = (
    "dlib's wheel is built for AVX and crashes without it. The profile modern does without dlib; --profile "
    "classic, the dlib-* models and peephole selftest do not."
)
OLD = (
    "The libraries are built for x86-64-v2, processors from about 2009 on; NumPy before 2.4 asks for less: "
    "pip install 'numpy<2.4' may help, another machine does."
)


AT_ODDS = (
    "By what it says, the processor has all that the library asks for: the library's files may be damaged, or an "
    "emulator may be at work. Install the library anew."
)


def cpuinfo(root: Path) -> dict[str, str]:
    """The fields of ``/proc/cpuinfo``, each as it stands first.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[str, str] = {}
    for line in (root / "proc/cpuinfo").read_text(errors="replace").splitlines():
        name, separator, value = line.partition(":")
        if separator:
            found.setdefault(name.strip(), value.strip())
    return found


def extensions(root: Path) -> frozenset[str]:
    """The processor's extensions by Linux's names.

    Raises:
        OSError: they cannot be read.
    """
    fields = cpuinfo(root)
    return frozenset((fields.get("flags") or fields.get("Features") or "").split())


def is_virtual(root: Path) -> bool:
    """Whether the processor says that it is a virtual one; False where it cannot be read."""
    try:
        return "hypervisor" in extensions(root)
    except OSError:
        return False


def lacking(root: Path) -> tuple[str, ...]:
    """Advice where a library needs instructions that the processor does not have, or does not show."""
    try:
        found = extensions(root)
    except OSError:
        return (OLD,)
    if found >= _V3:
        return (AT_ODDS,)
    return (HIDDEN,) if "hypervisor" in found else (OLD,)


def processors(root: Path) -> Iterator[Finding]:
    """How many there are, how many may be used, and what says so."""
    usable, present = memory.usable_cpus(root=root), os.cpu_count() or 1
    model = _model(root)
    facts: dict[str, Fact] = {"model": model, "usable": usable, "present": present}
    limits = [f"{float(quota):g} by {path}" for path, quota in memory.cpu_quotas(root=root)]
    least = min((quota for _, quota in memory.cpu_quotas(root=root)), default=None)
    why = f": {', '.join(limits)}" if limits else " (affinity)" if usable < present else ""
    summary = f"{model}, {usable} of {present} usable{why}"
    if least is not None and least < 1:
        advice = f"A frame takes about {float(1 / least):.1f} times as long as on one whole processor: raise the quota."
        yield Finding("processor", "warning", summary, (advice,), facts)
    elif least is not None and least < usable:
        advice = (
            f"{usable} threads share {float(least):g} processors, and the kernel pauses them when those are used up: "
            "a whole number is steadier."
        )
        yield Finding("processor", "note", summary, (advice,), facts)
    else:
        yield Finding("processor", "ok", summary, facts=facts)


def _model(root: Path) -> str:
    """The processor's name, or what comes closest to it."""
    try:
        fields = cpuinfo(root)
    except OSError:
        return "processor unknown"
    return fields.get("model name") or ARM_PARTS.get(fields.get("CPU part", "")) or fields.get("Hardware") or "unnamed"


def vectors(root: Path, machine: str) -> Iterator[Finding]:
    """Which vector extensions there are, and whether the libraries can do with them.

    Args:
        root: of the file system.
        machine: the architecture, as `platform.machine` has it.

    Raises:
        OSError: they cannot be read.
    """
    found = extensions(root)
    shown = [name for name in SHOWN if name in found]
    if machine not in X86:
        summary = ", ".join(shown) or "none that is known here"
        yield Finding("extensions", "ok", summary, facts={"extensions": shown})
        return
    if not found:
        yield Finding("extensions", "note", "not known: /proc/cpuinfo names none")
        return
    level = next((name for name, needed in LEVELS if needed <= found), "x86-64")
    summary = f"{level}: {', '.join(shown) or 'none that helps'}"
    facts: dict[str, Fact] = {"level": level, "extensions": shown}
    hidden = (HIDDEN,) if "hypervisor" in found else ()
    if level == "x86-64":
        summary += "; the libraries need x86-64-v2"
        yield Finding("extensions", "problem", summary, hidden or (OLD,), facts)
    elif "avx" not in found:
        advice = (*hidden, NO_AVX)
        yield Finding("extensions", "warning", f"{summary}; no AVX: slower, and no dlib", advice, facts)
    elif "avx2" not in found or "fma" not in found:
        yield Finding("extensions", "note", f"{summary}; no AVX2 with FMA: slower", hidden, facts)
    else:
        yield Finding("extensions", "ok", summary, facts=facts)


def load(root: Path) -> Iterator[Finding]:
    """Whether others keep the processors busy.

    Raises:
        OSError, ValueError: the system does not tell.
    """
    average = float((root / "proc/loadavg").read_text().split()[0])
    usable = memory.usable_cpus(root=root)
    summary, facts = f"{average:.2f} over the last minute, {usable} usable", {"load": average}
    if average > BUSY * usable:
        advice = "Others keep the machine busy: frames take longer than the figures below promise."
        yield Finding("load", "note", summary, (advice,), facts)
    else:
        yield Finding("load", "ok", summary, facts=facts)


_THROTTLED = ((0, "under-voltage now"), (2, "throttled now"), (16, "under-voltage since the start"), (18, "throttled"))
"""Bits of the Raspberry Pi firmware's ``get_throttled`` that matter here; the last two since the start."""


def power(root: Path) -> Iterator[Finding]:
    """Whether a Raspberry Pi has had too little power or too much heat; nothing elsewhere.

    Raises:
        OSError, ValueError: the system's file makes no sense.
    """
    path = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    seen: list[str] | None = None
    if path.exists():
        bits = int(path.read_text().strip(), 16)
        seen = [words for bit, words in _THROTTLED if bits >> bit & 1]
    for chip in sorted(root.glob("sys/class/hwmon/hwmon*")):  # kernels without the file above have this
        if seen is None and (chip / "name").exists() and (chip / "name").read_text().strip() == "rpi_volt":
            seen = ["under-voltage"] if (chip / "in0_lcrit_alarm").read_text().strip() == "1" else []
    if seen is None:
        return
    if seen:
        advice = (
            "The power supply or the cooling is too weak; the processor is slowed down for it, and a card may be "
            "damaged by it. Use the supply made for this model, and a heat sink."
        )
        yield Finding("power", "warning", ", ".join(seen), (advice,), {"throttled": seen})
    else:
        yield Finding("power", "ok", "enough, and not too hot", facts={"throttled": []})


def board(root: Path) -> str:
    """What a small computer calls itself, as "Raspberry Pi 4 Model B Rev 1.4"; empty where it does not."""
    try:
        text = (root / "proc/device-tree/model").read_text(errors="replace")
    except OSError:
        return ""
    return re.sub(r"[^\x20-\x7e]", "", text)
