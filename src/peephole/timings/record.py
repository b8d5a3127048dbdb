"""What is known of the time that one frame took: the value that log, history, metrics, summary and comparison share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..errors import PeepholeError
    from ..pipeline import Analysis
    from .clock import StageClock

SCHEMA = 2
"""Version of the log's lines; counts up when a field changes its meaning. Version 1 is still read."""
SHORT = 8
"""Digits of a hash in a model's label."""


@dataclass(frozen=True, slots=True)
class Record:
    """One frame: when, what, how, by what, and how long each stage took.

    Where something is not known, as of a frame that could not be looked at, text is empty and numbers are 0.

    Attributes:
        time: when its line was written, UTC, to the millisecond.
        source: the image's name, as in its result.
        frame: which frame it was: ``CAMERA/NUMBER`` in a service's queue, otherwise 16 digits that are the same for the
            same bytes; see `frame.Snapshot.fingerprint`. Empty for an array.
        width, height: native pixels.
        plan: how it was looked at, in short; see `plan_key`.
        faces: how many were found.
        stages: milliseconds by stage, see `clock.StageClock`: a name with a dot is a part of the stage before the dot.
        predicted_mb, measured_mb: peak resident memory of the process that looked at it, in 10^6 bytes.
        detector, recognizer: their names; no recognizer where only boxes were asked for.
        models: SHA-256 of every model file and prepared graph that took part, by name.
        runtime: what ran the networks, with its version: "onnxruntime 1.32.0"; "bfloat16" behind it where it is that.
        threads: compute threads.
        cpu: the processor's model.
        version: Peephole's.
        error: the `PeepholeError.kind` of a frame that could not be looked at; None of one that was.
        message: the error in words.
        libraries: versions of Python and of the libraries that do the work, by name.
        cpu_ms: milliseconds of processor time of all threads by stage, named as in ``stages``; empty where unknown.
        run: the same for all frames that one process looked at; empty where not known.
    """

    time: datetime
    source: str
    frame: str
    width: int
    height: int
    plan: str
    faces: int
    stages: Mapping[str, float]
    predicted_mb: float
    measured_mb: float
    detector: str
    recognizer: str
    models: Mapping[str, str]
    runtime: str
    threads: int
    cpu: str
    version: str
    error: str | None = None
    message: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    cpu_ms: Mapping[str, float] = field(default_factory=dict)
    run: str = ""

    @property
    def total_ms(self) -> float:
        """All stages together."""
        return total(self.stages)

    @property
    def model(self) -> str:
        """Detector and recognizer with the beginnings of their files' hashes, as ``yunet-49f000ec sface-fb143eea``."""
        return label(self.detector, self.recognizer, self.models)

    @classmethod
    def of(cls, analysis: Analysis, *, frame: str = "", clock: StageClock | None = None) -> Record:
        """A frame that was looked at just now.

        Args:
            analysis: what came out.
            frame: what the frame is called; by default its fingerprint.
            clock: its stages instead of the analysis' own, where it has timed more since.
        """
        used = analysis.environment
        return cls(
            now(),
            analysis.source,
            frame or analysis.fingerprint,
            analysis.width,
            analysis.height,
            plan_key(analysis.plan.to_dict()),
            len(analysis.faces),
            clock.rounded() if clock else analysis.timings_ms,
            round(analysis.memory.predicted / 1e6, 1),
            round(analysis.memory.measured / 1e6, 1),
            analysis.plan.detector,
            analysis.recognizer,
            analysis.models,
            used.runtime,
            used.threads,
            used.cpu,
            used.version,
            libraries=used.libraries,
            cpu_ms=clock.rounded_processor() if clock else analysis.cpu_ms,
            run=used.run,
        )

    @classmethod
    def failed(cls, source: str, error: PeepholeError, clock: StageClock, *, frame: str = "") -> Record:
        """A frame that could not be looked at, with the stages that it got through."""
        from .environment import here

        used = here()
        peak = round(getattr(error, "peak", 0) / 1e6, 1)
        return cls(
            now(),
            source,
            frame,
            width=0,
            height=0,
            plan="",
            faces=0,
            stages=clock.rounded(),
            predicted_mb=0.0,
            measured_mb=peak,
            detector="",
            recognizer="",
            models={},
            runtime="",
            threads=0,
            cpu=used.cpu,
            version=used.version,
            error=error.kind,
            message=str(error),
            libraries=used.libraries,
            cpu_ms=clock.rounded_processor(),
            run=used.run,
        )

    def to_dict(self) -> dict[str, Any]:
        """The record as a line of the log has it; see docs/output.md. `read.read` reads it."""
        return {
            "schema": SCHEMA,
            "time": self.time.isoformat(timespec="milliseconds"),
            "source": text(self.source),
            "frame": text(self.frame),
            "width": self.width,
            "height": self.height,
            "plan": self.plan,
            "faces": self.faces,
            "timings_ms": dict(self.stages),
            "cpu_ms": dict(self.cpu_ms),
            "total_ms": round(self.total_ms, 3),
            "predicted_mb": self.predicted_mb,
            "measured_mb": self.measured_mb,
            "run": self.run,
            "setup": {
                "detector": self.detector,
                "recognizer": self.recognizer,
                "models": dict(self.models),
                "runtime": self.runtime,
                "threads": self.threads,
                "cpu": self.cpu,
                "peephole": self.version,
                "libraries": dict(self.libraries),
            },
            **({} if self.error is None else {"error": {"kind": self.error, "message": text(self.message)}}),
        }


class Setup(NamedTuple):
    """What is the same in record after record; see `Record`."""

    detector: str
    recognizer: str
    models: Mapping[str, str]
    runtime: str
    threads: int
    cpu: str
    version: str
    libraries: Mapping[str, str]

    @property
    def model(self) -> str:
        """See `Record.model`."""
        return label(self.detector, self.recognizer, self.models)


class Glance(NamedTuple):
    """A record in short, as it is read where there are very many.

    Attributes:
        seconds: its time, since 1970.
        width, height, plan, stages, error: see `Record`.
        setup: one object for all records that have the same.
    """

    seconds: float
    width: int
    height: int
    plan: str
    setup: Setup
    stages: Mapping[str, float]
    error: str | None


def now() -> datetime:
    """The time as records have it: UTC, whole milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def text(name: str) -> str:
    """Text that can be written anywhere: a file's name may be any bytes; those that are no UTF-8 are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode()


def total(stages: Mapping[str, float]) -> float:
    """Milliseconds of all stages together: parts of a stage are in it already, and waiting is no work."""
    return sum(value for name, value in stages.items() if "." not in name)


def plan_key(plan: Mapping[str, Any]) -> str:
    """A plan in short, from what results have of it: plans with the same key take the same work.

    First level's size, number of levels, rows of a strip and reduction: ``1536x1536/2/40/1``.
    """
    width, height = plan["base"]
    return f"{width}x{height}/{len(plan['levels'])}/{plan['strip_rows']}/{plan['reduction']}"


def label(detector: str, recognizer: str, models: Mapping[str, str]) -> str:
    """See `Record.model`."""
    return " ".join(f"{name}-{models.get(name, '')[:SHORT]}".rstrip("-") for name in (detector, recognizer) if name)
