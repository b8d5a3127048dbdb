"""A disk that fills up under the queue, the gallery, the output and the timing log together, and has space again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from click.testing import CliRunner
from PIL import Image

import sightings
from peephole import cli
from peephole import service as module
from peephole.errors import GalleryFull
from peephole.gallery import Gallery, Photo
from peephole.sample import drawn_face
from peephole.service import Service
from peephole.sinks import JsonLines, Visitors
from peephole.spool import Arrival, Spool
from spool_service import FakeLooking

T = float(int(time.time()) - 2000)  # the gallery forgets visits that are long gone
FRAMES, BEFORE = 40, 30


@pytest.fixture
def disk(mounted):
    """A disk of 32 MB."""
    return mounted("32m")


def fill(disk):
    """Take the last block of it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def until(what, seconds=40.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def sound(*files):
    for file in files:
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Gated(FakeLooking):
    """Looks at so many frames, and at the others when it may."""

    def __init__(self, free):
        super().__init__(0.0)
        self.gate, self._free = threading.Event(), free

    def analyse(self, source, **options):
        if int(source) >= self._free:
            self.gate.wait(30)
        return super().analyse(source, **options)


class Opened:
    """A sink that is asked only when it may be."""

    def __init__(self, sink, gate):
        self.name, self._sink, self._gate = sink.name, sink, gate

    def deliver(self, message):
        self._gate.wait(30)
        self._sink.deliver(message)

    def close(self):
        self._sink.close()


def test_queue_gallery_and_output_on_a_full_disk_lose_nothing(disk, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "TICK", 0.02)
    monkeypatch.setattr(module, "IDLE", 0.02)
    monkeypatch.setattr(module, "PAUSE", 0.1)
    queue, book, out = disk / "queue.db", disk / "gallery.db", disk / "out.jsonl"
    with Gallery.open(book) as gallery:
        photo = Photo(b"\x89PNG\r\n\x1a\n", None, "none", (0, 0, 1, 1), "x", "0" * 64)
        gallery.add_photo("Ada", photo, {sightings.MODEL: sightings.at(0.0)[0]})
    accepted, raised, services = [], [], []
    with Spool(queue) as spool:
        for number in range(FRAMES):  # of every size of face, and some apart so that visits come and go
            data = b"%d" % number + b" " * 100
            accepted.append(spool.accept(Arrival(str(number % 2), f"{number}.jpg", data, T + number * 20.0)))
    looking, gate = Gated(BEFORE), threading.Event()

    def run():
        with Gallery.open(book) as mine, out.open("w", encoding="utf-8") as file:
            sinks = [Opened(JsonLines(lambda line: print(line, file=file, flush=True)), gate)]
            sinks.append(Opened(Visitors(book), gate))
            services.append(Service(queue, looking, mine, sinks=sinks, clock=lambda: T + FRAMES * 20.0 + 100))
            try:
                services[0].run()
            except Exception as error:  # noqa: BLE001 - the test looks at it
                raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with Spool(queue) as spool:
            until(lambda: spool.status().answered == BEFORE)
        filler = fill(disk)
        gate.set()
        looking.gate.set()
        until(lambda: "output: " in caplog.text and "gallery: " in caplog.text and "waiting: " in caplog.text)
        with Spool(queue) as spool, pytest.raises(Exception, match="has no space left on its disk"):
            spool.accept(Arrival("0", "more.jpg", b"1", T))
        assert thread.is_alive()
        filler.unlink()
        with Spool(queue) as spool:
            until(lambda: (status := spool.status()).answered == FRAMES and not status.messages)
    finally:
        services[0].stop()
        thread.join()
    assert not raised
    for words in ("output: [Errno 28] No space left on device", "gallery: ", "waiting: "):
        assert words in caplog.text
    assert caplog.text.count("no space left") < 30, "it is said again and again, but more and more rarely"

    told = [json.loads(line) for line in out.read_text().splitlines()]
    frames = {each["number"]: each for each in told if each["type"] == "frame"}
    assert sorted(frames) == accepted
    for each in told:  # one that was half written when the disk was full comes again, the same
        assert each["type"] != "frame" or each == frames[each["number"]]
    events = {(each["visit"], each["event"]) for each in told if each["type"] == "visit"}
    with Gallery.open(book) as gallery:
        kept = gallery.visits()
    assert {each.id for each in kept} == {visit for visit, _ in events}
    assert {each.state for each in kept} == {"closed"}
    sound(queue, book)


# -- the real commands -----------------------------------------------------------------------------


def upload(folder, number):
    path = folder / f".{number}.part"
    Image.fromarray(drawn_face()).rotate(number, fillcolor=(150, 160, 170)).save(path, "JPEG")
    path.rename(folder / f"{number}.jpg")


@pytest.mark.slow
def test_watch_says_so_and_goes_on(disk, tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PEEPHOLE_IN_PROCESS"}
    command = [sys.executable, "-m", "peephole", "watch", str(folder), "--jsonl", "--existing", "take"]
    command += ["--queue", str(disk / "queue.db"), "--gallery", str(disk / "gallery.db"), "--threads", "1"]
    out, said = disk / "out.jsonl", tmp_path / "said"

    def answered():
        lines = out.read_text().splitlines()
        return {each["number"] for each in map(json.loads, filter(None, lines)) if each["type"] == "frame"}

    with out.open("w") as stdout, said.open("w") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
    try:
        for number in range(3):
            upload(folder, number)
        until(lambda: len(answered()) == 3)
        filler = fill(disk)
        for number in range(3, 8):
            upload(folder, number)
        until(lambda: "no space left" in said.read_text() or "is full" in said.read_text())
        time.sleep(1.0)
        assert process.poll() is None
        filler.unlink()
        until(lambda: len(answered()) == 8)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, said.read_text()
    assert answered() == set(range(1, 9))
    assert "Traceback" not in said.read_text()
    assert all(line.startswith("peephole: ") for line in said.read_text().splitlines())
    sound(disk / "queue.db", disk / "gallery.db")


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.fromarray(drawn_face()).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path / "pictures"


def test_a_timing_log_on_a_full_disk_costs_no_result(pictures, disk):
    log = disk / "timings.jsonl"
    filler = fill(disk)
    done = CliRunner().invoke(cli.main, ["detect", "--jsonl", "--timings", str(log), str(pictures)])
    assert [json.loads(line)["width"] for line in done.stdout.splitlines()] == [480] * 3
    (said,) = done.stderr.splitlines()
    assert said.startswith("peephole: ")
    assert str(log) in said
    assert said.endswith("No space left on device; looking goes on without it")
    assert done.exit_code == 1

    filler.unlink()
    done = CliRunner().invoke(cli.main, ["detect", "--jsonl", "--timings", str(log), str(pictures)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(log.read_text().splitlines()) == 3


def test_a_gallery_on_a_full_disk_costs_no_result(pictures, tmp_path, monkeypatch):
    from peephole import remember as remembering

    failures = [1, 1]
    remember = remembering.remember

    def full(*arguments, **options):
        if failures:
            failures.pop()
            raise GalleryFull("the gallery x has no space left on its disk; nothing was stored")
        return remember(*arguments, **options)

    monkeypatch.setattr(remembering, "remember", full)
    book = tmp_path / "gallery.db"
    command = ["label", "--jsonl", "--remember", "--gallery", str(book), str(pictures)]
    done = CliRunner().invoke(cli.main, command)
    assert len(done.stdout.splitlines()) == 3
    said = "the gallery x has no space left on its disk; nothing was stored"
    assert done.stderr == f"peephole: {said}; looking goes on without it\n"
    assert done.exit_code == 1
    with Gallery.open(book) as gallery:
        assert len(gallery.unknowns()) == 1
