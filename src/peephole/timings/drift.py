"""The statistics of timings on a machine that others use too: robust, and by blocks of time. Pure numpy.

Times of frames are no independent draws. Neighbours come and go, the clock changes, for some frames or for a whole run.

- What slows a frame mostly slows several of its stages. A stage is looked at beside that mixture of the others that
  drifts most like it, frame by frame, so that what they have in common is gone (`Series.likeness`, `Series.beside`).
- What is left lasts for some frames. A bootstrap that draws blocks of neighbouring frames does not take these for as
  many witnesses (Künsch 1989, the moving-block bootstrap, here circular).

Two runs of one and the same program differ by more than the frames within either say (Mytkowicz et al. 2009, Kalibera
and Jones 2013); by how much was measured once, see `BETWEEN_RUNS` and `compare.OWN_FLOOR`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

CLOSE = 1e-9
"""Sums of weights that differ by less, relatively, are one."""
RIDGE, TINIEST = 0.1, 1e-12
"""By what share, and by how much at least, a stage's variance in a mixture counts as larger than it was seen."""
WILD = 3.0
"""Standard deviations; a block that is farther off is taken to be so far off."""
RESAMPLES = 500
"""Enough for a standard error: it is known to 1 / sqrt(2 * 500) = 3 %."""
MOST_FRAMES = 1000
"""A longer log is thinned evenly for the bootstrap alone: what is left of white noise is below what runs differ by."""
BETWEEN_RUNS = (2.5, 1.5)
"""How much larger the variance between runs is than the bootstrap says: of runs one after the other, by turns."""
BLOCK, FEWEST, MOST = 10, 5, 200
"""Frames of a block whose median tells how stages drift; but a side has at least and at most so many blocks."""


def _middle(below: Floats) -> tuple[Ints, Ints]:
    """Where each row of ascending sums reaches half of its last, and where it exceeds that."""
    half = below[:, -1:] / 2
    return np.argmax(below >= half * (1 - CLOSE), axis=1), np.argmax(below > half * (1 + CLOSE), axis=1)


def row_medians(values: Floats, counts: Floats) -> Floats:
    """The median of every row, where each value counts so much.

    It is the value below which half of the weight lies, halfway to the next where the edge is just there.

    Args:
        values: (m, columns), at least one column.
        counts: (m, columns) or (columns,), not negative, in each row some of them positive.
    """
    orders = np.argsort(values, axis=1, kind="stable")
    below = np.cumsum(np.take_along_axis(np.broadcast_to(counts, values.shape), orders, axis=1), axis=1)
    low, high = _middle(below)
    rows = np.arange(len(values))
    middles: Floats = (values[rows, orders[rows, low]] + values[rows, orders[rows, high]]) / 2
    return middles


def group_medians(values: Floats, group: Ints, groups: int) -> Floats:
    """The median of every column in each group, (groups, columns).

    Args:
        values: (n, columns).
        group: (n,) each row's, 0 to ``groups`` - 1, all of them there.
        groups: how many.
    """
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(groups + 1))
    rows = itertools.pairwise(edges)
    return np.array([np.median(values[order[first:last]], axis=0) for first, last in rows])


def medians(values: Floats, counts: Floats) -> Floats:
    """The median of every column, see `row_medians`.

    Args:
        values, counts: (n, columns).
    """
    return row_medians(values.T, counts.T)


@dataclass(frozen=True, slots=True)
class Series:
    """Two sides' logarithms of times by stage, what is typical of each frame's group taken off.

    Attributes:
        before, after: (n, stages), the rows in the order of time.
        counts_before, counts_after: (n, stages) how much each value counts.
        there_before, there_after: (n, stages) whether frames of this group have the stage.
        fitted: how many groups there are, whose typical values were fitted to these very frames.
        interleaved: the sides took turns, so that what lasts befell both alike.
    """

    before: Floats
    after: Floats
    counts_before: Floats
    counts_after: Floats
    there_before: Bools
    there_after: Bools
    fitted: int
    interleaved: bool = False

    @property
    def sides(self) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Values and counts, before and after."""
        return (self.before, self.counts_before), (self.after, self.counts_after)

    @property
    def change(self) -> Floats:
        """The difference of the sides' medians, (stages,)."""
        return medians(self.after, self.counts_after) - medians(self.before, self.counts_before)

    def likeness(self, references: Sequence[Sequence[int]]) -> Floats:
        """Of which mixture of the others each stage is the most alike in how it drifts within the sides.

        It is the mixture from which its blocks' medians differ least (`_mixture`), as the covariance of all stages'
        blocks tells.

        Args:
            references: for each stage the columns that may be in its mixture.

        Returns:
            (stages, stages), in each row the shares, that are not negative and sum to 1; or 0 without references.
        """
        blocks = np.concatenate([_within(_block_medians(*side)) for side in self.sides])
        covariance = blocks.T @ blocks
        return np.array([_mixture(covariance, stage, others) for stage, others in enumerate(references)])

    def beside(self, mixtures: Floats) -> Series:
        """Each stage less its mixture of others, frame by frame.

        A frame that lacks a stage of the mixture has the rest of it; one that lacks all of it is left as it is.

        Args:
            mixtures: as `likeness` has them.
        """
        before = self.before - _mixed(self.before, self.there_before, mixtures)
        after = self.after - _mixed(self.after, self.there_after, mixtures)
        return replace(self, before=before, after=after)

    def variance(self, rng: np.random.Generator) -> Floats:
        """The variance of `change` between two runs of the same thing, as far as these frames tell it, (stages,).

        Args:
            rng: draws the bootstrap's blocks.
        """
        return self._between * _spread(self._redrawn(rng)) ** 2

    def covariance(self, rng: np.random.Generator) -> Floats:
        """Likewise the covariance of all stages, (stages, stages)."""
        redrawn = _within(self._redrawn(rng))
        return self._between / RESAMPLES * (redrawn.T @ redrawn)

    def _redrawn(self, rng: np.random.Generator) -> Floats:
        """What `change` would have been for other frames like these, (RESAMPLES, stages)."""
        # Where the sides took turns, what lasts is in blocks of the same time on both: these are drawn together.
        places = rng.random((1 if self.interleaved else 2, RESAMPLES, math.isqrt(MOST_FRAMES) + 2))
        first, second = (
            _resampled(*side, each) for side, each in zip(self.sides, (places[0], places[-1]), strict=True)
        )
        return second - first

    @property
    def _between(self) -> float:
        """How much larger the variance between runs is than that of what is redrawn."""
        frames = len(self.before) + len(self.after)
        # With one frame a group and side, half of the noise went with what was taken off as typical.
        return BETWEEN_RUNS[self.interleaved] * frames / max(frames - self.fitted, 1)


def _within(values: Floats) -> Floats:
    """The columns less their means, what is wild made less so: a single bad block must not decide."""
    far = WILD * _spread(values)
    middles = np.median(values, axis=0)
    tame = np.clip(values, middles - far, middles + far)
    found: Floats = tame - tame.mean(axis=0)
    return found


def _mixture(covariance: Floats, stage: int, others: Sequence[int]) -> Floats:
    """Shares of others, not negative, with sum 1, for which the variance of the stage less the mixture is least.

    Lagrange's equations; a share that comes out negative is left out. `RIDGE` is added to the others' variances, which
    draws the shares together where few frames tell little.
    """
    shares, left = np.zeros(len(covariance)), list(others)
    while left:
        inner = covariance[np.ix_(left, left)]
        equations = np.ones((len(left) + 1, len(left) + 1))
        equations[:-1, :-1] = inner + np.diag(RIDGE * np.diag(inner) + TINIEST)
        equations[-1, -1] = 0.0
        found = np.linalg.solve(equations, np.append(covariance[left, stage], 1.0))[:-1]
        if (found >= -CLOSE).all():
            shares[left] = found
            break
        del left[int(np.argmin(found))]
    return shares


def _mixed(values: Floats, there: Bools, mixtures: Floats) -> Floats:
    """Each frame's mixtures of the stages that it has, (n, stages)."""
    sums = np.where(there, values, 0.0) @ mixtures.T
    parts = there @ mixtures.T
    found: Floats = sums / np.where(parts > CLOSE, parts, np.inf)
    return found


def _resampled(values: Floats, counts: Floats, places: Floats) -> Floats:
    """The columns' medians in bootstrap resamples: blocks of sqrt(n) neighbouring rows, (RESAMPLES, columns).

    Args:
        values, counts: (n, columns).
        places: (RESAMPLES, blocks at least) from 0 to 1, where blocks begin.
    """
    if len(values) > MOST_FRAMES:
        chosen = np.linspace(0, len(values) - 1, MOST_FRAMES).astype(np.intp)
        values, counts = values[chosen], counts[chosen]
    rows = len(values)
    length = max(1, round(math.sqrt(rows)))
    starts = (places[:, : math.ceil(rows / length)] * rows).astype(np.intp)
    drawn = ((starts[:, :, None] + np.arange(length)) % rows).reshape(RESAMPLES, -1)[:, :rows]
    flat = (drawn + rows * np.arange(RESAMPLES)[:, None]).ravel()
    times = np.bincount(flat, minlength=RESAMPLES * rows).reshape(RESAMPLES, rows).astype(np.float64)
    found, below = [], np.empty_like(times)
    for column, weights in zip(values.T, counts.T, strict=True):
        order = np.argsort(column, kind="stable")
        ascending = column[order]
        np.take(times, order, axis=1, out=below, mode="clip")  # other modes copy
        below *= weights[order]
        low, high = _middle(np.cumsum(below, axis=1, out=below))
        found.append((ascending[low] + ascending[high]) / 2)
    return np.array(found).T


def _block_medians(values: Floats, counts: Floats) -> Floats:
    """The columns' medians in equal blocks of neighbouring rows, (blocks, columns)."""
    blocks = int(np.clip(len(values) // BLOCK, FEWEST, MOST))
    rows = itertools.pairwise(np.linspace(0, len(values), blocks + 1).astype(np.intp))
    return np.array([medians(values[first:last], counts[first:last]) for first, last in rows])


def _spread(values: Floats) -> Floats:
    """The columns' standard deviations, from the middle two thirds of their values: a few wild ones don't matter."""
    low, high = np.quantile(values, (0.1587, 0.8413), axis=0)
    found: Floats = (high - low) / 2
    return found
