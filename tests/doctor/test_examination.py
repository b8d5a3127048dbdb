"""All of it: in order, whatever is missing, and without loading what might crash."""

import subprocess
import sys

import pytest

from peephole import doctor
from peephole.doctor import Asked, examine
from peephole.doctor.software import Trouble

SECTIONS = ["machine", "software", "storage", "work"]


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_on_a_system_that_tells_nothing_it_goes_on(tmp_path, monkeypatch):
    """An empty tree, no library, no process: every check survives, and says what is not known."""

    def nothing(module):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(doctor, "_of_work", lambda asked, troubles: [])
    found = list(examine(Asked(root=tmp_path, environ={}, load=nothing)))
    names = by_name(found)
    for name in ("extensions", "load", "memory", "swap", "libraries"):
        assert names[name].state == "note"
        assert names[name].summary.startswith("not known: ")
    assert list(dict.fromkeys(each.section for each in found)) == SECTIONS[:3]


PROGRAM = """
import sys
from peephole.doctor import Asked, examine
from peephole.doctor.software import Trouble
load = lambda module: Trouble("crashed", "crashes the process that loads it (SIGILL)") if module == "numpy" else None
for finding in examine(Asked(load=load, gallery=GALLERY)):
    print(finding.section, finding.name, finding.state, sep="|")
print("heavy|" + ",".join(sorted({"numpy", "PIL", "onnxruntime", "dlib", "onnx"} & sys.modules.keys())) + "|")
"""


@pytest.mark.parametrize("gallery", [None, "g.db"])
def test_nothing_is_loaded_that_crashes(tmp_path, gallery):
    if gallery:
        (tmp_path / gallery).write_bytes(b"x")
    program = PROGRAM.replace("GALLERY", repr(gallery and str(tmp_path / gallery)))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "heavy||"
    found = {name: (section, state) for section, name, state in (line.split("|") for line in lines)}
    assert found["numpy"] == ("software", "problem")
    assert found["onnxruntime"] == ("software", "note")
    assert found["models"] == ("software", "ok")
    assert found["worker"] == ("work", "problem")
    assert "1536x1536" not in found


@pytest.mark.parametrize(
    ("models", "state", "files"),
    [
        ({}, "warning", {"yunet", "sface"}),
        ({"profile": "classic"}, "problem", {"mmod", "resnet", "landmarks5"}),
        ({"detector": "mmod"}, "problem", {"mmod", "sface", "landmarks5"}),
        ({"recognizer": "resnet"}, "problem", {"yunet", "resnet", "landmarks5"}),
        ({"detector": "dlib-hog", "recognizer": "sface"}, "problem", {"dlib-hog", "sface", "landmarks5"}),
        ({"detector": "yunet:/x.onnx", "recognizer": "onnx:/y.onnx"}, "warning", {"yunet:/x.onnx", "onnx:/y.onnx"}),
        ({"detector": "dlib-cnn", "recognizer": "dlib-resnet"}, "problem", {"mmod", "resnet", "landmarks5"}),
    ],
)
def test_dlib_matters_to_the_models_that_need_it(models, state, files, monkeypatch):
    monkeypatch.setattr(doctor, "_of_work", lambda asked, troubles: [])
    asked = Asked(load=lambda module: Trouble("crashed", "(SIGILL)") if module == "dlib" else None, **models)
    assert by_name(examine(asked))["dlib-bin"].state == state
    assert doctor._models(asked) == files


def test_the_home_folder_is_shown_as_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_of_work", lambda asked, troubles: [])
    monkeypatch.setenv("PEEPHOLE_CACHE", str(tmp_path / "cache"))
    found = by_name(examine(Asked(load=lambda module: None, home=str(tmp_path))))
    assert found["cache"].summary.startswith("~/cache, ")
    assert found["cache"].facts["path"] == "~/cache"
    assert "PEEPHOLE_CACHE=~/cache" in found["settings"].summary
