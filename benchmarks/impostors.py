"""How often do photos of two different people reach a score? The curves of `peephole.match`'s rules.

    python benchmarks/impostors.py EVAL [--night] [--detector NAME --recognizer NAME] [--json FILE]

All pairs of photographs of EVAL/lfw and EVAL/household that show different people, each by the face nearest to its
middle; with --night without their colour. Prints the score that a share of them reaches, as `Rule.impostors` has it,
and the share of pairs of one person above it. LFW names some people twice and some wrongly, so nothing is read beyond
1 in 100,000, where 30 pairs decide.
"""

from __future__ import annotations

import numpy as np

from common import Report
from peephole.match import compare
from protocol import Looked, check_evaluation, looking_arguments, open_pipeline

RATES = (0.99, 0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5)


def main() -> None:
    parser = looking_arguments(__doc__)
    parser.add_argument("--night", action="store_true", help="the photos' colourless twins")
    options = parser.parse_args()
    check_evaluation(options.evaluation, "lfw", "household")
    folders = [options.evaluation / name / "images" for name in ("lfw", "household")]
    # Some are in both.
    files = {file.relative_to(folder): file for folder in folders for file in sorted(folder.rglob("*.jpg"))}
    pictures = list(files.values())
    pipeline, report = open_pipeline(options), Report()
    looked = Looked(pipeline, pictures, twins=options.night)
    faces = {picture: face for picture in pictures if (face := looked.face(picture)) is not None}
    vectors = np.stack([face.twin if options.night else face.embedding for face in faces.values()])
    people = np.array([picture.parent.name for picture in faces])
    scores = compare(vectors, vectors, pipeline.recognizer.similarity)
    pairs, alike = np.triu(np.ones_like(scores, bool), 1), people[:, None] == people[None]
    different, same = np.sort(scores[pairs & ~alike])[::-1], scores[pairs & alike]
    print(f"{len(different)} pairs of different people, {len(same)} of the same")
    rows = []
    for rate in RATES:
        score = float(different[int(rate * len(different))])
        rows.append({"rate": rate, "score": round(score, 3), "same": round(float((same >= score).mean()), 4)})
        print(f"{rate:8g} reach {score:6.3f}, and {rows[-1]['same']:.2%} of the pairs of one person")
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
