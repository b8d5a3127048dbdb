"""May this model be bumped: two models on the same pictures, by speed, memory and what they decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import detectors, recognizers
from .bench import Result
from .bench_pictures import Missing
from .decisions import KINDS, Drift, FrameDecisions, Kind, compare_faces, confidence_drift, score_drift
from .errors import FrameError, TimingsError, UsageError
from .faces import RESERVED
from .pipeline import PROFILES
from .report import Table, escaped
from .timings.compare import TOLERATE, Comparison, Verdict, compare

PLUS = "+"
"""Between a detector and a recognizer."""
STAGES = ("decode", "detect", "align", "embed")
"""Those that are told of; planning, mapping and matching take a millisecond at most."""
UNITS = {"dlib-cnn": "mmod"}
"""Detectors whose confidence is in another one's unit."""
SAME_MB = 1.0
MANIFOLD = 2.0
"""From this ratio on it is told as a multiple."""


@dataclass(frozen=True, slots=True)
class Models:
    """A detector and a recognizer, one side of the question.

    Attributes:
        detector, recognizer: as for `pipeline.Pipeline`.
        name: what the side is called.
    """

    detector: str
    recognizer: str
    name: str


def sides(old: str, new: str, detector: str | None = None, recognizer: str | None = None) -> tuple[Models, Models]:
    """Two models, or pairs of them, by their names.

    Args:
        old, new: a detector (see `detectors.open_detector`), a recognizer (see `recognizers.open_recognizer`),
            ``DETECTOR+RECOGNIZER``, or a profile.
        detector, recognizer: what completes them where neither names one; by default those of the default profile.

    Raises:
        UsageError: there is no such model; one is a detector and the other a recognizer; or both are the same.
    """
    parts = [_parts(old), _parts(new)]
    kinds = [[name is not None for name in each] for each in parts]
    if sorted(kinds) == [[False, True], [True, False]]:
        raise UsageError(
            f"{old} and {new} are a detector and a recognizer: name two of a kind, or pairs like yunet+sface"
        )
    usual = (detector, recognizer)
    profile = next(iter(PROFILES.values()))
    filled: list[tuple[str, str]] = []
    for own, other in (parts, parts[::-1]):
        first, second = (a or b or c or d for a, b, c, d in zip(own, other, usual, profile, strict=True))
        filled.append((first, second))
    if filled[0] == filled[1]:
        raise UsageError(f"both are {PLUS.join(filled[0])}: name two models that differ")
    brief = [short(each) for each in (old, new)]
    names = (old, new) if brief[0] == brief[1] else brief
    a, b = (Models(*models, name) for models, name in zip(filled, names, strict=True))
    return a, b


def _parts(name: str) -> tuple[str | None, str | None]:
    """The detector and the recognizer that a name stands for."""
    if name in PROFILES:
        return PROFILES[name]
    for place in (index for index, each in enumerate(name) if each == PLUS):  # a file's name may hold one, too
        first, second = name[:place], name[place + 1 :]
        if _is(detectors.profile, first) and _is(recognizers.check, second):
            return first, second
    if _is(detectors.profile, name):
        return name, None
    if _is(recognizers.check, name):
        return None, name
    raise UsageError(
        f"there is no model {name!r}; name a detector ({', '.join(detectors.DETECTORS)}, {detectors.OWN_FILE}FILE), a "
        f"recognizer ({', '.join(recognizers.RECOGNIZERS)}, onnx:FILE, sface:FILE), or DETECTOR+RECOGNIZER"
    )


def _is(check: Any, name: str) -> bool:
    try:
        check(name)
    except UsageError:
        return False
    return True


def short(name: str) -> str:
    """A model's name, or a pair's, with its file's folder left out."""
    return PLUS.join(
        f"{kind}{colon}{Path(file).name if colon else ''}"
        for kind, colon, file in (each.partition(":") for each in name.split(PLUS))
    )


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What changes from the old model to the new one.

    Attributes:
        names: of the old and the new one.
        old, new: what was measured.
        time: how long they take, compared picture by picture; None where there were too few looks to tell.
        tolerate: how much slower the new one may be, as a share.
        frames: what they decide about each picture that both looked at.
        blind: pictures that the old one looked at and the new one cannot.
        named: whether it was asked who the faces are.
        confidence, score: how far the scores moved; None where they are in different units, or there are none.
    """

    names: tuple[str, str]
    old: Result
    new: Result
    time: Comparison | None
    tolerate: float
    frames: tuple[FrameDecisions, ...]
    blind: tuple[Missing, ...]
    named: bool
    confidence: Drift | None
    score: Drift | None

    @property
    def changed(self) -> tuple[FrameDecisions, ...]:
        """The frames about which they decide differently."""
        return tuple(each for each in self.frames if each.changes)

    def count(self, kind: Kind) -> int:
        """How many changes there are of a kind."""
        return sum(len(each.of(kind)) for each in self.frames)

    @property
    def faces(self) -> int:
        """How many faces the old one found on the pictures that both looked at."""
        return sum(len(each.pairs) for each in self.frames) + self.count("lost")

    @property
    def added_mb(self) -> float:
        """How much more memory the new one takes at its peak, in 10^6 bytes."""
        return self.new.peak_mb - self.old.peak_mb

    @property
    def slower(self) -> bool:
        """Whether the new one is slower, for sure and beyond what is tolerated."""
        if self.time is None:
            return False
        total = self.time.total
        return total.verdict is Verdict.SLOWER and total.ratio > 1 + self.tolerate

    @property
    def good(self) -> bool:
        """Whether nothing is lost: no face, no name, no picture, no more time than is tolerated."""
        return not (self.slower or self.blind or self.count("lost") or self.count("renamed"))

    def sentence(self) -> str:
        """The answer in plain words."""
        lost, gained, renamed = (self.count(kind) for kind in KINDS)
        parts = [_speed(self.time), _memory(self.added_mb)]
        parts.append(f"loses {lost} of {counted(self.faces, 'face')}" if lost else "loses no face")
        if gained:
            parts.append(f"finds {counted(gained, 'other face')}")
        if self.named:
            parts.append(f"changes {counted(renamed, 'name')}" if renamed else "changes no name")
        if self.blind:
            parts.append(f"cannot look at {counted(len(self.blind), 'picture')}")
        return f"{self.names[1]} {', '.join(parts)}."

    def lines(self, most: int | None = None) -> list[str]:
        """Both side by side, then the changes picture by picture, of which at most so many are told."""
        both = (self.old, self.new)
        width = max(14, *(len(name) for name in self.names))
        table = Table([("", -16), (self.names[0], width), (self.names[1], width), ("", -40)])
        times = [each.quartiles() for each in both]
        lost = f"{self.count('lost')} lost, {self.count('gained')} gained"
        by_clock, by_processor = _change(self.time)
        rows = [
            ["time", *(f"{median:.1f} ms" for _, median, _ in times), by_clock],
            ["half of them in", *(f"{first:.1f}-{third:.1f} ms" for first, _, third in times), by_processor],
        ]
        rows += [[f"  {stage}", *(f"{each.quartiles(stage)[1]:.1f} ms" for each in both)] for stage in STAGES]
        rows += [
            ["peak memory", *(f"{each.peak_mb:.0f} MB" for each in both), f"{self.added_mb:+.0f} MB"],
            ["smallest face", *(f"{each.smallest_face:.0f} px" for each in both)],
            ["faces found", *(str(each.faces) for each in both), lost],
        ]
        if self.named:
            rows.append(["faces named", *(str(_named(each)) for each in both), f"{self.count('renamed')} renamed"])
        drifts = [("confidence", self.confidence), ("score", self.score)]
        rows += [[f"{name} moved", "", "", drift.words()] for name, drift in drifts if drift is not None]
        changes = self._changes()
        if most is not None and len(changes) > most:
            changes = [*changes[:most], f"and {len(changes) - most} more"]
        return [table.header(), *(table.row(each) for each in rows), *([""] if changes else []), *changes]

    def _changes(self) -> list[str]:
        """A line a change."""
        lines = [f"{escaped(name)}: cannot be looked at: {error}" for name, error in self.blind]
        for frame in self.changed:
            lines += [f"{escaped(frame.picture)}: {escaped(each.words())}" for each in frame.changes]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The answer for machines; see docs/timings.md."""
        return {
            "good": self.good,
            "sentence": self.sentence(),
            "old": _side(self.names[0], self.old),
            "new": _side(self.names[1], self.new),
            "time": None if self.time is None else self.time.total.to_dict(),
            "stages": [] if self.time is None else [each.to_dict() for each in self.time.stages],
            "tolerate": self.tolerate,
            "slower": self.slower,
            "memory_mb": round(self.added_mb, 1),
            "faces": self.faces,
            **{kind: self.count(kind) for kind in KINDS},
            "names_compared": self.named,
            "confidence_drift": None if self.confidence is None else self.confidence.to_dict(),
            "score_drift": None if self.score is None else self.score.to_dict(),
            "blind": [{"image": name, "error": _error(error)} for name, error in self.blind],
            "changed": [
                {"image": each.picture, "changes": [what.to_dict() for what in each.changes]} for each in self.changed
            ],
        }


def compare_models(
    models: tuple[Models, Models], old: Result, new: Result, *, tolerate: float = TOLERATE, named: bool = True
) -> ModelChange:
    """What changes from one model to another, by what was measured of both on the same pictures.

    Args:
        models: what they are called.
        old, new: what was measured, in turns; see `bench.measure`.
        tolerate: how much slower the new one may be, as a share.
        named: whether it was asked who the faces are.

    Raises:
        ModelError, UsageError, FrameError: one of them could not be measured; its own error.
    """
    for each in (old, new):
        if each.error is not None:
            raise each.error
    seen, anew = dict(old.analyses), dict(new.analyses)
    frames = tuple(
        compare_faces(name, before.faces, anew[name].faces, (before.plan.detector, anew[name].plan.detector))
        for name, before in seen.items()
        if name in anew
    )
    units = [{UNITS.get(each.plan.detector, each.plan.detector) for _, each in side.analyses} for side in (old, new)]
    return ModelChange(
        (models[0].name, models[1].name),
        old,
        new,
        _compared(old, new, tolerate),
        tolerate,
        frames,
        tuple((name, error) for name, error in new.problems if name in seen),
        named,
        confidence_drift(frames) if units[0] == units[1] else None,
        score_drift(frames) if named and old.similarity == new.similarity else None,
    )


def _compared(old: Result, new: Result, tolerate: float) -> Comparison | None:
    """The times, or None where there are too few."""
    try:
        return compare([each.record for each in old.looks], [each.record for each in new.looks], tolerate=tolerate)
    except TimingsError:
        return None


def _speed(time: Comparison | None) -> str:
    """``is 12 % slower (8 to 15)``."""
    if time is None or time.total.verdict is Verdict.UNJUDGED:
        return "was tried too few times to tell how fast it is"
    total = time.total
    if total.verdict is Verdict.SAME:
        return f"takes the same time as far as can be told ({_percent(total.low)} to {_percent(total.high)} %)"
    if total.ratio >= MANIFOLD:
        return f"takes {total.ratio:.1f} times as long ({total.low:.1f} to {total.high:.1f})"
    share, *interval = (abs(each - 1) * 100 for each in (total.ratio, total.low, total.high))
    change = f"is {share:.0f} % slower" if total.verdict is Verdict.SLOWER else f"takes {share:.0f} % less time"
    return f"{change} ({min(interval):.0f} to {max(interval):.0f})"


def _memory(added: float) -> str:
    if abs(added) < SAME_MB:
        return "takes as much memory"
    return f"takes {abs(added):.0f} MB {'more' if added > 0 else 'less'}"


def counted(number: int, noun: str) -> str:
    """``1 face``, ``2 faces``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.0f}"


def _change(time: Comparison | None) -> tuple[str, str]:
    """How the time changed, for the table's first two rows: by the clock, and by processor time where that decided."""
    if time is None:
        return "too few looks to compare", ""
    total = time.total
    judged = f"{_percent(total.ratio)} % ({_percent(total.low)} to {_percent(total.high)} %)"
    if total.measure == "clock":
        return f"{judged}, {total.verdict}", ""
    return f"{_percent(total.clock)} % by the clock", f"{judged} by {total.measure}: {total.verdict}"


def _named(result: Result) -> int:
    """How many faces got a person's name."""
    return sum(face.name is not None and face.name not in RESERVED for _, seen in result.analyses for face in seen)


def _side(name: str, result: Result) -> dict[str, Any]:
    first, median, third = result.quartiles()
    models = {name: sha256 for _, each in result.analyses for name, sha256 in each.models.items()}
    return {
        "name": name,
        **result.configuration.to_dict(),
        "models": models,
        "looks": len(result.looks),
        "median_ms": round(median, 3),
        "quartiles_ms": [round(first, 3), round(third, 3)],
        "stages_ms": {stage: round(result.quartiles(stage)[1], 3) for stage in STAGES},
        "peak_mb": round(result.peak_mb, 1),
        "smallest_face": round(result.smallest_face, 1),
        "faces": result.faces,
        "named": _named(result),
    }


def _error(error: FrameError) -> dict[str, str]:
    return {"kind": error.kind, "message": str(error)}
