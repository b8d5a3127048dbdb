"""``peephole timings compare``: has anything become slower, beyond the machine's noise; for people and for builds."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .cli_options import tolerate_option
from .errors import TimingsError, UsageError

if TYPE_CHECKING:
    from .timings.compare import Change, Comparison
    from .timings.record import Record
    from .timings.selection import Chosen

REGRESSION = 1
RANGE = ".."
BUSIER = 0.1
"""Logarithm of the clock's change over processor time's from which on it is said that they disagree."""


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option(
    "--log",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where models, versions and times are looked for: a log, or a history.  [default: the history]",
)
@tolerate_option("So much slower is no regression.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME",
    help="Only a regression of this stage, or of total, ends with status 1; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def compare(before: str, after: str, log: str | None, tolerate: float, stages: tuple[str, ...], as_json: bool) -> None:
    """Say whether frames take longer than before, by how much, and in which stage.

    BEFORE and AFTER are each a log or history; or, of the history or --log FILE, a model (yunet, 49f000ec,
    yunet-49f000ec), a version (of Peephole, or "onnxruntime 1.31.1"), a day (2026-05-01) or a time range
    (2026-05-01..2026-05-08, 7d.., ..7d).

    Exit status: 0 no regression, 1 a stage, or all of them together, is slower by more than --tolerate, 2 the command
    line cannot work. Without enough frames to compare it is 1 too.
    """
    from .timings.compare import compare as compared

    found = compared(*_sides(before, after, log), tolerate=tolerate)
    known = [each.stage for each in (*found.stages, found.total)]
    for name in stages:
        if name not in known:
            raise UsageError(f"there is no stage {name!r} on both sides; there are {', '.join(known)}")
    wrong = [each for each in found.regressions if not stages or _is_of(each.stage, stages)]
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    else:
        for line in describe(found):
            click.echo(line)
    sys.exit(REGRESSION if wrong else 0)


def _is_of(stage: str, chosen: Sequence[str]) -> bool:
    return any(stage == each or stage.startswith(f"{each}.") for each in chosen)


def _sides(before: str, after: str, log: str | None) -> list[list[Record]]:
    """The records of both sides.

    Raises:
        UsageError: both are the same, or a word that nothing can be called.
        TimingsError: there are no such records.
    """
    from .timings.history import history_path
    from .timings.read import read
    from .timings.selection import choose, same_file, what_there_is

    if before == after or same_file(before, after):
        raise UsageError(f"BEFORE and AFTER are both {before}: there is nothing to compare")
    found: dict[str, list[Record]] = {}
    words = {}
    for side in (before, after):
        if os.path.exists(side):  # noqa: PTH110 - a word is no path yet
            (found[side],) = choose(read(side, warn=_warn), lambda _: True)
        else:
            words[side] = _chosen(side)
    if words:
        source = log or str(history_path())
        try:
            chosen = choose(read(source, warn=_warn), *words.values())
        except TimingsError as error:
            if log is None and not os.path.exists(source):  # noqa: PTH110
                names = " and ".join(words)
                raise TimingsError(f"there is no file {names}, and no history to look for it: {source}") from error
            raise
        found |= dict(zip(words, chosen, strict=True))
        for side in words:
            if not found[side]:
                there = what_there_is(read(source, warn=lambda _: None))
                raise TimingsError(f"{side} is no file, and no frame of {source} is of it; there are {there}")
    return [found[before], found[after]]


def _chosen(word: str) -> Chosen:
    """What a word that names no file stands for."""
    from .cli_timings import DAY, moment
    from .timings.selection import by_name, by_time

    since, dots, until = word.partition(RANGE)
    if dots:
        low, high = moment(since) if since else -math.inf, moment(until) if until else math.inf
        if low >= high:
            raise UsageError(f"{word} ends before it begins")
        return by_time(low, high)
    if len(word) == len("2026-05-01") and word[4:5] == word[7:8] == "-":
        start = moment(word)
        return by_time(start, start + DAY)
    return by_name(word)


def _warn(message: str) -> None:
    click.echo(f"peephole: {message}", err=True)


def describe(found: Comparison) -> list[str]:
    """A comparison for people: the verdict in a sentence, what must be known beside it, the table."""
    from .report import Table

    changes = (*found.stages, found.total)
    widths = [("stage", -max(len(each.stage) for each in changes)), ("frames", 7), ("before", 8), ("after", 8)]
    widths += [("clock", 7), ("CPU", 7), ("change", 8), ("interval", 19), ("verdict", -19)]
    table = Table(widths)
    lines = [_sentence(found), *(f"note: {each}" for each in (*_busier(found.total), *found.warnings)), ""]
    counts = " and ".join(f"{used} of {there}" for used, there in zip(found.frames, found.given, strict=True))
    lines.append(f"{counts} frames, compared by {found.by}; milliseconds by the clock")
    return [*lines, "", table.header(), *(table.row(_cells(each)) for each in changes)]


def _cells(change: Change) -> list[str]:
    return [
        change.stage,
        str(min(change.frames)),
        f"{change.before:.2f}",
        f"{change.after:.2f}",
        _percent(change.clock),
        "-" if change.processor is None else _percent(change.processor),
        _percent(change.ratio),
        f"{_percent(change.low)} to {_percent(change.high)}",
        change.verdict,
    ]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _sentence(found: Comparison) -> str:
    """The verdict first."""
    from .timings.compare import Verdict

    total, tolerated = found.total, f"{100 * found.tolerate:g} %"
    if found.verdict is Verdict.SAME:
        said = f"not distinguishable: {_with_interval(total)}"
        if total.high <= 1 + found.tolerate:
            return f"{said}; {tolerated} slower is ruled out"
        return f"{said}; up to {100 * (total.high - 1):.1f} % slower cannot be ruled out"
    parts = [
        f"{verdict}: {', '.join(map(_with_interval, found.changed(verdict)))}"
        for verdict in (Verdict.SLOWER, Verdict.FASTER)
        if found.changed(verdict)
    ]
    slower = found.changed(Verdict.SLOWER)
    if slower:
        parts.append(f"beyond the tolerated {tolerated}" if found.regressions else f"{tolerated} are tolerated")
    if found.changed(found.verdict) == (total,):
        parts.append("no stage beside the others: the runtime or the machine")
    return "; ".join(parts)


def _with_interval(change: Change) -> str:
    return f"{change.stage} {_percent(change.ratio)} ({_percent(change.low)} to {_percent(change.high)})"


def _busier(total: Change) -> list[str]:
    """That the clock and processor time disagree."""
    if total.processor is None:
        return ["processor time was not logged on both sides: a busier machine cannot be told from more work"]
    gap = math.log(total.clock / total.processor)
    if abs(gap) < BUSIER:
        return []
    more = "busier" if gap > 0 else "less busy, or ran more threads at once,"
    times = f"{_percent(total.clock)} by the clock, {_percent(total.processor)} by processor time"
    return [f"the machine was {more} after than before: {times}; the steadier of the two is judged"]
