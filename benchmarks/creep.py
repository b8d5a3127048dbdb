"""Does memory creep? Frames of ever-changing size through one pipeline in one process.

    python benchmarks/creep.py [--frames 3000] [--embed] [--profile classic|modern] [--json FILE]

Sides from 160 to 1600 pixels in a seeded random order, most of them small; every third frame is an array, the others
JPEG bytes. The first 300 frames count as warming up; bar: the resident size after the last frame is at most 5 MB above
or below that after frame 300. 3,000 frames take about ten minutes on two cores; ``--frames 600`` is the short form.
``--embed`` also finds landmarks and vectors of the faces. ``--profile`` says with which models, by default dlib's.
"""

from __future__ import annotations

import gc
import io
import time

from common import Report, arguments, demo_frame, resized

SMALLEST, LARGEST = 160, 1600
WARM = 300
BAR_MB = 5.0


def main() -> None:
    import numpy as np
    from PIL import Image

    from peephole.memory import current_rss
    from peephole.pipeline import Pipeline

    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--embed", action="store_true")
    parser.add_argument("--profile", default="classic", choices=("classic", "modern"))
    options = parser.parse_args()
    if options.frames <= WARM:
        parser.error(f"--frames must be above {WARM}")
    report = Report()
    large = resized(demo_frame(), LARGEST, LARGEST)
    rng = np.random.default_rng(0)
    # Most sides small, some near the largest: the mean is a third of it.
    sides = (SMALLEST * (LARGEST / SMALLEST) ** rng.random((options.frames, 2)) ** 1.5).round().astype(int)
    pipeline = Pipeline(profile=options.profile)
    print(f"\n{'frame':>6} {'RSS, MB':>8} {'ms a frame':>10} {'megapixels a frame':>18} {'faces':>6}")
    record = []
    faces, begun, spent = 0, 0, 0.0
    for index, (width, height) in enumerate(sides.tolist(), 1):
        left, top = (int(rng.integers(0, LARGEST - side + 1)) for side in (width, height))
        pixels = large[top : top + height, left : left + width].copy()
        source: bytes | np.ndarray = pixels
        if index % 3:
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=90)
            source = stream.getvalue()
        start = time.perf_counter()
        faces += len(pipeline.analyse(source, embed=options.embed))
        spent += time.perf_counter() - start
        if index % WARM == 0 or index == options.frames:
            gc.collect()
            size = sides[begun:index].prod(axis=1).mean() / 1e6
            row = {"frame": index, "rss_mb": current_rss() / 1e6, "ms": spent * 1e3 / (index - begun)}
            record.append({**row, "megapixels": size, "faces": faces})
            print(f"{index:6} {row['rss_mb']:8.1f} {row['ms']:10.1f} {size:18.3f} {faces:6}", flush=True)
            faces, begun, spent = 0, index, 0.0
    print()
    grown = record[-1]["rss_mb"] - record[0]["rss_mb"]
    report.verdict(f"RSS after frame {options.frames} against frame {WARM}", abs(grown), BAR_MB, unit=" MB")
    report.end(options.json, frames=record, grown_mb=grown)


if __name__ == "__main__":
    main()
