"""How long each stage took, and the log of it, a JSON line a frame."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import FrameError, UsageError
from .memory import peak_rss

if TYPE_CHECKING:
    from .pipeline import Analysis

SCHEMA = 1
"""Version of the log's lines; counts up when a field changes its meaning."""

LIBRARIES = ("dlib-bin", "numpy", "onnxruntime", "pillow")


class StageClock:
    """Milliseconds by stage, in the order in which the stages first ran; a stage that runs again adds up."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; also one that raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + elapsed

    def rounded(self) -> dict[str, float]:
        """The stages to a microsecond, as results and logs have them."""
        return {name: round(value, 3) for name, value in self.milliseconds.items()}


class TimingLog:
    """Appends one JSON line a frame to a file; see docs/output.md for the fields."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file for appending, making it if need be.

        Raises:
            UsageError: it cannot be written.
        """
        self._path = Path(path)
        self._write("")

    def frame(self, analysis: Analysis) -> None:
        """Log a frame that was looked at."""
        self._line(
            analysis.source,
            {
                "width": analysis.width,
                "height": analysis.height,
                "faces": len(analysis.faces),
                "plan": analysis.plan.to_dict(),
                "memory": analysis.memory.to_dict(),
                "timings_ms": analysis.timings_ms,
                "total_ms": round(sum(analysis.timings_ms.values()), 3),
                "models": analysis.models,
            },
            analysis.memory.measured,
        )

    def failure(self, source: str, error: FrameError, clock: StageClock) -> None:
        """Log a frame that could not be looked at."""
        reason = {"kind": error.kind, "message": str(error)}
        self._line(source, {"error": reason, "timings_ms": clock.rounded()}, peak_rss())

    def _line(self, source: str, fields: dict[str, Any], peak: int) -> None:
        record = {
            "schema": SCHEMA,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "source": source,
            **fields,
            "peak_rss_mb": round(peak / 1e6, 1),
            "versions": versions(),
        }
        self._write(json.dumps(record) + "\n")

    def _write(self, text: str) -> None:
        try:
            # Opened anew for every line, in one write: lines of several processes do not mix.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"the timing log {self._path} cannot be written: {error.strerror}") from error


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, Peephole and the libraries that do the work."""
    from . import __version__

    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), "peephole": __version__, **found}
