"""``peephole doctor``: what this machine is, what follows from it, and what to do about it."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from .cli_options import (
    detector_option,
    frame_size,
    gallery_option,
    json_option,
    memory_option,
    profile_option,
    recognizer_option,
)

if TYPE_CHECKING:
    from .doctor import Finding

SOMETHING_WRONG = 1
COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}
NAME = 17
"""Columns of the longest name."""
WIDTH = 110
"""Columns of the advice."""


@click.command()
@click.option("--size", "sizes", multiple=True, metavar="WxH", help="A frame to plan for; may be given several times.")
@profile_option
@detector_option
@recognizer_option
@memory_option
@gallery_option
@json_option
def doctor(sizes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Examine this machine: what it is, what budget and plans follow, whether the worker starts, and what to do.

    Each line is ok, a note, a warning or a problem; exit status 1 where there is a problem. Nothing is changed, but
    that the models are prepared if they were not yet. No name from the gallery is told, and your home folder is written
    as ~: it can be shown to others.
    """
    from . import __version__
    from .doctor import Asked, examine
    from .memory import parse_size

    if options["memory"] is not None:
        parse_size(options["memory"])
    asked = Asked(sizes=tuple(frame_size(size) for size in sizes), **options)
    if not as_json:
        click.echo(f"Peephole {__version__}")
    counts: Counter[str] = Counter()
    section = ""
    for finding in examine(asked):
        counts[finding.state] += 1
        if as_json:
            click.echo(json.dumps(finding.to_dict()))
            continue
        if finding.section != section:
            section = finding.section
            click.echo(f"\n{section}")
        for line in _lines(finding):
            click.echo(line)
    if not as_json:
        click.echo(f"\n{_verdict(counts)}")
    sys.exit(SOMETHING_WRONG if counts["problem"] else 0)


def _lines(finding: Finding) -> list[str]:
    state = click.style(f"{finding.state:8}", fg=COLOURS[finding.state])
    lines = [f"  {state} {finding.name:{NAME}} {_shown(finding.summary)}"]
    indent = " " * 13
    for words in finding.advice:
        lines += textwrap.wrap(
            _shown(words), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    return lines


def _shown(text: str) -> str:
    """Text that stays on its line; not `report.escaped`, which NumPy has to be there for."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _verdict(counts: Counter[str]) -> str:
    found = [
        f"{counts[state]} {state}{'' if counts[state] == 1 else 's'}"
        for state in ("problem", "warning", "note")
        if counts[state]
    ]
    return f"{', '.join(found)}: what to do stands below each" if found else "nothing is wrong"
