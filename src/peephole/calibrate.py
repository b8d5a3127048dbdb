"""A rule fitted to a user's own people and strangers, and a picture of why. Pure.

A model's rule was measured on strangers to everybody. Here the people are a family, who look alike, and the strangers
come to one door. But a household has few samples, so the model's curve counts as `PRIOR` strangers of its own, and what
was seen moves the threshold away from the model's only as far as it can outweigh those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from .match import People, Rule, compare
from .sheets import shortened
from .words import counted

PRIOR = 1000
"""Strangers that the model's own curve counts for: as many as show a rate of 1 in 1,000 once."""
GRID = 0.001
"""Steps of score in which a threshold is looked for."""
LOWEST = 0.0
"""No threshold lies far below."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies in 95 of 100 such samples (E. B. Wilson's score interval, 1927)."""
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.96, self.total, self.count / self.total
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(middle - half, 0.0) if self.count else 0.0), (min(middle + half, 1.0) if self.count < n else 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.total} (between {low:.1%} and {high:.1%})"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two enrolled people and the highest score between their photos."""

    first: str
    second: str
    score: float

    def __str__(self) -> str:
        return f"{self.first} and {self.second}, {self.score:.3f}"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found.

    Attributes:
        rule: the fitted one.
        base: the model's.
        limit: the threshold that holds for these people, in score; see `Rule.limit`.
        before: the one that the model's rule has for them.
        genuine: each photo's score with its person's other photos, (n,); of people with two photos or more.
        others: each photo's best score with another person, (m,); empty with one person.
        strangers: each stranger's best score, (k,); the unknown, the ignored, and whoever was taken for somebody.
        pair: the two people most alike, or None with one person.
        missed: the photos that their own person's other photos would not have named.
        mistaken: those of them that would have been given another person's name.
        named: the strangers who would be named.
        false_alarm: the estimated share of strangers who reach the limit, by the model's curve and the strangers
            together; None where the model has no curve.
    """

    rule: Rule
    base: Rule
    limit: float
    before: float
    genuine: NDArray[np.float64]
    others: NDArray[np.float64]
    strangers: NDArray[np.float64]
    pair: Pair | None
    missed: Share
    mistaken: Share
    named: Share
    false_alarm: float | None

    def lines(self, until_now: float | None = None) -> list[str]:
        """What was found, in words; with the threshold that an earlier calibration has found, if there was one."""
        reaches = ", which sets the threshold" if self.pair and self.limit <= self.pair.score + GRID else ""
        model = f"the model's own is {self.before:.3f}"
        out = [f"threshold          {self.limit:.3f} ({model}), margin {self.rule.margin:.2f}"]
        if until_now is not None:
            out.append(f"until now          {until_now:.3f}, by an earlier calibration")
        out.append(f"most alike         {self.pair or 'there is one person only'}{reaches}")
        if self.missed.total:
            out.append(f"photos not known   {self.missed}, by their person's other photos")
            out.append(f"photos mistaken    {self.mistaken}")
        else:
            out.append("photos not known   no telling: nobody has two photos")
        nobody = "no telling: nobody unknown or ignored is kept, and nothing was corrected"
        out.append(f"strangers named    {self.named if self.named.total else nobody}")
        out.append(f"expected           {self._expectation()}")
        return out

    def _expectation(self) -> str:
        """How many strangers will be named, in words."""
        if self.false_alarm is None:
            return "an unknown share of strangers named: nobody has measured this model"
        count = self.named.total
        _, most = Share(round(self.false_alarm * (count + PRIOR)), count + PRIOR).interval
        seen = f"{counted(count, 'stranger')} and the model's curve" if count else "the model's curve alone"
        return f"{self.false_alarm:.3%} of strangers named; hardly more than {most:.2%}, by {seen}"


def calibrate(
    people: People, strangers: NDArray[np.float32], base: Rule, *, groups: ArrayLike | None = None
) -> Calibration:
    """Fit a rule's threshold.

    It is the least score, in steps of `GRID`, at which strangers are expected to be named no more often than by the
    model's rule, where the expectation is that of the strangers at hand and of `PRIOR` more who follow the model's
    curve; and it lies above every score between two enrolled people. Without strangers and with people who are not
    alike it stays the model's. The rule for the night becomes stricter with it, never less strict.

    Args:
        people: with at least one person who is not ignored. The ignored, and the corrections, count as strangers.
        strangers: unknown faces, (k, d). Take away the family's own first: each would raise the threshold.
        base: the recognizer's.
        groups: which faces are of one stranger, (k,): they count once, by the best. By default each is somebody else.

    Raises:
        ValueError: everybody is ignored.
    """
    names = np.array(people.names, object)
    known = ~np.isin(names, list(people.ignored))
    if not known.any():
        raise ValueError("there is nobody to calibrate for: everybody is ignored")
    rows, owners = people.embeddings[known], names[known]
    scores = compare(rows, rows, base.similarity)
    same = owners[:, None] == owners[None, :]
    other = np.where(same, -np.inf, scores)
    np.fill_diagonal(same, val=False)
    own = np.where(same, scores, -np.inf)
    several = same.any(1)

    pair = None
    if np.isfinite(other).any():
        i, j = np.unravel_index(int(other.argmax()), other.shape)
        first, second = sorted((str(owners[i]), str(owners[j])))
        pair = Pair(first, second, float(other[i, j]))
    alien = _strangers(people, strangers, groups, rows, owners, base)
    photos = len(rows)
    threshold = _fit(alien, pair, photos, base)
    # What the curve alone would let in there is let in: strangers who came outweigh it.
    by_curve = base.false_alarm(threshold, photos)
    stricter = max(threshold - base.limit(photos), 0.0)
    night = _night(base, people.at_night().embeddings[known], owners, stricter, photos)
    rule = replace(base, threshold=threshold, strangers=max(base.strangers, by_curve or 0.0), night=night)
    limit = rule.limit(photos)

    best, next_best = own.max(1)[several], other.max(1)[several]
    lead = best - next_best
    right = (best >= limit) & (lead >= base.margin)
    wrong = (next_best >= limit) & (-lead >= base.margin)
    return Calibration(
        rule=rule,
        base=base,
        limit=limit,
        before=base.limit(photos),
        genuine=best,
        others=other.max(1)[np.isfinite(other.max(1))],
        strangers=alien,
        pair=pair,
        missed=Share(int((~right).sum()), len(best)),
        mistaken=Share(int(wrong.sum()), len(best)),
        named=Share(int((alien >= limit).sum()), len(alien)),
        false_alarm=_expected(limit, alien, photos, base),
    )


def _night(
    base: Rule, twins: NDArray[np.float32], owners: NDArray[np.object_], stricter: float, photos: int
) -> Rule | None:
    """The rule for the night: as much stricter as the day's has become, and above every two people without colour.

    Strangers are few enough by day; nobody calibrates by those of the nights alone.
    """
    if base.night is None:
        return None
    alike = np.where(owners[:, None] == owners[None, :], -np.inf, compare(twins, twins, base.similarity))
    floor = math.nextafter(float(alike.max(initial=-np.inf)), math.inf)
    least = base.night.limit(photos) + stricter if stricter else base.night.threshold
    return replace(base.night, threshold=max(least, floor))


def _strangers(
    people: People,
    strangers: NDArray[np.float32],
    groups: ArrayLike | None,
    rows: NDArray[np.float32],
    owners: NDArray[np.object_],
    base: Rule,
) -> NDArray[np.float64]:
    """Each stranger's best score with the known people."""
    found: list[float] = []
    if len(strangers):
        best = compare(strangers, rows, base.similarity).max(1)
        labels = np.arange(len(strangers)) if groups is None else np.asarray(groups)
        found += [float(best[labels == label].max()) for label in np.unique(labels)]
    for name in sorted(people.ignored.intersection(people.names)):
        photos = people.embeddings[np.array(people.names, object) == name]
        found.append(float(compare(photos, rows, base.similarity).max()))
    for each in people.rejected:
        taken_for = rows[owners == each.name]
        if len(taken_for):
            found.append(float(compare(each.embedding[None], taken_for, base.similarity).max()))
    return np.array(found)


def _expected(score: float, strangers: NDArray[np.float64], photos: int, base: Rule) -> float | None:
    """The mean of a beta distribution with the model's curve as prior."""
    alarm = base.false_alarm(score, photos)
    if alarm is None:
        return None
    return (float((strangers >= score).sum()) + PRIOR * alarm) / (len(strangers) + PRIOR)


def _fit(strangers: NDArray[np.float64], pair: Pair | None, photos: int, base: Rule) -> float:
    """The threshold; see `calibrate`."""
    start = base.limit(photos)
    # Just above the two most alike: strangers are not the only ones to be mistaken for somebody.
    floor = -math.inf if pair is None else math.nextafter(pair.score, math.inf)
    allowed = base.false_alarm(start, photos)
    if allowed is None:  # there is no curve to weigh strangers against: above them all, if they are above the model's
        return max(start, floor, math.nextafter(float(strangers.max(initial=-math.inf)), math.inf))
    score = start - GRID * math.ceil((start - LOWEST) / GRID)
    while (_expected(score, strangers, photos, base) or 0.0) > allowed:
        score += GRID
    return max(round(score, 6), floor)


# The picture

SIZE = (900, 500)
LEFT, RIGHT, TOP, BOTTOM = 40, 860, 96, 430
PAPER, INK, FAINT = (252, 252, 250), (30, 30, 30), (150, 150, 150)
GENUINE, ALIEN, OTHERS = (56, 118, 172), (214, 96, 77), (226, 160, 60)
BINS = 50
HEAD = 18
"""Pixels between the highest bar and the frame, for the threshold's label."""


def draw(calibration: Calibration) -> Image.Image:
    """Both distributions of scores with the threshold between them: an RGB image of `SIZE`.

    Upwards the photos with their own person's other photos; downwards whoever is somebody else: strangers, and the
    photos with the other people. Each is drawn as large as its highest bar allows, so heights compare within one alone.
    """
    groups = (
        (calibration.genuine, GENUINE, "photos, with their own person's other photos"),
        (calibration.strangers, ALIEN, "strangers, with the most alike of all photos"),
        (calibration.others, OTHERS, "photos, with the most alike of other people"),
    )
    every = np.concatenate([values for values, _, _ in groups] + [[calibration.limit, calibration.before]])
    low, high = float(every.min()) - 0.03, float(every.max()) + 0.03
    image = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(image)
    small, title = ImageFont.load_default(size=13), ImageFont.load_default(size=17)

    def x(score: float) -> float:
        return LEFT + (score - low) / (high - low) * (RIGHT - LEFT)

    pen.text((LEFT, 10), "How alike: the right person, and anybody else", fill=INK, font=title)
    middle = (TOP + HEAD + BOTTOM) // 2
    half = middle - TOP - HEAD
    for row, (values, colour, words) in enumerate(groups):
        top = 38 + 17 * row
        pen.rectangle((LEFT, top + 3, LEFT + 10, top + 13), fill=colour)
        pen.text((LEFT + 17, top), f"{len(values)} {words}", fill=INK, font=small)
        counts, edges = np.histogram(values, BINS, (low, high))
        heights = half * counts / max(int(counts.max(initial=0)), 1)
        narrow = 3.0 if colour == OTHERS else 0.0  # drawn over the strangers' bars, and narrower
        for height, left, right in zip(heights, edges, edges[1:], strict=False):
            if height:
                tip = middle - height if colour == GENUINE else middle + height
                box = (x(left) + 1 + narrow, min(tip, middle), x(right) - 1 - narrow, max(tip, middle))
                pen.rectangle(box, fill=colour)
    pen.line((LEFT, middle, RIGHT, middle), fill=INK)
    _axis(pen, small, low, high, x)
    if abs(calibration.before - calibration.limit) >= GRID:
        for y in range(TOP, BOTTOM, 8):
            pen.line((x(calibration.before), y, x(calibration.before), y + 4), fill=FAINT)
        aside, anchor = (5, "la") if calibration.before > calibration.limit else (-5, "ra")
        pen.text((x(calibration.before) + aside, BOTTOM - 18), "the model's", fill=FAINT, font=small, anchor=anchor)
    pen.line((x(calibration.limit), TOP, x(calibration.limit), BOTTOM), fill=INK, width=2)
    pen.text((x(calibration.limit) + 6, TOP), f"threshold {calibration.limit:.3f}", fill=INK, font=small)
    missed, named = calibration.missed, calibration.named
    shares = ((missed, "photos not known"), (named, "strangers named"))
    below = "; ".join(f"{share.count} of {share.total} {what}" for share, what in shares if share.total)
    pair = f"most alike: {calibration.pair}" if calibration.pair else ""
    for line, text in enumerate((below, shortened(pair, small, RIGHT - LEFT))):
        pen.text((LEFT, BOTTOM + 28 + 17 * line), text, fill=INK, font=small)
    return image


def _axis(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    low: float,
    high: float,
    x: Callable[[float], float],
) -> None:
    """Scores below the picture, at every tenth or, where the scores go far, at every so many."""
    pen.line((LEFT, BOTTOM, RIGHT, BOTTOM), fill=FAINT)
    step = 0.1 * max(1, math.ceil((high - low) / 1.5))
    for tick in range(math.ceil(low / step), math.floor(high / step) + 1):
        pen.line((x(tick * step), BOTTOM, x(tick * step), BOTTOM + 4), fill=FAINT)
        pen.text((x(tick * step), BOTTOM + 6), f"{tick * step:.1f}", fill=INK, font=font, anchor="ma")
