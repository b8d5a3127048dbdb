"""Has anything become slower, and is that more than the machine's noise? Two sets of records → a verdict. Pure.

Frames are compared with their like, see `matching`: of each frame's time in a stage the typical time of its group on
both sides is taken off (as logarithms), and the change is the difference of the two sides' medians of what is left. A
frame counts by how long it typically takes, so that frames without a face don't decide about the embedding.

A stage is judged beside the others: what they have in common is taken off, because a machine that is slower now is so
for all of them. All stages together are judged against everything that a machine drifts from run to run. Both are done
by the clock and, where it was logged, by processor time, and the steadier of the two in these very frames decides: on
a quiet machine mostly the clock, on a busy one processor time. How sure that is: `drift`.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drift import Floats, Series, group_medians, row_medians
from .matching import Matched, differences, match_frames
from .record import Record

TOLERATE = 0.05
"""A regression is what is slower by more than this share."""
CONFIDENCE = 0.98
"""The chance that all intervals of a comparison hold the truth. Two runs of the same thing come out as different in any
stage once in fifty comparisons; at 0.95 it would be once in twenty, which is too often for a build."""
OWN_FLOOR, MACHINE_FLOOR = 0.01, 0.03
"""Standard deviations, as shares, of what differs between two runs made one after the other and shows within neither:
of one stage beside the others, and of all stages alike. Assumed: only many runs on a quiet machine would show them."""
DISAGREEMENT = 0.2
"""The share of a disagreement between the clock and processor time that counts as error. They disagree where neighbours
come or go: threads wait, or run at once and share a core's units."""
LEAST_SHARE = 0.02
"""A stage that takes less of the frame's time is shown and not judged."""
TINY = 1e-3
"""Milliseconds, added before the logarithm: what logs can tell apart."""


class Verdict(enum.StrEnum):
    """What can be said about a change."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "not distinguishable"
    UNJUDGED = "too short to judge"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one stage, or of all of them together.

    Attributes:
        stage: its name; "total" for all together.
        frames: how many before and after that have a counterpart have this stage too.
        before, after: their median milliseconds by the clock.
        clock: after / before by the clock, of like frames.
        processor: likewise by processor time; None where it was not logged on both sides.
        ratio: what is judged: after / before by the measure that is named, without ``common``.
        low, high: an interval for ``ratio``; those of all stages judged hold the truth together, see `CONFIDENCE`.
        measure: "clock" or "processor time", whichever is steadier in these frames.
        common: the other stages' common change, which is not in ``ratio``; 1 where nothing was taken off.
        verdict: on this stage.
    """

    stage: str
    frames: tuple[int, int]
    before: float
    after: float
    clock: float
    processor: float | None
    ratio: float
    low: float
    high: float
    measure: str
    common: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: _digits(value) if isinstance(value, float) else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of frames compared.

    Attributes:
        stages: in the order in which they ran.
        total: all together.
        frames: how many there are before and after that have a counterpart.
        given: how many there were.
        by: what makes frames alike, see `matching.Matched`.
        tolerate: the share by which a stage may be slower.
        warnings: what else differs between the sides, in words.
    """

    stages: tuple[Change, ...]
    total: Change
    frames: tuple[int, int]
    given: tuple[int, int]
    by: str
    tolerate: float
    warnings: tuple[str, ...]

    def changed(self, verdict: Verdict) -> tuple[Change, ...]:
        """The stages with this verdict, but not those of which a part has it; then the total, if it has it."""
        found = [each for each in (*self.stages, self.total) if each.verdict is verdict]
        return tuple(each for each in found if not any(other.stage.startswith(f"{each.stage}.") for other in found))

    @property
    def verdict(self) -> Verdict:
        """Slower where anything is; else faster where anything is; else not distinguishable."""
        verdicts = (Verdict.SLOWER, Verdict.FASTER)
        return next((each for each in verdicts if self.changed(each)), Verdict.SAME)

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What is slower by more than is tolerated."""
        return tuple(each for each in self.changed(Verdict.SLOWER) if each.ratio > 1 + self.tolerate)

    def to_dict(self) -> dict[str, Any]:
        """As `peephole timings compare --json` has it."""
        return {
            "verdict": self.verdict,
            "regressions": [each.stage for each in self.regressions],
            "tolerate": self.tolerate,
            "frames": {"before": self.frames[0], "after": self.frames[1]},
            "given": {"before": self.given[0], "after": self.given[1]},
            "matched_by": self.by,
            "total": self.total.to_dict(),
            "stages": [each.to_dict() for each in self.stages],
            "warnings": list(self.warnings),
        }


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def compare(
    before: Sequence[Record], after: Sequence[Record], *, tolerate: float = TOLERATE, seed: int = 0
) -> Comparison:
    """Compare two sets of frames, stage by stage.

    Args:
        before, after: in any order; those that could not be looked at are left out.
        tolerate: a regression is what is slower by more than this share.
        seed: of the bootstrap: the same records and seed give the same comparison.

    Raises:
        TimingsError: a side is empty, or too few frames have a counterpart on the other side.
        ValueError: ``tolerate`` is negative or no number.
    """
    if not 0 <= tolerate < math.inf:
        raise ValueError(f"tolerate must be a share of at least 0, not {tolerate}")
    matched = match_frames(before, after)
    changes = _changes(matched, np.random.default_rng(seed))
    return Comparison(
        stages=tuple(changes[:-1]),
        total=changes[-1],
        frames=(len(matched.before.wall), len(matched.after.wall)),
        given=(len(before), len(after)),
        by=matched.by,
        tolerate=tolerate,
        warnings=differences(matched, before, after),
    )


def _changes(matched: Matched, rng: np.random.Generator) -> list[Change]:
    """Judge every stage, the total last."""
    sides = (matched.before, matched.after)
    measures = [_series(matched, *(side.wall for side in sides))]
    if not any(np.isnan(side.cpu).any() for side in sides):
        measures.append(_series(matched, *(side.cpu for side in sides)))
    shares = measures[0].counts_before.sum(axis=0)  # typical milliseconds
    shares /= shares[-1]
    others = _Others.of(matched.stages, shares)

    whole = np.array([each.change for each in measures])
    own = np.array([others.taken_off(each) for each in whole])
    variances = np.array([each.variance(rng, others.taken_off) for each in measures])
    machine = 0.0 if matched.interleaved else MACHINE_FLOOR
    floor = np.hypot(OWN_FLOOR, np.where(others.known, 0.0, machine))
    variances += floor**2 / matched.runs + (DISAGREEMENT * (whole[0] - whole[-1])) ** 2

    steadier = np.argmin(variances, axis=0)
    columns = np.arange(len(steadier))
    whole, own, errors = (each[steadier, columns] for each in (whole, own, np.sqrt(variances)))
    # The others' common change is taken for the machine's only where it may be, or does not make up what is left: where
    # most stages have changed, the one that has not must not come out as changed.
    possible = (np.abs(whole - own) < 2 * errors[-1]) | (whole * own > own**2 / 2)
    tested = shares >= LEAST_SHARE
    apart = statistics.NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * tested.sum())) * errors
    there = [[side.wall[:, column][side.wall[:, column] > 0] for side in sides] for column in columns]
    clock, processor = (np.exp(measures[each].change) for each in (0, -1))
    return [
        Change(
            stage=stage,
            frames=(len(there[index][0]), len(there[index][1])),
            before=_median(there[index][0]),
            after=_median(there[index][1]),
            clock=float(clock[index]),
            processor=float(processor[index]) if len(measures) > 1 else None,
            ratio=math.exp(own[index]),
            low=math.exp(own[index] - apart[index]),
            high=math.exp(own[index] + apart[index]),
            measure=("clock", "processor time")[steadier[index]],
            common=math.exp(whole[index] - own[index]),
            verdict=_verdict(own[index], apart[index], bool(possible[index])) if tested[index] else Verdict.UNJUDGED,
        )
        for index, stage in enumerate(matched.stages)
    ]


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _verdict(change: float, apart: float, possible: bool) -> Verdict:
    if not possible or abs(change) <= apart:
        return Verdict.SAME
    return Verdict.SLOWER if change > 0 else Verdict.FASTER


def _series(matched: Matched, before: Floats, after: Floats) -> Series:
    """Milliseconds → logarithms without each group's typical one; groups count alike on both sides."""
    groups = (matched.before.group, matched.after.group)
    logs = (np.log(before + TINY), np.log(after + TINY))
    sizes = [np.bincount(group, minlength=matched.groups) for group in groups]
    medians = [group_medians(values, group, matched.groups) for values, group in zip(logs, groups, strict=True)]
    typical = (medians[0] + medians[1]) / 2
    both = 2 * sizes[0] * sizes[1] / (sizes[0] + sizes[1])
    rest = [values - typical[group] for values, group in zip(logs, groups, strict=True)]
    # A frame counts by how long it typically takes.
    counts = [np.exp(typical[group]) * (both / size)[group, None] for group, size in zip(groups, sizes, strict=True)]
    return Series(rest[0], rest[1], counts[0], counts[1], matched.groups, matched.interleaved)


@dataclass(frozen=True, slots=True)
class _Others:
    """Which other stages a stage stands beside.

    Attributes:
        columns: for each stage those of the others: no part of it, it no part of them, and without parts themselves.
        weights: (stages,) square roots of the stages' shares: a long stage is measured better, but is one stage.
        known: (stages,) whether there are any.
    """

    columns: tuple[tuple[int, ...], ...]
    weights: Floats
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, stages: Sequence[str], shares: Floats) -> _Others:
        """Choose them by name and by share of the frame's time."""
        leaves = [
            (column, name)
            for column, name in enumerate(stages[:-1])
            if shares[column] >= LEAST_SHARE / 2 and not any(each.startswith(f"{name}.") for each in stages)
        ]
        columns = [
            tuple(column for column, name in leaves if name != stage and not name.startswith(f"{stage}."))
            for stage in stages[:-1]
        ]
        return cls((*columns, ()), np.sqrt(shares), np.array([*map(bool, columns), False]))

    def taken_off(self, changes: Floats) -> Floats:
        """Changes (..., stages) → each less the weighted median of the others'."""
        rows = changes.reshape(-1, changes.shape[-1])
        common = np.zeros_like(rows)
        for column, others in enumerate(self.columns):
            if others:
                common[:, column] = row_medians(rows[:, others], self.weights[list(others)])
        return changes - common.reshape(changes.shape)
