"""``peephole bench``: what it prints, writes and refuses, and its exit status."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from dataclasses import replace

import pytest
from click.testing import CliRunner
from PIL import Image

from looks import Fake, faces
from peephole.bench import Bench, Configuration, Look, Result
from peephole.cli import main
from peephole.cli_bench import table
from peephole.enrolment import photo_of
from peephole.errors import BudgetTooSmall, ModelDamaged, UsageError
from peephole.frame import read as read_frame
from peephole.gallery import Gallery
from peephole.models import store
from peephole.pipeline import Retry
from peephole.timings.read import read
from peephole.timings.record import Record
from sightings import MODEL, at, frame
from sightings import analysis as seen_by_circle

ANN, BOB = (10, 20, 0, 0.9), (100, 20, 90, 0.8)


def run(*arguments, status=0):
    done = CliRunner().invoke(main, ["bench", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (320, 240), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def box(monkeypatch, pictures):
    """Fakes in the workers' place: by detector, what each sees, and more that is special about it."""
    plain = {str(pictures / f"{number}.png"): faces(ANN, BOB) for number in range(3)}
    special, budgets = {}, []

    def in_worker(memory=None):
        budgets.append(memory)

        def opened(setup):
            of = {"seen": plain, "calls": [], **special.get((setup.detector, setup.runtime), {})}
            return Fake("circle", of.pop("seen"), of.pop("calls"), **of)

        return opened

    monkeypatch.setattr("peephole.bench.in_worker", in_worker)
    in_worker.special, in_worker.plain, in_worker.budgets = special, plain, budgets
    return in_worker


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("PEEPHOLE_GALLERY", str(tmp_path / "none.db"))


@pytest.fixture
def gallery(tmp_path):
    """Ann and Bob, by the model of the fakes."""
    path = tmp_path / "gallery.db"
    with Gallery.open(path) as opened:
        for name, angle in (("Ann", 0), ("Bob", 90)):
            face = seen_by_circle(angle).faces[0]
            opened.add_photo(name, photo_of(frame(angle), face), {MODEL: at(angle)[0]})
    return path


# All configurations


def test_a_row_for_each_the_fastest_first_and_what_failed_last(box, pictures, tmp_path):
    box.special["yunet", "openvino"] = {"start": UsageError("the runtime openvino is not installed")}
    box.special["mmod", "onnxruntime"] = {"milliseconds": 50.0}
    one = {**box.plain, str(pictures / "1.png"): BudgetTooSmall("too little", needed=1)}
    box.special["mmod", "openvino"] = {"milliseconds": 30.0, "seen": one}
    both = ("--runtime", "onnxruntime", "--runtime", "openvino")
    only = ("--recognizer", "sface", "--threads", 1, *both, "--repeat", 2, "--memory", "300MB")
    done = run(pictures, *only, "--json", tmp_path / "out.jsonl", status=1)
    header, *rows = (line.split() for line in done.stdout.splitlines())
    assert header[:6] == ["detector", "recognizer", "runtime", "threads", "scale", "ms"]
    assert [row[:5] for row in rows] == [
        ["yunet", "sface", "onnxruntime", "1", "native"],
        ["mmod", "sface", "openvino", "1", "native"],
        ["mmod", "sface", "onnxruntime", "1", "native"],
        ["yunet", "sface", "openvino", "1", "native"],
    ]
    assert 13 < float(rows[0][5]) < 14
    assert rows[0][-1] == "6"
    assert done.stdout.splitlines()[2].endswith("without 1.png: too little")
    assert done.stdout.splitlines()[4].endswith("not measured: the runtime openvino is not installed")
    assert box.budgets == ["300MB"]
    records = list(read(tmp_path / "out.jsonl"))
    assert [each.error for each in records].count(None) == 6 + 6 + 4
    assert sorted(each.error for each in records if each.error) == ["budget-too-small", "usage"]
    assert [each.time for each in records] == sorted(each.time for each in records)


def test_a_picture_that_is_none_has_its_line_and_the_others_go_on(box, pictures):
    (pictures / "bad.png").write_bytes(b"nothing of the kind")
    done = run(pictures, "--detector", "yunet", "--recognizer", "sface", "--runtime", "onnxruntime", status=1)
    assert "bad.png: not a picture" in done.stderr
    assert done.stdout.splitlines()[1].startswith("yunet")


def test_scales_are_named_in_pixels_and_by_how_much_they_are_enlarged(box, pictures):
    scales = ("--max-side", "native", "--max-side", 200, "--upsample", 1)
    one = ("--detector", "yunet", "--recognizer", "sface", "--runtime", "onnxruntime", "--threads", 1)
    done = run(pictures, *one, *scales)
    assert sorted(row.split("1  ")[1][:9].strip() for row in done.stdout.splitlines()[1:]) == ["200 x2", "native x2"]


def test_a_row_says_what_was_killed_and_what_was_coarsened():
    seen = Fake("circle", {"1.jpg": faces(ANN)}, []).analyse("", name="1.jpg")
    looks = (Look("1.jpg", 0, Record.of(seen)),)
    coarse = replace(seen, plan=replace(seen.plan, coarsened_from=40.0))
    killed = replace(seen, retried=Retry("killed-for-memory", 10**8))
    results = [Result(Configuration("yunet", "sface"), looks, (("1.jpg", each),)) for each in (seen, coarse, killed)]
    _, plain, second, third = table(Bench(tuple(results), 1))
    assert plain.endswith(" 1")
    assert second.endswith("more coarsely than asked for: the budget is small")
    assert third.endswith("killed for memory, then within less")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--sheet", "x.png"], "--sheet goes with --models"),
        (["--report", "x.json"], "--report goes with --models"),
        (["--people", "x"], "--people goes with --models"),
        (["--no-names"], "--no-names goes with --models"),
        (["--max-side", "0"], "neither native nor a number"),
        (["--models", "yunet", "mmod", "--tolerate", "some"], "is no share"),
        (["--models", "yunet", "mmod", "--tolerate", "-1"], "is no share"),
        (["--models", "yunet", "yunet"], "both are yunet"),
        (["--models", "yunet", "resnet"], "two of a kind"),
        (["--models", "yunet", "mmod", "--threads", "1", "--threads", "2"], "the same threads"),
        (["--models", "yunet", "mmod", "--max-side", "100", "--max-side", "200"], "the same scales"),
        (["--models", "yunet", "mmod", "--people", "x", "--no-names"], "give one of them"),
        (["--memory", "little"], "is not a size"),
        (["--json", "/nowhere/x.jsonl"], "cannot be written"),
        (["--models", "yunet", "mmod", "--sheet", "x.nothing"], "x.nothing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_measured(pictures, arguments, reason, nobody, monkeypatch):
    monkeypatch.chdir(pictures)
    monkeypatch.setattr("peephole.bench.measure", None)
    assert reason in run(pictures, *arguments, status=2).stderr
    assert sorted(each.name for each in pictures.iterdir()) == ["0.png", "1.png", "2.png"]


def test_no_picture_is_an_error(tmp_path):
    assert "no picture" in run(tmp_path, status=1).stderr


# Two models


def test_the_same_decisions_at_the_same_speed_may_be_bumped(box, pictures, nobody):
    done = run("--models", "yunet", "mmod", pictures)
    assert "nobody is enrolled, so names are not compared" in done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("mmod takes the same time as far as can be told (")
    assert last.endswith("takes as much memory, loses no face.")


def test_a_lost_face_is_told_drawn_reported_and_an_exit_status(box, pictures, gallery, tmp_path):
    box.special["mmod", "onnxruntime"] = {"seen": {**box.plain, str(pictures / "1.png"): faces(ANN)}}
    sheet, report = tmp_path / "changed.png", tmp_path / "report.json"
    files = ("--sheet", sheet, "--report", report, "--json", tmp_path / "all.jsonl")
    done = run("--models", "yunet", "mmod", pictures, "--gallery", gallery, *files, status=1)
    assert f"{pictures / '1.png'}: lost Bob, confidence 0.80" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].endswith("loses 1 of 6 faces, changes no name.")
    with Image.open(sheet) as drawn:
        assert drawn.height > 256
    told = json.loads(report.read_text())
    assert (told["good"], told["lost"], told["names_compared"]) == (False, 1, True)
    assert told["sentence"] == done.stdout.splitlines()[-1]
    assert len(list(read(tmp_path / "all.jsonl"))) == 2 * 60


def test_a_slower_model_fails_beyond_what_is_tolerated(box, pictures, nobody):
    box.special["mmod", "onnxruntime"] = {"milliseconds": 13.0}
    assert " % slower (" in run("--models", "yunet", "mmod", pictures, status=1).stdout
    run("--models", "yunet", "mmod", pictures, "--tolerate", "50%")
    run("--models", "yunet", "mmod", pictures, "--tolerate", "0.5")


def test_a_model_that_cannot_be_used_is_named(box, pictures, nobody):
    box.special["mmod", "onnxruntime"] = {"start": ModelDamaged("its bytes are not what they should be")}
    done = run("--models", "yunet", "mmod", pictures, status=1)
    assert "its bytes are not what they should be" in done.stderr
    assert done.stdout == ""


def test_a_gallery_without_the_new_models_vectors_says_how_to_make_them(box, pictures, tmp_path):
    path = tmp_path / "gallery.db"
    with Gallery.open(path) as opened:
        opened.add_photo("Ann", photo_of(frame(), seen_by_circle(0).faces[0]), {"cd" * 32: at(0)[0]})
    done = run("--models", "sface", "resnet", pictures, "--gallery", path, status=1)
    assert "peephole gallery reembed" in done.stderr
    assert "--no-names" in done.stderr
    run("--models", "sface", "resnet", pictures, "--no-names")


def test_an_empty_gallery_that_was_asked_for_is_an_error(box, pictures, tmp_path):
    Gallery.open(tmp_path / "empty.db").close()
    assert (
        "nobody is enrolled"
        in run("--models", "yunet", "mmod", pictures, "--gallery", tmp_path / "empty.db", status=1).stderr
    )
    missing = run("--models", "yunet", "mmod", pictures, "--gallery", tmp_path / "gone.db", status=1)
    assert "gone.db" in missing.stderr


# With real models in real processes


@pytest.fixture(scope="module")
def family(tmp_path_factory, eileen_file, grace_file):
    """A folder of people, and pictures with two faces of theirs, one picture cut off."""
    root = tmp_path_factory.mktemp("family")
    for name, file in (("Eileen", eileen_file), ("Grace", grace_file)):
        folder = root / "people" / name
        folder.mkdir(parents=True)
        Image.fromarray(read_frame(file).pixels).save(folder / "1.jpg", quality=95)
    folder = root / "pictures"
    folder.mkdir()
    for number, file in enumerate((eileen_file, grace_file)):
        Image.fromarray(read_frame(file).pixels).resize((320, 320)).save(folder / f"{number}.jpg")
    whole = (folder / "0.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return root


@pytest.mark.slow
def test_a_copy_of_the_model_decides_the_same_and_another_recognizer_knows_the_same_people(family, tmp_path):
    copy = tmp_path / "copy.onnx"
    shutil.copy(store.locate(store.YUNET), copy)
    people = ("--people", family / "people", "--tolerate", "1000%", "--repeat", 10)
    done = run("--models", "yunet", f"yunet:{copy}", family / "pictures", *people, status=1)  # for the cut picture
    assert "cut.jpg: cut off or damaged" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("yunet:copy.onnx ")
    assert lines[-1].endswith("loses no face, changes no name.")
    (named,) = (line.split() for line in lines if line.startswith("faces named"))
    assert named == ["faces", "named", "2", "2", "0", "renamed"]
    (moved,) = (line for line in lines if line.startswith("score moved"))
    assert moved.endswith("median +0.000, largest +0.000, 2 faces")
    other = run("--models", "sface", "resnet", family / "pictures", *people, status=1)
    assert other.stdout.splitlines()[-1].endswith("loses no face, changes no name.")
    assert "score moved" not in other.stdout  # cosines and distances


@pytest.mark.slow
def test_a_broken_file_is_a_clear_error(family, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    done = run("--models", "yunet", f"yunet:{broken}", family / "pictures", "--no-names", status=1)
    assert "broken.onnx" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_interrupt_prints_what_there_is_and_writes_it_down(family, tmp_path):
    out, terminal = tmp_path / "out.jsonl", pty.openpty()
    options = [
        "--recognizer",
        "sface",
        "--runtime",
        "onnxruntime",
        "--threads",
        "1",
        "--repeat",
        "100000",
        "--time-budget",
        "60",
    ]
    command = [sys.executable, "-m", "peephole", "bench", str(family / "pictures" / "0.jpg"), *options]
    termios.tcsetwinsize(terminal[0], (25, 100))
    process = subprocess.Popen([*command, "--json", str(out)], stdout=subprocess.PIPE, stderr=terminal[1], text=True)
    os.close(terminal[1])
    try:
        said = ""
        while not (bar := re.search(r" (\d+)/200002", said[-300:])) or int(bar[1]) < 12:
            said += os.read(terminal[0], 10_000).decode()
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        said += os.read(terminal[0], 100_000).decode()
    finally:
        process.kill()
        process.wait()
        os.close(terminal[0])
    assert "configurations, 1 picture, 100000 rounds" in said
    assert process.returncode == 1, said
    assert "interrupted after" in said
    assert "Traceback" not in said
    rows = printed.splitlines()[1:]
    assert {row.split()[0] for row in rows} == {"yunet", "mmod"}
    assert "not measured" not in printed
    assert {each.detector for each in read(out)} == {"yunet", "mmod"}
