"""Predicted against measured peak memory over a grid of sizes, upsampling and budgets, a fresh process each.

    python benchmarks/prediction.py [--detector mmod|yunet] [--json FILE]

Bar: measured <= predicted <= 1.25 x measured, in every case. "scale" is the first level's against the native frame,
"1/n" the decode's reduction, "face" the smallest face still found, with the one asked for behind it where the budget
made it coarser. "load" is the peak while the models were loaded, before the frame. Everything in 10^6 bytes. "refused":
the budget is below the least that would do.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Report, arguments, compose_jpegs, run_json

SIZES = ((320, 240), (640, 480), (1280, 720), (1536, 1536), (2592, 1944), (4000, 3000), (12000, 9000))
BUDGETS = (None, "256MiB", "160MiB", "110MiB")
SLACK = 1.25


def cases() -> list[tuple[tuple[int, int], int, str | None]]:
    """The grid, without what takes minutes: huge frames at full scale."""
    found = []
    for size in SIZES:
        for upsample in (0, 1):
            for budget in BUDGETS:
                if budget is None and (size[0] >= 12000 or (upsample and size[0] >= 2592)):
                    continue
                found.append((size, upsample, budget))
    return found


def child(detector: str, file: str, upsample: int, budget: str | None) -> None:
    """Look at one picture and print what was foreseen and what came."""
    from peephole.errors import BudgetTooSmall
    from peephole.memory import peak_rss
    from peephole.pipeline import Pipeline, Scale

    pipeline = Pipeline(detector, memory=budget)
    _ = pipeline.detector
    load = peak_rss()
    start = time.perf_counter()
    try:
        analysis = pipeline.analyse(file, scale=Scale(upsample=upsample))
    except BudgetTooSmall as error:
        print(json.dumps({"refused": error.needed, "load": load}))
        return
    seconds = time.perf_counter() - start
    plan, memory = analysis.plan, analysis.memory
    result = {
        "budget": memory.budget,
        "predicted": memory.predicted,
        "measured": memory.measured,
        "floor": pipeline.floor,
        "load": load,
        "scale": plan.scale,
        "reduction": plan.reduction,
        "strip": plan.tiling.strip,
        "face": plan.smallest_face,
        "coarsened_from": plan.coarsened_from,
        "seconds": seconds,
        "faces": len(analysis),
    }
    print(json.dumps(result))


def line(size: tuple[int, int], upsample: int, budget: str | None, got: dict[str, Any]) -> str:
    """A row of the table."""
    start = f"{size[0]:5}x{size[1]:<5} {upsample:2} {budget or 'found':>7}"
    if "refused" in got:
        return f"{start}  refused: {got['refused'] / 2**20:.0f} MiB would do"
    face = f"{got['face']:.0f}" + (f" < {got['coarsened_from']:.0f}" if got["coarsened_from"] else "")
    ratio = got["predicted"] / got["measured"]
    return (
        f"{start} {got['predicted'] / 1e6:9.1f} {got['measured'] / 1e6:8.1f} {ratio:6.3f} {got['load'] / 1e6:6.1f} "
        f"{got['scale']:6.3f} {'1/' + str(got['reduction']):>4} {got['strip']:5} {face:>10} {got['seconds']:7.2f}"
        + ("" if 1.0 <= ratio <= SLACK else "  MISSED")
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--detector", default="mmod", choices=("mmod", "yunet"))
    parser.add_argument("--child", nargs=3, help="internal")
    options = parser.parse_args()
    if options.child:
        file, upsample, budget = options.child
        child(options.detector, file, int(upsample), budget or None)
        return
    report = Report()
    print(
        f"\n{'frame':11} {'up':>2} {'budget':>7} {'predicted':>9} {'measured':>8} {'ratio':>6} {'load':>6} "
        f"{'scale':>6} {'1/n':>4} {'strip':>5} {'face':>10} {'seconds':>7}"
    )
    record = []
    with tempfile.TemporaryDirectory() as folder:
        compose_jpegs(Path(folder), SIZES, options.detector)
        for size, upsample, budget in cases():
            file = str(Path(folder) / f"{size[0]}x{size[1]}.jpg")
            command = [sys.executable, __file__, "--detector", options.detector, "--child", file, str(upsample)]
            got = run_json([*command, budget or ""])
            print(line(size, upsample, budget, got), flush=True)
            record.append({"size": size, "upsample": upsample, "asked": budget, **got})
    ratios = [row["predicted"] / row["measured"] for row in record if "refused" not in row]
    over = [row["measured"] / row["budget"] for row in record if "refused" not in row]
    print(f"\n{len(ratios)} cases, {len(record) - len(ratios)} refused")
    report.verdict("least of predicted / measured", min(ratios), 1.0, least=True)
    report.verdict("largest of predicted / measured", max(ratios), SLACK)
    report.verdict("largest of measured / budget", max(over), 1.0)
    report.end(options.json, cases=record)


if __name__ == "__main__":
    main()
