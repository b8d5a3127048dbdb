"""Timings as a picture: latency over time with what was changed, and the stages' shares. Drawn by matplotlib."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import UsageError
from .changes import Change, changes
from .columns import TOTAL, Columns, Floats
from .summary import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".html")
BUCKETS = 150
"""Stretches of time at the most that are drawn as one value each."""
FRAMES_EACH = 8
"""Frames on average at the least in each of them."""
DOTS = 3_000
"""Frames up to which each is a dot of its own."""
LEAST_SHARE = 0.01
"""Stages that take less are drawn as one."""
OTHERS = "all others"
RIGHTMOST = 0.85
MODELS = ("#2563a8", "#c2571a", "#3b7d3b", "#8a4fa3", "#a8323e", "#5f6b7a")
"""Of one model after the other: dark enough for thin lines, and different in grey too."""
STAGES = ("#3d6fb0", "#e0a23c", "#58a066", "#b0566b", "#7d69ad", "#3f9e9e", "#a07a4a", "#8a8f98")
INK, GREY = "#30343b", "#b9bfc7"


@dataclass(frozen=True, slots=True)
class Buckets:
    """Stretches of equal length that cover the time of all frames.

    Attributes:
        edges: (n + 1,) seconds since 1970.
        numbers: (frames,) each one's stretch.
    """

    edges: Floats
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, seconds: Floats) -> Buckets:
        """As many as the frames are enough for."""
        low, high = float(seconds.min()), float(seconds.max())
        count = int(np.clip(len(seconds) // FRAMES_EACH, 1, BUCKETS))
        edges = np.linspace(low, max(high, low + 1.0), count + 1)
        return cls(edges, np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, count - 1))

    def __len__(self) -> int:
        return len(self.edges) - 1

    def percentiles(self, values: NDArray[Any], chosen: NDArray[np.bool_], wanted: Sequence[float]) -> Floats:
        """(wanted, n) of the chosen frames' values; not a number where a stretch has none."""
        found = np.full((len(wanted), len(self)), np.nan)
        order = np.argsort(self.numbers[chosen], kind="stable")
        numbers, sorted_values = self.numbers[chosen][order], values[chosen][order]
        starts = np.searchsorted(numbers, np.arange(len(self) + 1))
        for index, (low, high) in enumerate(pairwise(starts)):
            if low < high:
                found[:, index] = np.percentile(sorted_values[low:high], wanted)
        return found

    def sums(self, values: NDArray[Any]) -> Floats:
        """(n,) sums of the frames' values; what is not a number counts for nothing."""
        return np.bincount(self.numbers, np.nan_to_num(values.astype(np.float64)), len(self)).astype(np.float64)


def check(path: str | os.PathLike[str]) -> None:
    """Raise a `UsageError` where there is nothing to draw with, or the file's name says no kind of picture."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: a picture's name ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise UsageError("to draw needs matplotlib: pip install 'peephole[plot]'") from error


def plot(columns: Columns, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw timings into a file.

    Args:
        columns: the timings.
        path: a PNG, an SVG, or an HTML page with the picture and a table, which needs nothing else and no network.
        title: of the page.

    Raises:
        UsageError: see `check`; or the file cannot be written.
    """
    check(path)
    suffix = Path(path).suffix.lower()
    picture = drawn(columns)
    buffer = io.BytesIO()
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "peephole"}):  # the same timings, the same file
        kind = "png" if suffix == ".png" else "svg"
        picture.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    data = buffer.getvalue()
    try:
        Path(path).write_bytes(data if suffix != ".html" else _page(columns, data.decode(), title).encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def drawn(columns: Columns) -> Figure:
    """The picture: latency above, shares below, on one axis of time."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    buckets, marks = Buckets.of(columns.seconds), changes(columns)
    figure = Figure(figsize=(11.5, 7.2), dpi=110, layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    margin = (buckets.edges[-1] - buckets.edges[0]) * 0.01
    above.set_xlim(_day(buckets.edges[0] - margin), _day(buckets.edges[-1] + margin))
    _latency(above, columns, buckets, marks)
    _shares(below, columns, buckets, marks)
    zone = datetime.now().astimezone().tzinfo
    locator = AutoDateLocator(tz=zone, minticks=4, maxticks=10)  # type: ignore[no-untyped-call]
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
    return figure


def _latency(axes: Axes, columns: Columns, buckets: Buckets, marks: Sequence[Change]) -> None:
    totals, edges = columns.of(TOTAL), _day(buckets.edges)
    models, numbers = columns.numbered([kind.model for kind in columns.kinds])
    dots = len(columns) <= DOTS
    highest = 0.0
    for index, model in enumerate(models):
        own, colour = numbers == index, MODELS[index % len(MODELS)]
        middle, high = buckets.percentiles(totals, own, (50, 90))
        highest = max(highest, float(np.nanmax(high)))
        if dots:
            axes.plot(_day(columns.seconds[own]), totals[own], ".", color=colour, alpha=0.25, markersize=3, zorder=1)
        axes.stairs(high, edges, baseline=middle, fill=True, color=colour, alpha=0.18, linewidth=0, zorder=2)
        axes.stairs(middle, edges, baseline=None, color=colour, linewidth=1.8, label=model or "no model", zorder=3)
    axes.set_ylim(0, 1.3 * highest or 1.0)
    axes.set_ylabel("milliseconds a frame", color=INK)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    cut = int((totals > axes.get_ylim()[1]).sum())
    beyond = f"; {cut} of {len(columns)} frames took longer than is shown" if cut else ""
    shown = "median, band up to the 90th percentile" + ("; a dot a frame" if dots else "")
    axes.set_title(f"Latency: {shown}{beyond}", loc="left", fontsize=10, color=INK)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, frameon=False)
    _marked(axes, marks, words=True)


def _marked(axes: Axes, marks: Sequence[Change], *, words: bool) -> None:
    """A line for each change: solid for a model, dotted for all else; what it is, in turn on three heights."""
    low, high = axes.get_xlim()
    for index, mark in enumerate(marks):
        left = (_day(mark.seconds) - low) / (high - low) > RIGHTMOST  # no room on the right
        axes.axvline(
            _day(mark.seconds), color=INK, linewidth=1.1, linestyle="-" if mark.model else (0, (1, 2)), zorder=4
        )
        if words:
            axes.annotate(
                "\n".join(mark.what),
                (_day(mark.seconds), 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if left else 4, -4 - 26 * (index % 3)),
                textcoords="offset points",
                ha="right" if left else "left",
                va="top",
                fontsize=8,
                color=INK,
                zorder=5,
                bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            )


def _shares(axes: Axes, columns: Columns, buckets: Buckets, marks: Sequence[Change]) -> None:
    spent = _spent(columns, buckets)
    whole = np.maximum(np.sum(list(spent.values()), axis=0), 1e-9)
    bottom = np.zeros(len(buckets))
    for (name, values), colour in zip(spent.items(), _colours(list(spent)), strict=True):
        top = bottom + values / whole * 100
        axes.stairs(top, _day(buckets.edges), baseline=bottom, fill=True, color=colour, label=name)
        bottom = top
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of the time", color=INK)
    axes.set_title("Shares of the stages", loc="left", fontsize=10, color=INK)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=8.5, frameon=False)
    _marked(axes, marks, words=False)


def _spent(columns: Columns, buckets: Buckets) -> dict[str, Floats]:
    """Milliseconds of each stretch by stage, one that has parts by these and what is left of it; small ones as one."""
    found: dict[str, Floats] = {}
    top = [name for name in columns.stages if "." not in name]
    for name in top:
        whole = buckets.sums(columns.of(name))
        parts = {each: buckets.sums(columns.of(each)) for each in columns.stages if each.startswith(f"{name}.")}
        left = np.maximum(whole - np.sum(list(parts.values()), axis=0), 0.0)
        found |= {f"{name}, the rest" if parts else name: left} | parts
    least = LEAST_SHARE * sum(float(each.sum()) for each in found.values())
    large = {name: each for name, each in found.items() if each.sum() >= least}
    small = [each for name, each in found.items() if name not in large]
    return large | ({OTHERS: np.sum(small, axis=0)} if small else {})


def _colours(names: Sequence[str]) -> list[tuple[float, ...]]:
    """A colour for each stage; the parts of one in lighter and lighter shades of its own."""
    from matplotlib.colors import to_rgb

    top = list(dict.fromkeys(_top(name) for name in names if name != OTHERS))
    shades: dict[str, int] = {}
    found = []
    for name in names:
        own = _top(name)
        base = to_rgb(GREY if name == OTHERS else STAGES[top.index(own) % len(STAGES)])
        lighter = 0.22 * shades.get(own, 0)
        shades[own] = shades.get(own, 0) + 1
        found.append(tuple(channel + (1 - channel) * min(lighter, 0.75) for channel in base))
    return found


def _top(name: str) -> str:
    return name.partition(",")[0].partition(".")[0]


def _day(seconds: Any) -> Any:
    """As matplotlib counts: days since 1970."""
    return seconds / 86_400


def _page(columns: Columns, svg: str, title: str) -> str:
    """The picture and the table of the stages, by model, on a page of their own."""
    rows = "".join(
        f"<tr><td>{html.escape(row.model or '')}</td><td>{html.escape(row.stage or '')}</td><td>{row.count}</td>"
        f"<td>{row.p50:.1f}</td><td>{row.p90:.1f}</td><td>{row.p99:.1f}</td><td>{row.most:.1f}</td>"
        f"<td>{row.share:.1%}</td></tr>\n"
        for row in summarise(columns, ("stage", "model"))
    )
    head = "".join(f"<th>{each}</th>" for each in ("model", "stage", "frames", "50 %", "90 %", "99 %", "max", "share"))
    named = html.escape(title or "Timings")
    return _PAGE.format(title=named, version=__version__, svg=svg[svg.index("<svg") :], head=head, rows=rows)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; color: #30343b; background: #fff; margin: 2rem auto; max-width: 78rem;
  padding: 0 1rem; }}
svg {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: 1rem; }}
th, td {{ padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #e3e6ea; }}
th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; }}
footer {{ margin-top: 1.5rem; color: #5f6b7a; }}
</style></head><body>
<h1>{title}</h1>
{svg}
<table><thead><tr>{head}</tr></thead><tbody>
{rows}</tbody></table>
<footer>Times in milliseconds. Peephole {version}</footer>
</body></html>
"""
