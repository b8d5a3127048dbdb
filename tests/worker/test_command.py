"""The command with a worker against the command without one."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from children import png
from click.testing import CliRunner
from PIL import Image

from peephole.cli import main
from peephole.frame import read
from peephole.gallery import Gallery, Photo
from peephole.worker.host import WorkerHost
from peephole.worker.process import Process

PEEPHOLE = (sys.executable, "-m", "peephole")
CLASSIC = ("--profile", "classic", "--threads", "1")


def run(*arguments, worker=True, stdin=b"", status=0):
    environment = {name: value for name, value in os.environ.items() if name != "PEEPHOLE_IN_PROCESS"}
    command = [*PEEPHOLE, *map(str, arguments), *([] if worker else ["--in-process"])]
    done = subprocess.run(command, input=stdin, env=environment, capture_output=True)
    assert done.returncode == status, done.stderr.decode()
    return done


def results(done):
    """What the lines say, without what differs from run to run."""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for each in found:
        each.pop("timings_ms", None)
        each.pop("memory", None)
        each.get("plan", {}).pop("megabytes", None)
    return found


@pytest.fixture
def people(tmp_path, eileen_file, grace_file):
    for name, file in (("Eileen", eileen_file), ("Grace", grace_file)):
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "people" / name / f"1{file.suffix}").write_bytes(file.read_bytes())
    return tmp_path / "people"


def test_label_says_the_same(people, eileen_file, grace_file, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(grace_file.read_bytes()[:3000])
    (tmp_path / "big.bmp").write_bytes(b"BM" + bytes(8) + (54).to_bytes(4, "little"))
    images = [eileen_file, grace_file, tmp_path / "cut.jpg", tmp_path / "none.jpg", tmp_path / "big.bmp", "-"]
    arguments = ["label", "--jsonl", "--people", people, *CLASSIC, *images]
    stdin = eileen_file.read_bytes()
    there = results(run(*arguments, stdin=stdin, status=1))
    here = results(run(*arguments, worker=False, stdin=stdin, status=1))
    assert there == here
    assert [each["faces"][0]["name"] for each in (there[0], there[1], there[5])] == ["Eileen", "Grace", "Eileen"]
    assert [each["error"]["kind"] for each in there[2:5]] == ["corrupt", "not-found", "not-a-picture"]


def test_drawings_and_timings_are_those_of_the_frame(eileen_file, tmp_path):
    for worker in (True, False):
        folder = tmp_path / str(worker)
        more = ("--draw", folder, "--timings", tmp_path / f"{worker}.jsonl")
        run("detect", eileen_file, *CLASSIC, *more, worker=worker)
    np.testing.assert_array_equal(*(read(tmp_path / each / "astronaut.jpg").pixels for each in ("True", "False")))
    there, here = (json.loads((tmp_path / f"{each}.jsonl").read_text()) for each in ("True", "False"))
    assert there.keys() == here.keys()
    assert list(there["timings_ms"]) == list(here["timings_ms"]) == list(there["cpu_ms"])
    assert there["measured_mb"] > 60
    assert there["setup"] == here["setup"]
    assert there["frame"] == here["frame"] != ""
    assert there["run"] != here["run"]  # of the process that looked


def test_unknown_faces_are_remembered(eileen_file, tmp_path):
    photos = []
    Image.fromarray(read(eileen_file).pixels).save(tmp_path / "a.png")
    for worker in (True, False):
        path = tmp_path / f"{worker}.db"
        run("label", tmp_path / "a.png", *CLASSIC, "--gallery", path, "--remember", worker=worker)
        with Gallery.open(path) as gallery:
            photos.append(gallery.unknowns())
    ((there,), (here,)) = photos
    assert there.crop == here.crop
    np.testing.assert_array_equal(there.landmarks, here.landmarks)
    assert (there.box, there.sha256, there.quality, there.landmark_kind) == (
        here.box,
        here.sha256,
        here.quality,
        here.landmark_kind,
    )


def test_what_cannot_work_ends_the_run_as_it_does_without_a_worker(eileen_file):
    done = run("detect", eileen_file, "--detector", "yunet:/no/such.onnx", status=1)
    assert b"peephole: " in done.stderr
    assert b"no/such.onnx" in done.stderr
    assert b"Traceback" not in done.stderr
    assert run("detect", eileen_file, "--deadline", "0", status=2).stdout == b""


def test_a_frame_that_takes_too_long_is_one_row(eileen_file):
    done = run("detect", "--jsonl", eileen_file, *CLASSIC, "--upsample", "4", "--deadline", "0.2", status=1)
    (line,) = results(done)
    assert line["error"]["kind"] == "deadline"
    assert "longer than 0.2 s" in line["error"]["message"]


def test_enrolling_correcting_and_reembedding_leave_the_same_gallery(eileen_file, grace_file, tmp_path):
    def names(done):
        return [face["name"] for line in done.stdout.splitlines() for face in json.loads(line)["faces"]]

    kept, said = [], []
    for worker in (True, False):
        path = tmp_path / f"{worker}.db"
        steps = (
            ("enroll", "Eileen", eileen_file, grace_file.with_name("none.jpg"), "--gallery", path, *CLASSIC),
            ("enroll", "Grace", grace_file, "--gallery", path, *CLASSIC),
            ("not", "Grace", grace_file, "--gallery", path, *CLASSIC),
            ("why", eileen_file, "--json", "--gallery", path, *CLASSIC),
            ("gallery", "reembed", "--gallery", path),
            ("people", "report", "Eileen", "--json", "--sheet", tmp_path / f"{worker}.png", "--gallery", path),
            ("label", "--jsonl", eileen_file, grace_file, "--gallery", path),
        )
        done = [run(*step, worker=worker, status=int(index == 0)) for index, step in enumerate(steps)]
        assert names(done[-1]) == ["Eileen", "unknown"]
        assert json.loads(done[3].stdout)["faces"][0]["why"].startswith("Eileen: ")
        said.append([each.stdout for index, each in enumerate(done) if index not in (3, 6)])
        with Gallery.open(path) as gallery:
            photos = [*gallery.photos(), *gallery.rejections()]
            vectors = [gallery.known(model).embeddings for model in gallery.models()]
        kept.append(([[getattr(each, field.name) for field in fields(Photo)] for each in photos], vectors))
    np.testing.assert_equal(kept[0], kept[1])
    assert said[0] == said[1]
    assert b"none.jpg: refused: no such file" in said[0][0]
    assert len(kept[0][1]) == 2
    np.testing.assert_array_equal(*(read(tmp_path / f"{each}.png").pixels for each in ("True", "False")))


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Runs the command in this process, with workers that do as a picture's colour says."""
    command = (sys.executable, "-P", str(Path(__file__).with_name("children.py")))
    monkeypatch.delenv("PEEPHOLE_IN_PROCESS")
    monkeypatch.setenv("PEEPHOLE_GALLERY", str(tmp_path / "gallery.db"))
    monkeypatch.setitem(WorkerHost.__init__.__kwdefaults__, "command", command)  # those that come after the first
    monkeypatch.setattr(Process.__init__, "__defaults__", (command,))
    return lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])


def test_a_photo_that_kills_the_worker_is_refused_and_the_others_are_enrolled(told, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, what in (("a", "sees"), ("b", "crashes"), ("c", "sees")):
        png(tmp_path / "photos" / f"{name}.png", what, 64 + ord(name), 48)
    done = told("enroll", "Ann", tmp_path / "photos", "--force")
    first, second, third, summary = done.output.splitlines()
    assert first.startswith(f"{tmp_path}/photos/a.png: enrolled but weak")
    assert second.startswith(f"{tmp_path}/photos/b.png: refused: the worker crashed in native code")
    assert third.startswith(f"{tmp_path}/photos/c.png: enrolled but weak")
    assert (summary, done.exit_code) == ("Ann: 2 photos in all", 1)


def test_explaining_or_correcting_a_picture_that_kills_the_worker_is_one_line(told, tmp_path):
    good, bad = png(tmp_path / "a.png", "sees"), png(tmp_path / "b.png", "aborts")
    assert told("enroll", "Ann", good, "--force").exit_code == 0
    for arguments in (("why", bad), ("not", "Ann", bad)):
        done = told(*arguments)
        assert done.exit_code == 1
        (line,) = done.output.splitlines()
        assert line.startswith("peephole: ")
        assert str(bad) in line
        assert "crashed in native code" in line


def test_a_stored_crop_that_kills_the_worker_is_named(told, tmp_path, monkeypatch):
    for number in range(3):
        assert told("enroll", "Ann", png(tmp_path / f"{number}.png", "sees", 64 + number), "--force").exit_code == 0
    with Gallery.open(tmp_path / "gallery.db") as gallery:
        doomed = gallery.photos("Ann")[1]
    monkeypatch.setenv("DOOMED", str(doomed.id))
    done = told("gallery", "reembed", "--recognizer", "resnet")
    assert done.exit_code == 1
    assert f"the crop of photo {doomed.id} (1.png): the worker crashed in native code" in done.output
    monkeypatch.delenv("DOOMED")
    assert "3 faces embedded by resnet" in told("gallery", "reembed", "--recognizer", "resnet").output


def test_what_cannot_work_leaves_no_worker_behind(told, tmp_path):
    done = told("detect", png(tmp_path / "a.png", "sees"), "--max-side", "9", "--min-face", "40")
    assert done.exit_code == 2
    assert "both choose the scale" in done.output
    assert told("enroll", "a/b", tmp_path / "a.png").exit_code == 1
    gc.collect()  # a process or a socket that nobody has closed would say so now
