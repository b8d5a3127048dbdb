"""Where model files come from, what they must hash to, and the cache of the graphs built from them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import ModelDamaged, ModelError, ModelNotFound
from . import dat

CACHE_VARIABLE = "PEEPHOLE_CACHE"
MANIFEST = "manifest.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """A published model file that an installed package carries.

    Attributes:
        name: Peephole's name for it.
        package: the import name of the package; it is located, never imported.
        file: path inside the package.
        sha256: of the file as published.
        licence: of the weights, as their author states it.
        graphs: what is built from it.
    """

    name: str
    package: str
    file: str
    sha256: str
    licence: str
    graphs: tuple[str, ...] = ()


MMOD = Asset(
    "mmod",
    "face_recognition_models",
    "models/mmod_human_face_detector.dat",
    "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    "CC0-1.0",
    ("stem", "tail", "shrink"),
)
RESNET = Asset(
    "resnet",
    "face_recognition_models",
    "models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    "CC0-1.0",
    ("embed",),
)
LANDMARKS = Asset(
    "landmarks5",
    "face_recognition_models",
    "models/shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "CC0-1.0",
)
ASSETS = (MMOD, RESNET, LANDMARKS)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Graphs built from an asset, checked just now.

    Attributes:
        asset: what they were built from.
        graphs: the file of each graph by its name.
        sha256: of each graph's file.
        source: the asset's own file.
    """

    asset: Asset
    graphs: dict[str, Path]
    sha256: dict[str, str]
    source: Path

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the source under the asset's name, and of each graph, as results and logs have them."""
        return {self.asset.name: self.asset.sha256} | {
            f"{self.asset.name}-{name}": value for name, value in self.sha256.items()
        }


def cache_folder() -> Path:
    """Where prepared graphs are kept: ``$PEEPHOLE_CACHE``, or the platform's own place for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("peephole", appauthor=False)


def locate(asset: Asset) -> Path:
    """The asset's file, its hash checked.

    Raises:
        ModelNotFound: the package or the file in it is not there.
        ModelDamaged: the bytes are not the published ones.
    """
    spec = importlib.util.find_spec(asset.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise ModelNotFound(f"{asset.name}: the package {asset.package} is not installed; it carries {asset.file}")
    path = Path(folders[0]) / asset.file
    try:
        found = _sha256(path, asset.name)
    except OSError as error:
        raise ModelError(f"{asset.name}: {path} cannot be read: {error.strerror or error}") from error
    if found != asset.sha256:
        raise ModelDamaged(f"{asset.name}: {path} has SHA-256 {found}, not {asset.sha256} as published")
    return path


def prepare(asset: Asset) -> Prepared:
    """The asset's graphs, from the cache or built now; source and product are hashed on every call.

    Finished graphs are moved into the cache in one step, and one process builds while others wait for it. A
    damaged product is built anew.

    Raises:
        ModelNotFound, ModelDamaged: the source; see `locate`.
        ModelError: the cache cannot be written.
    """
    source = locate(asset)
    folder = cache_folder() / f"{asset.name}-{asset.sha256[:12]}-{_builder()[:12]}"
    try:
        prepared = _load(asset, folder, source)
        if prepared is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / ".lock"):
                prepared = _load(asset, folder, source)  # another process may have built it meanwhile
                if prepared is None:
                    _install(asset, source, folder)
                    prepared = _load(asset, folder, source)
                    _sweep(asset, folder)
    except OSError as error:
        raise ModelError(
            f"{asset.name}: the cache {folder.parent} cannot be used: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
    if prepared is None:
        raise ModelDamaged(f"{asset.name}: {folder} does not hold what was just written to it")
    return prepared


def _builder() -> str:
    """The hash of the code that builds the graphs, so that a cache of differently built ones is not used."""
    code = [Path(__file__).with_name(name).read_bytes() for name in ("dat.py", "graphs.py")]
    return hashlib.sha256(b"".join(code)).hexdigest()


def build(asset: Asset, source: Path, folder: Path) -> None:
    """Write the asset's graphs into a folder, in this process."""
    from . import graphs  # the onnx package is needed only here, once

    network = dat.read_network(source.read_bytes())
    built = graphs.mmod(network) if asset is MMOD else graphs.resnet(network)
    for name, data in built.items():
        (folder / f"{name}.onnx").write_bytes(data)


def _build_aside(asset: Asset, source: Path, folder: Path) -> None:
    """Write the asset's graphs into a folder, in a process of its own.

    What building takes, some 20 to 100 MB, would otherwise stay with this one and count against its memory budget.
    """
    code = "import sys; from pathlib import Path; from peephole.models import store; store.build_named(*sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        command = [sys.executable, "-c", code, asset.name, str(source), str(folder)]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - our own code
        failed = done.returncode != 0
    except OSError:
        failed = True  # there is no Python to be started from here
    if failed:
        build(asset, source, folder)  # at the price of the memory; and it raises what is wrong, if something is


def build_named(name: str, source: str, folder: str) -> None:
    """`build` by the asset's name: what the process of `_build_aside` runs."""
    build(next(asset for asset in ASSETS if asset.name == name), Path(source), Path(folder))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(asset: Asset, source: Path, folder: Path) -> None:
    """Write graphs and manifest beside ``folder`` and move them there in one step, in place of damaged ones."""
    for stale in folder.parent.glob(f".{folder.name}-*"):  # a killed process left it; the lock is held
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        _build_aside(asset, source, new)
        manifest = {
            "sha256": {path.stem: _sha256(path, asset.name) for path in sorted(new.glob("*.onnx"))},
            "onnx": importlib.metadata.version("onnx"),
        }
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1))
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)


def _sweep(asset: Asset, folder: Path) -> None:
    """Remove what other versions of Peephole, or of the asset, built from it; the lock is held."""
    ours = re.compile(rf"{re.escape(asset.name)}-[0-9a-f]{{12}}-[0-9a-f]{{12}}")
    for other in folder.parent.iterdir():
        if other != folder and ours.fullmatch(other.name):
            shutil.rmtree(other, ignore_errors=True)


_UNUSABLE = (ModelNotFound, IsADirectoryError, NotADirectoryError, RecursionError)


def _load(asset: Asset, folder: Path, source: Path) -> Prepared | None:
    """What the cache holds, or None where it holds nothing usable."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        wanted = {str(name): str(value) for name, value in manifest["sha256"].items()}
        paths = {name: folder / f"{name}.onnx" for name in wanted}
        found = {name: _sha256(path, asset.name) for name, path in paths.items()}
    except FileNotFoundError:
        return None
    except (*_UNUSABLE, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: %s is damaged (%s) and is built anew", asset.name, folder, error)
        return None
    if found != wanted or set(wanted) != set(asset.graphs):
        log.warning("%s: %s does not match its manifest and is built anew", asset.name, folder)
        return None
    return Prepared(asset, paths, found, source)


def _sha256(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ModelNotFound(f"{name}: there is no file {path}") from error
