"""Known people: which photos count, which are named as problems, when the folder cannot be used."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peephole.errors import PeopleError
from peephole.files import pictures
from peephole.people import load_people
from peephole.pipeline import Pipeline, Scale


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(threads=1)


def put(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))


def put_plain(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "grey").save(target)
    return target


def put_both(eileen, grace, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack([eileen.pixels, grace.pixels[:512]])).save(target)
    return target


def test_one_row_a_photo(tmp_path, pipeline, eileen_file, grace_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    put(eileen_file, tmp_path / "Eileen" / "2022" / "2.png")
    put(grace_file, tmp_path / "Grace Hopper" / "1.jpg")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen", "Eileen", "Grace Hopper")
    assert people.embeddings.shape == (3, 128)
    assert people.embeddings.dtype == np.float32
    assert people.problems == ()
    assert len(people) == 3
    assert np.array_equal(people.embeddings[0], people.embeddings[1])
    assert np.linalg.norm(people.embeddings[0] - people.embeddings[2]) > 0.6


def test_rows_are_what_embedding_the_photo_gives(tmp_path, pipeline, grace_file):
    photo = put(grace_file, tmp_path / "Grace" / "1.jpg")
    scale = Scale(max_side=512)
    vectors = pipeline.analyse(photo, scale=scale, embed=True).faces.embeddings
    assert np.array_equal(load_people(str(tmp_path), pipeline, scale=scale).embeddings, vectors)


def test_hidden_files_and_folders_are_nobody(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    (tmp_path / "Eileen" / ".broken.jpg").write_text("no picture")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "broken.jpg").write_text("no picture")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",)
    ((path, reason),) = people.problems
    assert path == str(tmp_path)
    assert ".trash" in reason
    assert ".broken.jpg" in reason


def test_what_other_programs_keep_is_nobody_and_said_once(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    for name in ("@eaDir", "#recycle", "train", "Eileen/@eaDir"):
        put(eileen_file, tmp_path / name / "1.png")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",)
    ((path, reason),) = people.problems
    assert path == str(tmp_path)
    assert all(reason.count(name) == 1 for name in ("@eaDir", "#recycle", "train"))
    with pytest.raises(PeopleError, match=r"no person's folder.*@eaDir"):
        load_people(tmp_path / "Eileen", pipeline)


def test_photos_that_are_not_read_are_named(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    (tmp_path / "Eileen" / "2.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    ((path, reason),) = load_people(tmp_path, pipeline).problems
    assert path == str(tmp_path / "Eileen" / "2.HEIC")
    assert "HEIC" in reason


def test_photos_beside_the_folders_are_nobody(tmp_path, pipeline, eileen_file, grace_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    put(grace_file, tmp_path / "grace.jpg")
    put(grace_file, tmp_path / "notes.txt")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",)
    ((path, reason),) = people.problems
    assert path == str(tmp_path)
    assert "grace.jpg (in no person's folder)" in reason
    assert "notes.txt" not in reason


def test_photos_that_do_not_show_one_face_are_named(tmp_path, pipeline, eileen, grace, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "good.png")
    nobody = put_plain(tmp_path / "Eileen" / "nobody.png")
    both = put_both(eileen, eileen, tmp_path / "Eileen" / "both.png")
    broken = tmp_path / "Eileen" / "broken.jpg"
    broken.write_bytes(eileen_file.read_bytes()[:5000])
    text = tmp_path / "Eileen" / "text.jpg"
    text.write_text("no picture")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",)
    problems = dict(people.problems)
    assert list(problems) == [str(path) for path in (both, broken, nobody, text)]
    assert problems[str(nobody)] == "no face found, exactly one is needed"
    assert problems[str(both)] == "2 faces found, exactly one is needed"
    assert problems[str(broken)].startswith("cut off or damaged")
    assert problems[str(text)].startswith("not a picture")


def test_of_several_faces_the_one_that_is_known_counts(tmp_path, pipeline, eileen, grace, eileen_file):
    both = put_both(eileen, grace, tmp_path / "Eileen" / "a-both.png")
    put(eileen_file, tmp_path / "Eileen" / "good.png")
    put_both(eileen, grace, tmp_path / "Grace" / "both.png")  # nothing tells which of them is Grace
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen", "Eileen")
    assert np.linalg.norm(people.embeddings[0] - people.embeddings[1]) < 0.3
    faces = pipeline.analyse(both, embed=True).faces
    assert len(faces) == 2
    assert people.problems == (
        (str(tmp_path / "Grace" / "both.png"), "2 faces found, exactly one is needed"),
        (str(tmp_path / "Grace"), "no usable photo of Grace"),
    )


def test_somebody_small_in_the_background_is_nobody(tmp_path, pipeline, eileen, grace):
    """Beside a face of 100 px one of 40 is nobody, and one of 58 is somebody."""
    for name, width in (("alone", 120), ("not", 170)):
        frame = eileen.pixels.copy()
        frame[: width * 600 // 512, :width] = np.array(
            Image.fromarray(grace.pixels[:600]).resize((width, width * 600 // 512), Image.Resampling.LANCZOS)
        )
        (tmp_path / name).mkdir()
        Image.fromarray(frame).save(tmp_path / name / "1.png")
        found = pipeline.analyse(frame, scale=Scale(upsample=1))
        assert len(found) == 2, name
    people = load_people(tmp_path, pipeline, scale=Scale(upsample=1))
    assert people.problems[0] == (str(tmp_path / "not" / "1.png"), "2 faces found, exactly one is needed")
    assert people.names == ("alone",)


def turned(frame, degrees: float, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.pixels).rotate(degrees, Image.Resampling.BICUBIC).save(target)
    return target


def test_photo_unlike_the_persons_others_is_left_out(tmp_path, pipeline, eileen, grace, grace_file):
    for number, degrees in enumerate((0, 12, -12), 1):
        turned(eileen, degrees, tmp_path / "Eileen" / f"{number}.png")
    wrong = put(grace_file, tmp_path / "Eileen" / "0.jpg")
    both = put_both(eileen, grace, tmp_path / "Eileen" / "both.png")  # Grace on it is not Eileen
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",) * 4
    ((path, reason),) = people.problems
    assert path == str(wrong)
    assert reason.startswith("unlike Eileen's other photos: score 0.")
    assert [each.name for each in pipeline.analyse(both, people=people).faces].count("Eileen") == 1


def test_of_two_photos_that_are_unlike_none_is_used(tmp_path, pipeline, eileen_file, grace_file):
    photos = [put(eileen_file, tmp_path / "Eileen" / "1.png"), put(grace_file, tmp_path / "Eileen" / "2.jpg")]
    put(eileen_file, tmp_path / "Anna" / "1.png")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Anna",)
    assert [path for path, _ in people.problems] == [*map(str, photos), str(tmp_path / "Eileen")]
    assert "nothing tells which are Eileen's" in people.problems[0][1]


def test_same_person_in_two_folders_is_told(tmp_path, pipeline, eileen, grace_file):
    for name, degrees in (("Ann", 0), ("Eileen", 12)):
        turned(eileen, degrees, tmp_path / name / "1.png")
    put(grace_file, tmp_path / "Grace" / "1.jpg")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Ann", "Eileen", "Grace")
    ((path, reason),) = people.problems
    assert path == str(tmp_path / "Eileen")
    assert reason.startswith("the same person as Ann, to all appearance: score 0.")


@pytest.mark.parametrize("with_a_photo", [True, False])
def test_person_without_a_usable_photo_is_named(tmp_path, pipeline, grace_file, with_a_photo):
    put(grace_file, tmp_path / "Grace" / "1.jpg")
    (tmp_path / "Anna").mkdir()
    if with_a_photo:
        put_plain(tmp_path / "Anna" / "1.png")
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Grace",)
    assert people.problems[-1] == (str(tmp_path / "Anna"), "no usable photo of Anna")
    assert len(people.problems) == (2 if with_a_photo else 1)


def test_min_confidence_counts_for_photos(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    with pytest.raises(PeopleError, match="no face found"):
        load_people(tmp_path, pipeline, min_confidence=5.0)


def test_missing_folder(tmp_path, pipeline):
    with pytest.raises(PeopleError, match="gone is not a folder; it should hold a folder of photos"):
        load_people(tmp_path / "gone", pipeline)


def test_file_for_a_folder(tmp_path, pipeline):
    (tmp_path / "file").touch()
    with pytest.raises(PeopleError, match="file is not a folder"):
        load_people(tmp_path / "file", pipeline)


def test_folder_name_too_long(pipeline):
    with pytest.raises(PeopleError):
        load_people("a" * 300, pipeline)


def test_empty_folder(tmp_path, pipeline):
    with pytest.raises(PeopleError, match="holds no person's folder"):
        load_people(tmp_path, pipeline)


def test_photos_without_a_persons_folder(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "eileen.png")
    with pytest.raises(PeopleError, match="holds no person's folder"):
        load_people(tmp_path, pipeline)


def test_not_one_usable_photo(tmp_path, pipeline):
    photo = put_plain(tmp_path / "Anna" / "1.png")
    with pytest.raises(PeopleError, match="holds no usable photo: ") as caught:
        load_people(tmp_path, pipeline)
    assert f"{photo}: no face found" in str(caught.value)


@pytest.mark.parametrize("name", ["unknown", "unclear", "ignored"])
def test_nobody_is_called_unknown(tmp_path, pipeline, eileen_file, name):
    put(eileen_file, tmp_path / name / "1.png")
    with pytest.raises(PeopleError, match=f"'{name}' is what .* is called: give the person another name"):
        load_people(tmp_path, pipeline)


def test_folder_that_cannot_be_listed_is_named(tmp_path, pipeline, eileen_file, monkeypatch):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    for name in ("Anna", "Eileen/2022"):
        (tmp_path / name).mkdir()
    listing = os.scandir

    def scandir(path="."):
        if Path(path).name in ("Anna", "2022"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    people = load_people(tmp_path, pipeline)
    assert people.names == ("Eileen",)
    assert people.problems == (
        (str(tmp_path / "Anna"), "the folder cannot be listed: Permission denied"),
        (str(tmp_path / "Anna"), "no usable photo of Anna"),
        (str(tmp_path / "Eileen" / "2022"), "the folder cannot be listed: Permission denied"),
    )
    assert pictures(tmp_path) == [tmp_path / "Eileen" / "1.png"]


def test_photos_that_cannot_be_looked_at_are_named(tmp_path, pipeline, eileen_file):
    put(eileen_file, tmp_path / "Eileen" / "1.png")
    (tmp_path / "Eileen" / "2.png").symlink_to("nowhere.png")
    assert load_people(tmp_path, pipeline).problems == ((str(tmp_path / "Eileen" / "2.png"), "no such file"),)


def test_progress_is_told_of_each_photo(tmp_path, pipeline, eileen_file):
    photos = [put(eileen_file, tmp_path / "Eileen" / "1.png"), put_plain(tmp_path / "Eileen" / "2.png")]
    seen = []
    load_people(tmp_path, pipeline, progress=seen.append)
    assert seen == [str(photo) for photo in photos]
