import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
from timed import ONE, record

from peephole.errors import TimingsError, UsageError
from peephole.timings import TimingLog
from peephole.timings import log as log_module
from peephole.timings.log import siblings
from peephole.timings.read import read


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def numbers(path):
    """The frames' numbers of all of a log's files, the oldest first."""
    return [int(each.frame) for each in read(path)]


def test_a_line_a_frame(tmp_path):
    log = TimingLog(tmp_path / "t.jsonl")
    log.frame(ONE)
    log.frame(record(1, source="back/ä.jpg"))
    assert [each["source"] for each in lines(tmp_path / "t.jsonl")] == ["front/a.jpg", "back/ä.jpg"]
    assert lines(tmp_path / "t.jsonl")[0] == ONE.to_dict()


@pytest.mark.parametrize("path", ["nowhere/t.jsonl", "."])
def test_a_log_that_cannot_be_written_is_said_at_once(tmp_path, path):
    with pytest.raises(UsageError, match="cannot be written"):
        TimingLog(tmp_path / path)


@pytest.mark.parametrize(("rotate", "keep"), [(0, 4), (100, 0)])
def test_numbers_that_cannot_work(tmp_path, rotate, keep):
    with pytest.raises(UsageError, match="at least one file"):
        TimingLog(tmp_path / "t", rotate=rotate, keep=keep)


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_files_are_put_aside_by_size_and_the_oldest_goes(tmp_path, keep):
    size = len(json.dumps(ONE.to_dict()))
    log = TimingLog(tmp_path / "t.jsonl", rotate=3 * size, keep=keep)
    for number in range(30):
        log.frame(record(number, frame=str(number)))
    found = numbers(tmp_path / "t.jsonl")
    assert found == list(range(found[0], 30))
    assert 3 * (keep - 1) <= len(found) <= 4 * keep
    assert len(siblings(tmp_path / "t.jsonl")) == len(list(tmp_path.iterdir())) == keep
    assert all(each.stat().st_size <= 3 * size for each in tmp_path.iterdir())


def test_a_line_that_is_larger_than_a_file_is_written_all_the_same(tmp_path):
    log = TimingLog(tmp_path / "t", rotate=10, keep=3)
    for number in range(3):
        log.frame(record(frame=str(number)))
    assert numbers(tmp_path / "t") == [0, 1, 2]


def test_files_lie_beside_the_file_and_not_beside_a_link_to_it(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "t")
    log = TimingLog(tmp_path / "link", rotate=10, keep=2)
    log.frame(record(frame="1"))
    log.frame(record(frame="2"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "real"]
    assert sorted(each.name for each in (tmp_path / "real").iterdir()) == ["t", "t.1"]
    assert numbers(tmp_path / "link") == [1, 2]


def test_only_a_logs_own_files_are_its_files(tmp_path):
    for name in ("t[1]", "t[1].1", "t[1].10", "t[1].2", "t[1].old", "t1", "t1.1"):
        (tmp_path / name).touch()
    assert [each.name for each in siblings(tmp_path / "t[1]")] == ["t[1]", "t[1].1", "t[1].2", "t[1].10"]


def test_what_cannot_be_put_aside_grows_on(tmp_path, monkeypatch, caplog):
    def refused(*_):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(log_module.Path, "replace", refused)
    log = TimingLog(tmp_path / "t", rotate=10)
    for number in range(3):
        log.frame(record(frame=str(number)))
    assert numbers(tmp_path / "t") == [0, 1, 2]
    assert [each.getMessage() for each in caplog.records] == [
        f"the timing log {tmp_path / 't'} grows on: it cannot be put aside: {os.strerror(errno.EBUSY)}"
    ]


def test_something_that_is_no_file_gets_the_lines_too(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    keep_open = os.open(tmp_path / "pipe", os.O_WRONLY)
    log = TimingLog(tmp_path / "pipe", rotate=10)
    log.frame(record(frame="1"))
    log.frame(record(frame="2"))
    os.close(keep_open)
    reader.join()
    assert [json.loads(line)["frame"] for line in got[0].splitlines()] == ["1", "2"]
    TimingLog("/dev/null").frame(ONE)


@pytest.mark.parametrize("left", [b'{"schema":2,"ti', b"\0" * 40])
def test_the_next_line_begins_on_a_line_of_its_own(tmp_path, left):
    TimingLog(tmp_path / "t").frame(record(frame="1"))
    with (tmp_path / "t").open("ab") as file:
        file.write(left)
    TimingLog(tmp_path / "t").frame(record(frame="2"))
    assert [int(each.frame) for each in read(tmp_path / "t", warn=lambda _: None)] == [1, 2]


def test_a_full_disk_leaves_no_half_of_a_line(tmp_path, monkeypatch):
    log = TimingLog(tmp_path / "t")
    log.frame(record(frame="1"))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:100]))
        with pytest.raises(TimingsError, match="No space left"):
            log.frame(record(frame="2"))
    assert (tmp_path / "t").read_bytes().count(b"\n") == 1
    log.frame(record(frame="3"))
    assert numbers(tmp_path / "t") == [1, 3]


def test_a_folder_that_is_gone_is_said(tmp_path):
    (tmp_path / "logs").mkdir()
    log = TimingLog(tmp_path / "logs" / "t")
    (tmp_path / "logs" / "t").unlink()
    (tmp_path / "logs").rmdir()
    with pytest.raises(TimingsError, match="No such file"):
        log.frame(ONE)


def test_a_file_that_was_removed_or_put_aside_by_others_is_made_again(tmp_path):
    log = TimingLog(tmp_path / "t")
    log.frame(record(frame="1"))
    (tmp_path / "t").rename(tmp_path / "elsewhere")
    log.frame(record(frame="2"))
    assert numbers(tmp_path / "t") == [2]


def test_a_process_that_was_stopped_with_the_lock_holds_up_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "PATIENCE", 0.05)
    log = TimingLog(tmp_path / "t", rotate=10)
    with (tmp_path / "t").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        log.frame(record(frame="1"))
        log.frame(record(frame="2"))  # nothing is put aside without the lock
    assert len(siblings(tmp_path / "t")) == 1
    assert numbers(tmp_path / "t") == [1, 2]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    log = TimingLog(tmp_path / "t", rotate=10)
    log.frame(record(frame="1"))
    log.frame(record(frame="2"))
    assert numbers(tmp_path / "t") == [1, 2]


def _append(path, name, count, rotate, keep):
    log = TimingLog(path, rotate=rotate, keep=keep)
    for number in range(count):
        log.frame(record(source=name * 50, frame=f"{name}/{number}", message="x" * (number % 700)))


def _together(path, rotate, keep, *, count=150, names="abcd"):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, name, count, rotate, keep)) for name in names]
    for writer in writers:
        writer.start()
    return writers


def test_of_several_processes_that_put_files_aside_no_line_is_lost_and_none_torn(tmp_path):
    # Files of five lines or so: hundreds of them are put aside while four processes write.
    writers = _together(tmp_path / "t", 8_000, 10_000)
    for writer in writers:
        writer.join()
    warned = []
    frames = [each.frame for each in read(tmp_path / "t", warn=warned.append)]
    assert warned == []
    assert len(siblings(tmp_path / "t")) > 50
    for name in "abcd":  # each one's in its order
        assert [frame for frame in frames if frame[0] == name] == [f"{name}/{number}" for number in range(150)]
    assert len(frames) == 600


def test_processes_that_are_killed_leave_at_most_a_last_line_broken(tmp_path):
    writers = _together(tmp_path / "t", 20_000, 10_000, count=100_000)
    deadline = time.monotonic() + 60
    while len(siblings(tmp_path / "t")) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    TimingLog(tmp_path / "t").frame(record(frame="z/0"))
    found = [each.frame for each in read(tmp_path / "t", warn=lambda _: None)]
    assert found[-1] == "z/0"
    for name in "abcd":
        own = [int(frame[2:]) for frame in found if frame[0] == name]
        assert own == list(range(len(own)))


def test_a_reader_misses_nothing_while_files_are_put_aside(tmp_path):
    log = TimingLog(tmp_path / "t", rotate=3_000, keep=10_000)
    for number in range(40):
        log.frame(record(frame=str(number)))
    records = read(tmp_path / "t")
    found = [next(records)]
    for number in range(40, 80):
        log.frame(record(frame=str(number)))
    found += records
    have = [int(each.frame) for each in found]
    assert have == list(range(len(have)))
    assert len(have) >= 40
