"""`mmod` against `dlib-cnn` with the same plan: has every detection of one its match in the other?

    python benchmarks/parity.py PICTURE_OR_FOLDER... [--limit 60] [--max-side N] [--upsample N]

A detection counts from --min-confidence on; its match is any detection of the other at an IoU of --overlap.
Of each folder the first --limit pictures are taken. Exits with 1 if any has no match.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from peephole.files import pictures
from peephole.frame import read
from peephole.geometry import overlaps
from peephole.pipeline import Pipeline, Scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--max-side", type=int)
    parser.add_argument("--upsample", type=int, default=0)
    parser.add_argument("--min-confidence", type=float, default=0.3)
    parser.add_argument("--overlap", type=float, default=0.7)
    options = parser.parse_args()

    files: list[Path] = []
    for each in options.pictures:
        if not each.exists():
            sys.exit(f"there is no {each}: give a folder of photographs with faces")
        files += pictures(each)[: options.limit] if each.is_dir() else [each]
    scale = Scale(options.max_side, options.upsample)
    sides = {name: Pipeline(name) for name in ("mmod", "dlib-cnn")}
    checked, lone, differences, worst = 0, 0, [], 1.0
    for file in files:
        frame = read(file)
        found = {name: side.analyse(frame, scale=scale).faces for name, side in sides.items()}
        for name, other in (("mmod", "dlib-cnn"), ("dlib-cnn", "mmod")):
            fit = overlaps(found[name].boxes, found[other].boxes)
            for index in np.flatnonzero(found[name].confidence >= options.min_confidence):
                checked += 1
                best = int(fit[index].argmax()) if fit.shape[1] else -1
                if best < 0 or fit[index, best] < options.overlap:
                    lone += 1
                    score = found[name].confidence[index]
                    print(f"{file}: {name} alone at {found[name].boxes[index].round(1)} with {score:.3f}")
                    continue
                worst = min(worst, float(fit[index, best]))
                differences.append(abs(found[name].confidence[index] - found[other].confidence[best]))
    spread = np.array(differences)
    print(f"{len(files)} pictures, {checked} detections of both with confidence >= {options.min_confidence}")
    print(f"without a match at IoU >= {options.overlap}: {lone}; lowest IoU of a match {worst:.3f}")
    if len(spread):
        print(f"difference of the scores: median {np.median(spread):.1e}, largest {spread.max():.1e}")
    sys.exit(1 if lone else 0)


if __name__ == "__main__":
    main()
