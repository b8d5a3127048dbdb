"""Libraries loaded apart, however that ends; settings, SQLite and models."""

import os
import sys
from dataclasses import replace

import pytest

from peephole.doctor import software
from peephole.doctor.processor import HIDDEN, NO_AVX
from peephole.doctor.software import LIBRARIES, Trouble, load_all, load_apart
from peephole.models import catalogue, store


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Writes a module that does something on import; returns its name."""

    def write(code):
        (tmp_path / "oddlibrary.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        return "oddlibrary"

    return write


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed", "SIGILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", "broken", "libgomp.so.1"),
        ("import nosuchthing", "broken", "No module named 'nosuchthing'"),
        ("raise RuntimeError('built with baseline optimizations:\\n(X86_V2) but')", "broken", "baseline"),
        ("import os; os._exit(3)", "broken", "status 3"),
        ("raise SystemExit('no')", "broken", "no"),
    ],
)
def test_a_library_may_do_what_it_likes(library, code, kind, words):
    trouble = load_apart(library(code))
    assert trouble is not None
    assert trouble.kind == kind
    assert words in trouble.words


def test_a_library_that_hangs(library):
    assert load_apart(library("import time; time.sleep(60)"), seconds=0.5).kind == "hung"


def test_a_library_that_is_not_there():
    assert load_apart("nosuchlibrary") == Trouble("missing", "is not installed")
    assert load_apart("nosuchlibrary.inside").kind == "missing"


def test_a_library_that_is_well_and_says_a_lot(library):
    assert load_apart(library("import sys; print('x' * 200_000); print('y' * 200_000, file=sys.stderr)")) is None


def test_modules_in_the_working_directory_are_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "oddlibrary.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert load_apart("oddlibrary").kind == "missing"


def test_what_needs_numpy_is_not_tried_without_it():
    tried = []

    def load(module):
        tried.append(module)
        return Trouble("crashed", "(SIGILL)") if module == "numpy" else None

    troubles = load_all(load)
    assert {module: trouble.kind for module, trouble in troubles.items()} == {
        "numpy": "crashed",
        "simplejpeg": "untried",
        "onnxruntime": "untried",
        "onnx": "untried",
    }
    assert "dlib" in tried
    assert "onnxruntime" not in tried


@pytest.fixture
def virtual(tree):
    return tree({"proc/cpuinfo": "flags : pni hypervisor\n"})


ILLEGAL = Trouble("crashed", "crashes the process that loads it (SIGILL)")


@pytest.mark.parametrize(
    ("module", "trouble", "used", "state", "words"),
    [
        ("numpy", ILLEGAL, (), "problem", HIDDEN),
        ("numpy", Trouble("broken", "built with baseline optimizations"), (), "problem", HIDDEN),
        ("dlib", ILLEGAL, (), "warning", NO_AVX),
        ("dlib", ILLEGAL, ("dlib-bin",), "problem", NO_AVX),
        ("onnx", Trouble("missing", "is not installed"), (), "problem", "-m pip install --force-reinstall onnx"),
        ("onnxruntime", Trouble("broken", "cannot open shared object"), (), "problem", "apt install libgomp1"),
        ("onnxruntime", Trouble("killed", "was killed"), (), "problem", "for memory"),
        ("onnxruntime", Trouble("hung", "did not load"), (), "problem", "too slow"),
        ("onnxruntime", Trouble("untried", "was not tried"), (), "note", ""),
    ],
)
def test_each_trouble_has_its_advice(virtual, module, trouble, used, state, words):
    first, *rest = software.libraries({module: trouble}, virtual, used)
    package = next(each.package for each in LIBRARIES if each.module == module)
    assert package not in first.summary.split()
    (found,) = [each for each in rest if each.name == package]
    assert found.state == state
    assert words in " ".join(found.advice)


def test_all_is_well(virtual):
    first, others = software.libraries({}, virtual, ())
    assert first.state == others.state == "ok"
    assert all(library.package in first.summary for library in LIBRARIES)


def test_a_rival_of_onnx_runtime(virtual, monkeypatch):
    monkeypatch.setattr(software, "_version", lambda package: "1.0")
    names = [each.name for each in software.libraries({}, virtual, ()) if each.state == "warning"]
    assert names == list(software.RIVALS)


def test_this_python():
    (found,) = software.python()
    assert found.state == "ok"
    assert sys.executable in found.summary


def test_an_old_sqlite(monkeypatch):
    import sqlite3

    (found,) = software.sqlite()
    assert (found.state, found.summary) == ("ok", sqlite3.sqlite_version)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    (found,) = software.sqlite()
    assert found.state == "problem"
    assert "3.37.0" in found.advice[0]


def test_models_as_published():
    (found,) = software.models({"yunet", "sface"})
    assert found.state == "ok"
    assert {"yunet", "sface"} <= set(found.facts["verified"])


@pytest.mark.parametrize(("needed", "state"), [({"yunet"}, "problem"), ({"mmod"}, "warning")])
def test_a_model_whose_bytes_have_changed(monkeypatch, needed, state):
    changed = replace(store.YUNET, sha256="0" * 64)
    entries = [replace(each, asset=changed) if each.name == "yunet" else each for each in catalogue.CATALOGUE]
    monkeypatch.setattr(catalogue, "CATALOGUE", entries)
    good, bad = software.models(needed)
    assert "yunet" not in good.facts["verified"]
    assert (bad.name, bad.state) == ("model yunet", state)
    assert bad.advice[0].startswith("peephole models fetch yunet")


def test_settings_without_secrets():
    environ = {"PEEPHOLE_MEMORY": "128MiB", "PEEPHOLE_MQTT_PASSWORD": "hunter2", "PATH": "/bin"}
    (found,) = software.settings(environ)
    assert found.summary == "PEEPHOLE_MEMORY=128MiB, PEEPHOLE_MQTT_PASSWORD is set"
    assert found.state == "ok"


@pytest.mark.parametrize(("value", "state"), [("1", "note"), ("true", "note"), ("0", "ok"), ("", "ok")])
def test_without_a_worker(value, state):
    (found,) = software.settings({"PEEPHOLE_IN_PROCESS": value})
    assert found.state == state


def test_the_processes_leave_no_core_dumps(library, tmp_path):
    wrote = tmp_path / "limit"
    code = f"import resource; open({os.fspath(wrote)!r}, 'w').write(str(resource.getrlimit(resource.RLIMIT_CORE)))"
    assert load_apart(library(code)) is None
    assert wrote.read_text() == "(0, 0)"
