"""One side of a comparison, out of a log or the history: by model, version or time."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from ..errors import TimingsError
from .record import SHORT, Record

Chosen = Callable[[Record], bool]

MOST = 20_000
"""Frames of a side; of more the newest are taken. Flicker decides by then, not the number."""
LEAST_DIGITS = 4
"""Of a hash that stands for a model."""
SHOWN = 6
"""Names of a kind in a message."""


def by_name(word: str) -> Chosen:
    """Frames by what they were looked at with.

    Args:
        word: a detector's or recognizer's name; the beginning of a model file's SHA-256; both, as the summary has it
            (``yunet-49f000ec``); Peephole's version; or a runtime with its version (``onnxruntime 1.31.1``).
    """
    digits = word.lower() if re.fullmatch(rf"[0-9a-fA-F]{{{LEAST_DIGITS},64}}", word) else None

    def chosen(record: Record) -> bool:
        if word in (record.detector, record.recognizer, record.version, record.runtime):
            return True
        hashes = record.models.items()
        return any(word == f"{name}-{digest[:SHORT]}" for name, digest in hashes) or (
            digits is not None and any(digest.startswith(digits) for _, digest in hashes)
        )

    return chosen


def by_time(since: float, until: float) -> Chosen:
    """Frames that were logged from ``since`` on and before ``until``, seconds since 1970."""
    return lambda record: since <= record.time.timestamp() < until


def choose(records: Iterable[Record], *sides: Chosen) -> list[list[Record]]:
    """Several sides out of one pass, the newest `MOST` of each.

    Raises:
        TimingsError: a frame would be on two sides.
    """
    found: list[deque[Record]] = [deque(maxlen=MOST) for _ in sides]
    both = 0
    for record in records:
        taken = [side for side, chosen in zip(found, sides, strict=True) if chosen(record)]
        both += len(taken) > 1
        for side in taken:
            side.append(record)
    if both:
        raise TimingsError(f"{both} frames are on both sides: choose sides that have none in common")
    return [list(side) for side in found]


def what_there_is(records: Iterable[Record]) -> str:
    """Models, versions and times of some records, for a message that says what could have been chosen."""
    models: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    times: list[datetime] = []
    for each in records:
        models.update(f"{name}-{digest[:SHORT]}" for name, digest in each.models.items() if name in _names(each))
        versions[each.version] += 1
        times = [min(each.time, *times), max(each.time, *times)] if times else [each.time, each.time]
    if not times:
        return "nothing"
    span = " to ".join(f"{each.astimezone(UTC):%Y-%m-%dT%H:%M}" for each in times)
    return f"models {_most(models)}; versions {_most(versions)}; {span} UTC"


def _names(record: Record) -> Sequence[str]:
    return record.detector, record.recognizer


def _most(counted: Counter[str]) -> str:
    names = [name for name, _ in counted.most_common(SHOWN) if name]
    return ", ".join(names) + (", ..." if len(counted) > SHOWN else "") if names else "not known"


def same_file(first: str, second: str) -> bool:
    """Whether two names are of one file."""
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)  # noqa: PTH110, PTH121
