"""The statistics of timings on a machine that others use too: robust, by blocks of time, with a floor. Pure numpy.

Times of frames are no independent draws. Neighbours come and go, the clock changes, and two runs of one and the same
program differ by more than the frames within either say. So the standard error of a change has three parts:

- what the frames themselves say: a bootstrap that draws blocks of neighbouring frames, so that what lasts for some
  frames is not taken for many witnesses (Künsch 1989, the moving-block bootstrap, here circular);
- *flicker*: noise that does not average out, however long one measures. The mean square of differences between
  neighbouring blocks (the Allan variance, Allan 1966) falls as the blocks grow where noise is white, and stays where it
  is flicker. What stays between neighbouring blocks is between neighbouring runs too;
- what no single run can show, as where its memory came to lie (Mytkowicz et al. 2009, Kalibera and Jones 2013): a
  floor, measured once; see `compare`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Combined = Callable[[Floats], Floats]
Blocks = tuple[Floats, Floats]
"""Medians of a side's blocks, (blocks, stages), and how much each counts."""

CLOSE = 1e-9
"""Sums of weights that differ by less, relatively, are one."""
RESAMPLES = 500
"""Enough for a standard error: it is known to 1 / sqrt(2 * 500) = 3 %."""
MOST_FRAMES = 4000
"""A longer log is thinned evenly for the bootstrap alone; its drift counts, not its millionth frame."""
BLOCK, BLOCKS, FINER = 40, (5, 50), 4
"""To tell flicker from white noise a side is cut into blocks of 40 frames, but into 5 at least and 50 at most, and into
four times as many."""
FLICKER_SHARE, USUAL = 0.45, 8
"""The usual standard deviation of flicker as a share of that of single frames, fitted to runs on a very busy machine;
and how many differences of blocks it is worth, because a short log has no more of its own."""


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
        fitted: how many groups there are, whose typical values were fitted to these very frames.
        interleaved: the sides took turns, so that what lasts befell both alike.
    """

    before: Floats
    after: Floats
    counts_before: Floats
    counts_after: Floats
    fitted: int
    interleaved: bool = False

    @property
    def change(self) -> Floats:
        """The difference of the sides' medians, (stages,)."""
        return medians(self.after, self.counts_after) - medians(self.before, self.counts_before)

    def variance(self, rng: np.random.Generator, seen: Combined) -> Floats:
        """The variance of ``seen(change)`` between two runs of the same thing, as far as these frames tell it.

        Args:
            rng: draws the bootstrap's blocks.
            seen: what is made of the changes: (m, stages) → (m, stages), a row for itself.

        Returns:
            (stages,).
        """
        sides = ((self.before, self.counts_before), (self.after, self.counts_after))
        first, second = (_resampled(*side, rng) for side in sides)
        white = _spread(seen(second - first)) ** 2
        coarse = int(np.clip(min(len(self.before), len(self.after)) // BLOCK, *BLOCKS))
        blocks = [[_blocks(*side, count) for side in sides] for count in (FINER * coarse, coarse)]
        if self.interleaved:  # what lasts is in both of two blocks of the same time
            blocks = [[(after - before, np.minimum(less, more))] for (before, less), (after, more) in blocks]
        own = _flicker(*([(seen(values), counts) for values, counts in each] for each in blocks))
        usual = FLICKER_SHARE**2 * np.mean([_deviation(*side) ** 2 for side in sides], axis=0)
        witnesses = sum(len(values) - 1 for values, _ in blocks[1])
        frames = len(self.before) + len(self.after)
        # With one frame a group and side, half of the noise went with what was taken off as typical.
        lost = frames / max(frames - self.fitted, 1)
        found: Floats = lost * (white + (witnesses * own + USUAL * usual) / (witnesses + USUAL))
        return found


def _resampled(values: Floats, counts: Floats, rng: np.random.Generator) -> Floats:
    """The columns' medians in bootstrap resamples: blocks of sqrt(n) neighbouring rows, (RESAMPLES, columns)."""
    if len(values) > MOST_FRAMES:
        chosen = np.linspace(0, len(values) - 1, MOST_FRAMES).astype(np.intp)
        values, counts = values[chosen], counts[chosen]
    rows = len(values)
    length = max(1, round(math.sqrt(rows)))
    starts = rng.integers(rows, size=(RESAMPLES, math.ceil(rows / length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % rows).reshape(RESAMPLES, -1)[:, :rows]
    flat = (drawn + rows * np.arange(RESAMPLES)[:, None]).ravel()
    times = np.bincount(flat, minlength=RESAMPLES * rows).reshape(RESAMPLES, rows)
    found = []
    for column, weights in zip(values.T, counts.T, strict=True):
        order = np.argsort(column, kind="stable")
        ascending = column[order]
        low, high = _middle(np.cumsum(times[:, order] * weights[order], axis=1))
        found.append((ascending[low] + ascending[high]) / 2)
    return np.array(found).T


def _blocks(values: Floats, counts: Floats, blocks: int) -> Blocks:
    """Equal blocks of neighbouring rows: the columns' medians in each, and how much these count."""
    rows = list(itertools.pairwise(np.linspace(0, len(values), blocks + 1).astype(np.intp)))
    found = [medians(values[first:last], counts[first:last]) for first, last in rows]
    return np.array(found), np.array([counts[first:last].sum(axis=0) for first, last in rows])


def _flicker(fine: Sequence[Blocks], coarse: Sequence[Blocks]) -> Floats:
    """The part of the mean square of neighbouring blocks' differences that does not fall as blocks grow, by column.

    The mean square is ``white / length + flicker``; two lengths give both.
    """
    short, long = _steps(fine), _steps(coarse)
    found: Floats = np.maximum((FINER * long - short) / (FINER - 1), 0.0)
    return found


def _steps(sides: Sequence[Blocks]) -> Floats:
    """The mean square of the differences of neighbouring blocks, where each counts like the lesser of the two."""
    squares = np.concatenate([np.diff(values, axis=0) ** 2 for values, _ in sides])
    counts = np.concatenate([np.minimum(counts[:-1], counts[1:]) for _, counts in sides])
    found: Floats = (squares * counts).sum(axis=0) / counts.sum(axis=0)
    return found


def _deviation(values: Floats, counts: Floats) -> Floats:
    """The columns' standard deviations, from the median distance to the median: a few wild values don't matter."""
    found: Floats = 1.4826 * medians(np.abs(values - medians(values, counts)), counts)
    return found


def _spread(values: Floats) -> Floats:
    """The columns' standard deviations, from the middle two thirds of their values: a few wild ones don't matter."""
    low, high = np.quantile(values, (0.1587, 0.8413), axis=0)
    found: Floats = (high - low) / 2
    return found
