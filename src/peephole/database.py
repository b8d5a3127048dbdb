"""What all SQLite files of Peephole have in common: made in one step, closed to others, migrated, errors translated.

The gallery, the queue and the history of timings say what is in them; see `gallery.schema`, `spool`, `timings.history`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from . import __version__
from .errors import PeepholeError

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables came with it, in November 2021."""


@dataclass(frozen=True, slots=True)
class Errors:
    """What SQLite's errors become, and how to put it.

    Attributes:
        general, damaged, full: the error for each.
        noun: what the file is, as "gallery".
        repair: what to do with a damaged one.
    """

    general: type[PeepholeError]
    damaged: type[PeepholeError]
    full: type[PeepholeError]
    noun: str
    repair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file.

    Attributes:
        application: what SQLite's header says of it (`PRAGMA application_id`).
        foreign: what is said of another program's file, as "is no queue".
        migrations: what leads from each schema to the next. A schema's number is how many of these it has behind it.
        set_up: pragmas for every connection.
        errors: what goes wrong with it.
        timeout: seconds to wait for another process that is writing.
        at_first: pragmas before anything is written.
    """

    application: int
    foreign: str
    migrations: Sequence[Sequence[str]]
    set_up: Sequence[str]
    errors: Errors
    timeout: float
    at_first: Sequence[str] = ()


def connect(path: Path, form: Format, *, missing: PeepholeError | None = None) -> sqlite3.Connection:
    """Open a file, made first where there is none, and bring it up to date.

    The connection commits by itself unless `transaction` holds it. It belongs to the thread that made it.

    Args:
        path: the file; it and a folder made for it are their owner's alone.
        form: what it is.
        missing: raised where there is none, in place of making it.

    Raises:
        PeepholeError: ``form.errors``: it is something else, damaged, or a newer Peephole's; or it cannot be opened.
    """
    errors, what = form.errors, f"the {form.errors.noun}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise errors.general(f"{what} needs SQLite 3.37 or newer; this Python has {sqlite3.sqlite_version}")
    with translated(path, what, errors, timeout=form.timeout):
        if not os.path.lexists(path):
            if missing is not None:
                raise missing
            make(path, partial(_fill, form=form), timeout=form.timeout)
        if not path.is_file():
            raise errors.general(f"{path} is no file; name one for {what}")
        db = open_own(path, form, timeout=form.timeout)
        try:
            close_to_others(path)
            _bring_up(db, form)
        except BaseException:
            db.close()
            raise
    return db


def open_own(path: Path, form: Format, *, timeout: float) -> sqlite3.Connection:
    """A connection to a file that is there and is what it should be; nothing of Peephole's is changed yet.

    Another program's file is left as it is, and so is what lies beside it.

    Raises:
        PeepholeError: see `identify`.
        sqlite3.Error: it is no database, or cannot be read.
    """
    # To open a file for reading is enough for SQLite to play back a journal, or to make a log of another program's
    # database and to write that back. An immutable one it takes as it stands, without locks.
    with closing(_open(path, "mode=ro&immutable=1", timeout=timeout)) as db:
        # So it does not ask for more than the header: the file may be growing under another process's hands.
        db.execute("PRAGMA writable_schema = ON")
        identify(db, path, form)
    db = open_file(path, timeout=timeout)
    try:
        identify(db, path, form)  # once more: the log may hold a newer Peephole's schema
    except BaseException:
        db.close()
        raise
    return db


def identify(db: sqlite3.Connection, path: Path, form: Format) -> None:
    """Refuse a file that is something else, or that a newer Peephole wrote; it is only read."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != form.application:
        raise form.errors.damaged(f"{path} {form.foreign}; name another file")
    if (schema := schema_of(db)) > len(form.migrations):
        raise form.errors.general(
            f"{path} has schema {schema}, and this Peephole {__version__} knows no schema newer than "
            f"{len(form.migrations)}: a newer Peephole wrote it; update this one"
        )


def _fill(db: sqlite3.Connection, form: Format) -> None:
    """Make an empty file one of its kind."""
    for pragma in (*form.at_first, f"application_id = {form.application}"):
        db.execute(f"PRAGMA {pragma}")
    _bring_up(db, form)


def _bring_up(db: sqlite3.Connection, form: Format) -> None:
    for pragma in form.set_up:
        db.execute(f"PRAGMA {pragma}")
    migrate(db, form.migrations)


def open_file(path: Path, *, timeout: float) -> sqlite3.Connection:
    """A connection to a file that is there, nothing read or changed yet.

    Args:
        path: the file.
        timeout: seconds to wait for another process that is writing.
    """
    return _open(path, "mode=rw", timeout=timeout)


def _open(path: Path, how: str, *, timeout: float) -> sqlite3.Connection:
    # SQLite's locks are lost when the file is closed anywhere in the process: nothing else here ever opens it.
    address = f"file:{quote(str(path.absolute()))}?{how}"
    db = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level=None)
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def make(path: Path, fill: Callable[[sqlite3.Connection], object], *, timeout: float) -> None:
    """Make a file beside ``path``, fill it, and link it there in one step, so that nobody sees half of one."""
    private_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # readable by its owner alone
    os.close(handle)
    new = Path(name)
    try:
        db = open_file(new, timeout=timeout)
        try:
            fill(db)
        finally:
            db.close()
        with suppress(FileExistsError):  # another process was faster: its file is as good
            path.hardlink_to(new)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(name + suffix).unlink(missing_ok=True)


def schema_of(db: sqlite3.Connection) -> int:
    """How many migrations the file has behind it."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the file to the current schema, a migration a transaction, each recorded in its own."""
    for number, statements in enumerate(migrations, 1):
        if schema_of(db) < number:
            with transaction(db):
                if schema_of(db) < number:  # another process may have done it meanwhile
                    for statement in statements:
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {number}")


@contextmanager
def transaction(db: sqlite3.Connection, *, writing: bool = True) -> Iterator[None]:
    """All of a block's statements or none; when only reading, all of one state."""
    db.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # after some errors SQLite has rolled back already
            db.execute("ROLLBACK")
        raise


def private_folder(folder: Path) -> None:
    """Make the folder and those above it, those that are new for their owner alone."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def close_to_others(path: Path) -> None:
    """Take the file, and what SQLite keeps beside it, from everybody but its owner."""
    file = Path(os.path.realpath(path))
    for each in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        with suppress(FileNotFoundError):
            if stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(0o600)


@contextmanager
def translated(path: Path, what: str, errors: Errors, *, timeout: float) -> Iterator[None]:
    """Turn the errors of SQLite and of the operating system into Peephole's, with what failed and the file's name."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        reason = _REASONS.get(code) or _REASONS.get(code & 0xFF, "cannot be used")  # the upper bytes are details
        kind = errors.full if reason is _FULL else errors.damaged if reason in _DAMAGED else errors.general
        words = reason.format(timeout=timeout, noun=errors.noun, repair=errors.repair)
        raise kind(f"{what} {path} {words} ({error})") from error
    except OSError as error:
        kind = errors.full if error.errno in (errno.ENOSPC, errno.EDQUOT) else errors.general
        where = f"{error.filename}: " if error.filename else ""
        raise kind(f"{what} {path} cannot be used: {where}{error.strerror or error}") from error


_FULL = "has no space left on its disk; nothing was stored"
_CLOSED = "cannot be opened: make its file and folder readable and writable"
_DAMAGED = ("is damaged; {repair}", "is no {noun}, or damaged beyond recognition; name another file")
_REASONS: dict[int, str] = {
    sqlite3.SQLITE_BUSY: "is being written by another process for {timeout:g} seconds; try again",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,  # no space for the index of the write-ahead log
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk reports an error, or is full",
    sqlite3.SQLITE_READONLY: "cannot be written: make its file and folder writable",
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED[0],
    sqlite3.SQLITE_NOTADB: _DAMAGED[1],
}
