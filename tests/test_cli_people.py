"""`peephole enroll`, `people`, `gallery`, `not`, and `label` by the gallery, as they are typed."""

import functools
import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from peephole import pipeline
from peephole.cli import main
from peephole.gallery import Gallery

PEOPLE = ("Eileen", "Grace")


@pytest.fixture(scope="module", autouse=True)
def _models_once():
    """Each model is loaded once for all commands that are run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("open_detector", "open_recognizer", "Landmarker"):
            patch.setattr(pipeline, name, functools.lru_cache(getattr(pipeline, name)))
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory, eileen, grace) -> Path:
    """eileen.png and grace.png, 256 pixels a side and one face each; both.png with both; nobody.png."""
    folder = tmp_path_factory.mktemp("photos")
    one, other = eileen.pixels[0:250, 100:356], grace.pixels[100:350, 147:403]
    for name, pixels in (("eileen", one), ("grace", other), ("both", np.hstack([one, other]))):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.new("RGB", (64, 48), "grey").save(folder / "nobody.png")
    return folder


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """Where the gallery is to be; there is none yet."""
    monkeypatch.setenv("PEEPHOLE_GALLERY", str(tmp_path / "gallery.db"))
    return tmp_path / "gallery.db"


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory, photos) -> Path:
    """A gallery with both."""
    file = tmp_path_factory.mktemp("enrolled") / "gallery.db"
    for name in PEOPLE:
        ok("enroll", name, photos / f"{name.lower()}.png", "--gallery", file)
    return file


@pytest.fixture
def known(enrolled, file) -> Path:
    """A gallery with both, for this test alone."""
    return Path(shutil.copyfile(enrolled, file))


def run(*arguments, status=0, stdin=None):
    done = CliRunner().invoke(main, [*map(str, arguments)], input=stdin)
    assert done.exit_code == status, done.output
    return done


def ok(*arguments, **options) -> list[str]:
    return run(*arguments, **options).stdout.splitlines()


def failed(*arguments, status=1, stdin=None) -> str:
    """What is said, in one line, by a command that prints nothing and changes nothing."""
    done = run(*arguments, status=status, stdin=stdin)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def names(*arguments) -> list[str]:
    """Whom label sees."""
    (line,) = ok("label", "--jsonl", *arguments)
    faces = json.loads(line)["faces"]
    return [face["name"] for face in sorted(faces, key=lambda face: face["left"])]


def listed() -> dict[str, dict]:
    return {person["name"]: person for person in map(json.loads, ok("people", "--json"))}


# enroll


def test_enroll_says_a_verdict_a_photo(file, photos):
    given = [photos / name for name in ("eileen.png", "eileen.png", "both.png", "nobody.png", "gone.png")]
    first, again, both, nobody, gone, total = ok("enroll", "Eileen", *given, status=1)
    assert first == f"{given[0]}: enrolled"
    assert again == f"{given[1]}: enrolled again"
    assert both.startswith(f"{given[2]}: refused: 2 faces found, exactly one is needed: 1 at ")
    assert nobody.startswith(f"{given[3]}: refused: no face found, exactly one is needed")
    assert gone == f"{given[4]}: refused: no such file"
    assert total == "Eileen: 1 photo in all"


def test_enroll_says_what_is_weak(known, photos, tmp_path):
    with Image.open(photos / "eileen.png") as image:
        image.rotate(4, Image.Resampling.BICUBIC).save(tmp_path / "leaning.png")
    line, _ = ok("enroll", "Eileen", tmp_path / "leaning.png")
    assert line.startswith(f"{tmp_path / 'leaning.png'}: enrolled but weak: nearly the same as a photo that is there")


def test_enroll_says_by_how_much_a_face_is_turned(file, photos, tmp_path):
    with Image.open(photos / "grace.png") as image:
        image.rotate(180).save(tmp_path / "down.png")
    line, _ = ok("enroll", "Grace", tmp_path / "down.png")
    verdict = line.removeprefix(f"{tmp_path / 'down.png'}: ")
    assert re.fullmatch(r"enrolled, turned by 1[78]\d degrees (anti)?clockwise", verdict)
    (seen,) = ok("label", "--jsonl", "--rotate", "180", tmp_path / "down.png")
    seen = json.loads(seen)
    assert (seen["turn"], [face["name"] for face in seen["faces"]]) == (180, ["Grace"])
    assert abs(seen["faces"][0]["quality"]["roll"]) > 165
    assert seen["faces"][0]["quality"]["oriented"] is True


def test_enroll_refuses_somebody_elses_face_unless_forced(known, photos):
    refused, total = ok("enroll", "Eileen", photos / "grace.png", status=1)
    assert "refused: this is Grace's face, to all appearance: score 1.00" in refused
    assert total == "Eileen: 1 photo in all"
    forced, total = ok("enroll", "Eileen", photos / "grace.png", "--force")
    assert "enrolled but weak: this is Grace's face" in forced
    assert total == "Eileen: 2 photos in all"


def test_enroll_takes_folders(file, photos, tmp_path):
    (tmp_path / "in" / "empty").mkdir(parents=True)
    shutil.copy(photos / "eileen.png", tmp_path / "in")
    first, empty, _ = ok("enroll", "Eileen", tmp_path / "in", tmp_path / "in" / "empty", status=1)
    assert first == f"{tmp_path / 'in' / 'eileen.png'}: enrolled"
    assert empty == f"{tmp_path / 'in' / 'empty'}: refused: no picture in this folder"


@pytest.fixture
def album(tmp_path, photos) -> Path:
    """A folder of Eileen's photos 1 to 3, of which photo 0 is Grace's."""
    folder = tmp_path / "album"
    folder.mkdir()
    shutil.copy(photos / "grace.png", folder / "0.png")
    with Image.open(photos / "eileen.png") as image:
        for number, degrees in enumerate((0, 12, -12), 1):
            image.rotate(degrees, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def test_enroll_refuses_the_photo_of_somebody_else_in_a_folder(file, album, photos):
    wrong, *right, total = ok("enroll", "Eileen", album, status=1)
    assert wrong.startswith(f"{album / '0.png'}: refused: unlike Eileen's other photos: score 0.")
    assert [line.split(": ")[1].startswith("enrolled") for line in right] == [True] * 3
    assert total == "Eileen: 3 photos in all"
    assert names(photos / "both.png") == ["Eileen", "unknown"]
    assert not any("if photo" in line for line in ok("people", "report", "Eileen"))


def test_wrong_photo_that_was_confirmed_is_named_by_the_report(file, album, tmp_path):
    ok("enroll", "Eileen", album, status=1)
    line, _ = ok("enroll", "--force", "Eileen", album / "0.png")
    assert line.startswith(f"{album / '0.png'}: enrolled but weak: unlike Eileen's other photos")
    sheet = tmp_path / "sheet.png"
    lines = ok("people", "report", "Eileen", "--sheet", sheet)
    assert any(line.startswith("photo 4 (0.png): unlike Eileen's other photos: score 0.") for line in lines)
    assert "if photo 4 is not Eileen: peephole people forget Eileen --photo 4" in lines
    assert not any("another one like" in line for line in lines)
    with Image.open(sheet) as drawn:
        height = drawn.height
    ok("people", "forget", "Eileen", "--photo", 4, "--yes")
    ok("people", "report", "Eileen", "--sheet", sheet)
    with Image.open(sheet) as drawn:
        assert drawn.height < height  # a row less


def test_same_person_under_two_names_is_told(known, album):
    right = [album / f"{number}.png" for number in (1, 2, 3)]
    *lines, _ = ok("enroll", "Ann", *right, status=1)
    assert all("refused: this is Eileen's face, to all appearance" in line for line in lines)
    assert ok("enroll", "--force", "Ann", *right)[-1] == (
        "Eileen is the same person, to all appearance: peephole people merge Eileen Ann"
    )
    lines = ok("people", "report", "Eileen")
    assert any(line.startswith("the same person as Ann, to all appearance: score ") for line in lines)
    assert "if Ann is Eileen: peephole people merge Ann Eileen" in lines


def test_group_that_is_ignored_and_is_the_same_person_is_told(file, album, photos):
    assert names("--remember", photos / "eileen.png") == ["unknown"]
    ok("people", "ignore", "group-1")
    assert ok("enroll", "--force", "Eileen", album / "1.png")[-1] == (
        "group-1 is the same person, to all appearance: peephole people ignore group-1 --undo"
    )


def test_enroll_tells_of_pictures_that_it_cannot_read_or_passes_over(file, photos, tmp_path):
    (tmp_path / "in" / "@eaDir").mkdir(parents=True)
    shutil.copy(photos / "nobody.png", tmp_path / "in" / "@eaDir" / "thumb.png")
    shutil.copy(photos / "eileen.png", tmp_path / "in" / "2.png")
    (tmp_path / "in" / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    done = run("enroll", "Eileen", tmp_path / "in", status=1)
    heic, enrolled, _ = done.stdout.splitlines()
    assert heic.startswith(f"{tmp_path / 'in' / '1.HEIC'}: refused: ")
    assert "HEIC" in heic
    assert enrolled == f"{tmp_path / 'in' / '2.png'}: enrolled"
    (said,) = done.stderr.splitlines()
    assert said.count("@eaDir") == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../../etc/passwd", "path separator"),
        ("a\\b", "path separator"),
        ("x" * 300, "it has 300 characters; 100 are the most"),
        ("unknown", "it is what a stranger is called"),
        ("group-1", "a group of unknown faces"),
        ("\n", "nothing to see"),
        ("", "nothing to see"),
    ],
)
def test_impossible_name_is_one_line_and_makes_no_gallery(file, photos, name, words):
    assert words in failed("enroll", name, photos / "eileen.png")
    assert not file.exists()


def test_emoji_is_a_name(file, photos):
    assert ok("enroll", "👵🏽 Oma", photos / "eileen.png")[-1] == "👵🏽 Oma: 1 photo in all"
    assert names(photos / "eileen.png") == ["👵🏽 Oma"]


def test_name_in_another_case_is_one_line(known, photos):
    assert "there is 'Eileen' already" in failed("enroll", "EILEEN", photos / "eileen.png", "--force")


# label


def test_label_by_the_gallery(known, photos):
    assert names(photos / "both.png") == ["Eileen", "Grace"]
    assert names("--gallery", known, photos / "eileen.png") == ["Eileen"]


def test_label_by_a_gallery_of_dlibs_vectors(file, photos):
    for name in PEOPLE:
        ok("enroll", name, photos / f"{name.lower()}.png", "--profile", "classic")
    assert names("--profile", "classic", photos / "both.png") == ["Eileen", "Grace"]
    assert names("--recognizer", "resnet", photos / "both.png") == ["Eileen", "Grace"]  # boxes of another detector
    assert "peephole gallery reembed" in failed("label", photos / "both.png")


def test_label_by_a_gallery_elsewhere(enrolled, file, photos):
    assert names("--gallery", enrolled, photos / "eileen.png") == ["Eileen"]
    assert not file.exists()


def test_label_without_anybody_to_know(file, photos):
    assert "there is no gallery" in (line := failed("label", photos / "eileen.png"))
    assert "peephole enroll NAME FILE" in line
    assert not file.exists()
    Gallery.open(file).close()
    assert "nobody is enrolled in" in (line := failed("label", photos / "eileen.png"))
    assert "peephole enroll NAME FILE" in line


def test_label_takes_people_from_one_place(file, photos):
    for options in (["--gallery", file], ["--remember"]):
        assert "--people takes the gallery's place" in failed("label", "--people", photos, *options, "a.png", status=2)


def test_threshold_decides_alone(known, photos):
    assert set(names("--threshold", 0, photos / "both.png")) <= set(PEOPLE)
    assert names("--threshold", 1, photos / "both.png") == ["unknown", "unknown"]


def test_label_remembers_strangers(file, photos):
    yesterday = int(time.time()) - 86_400
    os.utime(photos / "eileen.png", (yesterday, yesterday))
    assert names("--remember", "--camera", "porch", photos / "eileen.png") == ["unknown"]
    with Gallery.open(file) as gallery:
        (face,) = gallery.unknowns()
    assert (face.camera, face.time, face.source) == ("porch", yesterday, str(photos / "eileen.png"))


def test_label_remembers_nobody_unless_told(known, photos, grace_file):
    ok("people", "forget", "Grace", "--yes")
    assert names(photos / "grace.png") == ["unknown"]
    assert names("--remember", photos / "eileen.png") == ["Eileen"]
    with Gallery.open(known) as gallery:
        assert gallery.unknowns() == []


# Another model


def test_another_model_is_refused_until_reembedded(known, photos):
    with Gallery.open(known) as gallery:
        (before,) = gallery.models()
    assert json.loads(ok("gallery", "status", "--json")[0])["models"][0]["name"] == "sface"
    other = "resnet"
    line = failed("label", "--recognizer", other, photos / "both.png")
    assert "2 of 2 faces" in line
    assert "peephole gallery reembed" in line
    assert "peephole gallery reembed" in failed("enroll", "Eileen", "--recognizer", other, photos / "eileen.png")
    assert ok("gallery", "reembed", "--recognizer", other) == [f"2 faces embedded by {other}"]
    assert ok("gallery", "reembed", "--recognizer", other) == [f"0 faces embedded by {other}"]
    assert names("--recognizer", other, photos / "both.png") == ["Eileen", "Grace"]
    assert names(photos / "both.png") == ["Eileen", "Grace"]
    assert ok("gallery", "reembed", "--recognizer", other, "--prune")[-1] == "2 vectors of 1 other model deleted"
    with Gallery.open(known) as gallery:
        assert before not in gallery.models()


def test_reembed_shows_a_bar_at_a_terminal(known):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))  # no bar fits on the 0 columns that a new one has
    command = [sys.executable, "-m", "peephole", "gallery", "reembed", "--recognizer", "resnet"]
    done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=True)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert b"0face [" in shown
    assert done.stdout == b"2 faces embedded by resnet\n"


# people


def test_people_are_listed(known):
    head, *rows = ok("people")
    assert head.split() == ["name", "photos", "since"]
    assert [row.split()[:2] for row in rows] == [["Eileen", "1"], ["Grace", "1"]]
    people = listed()
    assert list(people) == ["Eileen", "Grace"]
    assert list(people["Eileen"]) == ["name", "id", "photos", "ignored", "created"]
    assert ok("people", "--gallery", known) == [head, *rows]


def test_gallery_may_stand_before_the_command_or_behind(enrolled, file, tmp_path):
    copy = shutil.copyfile(enrolled, tmp_path / "other.db")
    ok("people", "--gallery", copy, "rename", "Grace", "Ada")
    ok("people", "rename", "Ada", "Joan", "--gallery", copy)
    assert ok("people", "--gallery", copy)[2].startswith("Joan")
    assert not file.exists()


def test_rename_and_merge(known, photos):
    assert ok("people", "rename", "Grace", "Ada") == ["Grace is called Ada now"]
    assert names(photos / "grace.png") == ["Ada"]
    assert ok("people", "merge", "Ada", "Eileen") == ["Eileen: 2 photos in all"]
    assert list(listed()) == ["Eileen"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rename", "Nobody", "Ada"], "nobody is called 'Nobody'"),
        (["rename", "grace", "Ada"], "did you mean 'Grace'?"),
        (["rename", "Grace", "a/b"], "path separator"),
        (["rename", "Grace", "Eileen"], "there is 'Eileen' already"),
        (["merge", "Grace", "Grace"], "into itself"),
        (["forget", "Nobody", "--yes"], "nobody is called 'Nobody'"),
        (["forget", "Grace", "--photo", "99", "--yes"], "Grace has no photo 99; peephole people report Grace"),
        (["ignore", "group-7"], "there is no group-7"),
        (["report", "Nobody"], "nobody is called 'Nobody'"),
    ],
)
def test_what_cannot_be_done_to_people_is_one_line(known, arguments, words):
    before = known.read_bytes()
    assert words in failed("people", *arguments)
    assert known.read_bytes() == before


def test_json_is_for_the_list(known):
    assert "--json is for the list" in failed("people", "--json", "rename", "Grace", "Ada", status=2)


def test_forget_asks(known, photos):
    for answer in ("n\n", ""):
        done = run("people", "forget", "Grace", status=1, stdin=answer)
        assert "Delete Grace and 1 photo, for good? [y/N]" in done.stderr
    assert list(listed()) == ["Eileen", "Grace"]
    assert ok("people", "forget", "Grace", stdin="y\n") == ["Grace and 1 photo: deleted"]
    assert list(listed()) == ["Eileen"]
    assert b"Grace" not in known.read_bytes()


def test_forget_one_photo(known, photos):
    ok("enroll", "Eileen", "--force", photos / "grace.png")
    with Gallery.open(known) as gallery:
        wrong = gallery.photos("Eileen")[1].id
    assert ok("people", "forget", "Eileen", "--photo", wrong, "--yes") == [f"photo {wrong} of Eileen: deleted"]
    assert listed()["Eileen"]["photos"] == 1


def test_ignored_people_are_never_named_until_undone(known, photos):
    assert ok("people", "ignore", "Grace") == ["Grace: ignored"]
    assert names(photos / "both.png") == ["Eileen", "ignored"]
    assert ok("people")[2].split()[-1] == "ignored"
    assert ok("people", "ignore", "Grace", "--undo") == ["Grace: no longer ignored"]
    assert names(photos / "both.png") == ["Eileen", "Grace"]


def test_ignored_groups_are_listed_and_undone(known, photos):
    ok("people", "forget", "Grace", "--yes")
    ok("label", "--remember", photos / "grace.png")
    assert ok("people", "ignore", "group-1") == ["group-1: ignored"]
    assert ok("people")[-1].split()[::3] == ["group-1", "ignored"]
    assert names("--remember", photos / "grace.png") == ["ignored"]
    ok("people", "ignore", "group-1", "--undo")
    assert names(photos / "grace.png") == ["unknown"]


def test_report(known, photos, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = run("people", "report", "Eileen", "--sheet", sheet)
    lines = done.stdout.splitlines()
    assert lines[0] == "Eileen: 1 photo"
    assert any(line.startswith("nearest other person: Grace, ") for line in lines)
    assert any(line.startswith("would help most: ") for line in lines)
    assert lines[-1].startswith("photo 1 (eileen.png): ")
    with Image.open(sheet) as image:
        assert len(image.getcolors(1 << 20)) > 1000  # a face, and not paper alone
    (line,) = ok("people", "report", "Eileen", "--json")
    assert json.loads(line)["photos"] == 1


def test_report_sheet_that_cannot_be_written(known, tmp_path):
    done = run("people", "report", "Eileen", "--sheet", tmp_path / "sheet.txt", status=2)
    assert "sheet.txt cannot be written" in done.stderr


# not


def test_not_this_person_is_kept_and_taken_back(known, photos):
    both = photos / "both.png"
    face = number(both, "Eileen")
    assert ok("not", "Eileen", both) == [f"{both}: face {face} is not Eileen: was Eileen, is unknown now"]
    assert names(both) == ["unknown", "Grace"]
    assert names(photos / "grace.png") == ["Grace"]
    assert ok("not", "Eileen", both, "--undo") == [f"{both}: 1 correction taken back"]
    assert names(both) == ["Eileen", "Grace"]


def number(picture: Path, name: str) -> int:
    (line,) = ok("label", "--jsonl", picture)
    return 1 + [face["name"] for face in json.loads(line)["faces"]].index(name)


def test_not_takes_the_face_that_is_meant(known, photos):
    ok("people", "rename", "Grace", "Ada")
    with Gallery.open(known) as gallery:
        gallery.add_photo("Joan", gallery.photos("Ada")[0], {})
    ok("gallery", "reembed", *recognizer(known))
    line = failed("not", "Joan", photos / "both.png", status=2)
    assert line.startswith("peephole: which face is not Joan? Say --face with one of 1 at ")
    assert "face 2 is not Joan" in ok("not", "Joan", photos / "both.png", "--face", 2)[0]
    assert "there is no face 3, but 1 at " in failed("not", "Joan", photos / "both.png", "--face", 3)


def recognizer(known) -> list[str]:
    """The option for the model that the gallery is of."""
    return ["--recognizer", json.loads(ok("gallery", "status", "--json")[0])["models"][0]["name"]]


@pytest.mark.parametrize(
    ("name", "picture", "words"),
    [
        ("Nobody", "eileen.png", "nobody is called 'Nobody'"),
        ("Eileen", "gone.png", "gone.png: no such file"),
        ("Eileen", "nobody.png", "no face found"),
    ],
)
def test_what_cannot_be_corrected_is_one_line(known, photos, name, picture, words):
    assert words in failed("not", name, photos / picture)


# gallery


def test_status(known, photos):
    ok("not", "Eileen", photos / "eileen.png")
    lines = ok("gallery", "status")
    assert lines[0].startswith(f"gallery      {known}, ")
    assert lines[1:5] == [
        "people       2, 2 photos",
        "unknown      0 faces in 0 groups, 0 ignored",
        "corrections  1",
        "visits       0",
    ]
    assert lines[5].endswith("3 of 3 faces, the model's own rule")
    found = json.loads(ok("gallery", "status", "--json")[0])
    assert (found["people"], found["photos"], found["corrections"]) == (2, 2, 1)
    (model,) = found["models"]
    assert (model["faces"], model["missing"], model["calibrated"]) == (3, 0, False)


def test_status_says_what_a_model_lacks(known):
    with Gallery.open(known) as gallery:
        gallery.add_photo("Joan", gallery.photos("Grace")[0], {})
        gallery.put_embedding(1, "f" * 64, np.ones(3))
    lines = ok("gallery", "status")
    assert any("2 of 3 faces" in line for line in lines)
    lacking = "1 face without a vector, or without one for the night"
    assert f"             {lacking}: peephole gallery reembed {' '.join(recognizer(known))}" in lines
    assert "model        ffffffffffff: 1 of 3 faces, the model's own rule" in lines


def test_path(file, tmp_path):
    assert ok("gallery", "path") == [str(file)]
    assert ok("gallery", "path", "--gallery", tmp_path / "other.db") == [str(tmp_path / "other.db")]
    assert not file.exists()


def test_export_and_import(known, photos, tmp_path):
    export = tmp_path / "export.zip"
    assert ok("gallery", "export", export)[0].startswith(f"{export}: ")
    assert "is not empty: --replace puts" in failed("gallery", "import", export)
    ok("people", "forget", "Grace", "--yes")
    assert ok("gallery", "import", export, "--replace") == [f"{known}: 2 people, 2 photos"]
    other = tmp_path / "new" / "gallery.db"
    assert ok("gallery", "import", export, "--gallery", other) == [f"{other}: 2 people, 2 photos"]
    assert names("--gallery", other, photos / "grace.png") == ["Grace"]


def test_damaged_export_changes_nothing(known, tmp_path):
    export = tmp_path / "export.zip"
    ok("gallery", "export", export)
    damaged = bytearray(export.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    export.write_bytes(damaged)
    before = known.read_bytes()
    assert "is damaged" in failed("gallery", "import", export, "--replace")
    assert known.read_bytes() == before
    assert "there is no export" in failed("gallery", "import", tmp_path / "gone.zip")


def test_expire(known, photos):
    ok("people", "forget", "Grace", "--yes")
    os.utime(photos / "grace.png")
    ok("label", "--remember", photos / "grace.png")
    assert ok("gallery", "expire") == ["0 unknown faces and 0 visits deleted"]
    assert ok("gallery", "expire", "--max-age", 0) == ["1 unknown face and 0 visits deleted"]


EVERY = [
    ["enroll", "Eileen", "eileen.png"],
    ["label", "eileen.png"],
    ["people"],
    ["people", "rename", "a", "b"],
    ["people", "forget", "a", "--yes"],
    ["people", "report", "a"],
    ["not", "a", "eileen.png"],
    ["gallery", "status"],
    ["gallery", "reembed"],
    ["gallery", "export", "out.zip"],
    ["gallery", "expire"],
]


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_newer_gallery_is_refused_in_one_line_and_left_alone(known, tmp_path, monkeypatch, arguments):
    with closing(sqlite3.connect(known)) as db:
        db.execute("PRAGMA user_version = 99")
    before = known.read_bytes()
    monkeypatch.chdir(tmp_path)
    line = failed(*arguments)
    assert "has schema 99" in line
    assert "update this one" in line
    assert known.read_bytes() == before
    assert not (tmp_path / "out.zip").exists()


@pytest.mark.parametrize("arguments", [["people"], ["enroll", "Eileen", "eileen.png"], ["gallery", "status"]])
def test_file_that_is_no_gallery_is_refused_in_one_line_and_left_alone(file, arguments):
    file.write_text("my novel " * 1000)
    assert "is no gallery" in failed(*arguments)
    assert file.read_text() == "my novel " * 1000


@pytest.mark.parametrize("arguments", [each for each in EVERY if each[0] != "enroll"], ids=" ".join)
def test_no_gallery_is_one_line_and_none_is_made(file, arguments):
    assert "there is no gallery" in failed(*arguments)
    assert not file.exists()


@pytest.mark.parametrize(
    "command",
    [
        *(["enroll"], ["not"], ["people"], ["gallery"]),
        *(["people", each] for each in ("rename", "merge", "forget", "ignore", "report")),
        *(["gallery", each] for each in ("status", "reembed", "export", "import", "expire", "path")),
    ],
    ids=" ".join,
)
def test_help(command):
    assert "Usage: " in run(*command, "--help").stdout
