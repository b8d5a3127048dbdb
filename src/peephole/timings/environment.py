"""What a process looks at frames with: runtime, threads, processor, versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = ("dlib-bin", "numpy", "onnxruntime", "openvino", "pillow", "simplejpeg")
"""Distributions that do the work, as far as they are installed."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What beside the models decides how long a frame takes.

    Attributes:
        runtime: what runs the networks, with its version, and "bfloat16" behind it where it computes in that; empty
            where nothing looked at anything.
        threads: its compute threads; 0 likewise.
        cpu: the processor's model, "" where the system does not tell.
        version: Peephole's.
        libraries: versions of Python and of `LIBRARIES`.
        run: the same for all that one process does, and nothing else; "" where nobody says.
    """

    runtime: str = ""
    threads: int = 0
    cpu: str = ""
    version: str = ""
    libraries: dict[str, str] = field(default_factory=dict)
    run: str = ""


@functools.cache
def here(runtime: str = "", precision: str = "float32", threads: int | None = None) -> Environment:
    """The environment of this process.

    Args:
        runtime: see `models.session.Runtime`; empty where this process runs no network.
        precision: likewise.
        threads: likewise; None for one a processor that this process may use.
    """
    from .. import __version__
    from ..memory import usable_cpus

    found = versions()
    ran = " ".join(filter(None, (runtime, found.get(runtime), precision if precision != "float32" else None)))
    count = (threads or usable_cpus()) if runtime else 0
    libraries = {name: version for name, version in found.items() if name != "peephole"}
    return Environment(ran, count, cpu_model(), __version__, libraries, _run())


@functools.cache
def _run() -> str:
    return f"{time.time_ns():x}-{os.getpid()}"


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, Peephole and the libraries that do the work."""
    from .. import __version__

    found = {"python": platform.python_version(), "peephole": __version__}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def cpu_model(root: Path = Path("/")) -> str:
    """The processor's model as the system calls it, "" where it does not.

    Linux: the "model name" of ``/proc/cpuinfo`` (x86), or on ARM the board (``Model``, or the device tree's) and the
    cores' implementer and part. macOS: ``machdep.cpu.brand_string``.
    """
    try:
        info = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return _brand() if sys.platform == "darwin" else platform.processor()
    fields = dict(re.findall(r"^([^\t:\n]+?)[ \t]*:[ \t]*(.*?)[ \t]*$", info, re.MULTILINE))
    if name := fields.get("model name") or fields.get("cpu model"):
        return re.sub(r"\s+", " ", name)
    parts = sorted(set(zip(*(re.findall(rf"^{each}\s*: *(\S+)", info, re.MULTILINE) for each in _ARM), strict=False)))
    cores = ", ".join(f"ARM {implementer}/{part}" for implementer, part in parts)
    board = fields.get("Model") or _text(root / "proc/device-tree/model") or fields.get("Hardware", "")
    return " ".join(filter(None, (board, f"({cores})" if cores and board else cores))) or platform.machine()


_ARM = ("CPU implementer", "CPU part")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _brand() -> str:
    """See sysctlbyname(3): the size is asked for first."""
    import ctypes

    libc, size = ctypes.CDLL(None), ctypes.c_size_t(0)
    name = b"machdep.cpu.brand_string"
    if libc.sysctlbyname(name, None, ctypes.byref(size), None, 0):
        return platform.processor()
    text = ctypes.create_string_buffer(size.value)
    libc.sysctlbyname(name, text, ctypes.byref(size), None, 0)
    return os.fsdecode(text.value)
