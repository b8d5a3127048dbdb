"""Does `peephole timings compare` cry wolf, and does it see a stage that takes 10 % longer? In real processes.

    python benchmarks/regression.py [--trials 20] [--frames 200] [--profile modern] [--side 640] [--effect 0.1 ...]
                                    [--stage decode ...] [--turns] [--neighbour] [--logs DIR] [--json FILE]

Each trial is two runs, each a process of its own that labels the same pictures (40 of the demo's scenes, moved and lit
anew each) and logs their timings as ``--timings`` does. The two logs are then compared. The runs are made one after the
other, or with ``--turns`` by turns: 10 frames of the one, 10 of the other.

1. Both runs are the same: the verdict must be "not distinguishable".
2. In the second run one stage (the stages take turns) takes so much longer: behind its own work, inside the stage, it
   multiplies matrices until that has taken the given share of the stage's own processor time, on as many threads as
   the stage has kept busy. The verdict must be "slower", with that stage named.

With ``--neighbour`` another process beside them computes and sleeps in turn, for random times of up to three seconds.
The logs stay in ``--logs``, and with ``--again`` those there are compared again instead of new runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for the busy-work's matrices; before numpy is loaded

from common import Report, arguments

if TYPE_CHECKING:
    from peephole.timings.compare import Comparison

PICTURES = 40
WARM_UP = 5
TURN = 10
"""Frames."""
SHARE = 19 / 20
"""Of the trials that must come out right."""
NEIGHBOUR = """
import random, sys, time
while True:
    end = time.perf_counter() + random.uniform(0.1, 3)
    while time.perf_counter() < end:
        pass
    time.sleep(random.uniform(0.1, 3))
"""


def compose(folder: Path, side: int) -> None:
    """Write the pictures."""
    from dataclasses import replace

    import numpy as np
    from PIL import Image

    from peephole.demo import EILEEN, GRACE, SCENES, pixels
    from peephole.demo import compose as composed

    folder.mkdir(parents=True, exist_ok=True)
    portraits = {each.person: pixels(each) for each in (EILEEN, GRACE)}
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        scene = SCENES[number % len(SCENES)]
        moved = [
            replace(each, centre=tuple(np.add(each.centre, rng.uniform(-60, 60, 2)).tolist()))
            for each in scene.visitors
        ]
        scene = replace(scene, light=scene.light * rng.uniform(0.85, 1.1), visitors=tuple(moved))
        picture = Image.fromarray(composed(scene, portraits, seed=number))
        picture.resize((side, side), Image.Resampling.LANCZOS).save(folder / f"{number:02}.jpg", quality=90)


def child(job: dict[str, Any]) -> None:
    """One run: look at every picture in turn and log it."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from peephole.pipeline import Pipeline
    from peephole.timings import StageClock
    from peephole.timings.log import TimingLog
    from peephole.timings.record import Record

    pipeline = Pipeline(profile=job["profile"])
    files = sorted(Path(job["pictures"]).glob("*.jpg"))
    log = TimingLog(job["log"], rotate=2**40)
    matrix = np.random.default_rng(0).random((96, 96), np.float32)
    pool = ThreadPoolExecutor(1)

    def work(until: float) -> None:
        while time.process_time() < until:
            np.matmul(matrix, matrix)

    class Heavier:
        """A stage with more to do."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> None:
            self.inner.__enter__()
            self.start, self.busy = time.perf_counter(), time.process_time()

        def __exit__(self, *reason: Any) -> None:
            busy, elapsed = time.process_time() - self.busy, time.perf_counter() - self.start
            until = time.process_time() + job["effect"] * busy
            second = pool.submit(work, until) if busy > 1.3 * elapsed else None
            work(until)
            if second:
                second.result()
            self.inner.__exit__(*reason)

    class Clock(StageClock):
        def stage(self, name: str) -> Any:
            inner = super().stage(name)
            return Heavier(inner) if self._inside + name == job["stage"] else inner

    for number in range(-WARM_UP, job["frames"]):
        if number >= 0 and number % TURN == 0:
            print("waiting", flush=True)
            input()
        analysis = pipeline.analyse(files[number % len(files)], embed=True, clock=Clock())
        if number >= 0:
            log.frame(Record.of(analysis))


class Run:
    """A run in a process of its own, unless its log is there to be used again."""

    def __init__(
        self, options: argparse.Namespace, pictures: Path, log: Path, stage: str = "", effect: float = 0.0
    ) -> None:
        self.process: subprocess.Popen[str] | None = None
        if options.again:
            return
        log.unlink(missing_ok=True)
        job = {"profile": options.profile, "pictures": str(pictures), "frames": options.frames, "log": str(log)}
        job |= {"stage": stage, "effect": effect}
        command = [sys.executable, __file__, "--child", json.dumps(job)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.waits()

    def waits(self) -> bool:
        """Wait until it has had its turn or has ended; whether there are more."""
        assert self.process
        assert self.process.stdout
        if self.process.stdout.readline():
            return True
        status, self.process = self.process.wait(), None
        if status:
            sys.exit(f"a run ended with status {status}")
        return False

    def turn(self) -> bool:
        """Let it look at some frames; whether there are more."""
        if not self.process:
            return False
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.waits()

    def finish(self) -> None:
        """Let it look at all of them."""
        while self.turn():
            pass


@contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Somebody else on the machine, now and then."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def trial(options: argparse.Namespace, pictures: Path, name: str, stage: str = "", effect: float = 0.0) -> Comparison:
    """Two runs, compared; a line of the table."""
    from peephole.timings.compare import Verdict, compare
    from peephole.timings.read import read

    logs = [options.logs / f"{name}-{side}.jsonl" for side in ("before", "after")]
    first = Run(options, pictures, logs[0])
    if not options.turns:
        first.finish()
    second = Run(options, pictures, logs[1], stage, effect)
    turns = itertools.cycle((first, second, second, first))
    while first.process or second.process:
        next(turns).turn()
    before, after = (list(read(each)) for each in logs)
    start = time.perf_counter()
    found = compare(before, after)
    took = time.perf_counter() - start
    cells = [
        f"{each.stage} {each.ratio:.3f} ({each.low:.3f}..{each.high:.3f}){'' if each.verdict is Verdict.SAME else '*'}"
        for each in (*found.stages, found.total)
        if each.verdict is not Verdict.UNJUDGED and ("." not in each.stage or each.verdict is not Verdict.SAME)
    ]
    print(
        f"{name:22} {found.total.clock:6.3f} {found.total.processor or 0:6.3f} {took:5.2f}  {'  '.join(cells)}",
        flush=True,
    )
    return found


def named(found: Comparison, stage: str) -> bool:
    """Whether a stage is named as slower, itself or by a part of it."""
    from peephole.timings.compare import Verdict

    return any(each.stage == stage or each.stage.startswith(f"{stage}.") for each in found.changed(Verdict.SLOWER))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--profile", choices=["modern", "classic"], default="modern")
    parser.add_argument("--side", type=int, default=640, help="of the square pictures, in pixels")
    parser.add_argument("--stage", action="append", help="which is made slower; several take turns")
    parser.add_argument("--effect", type=float, action="append", help="by what share; the trials are made for each")
    parser.add_argument("--turns", action="store_true", help="make the two runs by turns")
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--logs", type=Path, metavar="DIR")
    parser.add_argument("--again", action="store_true", help="compare the logs that are there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        options.logs = options.logs or Path(folder)
        options.logs.mkdir(parents=True, exist_ok=True)
        pictures = Path(folder) / "pictures"
        if not options.again:
            compose(pictures, options.side)
            Run(options, pictures, options.logs / "warm-up.jsonl").finish()  # prepares the models
        with neighbour(options.neighbour):
            trials(options, report, pictures)


def trials(options: argparse.Namespace, report: Report, pictures: Path) -> None:
    """All of them, in random order, and what came of them."""
    from peephole.timings.compare import Verdict

    stages, effects = options.stage or ["decode", "detect", "embed"], options.effect or [0.1]
    jobs: list[tuple[str, str, float]] = [(f"same-{number + 1}", "", 0.0) for number in range(options.trials)]
    for effect in effects:
        jobs += [
            (f"{stage}-{effect:g}-{number + 1}", stage, effect)
            for number in range(options.trials)
            for stage in [stages[number % len(stages)]]
        ]
    random.Random(0).shuffle(jobs)
    print(f"\n{'trial':22} {'clock':>6} {'CPU':>6} {'took':>5}  ratio judged (interval), * not the same\n")
    rows, right = [], defaultdict(list)
    for name, stage, effect in jobs:
        found = trial(options, pictures, name, stage, effect)
        good = named(found, stage) if stage else found.verdict is Verdict.SAME
        others = [
            each.stage for each in found.changed(Verdict.SLOWER) if stage and each.stage.partition(".")[0] != stage
        ]
        right[stage, effect].append(good)
        rows.append(
            {"trial": name, "stage": stage, "effect": effect, "right": good, "others": others, **found.to_dict()}
        )
    print()
    for (stage, effect), each in sorted(right.items()):
        share = [row["stages"] for row in rows if row["stage"] == stage]
        took = [one["before"] for stage_rows in share for one in stage_rows if one["stage"] == stage]
        size = f", {sum(took) / len(took):.1f} ms a frame" if took else ""
        what = f"{stage} {effect:.0%} slower{size}" if stage else "the same twice"
        print(f"{what}: right in {sum(each)} of {len(each)}")
    bar = SHARE * options.trials
    same = sum(right["", 0.0])
    report.verdict("the same twice: not distinguishable, trials", same, bar, least=True)
    for effect in effects:
        hits = sum(sum(each) for (stage, by), each in right.items() if stage and by == effect)
        report.verdict(f"one stage {effect:.0%} slower: found and named, trials", hits, bar, least=True)
    wrong = sum(bool(row["others"]) for row in rows)
    print(f"another stage was named too in {wrong} of {len(rows) - options.trials}")
    report.end(options.json, trials=rows)


if __name__ == "__main__":
    main()
