"""The command with a worker against the command without one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from peephole.frame import read
from peephole.gallery import Gallery

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
    assert there["timings_ms"].keys() == here["timings_ms"].keys()
    assert there["peak_rss_mb"] == there["memory"]["measured_mb"] > 60


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
