"""The gallery's file: how it is made, opened, recognised, brought up to date and told apart from damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import database
from ..errors import GalleryDamaged, GalleryError, GalleryFull, GalleryNotFound

APPLICATION_ID = int.from_bytes(b"PEEP", "big")
"""What SQLite's header says of the file: it is a gallery of Peephole."""

BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

ERRORS = database.Errors(
    GalleryError, GalleryDamaged, GalleryFull, "gallery", "move it away and import your last export"
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (  # 1: people, faces and what is known of them
        "CREATE TABLE state (version INTEGER NOT NULL, unscrubbed INTEGER NOT NULL) STRICT",
        "INSERT INTO state VALUES (0, 0)",
        """CREATE TABLE people (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            folded TEXT NOT NULL UNIQUE,
            ignored INTEGER NOT NULL DEFAULT 0 CHECK (ignored IN (0, 1)),
            created REAL NOT NULL
        ) STRICT""",
        """CREATE TABLE groups (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            ignored INTEGER NOT NULL DEFAULT 0 CHECK (ignored IN (0, 1)),
            created REAL NOT NULL
        ) STRICT""",
        # The crop comes last: what stands behind a large value is slow to read.
        """CREATE TABLE faces (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            person_id INTEGER REFERENCES people (id) ON DELETE CASCADE,
            group_id INTEGER REFERENCES groups (id) ON DELETE CASCADE,
            rejected_id INTEGER REFERENCES people (id) ON DELETE CASCADE,
            time REAL NOT NULL,
            camera TEXT NOT NULL,
            source TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            landmarks TEXT,
            landmark_kind TEXT NOT NULL,
            box TEXT NOT NULL,
            quality TEXT,
            crop BLOB NOT NULL,
            CHECK ((person_id IS NOT NULL) + (group_id IS NOT NULL) + (rejected_id IS NOT NULL) = 1)
        ) STRICT""",
        "CREATE INDEX faces_of_person ON faces (person_id) WHERE person_id IS NOT NULL",
        "CREATE INDEX faces_of_group ON faces (group_id, time) WHERE group_id IS NOT NULL",
        "CREATE INDEX faces_rejected ON faces (rejected_id) WHERE rejected_id IS NOT NULL",
        """CREATE TABLE embeddings (
            face_id INTEGER NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
            model TEXT NOT NULL,
            vector BLOB NOT NULL,
            PRIMARY KEY (face_id, model)
        ) STRICT, WITHOUT ROWID""",
        "CREATE TABLE rules (model TEXT PRIMARY KEY, rule TEXT NOT NULL, created REAL NOT NULL) STRICT, WITHOUT ROWID",
    ),
    (  # 2: visits
        """CREATE TABLE visits (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            key TEXT NOT NULL UNIQUE,
            camera TEXT NOT NULL,
            began REAL NOT NULL,
            ended REAL NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('opened', 'updated', 'closed')),
            frames INTEGER NOT NULL,
            detail TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX visits_by_time ON visits (ended)",
        # Who was there: somebody enrolled, or a word for somebody who is not.
        """CREATE TABLE visitors (
            visit_id INTEGER NOT NULL REFERENCES visits (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            person_id INTEGER REFERENCES people (id) ON DELETE CASCADE,
            name TEXT,
            PRIMARY KEY (visit_id, position),
            CHECK ((person_id IS NULL) <> (name IS NULL))
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX visitors_by_person ON visitors (person_id) WHERE person_id IS NOT NULL",
    ),
    # 3: the vector of the same face without its colour; none where nobody has made it yet
    ("ALTER TABLE embeddings ADD COLUMN twin BLOB",),
)
"""What leads from each schema to the next. A schema's number is how many of these it has behind it; add, never edit."""

SCHEMA = len(MIGRATIONS)

FORMAT = database.Format(
    application=APPLICATION_ID,
    foreign="is an SQLite file of another program, no gallery",
    migrations=MIGRATIONS,
    set_up=("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON"),
    errors=ERRORS,
    timeout=BUSY_SECONDS,
)

TABLES = ("people", "groups", "faces", "embeddings", "rules", "visits", "visitors")
"""What holds data, each after those that it refers to."""


def connect(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """Open a gallery's file, make it first where there is none, bring it up to date.

    The connection commits by itself unless `database.transaction` holds it. It belongs to the thread that made it.

    Raises:
        GalleryNotFound: there is none, and none is to be made.
        GalleryDamaged: it is something else, or damaged.
        GalleryError: a newer Peephole wrote it; or it cannot be opened, made or written.
    """
    with translated(path):
        if path.is_file() and path.stat().st_size == 0:
            raise GalleryDamaged(f"{path} is an empty file, no gallery; remove it to start with a new one")
    missing = GalleryNotFound(f"there is no gallery {path}; enrol somebody to make it: peephole enroll NAME FILE")
    return database.connect(path, FORMAT, missing=None if create else missing)


def open_file(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there, nothing read or changed yet."""
    return database.open_file(path, timeout=FORMAT.timeout)


def identify(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is no gallery, or that a newer Peephole wrote; see `database.identify`."""
    database.identify(db, path, FORMAT)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to the current schema; see `database.migrate`."""
    database.migrate(db, FORMAT.migrations)


def check(db: sqlite3.Connection, path: Path) -> None:
    """Read all of it for damage.

    Raises:
        GalleryDamaged: what is wrong first.
    """
    with translated(path):
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        orphan = db.execute("PRAGMA foreign_key_check").fetchone()
    if found != "ok":
        raise GalleryDamaged(f"{path} is damaged: {found}")
    if orphan:
        raise GalleryDamaged(f"{path} is damaged: row {orphan[1]} of {orphan[0]} refers to nothing in {orphan[2]}")


def scrub(db: sqlite3.Connection) -> None:
    """Write the file anew without what was deleted, and empty the write-ahead log.

    Raises:
        GalleryError: another process kept reading what was there before.
    """
    # SQLite's secure_delete clears what is deleted, but not the copies that moving rows between pages leaves behind.
    (deletions,) = db.execute("SELECT unscrubbed FROM state").fetchone()
    db.execute("VACUUM")
    (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise GalleryError(f"another process has been reading for {BUSY_SECONDS:g} seconds")
    db.execute("UPDATE state SET unscrubbed = 0 WHERE unscrubbed = ?", (deletions,))  # unless there are more by now


@contextmanager
def translated(path: Path, what: str = "the gallery") -> Iterator[None]:
    """Turn the errors of SQLite and of the operating system into Peephole's; see `database.translated`."""
    with database.translated(path, what, ERRORS, timeout=FORMAT.timeout):
        yield
