"""What an examination finds: a state, a line and advice each; and how a check's own failure becomes one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import PeepholeError

State = Literal["ok", "note", "warning", "problem"]
"""``note``: good to know. ``warning``: it works, but worse than it could. ``problem``: something will not work."""
STATES: tuple[State, ...] = ("ok", "note", "warning", "problem")
"""From good to bad."""
Section = Literal["machine", "software", "storage", "work"]
Fact = str | int | float | bool | None | list[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: how it is.
        summary: what it is, one line.
        advice: what to do, a paragraph each; in plain words.
        facts: the numbers in the summary for machines; sizes in bytes, times in seconds.
        section: the part of the report, filled in by `survived`.
    """

    name: str
    state: State
    summary: str
    advice: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    section: Section = "machine"

    def to_dict(self) -> dict[str, Any]:
        """As ``peephole doctor --json`` prints it."""
        return {"section": self.section} | asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at.

    Attributes:
        section: the part of the report.
        name: what it is called where it fails itself.
        run: looks.
    """

    section: Section
    name: str
    run: Callable[[], Iterable[Finding]]


def survived(check: Check, home: str = "") -> Iterator[Finding]:
    """A check's findings, whatever becomes of it, fit to be shown to others: see `without_home`."""
    try:
        for finding in check.run():
            yield _public(replace(finding, section=check.section), home)
    except Exception as error:  # noqa: BLE001 - this is what people run when all else fails: it must say so and go on
        yield _public(Finding(check.name, "note", f"not known: {reason(error)}", section=check.section), home)


def reason(error: BaseException) -> str:
    """Why something failed, one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    first = str(error).strip().splitlines()[:1]
    if isinstance(error, PeepholeError) and first:
        return first[0]
    return ": ".join([type(error).__name__, *first])


def worst(states: Iterable[State]) -> State:
    """The worst of some states, ``ok`` of none."""
    return max(states, key=STATES.index, default="ok")


def without_home(text: str, home: str) -> str:
    """Text in which the home folder, which is mostly the user's name, is ``~``.

    Args:
        text: with paths in it.
        home: an absolute path; the root of all folders, or an empty one, hides nothing.
    """
    for folder in {home.rstrip("/"), os.path.realpath(home).rstrip("/")} if home else ():
        if len(Path(folder).parts) > 1:
            text = re.sub(rf"(?<![\w.]){re.escape(folder)}(?![\w.-])", "~", text)
    return text


def _public(finding: Finding, home: str) -> Finding:
    facts = {
        name: without_home(value, home) if isinstance(value, str) else value for name, value in finding.facts.items()
    }
    return replace(
        finding,
        summary=without_home(finding.summary, home),
        advice=tuple(without_home(words, home) for words in finding.advice),
        facts=facts,
    )
