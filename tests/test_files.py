"""Which files of a folder count as pictures, what is passed over, and that it is said."""

import os
from pathlib import Path

import pytest

from peephole.files import PassedOver, listed, pictures


def relative(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in pictures(folder)]


@pytest.mark.parametrize("suffix", ["jpg", "jpe", "jpeg", "jfif", "png", "webp", "bmp", "tif", "tiff", "JPG", "Png"])
def test_pictures_by_suffix(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").touch()
    assert relative(tmp_path) == [f"a.{suffix}"]


@pytest.mark.parametrize("name", ["a.txt", "a", "jpg", "a.jpg.part", "~a.jpg", "a.mp4", "Thumbs.db"])
def test_other_files_are_no_pictures(tmp_path, name):
    (tmp_path / name).touch()
    assert relative(tmp_path) == []


def test_pictures_are_sorted_and_sub_folders_included(tmp_path):
    for name in ("b.png", "a.jpg", "c/z.jpg", "c/a/a.jpg", "B.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert relative(tmp_path) == ["B.png", "a.jpg", "b.png", "c/a/a.jpg", "c/z.jpg"]


def test_hidden_pictures_are_left_out(tmp_path):
    for name in (".a.jpg", ".thumbnails/a.jpg", "b/.cache/c/a.jpg", "b/shown.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert relative(tmp_path) == ["b/shown.jpg"]


def test_what_somebody_named_is_a_file_or_a_folders_pictures(tmp_path):
    for name in ("b.png", "a.jpg", "old/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    folder, missing = str(tmp_path), str(tmp_path / "missing.jpg")
    assert list(listed(missing)) == [(missing, None)]
    assert [path for path, _ in listed(folder)] == [f"{folder}/{name}" for name in ("a.jpg", "b.png", "old/c.png")]
    without = list(listed(folder, lambda path: path.parent.name == "old"))
    assert without == [(f"{folder}/a.jpg", None), (f"{folder}/b.png", None)]
    ((path, error),) = listed(folder, lambda _: True)
    assert (path, error.kind, str(error)) == (folder, "not-found", "no picture in this folder")


def test_pictures_in_a_hidden_folder_that_was_asked_for(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.jpg").touch()
    assert relative(tmp_path / ".hidden") == ["a.jpg"]


def test_folder_named_like_a_picture_is_none(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "a.jpg" / "b.jpg").touch()
    assert relative(tmp_path) == ["a.jpg/b.jpg"]


@pytest.mark.parametrize("suffix", ["heic", "HEIC", "heif", "avif", "gif", "jxl", "dng", "cr2", "nef"])
def test_pictures_that_are_not_read_are_pictures_all_the_same(tmp_path, suffix):
    (tmp_path / f"IMG_0001.{suffix}").touch()
    assert [path for path, _ in listed(str(tmp_path))] == [f"{tmp_path}/IMG_0001.{suffix}"]


SYSTEM = [
    "@eaDir",
    "#recycle",
    "#snapshot",
    "@Recycle",
    "$RECYCLE.BIN",
    "$Recycle.Bin",
    "lost+found",
    "train",
    ".cache",
]


def test_what_other_programs_keep_is_passed_over_and_said_once(tmp_path):
    for folder in (".", "front", "garage"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.jpg").touch()
        for name in SYSTEM:
            (tmp_path / folder / name).mkdir()
            (tmp_path / folder / name / "thumb.jpg").touch()
    passed = PassedOver()
    found = [path for path, _ in listed(str(tmp_path), passed=passed)]
    assert found == [f"{tmp_path}/{name}" for name in ("a.jpg", "front/a.jpg", "garage/a.jpg")]
    said = str(passed)
    assert all(said.count(name) == 1 for name in ("3 @eaDir", "3 #recycle", "3 lost+found"))
    assert [path for path, _ in listed(f"{tmp_path}/train")] == [f"{tmp_path}/train/thumb.jpg"]  # it was asked for


def test_linked_folders_and_pipes_are_not_followed_and_that_is_said(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "old").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    passed = PassedOver()
    assert pictures(tmp_path / "in", passed=passed) == []
    assert "old" in str(passed)
    assert "pipe.jpg" in str(passed)


def test_only_what_could_be_a_picture_is_worth_a_word(tmp_path):
    for name in ("a.jpg", "notes.txt", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    passed = PassedOver()
    assert len(pictures(tmp_path, passed=passed)) == 1
    assert not passed
    for name in ("._a.jpg", "b.jpg.part"):
        (tmp_path / name).touch()
    assert len(pictures(tmp_path, passed=passed)) == 1
    assert all(name in str(passed) for name in ("._a.jpg", "b.jpg.part"))


def test_names_without_end_are_cut_short():
    passed = PassedOver()
    for number in range(1000):
        passed.add(f".{number}")
    assert len(str(passed)) < 200
    assert "992" in str(passed)
