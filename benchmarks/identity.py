"""Who is who: accuracy on LFW's pairs, and families among strangers, for every pair of detector and recognizer.

    python benchmarks/identity.py EVAL [--json FILE] [--only yunet+sface]

EVAL holds `lfw`, `household` and the scorer `score_identity.py`, which reads what `peephole embed --jsonl`
prints; they are made here with default settings. For the bars see `BARS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Report, arguments
from protocol import check_evaluation

TABLES = {"lfw": ("pairs", "pairs.tsv"), "household": ("household", "protocol.tsv")}
PAIRS = ("yunet+sface", "mmod+resnet", "mmod+sface", "yunet+resnet")
ACCURACY, KNOWN = "accuracy", "named_right_at_0.001_strangers_named"
BARS = {
    ("lfw", "yunet+sface", ACCURACY): 0.993,
    ("lfw", "mmod+resnet", ACCURACY): 0.985,
    ("household", "yunet+sface", KNOWN): 0.995,
}


def embed(folder: Path, pair: str, out: Path, threads: int | None) -> dict[str, float]:
    """Write a line an image, and return the median milliseconds of the stages for images with one face."""
    import numpy as np

    from peephole.errors import FrameError
    from peephole.pipeline import Pipeline

    pipeline = Pipeline(*pair.split("+"), threads=threads)
    times: list[dict[str, float]] = []
    with out.open("w") as lines:
        for file in sorted((folder / "images").rglob("*.jpg")):
            try:
                analysis = pipeline.analyse(file, embed=True)
            except FrameError as error:
                sys.exit(f"{file}: {error}")
            lines.write(json.dumps(analysis.to_dict()) + "\n")
            if len(analysis) == 1:
                times.append(analysis.timings_ms)
    return {stage: round(float(np.median([each[stage] for each in times])), 1) for stage in times[0]}


def score(evaluation: Path, which: str, pair: str, lines: Path) -> dict[str, Any]:
    """What the scorer says."""
    protocol, table = TABLES[which]
    command = [sys.executable, evaluation / "score_identity.py", protocol, evaluation / which / table, lines]
    euclidean = ["--euclidean"] if pair.endswith("resnet") else []
    done = subprocess.run([*command, *euclidean], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("evaluation", type=Path, metavar="EVAL")
    parser.add_argument("--only", choices=PAIRS, help="one pair of models")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the JSON lines there")
    options = parser.parse_args()
    check_evaluation(options.evaluation, *TABLES)
    report, rows = Report(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for pair in PAIRS if options.only is None else (options.only,):
            for which in TABLES:
                lines = folder / f"{which}-{pair}.jsonl"
                times = embed(options.evaluation / which, pair, lines, options.threads)
                scores = score(options.evaluation, which, pair, lines)
                rows.append({"set": which, "models": pair, **scores, "timings_ms": times})
                print(json.dumps(rows[-1]), flush=True)
                for what, value in scores.items():
                    if bar := BARS.get((which, pair, what)):
                        report.verdict(f"{which}, {pair}, {what}", value, bar, least=True)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
