"""When what frames are looked at with was changed: another model file, runtime, version or machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Columns
from .record import SHORT, Setup

MOST = 24
"""Changes beyond this are no updates but two programs that write in turn: then only what is new each time is told."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something became another.

    Attributes:
        seconds: of the first frame after it, since 1970.
        what: what there is from now on, as "sface-fb143eea" or "onnxruntime 1.32.0".
        model: whether it is a model.
    """

    seconds: float
    what: tuple[str, ...]
    model: bool


def changes(columns: Columns) -> list[Change]:
    """The changes among the timings, in the order of time.

    Frames are compared with the last ones of the same detector and recognizer, so that runs that only look for faces,
    amid others, are none. The first frame of a pair that is not the first of all is one.
    """
    parts = [_parts(kind.setup) for kind in columns.kinds]
    different = list(dict.fromkeys(tuple(each.items()) for each in parts))
    numbers = np.array([different.index(tuple(each.items())) for each in parts])[columns.kind]
    order = np.argsort(columns.seconds, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    found: list[Change] = []
    last: dict[tuple[str, str], dict[str, str]] = {}
    seen: set[tuple[str, ...]] = set()
    fresh: list[bool] = []
    around: tuple[str, ...] = ()  # the last change of what is around the models; each pair comes to it in its turn
    for start in starts:
        kind = columns.kind[order[start]]
        setup, now = columns.kinds[kind].setup, parts[kind]
        pair = (setup.detector, setup.recognizer)
        before = last.get(pair)
        last[pair] = now
        if before is now:
            continue
        if before is None and len(last) == 1:
            continue
        what = tuple(value for name, value in now.items() if (before or {}).get(name) != value and value)
        if before is None:
            what = what[: sum(1 for name in pair if name)]  # a pair that is new: its models say it
        model = before is None or any(before.get(name) != now[name] for name in ("detector", "recognizer"))
        if what and (model or what != around):
            around = around if model else what
            found.append(Change(float(columns.seconds[order[start]]), what, model))
            fresh.append(what not in seen)
            seen.add(what)
    return [each for each, new in zip(found, fresh, strict=True) if new] if len(found) > MOST else found


def _parts(setup: Setup) -> dict[str, str]:
    """What can change, in words."""
    names = {"detector": setup.detector, "recognizer": setup.recognizer}
    words = {role: f"{name}-{setup.models.get(name, '')[:SHORT]}".rstrip("-") for role, name in names.items()}
    return words | {
        "runtime": setup.runtime,
        "version": f"peephole {setup.version}" if setup.version else "",
        "threads": f"{setup.threads} threads" if setup.threads else "",
        "cpu": setup.cpu,
    }
