"""Has anything become slower, and is that more than the machine's noise? Two sets of records → a verdict. Pure.

Frames are compared with their like, see `matching`: of each frame's time in a stage the typical time of its group on
both sides is taken off (as logarithms), and the change is the difference of the two sides' medians of what is left. A
frame counts by how long it typically takes, so that frames without a face don't decide about the embedding.

A stage is judged beside the others: what they have in common is taken off, because a machine that is slower now is so
for all of them. All stages together are judged against everything that a machine drifts from run to run. Both are done
by the clock and, where it was logged, by processor time. The one that shows a change decides, or else the steadier one:
on a busy machine processor time, and the clock counts for little there. How sure that is: `drift`.
"""

from __future__ import annotations

import enum
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .drift import Floats, Series, group_medians
from .matching import TOTAL, Matched, differences, match_frames
from .record import Record

TOLERATE = 0.05
"""A regression is what is slower by more than this share."""
CONFIDENCE = 0.98
"""The chance that all intervals of a comparison hold the truth. Two runs of the same thing come out as different in any
stage once in fifty comparisons; at 0.95 it would be once in twenty, which is too often for a build."""
OWN_FLOOR, MACHINE_FLOOR, MACHINE_DRIFT = 0.014, 0.04, 2.5
"""What differs between two runs and shows within neither, as standard deviations of a share: of one stage beside the
others, and of all stages alike; and how much larger the variance of all alike is, because it lasts. Like
`drift.BETWEEN_RUNS` fitted to 119 pairs of runs of the same thing (benchmarks/regression.py)."""
DISAGREEMENT = (1.0, 0.2)
"""The share of what the clock and processor time disagree by that counts as error of the clock, of processor time: the
most of any other stage. They disagree where neighbours come or go: threads wait, or run at once and share a core's
units. A stage that waits longer while all others do not is slower."""
EXPLAINS = 4.0
"""What a change must explain to be taken for one where it is chosen what the others are judged beside: the square of
two standard errors. A verdict takes more."""
SEED = 0
"""Of the bootstrap: the same records give the same comparison."""
MOST_LEAVES = 10
"""So many stages are judged beside, the longest: all ways to choose among them are tried."""
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


def compare(before: Sequence[Record], after: Sequence[Record], *, tolerate: float = TOLERATE) -> Comparison:
    """Compare two sets of frames, stage by stage.

    Args:
        before, after: in any order; those that could not be looked at are left out.
        tolerate: a regression is what is slower by more than this share.

    Raises:
        TimingsError: a side is empty, or too few frames have a counterpart on the other side.
        ValueError: ``tolerate`` is negative or no number.
    """
    if not 0 <= tolerate < math.inf:
        raise ValueError(f"tolerate must be a share of at least 0, not {tolerate}")
    matched = match_frames(before, after)
    changes = _changes(matched)
    return Comparison(
        stages=tuple(changes[:-1]),
        total=changes[-1],
        frames=(len(matched.before.wall), len(matched.after.wall)),
        given=(len(before), len(after)),
        by=matched.by,
        tolerate=tolerate,
        warnings=differences(matched, before, after),
    )


def _judge(
    measures: Sequence[Series], stages: Sequence[str], leaves: Sequence[int], runs: int
) -> tuple[Floats, Floats, Floats]:
    """How much each stage has changed beside those that have not.

    Args:
        measures: by the clock, by processor time if it was logged.
        stages: the columns' names.
        leaves: columns of stages without parts, long enough to tell something.
        runs: on the side with fewer.

    Returns:
        Each (measures, stages): the logarithms of the ratios, these without what is the machine's, and the latters'
        standard errors.
    """
    turns = measures[0].interleaved
    whole, own, variances = (np.empty((len(measures), len(stages))) for _ in range(3))
    for index, series in enumerate(measures):
        alike = _unchanged(series, leaves)
        others = [[leaf for leaf in alike if stage != TOTAL and not _related(stage, stages[leaf])] for stage in stages]
        beside = series.beside(series.likeness(others))
        drifts = np.array([not each for each in others]) & (not turns)
        whole[index], own[index] = series.change, beside.change
        variances[index] = beside.variance(np.random.default_rng(SEED)) * np.where(drifts, MACHINE_DRIFT, 1.0)
        variances[index] += np.where(drifts, MACHINE_FLOOR, OWN_FLOOR) ** 2 / runs
    gaps = np.abs(whole[0] - whole[-1])
    elsewhere = [max((gaps[leaf] for leaf in leaves if leaf != column), default=0.0) for column in range(len(stages))]
    doubt = np.outer(DISAGREEMENT[: len(measures)], elsewhere)
    return whole, own, np.sqrt(variances + doubt**2)


def _unchanged(series: Series, leaves: Sequence[int]) -> Sequence[int]:
    """Those stages beside which the others may be judged: one that has changed makes the rest look changed.

    Of all ways to take some stages, or the machine, for changed, it is the one that leaves the least unexplained, where
    each that is taken for changed must explain `EXPLAINS`. So one change is likelier than several that look like it.
    """
    change, covariance = series.change, series.covariance(np.random.default_rng(SEED))
    machine = MACHINE_DRIFT * covariance[-1, -1] + MACHINE_FLOOR**2
    covariance = covariance + OWN_FLOOR**2 * np.eye(len(change))
    ways = [
        (
            EXPLAINS * (len(leaves) - kept) + _unexplained(change[list(rest)], covariance[np.ix_(rest, rest)], machine),
            rest,
        )
        for kept in range(len(leaves), 0, -1)
        for rest in itertools.combinations(leaves, kept)
    ]
    return min(ways, default=(0.0, ()))[1]


def _unexplained(change: Floats, covariance: Floats, machine: float) -> float:
    """What is left of changes, squared and in units of their errors, when all have the one in common that fits best.

    Args:
        change: (n,) of stages.
        covariance: (n, n) of these between runs of the same thing.
        machine: the variance of what a machine drifts by; more may be taken for a change, at the price of one.
    """
    inverse = np.linalg.inv(covariance)
    pull, weight = inverse.sum(axis=0) @ change, inverse.sum()
    alone = change @ inverse @ change
    return float(min(alone - pull**2 / (weight + 1 / machine), alone - pull**2 / weight + EXPLAINS))


def _changes(matched: Matched) -> list[Change]:
    """Judge every stage, the total last."""
    stages = matched.stages
    sides = (matched.before, matched.after)
    measures = [_series(matched, *(side.wall for side in sides))]
    if not any(np.isnan(side.cpu).any() for side in sides):
        measures.append(_series(matched, *(side.cpu for side in sides)))
    shares = measures[0].counts_before.sum(axis=0)  # typical milliseconds
    shares /= shares[-1]
    tested = shares >= LEAST_SHARE
    surely = statistics.NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * tested.sum()))

    long = [int(column) for column in np.argsort(-shares[:-1]) if shares[column] >= LEAST_SHARE / 2]
    leaves = [column for column in long if not any(each.startswith(f"{stages[column]}.") for each in stages)]
    leaves = leaves[:MOST_LEAVES]
    whole, own, errors = _judge(measures, stages, leaves, matched.runs)
    clock, processor = np.exp(whole[0]), np.exp(whole[-1])

    # By the measure that shows a change, or else by the steadier one.
    columns = np.arange(len(stages))
    certain = np.abs(own) / errors
    chosen = np.where(certain.max(axis=0) > surely, np.argmax(certain, axis=0), np.argmin(errors, axis=0))
    whole, own, errors = (each[chosen, columns] for each in (whole, own, errors))
    # The others' common change is taken for the machine's only where it may be, or does not make up what is left: where
    # most stages have changed, the one that has not must not come out as changed.
    apart = surely * errors
    possible = (np.abs(whole - own) < apart[-1]) | (whole * own > own**2 / 2)
    there = [[side.wall[:, column][side.wall[:, column] > 0] for side in sides] for column in columns]
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
            measure=("clock", "processor time")[chosen[index]],
            common=math.exp(whole[index] - own[index]),
            verdict=_verdict(own[index], apart[index], bool(possible[index])) if tested[index] else Verdict.UNJUDGED,
        )
        for index, stage in enumerate(stages)
    ]


def _related(stage: str, other: str) -> bool:
    """Whether one of two stages is the other or a part of it."""
    return f"{stage}.".startswith(f"{other}.") or f"{other}.".startswith(f"{stage}.")


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
    there = [(typical > math.log(2 * TINY))[group] for group in groups]
    return Series(
        before=rest[0],
        after=rest[1],
        counts_before=counts[0],
        counts_after=counts[1],
        there_before=there[0],
        there_after=there[1],
        fitted=matched.groups,
        interleaved=matched.interleaved,
    )
