"""One face against 100,000 enrolled vectors: how long, and is it exact?

    python benchmarks/matching.py [--json FILE]

Vectors of 128 numbers as SFace and dlib's ResNet give them, of a third as many people, and then of five people. The
answer is compared with that of comparing everything in float64, for faces that are near to somebody and for faces that
are near to nobody. Times are medians, of the whole call with its grouping by person.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from common import Report, arguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from peephole.match import People, Rule

VECTORS, NUMBERS = 100_000, 128
CALLS = 50
CHECKED = 6
LONGEST_MS = 10.0


def brute_force(vector: NDArray[np.float32], people: People, rule: Rule) -> list[tuple[float, str]]:
    """The two best people by their best photo, from scratch, in float64."""
    import numpy as np

    rows, a = people.embeddings.astype(np.float64), vector.astype(np.float64)
    if rule.similarity == "euclidean":
        scores = 1 - np.sqrt(((rows - a) ** 2).sum(1))
    else:
        scores = rows @ a / np.linalg.norm(rows, axis=1) / np.linalg.norm(a)
    best: dict[str, float] = {}
    for name, score in zip(people.names, scores.tolist(), strict=True):
        best[name] = max(score, best.get(name, -9.0))
    return sorted(((score, name) for name, score in best.items()), reverse=True)[:2]


def main() -> None:
    options = arguments(__doc__).parse_args()
    import numpy as np

    from peephole.match import RESNET_RULE, SFACE_RULE, People, match

    report, rng, rows = Report(), np.random.default_rng(0), []
    enrolled = rng.normal(size=(VECTORS, NUMBERS)).astype(np.float32)
    enrolled /= np.linalg.norm(enrolled, axis=1, keepdims=True)
    near = enrolled[:CHECKED] + (0.03 * rng.normal(size=(CHECKED, NUMBERS))).astype(np.float32)
    far = rng.normal(size=(CHECKED, NUMBERS)).astype(np.float32)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    faces = np.concatenate([near, far])
    for persons in (VECTORS // 3, 5):
        people = People(tuple(f"p{number}" for number in rng.integers(persons, size=VECTORS)), enrolled)
        for rule in (SFACE_RULE, RESNET_RULE):
            error = 0.0
            for face in faces:
                ((first, nearest), (second, _)) = brute_force(face, people, rule)
                (found,) = match(face[None], people, rule)
                wrong = found.nearest != nearest
                error = max(error, 1.0 if wrong else abs(found.score - first), abs(found.margin - (first - second)))
            times = []
            for call in range(CALLS):
                face = faces[call % len(faces)][None]
                start = time.perf_counter()
                match(face, people, rule)
                times.append(1000 * (time.perf_counter() - start))
            what = f"{VECTORS} vectors of {persons} people, {rule.similarity}"
            median = statistics.median(times)
            rows.append({"people": persons, "similarity": rule.similarity, "ms": median, "error": error})
            report.verdict(f"{what}, milliseconds", median, LONGEST_MS)
            report.verdict(f"{what}, largest difference from comparing everything", error, 1e-12)
    report.end(options.json, rows=rows)


if __name__ == "__main__":
    main()
