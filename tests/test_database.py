"""What the gallery's, the queue's and the history's files have in common."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from peephole.doctor import storage
from peephole.errors import PeepholeError
from peephole.gallery import Gallery
from peephole.spool import Spool
from peephole.timings import History


def text(path):
    path.write_text("Notes, long enough to be taken for a database's first page. " * 100)


def short(path):
    path.write_text("Notes")


def database(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE other (a)")
        db.execute("INSERT INTO other VALUES (zeroblob(10000))")


def damaged(path):
    database(path)
    os.truncate(path, 4096 + 100)


def _left_open(path, pragma):
    """A database with what a program leaves beside it when it is killed."""
    work = path.with_name("work")
    with closing(sqlite3.connect(work, isolation_level=None)) as db:
        db.execute(pragma)
        db.execute("CREATE TABLE other (a)")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        for _ in range(50):
            db.execute("INSERT INTO other VALUES (zeroblob(10000))")
        if "WAL" in pragma:
            db.execute("COMMIT")
        for suffix in ("", "-wal", "-journal"):
            if work.with_name(f"work{suffix}").exists():
                shutil.copyfile(f"{work}{suffix}", f"{path}{suffix}")
    for left in path.parent.glob("work*"):
        left.unlink()


def logged(path):
    _left_open(path, "PRAGMA journal_mode = WAL")
    assert path.with_name(f"{path.name}-wal").stat().st_size


def torn(path):
    _left_open(path, "PRAGMA journal_mode = DELETE")
    assert path.with_name(f"{path.name}-journal").stat().st_size


def _queue(path):
    Spool(path).close()


def _history(path):
    History(path).close()


def _gallery(path):
    Gallery.open(path).close()


def _doctor(path):
    (found,) = storage.gallery(path)
    raise PeepholeError(found.summary)


def _seen(folder):
    """All that can be told of the files of a folder."""
    found = {}
    for each in folder.iterdir():
        status = each.stat()
        found[each.name] = status.st_ino, oct(status.st_mode), status.st_mtime_ns, status.st_ctime_ns, each.read_bytes()
    return found


@pytest.mark.parametrize("opened", [_queue, _history, _gallery, _doctor])
@pytest.mark.parametrize("make", [text, short, database, damaged, logged, torn])
def test_a_file_of_somebody_elses_stays_as_it_is(tmp_path, make, opened):
    path = tmp_path / "theirs"
    make(path)
    for each in tmp_path.iterdir():
        each.chmod(0o644)
    before = _seen(tmp_path)
    with pytest.raises(PeepholeError, match="theirs is "):
        opened(path)
    assert _seen(tmp_path) == before


def test_to_look_whose_a_file_is_costs_no_lock(tmp_path):
    """Whoever holds none is no longer there for others: the last to leave takes the log with it."""
    path = tmp_path / "queue.db"
    leave = f"import sqlite3; db = sqlite3.connect({str(path)!r}); db.execute('SELECT * FROM counts'); db.close()"
    with Spool(path, sinks=["out"]) as spool:
        Spool(path).close()
        spool.post([{"n": 1}])
        subprocess.run([sys.executable, "-c", leave], check=True)
        assert (tmp_path / "queue.db-wal").exists()
