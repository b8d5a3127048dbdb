"""The same numbers for Prometheus, by its official client: what a service counts as it goes. No server here.

A service tells `Metrics` of each record, as it tells the log and the history, and hands out `exposition` wherever it is
asked for it. Names and units are as Prometheus advises: base units, counters that end in ``_total``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import UsageError
from .clock import WAITING
from .record import Record

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histograms' buckets: from matching a face to dlib's own network on a large frame."""
FACES = (0, 1, 2, 4, 8, 16, 32)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.exposition`."""


class Metrics:
    """Counts records; an `observe.Observer`. Any thread may ask for the numbers."""

    name = "metrics"

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        waiting: Callable[[], float] | None = None,
    ) -> None:
        """Begin at nought.

        Args:
            registry: where they are registered; by default one of their own.
            waiting: tells how many frames wait in the queue, whenever somebody asks for the numbers, in that thread.

        Raises:
            UsageError: the client is not installed.
        """
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise UsageError("metrics need Prometheus' client: pip install 'peephole[metrics]'") from error
        self._registry = here = registry or CollectorRegistry()
        self._frames = Counter("peephole_frames", "Frames that were looked at.", registry=here)
        self._errors = Counter(
            "peephole_frame_errors",
            "Frames that could not be looked at, by the kind of error.",
            ["kind"],
            registry=here,
        )
        self._faces = Histogram("peephole_faces", "Faces found on a frame.", buckets=FACES, registry=here)
        self._stages = Histogram(
            "peephole_stage_seconds",
            "How long a stage took. Its parts have its name and a dot before their own.",
            ["stage"],
            buckets=SECONDS,
            registry=here,
        )
        self._whole = Histogram("peephole_frame_seconds", "All stages together.", buckets=SECONDS, registry=here)
        self._waited = Histogram(
            "peephole_queue_wait_seconds", "How long frames waited in the queue.", buckets=SECONDS, registry=here
        )
        self._memory = Gauge(
            "peephole_frame_memory_bytes",
            "Peak resident memory of what looked at the last frame, as predicted and as measured.",
            ["what"],
            registry=here,
        )
        self._last = Gauge("peephole_last_frame_timestamp_seconds", "When the last frame was done.", registry=here)
        info = ["version", "detector", "recognizer", "runtime", "cpu"]
        self._info = Gauge("peephole_info", "1 for what looks at frames now.", info, registry=here)
        self._used: tuple[str, ...] = ()
        if waiting is not None:
            Gauge("peephole_queue_frames", "Frames that wait in the queue.", registry=here).set_function(waiting)

    def frame(self, record: Record) -> None:
        """Count a frame; one that could not be looked at counts for its error and its waiting alone."""
        self._last.set(record.time.timestamp())
        for name, milliseconds in record.stages.items():
            if name == f"{WAITING}queue":
                self._waited.observe(milliseconds / 1e3)
            elif record.error is None:
                self._stages.labels(name).observe(milliseconds / 1e3)
        if record.error is not None:
            self._errors.labels(record.error).inc()
            return
        self._frames.inc()
        self._faces.observe(record.faces)
        self._whole.observe(record.total_ms / 1e3)
        self._memory.labels("predicted").set(record.predicted_mb * 1e6)
        self._memory.labels("measured").set(record.measured_mb * 1e6)
        used = (record.version or __version__, record.detector, record.recognizer, record.runtime, record.cpu)
        if used != self._used:
            self._info.clear()
            self._info.labels(*used).set(1)
            self._used = used

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format, for `CONTENT_TYPE`."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
