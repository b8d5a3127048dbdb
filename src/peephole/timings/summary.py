"""Percentiles of how long frames took, by stage, model, day and size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import TOTAL, Columns, Numbers, day_name

KEYS = ("stage", "model", "day", "size")
"""What timings can be grouped by."""
PERCENTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One group of frames.

    Attributes:
        stage, model, day, size: of the group; None where it is not grouped by that. The stage "total" is all of them
            together, and that is also what is told where it is not grouped by stage.
        count: frames.
        p50, p90, p99, most: percentiles and the largest, in milliseconds.
        share: of the time of all stages together, over all of the group's frames; a part's share is in its stage's too.
    """

    stage: str | None
    model: str | None
    day: str | None
    size: str | None
    count: int
    p50: float
    p90: float
    p99: float
    most: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` has it: what it is not grouped by is left out."""
        named = {f"{name}_ms" if name in _NUMBERS else name: value for name, value in asdict(self).items()}
        named["max_ms"] = named.pop("most_ms")
        named["share"] = named.pop("share")
        return {name: value for name, value in named.items() if value is not None}


_NUMBERS = ("p50", "p90", "p99", "most")


def summarise(columns: Columns, by: Sequence[str] = ("stage",)) -> list[Row]:
    """A row for each group that has frames: by model, day and size in the order of time, and by stage within.

    Args:
        columns: the timings.
        by: some of `KEYS`.
    """
    names, groups = _groups(columns, [key for key in KEYS[1:] if key in by])
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(len(names) + 1))
    totals = columns.of(TOTAL)[order]
    spent = [float(totals[low:high].sum(dtype=np.float64)) for low, high in pairwise(starts)]
    rows: dict[int, list[Row]] = {index: [] for index in range(len(names))}
    for stage in [*columns.stages, TOTAL] if "stage" in by else [TOTAL]:
        values = totals if stage == TOTAL else columns.of(stage)[order]
        for index, found in _parts(values, starts):
            shown = stage if "stage" in by else None
            rows[index].append(_row(shown, names[index], found, spent[index]))
    return [row for group in rows.values() for row in group]


def _groups(columns: Columns, keys: Sequence[str]) -> tuple[list[dict[str, str]], Numbers]:
    """What each group is called, by the keys, and (frames,) the number of each frame's group."""
    sides: list[tuple[str, list[str], Numbers]] = []
    for key in keys:
        if key == "day":
            days, numbers = np.unique(columns.days, return_inverse=True)
            sides.append((key, [day_name(int(day)) for day in days], numbers))
        else:
            sides.append((key, *columns.numbered([getattr(kind, key) for kind in columns.kinds])))
    code = np.zeros(len(columns), np.int64)
    for _, words, numbers in sides:
        code = code * len(words) + numbers
    codes, first, group = np.unique(code, return_index=True, return_inverse=True)
    named = [{key: words[int(numbers[at])] for key, words, numbers in sides} for at in first]
    begin = np.full(len(codes), np.inf)
    np.minimum.at(begin, group, columns.seconds)
    place = np.lexsort((codes, begin))
    rank = np.empty_like(place)
    rank[place] = np.arange(len(place))
    return [named[at] for at in place], rank[group]


def _parts(values: NDArray[np.float32], starts: Numbers) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Each group's number and its values, those that are numbers."""
    for index, (low, high) in enumerate(pairwise(starts)):
        part = values[low:high].astype(np.float64)
        if len(part := part[~np.isnan(part)]):
            yield index, part


def _row(stage: str | None, named: dict[str, str], found: NDArray[np.float64], spent: float) -> Row:
    low, middle, high = (float(each) for each in np.percentile(found, PERCENTILES))
    return Row(
        stage,
        named.get("model"),
        named.get("day"),
        named.get("size"),
        len(found),
        round(low, 3),
        round(middle, 3),
        round(high, 3),
        round(float(found.max()), 3),
        round(float(found.sum()) / spent, 4) if spent else 0.0,
    )
