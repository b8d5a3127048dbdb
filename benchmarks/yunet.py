"""YuNet in strips against OpenCV's own ``FaceDetectorYN`` on the same file: time, memory, the same faces.

    python benchmarks/yunet.py [--runs 7] [--json FILE]

Needs OpenCV, which the package that carries the file needs as well. Frames of 1536x1536 and 3072x3072.

- Time: detection alone, both loaded and warmed up in this process, in turn, the order changing from pair to pair;
  medians. "CPU" is processor seconds of all threads, which neighbours on the machine disturb less. OpenCV looks at one
  scale; ``yunet`` also at the coarser levels where larger faces show.
- Memory: peaks of whole processes, a fresh one each: ``peephole detect --in-process`` on a JPEG, and a
  Python that decodes the same JPEG with OpenCV and hands it to ``FaceDetectorYN``.
- The same faces: every face that either reports has its match in the other at an IoU of at least 0.85, and is at most
  0.001 less certain than OpenCV is. The boxes of a face vote on its place, so boxes are not the same numbers, and where
  a coarser level is more certain of a face, its confidence counts.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Report, arguments, compose_jpegs, run_json

SIDES = (1536, 3072)
TIME = 1.0
MEMORY = {1536: 130, 3072: 200}
CONFIDENCE = 0.6
SAME_PLACE = 0.85
SAME_CONFIDENCE = 1e-3

PEAK = "next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')) * 1024 / 1e6"
OURS = f"""
import json, sys
from click.testing import CliRunner
from peephole.cli import main
result = CliRunner().invoke(main, ["detect", "--in-process", "--detector", "yunet", "--jsonl", sys.argv[1]])
assert result.exit_code == 0, result.output
print(json.dumps({{"peak": {PEAK}, "faces": len(json.loads(result.stdout)["faces"])}}))
"""
THEIRS = f"""
import json, sys, cv2
frame = cv2.imread(sys.argv[1])
detector = cv2.FaceDetectorYN.create(sys.argv[2], "", frame.shape[1::-1], {CONFIDENCE}, 0.3, 5000)
_, faces = detector.detect(frame)
print(json.dumps({{"peak": {PEAK}, "faces": len(faces)}}))
"""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def compare(side: int, file: Path, runs: int) -> dict[str, Any]:
    """Both on one frame: a row of times, and whether the faces are the same."""
    import cv2
    import numpy as np

    from peephole.frame import read
    from peephole.geometry import overlaps
    from peephole.grain import estimate
    from peephole.models import store
    from peephole.pipeline import Pipeline
    from peephole.planner import suited

    frame = read(file)
    pipeline = Pipeline("yunet")
    detector = pipeline.detector
    plan = suited(pipeline.plan(frame.size), detector.profile, estimate(frame.pixels))
    bgr = np.ascontiguousarray(frame.pixels[:, :, ::-1])
    opencv = cv2.FaceDetectorYN.create(str(store.locate(store.YUNET)), "", (side, side), CONFIDENCE, 0.3, 5000)
    works = (lambda: list(detector.scan(frame.pixels, plan, CONFIDENCE)), lambda: opencv.detect(bgr))
    for work in works * 2:
        work()
    pairs = []
    for index in range(runs):
        order = (0, 1) if index % 2 else (1, 0)
        took = {which: timed(works[which]) for which in order}
        pairs.append((took[0], took[1]))
    row: dict[str, Any] = {"side": side, "pairs": pairs}
    row["seconds"], row["cpu"] = ([statistics.median(p[who][k] for p in pairs) for who in (0, 1)] for k in (0, 1))
    row["ratio"], row["cpu_ratio"] = (statistics.median(p[0][k] / p[1][k] for p in pairs) for k in (0, 1))

    ours = pipeline.analyse(frame, min_confidence=CONFIDENCE).faces
    theirs = opencv.detect(bgr)[1].astype(float)
    boxes = np.concatenate([theirs[:, :2], theirs[:, :2] + theirs[:, 2:4]], 1)
    fit = overlaps(ours.boxes, boxes)
    row["faces"] = [len(ours), len(theirs)]
    row["overlap"] = float(min(fit.max(0).min(), fit.max(1).min()))
    row["confidence"] = float((theirs[fit.argmax(1), 14] - ours.confidence).max())
    print(
        f"{side}x{side} {row['seconds'][0]:8.4f} {row['seconds'][1]:8.4f} {row['ratio']:7.3f} {row['cpu_ratio']:7.3f} "
        f"{row['faces'][0]:5} {row['faces'][1]:6} {row['overlap']:8.3f} {row['confidence']:9.1g}",
        flush=True,
    )
    return row


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=7, help="pairs of each size")
    parser.add_argument("--times", type=Path, help="internal: a folder to compare times in")
    options = parser.parse_args()
    if options.times:
        print(f"\n{'frame':9} {'yunet, s':>8} {'OpenCV':>8} {'ratio':>7} {'CPU':>7} {'found':>5} {'OpenCV':>6} overlap")
        rows = [compare(s, options.times / f"{s}x{s}.jpg", options.runs) for s in SIDES]
        (options.times / "times.json").write_text(json.dumps(rows))
        return
    try:
        subprocess.run([sys.executable, "-c", "import cv2"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        sys.exit("OpenCV is not installed: there is nothing to compare with")
    model = subprocess.run(
        [sys.executable, "-c", "from peephole.models import store; print(store.locate(store.YUNET))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        compose_jpegs(Path(folder), [(side, side) for side in SIDES], "yunet")
        command = [sys.executable, __file__, "--runs", str(options.runs), "--times", folder]
        subprocess.run(command, check=True)
        rows = json.loads((Path(folder) / "times.json").read_text())
        print(f"\n{'frame':9} {'yunet, MB':>9} {'OpenCV, MB':>10}")
        for row in rows:
            file = f"{folder}/{row['side']}x{row['side']}.jpg"
            peaks = [run_json([sys.executable, "-c", code, file, model])["peak"] for code in (OURS, THEIRS)]
            row["peak_mb"] = peaks
            print(f"{row['side']}x{row['side']} {peaks[0]:9.1f} {peaks[1]:10.1f}", flush=True)
    print()
    report = Report()
    for row in rows:
        what = f"{row['side']}x{row['side']}"
        report.verdict(f"{what}: time / OpenCV's", row["ratio"], TIME)
        report.verdict(f"{what}: peak memory", row["peak_mb"][0], MEMORY[row["side"]], unit=" MB")
        report.verdict(f"{what}: faces that only one has", abs(row["faces"][0] - row["faces"][1]), 0)
        report.verdict(f"{what}: least overlap of a face with its match", row["overlap"], SAME_PLACE, least=True)
        report.verdict(f"{what}: confidence below OpenCV's", row["confidence"], SAME_CONFIDENCE)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
