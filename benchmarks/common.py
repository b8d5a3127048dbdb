"""What the benchmarks share: the demo's frame, pictures of it in any size, child processes, tables, verdicts.

Not a benchmark of its own. The frame is the demo's third (1536x1536, two faces). The parent of measured children keeps
numpy and Pillow out of its own memory: a child starts as a copy of it, and ``ru_maxrss`` remembers that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare import machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Report", "arguments", "compose_jpegs", "demo_frame", "machine", "resized", "run_json"]

GRAIN = 3.0
"""Standard deviation of the noise on resized pictures: enlarged ones would compress to next to nothing without."""


def demo_frame() -> NDArray[np.uint8]:
    """The frame, (1536, 1536, 3) RGB."""
    from peephole.demo import EILEEN, GRACE, SCENES, compose, pixels

    return compose(SCENES[2], {each.person: pixels(each) for each in (EILEEN, GRACE)}, seed=2)


def resized(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The frame's middle in the wanted shape, resized, with grain of a camera on it unless it is the frame itself."""
    import numpy as np
    from PIL import Image

    side = frame.shape[0]
    if (width, height) == (side, side):
        return frame
    w, h = (side, side * height / width) if width >= height else (side * width / height, side)
    box = ((side - w) / 2, (side - h) / 2, (side + w) / 2, (side + h) / 2)
    made = np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC, box=box))
    rng = np.random.default_rng(0)
    grain = rng.normal(0.0, GRAIN, (256, width, 1)).astype(np.float32)
    for top in range(0, height, 256):
        part = made[top : top + 256]
        moved = np.roll(grain, int(rng.integers(width)), axis=1)[: len(part)]
        part[:] = np.clip(part + moved, 0, 255).astype(np.uint8)
    return made


def compose_jpegs(folder: Path, sizes: Sequence[tuple[int, int]], detector: str = "mmod") -> None:
    """Write ``WIDTHxHEIGHT.jpg`` of every size, and the frame itself as ``frame.npy``, in a child process.

    The detector is opened there too, so that its graphs are in the cache before anything is measured.
    """
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import common; "
        f"common._compose({str(folder)!r}, {list(sizes)!r}, {detector!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def _compose(folder: str, sizes: list[tuple[int, int]], detector: str) -> None:
    import numpy as np
    from PIL import Image

    from peephole.detectors import open_detector

    open_detector(detector)
    frame = demo_frame()
    np.save(Path(folder) / "frame.npy", frame)
    for width, height in sizes:
        picture = Image.fromarray(resized(frame, width, height))
        picture.save(Path(folder) / f"{width}x{height}.jpg", quality=90)


def run_json(command: Sequence[str]) -> dict[str, Any]:
    """Run a child that prints one JSON object last, and return that; end the benchmark if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])}... ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    return parser


class Report:
    """Rows and verdicts as they come, and the exit status in the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.missed: list[str] = []
        print(machine(), flush=True)

    def verdict(self, what: str, value: float, bar: float, *, least: bool = False, unit: str = "") -> bool:
        """Print whether a figure meets its bar."""
        met = value >= bar if least else value <= bar
        sign = ">=" if least else "<="
        print(f"{'met   ' if met else 'MISSED'}  {what}: {value:.3g}{unit} ({sign} {bar:g}{unit})", flush=True)
        self.rows.append({"what": what, "value": value, "bar": bar, "least": least, "met": met})
        if not met:
            self.missed.append(what)
        return met

    def end(self, file: Path | None, **more: Any) -> None:
        """Write the JSON, if wanted, and exit: 0 where every bar was met."""
        if file:
            file.write_text(json.dumps({"machine": machine(), "verdicts": self.rows, **more}, indent=1))
        sys.exit(1 if self.missed else 0)
