"""The command line's contract: what it prints, where, and the status it exits with."""

import io
import json
import os
import pty
import re
import resource
import shutil
import struct
import subprocess
import sys
import termios
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from peephole import __version__
from peephole.cli import main
from peephole.detectors import DETECTORS
from peephole.pipeline import DEFAULT_PROFILE, PROFILES
from peephole.recognizers import RECOGNIZERS
from peephole.timings.read import read as read_timings

PEEPHOLE = [sys.executable, "-m", "peephole"]
STAGES = [
    "decode",
    "plan",
    "detect",
    "detect.resize",
    "detect.head",
    "detect.tail",
    "map",
    "detect.suppress",
    "detect.upright",
]
KEYS = ["image", "width", "height", "faces", "plan", "memory", "timings_ms", "models"]
PLAN_KEYS = [
    *("detector", "frame", "reduction", "shrunk", "base", "levels", "purposes", "passes", "grain", "strip_rows"),
    *("smallest_face", "gflop", "megabytes"),
]
MEMORY_KEYS = ["budget_mb", "predicted_mb", "measured_mb"]
BOX_KEYS = ["left", "top", "right", "bottom", "confidence"]


def peephole(*arguments, status=0, stdin: bytes = b"", cwd=None) -> tuple[str, str]:
    """Run the real program; its stdout and stderr."""
    command = [*PEEPHOLE, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, check=False)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    assert done.returncode == status, err
    return out, err


def jsonl(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def inside(*arguments, stdin: bytes = b""):
    """Run the command in this process."""
    return CliRunner().invoke(main, [*map(str, arguments)], input=stdin)


def plain(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    """A small picture that shows nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)
    return path


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))


@pytest.fixture(scope="module")
def eileen_crop(tmp_path_factory, eileen) -> Path:
    """256x256, one face at about (68, 69, 164, 165): quicker than the whole portrait."""
    path = tmp_path_factory.mktemp("crops") / "eileen.png"
    Image.fromarray(eileen.pixels).crop((100, 0, 356, 256)).save(path)
    return path


@pytest.fixture(scope="module")
def grace_crop(tmp_path_factory, grace) -> Path:
    """256x250, one face at about (44, 45, 212, 211)."""
    path = tmp_path_factory.mktemp("crops") / "grace.png"
    Image.fromarray(grace.pixels).crop((147, 100, 403, 350)).save(path)
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory, eileen_crop, grace_crop) -> Path:
    folder = tmp_path_factory.mktemp("people")
    copy(eileen_crop, folder / "Eileen" / "1.png")
    copy(grace_crop, folder / "Grace" / "1.png")
    return folder


# Results


def test_detect_table(eileen_crop, grace_crop):
    out, err = peephole("detect", eileen_crop, grace_crop)
    head, *rows = [line.split() for line in out.splitlines()]
    assert head == ["image", "frame", "left", "top", "right", "bottom", "confidence", "ms"]
    assert [row[:2] for row in rows] == [[str(eileen_crop), "256x256"], [str(grace_crop), "256x250"]]
    assert all(len(row) == 8 for row in rows)
    assert np.abs(np.array(rows[0][2:6], int) - (68, 69, 164, 165)).max() <= 20  # boxes come in steps of 6/5
    assert err == ""


def test_columns_are_aligned(tmp_path, eileen_crop):
    plain(tmp_path / "a-rather-long-name.png")
    copy(eileen_crop, tmp_path / "e.png")
    head, first, second = inside("detect", tmp_path / "a-rather-long-name.png", tmp_path / "e.png").stdout.splitlines()
    assert first.split()[-3:-1] == ["nobody", "there"]
    assert first.split()[-1].isdecimal()
    assert head.index("frame") == first.index("64x48") == second.index("256x256")
    assert len(head) == len(first) == len(second)
    assert head.endswith(" ms")


def test_detect_jsonl(eileen_crop):
    (line,) = jsonl(peephole("detect", "--jsonl", eileen_crop)[0])
    assert list(line) == KEYS
    assert (line["image"], line["width"], line["height"]) == (str(eileen_crop), 256, 256)
    (face,) = line["faces"]
    assert list(face) == [*BOX_KEYS, "landmarks"]
    assert all(type(face[key]) is float for key in BOX_KEYS)
    assert np.shape(face["landmarks"]) == (5, 2)
    assert list(line["plan"]) == PLAN_KEYS
    assert list(line["memory"]) == MEMORY_KEYS
    assert 20 < line["memory"]["predicted_mb"] < line["memory"]["budget_mb"]
    assert 20 < line["memory"]["measured_mb"] <= line["memory"]["predicted_mb"] * 1.05
    assert list(line["timings_ms"]) == STAGES
    assert all(value >= 0 for value in line["timings_ms"].values())
    assert set(line["models"]) == {"yunet", "yunet-stem", "yunet-neck", "yunet-head"}
    assert all(len(digest) == 64 for digest in line["models"].values())


def test_dlibs_detector_finds_boxes_alone(eileen_crop):
    (line,) = jsonl(inside("detect", "--jsonl", "--profile", "classic", eileen_crop).stdout)
    (face,) = line["faces"]
    assert list(face) == BOX_KEYS
    assert line["plan"]["detector"] == "mmod"
    assert "mmod" in line["models"]


def test_a_model_that_is_named_goes_before_the_profile(eileen_crop):
    (line,) = jsonl(inside("embed", "--jsonl", "--profile", "classic", "--detector", "yunet", eileen_crop).stdout)
    assert {"yunet", "resnet"} <= set(line["models"])
    assert "mmod" not in line["models"]
    (line,) = jsonl(inside("embed", "--jsonl", "--recognizer", "resnet", eileen_crop).stdout)
    assert {"yunet", "resnet"} <= set(line["models"])
    assert "sface" not in line["models"]


@pytest.mark.parametrize("command", [["detect", "a.jpg"], ["plan", "--size", "640x480"], ["label", "a.jpg"]])
def test_a_profile_that_does_not_exist(command):
    result = inside(*command, "--profile", "dlib")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'dlib' is not one of 'modern', 'classic'" in result.stderr


def test_embed_table(eileen_crop):
    head, row = peephole("embed", eileen_crop)[0].splitlines()
    assert "vector" in head
    assert row.count("...") == 1


def test_embed_jsonl(eileen_crop):
    (line,) = jsonl(peephole("embed", "--jsonl", eileen_crop)[0])
    (face,) = line["faces"]
    assert list(face) == [*BOX_KEYS, "landmarks", "embedding", "quality"]
    assert np.shape(face["landmarks"]) == (5, 2)
    assert np.shape(face["embedding"]) == (128,)
    assert list(line["timings_ms"]) == [*STAGES, "align", "embed"]


def test_label_table(people, eileen_crop, grace_crop):
    out, err = peephole("label", "--people", people, eileen_crop, grace_crop)
    head, *rows = [line.split() for line in out.splitlines()]
    assert head[7:] == ["name", "score", "margin", "decided", "ms"]
    assert [row[7] for row in rows] == ["Eileen", "Grace"]
    assert [(row[8], row[10]) for row in rows] == [("1.000", "named")] * 2
    assert err == ""


@pytest.mark.parametrize("profile", ["modern", "classic"])
def test_label_jsonl(people, eileen_crop, profile):
    (line,) = jsonl(peephole("label", "--jsonl", "--profile", profile, "--people", people, eileen_crop)[0])
    (face,) = line["faces"]
    decision = ["name", "score", "distance", "margin", "nearest", "runner_up", "false_alarm", "decided"]
    assert list(face) == [*BOX_KEYS, "landmarks", "embedding", *decision, "quality"]
    assert list(face["quality"])[:3] == ["size", "sharpness", "yaw"]
    assert face["name"] == "Eileen"
    assert face["score"] == pytest.approx(1, abs=1e-5)
    assert face["margin"] > 0.5
    assert (face["nearest"], face["runner_up"], face["decided"]) == ("Eileen", "Grace", "named")
    assert face["false_alarm"] < 1e-6
    assert list(line["timings_ms"])[-1] == "match"


def test_label_knows_a_stranger(tmp_path, grace_crop, eileen_crop):
    copy(grace_crop, tmp_path / "Grace" / "1.jpg")
    (line,) = jsonl(inside("label", "--jsonl", "--people", tmp_path, eileen_crop).stdout)
    (face,) = line["faces"]
    assert (face["name"], face["margin"]) == ("unknown", None)
    assert face["score"] == pytest.approx(1 - face["distance"])
    (line,) = jsonl(inside("label", "--jsonl", "--people", tmp_path, "--threshold", 0, eileen_crop).stdout)
    assert line["faces"][0]["name"] == "Grace"


@pytest.mark.parametrize(("profile", "twice_the_smallest"), [("modern", 40), ("classic", 160)])
def test_scale_options_are_used(eileen_crop, profile, twice_the_smallest):
    look = ["detect", "--jsonl", "--profile", profile, eileen_crop]
    (line,) = jsonl(inside(*look, "--max-side", 128, "--upsample", 1).stdout)
    assert (line["plan"]["shrunk"], line["plan"]["base"]) == ([128, 128], [256, 256])
    (line,) = jsonl(inside(*look, "--min-face", twice_the_smallest).stdout)
    assert line["plan"]["base"] == [128, 128]


def test_min_confidence_leaves_faces_out(eileen_crop):
    (line,) = jsonl(inside("detect", "--jsonl", "--min-confidence", 5, "--threads", 1, eileen_crop).stdout)
    assert line["faces"] == []


# Which images, in which order


def test_results_come_in_the_order_given(tmp_path):
    files = [plain(tmp_path / name) for name in ("c.png", "a.png", "b.png", "a.jpg")]
    files.append(files[0])
    lines = jsonl(inside("detect", "--jsonl", *files).stdout)
    assert [line["image"] for line in lines] == [str(file) for file in files]


def test_stdin_is_a_dash(tmp_path, eileen_crop):
    out, _ = peephole("detect", "--jsonl", plain(tmp_path / "a.png"), "-", stdin=eileen_crop.read_bytes())
    first, second = jsonl(out)
    assert (second["image"], second["width"], len(second["faces"])) == ("-", 256, 1)
    assert first["image"] == str(tmp_path / "a.png")


def test_empty_stdin():
    (line,) = jsonl(peephole("detect", "--jsonl", "-", status=1)[0])
    assert line == {"image": "-", "error": {"kind": "empty", "message": "the file is empty (0 bytes)"}}


def test_closed_stdin_is_a_failed_frame(tmp_path):
    script = '"$@" <&-'
    command = ["sh", "-c", script, "sh", *PEEPHOLE, "detect", "--jsonl", "-", str(plain(tmp_path / "a.png"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    first, second = jsonl(done.stdout)
    assert first["error"]["kind"] in {"unreadable", "empty"}
    assert second["faces"] == []


def test_folder_stands_for_its_pictures_sorted(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.png", "sub/a.webp"):
        plain(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    (tmp_path / "in" / ".hidden.png").write_text("not looked at")
    last = plain(tmp_path / "0.png")
    lines = jsonl(inside("detect", "--jsonl", tmp_path / "in", last).stdout)
    names = ["in/a.jpg", "in/b.png", "in/sub/a.webp", "in/sub/c.png", "0.png"]
    assert [line["image"] for line in lines] == [str(tmp_path / name) for name in names]


def test_what_of_a_folder_is_not_looked_at_is_said_once(tmp_path):
    for name in ("a.jfif", "@eaDir/a.jpg", "sub/@eaDir/b.jpg", "train/c.jpg"):
        plain(tmp_path / name) if name != "a.jfif" else plain(tmp_path / "a.jpg").rename(tmp_path / name)
    (tmp_path / "IMG_0001.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    done = inside("detect", "--jsonl", tmp_path)
    assert done.exit_code == 1
    heic, jfif = jsonl(done.stdout)
    assert (heic["image"], heic["error"]["kind"]) == (str(tmp_path / "IMG_0001.HEIC"), "not-supported")
    assert "HEIC" in heic["error"]["message"]
    assert (jfif["image"], jfif["faces"]) == (str(tmp_path / "a.jfif"), [])
    (said,) = done.stderr.splitlines()
    assert all(said.count(name) == 1 for name in ("@eaDir", "train"))


def test_relative_names_stay_relative(tmp_path):
    plain(tmp_path / "in" / "a.png")
    (line,) = jsonl(peephole("detect", "--jsonl", "in", cwd=tmp_path)[0])
    assert line["image"] == "in/a.png"


def test_empty_name_is_not_the_current_folder(tmp_path):
    plain(tmp_path / "a.png")
    (line,) = jsonl(peephole("detect", "--jsonl", "", cwd=tmp_path, status=1)[0])
    assert "error" in line


def test_name_that_is_not_unicode(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    shutil.copyfile(plain(tmp_path / "a.png"), name)
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as in every UTF-8 locale but C.UTF-8
    for options in ([], ["--jsonl"]):
        command = [*PEEPHOLE, "detect", *options, name]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
@pytest.mark.parametrize("name", [b"\xff.png", "é文.png".encode()])
def test_name_that_stdout_cannot_take(tmp_path, encoding, name):
    path = os.fsencode(tmp_path) + b"/" + name
    shutil.copyfile(plain(tmp_path / "a.png"), path)
    environment = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUTF8": "1"}
    done = subprocess.run([*PEEPHOLE, "detect", path], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"nobody there" in done.stdout


def test_name_with_a_line_end_stays_on_its_line(tmp_path):
    out, _ = peephole("detect", plain(tmp_path / "a\nb\x1b[2J.png"))
    assert out.count("\n") == 2
    assert r"a\nb\x1b[2J.png  64x48" in out


# Bad input


@pytest.fixture
def nobody_can_list(tmp_path, monkeypatch) -> Path:
    """A folder that cannot be listed, also where the tests run as root."""
    folder = tmp_path / "in" / "locked"
    folder.mkdir(parents=True)
    listing = os.scandir

    def scandir(path="."):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return folder


def test_folder_that_cannot_be_listed_is_a_failed_frame(tmp_path, nobody_can_list):
    plain(tmp_path / "in" / "a.png")
    result = inside("detect", "--jsonl", nobody_can_list, tmp_path / "in")
    locked, good, again = jsonl(result.stdout)
    assert locked["image"] == again["image"] == str(nobody_can_list)
    reason = {"kind": "unreadable", "message": "the folder cannot be listed: Permission denied"}
    assert locked["error"] == again["error"] == reason
    assert good["faces"] == []
    assert result.exit_code == 1


def test_file_that_cannot_be_looked_at_is_a_failed_frame(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to("/proc/self/mem/a.png")
    (tmp_path / "in" / "b.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "c.png")
    out, _ = peephole("detect", "--jsonl", tmp_path / "in", status=1)
    assert [line["error"]["kind"] for line in jsonl(out)] == ["unreadable", "not-found"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
@pytest.mark.parametrize(("profile", "limit"), [("modern", 768 << 20), ("classic", 1 << 30)])
def test_frame_without_enough_memory_does_not_stop_the_run(tmp_path, profile, limit):
    files = [plain(tmp_path / "a.png", (11_000, 11_000)), tmp_path / "b.png"]
    files[1].hardlink_to(files[0])
    files.append(plain(tmp_path / "small.png"))
    done = subprocess.run(
        [*PEEPHOLE, "detect", "--jsonl", "--profile", profile, "--threads", "1", "--memory", "20GiB", *map(str, files)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # each takes room of its own
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    *failed, good = jsonl(done.stdout)
    assert [line["image"] for line in failed] == [str(file) for file in files[:2]]
    assert [line["error"]["kind"] for line in failed] == ["out-of-memory"] * 2
    assert all("not enough memory" in line["error"]["message"] for line in failed)
    assert good["faces"] == []
    assert done.returncode == 1


def claims(width: int, height: int) -> bytes:
    """A small PNG whose header claims that size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


BAD = {
    "missing.jpg": ("not-found", "no such file"),
    "empty.jpg": ("empty", "0 bytes"),
    "text.jpg": ("not-a-picture", "not a picture"),
    "half.jpg": ("corrupt", "cut off or damaged"),
    "bomb.png": ("too-large", "3600000000 pixels"),
    "large.png": ("too-large", "13000x13000"),
    "folder": ("not-found", "no picture in this folder"),
    "animation.gif": ("not-supported", "GIF"),
    "unreadable.jpg": ("unreadable", "Input/output error"),
    "a" * 300: ("unreadable", "File name too long"),
}
TOO_LONG = "a" * 300
GOOD = {"one.png": (1, 1), "wide.png": (30000, 2), "good.png": (64, 48)}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, grace_file) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("Hello, world")
    photo = grace_file.read_bytes()
    (folder / "half.jpg").write_bytes(photo[: len(photo) // 2])
    (folder / "bomb.png").write_bytes(claims(60000, 60000))
    (folder / "large.png").write_bytes(claims(13000, 13000))
    (folder / "folder").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "animation.gif")
    (folder / "unreadable.jpg").symlink_to("/proc/self/mem")
    for name, size in GOOD.items():
        plain(folder / name, size)
    return folder


@pytest.fixture(scope="module")
def hostile_run(hostile) -> tuple[list[str], list[dict], str]:
    names = [name for name in [*BAD, *GOOD] if name != TOO_LONG]
    out, err = peephole("detect", "--jsonl", *names, cwd=hostile, status=1)
    return names, jsonl(out), err


def test_a_bad_file_never_stops_the_run(hostile_run):
    names, lines, err = hostile_run
    assert [line["image"] for line in lines] == names
    assert err == ""


@pytest.mark.parametrize("name", [name for name in BAD if name != TOO_LONG])
def test_bad_file_is_named_with_its_reason(hostile_run, name):
    kind, words = BAD[name]
    line = hostile_run[1][hostile_run[0].index(name)]
    assert list(line) == ["image", "error"]
    assert list(line["error"]) == ["kind", "message"]
    assert line["error"]["kind"] == kind
    assert words in line["error"]["message"]


@pytest.mark.parametrize("name", GOOD)
def test_odd_sizes_are_fine(hostile_run, name):
    line = hostile_run[1][hostile_run[0].index(name)]
    assert (line["width"], line["height"]) == GOOD[name]
    assert line["faces"] == []


def test_name_too_long_is_a_failed_frame(hostile):
    bad, good = jsonl(peephole("detect", "--jsonl", TOO_LONG, "good.png", cwd=hostile, status=1)[0])
    assert bad["image"] == TOO_LONG
    assert bad["error"]["kind"] == "unreadable"
    assert good["faces"] == []


def test_nul_byte_in_a_name(hostile):
    result = inside("detect", "--jsonl", "a\0b.jpg", hostile / "good.png")
    bad, good = jsonl(result.stdout)
    assert bad["error"] == {"kind": "unreadable", "message": "cannot be read: embedded null byte"}
    assert good["faces"] == []
    assert result.exit_code == 1


def test_bad_file_in_the_table(hostile):
    out, _ = peephole("detect", "missing.jpg", "good.png", cwd=hostile, status=1)
    _, bad, good = out.splitlines()
    assert bad.startswith("missing.jpg")
    assert bad.endswith("could not look: no such file")
    assert good.startswith("good.png ")
    assert good.split()[-3:-1] == ["nobody", "there"]
    assert good.split()[-1].isdecimal()


def test_all_failed_is_status_1(hostile):
    assert inside("detect", hostile / "missing.jpg").exit_code == 1


# Options


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["detect"], "Missing argument"),
        (["detect", "--nope", "a.jpg"], "No such option"),
        (["detect", "--max-side", "0", "a.jpg"], "--max-side"),
        (["detect", "--max-side", "wide", "a.jpg"], "--max-side"),
        (["detect", "--upsample", "5", "a.jpg"], "--upsample"),
        (["detect", "--upsample", "-1", "a.jpg"], "--upsample"),
        (["detect", "--min-face", "0", "a.jpg"], "--min-face must be a positive number"),
        (["detect", "--min-face", "nan", "a.jpg"], "--min-face must be a positive number"),
        (["detect", "--min-face", "inf", "a.jpg"], "--min-face must be a positive number"),
        (["detect", "--max-side", "720", "--min-face", "40", "a.jpg"], "give one of them"),
        (["detect", "--detector", "haar", "a.jpg"], "--detector"),
        (["detect", "--threads", "0", "a.jpg"], "--threads"),
        (["detect", "--min-confidence", "high", "a.jpg"], "--min-confidence"),
        (["detect", "--min-confidence", "nan", "a.jpg"], "--min-confidence must be a number"),
        (["detect", "--draw", "/dev/null", "a.jpg"], "/dev/null"),
        (["detect", "--draw", "/dev/null/folder", "a.jpg"], "/dev/null/folder cannot be made: Not a directory"),
        (["detect", "--timings", "/dev/null/log", "a.jpg"], "log /dev/null/log cannot be written: Not a directory"),
        (["embed", "--recognizer", "arc", "a.jpg"], "--recognizer"),
        (["detect", "--recognizer", "resnet", "a.jpg"], "No such option"),
        (["label", "--people", "people", "--gallery", "gallery.db", "a.jpg"], "leave out --gallery"),
        (["label", "--people", "people", "--threshold", "-1", "a.jpg"], "--threshold"),
        (["label", "--people", "people", "--threshold", "nan", "a.jpg"], "--threshold must be a distance"),
        (["plan"], "--size"),
        (["plan", "--size", "1536"], "WIDTHxHEIGHT in pixels, as 1536x1536, not '1536'"),
        (["plan", "--size", "1536x-1"], "WIDTHxHEIGHT"),
        (["plan", "--size", "0x100"], "a frame of 0x100 has no pixels"),
        (["plan", "--size", "9x9", "--max-side", "720", "--min-face", "40"], "give one of them"),
        (["recognise"], "No such command"),
    ],
)
def test_command_line_that_cannot_work(arguments, words):
    result = inside(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.stdout == ""


def test_error_is_one_line_on_stderr(eileen_crop):
    out, err = peephole("detect", "--max-side", 720, "--min-face", 40, eileen_crop, status=2)
    assert out == ""
    assert err == "peephole: --max-side and --min-face both choose the scale: give one of them\n"


@pytest.mark.parametrize("command", [[], ["detect"], ["embed"], ["label"], ["plan"], ["demo"], ["selftest"]])
def test_help(command):
    assert "Usage: " in inside(*command, "--help").stdout
    assert inside(*command, "-h").exit_code == 0


def test_version():
    assert peephole("--version")[0] == f"peephole, version {__version__}\n"


def test_the_options_name_the_profiles_and_models_that_there_are():
    (profile,) = (each for each in main.commands["detect"].params if each.name == "profile")
    assert (list(profile.type.choices), profile.default) == (list(PROFILES), DEFAULT_PROFILE)
    assert all(models[0] in DETECTORS and models[1] in RECOGNIZERS for models in PROFILES.values())
    for name in ("calibrate", "name"):
        (recognizer,) = (each for each in main.commands[name].params if each.name == "recognizer")
        assert recognizer.default == PROFILES[DEFAULT_PROFILE][1]


# plan


def test_plan():
    out, _ = peephole("plan", "--profile", "classic", "--size", "1536x1536", "--max-side", 720, "--upsample", 1)
    facts = dict(line.split(maxsplit=1) for line in out.splitlines()[:2])
    assert facts == {"detector": "mmod", "frame": "1536x1536"}
    assert "looked at as   1440x1440 (0.9375 of native), from 720x720" in out
    assert "smallest face  85.3 native px" in out
    assert "    0    1440x1440   0.9375                   85.3" in out


def test_plan_of_the_default_detector():
    out, _ = peephole("plan", "--size", "1536x1536", "--max-side", 720, "--upsample", 1)
    assert out.startswith("detector       yunet\n")
    assert "looked at as   1440x1440 (0.9375 of native), from 720x720" in out
    assert "smallest face  21.3 native px" in out
    assert "    2      360x360   0.2344                   85.3  larger faces\n" in out
    assert "    1      720x720   0.4688                   42.7  faces that grain hides: only if above" in out


def test_plan_for_a_grain():
    clean, grainy = (peephole("plan", "--size", "1536x1536", "--grain", grain)[0] for grain in (0.01, 0.04))
    assert "0.0100 of full scale" in clean
    assert "768x768" not in clean
    assert "    1      768x768   0.5000                   40.0  faces that grain hides; smoothed 2 times\n" in grainy
    plan = json.loads(peephole("plan", "--json", "--size", "1536x1536", "--grain", 0.04)[0])
    assert plan["levels"] == [[1536, 1536], [768, 768], [384, 384]]
    assert plan["purposes"] == ["detail", "grain", "large-faces"]
    assert plan["passes"] == [1, 2, 1]
    assert plan["grain"] == 0.04
    peephole("plan", "--size", "1536x1536", "--grain", 1.5, status=2)


def test_plan_json():
    look = ["--size", "1536X1536", "--max-side", 720, "--upsample", 1]
    out, _ = peephole("plan", "--json", "--detector", "mmod", *look)
    plan = json.loads(out)
    assert list(plan) == PLAN_KEYS
    assert (plan["frame"], plan["shrunk"], plan["base"]) == ([1536, 1536], [720, 720], [1440, 1440])
    assert plan["levels"][:2] == [[1440, 1440], [1200, 1200]]
    assert plan["smallest_face"] == 85.33
    assert plan["reduction"] == 1
    assert plan["strip_rows"] > 1
    assert "coarsened_from" not in plan


@pytest.mark.parametrize(("profile", "finest"), [("modern", "20.0"), ("classic", "80.0")])
def test_plan_within_a_budget(profile, finest):
    look = ["--profile", profile, "--size", "12000x9000", "--max-face", 2000]
    out, _ = peephole("plan", *look, "--memory", "256MiB")
    assert "frame          12000x9000, decoded at 1/" in out
    assert f"native px (coarsened from {finest}: the budget is small)" in out
    assert profile == "modern" or " saved by --max-face" in out  # YuNet's few levels are all of use for it
    assert "budget         256 MiB: 256 MiB as asked for (--memory)" in out
    taken, own = re.search(r"memory         (\d+) MiB, (\d+) of them the program's own", out).groups()
    assert 20 < int(own) < int(taken) <= 256


@pytest.mark.parametrize(("profile", "finest"), [("modern", "20.0"), ("classic", "80.0")])
def test_plan_that_no_budget_can_hold(profile, finest):
    plan = ["plan", "--profile", profile, "--size", "12000x9000", "--memory"]
    _, err = peephole(*plan, "1MiB", status=1)
    assert re.search(
        r"needs a memory budget of at least \d+ MiB; there are 1 MiB: 1 MiB as asked for \(--memory\)", err
    )
    least = re.search(r"at least (\d+) MiB", err)[1]
    # The process is not the same size to the last page each time.
    out, _ = peephole(*plan, f"{int(least) + 2}MiB")
    assert f"coarsened from {finest}" in out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("profile", ["modern", "classic"])
def test_the_least_budget_that_is_named_does_and_is_kept(eileen_crop, profile):
    look = ["embed", "--jsonl", "--profile", profile, "--threads", 1, eileen_crop, "--memory"]
    (line,) = jsonl(peephole(*look, "1MiB", status=1)[0])
    least = int(re.search(r"at least (\d+) MiB", line["error"]["message"])[1]) + 2
    (line,) = jsonl(peephole(*look, f"{least}MiB")[0])
    assert line["memory"]["measured_mb"] <= line["memory"]["budget_mb"] == round(least * 2**20 / 1e6, 1)


@pytest.mark.parametrize("command", [["detect", "a.jpg"], ["plan", "--size", "640x480"]])
def test_memory_that_is_no_size_is_status_2(command):
    out, err = peephole(*command, "--memory", "nonsense", status=2)
    assert out == ""
    assert "'nonsense' is not a size of memory" in err


def test_the_budget_may_come_from_the_environment(tmp_path, eileen_crop, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_MEMORY", "300MB")
    assert "MiB as asked for (PEEPHOLE_MEMORY)" in peephole("plan", "--size", "640x480")[0]
    (line,) = jsonl(peephole("detect", "--jsonl", eileen_crop)[0])
    assert line["memory"]["budget_mb"] == 300.0
    (line,) = jsonl(peephole("detect", "--jsonl", "--memory", "400MB", eileen_crop)[0])
    assert line["memory"]["budget_mb"] == 400.0
    monkeypatch.setenv("PEEPHOLE_MEMORY", "nonsense")
    assert "PEEPHOLE_MEMORY: 'nonsense' is not a size" in peephole("detect", eileen_crop, status=2)[1]


def test_a_budget_that_is_too_small_fails_the_frame(eileen_crop):
    (line,) = jsonl(peephole("detect", "--jsonl", "--memory", "1MiB", eileen_crop, status=1)[0])
    assert re.search(r"needs a memory budget of at least \d+ MiB", line["error"]["message"])


def test_plan_is_the_one_that_detect_uses(eileen_crop):
    options = ["--max-side", "200", "--upsample", "1"]
    plan = json.loads(inside("plan", "--json", "--size", "256x256", *options).stdout)
    (line,) = jsonl(inside("detect", "--jsonl", *options, eileen_crop).stdout)
    # The picture's own bytes count, once there is a picture.
    assert line["plan"].pop("megabytes") == pytest.approx(
        plan.pop("megabytes") + eileen_crop.stat().st_size / 1e6, abs=0.1
    )
    assert 0 < line["plan"].pop("grain") < 0.02
    assert plan.pop("grain") is None
    assert line["plan"] == plan


# --draw


def pictures_in(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            found[path.name] = np.asarray(image)
    return found


def test_draw_writes_annotated_copies(tmp_path, eileen_crop, eileen):
    peephole("detect", "--draw", tmp_path / "new" / "out", eileen_crop, plain(tmp_path / "nobody.png"))
    drawn = pictures_in(tmp_path / "new" / "out")
    assert list(drawn) == ["eileen.jpg", "nobody.jpg"]
    assert drawn["nobody.jpg"].shape == (48, 64, 3)
    difference = np.abs(np.int16(drawn["eileen.jpg"]) - eileen.pixels[:256, 100:356]).max(2)
    assert difference[60:175, 60:170].max() > 100  # the box
    assert np.median(difference) < 20  # the rest is the picture


def test_draw_tells_known_from_unknown(tmp_path, eileen_crop, grace_crop):
    copy(grace_crop, tmp_path / "people" / "Grace" / "1.png")
    for name, threshold in (("known", 0.0), ("unknown", 0.99)):
        options = ["--people", tmp_path / "people", "--threshold", threshold, "--draw", tmp_path / name]
        assert inside("label", *options, eileen_crop).exit_code == 0
    known, unknown = (pictures_in(tmp_path / name)["eileen.jpg"] for name in ("known", "unknown"))
    assert not np.array_equal(known, unknown)


def test_drawings_never_collide(tmp_path):
    names = ["1/cam.png", "2/cam.png", "cam.jpg", "cam-2.png", "cam-3.png"]
    files = [plain(tmp_path / name, (40 + index, 30)) for index, name in enumerate(names)]
    assert inside("detect", "--draw", tmp_path / "out", *files, files[0]).exit_code == 0
    widths = sorted(picture.shape[1] for picture in pictures_in(tmp_path / "out").values())
    assert widths == [40, 40, 41, 42, 43, 44]


def test_drawing_of_stdin(tmp_path, eileen_crop):
    inside("detect", "--draw", tmp_path / "out", "-", stdin=eileen_crop.read_bytes())
    assert list(pictures_in(tmp_path / "out")) == ["stdin.jpg"]


def test_failed_frames_are_not_drawn(tmp_path, hostile):
    result = inside("detect", "--draw", tmp_path / "out", hostile / "text.jpg", hostile / "good.png")
    assert result.exit_code == 1
    assert list(pictures_in(tmp_path / "out")) == ["good.jpg"]


@pytest.mark.parametrize("names", [["cam.jpg"], ["cam.png", "cam.jpg"], ["sub/cam.png", "cam.jpg"]])
def test_draw_never_overwrites_a_picture_it_was_given(tmp_path, names):
    files = [plain(tmp_path / name, (40 + index, 30)) for index, name in enumerate(names)]
    before = [file.read_bytes() for file in files]
    inside("detect", "--draw", tmp_path, *files)
    assert [file.read_bytes() for file in files] == before


def test_draw_spares_an_input_behind_a_link(tmp_path):
    real = plain(tmp_path / "out" / "cam.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cam.jpg").symlink_to(real)
    other = plain(tmp_path / "in" / "door.png")
    (tmp_path / "out" / "door.jpg").hardlink_to(other)
    before = real.read_bytes(), other.read_bytes()
    assert inside("detect", "--draw", tmp_path / "out", tmp_path / "in").exit_code == 0
    assert (real.read_bytes(), other.read_bytes()) == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("cam-2.jpg", "cam.jpg", "door-2.jpg", "door.jpg")
    ]


@pytest.mark.parametrize("below", ["people", "people/Eileen", "people/new", "link/new"])
def test_draw_is_refused_below_the_people(tmp_path, eileen_crop, below):
    copy(eileen_crop, tmp_path / "people" / "Eileen" / "1.png")
    (tmp_path / "link").symlink_to("people")
    result = inside("label", "--people", tmp_path / "people", "--draw", tmp_path / below, eileen_crop)
    assert result.exit_code == 2
    assert "lies in the people's folder" in result.output
    assert sorted(path.name for path in (tmp_path / "people").rglob("*")) == ["1.png", "Eileen"]


def test_draw_is_refused_beside_an_input_before_anything_is_looked_at(tmp_path):
    result = inside("detect", "--draw", tmp_path, tmp_path / "missing.png", plain(tmp_path / "sub" / "a.png"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "choose another folder" in result.stderr


def test_drawings_that_differ_by_case_do_not_collide(tmp_path):
    files = [plain(tmp_path / "1" / "Cam.png"), plain(tmp_path / "2" / "cam.png")]
    assert inside("detect", "--draw", tmp_path / "out", *files).exit_code == 0
    assert list(pictures_in(tmp_path / "out")) == ["Cam.jpg", "cam-2.jpg"]


def test_drawings_below_the_input_folder_are_no_input_of_the_next_run(tmp_path):
    for name in ("a.png", "sub/b.png"):
        plain(tmp_path / "in" / name)
    for draw in ("in/drawn", "in/sub/../drawn"):
        result = inside("detect", "--jsonl", "--draw", tmp_path / draw, tmp_path / "in")
        assert result.exit_code == 0
        assert [line["image"] for line in jsonl(result.stdout)] == [
            str(tmp_path / "in" / name) for name in ("a.png", "sub/b.png")
        ]
        assert list(pictures_in(tmp_path / "in" / "drawn")) == ["a.jpg", "b.jpg"]


def test_frame_too_wide_to_draw_does_not_stop_the_run(tmp_path):
    files = [plain(tmp_path / "wide.png", (70000, 2)), plain(tmp_path / "good.png")]
    result = inside("detect", "--jsonl", "--draw", tmp_path / "out", *files)
    assert [line["image"] for line in jsonl(result.stdout)] == [str(file) for file in files]
    assert result.exit_code in (0, 1)
    assert (tmp_path / "out" / "good.jpg").exists()


# --timings


def test_timings_log_a_line_a_frame(tmp_path, hostile, eileen_crop):
    log = tmp_path / "timings.jsonl"
    peephole("detect", "--timings", log, eileen_crop, hostile / "half.jpg", hostile / "missing.jpg", status=1)
    seen, half, missing = jsonl(log.read_text())
    assert (seen["source"], seen["width"], seen["height"], seen["faces"]) == (str(eileen_crop), 256, 256, 1)
    assert (seen["schema"], seen["plan"]) == (2, "256x256/2/40/1")
    assert seen["total_ms"] == pytest.approx(
        sum(seen["timings_ms"][name] for name in ("decode", "plan", "detect", "map"))
    )
    assert list(seen["cpu_ms"]) == list(seen["timings_ms"])
    assert 20 < seen["measured_mb"] <= seen["predicted_mb"] * 1.05
    assert (seen["setup"]["detector"], seen["setup"]["recognizer"]) == ("yunet", "")
    assert set(seen["setup"]["models"]) == {"yunet", "yunet-stem", "yunet-neck", "yunet-head"}
    assert seen["setup"]["runtime"].startswith("onnxruntime ")
    assert "error" not in seen
    assert half["error"]["kind"] == "corrupt"
    assert list(half["timings_ms"]) == ["decode", "plan"]
    assert missing["error"] == {"kind": "not-found", "message": "no such file"}


def test_timings_agree_with_the_results(tmp_path, eileen_crop):
    result = inside("embed", "--jsonl", "--timings", tmp_path / "log", eileen_crop)
    (line,), (logged,) = jsonl(result.stdout), jsonl((tmp_path / "log").read_text())
    assert logged["timings_ms"] == line["timings_ms"]
    assert logged["setup"]["models"] == line["models"]
    assert logged["setup"]["recognizer"] == "sface"


def test_timings_are_also_kept_in_the_history(tmp_path, eileen_crop):
    log, history = tmp_path / "log", tmp_path / "history"
    inside("detect", "--timings", log, "--history", history, eileen_crop, tmp_path / "missing.jpg")
    assert list(read_timings(history)) == list(read_timings(log))
    inside("detect", "--history", history, eileen_crop)  # without a log
    assert len(list(read_timings(history))) == 3
    before = {each.name for each in tmp_path.iterdir()}
    inside("detect", "--timings", log, "--history", "none", eileen_crop)
    assert {each.name for each in tmp_path.iterdir()} == before
    assert len(list(read_timings(log))) == 3


def test_a_history_that_is_none_is_said_at_once_if_it_was_asked_for(tmp_path, eileen_crop, monkeypatch):
    (tmp_path / "notes").write_text("no history, and long enough to be taken for something else " * 9)
    result = inside("detect", "--timings", tmp_path / "log", "--history", tmp_path / "notes", eileen_crop)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "notes is no history of timings" in result.stderr
    monkeypatch.delenv("PEEPHOLE_HISTORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "notes"))  # no folder can be made there
    monkeypatch.setenv("HOME", str(tmp_path / "notes"))
    result = inside("detect", "--timings", tmp_path / "log", eileen_crop)
    assert result.exit_code == 0
    assert "looking goes on without it" in result.stderr
    assert len(list(read_timings(tmp_path / "log"))) == 1


def test_files_of_timings_are_put_aside_as_asked_for(tmp_path, eileen_crop):
    inside("detect", "--timings", tmp_path / "log", "--timings-size", "2kB", "--timings-files", "2", *[eileen_crop] * 6)
    assert sorted(each.name for each in tmp_path.glob("log*")) == ["log", "log.1"]
    result = inside("detect", "--timings", tmp_path / "log", "--timings-size", "large", eileen_crop)
    assert (result.exit_code, "'large' is not a size" in result.stderr) == (2, True)


def test_a_log_that_fails_costs_no_result(tmp_path, eileen_crop):
    result = inside("detect", "--jsonl", "--timings", "/dev/full", "--history", "none", eileen_crop, eileen_crop)
    assert result.exit_code == 1
    assert len(jsonl(result.stdout)) == 2
    full = "the timing log /dev/full cannot be written: No space left on device; looking goes on without it"
    assert result.stderr.splitlines() == [f"peephole: {full}"]


def test_timings_are_appended(tmp_path):
    for name in ("a.png", "b.png"):
        inside("detect", "--timings", tmp_path / "log", plain(tmp_path / name))
    lines = jsonl((tmp_path / "log").read_text())
    assert [line["source"] for line in lines] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_empty_folder_is_logged(tmp_path):
    (tmp_path / "empty").mkdir()
    inside("detect", "--timings", tmp_path / "log", tmp_path / "empty")
    (line,) = jsonl((tmp_path / "log").read_text())
    assert line["error"]["kind"] == "not-found"
    assert line["timings_ms"] == {}


# --people


def test_photos_that_cannot_be_used_are_named_and_the_others_used(tmp_path, eileen, grace, eileen_crop):
    person = tmp_path / "people" / "Eileen"
    copy(eileen_crop, person / "good.png")
    plain(person / "nobody.png")
    others = np.hstack([grace.pixels[75:375, 147:403]] * 2)
    Image.fromarray(others).save(person / "two.png")
    (person / "broken.png").write_bytes(eileen_crop.read_bytes()[:5000])
    plain(tmp_path / "people" / "Anna" / "1.png")
    out, err = peephole("label", "--jsonl", "--people", tmp_path / "people", eileen_crop)
    (line,) = jsonl(out)
    assert line["faces"][0]["name"] == "Eileen"
    problems = err.splitlines()
    assert problems[0].startswith(f"peephole: {tmp_path / 'people' / 'Anna' / '1.png'}: no face found")
    assert problems[1] == f"peephole: {tmp_path / 'people' / 'Anna'}: no usable photo of Anna"
    assert problems[2].startswith(f"peephole: {person / 'broken.png'}: cut off or damaged")
    assert problems[3] == f"peephole: {person / 'nobody.png'}: no face found, exactly one is needed"
    assert problems[4] == f"peephole: {person / 'two.png'}: 2 faces found, exactly one is needed"
    assert len(problems) == 5


def test_people_folder_missing(tmp_path, eileen_crop):
    result = inside("label", "--people", tmp_path / "gone", eileen_crop)
    assert result.exit_code in (1, 2)
    assert result.output == (
        f"peephole: {tmp_path / 'gone'} is not a folder; it should hold a folder of photos for each person\n"
    )


def test_people_folder_empty(tmp_path, eileen_crop):
    out, err = peephole("label", "--jsonl", "--people", tmp_path, eileen_crop, status=1)
    assert out == ""
    assert err.startswith(f"peephole: {tmp_path} holds no person's folder")
    assert err.count("\n") == 1


def test_person_called_unknown(tmp_path, eileen_crop):
    copy(eileen_crop, tmp_path / "unknown" / "1.png")
    result = inside("label", "--people", tmp_path, eileen_crop)
    assert result.exit_code in (1, 2)
    assert "'unknown' is what a stranger is called: give the person another name" in result.output


# Terminals and pipes


def on_a_terminal(arguments: list[str], *, stdout_too: bool = False) -> tuple[str, str, int]:
    """Run with stderr on a terminal: what stdout got, what the terminal got, the exit status."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))  # no bar fits on the 0 columns that a new one has
    with subprocess.Popen(
        [*PEEPHOLE, *arguments], stdout=theirs if stdout_too else subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = io.BytesIO()
        try:
            while data := os.read(ours, 65536):
                shown.write(data)
        except OSError:  # Linux says EIO when the last writer has gone
            pass
        out = "" if stdout_too else process.stdout.read().decode()
    os.close(ours)
    return out, shown.getvalue().decode(), process.returncode


def many(folder: Path, number: int) -> list[str]:
    return [str(plain(folder / f"{index}.png")) for index in range(number)]


def test_progress_bar_on_stderr_leaves_stdout_parseable(tmp_path, hostile):
    files = [*many(tmp_path, 5), str(hostile / "text.jpg")]
    out, shown, status = on_a_terminal(["detect", "--jsonl", *files])
    assert [line["image"] for line in jsonl(out)] == files
    assert "| 0/6 [" in shown
    assert "frame" in shown
    assert status == 1


def test_progress_bar_and_table_share_a_terminal(tmp_path):
    files = many(tmp_path, 5)
    _, shown, status = on_a_terminal(["detect", "--jsonl", *files], stdout_too=True)
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in shown.split("\n")]  # as the terminal shows them
    assert [json.loads(line)["image"] for line in lines if line.strip()] == files
    assert "| 0/5 [" in shown
    assert status == 0


def test_no_progress_bar_for_few_files(tmp_path):
    out, shown, _ = on_a_terminal(["detect", "--jsonl", *many(tmp_path, 4)])
    assert len(jsonl(out)) == 4
    assert shown == ""


def test_no_progress_bar_without_a_terminal(tmp_path):
    _, err = peephole("detect", *many(tmp_path, 6))
    assert err == ""


@pytest.mark.parametrize("options", [[], ["--jsonl"]])
def test_reader_that_leaves_early(tmp_path, options):
    command = [*PEEPHOLE, "detect", *options, *many(tmp_path, 8)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


def test_head(tmp_path):
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *PEEPHOLE, "detect", *many(tmp_path, 8)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("image ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("command", [["detect", "a.png"], ["--help"], ["--version"], ["detect", "--help"]])
def test_full_disk_is_said_in_one_line(tmp_path, command):
    plain(tmp_path / "a.png")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PEEPHOLE, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr == "peephole: cannot go on: [Errno 28] No space left on device\n"


def test_cache_that_cannot_be_written(tmp_path):
    environment = os.environ | {"PEEPHOLE_CACHE": "/dev/null/cache"}
    command = [*PEEPHOLE, "detect", "--jsonl", plain(tmp_path / "a.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert done.stdout or "peephole: yunet: the cache" in done.stderr


def test_an_error_that_is_not_the_outputs_leaves_the_output_alone(monkeypatch):
    code = """
import os, sys, peephole.cli as cli
def broken(out): raise OSError(5, "Input/output error")
import peephole.selftest
peephole.selftest.run = broken
before = len(os.listdir("/proc/self/fd"))
try:
    cli.main(["selftest"])
except SystemExit as end:
    print("still here", end.code, len(os.listdir("/proc/self/fd")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "still here 1 0\n"
    assert done.stderr == "peephole: cannot go on: [Errno 5] Input/output error\n"


def test_no_standard_output_at_all(tmp_path):
    command = ["sh", "-c", '"$@" >&-', "sh", *PEEPHOLE, "detect", str(plain(tmp_path / "a.png"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
