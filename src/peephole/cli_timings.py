"""``peephole timings``: where the time goes, by stage, model and day, out of a timing log or the history."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from .errors import UsageError

if TYPE_CHECKING:
    from .timings.changes import Change
    from .timings.columns import Columns, Filter
    from .timings.summary import Row

SUMMARY = "summary"
TIME = "%Y-%m-%d %H:%M:%S"
MOST_DAYS = 31
"""Rows of the table by day, unless it was asked for."""
DAY = 86_400.0
UNITS = {"m": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY}


class _Default(click.Group):
    """A group that takes what is none of its commands for the arguments of its first one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``peephole timings FILE`` is ``peephole timings summary FILE``."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [SUMMARY, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Both ways."""
        formatter.write_usage(ctx.command_path, "[FILE] [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...")


@click.group(cls=_Default)
def timings() -> None:
    """Where the time goes: percentiles of a timing log, or of the history, by stage, model and day.

    Without a command: summary, see peephole timings summary --help. FILE is a log that --timings has written, with
    those of its files that were put aside, or a history.  [default: the history]
    """


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    return None if value is None else moment(value)


def moment(value: str) -> float:
    """Seconds since 1970 of words like 2026-05-01, 2026-05-01T18:30, 36h or 7d; by this machine's clock."""
    if ago := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([mhdw])", value):
        return datetime.now().timestamp() - float(ago[1]) * UNITS[ago[2]]
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        words = f"{value!r} is no time: write it like 2026-05-01, 2026-05-01T18:30, or 36h or 7d for so long ago"
        raise click.BadParameter(words) from error


def _size(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    width, separator, height = value.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, as 1536x1536, not {value!r}")
    return int(width), int(height)


@timings.command(SUMMARY)
@click.argument("file", required=False, type=click.Path(), metavar="[FILE]")
@click.option(
    "--since", callback=_moment, metavar="TIME", help="From then on: 2026-05-01, 2026-05-01T18:30, or 7d ago."
)
@click.option("--until", callback=_moment, metavar="TIME", help="Before then.")
@click.option("--model", metavar="NAME|HASH", help="Frames in which this model took part, or one whose hash begins so.")
@click.option("--detector", metavar="NAME", help="Frames that this detector has looked at.")
@click.option("--size", callback=_size, metavar="WxH", help="Frames of this size alone, as 1536x1536.")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(["stage", "model", "day", "size"]),
    help="One table by these; may be given several times.  [default: a table by model and stage, and one by model and "
    "day]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print everything as JSON, by stage, model and day or as --by says."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Also draw latency over time, with what was changed, and the stages' shares: a .png, .svg or .html.",
)
def summary(file: str | None, by: tuple[str, ...], as_json: bool, plot: str | None, **chosen: Any) -> None:
    """Percentiles of FILE, or of the history, as tables."""
    from .timings.changes import changes
    from .timings.columns import Columns
    from .timings.history import history_path
    from .timings.plot import check
    from .timings.read import glance

    if plot is not None:
        check(plot)
    path = history_path() if file is None else file
    columns = Columns(glance(path, warn=_warn), _filter(**chosen))
    if as_json:
        click.echo(json.dumps(_json(columns, by or ("stage", "model", "day"))))
    else:
        for line in _lines(columns, by, changes(columns)):
            click.echo(line)
    if plot is not None:
        from .timings.plot import plot as draw

        draw(columns, plot, title=f"Timings of {path}")
        click.echo(f"plot: {plot}", err=True)


@timings.command("prune")
@click.argument("file", required=False, type=click.Path(), metavar="[FILE]")
@click.option("--older", callback=_moment, metavar="TIME", help="Delete what is older: than a date, or 90d ago.")
@click.option("--most", type=click.IntRange(0), metavar="FRAMES", help="Keep the last so many.")
def prune(file: str | None, older: float | None, most: int | None) -> None:
    """Delete the oldest of the history; by itself it keeps the last million frames, for two years."""
    from .timings.history import History

    if older is None and most is None:
        raise UsageError("say what to delete: --older TIME, --most FRAMES, or both")
    with History(file, create=False) as history:
        days = None if older is None else (datetime.now().timestamp() - older) / DAY
        gone = history.prune(most_rows=most, most_days=days)
        click.echo(f"{gone} deleted, {len(history)} left in {history.path}")


def _warn(message: str) -> None:
    click.echo(f"peephole: {message}", err=True)


def _filter(since: float | None, until: float | None, **others: Any) -> Filter:
    from .timings.columns import Filter

    low, high = float("-inf") if since is None else since, float("inf") if until is None else until
    if low >= high:
        raise UsageError("--since must be earlier than --until")
    return Filter(low, high, **others)


def _json(columns: Columns, by: Sequence[str]) -> dict[str, Any]:
    from .timings.changes import changes
    from .timings.summary import summarise

    return {
        "frames": len(columns),
        "errors": dict(columns.errors),
        "first": _time(float(columns.seconds.min())).isoformat(timespec="milliseconds"),
        "last": _time(float(columns.seconds.max())).isoformat(timespec="milliseconds"),
        "changes": [
            {"time": _time(each.seconds).isoformat(timespec="milliseconds"), "to": list(each.what)}
            for each in changes(columns)
        ],
        "groups": [row.to_dict() for row in summarise(columns, by)],
    }


def _lines(columns: Columns, by: Sequence[str], changed: Sequence[Change]) -> Iterator[str]:
    """The summary for people."""
    from .timings.summary import summarise

    yield from _head(columns)
    for keys in (by,) if by else (("model", "stage"), ("model", "day")):
        rows = summarise(columns, keys)
        last = rows if by or "day" not in keys else rows[-MOST_DAYS:]
        yield ""
        yield from _table(keys, last)
        if len(last) < len(rows):
            yield f"the last of {len(rows)}; all of them: --by model --by day"
    if changed:
        yield ""
        yield from (f"{_time(each.seconds):{TIME}}  changed to {', '.join(each.what)}" for each in changed)


def _head(columns: Columns) -> Iterator[str]:
    first, last = (_time(float(each)) for each in (columns.seconds.min(), columns.seconds.max()))
    sizes, numbers = columns.numbered([kind.size for kind in columns.kinds])
    counted = sorted(((int((numbers == index).sum()), size) for index, size in enumerate(sizes)), reverse=True)
    shown = ", ".join(f"{size} ({count})" for count, size in counted[:3]) + (", ..." if len(counted) > 3 else "")
    yield f"{len(columns)} frames, {first:{TIME}} to {last:{TIME}}; {shown}; times in milliseconds"
    if columns.errors:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in columns.errors.most_common())
        yield f"{columns.errors.total()} more could not be looked at: {kinds}"


def _table(keys: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    order = [key for key in ("model", "day", "size", "stage") if key in keys]
    head = [*order, "frames", "50 %", "90 %", "99 %", "max", *(["share"] if "stage" in keys else [])]
    cells = [
        [
            *(str(getattr(row, key) or "-") for key in order),
            str(row.count),
            *(f"{value:.1f}" for value in (row.p50, row.p90, row.p99, row.most)),
            *([_share(row)] if "stage" in keys else []),
        ]
        for row in rows
    ]
    widths = [max(len(line[at]) for line in [head, *cells]) for at in range(len(head))]
    before: list[str] = []
    for line in [head, *cells]:
        # What is as in the line above is left out, from the left.
        same = next((at for at, key in enumerate(order) if before[at : at + 1] != line[at : at + 1]), len(order))
        shown = ["" if at < min(same, len(order) - 1) else cell for at, cell in enumerate(line)]
        before = line
        aligned = (
            cell.ljust(width) if at < len(order) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(shown, widths, strict=True))
        )
        yield "  ".join(aligned).rstrip()


def _share(row: Row) -> str:
    """Waiting is no work, and no share of it."""
    from .timings.clock import WAITING

    return "" if (row.stage or "").startswith(WAITING) else f"{row.share:.1%}"


def _time(seconds: float) -> datetime:
    """By this machine's time zone."""
    return (datetime.fromtimestamp(0).astimezone() + timedelta(seconds=seconds)).astimezone()
