"""What a worker costs: a 1536x1536 frame looked at by a worker process against the same in this one.

    python benchmarks/supervision.py [--runs 40] [--json FILE]

The frame is a JPEG file, detected and embedded by the default profile; both sides in turn, the order changing from pair
to pair, everything warmed up. "Beside the stages" is the time that a call takes less what its own stages say they took:
the messages, the waiting and the switch between the processes on one side, next to nothing on the other; neighbours on
the machine disturb it little. "Fastest" compares the fastest calls of both sides. Encoded bytes go through shared
memory; so do pixels, for comparison, which is a copy of 7 MB.

The host's size is that of a process of its own that does nothing else: it starts a worker, has frames looked at and
matches the faces. The last figures are the times from a worker's start, and from its being killed, to the next answer.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Report, arguments, compose_jpegs, run_json

PRICE = 5.0
HOST = 60.0
HOST_PROGRAM = """
import json, sys
import numpy as np
from peephole.match import People
from peephole.memory import peak_rss
from peephole.worker.host import WorkerHost
with WorkerHost() as host:
    vectors = np.random.default_rng(0).normal(size=(2, host.recognizer.dimensions)).astype(np.float32)
    people = People(("a", "b"), vectors)
    for _ in range(20):
        faces = len(host.analyse(sys.argv[1], people=people))
    print(json.dumps({"peak": peak_rss(), "faces": faces}))
"""


def milliseconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Of a call by the clock, and of that what its stages did not take."""
    start = time.perf_counter()
    analysis = work()
    whole = (time.perf_counter() - start) * 1e3
    return whole, whole - sum(analysis.timings_ms.values())


def pairs(report: Report, what: str, ours: Callable[[], Any], theirs: Callable[[], Any], runs: int, bar: float) -> None:
    """Both sides in turn; the row and its verdicts."""
    sides: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for index in range(-4, runs):
        for side in (0, 1) if index % 2 else (1, 0):
            found = milliseconds((ours, theirs)[side])
            if index >= 0:
                sides[side].append(found)
    beside = [statistics.median(rest for _, rest in sides[side]) for side in (0, 1)]
    fastest = [min(whole for whole, _ in sides[side]) for side in (0, 1)]
    median = [statistics.median(whole for whole, _ in sides[side]) for side in (0, 1)]
    whole = "".join(f"{value:9.1f}" for value in (*median, *fastest))
    print(f"{what:8}{whole} {beside[0]:7.2f} {beside[1]:7.2f}", flush=True)
    if what != "pixels":
        report.verdict(f"{what}: beside the stages", beside[0] - beside[1], bar, unit=" ms")
    if what == "file":
        report.verdict(f"{what}: fastest against fastest", fastest[0] - fastest[1], bar, unit=" ms")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        compose_jpegs(Path(folder), [(1536, 1536)], "yunet")
        path = str(Path(folder) / "1536x1536.jpg")
        host_peak = run_json([sys.executable, "-c", HOST_PROGRAM, path])["peak"] / 1e6

        from peephole.frame import read
        from peephole.pipeline import Pipeline
        from peephole.worker.host import WorkerHost

        here = Pipeline()
        data, pixels = Path(path).read_bytes(), read(path).pixels
        begun = time.perf_counter()
        with WorkerHost() as host:
            host.analyse(path, embed=True)
            first = time.perf_counter() - begun
            print(f"{'':8} {'median ms':>17} {'fastest ms':>17} {'beside the stages':>15}")
            print(f"{'':8} {'worker':>8} {'here':>8} {'worker':>8} {'here':>8} {'worker':>7} {'here':>7}")
            for what, source in (("file", path), ("bytes", data), ("pixels", pixels)):
                pairs(
                    report,
                    what,
                    lambda source=source: host.analyse(source, embed=True),
                    lambda source=source: here.analyse(source, embed=True),
                    options.runs,
                    PRICE,
                )
            after = []
            for _ in range(5):
                os.kill(host.pid or 0, signal.SIGKILL)
                begun = time.perf_counter()
                host.analyse(path, embed=True)
                after.append(time.perf_counter() - begun)
    report.verdict("the host's peak", host_peak, HOST, unit=" MB")
    print(f"start to first answer {first:.2f} s; from a kill to the next answer {statistics.median(after):.2f} s")
    report.end(options.json, start=first, after_kill=after)


if __name__ == "__main__":
    main()
