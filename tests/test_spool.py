"""The durable queue: what is accepted is answered once, whatever is killed, and in its order."""

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peephole import spool as module
from peephole.errors import FrameCorrupt, SpoolBusy, SpoolDamaged, SpoolError, SpoolFull
from peephole.spool import Arrival, File, Spool, result

HERE = Path(__file__).parent


def arrival(name="a.jpg", data=b"picture", camera="front", **more):
    return Arrival(camera, name, data, more.pop("arrived", 1000.0), **more)


def drain(spool):
    """Answer all that waits; the names in their order."""
    names = []
    while claimed := spool.claim():
        names.append(claimed.arrival.name)
        assert spool.answer(claimed.number, [result(claimed, {"faces": []})])
    return names


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "queue.db"


@pytest.fixture
def spool(path):
    with Spool(path, sinks=["out"]) as opened, opened.working():
        yield opened


def told(spool, sink="out"):
    """All messages for a sink, taken."""
    messages = []
    while found := spool.undelivered(sink, 3):
        for number, message in found:
            messages.append(message)
            spool.delivered(sink, number)
    return messages


# -- frames ----------------------------------------------------------------------------------------


def test_a_frame_comes_out_as_it_went_in_and_has_one_result(spool):
    given = Arrival("front", "x/\u00fc.jpg", bytes(range(256)), 1000.25, 77.5, File("x/\u00fc.jpg", "1:2:3"))
    number = spool.accept(given)
    claimed = spool.claim()
    assert (claimed.number, claimed.arrival, claimed.claims) == (number, given, 1)
    assert spool.claim() is None

    assert spool.answer(number, [result(claimed, {"image": "other", "faces": []}), {"type": "visit"}], {"k": b"v"})
    assert not spool.answer(number, [{"type": "again"}], {"k": b"w"})
    frame, visit = told(spool)
    assert frame == {
        "type": "frame",
        "number": number,
        "camera": "front",
        "image": "x/\u00fc.jpg",
        "arrived": 1000.25,
        "taken": 77.5,
        "file": {"path": "x/\u00fc.jpg", "stamp": "1:2:3"},
        "faces": [],
    }
    assert visit == {"type": "visit"}
    assert spool.state("k") == b"v"
    assert spool.state("other") is None
    status = spool.status()
    assert (status.frames, status.bytes, status.messages) == (0, 0, 0)
    assert (status.accepted, status.answered) == (1, 1)


def test_frames_keep_their_order_and_numbers_are_never_given_twice(path):
    with Spool(path) as spool, spool.working():
        numbers = [spool.accept(arrival(f"{i}.jpg", camera=f"c{i % 2}")) for i in range(4)]
        assert drain(spool) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    with Spool(path) as spool, spool.working():
        assert spool.accept(arrival()) == max(numbers) + 1


def test_a_frame_given_back_is_first_again_and_counts_no_claim(spool):
    for name in ("a", "b"):
        spool.accept(arrival(name))
    claimed = spool.claim()
    spool.give_back(claimed.number)
    again = spool.claim()
    assert (again.arrival.name, again.claims) == ("a", 1)


def test_frames_in_a_dead_hand_wait_again_and_count(path):
    with Spool(path) as spool:
        spool.accept(arrival())
        for claims in (1, 2):
            with spool.working():
                assert spool.claim().claims == claims
                assert spool.claim() is None


def test_one_works_and_any_number_accept(path):
    with Spool(path) as one, Spool(path) as other, one.working():
        other.accept(arrival())
        with pytest.raises(SpoolBusy, match=r"another process works through the queue .*; name another file"):
            other.working().__enter__()
        assert drain(one) == ["a.jpg"]


def test_whoever_accepts_tells(path):
    calls = []
    with Spool(path, sinks=["out"], told=lambda: calls.append(1)) as spool:
        spool.accept(arrival())
        assert calls == [1]
        spool.post([{"type": "visit"}])
        assert calls == [1, 1]


def test_names_that_are_no_text(spool):
    name = os.fsdecode(b"caf\xe9.jpg")
    spool.accept(Arrival(name, name, b"x", 1.0, file=File(name, "1:2:3")))
    claimed = spool.claim()
    assert claimed.arrival.name == "caf\\udce9.jpg"
    assert claimed.arrival.file.path == name
    spool.answer(claimed.number, [result(claimed)])
    assert told(spool)[0]["file"]["path"] == name


def test_a_frame_that_cannot_be_taken_has_its_result_all_the_same(spool):
    number = spool.fail(arrival(file=File("a.jpg", "1:2:3")), FrameCorrupt("no good"))
    assert spool.fail(arrival(file=File("a.jpg", "1:2:3")), FrameCorrupt("no good")) is None
    assert spool.claim() is None
    (message,) = told(spool)
    assert (message["number"], message["error"]) == (number, {"kind": "corrupt", "message": "no good"})
    assert spool.accept(arrival()) == number + 1
    assert spool.status().answered == 1


# -- files that were taken before ------------------------------------------------------------------


def test_a_file_is_taken_once(spool):
    file = File("a.jpg", "1:7:100")
    assert spool.accept(arrival(file=file)) is not None
    assert spool.known(file)
    assert spool.accept(arrival(file=file)) is None
    assert spool.accept(arrival(file=File("a.jpg", "9:7:999"))) is None, "uploaded once more, the same bytes"
    assert spool.known(File("a.jpg", "9:7:999"))
    assert spool.accept(arrival(file=File("old/a.jpg", "9:7:999"))) is None, "moved"
    assert spool.accept(arrival(file=File("b.jpg", "2:7:100"))) is not None, "another file of the same bytes"
    assert spool.accept(arrival(data=b"new", file=File("a.jpg", "1:7:100"))) is not None, "new bytes, whatever the time"
    assert spool.status().accepted == 3


def test_files_that_were_passed_over(spool):
    file = File("a.jpg", "1:7:100")
    spool.pass_over([file, File("b.jpg", "2:7:100")])
    assert spool.known(file)
    assert spool.accept(arrival(file=file)) is None
    assert spool.accept(arrival(data=b"more", file=File("a.jpg", "1:8:200"))) is not None


def test_files_that_are_gone_are_forgotten_in_time(spool):
    files = [File(f"{name}.jpg", f"{name}:7:100") for name in "ab"]
    spool.pass_over(files)
    assert spool.forget({"a.jpg"}, time.time() - 60) == 0
    assert spool.forget({"a.jpg"}, time.time() + 60) == 1
    assert [spool.known(file) for file in files] == [True, False]


# -- bounds ----------------------------------------------------------------------------------------


def test_beyond_its_bounds_it_refuses(path, caplog):
    with Spool(path, most_frames=2, most_bytes=10) as spool, spool.working():
        spool.accept(arrival("a", b"12345"))
        assert spool.room(5)
        assert not spool.room(6)
        with pytest.raises(SpoolFull, match="is full: at most 2 frames and 0 MiB may wait"):
            spool.accept(arrival("b", b"123456"))
        spool.accept(arrival("c", b"1"))
        with pytest.raises(SpoolFull):
            spool.accept(arrival("d", b""))
        assert spool.status().refused == 2
        assert caplog.text.count("is refused") == 2
        assert drain(spool) == ["a", "c"]
        assert spool.accept(arrival("e", b"12345")) is not None


def test_or_drops_the_oldest_each_with_its_result(path, caplog):
    with Spool(path, sinks=["out"], most_frames=3, most_bytes=10, full="drop-oldest") as spool, spool.working():
        for name in "abc":
            spool.accept(arrival(name, b"123"))
        held = spool.claim()
        assert held.arrival.name == "a"
        spool.accept(arrival("d", b"1234567"))
        assert [(each["image"], each["error"]["kind"]) for each in told(spool)] == [("b", "dropped"), ("c", "dropped")]
        assert "2 frames were dropped" in caplog.text
        assert spool.answer(held.number, [result(held)]), "what is in hand stays"
        assert drain(spool) == ["d"]
        with pytest.raises(SpoolFull, match="are more than the queue"):
            spool.accept(arrival("e", b"12345678901"))
        status = spool.status()
        assert (status.accepted, status.answered, status.dropped, status.refused) == (4, 2, 2, 1)


def test_messages_have_a_bound_too(spool, monkeypatch, caplog):
    monkeypatch.setattr(module, "MOST_MESSAGES", 3)
    for number in range(5):
        spool.post([{"type": "visit", "n": number}])
    assert [each["n"] for each in told(spool)] == [2, 3, 4]
    assert spool.status().lost == 2
    assert "1 messages were given up" in caplog.text


# -- sinks -----------------------------------------------------------------------------------------


def test_each_sink_has_each_message_at_its_own_pace(path):
    with Spool(path, sinks=["one", "two"]) as spool:
        spool.post([{"n": 1}, {"n": 2}])
        assert told(spool, "one") == [{"n": 1}, {"n": 2}]
        assert told(spool, "one") == []
        assert spool.status().messages == 2
        number, message = spool.undelivered("two")[0]
        assert message == {"n": 1}
        spool.delivered("two", number)
        assert spool.status().messages == 1
    with Spool(path, sinks=["two"]) as spool:
        spool.retire()
        assert told(spool, "two") == [{"n": 2}]
    with Spool(path, sinks=["one", "two"]) as spool:
        spool.post([{"n": 3}])
    with Spool(path, sinks=["one"]) as spool:
        spool.retire()
        assert told(spool, "one") == [{"n": 3}]
        assert spool.status().messages == 0
    with Spool(path) as spool:
        spool.post([{"n": 4}])
        assert spool.status().messages == 0


# -- the file --------------------------------------------------------------------------------------


def test_it_is_its_owners_alone(path):
    old = os.umask(0)
    try:
        with Spool(path) as spool, spool.working():
            spool.accept(arrival())
            for each in path.parent.iterdir():
                assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_accepted_is_synced(path):
    with Spool(path) as spool:
        spool.accept(arrival())
        assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_it_gives_space_back(path, monkeypatch):
    monkeypatch.setattr(module, "SPARE", 100_000)
    with Spool(path) as spool, spool.working():
        for number in range(20):
            spool.accept(arrival(str(number), os.urandom(100_000)))
        spool.tidy()
        assert path.stat().st_size + Path(f"{path}-wal").stat().st_size > 2_000_000
        drain(spool)
        spool.tidy()
        assert path.stat().st_size + Path(f"{path}-wal").stat().st_size < 300_000
        spool.check()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 30, b""])
def test_something_else_is_no_queue(tmp_path, content):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(SpoolDamaged, match=r"x\.db is no queue"):
        Spool(path)
    assert path.read_bytes() == content


def test_a_gallery_is_no_queue(tmp_path):
    from peephole.gallery import Gallery

    with Gallery.open(tmp_path / "g.db"):
        pass
    with pytest.raises(SpoolDamaged, match="is no queue of Peephole"):
        Spool(tmp_path / "g.db")


def test_a_folder_and_a_newer_schema(path):
    with pytest.raises(SpoolError, match="is no file"):
        Spool(path.parent.parent)
    with Spool(path) as spool:
        spool._db.execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match=r"has schema 99, .* update this one"):
        Spool(path)


def test_damage_is_found(path):
    with Spool(path) as spool:
        for _ in range(10):
            spool.accept(arrival(data=os.urandom(20_000)))
        spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(30_000))
    with pytest.raises(SpoolDamaged, match="is damaged"), Spool(path) as spool:
        spool.check()


def test_several_threads_accept(path):
    def many(camera):
        with Spool(path) as mine:
            for number in range(25):
                mine.accept(arrival(str(number), camera=camera))

    threads = [threading.Thread(target=many, args=(camera,)) for camera in "abc"]
    for thread in threads:
        thread.start()
    found = []
    with Spool(path) as spool, spool.working():
        while any(thread.is_alive() for thread in threads) or spool.status().frames:
            if claimed := spool.claim():
                found.append((claimed.arrival.camera, int(claimed.arrival.name)))
                spool.answer(claimed.number, [])
    for camera in "abc":
        assert [number for each, number in found if each == camera] == list(range(25))


class Model(RuleBasedStateMachine):
    """Whatever happens in whatever order, a frame waits, is held, or has its one result."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.open()
        self.waiting, self.held, self.results, self.accepted = [], [], Counter(), 0

    def open(self):
        self.spool = Spool(
            Path(self.folder.name, "q.db"), sinks=["out"], most_frames=4, most_bytes=20, full="drop-oldest"
        )
        self.work = self.spool.working()
        self.work.__enter__()

    @rule(size=st.integers(0, 12))
    def accept(self, size):
        try:
            number = self.spool.accept(arrival(data=b"x" * size))
        except SpoolFull:
            assert len(self.held) == 4 or sum(size for _, size in self.held) + size > 20
            return
        self.waiting.append((number, size))
        self.accepted += 1
        kept = self.waiting + self.held
        while len(kept) > 4 or sum(size for _, size in kept) > 20:
            dropped = self.waiting.pop(0)
            kept.remove(dropped)

    @rule()
    def claim(self):
        claimed = self.spool.claim()
        assert (claimed and claimed.number) == (self.waiting[0][0] if self.waiting else None)
        if claimed:
            self.held.append(self.waiting.pop(0))

    @precondition(lambda self: self.held)
    @rule()
    def answer(self):
        number, _ = self.held.pop(0)
        assert self.spool.answer(number, [{"type": "frame", "number": number}])
        assert not self.spool.answer(number, [{"type": "frame", "number": number}])

    @precondition(lambda self: self.held)
    @rule()
    def give_back(self):
        frame = self.held.pop()
        self.spool.give_back(frame[0])
        self.waiting = sorted([*self.waiting, frame])

    @rule()
    def restart(self):
        self.work.__exit__(None, None, None)
        self.spool.close()
        self.open()
        self.waiting, self.held = sorted(self.waiting + self.held), []

    @rule()
    def deliver(self):
        self.results.update(each["number"] for each in told(self.spool))

    @invariant()
    def each_once(self):
        status = self.spool.status()
        assert (status.frames, status.accepted) == (len(self.waiting) + len(self.held), self.accepted)
        assert status.accepted == status.frames + status.answered + status.dropped
        assert all(count == 1 for count in self.results.values())
        assert sum(self.results.values()) + status.messages == status.answered + status.dropped

    def teardown(self):
        self.work.__exit__(None, None, None)
        self.spool.close()
        self.folder.cleanup()


Model.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


# -- killed ----------------------------------------------------------------------------------------


def _undisturbed(count):
    from spool_service import seen

    return {f"{number}.jpg": seen(number) for number in range(count)}


def _run(folder, count, kill_after=None):
    """One life of the service; the exit status."""
    command = [sys.executable, str(HERE / "spool_service.py"), str(folder), str(count)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if kill_after is not None:
        # From its first word on, so that what is random is where it is and not whether it has started.
        process.stderr.readline()
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert kill_after is not None or process.returncode == 0, said
    return process.returncode


def _killed(folder, kills, count, seed):
    """Kill the service so many times while frames arrive, let it finish, and see what has become of the frames."""
    rng = random.Random(seed)
    killed = sum(_run(folder, count, rng.uniform(0.0, 0.25)) == -signal.SIGKILL for _ in range(kills))
    assert _run(folder, count) == 0

    acknowledged = (folder / "acknowledged").read_text().split()
    assert set(acknowledged) == {f"{number}.jpg" for number in range(count)}
    told = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
    frames = {each["number"]: each for each in told if each["type"] == "frame"}
    for each in told:  # one that was killed between writing and noting it comes again, the same
        assert each["type"] != "frame" or each == frames[each["number"]]
    assert len(told) - len({json.dumps(each, sort_keys=True) for each in told}) <= killed
    assert Counter(each["image"] for each in frames.values()) == Counter(acknowledged and set(acknowledged))
    assert {each["image"]: len(each["faces"]) for each in frames.values()} == _undisturbed(count)
    for camera in ("0", "1"):
        inside = [int(each["image"][:-4]) for _, each in sorted(frames.items()) if each["camera"] == camera]
        assert inside == sorted(inside)
    events = [(each["visit"], each["event"]) for each in told if each["type"] == "visit"]
    assert {event for _, event in events} >= {"opened", "closed"}
    opened = {visit for visit, event in events if event == "opened"}
    assert {visit for visit, event in events if event == "closed"} == opened
    with sqlite3.connect(folder / "queue.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT accepted, answered, dropped FROM counts").fetchone() == (count, count, 0)
    db.close()
    return killed


def test_killed_while_frames_arrive(tmp_path):
    assert _killed(tmp_path, kills=3, count=60, seed=1) >= 1


@pytest.mark.soak
def test_killed_at_thirty_random_moments(tmp_path):
    assert _killed(tmp_path, kills=30, count=900, seed=5) == 30


# -- disk full -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(mounted):
    """A disk of 32 MB."""
    return mounted("32m")


def fill(spool, size):
    """Accept frames until the disk is full; their names."""
    accepted = []
    while True:
        name = str(len(accepted))
        try:
            spool.accept(arrival(name, os.urandom(size(len(accepted)))))
        except SpoolFull as error:
            assert "has no space left on its disk" in str(error)  # noqa: PT017 - the others were accepted
            return accepted
        accepted.append(name)


def test_a_full_disk_loses_nothing_and_recovers(small_disk):
    with Spool(small_disk / "queue.db", sinks=["out"]) as spool, spool.working():
        accepted = fill(spool, lambda _: 500_000)
        assert 10 < len(accepted) < 60
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(32 << 20))
        with pytest.raises(SpoolFull):
            spool.accept(arrival("more", b"x"))

        claimed = spool.claim()
        with pytest.raises(SpoolFull, match="has no space left on its disk; nothing was stored"):
            spool.answer(claimed.number, [result(claimed, {"faces": ["x" * 30_000_000]})])
        assert (spool.status().frames, spool.status().answered) == (len(accepted), 0)
        filler.unlink()
        spool.give_back(claimed.number)
        assert drain(spool) == accepted
        assert [each["image"] for each in told(spool)] == accepted
        assert spool.accept(arrival("later", os.urandom(500_000))) is not None
        spool.check()


def test_a_queue_that_has_filled_its_disk_can_be_worked_off(small_disk):
    with Spool(small_disk / "queue.db") as spool, spool.working():
        accepted = fill(spool, lambda number: random.Random(number).randrange(10_000, 2_000_000))
        assert drain(spool) == accepted
