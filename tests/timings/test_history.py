import multiprocessing
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from timed import ONE, START, failed, record

from peephole.errors import TimingsError
from peephole.timings import History
from peephole.timings import history as history_module
from peephole.timings.history import history_path
from peephole.timings.read import glance, read


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def rows(path):
    """How many rows other processes see."""
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT count(*) FROM frames").fetchone()[0]
    finally:
        db.close()


def test_what_was_kept_comes_back_in_the_order_of_time(tmp_path):
    found = [
        ONE,
        failed(1),
        record(2, models={}, recognizer="", cpu_ms={}, run="", libraries={}),
        record(3, cpu_ms={"decode": 1.5}, source="ä'\n"),
    ]
    with History(tmp_path / "h") as history:
        for each in (found[2], found[0], found[3], found[1]):
            history.frame(each)
    assert list(read(tmp_path / "h")) == found
    for short, each in zip(glance(tmp_path / "h"), found, strict=True):
        assert short[1:4] == (each.width, each.height, each.plan)
        assert (short.stages, short.error, short.setup.model) == (each.stages, each.error, each.model)
        assert short.seconds == each.time.timestamp()


def test_names_of_any_bytes(tmp_path):
    with History(tmp_path / "h") as history:
        history.frame(record(source="a\udcff.jpg"))
    assert [each.source for each in read(tmp_path / "h")] == ["a\\udcff.jpg"]


def test_rows_are_committed_together_once_a_second(tmp_path):
    clock = Clock()
    with History(tmp_path / "h", clock=clock) as history:
        history.frame(ONE)
        assert rows(tmp_path / "h") == 1  # nobody waits for the first
        for number in range(5):
            clock.now += 0.1
            history.frame(record(number))
        assert rows(tmp_path / "h") == 1
        clock.now += 0.6
        history.frame(ONE)
        assert rows(tmp_path / "h") == 7
        history.frame(ONE)
        history.flush()
        history.flush()
        assert rows(tmp_path / "h") == 8
        history.frame(ONE)
    assert rows(tmp_path / "h") == 9


def test_many_frames_a_second_are_all_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "AT_ONCE", 20)
    monkeypatch.setattr(history_module, "MOST_HELD", 30)
    with History(tmp_path / "h", clock=Clock()) as history:
        for number in range(100):
            history.frame(record(number))
            assert rows(tmp_path / "h") >= number - 20
    assert list(read(tmp_path / "h")) == [record(number) for number in range(100)]


def test_what_rows_share_is_kept_once(tmp_path):
    with History(tmp_path / "h") as history:
        for number in range(50):
            history.frame(record(number, frame=str(number)))
            history.frame(record(number, threads=1, stages={"decode": 1.0}, cpu_ms={}))
    with History(tmp_path / "h") as again:
        again.frame(ONE)
    db = sqlite3.connect(tmp_path / "h")
    counts = [
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("setups", "plans", "stages", "runs")
    ]
    db.close()
    assert counts == [2, 1, 2, 1]


def test_the_file_can_be_asked_in_sql(tmp_path):
    with History(tmp_path / "h") as history:
        history.frame(ONE)
    db = sqlite3.connect(tmp_path / "h")
    found = db.execute(
        "SELECT time, detector, stage, milliseconds FROM stage_times WHERE stage LIKE 'detect%'"
    ).fetchall()
    db.close()
    assert found == [
        ("2026-05-01 06:00:00", "yunet", "detect", 60.0),
        ("2026-05-01 06:00:00", "yunet", "detect.head", 35.25),
        ("2026-05-01 06:00:00", "yunet", "detect.tail", 20.0),
    ]


def test_it_lies_where_it_is_said_or_in_the_platforms_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_HISTORY", str(tmp_path / "deep" / "in" / "h"))
    with History() as history:
        assert history.path == history_path() == tmp_path / "deep" / "in" / "h"
    assert (tmp_path / "deep" / "in" / "h").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("PEEPHOLE_HISTORY", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_path().name == "timings.sqlite"
    assert tmp_path in history_path().parents


def test_none_is_made_only_to_be_read(tmp_path):
    with pytest.raises(TimingsError, match=r"there is no history of timings .* yet"):
        History(tmp_path / "h", create=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_one_is_said(tmp_path):
    History(tmp_path / "h").close()
    with pytest.raises(TimingsError, match="is empty: it is written with --timings"):
        list(read(tmp_path / "h"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: path.write_bytes(b"no database, but long enough to be looked at " * 20),
            "is no history of timings",
        ),
        (lambda path: path.mkdir(), "is no file"),
        (
            lambda path: sqlite3.connect(path).execute("CREATE TABLE other (a)").connection.close(),
            "is an SQLite file, and no history",
        ),
    ],
    ids=["text", "folder", "another program's"],
)
def test_what_is_no_history_is_not_touched(tmp_path, make, words):
    make(tmp_path / "h")
    before = None if (tmp_path / "h").is_dir() else (tmp_path / "h").read_bytes()
    with pytest.raises(TimingsError, match=words):
        History(tmp_path / "h")
    assert before is None or (tmp_path / "h").read_bytes() == before


def test_one_of_a_newer_peephole_is_refused(tmp_path):
    History(tmp_path / "h").close()
    db = sqlite3.connect(tmp_path / "h")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(TimingsError, match="a newer Peephole wrote it"):
        History(tmp_path / "h")


def test_an_older_one_is_brought_up_to_date(tmp_path, monkeypatch):
    with History(tmp_path / "h") as history:
        history.frame(ONE)
    more = (*history_module.MIGRATIONS, ("ALTER TABLE frames ADD COLUMN later TEXT",))
    monkeypatch.setattr(history_module, "FORMAT", replace(history_module.FORMAT, migrations=more))
    History(tmp_path / "h").close()
    db = sqlite3.connect(tmp_path / "h")
    found = db.execute("SELECT later FROM frames").fetchall(), db.execute("PRAGMA user_version").fetchone()
    db.close()
    assert found == ([(None,)], (2,))


def test_rows_wait_while_another_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "PATIENCE", 0.01)
    clock = Clock()
    history = History(tmp_path / "h", clock=clock)
    other = sqlite3.connect(tmp_path / "h", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimingsError, match="is being written by another process"):
        history.frame(ONE)
    history.frame(record(1))  # held: it is not a second since
    clock.now += 2
    with pytest.raises(TimingsError, match="is being written"):
        history.frame(record(2))
    other.execute("ROLLBACK")
    other.close()
    clock.now += 2
    history.frame(record(3))
    history.close()
    assert list(read(tmp_path / "h")) == [record(number) for number in range(4)]


def test_not_more_are_held_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "PATIENCE", 0.01)
    monkeypatch.setattr(history_module, "LAST_PATIENCE", 0.01)
    monkeypatch.setattr(history_module, "MOST_HELD", 3)
    clock = Clock()
    history = History(tmp_path / "h", clock=clock)
    other = sqlite3.connect(tmp_path / "h", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(6):
        clock.now += 2
        with pytest.raises(TimingsError):
            history.frame(record(number))
    other.execute("ROLLBACK")
    other.close()
    history.close()
    assert list(read(tmp_path / "h")) == [record(number) for number in (3, 4, 5)]


def test_a_last_commit_that_fails_is_said_and_the_file_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "LAST_PATIENCE", 0.01)
    history = History(tmp_path / "h")
    history.frame(ONE)
    history.frame(record(1))
    other = sqlite3.connect(tmp_path / "h", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimingsError):
        history.close()
    other.execute("ROLLBACK")
    other.close()
    assert rows(tmp_path / "h") == 1


def _write(path, name):
    with History(path) as history:
        for number in range(200):
            history.frame(record(number, frame=f"{name}/{number}", run=name))
            if number % 20 == 0:
                history.flush()


def test_several_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path / "h", name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = list(read(tmp_path / "h"))
    assert sorted(each.frame for each in found) == sorted(f"{name}/{number}" for name in "abc" for number in range(200))
    assert all(each.run == each.frame[0] for each in found)


def test_the_oldest_go_by_number_and_by_age(tmp_path):
    now = datetime.now(UTC).replace(microsecond=0)
    found = [replace(ONE, time=now - timedelta(days=days)) for days in (40, 30, 20, 10, 0)]
    with History(tmp_path / "h") as history:
        for each in found:
            history.frame(each)
        history.flush()
        assert len(history) == 5
        assert history.prune(most_days=35) == 1
        assert history.prune(most_rows=3) == 1
        assert history.prune(most_rows=3, most_days=35) == 0
        assert list(history.records()) == found[2:]
        assert history.prune(most_rows=0) == 3


def test_it_keeps_itself_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "TIDY", 10)
    with History(tmp_path / "h", most_rows=25, most_days=1e5) as history:
        for number in range(100):
            history.frame(record(number))
            history.flush()
    found = list(read(tmp_path / "h"))
    assert found == [record(number) for number in range(100 - len(found), 100)]
    assert 25 <= len(found) <= 35


def test_time_is_kept_to_the_millisecond(tmp_path):
    times = [START + timedelta(milliseconds=number) for number in range(0, 2000, 7)]
    with History(tmp_path / "h") as history:
        for time in times:
            history.frame(replace(ONE, time=time))
    assert [each.time for each in read(tmp_path / "h")] == times
