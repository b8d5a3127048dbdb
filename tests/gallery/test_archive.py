"""Export and import: everything, checked, in one step; a damaged export changes nothing."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import stat
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from peephole import __version__
from peephole.errors import GalleryDamaged, GalleryError, GalleryNotFound
from peephole.gallery import Gallery, VisitRecord, archive, schema
from peephole.match import Rule

A, B = "a" * 64, "b" * 64


def rows(path: Path) -> dict[str, list[tuple]]:
    """Everything a gallery holds, as SQLite has it."""
    with closing(sqlite3.connect(path)) as db:
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in schema.TABLES}


def seal(file: Path) -> None:
    """Make the checksum right, as somebody could who means harm."""
    data = file.read_bytes()[:-71]
    file.write_bytes(data + b"sha256:" + hashlib.sha256(data).hexdigest().encode())


@pytest.fixture
def full(gallery, photo, vector) -> Gallery:
    """A gallery with something of everything."""
    for number, name in enumerate(["Anna", "Anna", "Ørjan 🦊"]):
        gallery.add_photo(name, photo(number), {A: vector(number), B: vector(number, d=5)})
    gallery.ignore("Ørjan 🦊")
    gallery.reject("Anna", photo(5), {A: vector(5)})
    gallery.add_unknown(photo(6), {A: vector(6)}, camera="door")
    gallery.ignore_group(gallery.add_unknown(photo(7), {A: vector(7)}).group)
    gallery.set_rule(A, Rule("cosine", 0.4, 0.05, 1e-3, ((0.1, 0.1), (0.5, 1e-4))))
    gallery.save_visit(VisitRecord("door/1", "door", 1.0, 2.0, "closed", ("Anna", "unknown"), 2, {"score": 0.5}))
    return gallery


@pytest.fixture
def export(full, tmp_path) -> Path:
    full.export(tmp_path / "export.zip")
    return tmp_path / "export.zip"


def test_everything_comes_through(full, path, export, tmp_path):
    other = tmp_path / "new" / "other.db"
    Gallery.import_(export, other)
    assert rows(other) == rows(path)
    assert all(rows(other).values())
    with Gallery.open(other) as gallery:
        gallery.check()
        assert gallery.known(A).names == full.known(A).names
    assert [each.name for each in other.parent.iterdir()] == ["other.db"]
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert stat.S_IMODE(other.parent.stat().st_mode) == 0o700


def test_an_export_is_an_archive_for_its_owner_alone(full, export, tmp_path):
    assert stat.S_IMODE(export.stat().st_mode) == 0o600
    with zipfile.ZipFile(export) as opened:
        assert opened.namelist() == ["manifest.json", "gallery.db"]
        assert opened.testzip() is None
        manifest = json.loads(opened.read("manifest.json"))
    assert manifest == {
        "format": "peephole-gallery",
        "schema": schema.SCHEMA,
        "peephole": __version__,
        "exported": 1000.0,
    }
    assert sorted(each.name for each in tmp_path.iterdir()) == ["export.zip", "peephole"]


def test_an_export_replaces_the_one_before(full, export, photo, tmp_path):
    full.add_photo("Ben", photo(20), {})
    full.export(export)
    Gallery.import_(export, tmp_path / "other.db")
    with Gallery.open(tmp_path / "other.db") as gallery:
        assert [person.name for person in gallery.people()] == ["Anna", "Ben", "Ørjan 🦊"]


def test_a_gallery_that_holds_something_is_replaced_only_when_asked(export, tmp_path, photo):
    other = tmp_path / "other.db"
    with Gallery.open(other) as gallery:
        gallery.add_photo("Ben", photo(20), {})
        before = rows(other)
        with pytest.raises(GalleryError, match=r"other\.db is not empty: --replace puts the export"):
            Gallery.import_(export, other)
        assert rows(other) == before
        version = gallery.version()
        Gallery.import_(export, other, replace=True)
        assert gallery.version() > version  # it was open all the time, as in a running service
        assert [person.name for person in gallery.people()] == ["Anna", "Ørjan 🦊"]


def test_import_where_the_variable_says(export, tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_GALLERY", str(tmp_path / "chosen.db"))
    Gallery.import_(str(export))
    assert len(rows(tmp_path / "chosen.db")["people"]) == 2


def test_an_export_of_an_older_schema_is_brought_up_to_date(export, tmp_path):
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db:
        db.executescript(Path(__file__).with_name("schema1.sql").read_text())
    archive._pack(old, tmp_path / "old.zip", 1.0)
    Gallery.import_(tmp_path / "old.zip", tmp_path / "other.db")
    with Gallery.open(tmp_path / "other.db") as gallery:
        assert [person.name for person in gallery.people()] == ["Anna", "Ørjan"]


# -- damage -----------------------------------------------------------------------------------------------------


def assert_refused(damaged: Path, path: Path, kind: type[GalleryError] = GalleryDamaged, match: str = "") -> None:
    """It changes nothing: neither a gallery that is there, nor is one made."""
    before, there = rows(path), sorted(path.parent.iterdir())
    with pytest.raises(kind, match=match or r"damaged|no export"):
        Gallery.import_(damaged, path, replace=True)
    assert rows(path) == before
    assert sorted(path.parent.iterdir()) == there
    new = path.parent / "new" / "gallery.db"
    with pytest.raises(kind):
        Gallery.import_(damaged, new)
    assert not new.exists()


def test_any_flipped_bit_is_found(export, path, tmp_path):
    data = export.read_bytes()
    damaged = tmp_path / "damaged"
    chosen = random.Random(4)
    ends = [*range(80), *range(len(data) - 400, len(data))]  # the archive's own structure, and the seal
    for place in ends + [chosen.randrange(len(data)) for _ in range(300)]:
        changed = bytearray(data)
        changed[place] ^= 1 << chosen.randrange(8)
        damaged.write_bytes(changed)
        with (
            pytest.raises(GalleryDamaged, match="its checksum is not right"),
            archive.unpacked(damaged, tmp_path / "nowhere"),
        ):
            pass
    assert not (tmp_path / "nowhere").exists()
    assert_refused(damaged, path)


def test_any_truncation_or_addition_is_found(export, path, tmp_path):
    data = export.read_bytes()
    damaged = tmp_path / "damaged"
    lengths = [0, 1, 70, 71, 72, len(data) // 2, len(data) - 1, *random.Random(4).sample(range(len(data)), 50)]
    for cut in [data[:length] for length in lengths] + [data + b"\0", b"\0" + data, data + data]:
        damaged.write_bytes(cut)
        if cut != data + data:
            with pytest.raises(GalleryDamaged), archive.unpacked(damaged, tmp_path / "nowhere"):
                pass
        assert_refused(damaged, path)


@pytest.mark.parametrize("data", [b"", b"no export", b"sha256:" + b"0" * 64, bytes(100_000)])
def test_a_file_that_is_no_export(full, path, tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    assert_refused(tmp_path / "file", path)


def test_no_file_or_a_folder(full, path, tmp_path):
    assert_refused(tmp_path / "gone", path, GalleryNotFound, "there is no export .*gone")
    assert_refused(tmp_path, path, GalleryError, "Is a directory")


def test_other_archives_are_no_exports(full, path, tmp_path):
    file = tmp_path / "other.zip"
    manifests = [{"format": "other", "schema": 1, "peephole": "1"}, {"format": "peephole-gallery"}, [], 7]
    for members in [{"a": "b"}, *({"manifest.json": json.dumps(each), "gallery.db": ""} for each in manifests)]:
        with zipfile.ZipFile(file, "w") as opened:
            for name, text in members.items():
                opened.writestr(name, text)
            opened.comment = bytes(71)
        seal(file)
        assert_refused(file, path)
    file.write_bytes(bytes(1000))
    seal(file)
    assert_refused(file, path)


def test_an_export_of_a_newer_schema(full, path, tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "SCHEMA", 99)
    full.export(tmp_path / "newer")
    monkeypatch.undo()
    says = rf"has schema 99, written by Peephole {__version__}, .* no schema newer than {schema.SCHEMA}: update it"
    assert_refused(tmp_path / "newer", path, GalleryError, says)


@pytest.mark.parametrize(
    "harm",
    [
        "PRAGMA application_id = 7",
        "DROP TABLE embeddings",
        "INSERT INTO embeddings VALUES (99, 'm', x'00', NULL)",
        "UPDATE people SET name = '../../x' WHERE id = 1",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'visits'",
    ],
)
def test_a_database_that_is_not_as_it_should_be(full, path, tmp_path, harm):
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy)) as db:
        db.executescript(harm)
    archive._pack(copy, tmp_path / "harm.zip", 1.0)
    assert_refused(tmp_path / "harm.zip", path, GalleryError, ".")


# -- where it is written ----------------------------------------------------------------------------------------


def test_an_export_never_overwrites_the_gallery(full, path, tmp_path):
    before = rows(path)
    (tmp_path / "link").symlink_to(path)
    for file in (path, tmp_path / "link"):
        with pytest.raises(GalleryError, match="is the gallery itself"):
            full.export(file)
    assert rows(path) == before


def test_an_export_that_cannot_be_written_leaves_what_was_there(full, tmp_path, monkeypatch):
    with pytest.raises(GalleryError, match=r"the export of .*gallery\.db to .*nowhere.* cannot be used"):
        full.export(tmp_path / "nowhere" / "export")
    file = tmp_path / "export"
    file.write_text("the export before")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(GalleryError, match="No space left on device"):
        full.export(file)
    assert file.read_text() == "the export before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["export", "peephole"]


def test_what_a_killed_export_left_is_removed_by_the_next(full, tmp_path, python, path):
    code = """if True:
        import os, sys
        from peephole.gallery import Gallery, archive
        archive._pack = lambda *arguments: os.kill(os.getpid(), 9)
        Gallery.open(sys.argv[1]).export(sys.argv[2])
    """
    process = python(code, path, tmp_path / "export")
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    (left,) = tmp_path.glob(".peephole-export-*")
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    full.export(tmp_path / "export")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["export", "peephole"]


def test_a_killed_import_changes_nothing(export, path, python, full, photo):
    full.add_photo("Ben", photo(30), {})
    before = rows(path)
    code = """if True:
        import os, signal, sys
        from peephole.gallery import Gallery, schema
        connect = schema.connect
        def watched(*arguments, **options):
            db = connect(*arguments, **options)
            db.set_trace_callback(lambda sql: sql.startswith("INSERT INTO main.rules") and os.kill(os.getpid(), 9))
            return db
        schema.connect = watched
        Gallery.import_(sys.argv[1], sys.argv[2], replace=True)
    """
    process = python(code, export, path)
    assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
    assert rows(path) == before
    with Gallery.open(path) as gallery:
        gallery.check()
    assert list(path.parent.glob(".peephole-import-*"))  # a copy of the export, which the next import removes
    Gallery.import_(export, path, replace=True)
    assert not list(path.parent.glob(".peephole-*"))
