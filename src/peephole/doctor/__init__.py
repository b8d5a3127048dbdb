"""What this machine is, what follows from it, and what to do about it; what ``peephole doctor`` prints.

findings    a state, a line and advice each; a check that fails is a finding too
processor   processors, vector extensions, load, power
machine     system, surroundings, memory and limits, clock
software    Python, libraries, SQLite, models' files
storage     folders, file systems, the gallery's file
work        budget, worker, plans

It is run when nothing else works. So it needs the standard library alone to begin with, loads every other library in a
process of its own first, and goes on whatever a check meets.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from . import machine, processor, software, storage
from .findings import Check, Finding, State, survived, worst

if TYPE_CHECKING:
    from ..planner import Size
    from .software import Load

__all__ = ["Asked", "Finding", "State", "examine", "worst"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to examine.

    Attributes:
        profile, detector, recognizer, memory: as for the pipeline.
        gallery: its file; None for the usual one.
        sizes: (width, height) of frames to plan for; none for `work.USUAL`.
        root: where ``/proc``, ``/sys`` and ``/etc`` are looked for.
        environ: the environment's variables.
        home: what is shown as ``~``.
        load: loads a library apart; see `software.load_apart`.
    """

    profile: str = "modern"
    detector: str | None = None
    recognizer: str | None = None
    memory: int | str | None = None
    gallery: str | None = None
    sizes: Sequence[Size] = ()
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    home: str = field(default_factory=lambda: os.path.expanduser("~"))  # noqa: PTH111 - it never raises
    load: Load = software.load_apart


def examine(asked: Asked) -> Iterator[Finding]:
    """Look at everything, in order; findings come as they are made."""
    troubles: dict[str, software.Trouble] = {}  # by module; known once the libraries have been loaded apart
    checks = (
        _of_machine(asked),
        _of_software(asked, troubles),
        _of_storage(asked, troubles),
        _of_work(asked, troubles),
    )
    for check in chain(*checks):
        yield from survived(check, asked.home)


def _of_machine(asked: Asked) -> Iterator[Check]:
    root, build = asked.root, machine.Build.here()
    yield Check("machine", "system", partial(machine.system, root, build))
    yield Check("machine", "runs in", partial(machine.surroundings, root, build, asked.environ))
    yield Check("machine", "processor", partial(processor.processors, root))
    if build.system == "Linux":
        yield Check("machine", "extensions", partial(processor.vectors, root, build.machine))
        yield Check("machine", "load", partial(processor.load, root))
        yield Check("machine", "power", partial(processor.power, root))
        yield Check("machine", "memory", partial(machine.available, root))
        yield Check("machine", "swap", partial(machine.swap, root))
        yield Check("machine", "memory limit", partial(machine.limit, root))
        yield Check("machine", "watching", partial(machine.watching, root, _subscribe))
    yield Check("machine", "process limits", machine.process_limits)
    yield Check("machine", "clock", machine.clock)
    output = getattr(sys.stdout, "encoding", None)
    yield Check("machine", "encoding", partial(machine.terminal, output, sys.getfilesystemencoding()))


def _subscribe() -> None:
    from inotify_simple import INotify

    INotify().close()


def _of_software(asked: Asked, troubles: dict[str, software.Trouble]) -> Iterator[Check]:
    def libraries() -> Iterator[Finding]:
        troubles.update(software.load_all(asked.load))
        yield from software.libraries(troubles, asked.root, _packages(asked) if _light(troubles) else ())

    yield Check("software", "python", software.python)
    yield Check("software", "settings", partial(software.settings, asked.environ))
    yield Check("software", "libraries", libraries)
    yield Check("software", "sqlite", software.sqlite)
    yield Check("software", "models", lambda: software.models(_models(asked) if _light(troubles) else ()))


def _light(troubles: Mapping[str, software.Trouble]) -> bool:
    """Whether this process can import what the host of a worker needs, without being killed for it."""
    return not troubles.keys() & {"numpy", "PIL.Image", "simplejpeg", "platformdirs"}


def _names(asked: Asked) -> tuple[str, str]:
    """Detector and recognizer by name."""
    from ..pipeline import PROFILES

    detector, recognizer = PROFILES[asked.profile]
    return asked.detector or detector, asked.recognizer or recognizer


def _lands_by_dlib(detector: str, recognizer: str) -> bool:
    """Whether dlib's landmarks are needed: only YuNet's own suit the recognizers of ArcFace's kind."""
    return not (detector.startswith("yunet") and recognizer.startswith(("sface", "onnx:")))


def _packages(asked: Asked) -> set[str]:
    """Packages that not every model needs, and these do."""
    names = _names(asked)
    return {"dlib-bin"} if _lands_by_dlib(*names) or any(name.startswith("dlib-") for name in names) else set()


_FILES = {"dlib-cnn": "mmod", "dlib-resnet": "resnet"}
"""Models that are read from another one's file."""


def _models(asked: Asked) -> set[str]:
    """The models' files that the work needs, by their names in the catalogue."""
    names = _names(asked)
    return {_FILES.get(name, name) for name in names} | ({"landmarks5"} if _lands_by_dlib(*names) else set())


def _of_storage(asked: Asked, troubles: Mapping[str, software.Trouble]) -> Iterator[Check]:
    container = machine.container(asked.root, asked.environ)

    def look(place: Callable[[], storage.Place]) -> Iterator[Finding]:
        made = place()
        yield storage.place(made, storage.volume_of(made.folder, root=asked.root), container=container)

    def cache() -> storage.Place:
        from ..models.store import cache_folder

        return storage.Place("cache", cache_folder(), "PEEPHOLE_CACHE")

    def gallery_file() -> Path:
        if asked.gallery:
            return Path(asked.gallery)
        _insist(troubles)
        from ..gallery import gallery_path

        return gallery_path()

    def gallery() -> Iterator[Finding]:
        _insist(troubles)
        yield from storage.gallery(gallery_file())

    def galleries() -> storage.Place:
        return storage.Place("gallery's disk", gallery_file().parent, "PEEPHOLE_GALLERY", lasting=True, sqlite=True)

    def queue() -> storage.Place:
        from ..spool import queue_folder

        return storage.Place("queue's disk", queue_folder(), "watch --queue", lasting=True, sqlite=True)

    yield Check("storage", "cache", partial(look, cache))
    yield Check("storage", "gallery's disk", partial(look, galleries))
    yield Check("storage", "gallery", gallery)
    yield Check("storage", "queue's disk", partial(look, queue))
    yield Check("storage", "temporary", partial(storage.temporary, root=asked.root, environ=asked.environ))


def _insist(troubles: Mapping[str, software.Trouble]) -> None:
    """Raise an `ImportError` where this process would not survive the import."""
    if not _light(troubles):
        raise ImportError("what it takes cannot be loaded, see libraries above")


def _of_work(asked: Asked, troubles: Mapping[str, software.Trouble]) -> Iterator[Check]:
    from .. import memory
    from . import work

    found = memory.found_budget(root=asked.root)
    tried: list[work.Work] = []

    def worker() -> Iterator[Finding]:
        if not _light(troubles):
            yield Finding("worker", "problem", "not tried: what it takes cannot be loaded, see libraries above")
            return
        from ..worker.host import Options

        options = Options(
            profile=asked.profile, detector=asked.detector, recognizer=asked.recognizer, memory=asked.memory
        )
        tried.append(work.Work(options, _names(asked)[0]))
        yield from tried[0].worker()

    def plans() -> Iterator[Finding]:
        if tried:
            yield from tried[0].plans(asked.sizes or work.USUAL, found)

    yield Check("work", "budget", lambda: work.budget(asked.memory, found))
    yield Check("work", "worker", worker)
    yield Check("work", "plans", plans)
