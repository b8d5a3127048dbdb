"""A gallery of its own for each test, and faces to put into it."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peephole.gallery import Gallery, Photo


class Clock:
    """A time that the test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peephole" / "gallery.db"


@pytest.fixture
def gallery(path: Path, clock: Clock) -> Iterator[Gallery]:
    with Gallery.open(path, clock=clock) as gallery:
        yield gallery


@pytest.fixture
def photo() -> Callable[..., Photo]:
    """Makes a face from a number: a crop of noise, unlike any other number's."""

    def make(number: int, side: int = 24, **changes: object) -> Photo:
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        fields = {
            "crop": file.getvalue(),
            "landmarks": np.array([[8, 9], [16, 9], [12, 13], [9, 17], [15, 17]]) + number / 7,
            "landmark_kind": "arcface",
            "box": (4.0, 4.5, 20.0, 21.25),
            "source": f"{number}.jpg",
            "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
        }
        return Photo(**(fields | changes))

    return make


@pytest.fixture
def vector() -> Callable[[int], np.ndarray]:
    """Makes a vector of length 1 from a number."""

    def make(number: int, d: int = 32) -> np.ndarray:
        values = np.random.default_rng(number).normal(size=d).astype(np.float32)
        return values / np.linalg.norm(values)

    return make


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process of Python's."""
    started = []

    def start(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
