"""Why a frame came out as it did: what could be found on it, and which rule decided about each face. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .faces import Face, Match
from .geometry import round_boxes
from .match import People, Rule
from .pipeline import Analysis
from .quality import Quality, reason
from .report import NOBODY, escaped
from .words import counted

FRONT = 10.0
"""Degrees to any side that are not worth a word."""
RAREST = 1e-6
"""The smallest share of strangers that is spelled out: nobody has measured a smaller one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One face.

    Attributes:
        face: as it was found.
        decided: the name it got, and the rule that decided, in one line.
        odds: how rare a stranger with such a score is, or None where nothing is known of it.
    """

    face: Face
    decided: str
    odds: str | None

    def lines(self) -> list[str]:
        """The face in words: where it is, what it shows, who it could be, and what decided."""
        left, top, right, bottom = round_boxes([self.face.box])[0]
        out = [f"at {left},{top} to {right},{bottom}, confidence {self.face.confidence:.2f}"]
        if self.face.quality is not None:
            out.append(f"shows    {shown(self.face.quality)}")
        match = self.face.match
        if match is not None and match.score is not None:
            out.append(f"like     {_candidates(match)}")
            if self.odds:
                out.append(f"odds     {self.odds}")
        return [*out, f"decided  {self.decided}"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One frame: what was looked for, and a verdict for each face.

    Attributes:
        analysis: what was seen.
        rule: what gave names.
        limit: the least score that gave a name, with the people who are known.
        people, photos: how many are known, the ignored left out.
        verdicts: in the order of the analysis's faces.
    """

    analysis: Analysis
    rule: Rule
    limit: float
    people: int
    photos: int
    verdicts: tuple[Verdict, ...]

    def lines(self) -> list[str]:
        """The explanation in words, a line each."""
        analysis = self.analysis
        out = [
            f"{escaped(analysis.source)}: {analysis.width}x{analysis.height}",
            *(f"  {line}" for line in looked(analysis)),
            f"  known    {counted(self.people, 'person', 'people')} by {counted(self.photos, 'photo')}; a name needs a "
            f"score of {self.limit:.3f}{_by_night(self.rule, self.photos)}{_and_lead(self.rule)}",
        ]
        if not self.verdicts:
            smallest = analysis.plan.smallest_face
            out.append(
                f"{NOBODY}: no face of {smallest:.0f} px or more; a fainter one shows with a lower "
                "--min-confidence, a smaller one with --upsample"
            )
        for number, verdict in enumerate(self.verdicts, 1):
            first, *rest = verdict.lines()
            out += [f"face {number}: {first}", *(f"  {line}" for line in rest)]
        return out

    def to_dict(self) -> dict[str, Any]:
        """The analysis as the output contract has it, with the rule, and the reason for each face's name."""
        out = self.analysis.to_dict()
        for face, verdict in zip(out["faces"], self.verdicts, strict=True):
            face |= {"why": verdict.decided, "odds": verdict.odds}
        rule = {"similarity": self.rule.similarity, "threshold": self.limit, "margin": self.rule.margin}
        return out | {"rule": rule, "known": {"people": self.people, "photos": self.photos}}


def explain(analysis: Analysis, people: People, rule: Rule) -> Explanation:
    """Explain an analysis.

    Args:
        analysis: with matches.
        people: those that its faces were compared with.
        rule: the one that decided.
    """
    limit = rule.limit(people.known)
    verdicts = tuple(
        Verdict(face, decision(face, *_applied(face, rule, people)), odds(face.match)) for face in analysis
    )
    known = len(set(people.persons) - people.ignored)
    return Explanation(analysis, rule, limit, known, people.known, verdicts)


def _applied(face: Face, rule: Rule, people: People) -> tuple[float, Rule]:
    """The least score that gives this face a name, and the rule that says so."""
    _, applied = people.by(rule, grey=face.grey)
    return applied.limit(people.known), applied


def looked(analysis: Analysis) -> list[str]:
    """How the frame was looked at: what could be found, and what that took."""
    plan, memory = analysis.plan, analysis.memory
    coarsened = (
        ""
        if plan.coarsened_from is None
        else f", not from {plan.coarsened_from:.0f} px as asked for: the memory budget is too small"
    )
    most = "" if memory.measured <= memory.budget else ": MORE THAN THE BUDGET"
    lines = [
        f"looked   as {plan.base[0]}x{plan.base[1]} by {plan.detector}: "
        f"faces from {plan.smallest_face:.0f} px{coarsened}",
        f"memory   {memory.measured / 1e6:.0f} of {memory.budget / 1e6:.0f} MB{most}",
    ]
    if hidden := [level for level in plan.levels if level.purpose == "grain"]:
        sizes = ", ".join(f"{level.size[0]}x{level.size[1]}" for level in hidden)
        lines.insert(1, f"grain    {plan.grain:.3f} of full scale: looked at as {sizes} too")
    if plan.saved:
        lines.insert(1, "left out levels for faces larger than --max-face")
    return lines


def shown(quality: Quality) -> str:
    """What a face shows, in words."""
    turns = [
        f"{abs(angle):.0f} degrees {negative if angle < 0 else positive}"
        for angle, negative, positive in (
            (quality.yaw, "to the left", "to the right"),
            (quality.pitch, "down", "up"),
            (quality.roll, "leaning left", "leaning right"),
        )
        if abs(angle) > FRONT
    ]
    light = "grey or infrared" if quality.grey else "in colour"
    return (
        f"{quality.size:.0f} px, sharpness {quality.sharpness:.2f}, {', '.join(turns) or 'straight on'}; "
        f"brightness {quality.brightness:.2f}, contrast {quality.contrast:.2f}, {light}"
    )


def odds(match: Match | None) -> str | None:
    """How rare a stranger is who gets this score, in words."""
    if match is None or match.false_alarm is None:
        return None
    alarm = match.false_alarm
    if alarm > 0.5:
        return "most strangers reach this score"
    if alarm < RAREST:
        return f"fewer than 1 stranger in {1 / RAREST:,.0f} reaches this score"
    return f"about 1 stranger in {_rounded(1 / alarm)} reaches this score"


def decision(face: Face, limit: float, rule: Rule) -> str:
    """The name that a face got, and the rule that decided, in one line.

    Args:
        face: with a match.
        limit: the least score that gives a name.
        rule: the one that decided.
    """
    match = face.match
    if match is None:
        return "nobody asked who it is"
    return f"{match.name}: {_because(face, match, limit, rule)}"


def _because(face: Face, match: Match, limit: float, rule: Rule) -> str:
    if match.decided == "unclear":
        return (face.quality and reason(face.quality)) or "it shows too little to be told"
    if match.decided == "nobody-known" or match.score is None:
        return "nobody is enrolled; peephole enroll NAME FILE"
    if match.decided == "below-threshold":
        return f"{match.score:.3f} < {limit:.3f}; {match.nearest} is the most alike"
    above = f"{match.score:.3f} ≥ {limit:.3f}"
    if match.decided == "ignored":
        return f"{above} with {match.nearest}, who is to be ignored"
    if match.decided == "corrected":
        return f"{above}, but as much like a face of which somebody said that it is not {match.nearest}"
    if match.margin is None:
        return f"{above}, and nobody else is known"
    if match.decided == "small-margin":
        return (
            f"{above} with {match.nearest}, but that leads {match.runner_up} by {match.margin:.3f} alone, "
            f"and {rule.margin:.2f} is needed"
        )
    return f"{above} and leads {match.runner_up} by {match.margin:.3f}"


def _candidates(match: Match) -> str:
    first = f"{match.nearest} {match.score:.3f}"
    if match.margin is None or match.score is None:
        return first
    return f"{first}, then {match.runner_up} {match.score - match.margin:.3f}"


def _by_night(rule: Rule, photos: int) -> str:
    return f" ({rule.night.limit(photos):.3f} without colour)" if rule.night else ""


def _and_lead(rule: Rule) -> str:
    return f" and a lead of {rule.margin:.2f}" if rule.margin else ""


def _rounded(number: float) -> str:
    """With two digits: an estimate has no more."""
    digits = max(math.floor(math.log10(number)) - 1, 0)
    return f"{round(number, -digits) if digits else number:,.0f}"
