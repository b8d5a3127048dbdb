"""Both detectors and both recognizers side by side, each in child processes of its own: time ratio, peak memory.

    python benchmarks/compare.py [--runs 3] [--side 1536] [--native] [--json FILE]

The frame is the demo's third (two faces). One child a run and side, the sides in turn, so that a machine that
slows down slows both; medians are printed. Time is the stage alone, after the model is loaded and warmed up on a
small frame; peak memory is the child's largest resident size, everything included: on Linux ``VmHWM``, because
``ru_maxrss`` also remembers the process that started the child.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CLASSIC = {"max_side": 720, "upsample": 1}


def child(job: dict[str, Any]) -> None:
    """Do one job and print its seconds and peak memory as JSON."""
    import numpy as np

    from peephole.demo import EILEEN, GRACE, SCENES, compose, pixels
    from peephole.memory import peak_rss
    from peephole.pipeline import Pipeline, Scale
    from peephole.recognizers import open_recognizer

    if job["kind"] == "recognizer":
        chips = np.random.default_rng(0).integers(0, 256, (job["chips"], 150, 150, 3), np.uint8)
        recognizer = open_recognizer(job["name"])
        recognizer.embed(chips[:1])
        start = time.perf_counter()
        recognizer.embed(chips)
        seconds, faces = time.perf_counter() - start, len(chips)
    else:
        frame = compose(SCENES[2], {each.person: pixels(each) for each in (EILEEN, GRACE)}, seed=2)
        pipeline = Pipeline(job["name"])
        pipeline.analyse(frame[:160, :160].copy())
        analysis = pipeline.analyse(frame, scale=Scale(**job["scale"]))
        seconds, faces = analysis.timings_ms["detect"] / 1e3, len(analysis)
    print(json.dumps({"seconds": seconds, "faces": faces, "peak_mb": peak_rss() / 1e6}))


def measure(job: dict[str, Any]) -> dict[str, float]:
    """Run a job in a child process."""
    command = [sys.executable, __file__, "--child", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{job} failed with status {done.returncode}:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def machine() -> str:
    """Processor and count, for the record."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chips", type=int, default=16)
    parser.add_argument("--native", action="store_true", help="also at native scale (dlib: 2.3 GB and half a minute)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", metavar="JOB", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return

    pairs = [("detector, 720 with upsampling", "detector", ("mmod", "dlib-cnn"), {"scale": CLASSIC})]
    if options.native:
        pairs.append(("detector, native", "detector", ("mmod", "dlib-cnn"), {"scale": {}}))
    pairs.append(
        (f"recognizer, {options.chips} chips", "recognizer", ("resnet", "dlib-resnet"), {"chips": options.chips})
    )
    print(machine())
    print(f"median of {options.runs} runs a side, the sides in turn\n")
    print(f"{'what':32} {'side':12} {'seconds':>8} {'peak MB':>8} {'found':>6} {'times as fast':>14}")
    record = []
    for what, kind, names, more in pairs:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.runs):
            for name in names:
                runs[name].append(measure({"kind": kind, "name": name, **more}))
        ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True))
        for name in names:
            seconds, peak, found = (
                statistics.median(run[key] for run in runs[name]) for key in ("seconds", "peak_mb", "faces")
            )
            shown = f"{ratio:.1f}" if name == names[0] else "1"
            print(f"{what:32} {name:12} {seconds:8.3f} {peak:8.0f} {found:6.0f} {shown:>14}")
        record.append({"what": what, "runs": runs, "ratio": ratio})
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": record}, indent=1))


if __name__ == "__main__":
    main()
