"""How well a person is known: what their photos cover, whether they hold, and which one more would help most. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .faces import Match
from .match import People, Rule, Similarity, compare, match
from .outliers import outliers, same_person, unlike
from .quality import Quality, reason
from .words import counted

FRONT = 15.0
"""Degrees to either side that are still the front."""
DUPLICATE: dict[Similarity, float] = {"cosine": 0.90, "euclidean": 0.80}
"""The score from which two photos are nearly the same one: one of them adds nothing."""
ALIKE: dict[Similarity, float] = {"cosine": 0.80, "euclidean": 0.70}
"""The mean score between photos from which they are of one occasion, to all appearance."""
ENOUGH = 3
"""Photos below which another one helps whatever it shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """An enrolled photo.

    Attributes:
        label: what it is called in the report.
        embedding: (d,) float32.
        quality: how clear the face is, or None where nobody looked.
        twin: the embedding of the same photo without its colour, (d,), or None where nobody has made it.
    """

    label: str
    embedding: NDArray[np.float32]
    quality: Quality | None = None
    twin: NDArray[np.float32] | None = None

    @property
    def grey(self) -> bool:
        """Whether it is known to have no colour."""
        return self.quality is not None and self.quality.grey

    @property
    def colourless(self) -> NDArray[np.float32]:
        """The twin, or the photo's own vector where there is none."""
        return self.embedding if self.twin is None else self.twin


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photos and their score."""

    one: str
    other: str
    score: float


@dataclass(frozen=True, slots=True)
class Check:
    """Who a photo is taken for when it is not enrolled itself and all others are."""

    photo: str
    match: Match
    right: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """The report on one person.

    Attributes:
        name: whose.
        photos: how many.
        outliers: those unlike the others, each with its best score with one of them; see `outliers.outliers`. They say
            nothing about variety, angles and light, and none like them is asked for.
        same: whoever else is the same person, to all appearance, each with the best score; see `outliers.same_person`.
        alike: the mean score between two photos; None with one photo. Less is more variety.
        left, front, right: how many show the face turned to the left of the picture, straight on, to the right.
        colour, grey: how many have colour, and how many have none, as by infrared light.
        weak: (photo, reason) of those that would count as unclear.
        duplicates: pairs that are nearly the same, the most alike first.
        checks: each photo against the others; empty with one photo.
        nearest: whoever else is most alike, to which photo, and the score; None if nobody else is known.
        advice: the one photo that would help most.
        because: why.
    """

    name: str
    photos: int
    outliers: tuple[tuple[str, float], ...]
    same: tuple[tuple[str, float], ...]
    alike: float | None
    left: int
    front: int
    right: int
    colour: int
    grey: int
    weak: tuple[tuple[str, str], ...]
    duplicates: tuple[Pair, ...]
    checks: tuple[Check, ...]
    nearest: tuple[str, str, float] | None
    advice: str
    because: str

    def lines(self) -> list[str]:
        """The report in plain words, a line each."""
        out = [f"{self.name}: {counted(self.photos, 'photo')}"]
        nobody = len(self.outliers) == self.photos
        out += [f"{photo}: {unlike(self.name, score, nobody=nobody)}" for photo, score in self.outliers]
        out += [f"the same person as {other}, to all appearance: score {score:.2f}" for other, score in self.same]
        if self.alike is not None:
            out.append(f"variety: two photos score {self.alike:.2f} on average")
        if self.left + self.front + self.right:
            out.append(f"angles: {self.left} left, {self.front} front, {self.right} right")
            out.append(f"light: {self.colour} in colour, {self.grey} grey or infrared")
        out += [f"weak: {photo}: {why}" for photo, why in self.weak]
        out += [f"nearly the same: {each.one} and {each.other}, {each.score:.2f}" for each in self.duplicates]
        if self.checks:
            right = sum(each.right for each in self.checks)
            out.append(f"known by the other photos: {right} of {len(self.checks)}")
            out += [f"  {each.photo}: {_taken_for(each.match)}" for each in self.checks if not each.right]
        if self.nearest is not None:
            name, photo, score = self.nearest
            out.append(f"nearest other person: {name}, {score:.2f} with {photo}")
        out.append(f"would help most: {self.advice}, because {self.because}")
        return out


def standing(name: str, shots: Sequence[Shot], others: People, rule: Rule) -> Standing:
    """Look at one person's photos.

    Args:
        name: the person's.
        shots: their photos, at least one, embedded by one recognizer.
        others: everybody else, the ignored too; their corrections count as in `match`.
        rule: what gives names.

    Raises:
        ValueError: there are no photos, or ``others`` has some of this person.
    """
    if not shots or name in others.persons:
        raise ValueError(f"{name!r}: at least one photo is needed, and none of them among the others'")
    vectors = np.stack([shot.embedding for shot in shots])
    out, best = outliers(vectors, rule, twins=np.stack([shot.colourless for shot in shots]))
    fitting = [shot for shot, apart in zip(shots, out, strict=True) if not apart] or shots
    between = compare(vectors, vectors, rule.similarity)
    pairs = [
        Pair(shots[i].label, shots[j].label, float(between[i, j]))
        for i in range(len(shots))
        for j in range(i + 1, len(shots))
    ]
    alike = [each.score for each in pairs if {each.one, each.other} <= {shot.label for shot in fitting}]
    yaws = [shot.quality.yaw for shot in fitting if shot.quality is not None]
    grey = [shot.quality.grey for shot in fitting if shot.quality is not None]
    told = [(shot.label, reason(shot.quality)) for shot in shots if shot.quality is not None]
    found = Standing(
        name=name,
        photos=len(shots),
        outliers=tuple((shots[index].label, float(best[index])) for index in np.flatnonzero(out).tolist()),
        same=tuple(same_person(name, _together(name, shots, others), rule)),
        alike=float(np.mean(alike)) if alike else None,
        left=sum(yaw < -FRONT for yaw in yaws),
        front=sum(abs(yaw) <= FRONT for yaw in yaws),
        right=sum(yaw > FRONT for yaw in yaws),
        colour=len(grey) - sum(grey),
        grey=sum(grey),
        weak=tuple((label, why) for label, why in told if why is not None),
        duplicates=tuple(
            sorted((each for each in pairs if each.score >= DUPLICATE[rule.similarity]), key=lambda each: -each.score)
        ),
        checks=_leave_one_out(name, shots, others, rule),
        nearest=_nearest(shots, others, rule.similarity),
        advice="",
        because="",
    )
    advice, because = _advice(found, rule.similarity)
    return replace(found, advice=advice, because=because)


def _leave_one_out(name: str, shots: Sequence[Shot], others: People, rule: Rule) -> tuple[Check, ...]:
    """Match each photo against the person's other photos and everybody else's."""
    if len(shots) < 2:
        return ()
    checks = []
    for index, shot in enumerate(shots):
        rest = [each for i, each in enumerate(shots) if i != index]
        (found,) = match(shot.embedding[None], _together(name, rest, others), rule, grey=np.array([shot.grey]))
        checks.append(Check(shot.label, found, found.name == name))
    return tuple(checks)


def _together(name: str, shots: Sequence[Shot], others: People) -> People:
    """A person's photos and everybody else."""
    rows, twins = np.stack([shot.embedding for shot in shots]), np.stack([shot.colourless for shot in shots])
    if len(others):
        rows = np.concatenate([rows, others.embeddings])
        twins = np.concatenate([twins, others.at_night().embeddings])
    return replace(others, names=(*[name] * len(shots), *others.names), embeddings=rows, twins=twins)


def _nearest(shots: Sequence[Shot], others: People, similarity: Similarity) -> tuple[str, str, float] | None:
    if not len(others):
        return None
    scores = others.scores(np.stack([shot.embedding for shot in shots]), similarity)
    photo, person = np.unravel_index(int(scores.argmax()), scores.shape)
    return others.persons[int(person)], shots[int(photo)].label, float(scores[photo, person])


def _advice(found: Standing, similarity: Similarity) -> tuple[str, str]:
    """The photo that would help most, and why: what is missing altogether first, refinements last."""
    apart = {photo for photo, _ in found.outliers}
    fitting = found.photos - len(apart)
    looked = found.left + found.front + found.right
    clear = looked - sum(photo not in apart for photo, _ in found.weak)
    wrong = [each for each in found.checks if each.match.decided == "named" and not each.right]
    lost = [each for each in found.checks if not each.right and each.photo not in apart]
    night = looked > 0 and not found.grey
    twin = found.same[0][0] if found.same else ""
    rules: list[tuple[bool, str, str]] = [
        (bool(twin), f"one name in place of {found.name} and {twin}", "they are one person, to all appearance"),
        (not fitting, f"one that is {found.name} beyond doubt", "the photos are unlike each other"),
        (bool(wrong), f"a better one in place of {wrong[0].photo}" if wrong else "", "that is taken for somebody else"),
        (looked > 0 and not clear, "a larger and sharper one", "none of the photos is clear"),
        (looked > 0 and not found.front, "one from the front", "no photo shows the face straight on"),
        (found.photos < 2, "a second one, from another day", "one photo shows the face in one way only"),
        (bool(lost), f"another one like {lost[0].photo}" if lost else "", "the other photos do not know the face so"),
        (looked > 0 and not found.left, "one turned to the left of the picture", "no photo shows that side"),
        (looked > 0 and not found.right, "one turned to the right of the picture", "no photo shows that side"),
        (night, "one by night, as the camera sees it in infrared", "all photos have colour"),
        (looked > 0 and not found.colour, "one by day", "all photos are grey"),
        (bool(found.weak), "a clearer one", "some of the photos are weak"),
        (found.alike is not None and found.alike >= ALIKE[similarity], "one from another day", "all are much alike"),
        (fitting < ENOUGH, f"any other one, up to {ENOUGH}", "there are few"),
    ]
    for applies, advice, because in rules:
        if applies:
            return advice, because
    return "none", "angles and light are covered, and every photo is known by the others"


def _taken_for(found: Match) -> str:
    score = "" if found.score is None else f", nearest {found.nearest} with {found.score:.2f}"
    return f"{found.name}{score}"
