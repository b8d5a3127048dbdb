"""How long each stage took: clock, log, history, summary, pictures, comparison, metrics; see docs/timings.md.

Importing this loads the clock and no more: the pipeline does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .clock import StageClock
from .environment import Environment, here, versions

if TYPE_CHECKING:
    from .history import History, history_path
    from .log import TimingLog
    from .observe import Observer, Observers
    from .record import Record

_HOMES = {
    "History": "history",
    "history_path": "history",
    "TimingLog": "log",
    "Observer": "observe",
    "Observers": "observe",
    "Record": "record",
}

__all__ = [
    "Environment",
    "History",
    "Observer",
    "Observers",
    "Record",
    "StageClock",
    "TimingLog",
    "here",
    "history_path",
    "versions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
