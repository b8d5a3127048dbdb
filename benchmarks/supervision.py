"""What a worker costs: a 1536x1536 frame looked at by a worker process against the same in this one.

    python benchmarks/supervision.py [--runs 40] [--json FILE]

The frame is a JPEG file, detected and embedded by the default profile; both sides in turn, the order changing from pair
to pair, everything warmed up. Medians over all pairs of three differences, worker less this process:

- "call against call": the whole call by the clock, what a user waits longer. The stages are the same code on both
  sides, so what their times differ by is the machine's doing: on a busy one that is more than the price.
- "beside the stages": of that what a side's own stages did not take: messages, waiting, the switch between processes.
- "processor": processor time of host and worker together (Linux); but for caches no matter who else is busy.

Encoded bytes go through shared memory; so do pixels, for comparison, which is a copy of 7 MB.

The host's size is that of a process of its own that does nothing else: it starts a worker, has frames looked at and
matches the faces. Then the times from a worker's start, and from its being killed, to the next answer, and those of
``peephole detect FILE`` with a worker and with --in-process, start to end, the bytecode cached as it is where Peephole
is installed.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Report, arguments, compose_jpegs, run_json
from peephole.timings.record import total

if TYPE_CHECKING:
    from peephole.worker.host import WorkerHost

PRICE = 5.0
HOST = 60.0
STARTS = 7
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


@dataclass(frozen=True)
class Taken:
    """What a call took, milliseconds."""

    whole: float
    beside: float
    processor: float


def taken(work: Callable[[], Any], processes: Callable[[], list[int]]) -> Taken:
    """Of a call: by the clock, of that what its stages did not take, and of the processes' processor time."""
    before, began = sum(map(processor, processes())), time.perf_counter()
    analysis = work()
    whole = (time.perf_counter() - began) * 1e3
    used = (sum(map(processor, processes())) - before) * 1e3
    return Taken(whole, whole - total(analysis.timings_ms), used)


def processor(pid: int) -> float:
    """Seconds of processor time that all threads of a process have used."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) makes of a process's number


def pairs(
    report: Report, what: str, host: WorkerHost, ours: Callable[[], Any], theirs: Callable[[], Any], runs: int
) -> dict[str, float]:
    """Both sides in turn; the row, and for encoded pictures its verdicts."""
    sides: list[list[Taken]] = [[], []]
    for index in range(-4, runs):
        for side in (0, 1) if index % 2 else (1, 0):
            found = taken((ours, theirs)[side], lambda: [pid for pid in (os.getpid(), host.pid) if pid])
            if index >= 0:
                sides[side].append(found)
    names = [each.name for each in fields(Taken)]
    row = {name: [statistics.median(getattr(each, name) for each in side) for side in sides] for name in names}
    price = {
        name: statistics.median(getattr(one, name) - getattr(other, name) for one, other in zip(*sides, strict=True))
        for name in names
    }
    print(f"{what:8}" + "".join(f"{row[n][0]:9.1f}{row[n][1]:9.1f}{price[n]:+8.2f}" for n in names), flush=True)
    if what != "pixels":
        report.verdict(f"{what}: beside the stages", price["beside"], PRICE, unit=" ms")
    if what == "file":
        report.verdict(f"{what}: call against call", price["whole"], PRICE, unit=" ms")
    return price


def command(path: str, folder: str, *more: str) -> float:
    """Seconds of ``peephole detect`` on the frame, a process from its start to its end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": folder, "PEEPHOLE_IN_PROCESS": ""}
    began = time.perf_counter()
    look = [sys.executable, "-m", "peephole", "detect", path, *more]
    subprocess.run(look, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


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
            heads = ("call", "beside the stages", "processor")
            print(f"{'':8}" + "".join(f"{head:>18} {'':7}" for head in heads))
            print(f"{'':8}" + f"{'worker':>9}{'here':>9}{'price':>8}" * 3)
            prices = {
                what: pairs(
                    report,
                    what,
                    host,
                    lambda source=source: host.analyse(source, embed=True),
                    lambda source=source: here.analyse(source, embed=True),
                    options.runs,
                )
                for what, source in (("file", path), ("bytes", data), ("pixels", pixels))
            }
            after = []
            for _ in range(5):
                os.kill(host.pid or 0, signal.SIGKILL)
                begun = time.perf_counter()
                host.analyse(path, embed=True)
                after.append(time.perf_counter() - begun)
        sides: list[list[float]] = [[], []]
        for index in range(-1, STARTS):
            for side, more in enumerate(((), ("--in-process",))):
                seconds = command(path, f"{folder}/bytecode", *more)
                if index >= 0:
                    sides[side].append(seconds)
    report.verdict("the host's peak", host_peak, HOST, unit=" MB")
    print(f"start to first answer {first:.2f} s; from a kill to the next answer {statistics.median(after):.2f} s")
    commands = [statistics.median(side) for side in sides]
    print(f"peephole detect, start to end: {commands[0]:.2f} s, --in-process {commands[1]:.2f} s")
    report.end(options.json, start=first, after_kill=after, prices=prices, commands=commands)


if __name__ == "__main__":
    main()
