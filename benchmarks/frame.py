"""What a frame costs beside its networks, what a face's vector costs, and how time grows with the frame.

    python benchmarks/frame.py [--frames 21] [--runs 7] [--rounds 5] [--parts around embed growth] [--json FILE]

1. ``around``: one 1536x1536 JPEG file with two faces, labelled natively by each profile against twelve known photos.
   Counted is everything from the file's name to the printed record and the timing log's line, by the clock: reading
   and decoding, plan, resizing (the pyramid), filling the canvas, sorting out scores, mapping and suppression,
   landmarks and chips, matching, ``to_dict``, JSON, the log. Not counted is the time inside the networks' sessions;
   YuNet's makes its coarser levels in passing. Each line is the median of the frames, the sums are medians of the
   frames' sums. "CPU" is the same in processor time of all threads, which neighbours on the machine disturb less;
   "least" is the fastest frame by the clock.
2. ``embed``: one face against the dlib wheel, and eight faces in one call against eight calls; the sides in turn, the
   figure is the median of the pairs' ratios. No chips are cut here.
3. ``growth``: ``mmod`` alone, from half a megapixel to fifty (4:3, natively, the tiling that the planner takes where
   there is room). A size's slope is its seconds for each megapixel of its pyramid. A round takes every size once, the
   small ones several times in a row for their median, in an order of its own; within the round each slope is divided
   by the median of all sizes' slopes, and a size's figure is the median of that over the rounds. Bar: the figure
   farthest from 1. Beside it: the exponent of time over megapixels, and the fixed cost and slope of a straight line.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from common import Report, arguments, demo_frame, resized
from speed import Times, compare, median_times

PHOTOS = 12
CHIPS = 8
MEGAPIXELS = (0.5, 1, 2, 5, 10, 20, 50)
AT_LEAST = 2.0
"""Megapixels that a size looks at in one round."""
NETWORKS, PYRAMID, CANVAS = "networks", "detect: pyramid", "detect: canvas"
PARTS = ("around", "embed", "growth")
PROFILES = ("classic", "modern")


class Meter:
    """Seconds and processor seconds by name, each without those of the names inside it."""

    def __init__(self) -> None:
        self.spent: dict[str, Times] = {}
        self._inside: list[Times] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block."""
        self._inside.append((0.0, 0.0))
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            took = time.perf_counter() - start, time.process_time() - cpu
            within = self._inside.pop()
            before = self.spent.get(name, (0.0, 0.0))
            self.spent[name] = before[0] + took[0] - within[0], before[1] + took[1] - within[1]
            if self._inside:
                self._inside[-1] = (self._inside[-1][0] + took[0], self._inside[-1][1] + took[1])

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is timed whenever it is called."""

        def call(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*given, **named)

        return call


@contextmanager
def metered() -> Iterator[Meter]:
    """Time what runs the networks, fills the canvas and makes the pyramid while it is open."""
    from peephole.detectors.mmod import _Canvas
    from peephole.models.session import Session
    from peephole.pyramid import Pyramid

    meter = Meter()
    patched = [(Session, "run_all", NETWORKS), (_Canvas, "pixels", CANVAS)]
    patched += [(Pyramid, "__init__", PYRAMID), (Pyramid, "rows", PYRAMID)]
    before = [getattr(owner, method) for owner, method, _ in patched]
    try:
        for (owner, method, name), function in zip(patched, before, strict=True):
            setattr(owner, method, meter.timed(name, function))
        yield meter
    finally:
        for (owner, method, _), function in zip(patched, before, strict=True):
            setattr(owner, method, function)


def around(report: Report, frames: int, profile: str) -> dict[str, Any]:
    """Everything but the networks, with one profile's."""
    import numpy as np
    from PIL import Image

    from peephole.demo import EILEEN, GRACE, pixels
    from peephole.match import People
    from peephole.pipeline import Pipeline
    from peephole.timings import Record, StageClock, TimingLog

    class MeteredClock(StageClock):
        """The pipeline's stages, as parts of a meter."""

        def __init__(self, meter: Meter) -> None:
            super().__init__()
            self._meter = meter

        @contextmanager
        def stage(self, name: str) -> Iterator[None]:
            with super().stage(name), nullcontext() if "." in self._inside[:-1] else self._meter.part(name):
                yield

    pipeline = Pipeline(profile=profile)
    names, vectors = [], []
    for portrait in (EILEEN, GRACE):
        found = pipeline.analyse(pixels(portrait), embed=True).faces.embeddings
        assert found is not None
        names.append(portrait.person)
        vectors.append(found[0])
    strangers = np.random.default_rng(0).normal(0, 0.1, (PHOTOS - 2, len(vectors[0])))
    names += [f"stranger {index // 2}" for index in range(len(strangers))]
    people = People(tuple(names), np.concatenate([vectors, strangers]).astype(np.float32))

    measured: list[dict[str, Times]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.jpg"
        Image.fromarray(demo_frame()).save(file, quality=92)  # as the demo has it
        log = TimingLog(Path(folder) / "timings.jsonl")
        with (Path(folder) / "records.jsonl").open("w") as records:
            for index in range(frames + 3):
                with metered() as meter:
                    start = time.perf_counter(), time.process_time()
                    analysis = pipeline.analyse(file, people=people, clock=MeteredClock(meter))
                    with meter.part("record, JSON"):
                        print(json.dumps(analysis.to_dict()), file=records, flush=True)
                    with meter.part("timing log"):
                        log.frame(Record.of(analysis))
                    total = time.perf_counter() - start[0], time.process_time() - start[1]
                    parts = dict(meter.spent)
                if index < 3:  # warming up
                    continue
                counted = [sum(each[side] for each in parts.values()) for side in (0, 1)]
                parts["between the stages"] = (total[0] - counted[0], total[1] - counted[1])
                measured.append(parts)
        seen = sorted(face.name or "" for face in analysis)
        size = file.stat().st_size
    assert seen == sorted(names[:2]), f"the frame shows {names[:2]}, and these were found: {seen}"

    def figures(*wanted: str) -> tuple[float, float, float]:
        """Milliseconds of some parts together: the median by the clock and by the processor, the least by the clock."""
        sums = [[sum(parts[name][side] for name in wanted) * 1e3 for parts in measured] for side in (0, 1)]
        return statistics.median(sums[0]), statistics.median(sums[1]), min(sums[0])

    outside = [name for name in measured[0] if name != NETWORKS]
    titles = {"detect": "detect: strips, scores, boxes", "embed": "embed: around the network"}
    print(f"\n{profile}: 1536x1536, JPEG of {size / 1e6:.2f} MB, {' and '.join(seen)}; median of {frames} frames")
    print(f"{'part':32} {'ms':>8} {'CPU, ms':>8} {'least':>8}")
    sums = {"around": figures(*outside), NETWORKS: figures(NETWORKS), "all": figures(*measured[0])}
    rows = {titles.get(name, name): figures(name) for name in outside} | sums
    for name, (clock, cpu, least) in rows.items():
        print(f"{name:32} {clock:8.2f} {cpu:8.2f} {least:8.2f}", flush=True)
    print()
    report.verdict(f"{profile}: around the networks", sums["around"][0], 30, unit=" ms")
    return {"rows": rows, "frames": measured}


def embed(report: Report, runs: int) -> dict[str, Any]:
    """One face against dlib, eight at once against one by one."""
    import numpy as np

    from peephole.recognizers import open_recognizer

    chips = np.random.default_rng(0).integers(0, 256, (CHIPS, 150, 150, 3), np.uint8)
    ours, wheel = open_recognizer("resnet"), open_recognizer("dlib-resnet")

    def single() -> None:
        for index in range(CHIPS):
            ours.embed(chips[index : index + 1])

    for _ in range(2):
        single()
        ours.embed(chips)
        wheel.embed(chips[:1])
    print(f"\n{'what':44} {'ours, s':>8} {'other, s':>8} {'ratio':>7} {'CPU':>7}   range of the ratio")
    rows = [
        compare(
            "one face: dlib wheel",
            lambda: median_times(lambda: ours.embed(chips[:1]), 9),
            lambda: median_times(lambda: wheel.embed(chips[:1]), 3),
            runs,
        ),
        compare(
            f"{CHIPS} faces in one call: {CHIPS} calls",
            lambda: median_times(lambda: ours.embed(chips), 5),
            lambda: median_times(single, 5),
            2 * runs,
        ),
    ]
    print()
    report.verdict("one face against the dlib wheel, times as fast", rows[0]["ratio"], 10, least=True)
    report.verdict(f"{CHIPS} faces in one call, times as fast as one by one", rows[1]["ratio"], 1.3, least=True)
    return {"comparisons": rows}


def growth(report: Report, rounds: int) -> dict[str, Any]:
    """Seconds for each megapixel, from small to large."""
    import numpy as np

    from peephole import planner
    from peephole.detectors import open_detector

    detector = open_detector("mmod")
    frame = demo_frame()
    rng = np.random.default_rng(0)
    work: dict[float, tuple[Any, planner.Plan]] = {}
    for megapixels in MEGAPIXELS:
        width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
        size = (width, round(width * 3 / 4))
        plan = planner.plan(size, detector.profile)
        assert plan.scale == 1.0
        work[megapixels] = resized(frame, *size), plan
    pyramid = {
        each: sum(level.size[0] * level.size[1] for level in plan.levels) / 1e6 for each, (_, plan) in work.items()
    }

    def scan(megapixels: float) -> Times:
        pixels, plan = work[megapixels]
        return median_times(lambda: list(detector.scan(pixels, plan, 0.0)), math.ceil(AT_LEAST / megapixels))

    for megapixels in MEGAPIXELS[:-1]:
        scan(megapixels)
    clocks: dict[float, list[Times]] = defaultdict(list)
    for _ in range(rounds):
        for index in rng.permutation(len(MEGAPIXELS)):
            clocks[MEGAPIXELS[index]].append(scan(MEGAPIXELS[index]))

    def slopes(side: int) -> dict[float, float]:
        """Each size's against the median of its round; the median of the rounds."""
        relative = defaultdict(list)
        for index in range(rounds):
            each = {size: clocks[size][index][side] / pyramid[size] for size in MEGAPIXELS}
            middle = statistics.median(each.values())
            for size, slope in each.items():
                relative[size].append(slope / middle)
        return {size: statistics.median(found) for size, found in relative.items()}

    by_clock, by_cpu = slopes(0), slopes(1)
    print(
        f"\n{'frame':>10} {'MP':>5} {'pyramid, MP':>11} {'strip, rows':>11} {'empty':>6} {'seconds':>8} {'s/MP':>7}",
        end="",
    )
    print(f" {'slope':>6} {'CPU':>6}")
    rows = []
    for size, (_, plan) in work.items():
        seconds = statistics.median(clock for clock, _ in clocks[size])
        width, height = planner.canvas_size(plan.levels, detector.profile)
        row = {"frame": plan.frame, "megapixels": size, "pyramid": pyramid[size], "seconds": seconds}
        row |= {"strip": plan.tiling.strip, "rows": plan.tiling.rows, "runs": clocks[size]}
        row |= {"canvas": width * height / 1e6 / pyramid[size], "slope": by_clock[size], "cpu_slope": by_cpu[size]}
        rows.append(row)
        tiling, name = f"{plan.tiling.strip}, {plan.tiling.rows}", f"{plan.frame[0]}x{plan.frame[1]}"
        print(f"{name:>10} {size:5g} {pyramid[size]:11.2f} {tiling:>11} {row['canvas'] - 1:6.1%}", end="")
        print(f" {seconds:8.3f} {seconds / pyramid[size]:7.4f} {by_clock[size]:6.3f} {by_cpu[size]:6.3f}", flush=True)
    x, y = (np.array([row[name] for row in rows]) for name in ("pyramid", "seconds"))
    exponent = float(np.polyfit(np.log(x), np.log(y), 1)[0])
    slope, fixed = np.polyfit(x, y, 1, w=1 / y)  # relative errors count alike
    print(f"\nseconds ~ megapixels^{exponent:.3f}; straight line: {fixed * 1e3:.1f} ms + {slope:.4f} s a megapixel")
    worst = max(abs(each - 1) for each in by_clock.values())
    report.verdict("slope farthest from the median slope, off by", worst, 0.15)
    return {"rows": rows, "exponent": exponent, "fixed": float(fixed), "slope": float(slope)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=21, help="frames of 1")
    parser.add_argument("--runs", type=int, default=7, help="pairs of 2; twice as many for eight faces")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of 3; each takes about half a minute")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    report = Report()
    found: dict[str, Any] = {}
    if "around" in options.parts:
        found["around"] = {each: around(report, options.frames, each) for each in PROFILES}
    if "embed" in options.parts:
        found["embed"] = embed(report, options.runs)
    if "growth" in options.parts:
        found["growth"] = growth(report, options.rounds)
    report.end(options.json, **found)


if __name__ == "__main__":
    main()
