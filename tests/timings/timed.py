"""Records as they could have been logged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from peephole.timings.record import Record

START = datetime(2026, 5, 1, 6, tzinfo=UTC)
YUNET, SFACE, OTHER = "49f000ec" + "a" * 56, "fb143eea" + "b" * 56, "0ba9fbfa" + "c" * 56
STAGES = {"decode": 40.0, "plan": 0.5, "detect": 60.0, "detect.head": 35.25, "detect.tail": 20.0, "embed": 25.0}

ONE = Record(
    START,
    "front/a.jpg",
    "front/1",
    1536,
    1536,
    "1536x1536/2/40/1",
    2,
    STAGES,
    158.1,
    145.6,
    "yunet",
    "sface",
    {"yunet": YUNET, "sface": SFACE, "sface-embed": "d" * 64},
    "onnxruntime 1.32.0",
    2,
    "A processor",
    "0.1.0",
    libraries={"python": "3.11.7", "pillow": "13.0.0"},
    cpu_ms={name: 2 * value for name, value in STAGES.items()},
    run="1a-7",
)


def record(after: float = 0.0, **changes: Any) -> Record:
    """One, so many seconds later and otherwise as said."""
    return replace(ONE, time=START + timedelta(seconds=after), **changes)


def failed(after: float = 0.0, error: str = "corrupt") -> Record:
    """One that could not be looked at."""
    nothing = {"width": 0, "height": 0, "plan": "", "faces": 0, "detector": "", "recognizer": "", "models": {}}
    return record(after, **nothing, stages={"decode": 3.0}, cpu_ms={}, error=error, message="it ends too early")


def old_line(after: float = 0.0) -> dict[str, Any]:
    """A line of schema 1."""
    plan = {"detector": "yunet", "base": [1536, 1536], "levels": [[1536, 1536], [384, 384]], "strip_rows": 40}
    return {
        "schema": 1,
        "time": (START + timedelta(seconds=after)).isoformat(timespec="milliseconds"),
        "source": "front/a.jpg",
        "width": 1536,
        "height": 1536,
        "faces": 2,
        "plan": plan | {"reduction": 1, "smallest_face": 20.0},
        "memory": {"budget_mb": 256.0, "predicted_mb": 158.1, "measured_mb": 145.6},
        "timings_ms": {"decode": 40.0, "plan": 0.5, "detect": 60.0, "map": 0.1, "embed": 25.0},
        "total_ms": 125.6,
        "models": {"yunet": YUNET, "yunet-stem": "e" * 64, "sface": SFACE, "sface-embed": "d" * 64},
        "peak_rss_mb": 145.6,
        "versions": {"python": "3.11.7", "peephole": "0.0.9", "onnxruntime": "1.31.0"},
    }
