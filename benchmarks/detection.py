"""How well the detectors find faces: average precision on FDDB, false positives where there is nobody.

    python benchmarks/detection.py EVAL_FOLDER [--json FILE]

The folder holds ``fddb/`` and ``negatives/``, each with ``images/`` and ``truth.json``, and ``score_detections.py``,
which scores what ``peephole detect --jsonl`` prints; see its own words for the rule. They are not in the repository.

1. ``yunet`` at native size, everything down to a confidence of 0.05.
2. ``mmod`` with ``--upsample 1``, for many of FDDB's faces are smaller than its 80 pixels, its boxes as the extent
   of the face (``--extent face``). ``--skip-mmod`` leaves it out: it takes a few minutes.
3. False positives of ``yunet`` and ``mmod`` on the negatives, at their default confidence.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Report, arguments

PEEPHOLE = (sys.executable, "-m", "peephole", "detect", "--jsonl")
BARS = {"yunet": {0.5: 0.96, 0.35: 0.98}, "mmod": {0.5: 0.84}}
OPTIONS = {
    "yunet": ("--min-confidence", "0.05"),
    "mmod": ("--upsample", "1", "--min-confidence", "-0.5", "--extent", "face"),
}


def found(images: Path, detector: str, *options: str) -> str:
    """What the command prints for all images of a folder, a JSON line each."""
    command = [*PEEPHOLE, "--detector", detector, *options, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def scores(scorer: Path, truth: Path, lines: str) -> list[dict[str, Any]]:
    """What the scorer says of the lines, a row for each IoU: 0.5 and 0.35."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(lines)
        file.flush()
        command = [sys.executable, str(scorer), str(truth), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, metavar="EVAL_FOLDER")
    parser.add_argument("--skip-mmod", action="store_true", help="leave out 2")
    options = parser.parse_args()
    fddb, negatives = options.folder / "fddb", options.folder / "negatives"
    for folder in (fddb, negatives):
        if not (folder / "truth.json").is_file():
            sys.exit(f"{folder} is not there: the pictures are not part of the repository")
    scorer = options.folder / "score_detections.py"
    report = Report()
    rows = []
    for detector, bars in BARS.items():
        if detector == "mmod" and options.skip_mmod:
            continue
        print(f"\nFDDB, {detector} {' '.join(OPTIONS[detector])}")
        for row in scores(scorer, fddb / "truth.json", found(fddb / "images", detector, *OPTIONS[detector])):
            rows.append({"detector": detector, **row})
            print(json.dumps(row), flush=True)
            if bar := bars.get(row["iou"]):
                report.verdict(f"{detector}, AP at {row['iou']}", row["ap"], bar, least=True)
    for detector in BARS:
        lines = [json.loads(line) for line in found(negatives / "images", detector).splitlines()]
        confidence = sorted((face["confidence"] for line in lines for face in line["faces"]), reverse=True)
        print(f"\nnegatives, {detector}: {len(lines)} pictures, found: {[round(each, 3) for each in confidence]}")
        rows.append({"detector": detector, "negatives": len(lines), "confidence": confidence})
        report.verdict(f"{detector}, false positives at the default confidence", len(confidence), 2)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
