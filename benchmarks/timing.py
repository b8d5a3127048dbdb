"""What timing costs a frame, and what it costs to look through a million of them.

    python benchmarks/timing.py [--frames 1000000] [--parts cost summary history] [--json FILE]

1. ``cost``: one 1536x1536 JPEG with two faces, labelled. How often a frame's stage clock is started, times what that
   takes, against the frame's own time; both in processor time, the clock's as the least of many rounds of nested
   stages, the frame's as the least of some, so that neighbours on the machine make it look dearer rather than cheaper.
   Beside it what a line of the log, a row of the history and the picture's fingerprint take.
2. ``summary``: a log of so many realistic lines (a year, two sizes, four changes of models and runtime, one frame in a
   hundred failed), summarised by ``peephole timings`` in a process of its own: its time and its peak memory. Then the
   same with ``--plot``.
3. ``history``: the same frames as rows: the file's size, what writing takes, and its summary.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Report, arguments, demo_frame

if TYPE_CHECKING:
    from peephole.timings import Record

COST = 0.1
SECONDS, MEGABYTES = 10.0, 300.0
PROFILES = ("modern", "classic")
YEAR = 365 * 86_400


def least(work: Callable[[], object], rounds: int, each: int = 1) -> float:
    """Seconds of processor time of a call, the least of some rounds."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(each):
            work()
        found.append((time.process_time() - start) / each)
    return min(found)


def cost(report: Report) -> dict[str, Any]:
    """What the clock, the log and the history take of a frame."""
    from PIL import Image

    from peephole.frame import load, snapshot
    from peephole.pipeline import Pipeline
    from peephole.timings import History, Record, StageClock, TimingLog

    class Counting(StageClock):
        """Counts how often a stage begins."""

        begun = 0

        def stage(self, name: str) -> Any:
            self.begun += 1
            return super().stage(name)

    def nested() -> None:
        with clock.stage("detect"):
            for _ in range(9):
                with clock.stage("head"):
                    pass

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.jpg"
        Image.fromarray(demo_frame()).save(file, quality=92)
        opened = snapshot(load(file))
        clock = StageClock()
        stage = least(nested, 30, 500) / 10
        fingerprint = least(opened.fingerprint, 30, 100)
        print(f"a stage {stage * 1e6:.2f} us, a fingerprint {fingerprint * 1e6:.1f} us, of processor time")
        for profile in PROFILES:
            pipeline = Pipeline(profile=profile)
            counting = Counting()
            analysis = pipeline.analyse(file, embed=True, clock=counting)
            frame = least(lambda pipeline=pipeline: pipeline.analyse(file, embed=True), 7)  # type: ignore[misc]
            record = Record.of(analysis)
            log = TimingLog(Path(folder) / f"{profile}.jsonl")
            line = least(lambda log=log, record=record: log.frame(record), 10, 100)  # type: ignore[misc]
            with History(Path(folder) / f"{profile}.sqlite") as history:

                def hundred(history: History = history, record: Record = record) -> None:
                    for _ in range(100):
                        history.frame(record)
                    history.flush()

                row = least(hundred, 10) / 100
            share = (counting.begun * stage + fingerprint) / frame * 100
            print(
                f"{profile}: {counting.begun} stages, {frame * 1e3:.0f} ms of processor time a frame; "
                f"the log's line {line * 1e6:.0f} us, {line / frame:.3%}; a row {row * 1e6:.0f} us, {row / frame:.3%}"
            )
            report.verdict(f"{profile}: clock and fingerprint of a frame's processor time", share, COST, unit=" %")
            found[profile] = {
                "stages": counting.begun,
                "frame_s": frame,
                "line_s": line,
                "row_s": row,
                "stage_s": stage,
            }
    return found


def realistic(count: int) -> Iterator[Record]:
    """So many frames of a year."""
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    import numpy as np

    from peephole.errors import FrameCorrupt
    from peephole.pipeline import Pipeline
    from peephole.timings import Record, StageClock

    rng = np.random.default_rng(0)
    pipeline = Pipeline()
    kinds = []
    for width, height in ((1536, 1536), (1280, 720)):
        picture = rng.integers(0, 255, (height, width, 3), np.uint8)
        kinds.append(Record.of(pipeline.analyse(picture, embed=True)))
    typical = {"wait.queue": 9.0, "people": 0.2} | dict(kinds[0].stages) | {"embed": 25.0, "match": 0.8, "record": 8.0}
    names = tuple(typical)
    failed = Record.failed("front/broken.jpg", FrameCorrupt("it ends too early"), StageClock())
    start, steps = datetime(2026, 1, 1, tzinfo=UTC), np.sort(rng.random(count)) * YEAR
    setups = [
        {
            "runtime": f"onnxruntime 1.{32 + number // 2}.0",
            "models": dict(kinds[0].models) | {"sface": f"{number:064x}"},
        }
        for number in range(5)
    ]
    done = 0
    while done < count:
        many = min(10_000, count - done)
        factors = np.exp(rng.normal(0, 0.15, (many, len(names))))
        faces, which, broken = rng.poisson(0.4, many), rng.random(many) < 0.3, rng.random(many) < 0.01
        for at in range(many):
            moment = start + timedelta(milliseconds=round(float(steps[done + at]) * 1e3))
            source = f"front/{moment:%Y-%m-%d/%H-%M-%S}-{done + at}.jpg"
            if broken[at]:
                yield replace(failed, time=moment, source=source, frame=f"front/{done + at}")
                continue
            values = (factors[at] * tuple(typical.values())).round(3).tolist()
            stages = dict(zip(names, values, strict=True))
            cpu = dict(zip(names, [round(1.8 * value, 3) for value in values], strict=True))
            setup = setups[(done + at) * len(setups) // count]
            more = {"time": moment, "source": source, "frame": f"front/{done + at}", "faces": int(faces[at])}
            yield replace(kinds[int(which[at])], stages=stages, cpu_ms=cpu, **more, **setup)
        done += many


def write(kind: str, file: Path, count: int) -> None:
    """Write a log, or a history, of so many frames; in a child, for what it takes is no matter here."""
    import msgspec

    from peephole.timings import History

    if kind == "log":
        with file.open("wb") as log:
            log.writelines(msgspec.json.encode(each.to_dict()) + b"\n" for each in realistic(count))
        return
    start = time.process_time()
    records = realistic(count)
    with History(file) as history:
        for each in records:
            history.frame(each)
    busy = (time.process_time() - start) / count
    print(f"written in {busy * 1e6:.0f} us of processor time a row, making it up included")


def summarised(file: Path, *more: str) -> tuple[float, float, float]:
    """Seconds by the clock, of processor time, and 10^6 bytes at the peak, of ``peephole timings FILE``."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "peephole", "timings", str(file), *more], stdout=subprocess.PIPE)
    assert child.stdout is not None
    text = child.stdout.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"peephole timings ended with status {child.returncode}")
    print(text.splitlines()[0])
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3 * 1.024


def look_through(report: Report, kind: str, folder: Path, count: int) -> dict[str, Any]:
    """Write and summarise one of the two."""
    file = folder / ("timings.jsonl" if kind == "log" else "timings.sqlite")
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import timing, pathlib; "
    subprocess.run(
        [sys.executable, "-c", program + f"timing.write({kind!r}, pathlib.Path({str(file)!r}), {count})"], check=True
    )
    size = file.stat().st_size
    print(f"{kind}: {size / 1e6:.0f} MB, {size / count:.0f} bytes a frame")
    found: dict[str, Any] = {"bytes": size}
    for more in ((), ("--plot", str(folder / "timings.png"))):
        seconds, busy, peak = summarised(file, *more)
        name = f"{count} frames of a {kind} summarised{' and drawn' if more else ''}"
        print(f"{name}: {seconds:.1f} s, {busy:.1f} s of processor time, {peak:.0f} MB")
        if not more and kind == "log":
            report.verdict(f"{name}, time", seconds, SECONDS, unit=" s")
            report.verdict(f"{name}, peak memory", peak, MEGABYTES, unit=" MB")
        found["drawn" if more else "summarised"] = {"seconds": seconds, "busy": busy, "peak_mb": peak}
    file.unlink()
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument(
        "--parts", nargs="+", choices=("cost", "summary", "history"), default=["summary", "history", "cost"]
    )
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary one")
    options = parser.parse_args()
    report, found = Report(), {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        # The cost last: it makes this process large, and a child begins as a copy of it.
        for part, kind in (("summary", "log"), ("history", "history")):
            if part in options.parts:
                found[part] = look_through(report, kind, Path(folder), options.frames)
    if "cost" in options.parts:
        found["cost"] = cost(report)
    report.end(options.json, **found)


if __name__ == "__main__":
    main()
