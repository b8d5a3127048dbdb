"""What several test files need: the two portraits, a cache of their own, loaded models."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from peephole.frame import Frame, read


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache, a gallery and a history for this run alone, empty at first."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("PEEPHOLE_CACHE", str(folder))
    patch.setenv("PEEPHOLE_IN_PROCESS", "1")  # a worker for each command would take most of the time
    patch.setenv("PEEPHOLE_GALLERY", str(folder / "gallery.db"))
    patch.setenv("PEEPHOLE_HISTORY", str(folder / "timings.sqlite"))
    yield folder
    patch.undo()


def _packaged(package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) / file


@pytest.fixture(scope="session")
def openvino() -> None:
    """Skips where it is not installed. Its import is left to Peephole, which keeps it from reporting to its maker."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")


@pytest.fixture(scope="session")
def eileen_file() -> Path:
    """512x512 PNG, one face at about (168, 69, 264, 165)."""
    return _packaged("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def grace_file() -> Path:
    """512x606 JPEG, one face at about (191, 145, 359, 311)."""
    return _packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def eileen(eileen_file: Path) -> Frame:
    return read(eileen_file)


@pytest.fixture(scope="session")
def grace(grace_file: Path) -> Frame:
    return read(grace_file)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes an empty disk of a size, as 32m; skips where nothing can be mounted."""
    folder = tmp_path / "disk"

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
            folder.rmdir()
            pytest.skip("a small disk cannot be made here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
