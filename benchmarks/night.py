"""Faces at night: frames with grain, against OpenCV's YuNet at 640 pixels, bad weather, and what it costs.

    python benchmarks/night.py EVAL_FOLDER [--before CHECKOUT] [--seed 1] [--json FILE]

The folder holds ``household/``, ``negatives/``, ``make_hard.py``, which makes the frames, and ``score_detections.py``,
which scores what ``peephole detect --jsonl`` prints. They are not in the repository.

1. Infrared frames of 1536x1536 with one face each and grain of three strengths: average precision at an IoU of 0.35, by
   default options.
2. OpenCV's ``FaceDetectorYN`` on the frames of 0.04, shrunk to 640 pixels: the same network, at several confidences.
3. Frames with nobody on them, as a door has them or worse: no face, and at most 1.5 times the processor time of a clean
   frame, in turn.
4. With ``--before``, another commit's tree: time and memory of clean and of grainy frames against that one, each side a
   process of its own, in turn; of times the least.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Report, arguments
from detection import found, scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BARS = {"0.02": 0.99, "0.04": 0.96, "0.08": 0.75}
IOU = 0.35
PEER = "0.04"
PEER_SIDE = 640
PEER_CONFIDENCES = (0.3, 0.6, 0.8, 0.9)
WEATHER = 1.5
CLEAN, GRAINY, MORE = 1.05, 1.4, 5.0
RUNS = 9
PAIRS = 30
SIDE = 1536

WORKER = """
import json, sys, time
from peephole.pipeline import Pipeline
pipeline = Pipeline()
for line in sys.stdin:
    start, cpu = time.perf_counter(), time.process_time()
    found = pipeline.analyse(line.strip())
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, found.memory.measured / 1e6]), flush=True)
"""


def made(folder: Path, sigma: str, target: Path, seed: int, count: int = 90) -> Path:
    """A set of frames: ``images/`` and ``truth.json``."""
    sources = [str(folder / name) for name in ("household", "negatives")]
    command = [sys.executable, str(folder / "make_hard.py"), "frames", sigma, *sources, str(target)]
    subprocess.run([*command, "--seed", str(seed), "--count", str(count)], check=True)
    return target


def at(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["iou"] == IOU)


def peer(frames: Path, confidence: float) -> str:
    """What OpenCV finds, as ``peephole detect --jsonl`` would print it."""
    import cv2

    from peephole.models import store

    size = (PEER_SIDE, PEER_SIDE)
    detector = cv2.FaceDetectorYN.create(str(store.locate(store.YUNET)), "", size, confidence, 0.3, 5000)
    lines = []
    for file in sorted((frames / "images").iterdir()):
        frame = cv2.imread(str(file))
        scale = frame.shape[0] / PEER_SIDE
        _, faces = detector.detect(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        boxes = [] if faces is None else faces.astype(float) * scale
        told = [
            {"left": b[0], "top": b[1], "right": b[0] + b[2], "bottom": b[1] + b[3], "confidence": b[14] / scale}
            for b in boxes
        ]
        lines.append(json.dumps({"image": str(file), "faces": told}))
    return "\n".join(lines)


def weather() -> dict[str, NDArray[np.uint8]]:
    """Frames with nobody on them, (1536, 1536, 3)."""
    import numpy as np

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    lamp = 0.1 + 0.5 * np.exp(-((x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2) / 500_000)
    night = lamp + rng.normal(0, 0.04, lamp.shape)
    drops = (rng.random(lamp.shape) < 0.001).astype(np.float32)
    salt = rng.random(lamp.shape)
    values = {
        "noise": rng.random(lamp.shape),
        "black": 0 * lamp,
        "white": 0 * lamp + 1,
        "salt and pepper": np.where(salt < 0.05, 0, np.where(salt > 0.95, 1, lamp)),
        "stripes": 0.2 + 0.6 * (x // 5 % 2),
        "wiper": night * (np.abs(x - y) > 300),
        "spider": night * (np.hypot(x - 700, y - 600) > 300) * (np.abs(np.sin(4 * np.arctan2(y - 600, x - 700))) > 0.1),
        "half black": night * (x > SIDE / 2),
        "rain": night + 0.4 * sum(np.roll(drops, step, 0) for step in range(40)),
    }
    grey = {kind: (np.clip(each, 0, 1) * 255).astype(np.uint8) for kind, each in values.items()}
    return {kind: each[:, :, None].repeat(3, 2) for kind, each in grey.items()}


def in_bad_weather(clean: Path, report: Report) -> dict[str, Any]:
    from peephole.frame import read
    from peephole.pipeline import Pipeline

    pipeline, day = Pipeline(), read(clean)

    def cpu(frame: Any) -> float:
        start = time.process_time()
        pipeline.analyse(frame)
        return time.process_time() - start

    cpu(day)
    rows = {}
    for kind, frame in weather().items():
        count = len(pipeline.analyse(frame))
        ratio = statistics.median(cpu(frame) / cpu(day) for _ in range(RUNS))
        rows[kind] = {"faces": count, "cpu_ratio": ratio}
        report.verdict(f"{kind}: faces", count, 0)
        report.verdict(f"{kind}: processor time / a clean frame's", ratio, WEATHER)
    return rows


def compared(before: Path, files: dict[str, Path], report: Report) -> dict[str, Any]:
    """Both sides on each file, in turn; the least of each, which is what neighbours on the machine disturb least."""
    sides = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tree / "src")},
        )
        for tree in (before, Path(__file__).parents[1])
    ]

    def ask(side: int, file: Path) -> list[float]:
        worker = sides[side]
        assert worker.stdin
        assert worker.stdout
        print(file, file=worker.stdin, flush=True)
        answer: list[float] = json.loads(worker.stdout.readline())
        return answer

    rows = {}
    for what, file in files.items():
        for side in (0, 1):
            ask(side, file)
        pairs = []
        for index in range(PAIRS):
            took = {side: ask(side, file) for side in ((0, 1) if index % 2 else (1, 0))}
            pairs.append((took[0], took[1]))
        clock, cpu = (min(after[k] for _, after in pairs) / min(first[k] for first, _ in pairs) for k in (0, 1))
        more = statistics.median(after[2] - first[2] for first, after in pairs)
        rows[what] = {"pairs": pairs, "clock": clock, "cpu": cpu, "more_mb": more}
        bar = CLEAN if what == "clean" else GRAINY
        print(f"{what}: {clock:.3f} of the time by the clock", flush=True)
        report.verdict(f"{what}: processor time / before", cpu, bar)
        if what == "clean":
            report.verdict(f"{what}: more memory", more, MORE, unit=" MB")
        else:
            memory = statistics.median(after[2] / first[2] for first, after in pairs)
            report.verdict(f"{what}: memory / before", memory, bar)
    for worker in sides:
        worker.communicate()
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, metavar="EVAL_FOLDER")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare time and memory with another tree")
    parser.add_argument("--seed", type=int, default=1, help="of the frames")
    options = parser.parse_args()
    scorer = options.folder / "score_detections.py"
    for needed in (options.folder / "make_hard.py", scorer):
        if not needed.is_file():
            sys.exit(f"{needed} is not there: the pictures are not part of the repository")
    report = Report()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        sets = {sigma: made(options.folder, sigma, Path(temporary) / sigma, options.seed) for sigma in BARS}
        clean = made(options.folder, "0", Path(temporary) / "clean", options.seed, count=2) / "images" / "000.jpg"
        for sigma, frames in sets.items():
            rows[sigma] = at(scores(scorer, frames / "truth.json", found(frames / "images", "yunet")))
            print(json.dumps(rows[sigma]), flush=True)
            report.verdict(f"grain {sigma}: AP at {IOU}", rows[sigma]["ap"], BARS[sigma], least=True)
        try:
            theirs = [
                at(scores(scorer, sets[PEER] / "truth.json", peer(sets[PEER], least))) for least in PEER_CONFIDENCES
            ]
        except ImportError:
            sys.exit("OpenCV is not installed: there is nothing to compare with")
        rows["opencv"] = dict(zip(PEER_CONFIDENCES, theirs, strict=True))
        for least, row in rows["opencv"].items():
            print(f"OpenCV at {PEER_SIDE} px, above {least}: {json.dumps(row)}")
        best = max(row["ap"] for row in theirs)
        report.verdict(f"grain {PEER}: AP above OpenCV's best", rows[PEER]["ap"] - best, 0, least=True)
        rows["weather"] = in_bad_weather(clean, report)
        if options.before:
            files = {"clean": clean, **{f"grain {s}": each / "images" / "000.jpg" for s, each in sets.items()}}
            rows["before"] = compared(options.before, files, report)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
