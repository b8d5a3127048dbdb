"""Results for people: one row a face, printed as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from unicodedata import category

from .errors import FrameError
from .faces import Face
from .geometry import round_boxes
from .pipeline import Analysis, Pipeline
from .planner import Level, Plan, Profile, hiding
from .timings.record import total

GAP = "  "
NOBODY = "nobody there"
FAILED = "could not look"


def escaped(text: str) -> str:
    """Text that stays on its line: control characters and line ends, which a file's name may hold, spelled out."""
    return "".join(repr(c)[1:-1] if category(c) in {"Cc", "Zl", "Zp"} else c for c in text)


class Table:
    """Rows of columns whose widths are known beforehand, so that a row can be printed before the next is known."""

    def __init__(self, columns: Sequence[tuple[str, int]]) -> None:
        """Name the columns and give their widths; a negative width aligns to the left.

        A longer cell goes on into empty ones behind it, or else moves those behind it to the right.
        """
        self._widths = [width if width < 0 else max(width, len(name)) for name, width in columns]
        self._names = [name for name, _ in columns]

    def header(self) -> str:
        """The columns' names."""
        return self.row(self._names)

    def row(self, cells: Sequence[str]) -> str:
        """One line; cells that are not given stay empty."""
        line, start = "", 0
        for cell, width in zip(cells, self._widths, strict=False):
            text = escaped(cell)
            if text:
                line = line.ljust(start) if len(line) + len(GAP) <= start or not line else line + GAP
                line += text.ljust(-width) if width < 0 else text.rjust(width)
            start += abs(width) + len(GAP)
        return line.rstrip()


class FaceTable:
    """The table of `detect`, `embed` and `label`: boxes in whole native pixels; JSON lines have them exact."""

    def __init__(self, names: Sequence[str], *, embeddings: bool = False, matches: bool = False) -> None:
        """Lay the table out for these image names."""
        columns = [("image", -max([5, *(len(escaped(name)) for name in names)])), ("frame", -11)]
        columns += [(side, 6) for side in ("left", "top", "right", "bottom")]
        columns += [("confidence", 10)]
        columns += [("vector", -24)] if embeddings else []
        columns += [("name", -16), ("score", 6), ("margin", 6), ("decided", -15)] if matches else []
        self._behind = len(columns)
        self._table = Table([*columns, ("ms", 7)])
        self.header = self._table.header()

    def rows(self, analysis: Analysis) -> list[str]:
        """One row a face, or one that says that nobody is there; one more where rows of the picture are missing."""
        start = [analysis.source, f"{analysis.width}x{analysis.height}"]
        took = f"{total(analysis.timings_ms):.0f}"
        if not len(analysis):
            row = [*start, NOBODY]
            rows = [self._table.row([*row, *[""] * (self._behind - len(row)), took])]
        else:
            rows = [self._table.row([*start, *_cells(face), took]) for face in analysis]
        if analysis.rows_decoded is not None:
            rows.append(self._table.row([*start, f"cut off: {analysis.rows_decoded} rows decoded"]))
        return rows

    def failure(self, source: str, error: FrameError) -> str:
        """The row of a frame that could not be looked at."""
        return self._table.row([source, "-", f"{FAILED}: {error}"])


def _cells(face: Face) -> list[str]:
    cells = [str(side) for side in round_boxes([face.box])[0]] + [f"{face.confidence:.3f}"]
    if face.embedding is not None and face.match is None:
        cells.append(" ".join(f"{value:+.3f}" for value in face.embedding[:3]) + " ...")
    if face.match is not None:
        cells.append(face.match.name)
        numbers = (face.match.score, face.match.margin)
        cells += ["-" if value is None else f"{value:.3f}" for value in numbers] + [face.match.decided]
    return cells


def describe_plan(plan: Plan, pipeline: Pipeline) -> str:
    """A plan as a page of text, and where its memory budget comes from."""
    table = Table([("level", 5), ("size", 11), ("scale", 7), ("face found, native px", 21), ("for", -1)])
    face, profile = plan.smallest_face, pipeline.detector.profile
    grain = (
        "not asked about"
        if profile.bearable == math.inf
        else "known when a picture is decoded: work and memory are for the most"
        if plan.grain is None
        else f"{plan.grain:.4f} of full scale"
    )
    decoded = "" if plan.reduction == 1 else f", decoded at 1/{plan.reduction}"
    coarsened = (
        "" if plan.coarsened_from is None else f" (coarsened from {plan.coarsened_from:.1f}: the budget is small)"
    )
    saved = "" if not plan.saved else f", {plan.saved / 1e9:.1f} saved by --max-face"
    floor = pipeline.floor
    lines = [
        f"detector       {plan.detector}",
        f"frame          {plan.frame[0]}x{plan.frame[1]}{decoded}",
        f"looked at as   {plan.base[0]}x{plan.base[1]} ({plan.scale:.4g} of native), "
        f"from {plan.shrunk[0]}x{plan.shrunk[1]}",
        f"smallest face  {face:.1f} native px{coarsened}",
        f"grain          {grain}",
        f"work           {plan.operations / 1e9:.1f} GFLOP{saved}",
        f"strips         {plan.tiling.strip} rows of features, {plan.tiling.rows} of scores",
        f"memory         {(floor + plan.bytes) / 2**20:.0f} MiB, {floor / 2**20:.0f} of them the program's own",
        f"budget         {pipeline.budget.bytes / 2**20:.0f} MiB: {pipeline.budget.source}",
        "",
        table.header(),
    ]
    for index, level in enumerate(plan.levels):
        scale = 1 / level.to_native.a
        size = f"{level.size[0]}x{level.size[1]}"
        found = f"{face * plan.scale / scale:.1f}"
        lines.append(table.row([str(index), size, f"{scale:.4f}", found, _purpose(level, plan, profile)]))
        if face * plan.scale / scale > max(plan.frame):
            lines.append(f"and {len(plan.levels) - index - 1} smaller ones, for faces larger than the frame")
            break
    return "\n".join(lines)


def _purpose(level: Level, plan: Plan, profile: Profile) -> str:
    """What a level is looked at for, in words."""
    most = hiding(level, plan, profile)
    purpose = {
        "detail": "the smallest faces",
        "large-faces": "larger faces",
        "small-frame": "a second look: the frame is small",
        "grain": "faces that grain hides" + (f": only if above {most:.3f}" if plan.grain is None else ""),
    }[level.purpose]
    return f"{purpose}; smoothed {level.passes} times" if level.passes else purpose
