"""The gallery's file: made, opened, recognised, brought up to date, kept from others."""

import os
import re
import sqlite3
import stat
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peephole import __version__
from peephole.errors import GalleryDamaged, GalleryError, GalleryFull, GalleryNotFound
from peephole.gallery import Gallery, VisitRecord, gallery_path, schema
from peephole.match import Rule

SCHEMA_1 = Path(__file__).with_name("schema1.sql")
RULE = Rule("cosine", 0.36, 0.03)
A = "a" * 64


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def user_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def old_gallery(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1.read_text())
    return path


# -- where it is ------------------------------------------------------------------------------------------------


def test_the_variable_names_the_gallery(monkeypatch, tmp_path):
    monkeypatch.setenv("PEEPHOLE_GALLERY", str(tmp_path / "mine.db"))
    assert gallery_path() == tmp_path / "mine.db"
    with Gallery.open() as gallery:
        assert gallery.path == tmp_path / "mine.db"
    assert (tmp_path / "mine.db").is_file()


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_platform_chooses(value, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("PEEPHOLE_GALLERY", raising=False)
    if value is not None:
        monkeypatch.setenv("PEEPHOLE_GALLERY", value)
    assert gallery_path() == tmp_path / "peephole" / "gallery.db"


# -- made -------------------------------------------------------------------------------------------------------


def test_made_empty_and_marked(path):
    with Gallery.open(path) as gallery:
        assert gallery.people() == []
        assert len(gallery.known(A)) == 0
        assert gallery.version() == 0
        gallery.check()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x50454550,)
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_is_made_where_none_is_wanted(path):
    with pytest.raises(GalleryNotFound, match=re.escape(f"there is no gallery {path}; enrol somebody")):
        Gallery.open(path, create=False)
    assert not path.parent.exists()


def test_nothing_but_the_gallery_is_left_in_its_folder(path):
    Gallery.open(path).close()
    assert [each.name for each in path.parent.iterdir()] == ["gallery.db"]


def test_owner_alone_can_read_it_whatever_the_umask(tmp_path, photo, vector):
    path = tmp_path / "new" / "folder" / "gallery.db"
    before = os.umask(0)
    try:
        with Gallery.open(path) as gallery:
            gallery.add_photo("Anna", photo(1), {A: vector(1)})
            files = {each.name: mode(each) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert files == {"gallery.db": 0o600, "gallery.db-wal": 0o600, "gallery.db-shm": 0o600}
    assert mode(path.parent) == mode(path.parent.parent) == 0o700


def test_a_file_open_to_others_is_closed_to_them_and_its_folder_left_alone(tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "gallery.db"
    Gallery.open(path).close()
    path.chmod(0o664)
    with Gallery.open(path) as gallery:
        gallery.set_rule(A, RULE)
        assert {mode(each) for each in tmp_path.iterdir()} == {0o600}
    assert mode(tmp_path) == 0o755


def test_a_gallery_behind_a_link(tmp_path, photo):
    Gallery.open(tmp_path / "real.db").close()
    (tmp_path / "link.db").symlink_to("real.db")
    with Gallery.open(tmp_path / "link.db") as gallery:
        gallery.add_photo("Anna", photo(1), {})
    with Gallery.open(tmp_path / "real.db") as gallery:
        assert len(gallery.people()) == 1


def test_processes_that_make_it_at_once_make_one(path, python):
    code = """if True:
        import sys
        from peephole.gallery import Gallery
        input()
        Gallery.open(sys.argv[1]).close()
    """
    processes = [python(code, path) for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""
    with Gallery.open(path, create=False) as gallery:
        gallery.check()
    # Of two that close at the same moment neither is the last, so the log may lie there until one closes it alone.
    assert [each.name for each in path.parent.iterdir()] == ["gallery.db"]


# -- something else ---------------------------------------------------------------------------------------------


def test_a_folder(tmp_path):
    with pytest.raises(GalleryError, match="is no file; name one for the gallery"):
        Gallery.open(tmp_path)


def test_a_file_for_its_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GalleryError, match="file"):
        Gallery.open(tmp_path / "file" / "gallery.db")


def test_an_empty_file(tmp_path):
    path = tmp_path / "gallery.db"
    path.touch()
    with pytest.raises(GalleryDamaged, match="is an empty file, no gallery"):
        Gallery.open(path)


@pytest.mark.parametrize("data", [b"no database", b"SQLite format 3\0" + bytes(range(256)) * 40, bytes(8192)])
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path, data):
    path = tmp_path / "gallery.db"
    path.write_bytes(data)
    with pytest.raises(GalleryDamaged, match=re.escape(str(path))):
        Gallery.open(path)
    assert path.read_bytes() == data


def test_another_programs_database_is_left_as_it_is(tmp_path):
    path = tmp_path / "gallery.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE people (name)")
    before = path.read_bytes()
    with pytest.raises(GalleryDamaged, match="is an SQLite file of another program, no gallery"):
        Gallery.open(path)
    assert path.read_bytes() == before


def test_a_newer_gallery_is_left_as_it_is(path):
    Gallery.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    newest = rf"has schema 99, and this Peephole {re.escape(__version__)} knows no schema newer than {schema.SCHEMA}"
    with pytest.raises(GalleryError, match=newest):
        Gallery.open(path)
    assert path.read_bytes() == before


def test_damage_is_found(path, photo, vector):
    with Gallery.open(path) as gallery:
        for number in range(20):
            gallery.add_photo("Anna", photo(number), {A: vector(number)})
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 8] = os.urandom(4096 * 5)
    path.write_bytes(data)
    with Gallery.open(path) as gallery, pytest.raises(GalleryDamaged, match="damaged"):
        gallery.check()


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(GalleryError, match=r"needs SQLite 3\.37 or newer"):
        Gallery.open(path)


# -- an older schema --------------------------------------------------------------------------------------------


def test_schema_1_is_brought_up_to_date(path):
    with Gallery.open(old_gallery(path)) as gallery:
        gallery.check()
        assert gallery.version() == 41
        assert [(p.id, p.name, p.photos, p.ignored) for p in gallery.people()] == [
            (1, "Anna", 1, False),
            (3, "Ørjan", 1, True),
        ]
        anna, other = gallery.photos()
        assert anna.landmarks.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
        assert (anna.box, anna.crop) == ((0.0, 1.0, 10.5, 12.0), b"\x89PNG\r\n\x1a\n\x01")
        assert (other.landmarks, other.quality) == (None, None)
        known = gallery.known("f" * 64)
        assert known.names == ("Anna", "Ørjan", "group-7")
        assert known.embeddings.tolist() == [[1, 2], [-1, 0.5], [0, 0]]
        assert known.twins is None  # nobody has made any
        assert known.ignored == {"Ørjan", "group-7"}
        assert [(each.name, each.embedding.tolist()) for each in known.rejected] == [("Anna", [2, 0])]
        visit = VisitRecord("door/1.jpg", "door", 1.0, 2.0, "closed", ("Anna",), 3)
        gallery.save_visit(visit)
        assert gallery.visits() == [visit]
    assert user_version(path) == schema.SCHEMA


def test_the_migrations_behind_schema_1_are_as_they_were():
    with closing(sqlite3.connect(":memory:")) as old, closing(sqlite3.connect(":memory:")) as new:
        old.executescript(SCHEMA_1.read_text())
        for statement in schema.MIGRATIONS[0]:
            new.execute(statement)
        names = "SELECT type, name, tbl_name FROM sqlite_schema ORDER BY name"
        assert old.execute(names).fetchall() == new.execute(names).fetchall()
        for _, name, _ in old.execute(names).fetchall():
            columns = f"PRAGMA table_xinfo({name})"
            assert old.execute(columns).fetchall() == new.execute(columns).fetchall()


def test_a_migration_that_fails_leaves_the_schema_before_it(path, monkeypatch):
    bad = ("CREATE TABLE more (name TEXT)", "INSERT INTO more SELECT name FROM nowhere")
    monkeypatch.setattr(schema, "FORMAT", replace(schema.FORMAT, migrations=(*schema.MIGRATIONS, bad)))
    with pytest.raises(GalleryError, match="nowhere"):
        Gallery.open(old_gallery(path))
    assert user_version(path) == schema.SCHEMA
    monkeypatch.undo()
    with Gallery.open(path) as gallery:
        assert len(gallery.people()) == 2
        assert gallery.visits() == []


def test_processes_that_migrate_at_once_migrate_once(path, python):
    old_gallery(path)
    code = "import sys; from peephole.gallery import Gallery; input(); Gallery.open(sys.argv[1]).check()"
    processes = [python(code, path) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]


# -- disks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(mounted):
    """A disk of 2 MB."""
    return mounted("2m")


def test_a_full_disk_stores_nothing_of_a_photo(disk, photo, vector):
    filler = disk / "filler"
    with Gallery.open(disk / "gallery.db") as gallery:
        gallery.add_photo("Anna", photo(0), {A: vector(0)})
        filler.write_bytes(bytes(disk_free(disk) - 40_000))
        version = gallery.version()
        with pytest.raises(GalleryFull, match=r"gallery\.db has no space left on its disk; nothing was stored"):
            gallery.add_photo("Ben", photo(1, side=200), {A: vector(1)})
        assert [person.name for person in gallery.people()] == ["Anna"]
        assert gallery.version() == version
        gallery.check()
        filler.unlink()
        gallery.add_photo("Ben", photo(1, side=200), {A: vector(1)})
        assert gallery.known(A).names == ("Anna", "Ben")
    with Gallery.open(disk / "gallery.db") as gallery:
        gallery.check()
        assert len(gallery.photos()) == 2


def test_a_full_disk_fills_up_without_losing_what_was_stored(disk, photo, vector):
    """As in use: until it is full, each photo stored or not, and all stored ones there afterwards."""
    stored = []
    with Gallery.open(disk / "gallery.db") as gallery, pytest.raises(GalleryFull):  # noqa: PT012
        for number in range(100):
            stored.append(number)
            gallery.add_photo("Anna", photo(number, side=100), {A: vector(number)})
    with Gallery.open(disk / "gallery.db") as gallery:
        gallery.check()
        assert [each.source for each in gallery.photos()] == [f"{number}.jpg" for number in stored[:-1]]
        assert len(stored) > 10


def test_no_gallery_is_made_on_a_full_disk(disk):
    (disk / "filler").write_bytes(bytes(disk_free(disk) - 16_384))
    with pytest.raises(GalleryFull):
        Gallery.open(disk / "gallery.db")
    assert [each.name for each in disk.iterdir()] == ["filler"]


def test_a_disk_that_cannot_be_written(disk):
    Gallery.open(disk / "gallery.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(GalleryError, match=r"gallery.db .*(writable|cannot be)"):
        Gallery.open(disk / "gallery.db")
    with pytest.raises(GalleryError, match=r"other.db cannot be used: .*Read-only file system"):
        Gallery.open(disk / "other.db")


def disk_free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def test_vectors_come_back_as_they_were(gallery, photo):
    values = np.array([1e-38, -0.0, 3.4e38, 1 / 3], np.float32)
    gallery.add_photo("Anna", photo(1), {A: values})
    assert gallery.known(A).embeddings.tobytes() == values.tobytes()
