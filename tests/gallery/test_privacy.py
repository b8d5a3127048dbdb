"""What is deleted is gone from the files: their bytes are searched."""

import dataclasses
import json
import logging
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from peephole.errors import GalleryError
from peephole.gallery import Gallery, VisitRecord, schema

A = "a" * 64
NAME = "Zyxwvutsrqponm"


def files(path: Path) -> bytes:
    found = sorted(path.parent.glob(f"{path.name}*"))
    assert path in found
    return b"".join(each.read_bytes() for each in found)


def traces(photos, vectors) -> list[bytes]:
    """What tells of faces: pieces of the crops, of the vectors, of the pictures' hashes."""
    crops = [each.crop[start : start + 40] for each in photos for start in range(60, len(each.crop) - 40, 500)]
    return crops + [each.tobytes()[16:48] for each in vectors] + [each.sha256.encode() for each in photos]


def left(path: Path, wanted: list[bytes]) -> list[bytes]:
    data = files(path)
    return [trace for trace in wanted if trace in data]


@pytest.fixture
def crowd(gallery, photo, vector):
    """People enough for several pages, some gone again, so that SQLite has moved rows about."""
    for number in range(60):
        gallery.add_photo(f"person {number % 7}", photo(number, side=20 + number), {A: vector(number)})
    gallery.merge("person 1", "person 2")
    return gallery


def enrol(gallery, photo, vector, numbers=(1001, 1002, 1003)) -> list[bytes]:
    photos, vectors = [photo(each, side=90) for each in numbers], [vector(each) for each in numbers]
    for each, values in zip(photos, vectors, strict=True):
        gallery.add_photo(NAME, each, {A: values})
    gallery.reject(NAME, photo(1010, side=90), {A: vector(1010)})
    group = gallery.add_unknown(photo(1011, side=90), {A: vector(1011)}).group
    gallery.name_group(group, NAME)
    detail = {"people": [{"name": NAME, "score": 0.5}, {"name": "unknown", "nearest": NAME}]}
    gallery.save_visit(VisitRecord("door/1", "door", 1.0, 2.0, "closed", (NAME, "person 3"), 3, detail))
    extra = [photo(1010, side=90), photo(1011, side=90)]
    texts = [NAME.encode(), NAME.casefold().encode()]
    return texts + traces(photos + extra, [*vectors, vector(1010), vector(1011)])


def test_what_is_looked_for_is_found_before(crowd, path, photo, vector):
    wanted = enrol(crowd, photo, vector)
    assert NAME.encode() in left(path, wanted)
    assert len(left(path, wanted)) > 0.9 * len(wanted) > 100  # pieces that lie across two pages are not found


def test_forget_leaves_no_trace(crowd, path, photo, vector):
    wanted = enrol(crowd, photo, vector)
    crowd.forget(NAME)
    assert left(path, wanted) == []
    assert [(each.names, each.detail) for each in crowd.visits()] == [(("person 3",), {})]
    assert len(crowd.photos()) == 60
    crowd.check()
    crowd.close()
    assert left(path, wanted) == []


def test_forget_while_others_have_the_gallery_open(crowd, path, photo, vector):
    with Gallery.open(path) as other:
        wanted = enrol(other, photo, vector)
        assert NAME in crowd.known(A).names
        other.forget(NAME)
        assert left(path, wanted) == []
        assert NAME not in crowd.known(A).names


@pytest.mark.parametrize("name", ["Åsa Öberg", 'quo"te', "🦊 fox"])
def test_names_of_all_kinds_are_forgotten(gallery, path, photo, name):
    gallery.add_photo(name, photo(1), {})
    gallery.save_visit(VisitRecord("door/1", "door", 1.0, 2.0, "closed", (name,), 3, {"people": [{"name": name}]}))
    wanted = [name.encode(), json.dumps(name).encode()[1:-1], json.dumps(name, ensure_ascii=False).encode()[1:-1]]
    gallery.forget(name)
    assert left(path, wanted) == []


def test_a_forgotten_photo_group_correction_and_model_leave_no_trace(crowd, path, photo, vector):
    one = crowd.add_photo("person 3", photo(2001, side=90), {A: vector(2001)})
    two = crowd.add_unknown(photo(2002, side=90), {A: vector(2002)})
    three = crowd.reject("person 3", photo(2003, side=90), {A: vector(2003)})
    wanted = traces([photo(each, side=90) for each in (2001, 2002, 2003)], [vector(each) for each in (2001, 2002)])
    assert len(left(path, wanted)) > 0.9 * len(wanted)
    crowd.forget_photo(one)
    crowd.forget_group(two.group)
    crowd.forget_rejection(three)
    assert left(path, wanted) == []
    kept = [vector(number).tobytes()[16:48] for number in range(60)]
    assert len(left(path, kept)) > 0.9 * len(kept)
    assert crowd.prune(A) == 60
    assert left(path, kept) == []


def test_what_has_expired_leaves_no_trace(crowd, path, clock, photo, vector):
    photos, vectors = [photo(each, side=90) for each in (3001, 3002)], [vector(each) for each in (3001, 3002)]
    for each, values in zip(photos, vectors, strict=True):
        crowd.add_unknown(each, {A: values}, time=10.0, camera="camera-of-old")
    crowd.save_visit(VisitRecord("camera-of-old/1", "camera-of-old", 1.0, 2.0, "closed", ("unknown",)))
    wanted = [b"camera-of-old", *traces(photos, vectors)]
    assert len(left(path, wanted)) > 0.9 * len(wanted)
    clock.now = 5000.0
    crowd.expire(max_age=1000.0)
    assert left(path, wanted) == []


def test_replacing_a_gallery_leaves_no_trace_of_it(crowd, path, tmp_path, photo, vector):
    Gallery.open(tmp_path / "other.db").close()
    with Gallery.open(tmp_path / "other.db") as other:
        other.export(tmp_path / "export")
    wanted = enrol(crowd, photo, vector)
    Gallery.import_(tmp_path / "export", path, replace=True)
    assert left(path, wanted) == []
    assert crowd.people() == []


def test_a_kill_before_the_file_is_written_anew_is_made_good(crowd, path, photo, vector, python):
    wanted = enrol(crowd, photo, vector)
    code = """if True:
        import os, signal, sys
        from peephole.gallery import Gallery, schema
        schema.scrub = lambda db: os.kill(os.getpid(), signal.SIGKILL)
        Gallery.open(sys.argv[1]).forget(sys.argv[2])
    """
    process = python(code, path, NAME)
    assert process.wait(60) == -signal.SIGKILL
    assert all(person.name != NAME for person in crowd.people())
    assert left(path, wanted)
    Gallery.open(path).close()
    assert left(path, wanted) == []


def test_a_reader_in_the_way_is_named_and_the_next_opening_makes_it_good(
    crowd, path, photo, vector, monkeypatch, caplog
):
    wanted = enrol(crowd, photo, vector)
    monkeypatch.setattr(schema, "FORMAT", dataclasses.replace(schema.FORMAT, timeout=0.05))
    with Gallery.open(path) as other, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM people").fetchall()
        with pytest.raises(GalleryError, match=r"what was deleted is gone .* the next opening tries again: .*reading"):
            other.forget(NAME)
        with caplog.at_level(logging.WARNING), Gallery.open(path) as third:
            assert third.people() == other.people()
        assert "another process has been reading" in caplog.text
        reader.execute("ROLLBACK")
    Gallery.open(path).close()
    assert left(path, wanted) == []


def test_an_export_holds_nothing_deleted(crowd, tmp_path, path, photo, vector):
    wanted = enrol(crowd, photo, vector)
    crowd.forget(NAME)
    crowd.export(tmp_path / "export")
    data = (tmp_path / "export").read_bytes()
    assert [trace for trace in wanted if trace in data] == []


def test_a_search_would_find_a_plain_delete(path, photo, vector):
    """The search can fail: without clearing, SQLite leaves the bytes."""
    with Gallery.open(path) as gallery:
        gallery.add_photo(NAME, photo(1, side=90), {A: vector(1)})
        gallery._db.execute("PRAGMA secure_delete = OFF")
        gallery._db.execute("DELETE FROM people")
    assert left(path, traces([photo(1, side=90)], [np.asarray(vector(1))]))
