"""A watched folder: each picture once, when it is complete, whatever way it came."""

import ctypes
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from peephole import mounts
from peephole import watch as module
from peephole.cli import main
from peephole.errors import UsageError
from peephole.spool import Spool, result
from peephole.timings.read import read as read_timings
from peephole.watch import Folder, is_snapshot, looks_finished

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not announce changes here")
SOON = 10.0


def jpeg(seed=0, size=(64, 48)):
    """A picture's bytes, unlike any other number's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "in"
    made.mkdir()
    return made


class Watching:
    """A folder that is being watched, and what has been taken from it."""

    def __init__(self, source, spool):
        self.path, self._source, self._spool = source.path, source, spool
        self.taken = []

    def wait(self, count, seconds=SOON):
        """Until so many frames have been taken; then see that no more come. Their names below the folder."""
        end = time.monotonic() + seconds
        while len(self.taken) < count and time.monotonic() < end:
            self.look()
            time.sleep(0.02)
        time.sleep(0.15)
        self.look()
        return self.names

    def scan(self):
        """Until all of the folder has been looked at, from begin to end."""
        for _ in range(2):
            last = self._source._next_scan
            until(lambda last=last: self._source._next_scan not in (0.0, last))

    def look(self):
        while claimed := self._spool.claim():
            self.taken.append(claimed.arrival)
            self._spool.answer(claimed.number, [result(claimed)])
        for number, message in self._spool.undelivered("out"):
            self._spool.delivered("out", number)
            if "error" in message:
                self.taken.append(message)

    @property
    def names(self):
        names = [each["image"] if isinstance(each, dict) else each.name for each in self.taken]
        return [str(Path(name).relative_to(self.path)) for name in names]


@contextmanager
def watching(folder, queue=None, bounds=None, within=lambda: None, **options) -> Iterator[Watching]:
    """Watch a folder while the block lasts, from when all that was there has been seen; ``within`` its thread."""
    queue = queue or folder.parent / "queue.db"
    source = Folder(folder, **{"settled": 0.15} | options)
    stop, failed = threading.Event(), []

    def run():
        try:
            within()
            with Spool(queue, sinks=["out"], **bounds or {}) as spool:
                source.run(spool, stop)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=run)
    with Spool(queue, sinks=["out"]) as spool, spool.working():
        thread.start()
        until(lambda: source._next_scan > 0 or failed)
        try:
            yield Watching(source, spool)
        finally:
            stop.set()
            thread.join()
    assert not failed


def until(what: Callable[[], object], seconds=SOON):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


# Every way of coming in is tried with the kernel's announcements and without.
@pytest.fixture(params=[pytest.param("told", marks=linux), "polled"])
def way(request, monkeypatch):
    if request.param == "told":
        return {}
    monkeypatch.setattr(module._Notices, "_open", lambda self: None)
    return {"poll": 0.05}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "STOPPING", 0.03)


# -- complete or not --------------------------------------------------------------------------------------------------


def test_names_of_snapshots():
    yes = ("a.jpg", "A.JPEG", "x y.png", "2024.05.01-front.webp", "a.tif", "part.jpg", "tmp.jpg")
    no = ("a.jpg.part", "a.part.jpg", ".a.jpg", "~a.jpg", "a.jpg~", "a.tmp", "a.jpg.filepart", "a.jpg.crdownload")
    assert [name for name in yes if not is_snapshot(name)] == []
    assert [name for name in (*no, "a.txt", "a", "", ".jpg", "a.mp4", "a.upload.JPG") if is_snapshot(name)] == []


def test_ends_of_pictures(tmp_path):
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        out = io.BytesIO()
        Image.new("RGB", (90, 70), "red").save(out, kind)
        data = out.getvalue()
        assert looks_finished(data), kind
        assert looks_finished(data + bytes(20)), kind
        if kind != "BMP":
            assert not looks_finished(data[: len(data) * 2 // 3]), kind
        if kind in ("JPEG", "PNG"):
            assert not looks_finished(data[: len(data) // 2] + bytes(5000)), f"{kind}, its space kept beforehand"
    assert not looks_finished(b"")
    assert looks_finished(b"who knows")


def test_a_closed_file(folder, way):
    data = jpeg()
    with watching(folder, **way) as seen:
        before = time.time()
        (folder / "a.jpg").write_bytes(data)
        assert seen.wait(1) == ["a.jpg"]
        (arrival,) = seen.taken
        assert (arrival.camera, arrival.data) == ("in", data)
        assert before - 1 <= arrival.arrived <= time.time()
        assert arrival.taken == pytest.approx((folder / "a.jpg").stat().st_mtime)
    assert (folder / "a.jpg").exists()


def test_cameras_are_the_first_folder_below(folder, way):
    with watching(folder, **way) as seen:
        for name in ("a.jpg", "front/2024/05/a.jpg", "back/a.jpg", ".hidden/a.jpg", "@eaDir/a.jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(jpeg(len(name)))
        assert sorted(seen.wait(3)) == ["a.jpg", "back/a.jpg", "front/2024/05/a.jpg"]
        assert sorted(each.camera for each in seen.taken) == ["back", "front", "in"]
    with watching(folder, camera="door", **way) as seen:
        (folder / "front/b.jpg").write_bytes(jpeg(99))
        assert seen.wait(1) == ["front/b.jpg"]
        assert seen.taken[0].camera == "door"


def test_folders_that_are_dates_are_no_cameras(folder, way):
    with watching(folder, **way) as seen:
        for name in ("2026/11/26/a.jpg", "2026-11-27/back/a.jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(jpeg(len(name)))
        seen.wait(2)
        assert sorted(each.camera for each in seen.taken) == ["back", "in"]


def test_a_pattern_names_the_cameras(folder, way, caplog):
    names = ("front_20261126.jpg", "2026/garage_20261126.jpg", "a.jpg", "back/b.jpg", "c.jpg")
    with watching(folder, camera="{camera}_{digits}.*", **way) as seen:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(jpeg(number))
        seen.wait(5)
        assert sorted(each.camera for each in seen.taken) == ["back", "front", "garage", "in", "in"]
    assert caplog.text.count("does not fit") == 2
    with pytest.raises(UsageError, match=r"no \{cam\}"):
        Folder(folder, camera="{cam}_*")


def test_what_other_programs_keep_is_left_alone_and_said_once(folder, way, caplog):
    for name in ("@eaDir", "front/@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "train"):
        (folder / name).mkdir(parents=True)
    with watching(folder, **way) as seen:
        for name in ("@eaDir", "front/@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "train", "front"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "a.jpg").write_bytes(jpeg())
        assert seen.wait(1) == ["front/a.jpg"]
    assert all(caplog.text.count(name) == 1 for name in ("@eaDir", "#recycle", "lost+found", "train"))


def test_pictures_of_formats_that_are_not_read_are_taken_to_be_named(folder, way):
    with watching(folder, **way) as seen:
        for name in ("IMG_0001.HEIC", "a.gif", "bb.jfif", "c.mp4"):
            (folder / name).write_bytes(jpeg(len(name)))
        assert sorted(seen.wait(3)) == ["IMG_0001.HEIC", "a.gif", "bb.jfif"]


def test_renamed_in(folder, way, tmp_path):
    with watching(folder, **way) as seen:
        part = folder / "a.jpg.part"
        part.write_bytes(jpeg(1))
        outside = tmp_path / "b.jpg"
        outside.write_bytes(jpeg(2))
        outside.rename(folder / "b.jpg")
        assert seen.wait(1) == ["b.jpg"]
        part.rename(folder / "a.jpg")
        assert seen.wait(2) == ["b.jpg", "a.jpg"]


def test_linked_in(folder, way, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    with watching(folder, **way) as seen:
        (folder / "b.jpg").hardlink_to(tmp_path / "a.jpg")
        assert seen.wait(1) == ["b.jpg"]


@linux
def test_a_slow_upload_is_taken_when_it_is_closed(folder):
    data = jpeg(1, (200, 200))
    with watching(folder, poll=0.1, settled=0.1) as seen:
        with (folder / "a.jpg").open("wb", 0) as file:
            for start in range(0, len(data), len(data) // 4 + 1):
                file.write(data[start : start + len(data) // 4 + 1])
                time.sleep(0.25)
            assert seen.wait(0) == [], "although it had not changed for longer than that"
        assert seen.wait(1) == ["a.jpg"]
        assert seen.taken[0].data == data


def test_a_slow_upload_that_nobody_announces(folder, monkeypatch):
    monkeypatch.setattr(module._Notices, "_open", lambda self: None)
    data = jpeg(1, (200, 200))
    with watching(folder, poll=0.05, settled=0.15) as seen:
        with (folder / "a.jpg").open("wb", 0) as file:
            for start in range(0, len(data), len(data) // 3 + 1):
                file.write(data[start : start + len(data) // 3 + 1])
                time.sleep(0.5)
        assert seen.wait(1) == ["a.jpg"]
        assert seen.taken[0].data == data


def test_an_aborted_upload_waits_for_the_next_try(folder, way):
    data = jpeg(1)
    with watching(folder, **way) as seen:
        (folder / "a.jpg").write_bytes(data[: len(data) // 2])
        (folder / "b.jpg").write_bytes(b"")
        assert seen.wait(0) == []
        (folder / "a.jpg").write_bytes(data)
        assert seen.wait(1) == ["a.jpg"]
        assert seen.taken[0].data == data


def test_an_upload_that_stays_aborted_is_taken_as_it_is(folder, monkeypatch):
    monkeypatch.setattr(module, "UNFINISHED", 0.4)
    with watching(folder) as seen:
        (folder / "a.jpg").write_bytes(jpeg(1)[:500])
        (folder / "b.jpg").write_bytes(b"")
        assert sorted(seen.wait(2)) == ["a.jpg", "b.jpg"]
        assert sorted(len(each.data) for each in seen.taken) == [0, 500]


def test_a_file_that_goes_before_it_is_taken(folder, way):
    with watching(folder, **way) as seen:
        for _ in range(20):
            (folder / "a.jpg").write_bytes(b"\xff\xd8 never finished")
            (folder / "a.jpg").unlink()
        (folder / "b.jpg").write_bytes(jpeg())
        assert seen.wait(1) == ["b.jpg"]


# -- once -----------------------------------------------------------------------------------------------------------


def test_uploaded_again_with_new_bytes(folder, way):
    with watching(folder, **way) as seen:
        for number in range(3):
            (folder / "snapshot.jpg").write_bytes(jpeg(number))
            assert seen.wait(number + 1) == ["snapshot.jpg"] * (number + 1)
        new = folder / "new.tmp"
        new.write_bytes(jpeg(9))
        new.replace(folder / "snapshot.jpg")
        assert seen.wait(4) == ["snapshot.jpg"] * 4
    assert len({each.data for each in seen.taken}) == 4


def test_uploaded_again_with_the_same_bytes(folder, way):
    with watching(folder, **way) as seen:
        for _ in range(3):
            (folder / "a.jpg").write_bytes(jpeg(1))
            assert seen.wait(1) == ["a.jpg"]
        (folder / "a.jpg").touch()
        (folder / "a.jpg").chmod(0o600)
        assert seen.wait(1) == ["a.jpg"]
        (folder / "b.jpg").write_bytes(jpeg(1))
        assert seen.wait(2) == ["a.jpg", "b.jpg"]


def test_moved_within_the_folder(folder, way):
    (folder / "front").mkdir()
    with watching(folder, **way) as seen:
        (folder / "front/a.jpg").write_bytes(jpeg(1))
        assert seen.wait(1) == ["front/a.jpg"]
        (folder / "front/a.jpg").rename(folder / "front/b.jpg")
        assert seen.wait(1) == ["front/a.jpg"]
        (folder / "front").rename(folder / "garden")
        assert seen.wait(1) == ["front/a.jpg"]
        (folder / "garden/c.jpg").write_bytes(jpeg(2))
        assert seen.wait(2) == ["front/a.jpg", "garden/c.jpg"]


def test_three_hundred_at_once(folder, way):
    (folder / "cam").mkdir()
    data = [jpeg(number, (16, 16)) for number in range(300)]
    with watching(folder, **way) as seen:
        for number, each in enumerate(data):
            (folder / f"cam/{number:03}.jpg").write_bytes(each)
        names = seen.wait(300, 30.0)
        assert names == [f"cam/{number:03}.jpg" for number in range(300)]
        assert [each.data for each in seen.taken] == data


@linux
def test_more_than_the_kernel_can_tell_of(folder, monkeypatch, caplog):
    read = module._Notices.read

    def deaf(self, seconds):
        """As after an overflow of the kernel's queue: nothing is told but that."""
        if read(self, seconds):
            self.lost = True
        return []

    monkeypatch.setattr(module._Notices, "read", deaf)
    with watching(folder) as seen:
        for number in range(20):
            (folder / f"{number:02}.jpg").write_bytes(jpeg(number))
        assert sorted(seen.wait(20)) == [f"{number:02}.jpg" for number in range(20)]
    assert "more changes than the kernel could tell of" in caplog.text


@linux
def test_no_more_watches_than_the_kernel_gives(folder, monkeypatch, caplog):
    import inotify_simple

    def refuse(self, path, mask):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", refuse)
    monkeypatch.setattr(module, "POLL", 0.1)
    with watching(folder) as seen:
        (folder / "a.jpg").write_bytes(jpeg())
        assert seen.wait(1) == ["a.jpg"]
    assert caplog.text.count("are not announced") == 1


def test_clocks_that_are_wrong(folder):
    with watching(folder) as seen:
        for number, when in enumerate((10**9, 2 * 10**9, -5, 2**33)):
            path = folder / f"{number}.tmp"
            path.write_bytes(jpeg(number))
            os.utime(path, (when, when))
            path.rename(folder / f"{number}.jpg")
        seen.wait(4)
    assert sorted(each.taken for each in seen.taken)[:3] == [-5.0, 1e9, 2e9]
    assert all(abs(each.arrived - time.time()) < 60 for each in seen.taken)


# -- across restarts --------------------------------------------------------------------------------------------------


def test_what_is_there_already(folder):
    for name in ("a", "b"):
        (folder / f"{name}.jpg").write_bytes(jpeg(ord(name)))
    with watching(folder) as seen:
        (folder / "c.jpg").write_bytes(jpeg(3))
        assert seen.wait(1) == ["c.jpg"]
    (folder / "d.jpg").write_bytes(jpeg(4))
    with watching(folder, existing="new") as seen:
        assert seen.wait(1) == ["d.jpg"]
    (folder / "e.jpg").write_bytes(jpeg(5))
    with watching(folder) as seen:
        assert seen.wait(0) == []
    with watching(folder, existing="take") as seen:
        assert seen.wait(0) == [], "what was passed over stays so"
    with watching(folder, folder.parent / "other.db", existing="new") as seen:
        assert seen.wait(0) == [], "watched for the first time"
    before = time.time()
    with watching(folder, folder.parent / "another.db", existing="take") as seen:
        assert seen.wait(5) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert all(each.arrived < before for each in seen.taken), "they came when the file system says"


def test_a_queue_of_before_it_kept_when_its_folder_was_watched_first(folder):
    (folder / "a.jpg").write_bytes(jpeg(1))
    with Spool(folder.parent / "queue.db") as spool:
        spool.post((), {"watched": b"1"})
    with watching(folder, existing="new") as seen:
        assert seen.wait(1) == ["a.jpg"]


def test_what_was_taken_is_not_taken_after_a_restart(folder):
    (folder / "a.jpg").write_bytes(jpeg(1))
    for expected in (["a.jpg"], []):
        with watching(folder, existing="take") as seen:
            assert seen.wait(len(expected)) == expected


OLD = 20 * 86_400


@pytest.fixture
def bind():
    """Puts a folder in another one's place, as a share that is mounted; skips where nothing can be mounted."""
    points = []

    def mount(source, point):
        command = ["mount", "--bind", source, point]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("nothing can be mounted here")
        points.append(point)

    def unmount(point):
        points.remove(point)
        subprocess.run(["umount", "--lazy", point], check=True)

    mount.undo = unmount
    yield mount
    for point in [*points]:
        unmount(point)


@pytest.fixture
def share(mounted):
    """A disk with twelve pictures of old."""
    disk = mounted("32m")
    for number in range(12):
        (disk / f"old{number}.jpg").write_bytes(jpeg(number))
        os.utime(disk / f"old{number}.jpg", (time.time() - OLD,) * 2)
    time.sleep(0.05)  # more than a tick of the file system's clock
    return disk


@pytest.mark.parametrize(("existing", "place"), [("skip", "."), ("new", "front")])
def test_a_share_that_is_mounted_later(folder, way, share, bind, existing, place):
    point = folder / place
    point.mkdir(exist_ok=True)
    with watching(folder, existing=existing, **{"poll": 0.1} | way) as seen:
        bind(share, point)
        seen.scan()
        (point / "a.jpg").write_bytes(jpeg(50))
        assert [Path(name).name for name in seen.wait(1)] == ["a.jpg"]
        bind.undo(point)
        seen.scan()
        (share / "b.jpg").write_bytes(jpeg(51))  # while nobody sees it
        time.sleep(0.2)
        before = time.time()
        bind(share, point)
        assert [Path(name).name for name in seen.wait(2)] == ["a.jpg", "b.jpg"]
        assert seen.taken[1].arrived < before - 0.1


def test_a_share_that_was_not_mounted_when_its_folder_was_watched_first(folder, share, bind):
    with watching(folder, existing="new") as seen:
        assert seen.wait(0) == []
    (share / "c.jpg").write_bytes(jpeg(52))
    bind(share, folder)
    with watching(folder, existing="new") as seen:
        assert seen.wait(1) == ["c.jpg"]


@linux
def test_a_share_in_the_folder_that_others_write_to_is_looked_at_often(folder, tmp_path, share, bind, monkeypatch):
    """Their changes are not announced there; nor is it that another one is mounted."""
    monkeypatch.setattr(mounts, "REMOTE", (*mounts.REMOTE, "tmpfs"))
    monkeypatch.setattr(module, "POLL", 0.1)
    for name in ("in/front", "in/back", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "more/b.jpg").write_bytes(jpeg(60))
    bind(share, folder / "front")
    with watching(folder, existing="take") as seen:
        assert len(seen.wait(12)) == 12
        bind(tmp_path / "more", folder / "back")
        assert seen.wait(13)[12:] == ["back/b.jpg"]


def test_all_of_a_share_that_is_mounted_later(folder, way, share, bind):
    with watching(folder, existing="take", **{"poll": 0.1} | way) as seen:
        before = time.time()
        bind(share, folder)
        assert len(seen.wait(12)) == 12
        assert all(each.arrived < before for each in seen.taken)


# -- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_no_folder(tmp_path, what):
    if what == "a file":
        (tmp_path / "x").touch()
    with pytest.raises(UsageError, match=r"the folder .*x cannot be watched: N"):
        Folder(tmp_path / "x")


def test_the_folder_goes_and_comes_back(folder, way, monkeypatch, caplog):
    monkeypatch.setattr(module, "POLL", 0.1)
    with watching(folder, **way) as seen:
        (folder / "a.jpg").write_bytes(jpeg(1))
        assert seen.wait(1) == ["a.jpg"]
        folder.rename(folder.parent / "away")
        until(lambda: "is gone" in caplog.text)
        assert "waiting for it" in caplog.text
        folder.mkdir()
        until(lambda: "there again" in caplog.text)
        (folder / "b.jpg").write_bytes(jpeg(2))
        assert seen.wait(2) == ["a.jpg", "b.jpg"]
        folder.rename(folder.parent / "away2")
        until(lambda: caplog.text.count("is gone") == 2)
        (folder.parent / "away").rename(folder)  # as a share that is mounted again
        (folder / "c.jpg").write_bytes(jpeg(3))
        assert seen.wait(3) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_full_queue_leaves_them_in_the_folder_in_their_order(folder, monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY", 0.05)
    with watching(folder, bounds={"most_frames": 2}) as seen:
        for number in range(7):
            (folder / f"{number}.jpg").write_bytes(jpeg(number))
        until(lambda: "pictures wait in" in caplog.text)
        assert seen.wait(7) == [f"{number}.jpg" for number in range(7)]
        assert seen._spool.status().refused == 0
    assert caplog.text.count("pictures wait in") < 7


def as_others():
    """Root, but for the calling thread no longer allowed to read what is others' (capset(2))."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header, sets = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)  # for this thread
        assert libc.capget(header, sets) == 0
        held = list(struct.unpack("6I", sets.raw))
        for number in (0, 1):  # effective, permitted
            held[number] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert libc.capset(header, struct.pack("6I", *held)) == 0


@linux
@pytest.mark.parametrize("existing", ["skip", "take"])
def test_a_folder_that_cannot_be_looked_at(folder, monkeypatch, caplog, way, existing):
    monkeypatch.setattr(module, "SAID_AGAIN", 0.5)
    (folder / "old").mkdir(mode=0)
    (folder / "old/old.jpg").write_bytes(jpeg(7))
    if os.geteuid() == 0:
        os.chown(folder / "old", 65534, 65534)
    time.sleep(0.05)
    with watching(folder, existing=existing, within=as_others, **{"poll": 0.1} | way) as seen:
        day = folder / "front/2026-11-26"
        day.mkdir(parents=True)
        day.chmod(0)
        (folder / "front/a.jpg").write_bytes(jpeg(1))
        assert seen.wait(1) == ["front/a.jpg"], "the others are taken"
        for name in ("b", "c"):
            (folder / "new").write_bytes(jpeg(ord(name)))
            (folder / "new").replace(day / f"{name}.jpg")
        came = (day / "c.jpg").stat().st_ctime
        until(lambda: caplog.text.count(f"{day} cannot be looked at (Permission denied)") >= 2)
        assert "not announced" not in caplog.text
        for each in (day, folder / "old"):
            each.chmod(0o755)
        expected = {"front/2026-11-26/b.jpg", "front/2026-11-26/c.jpg", "front/a.jpg"}
        expected |= {"old/old.jpg"} if existing == "take" else set()
        assert set(seen.wait(len(expected))) == expected
        assert {each.arrived for each in seen.taken if each.name.endswith("c.jpg")} == {came}


@linux
def test_that_it_cannot_be_is_not_said_with_each_look(folder, caplog):
    (folder / "day").mkdir(mode=0)
    with watching(folder, within=as_others, poll=0.05) as seen:
        for _ in range(3):
            seen.scan()
    assert caplog.text.count("cannot be looked at") == 1


@linux
def test_a_folder_that_can_be_looked_at_again_is_at_once(folder, caplog):
    (folder / "day").mkdir(mode=0)
    with watching(folder, within=as_others) as seen:
        (folder / "a.jpg").write_bytes(jpeg(1))
        until(lambda: "cannot be looked at" in caplog.text)
        (folder / "new").write_bytes(jpeg(2))
        (folder / "new").rename(folder / "day/b.jpg")
        (folder / "day").chmod(0o755)
        assert seen.wait(2) == ["a.jpg", "day/b.jpg"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(folder, monkeypatch):
    _unreadable(folder, monkeypatch)


def test_a_file_that_cannot_be_read(folder, monkeypatch):
    monkeypatch.setattr(module, "_read", lambda file, size: (_ for _ in ()).throw(PermissionError(13, "Denied")))
    _unreadable(folder, monkeypatch)


def _unreadable(folder, monkeypatch):
    monkeypatch.setattr(module, "UNFINISHED", 0.2)
    with watching(folder) as seen:
        (folder / "a.tmp").write_bytes(jpeg())
        (folder / "a.tmp").chmod(0)
        (folder / "a.tmp").rename(folder / "a.jpg")
        assert seen.wait(1) == ["a.jpg"]
        assert seen.taken[0]["error"]["kind"] == "unreadable"


def test_a_file_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with watching(folder) as seen:
        (folder / "a.jpg").write_bytes(jpeg(1))
        assert seen.wait(1) == ["a.jpg"]
        assert seen.taken[0]["error"]["kind"] == "too-large"


def test_a_file_for_which_there_can_be_no_room(folder):
    with watching(folder, bounds={"most_bytes": 1000}) as seen:
        (folder / "a.jpg").write_bytes(jpeg(1))
        (folder / "b.jpg").write_bytes(jpeg(1, (8, 8)))
        assert sorted(seen.wait(2)) == ["a.jpg", "b.jpg"]
        (refused,) = [each for each in seen.taken if isinstance(each, dict)]
        assert (refused["image"], refused["error"]["kind"]) == (str(folder / "a.jpg"), "too-large")


def test_nothing_but_files_is_opened(folder, way, tmp_path):
    (tmp_path / "outside.jpg").write_bytes(jpeg(1))
    (tmp_path / "others").mkdir()
    (tmp_path / "others/o.jpg").write_bytes(jpeg(1))
    with watching(folder, existing="take", **way) as seen, socket.socket(socket.AF_UNIX) as bound:
        os.mkfifo(folder / "f.jpg")
        (folder / "l.jpg").symlink_to(tmp_path / "outside.jpg")
        (folder / "d.jpg").mkdir()
        (folder / "linked").symlink_to(tmp_path / "others", target_is_directory=True)
        bound.bind(os.path.relpath(folder / "s.jpg"))
        (folder / "z.jpg").write_bytes(jpeg(2))
        assert seen.wait(1) == ["z.jpg"]


def test_a_link_that_is_renewed_for_each_picture(folder, way, monkeypatch, caplog):
    """Some cameras keep one to their latest picture; what it leads to comes by itself."""
    monkeypatch.setattr(module, "UNFINISHED", 0.2)
    with watching(folder, **way) as seen:
        for number in range(3):
            (folder / f"{number}.jpg").write_bytes(jpeg(number))
            (folder / "new").symlink_to(f"{number}.jpg")
            (folder / "new").rename(folder / "latest.jpg")
            (folder / "last.jpg").unlink(missing_ok=True)
            (folder / "last.jpg").symlink_to(f"{number}.jpg")
            time.sleep(0.2)
        time.sleep(0.3)
        assert seen.wait(3) == ["0.jpg", "1.jpg", "2.jpg"]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("step", ["front", "."])
def test_a_link_in_place_of_the_folder_of_pictures_that_wait(folder, way, step, tmp_path, caplog, monkeypatch):
    """And behind it the same pictures, somewhere else, where nothing is to be read or removed."""
    monkeypatch.setattr(module, "RETRY", 0.1)
    elsewhere, data = tmp_path / "elsewhere", jpeg(1)
    (elsewhere / "front").mkdir(parents=True)
    (folder / "front").mkdir()
    with watching(folder, delete=True, bounds={"most_frames": 1}, **{"poll": 0.1} | way) as seen:
        (folder / "front/taken.jpg").write_bytes(data)
        until(lambda: seen._spool.status().frames)
        (folder / "front/new.jpg").write_bytes(jpeg(2))
        until(lambda: "pictures wait in" in caplog.text)
        (folder / "front/taken.jpg").write_bytes(data)  # once more, and would be removed
        time.sleep(0.4)
        for name in ("taken.jpg", "new.jpg"):
            (elsewhere / name).hardlink_to(folder / "front" / name)
            (elsewhere / "front" / name).hardlink_to(folder / "front" / name)
        there = sorted(elsewhere.rglob("*"))
        (folder / step).rename(tmp_path / "away")
        (folder / step).symlink_to(elsewhere)
        assert seen.wait(2, 0.5) == ["front/taken.jpg"]
    assert sorted(elsewhere.rglob("*")) == there


def test_names_that_are_no_text(folder):
    name = os.fsdecode(b"caf\xe9")
    with watching(folder) as seen:
        (folder / name).mkdir()
        (folder / name / f"{name}.jpg").write_bytes(jpeg())
        seen.wait(1)
    assert [each.camera for each in seen.taken] == ["caf\\udce9"]


def test_a_duplicate_is_removed_too_where_files_are_removed(folder):
    with watching(folder, delete=True) as seen:
        (folder / "a.jpg").write_bytes(jpeg())
        assert seen.wait(1) == ["a.jpg"]
        assert (folder / "a.jpg").exists(), "the sink removes it once its result is recorded"
        (folder / "a.jpg").write_bytes(jpeg())
        until(lambda: not (folder / "a.jpg").exists())
        assert seen.wait(1) == ["a.jpg"]


# -- the command ------------------------------------------------------------------------------------------------------


class Command:
    """``peephole watch`` in a process of its own."""

    def __init__(self, folder, *options, gallery):
        self.out = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peephole", "watch", str(folder), "--queue", str(folder.parent / "q.db"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PEEPHOLE_GALLERY": str(gallery), "PEEPHOLE_IN_PROCESS": "1"},
        )
        self._reader = threading.Thread(target=lambda: self.out.extend(self._process.stdout))
        self._reader.start()

    def stop(self, number=signal.SIGTERM):
        self._process.send_signal(number)
        self._reader.join()
        with self._process as process:
            return process.wait(SOON), process.stderr.read()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, eileen_file, cache):
    path = tmp_path_factory.mktemp("gallery") / "gallery.db"
    ran = CliRunner().invoke(main, ["enroll", "Eileen", str(eileen_file), "--gallery", str(path)])
    assert ran.exit_code == 0, ran.output
    return path


def test_a_visit_from_file_to_command(folder, gallery, eileen_file, tmp_path):
    from peephole.gallery import Gallery

    hook = tmp_path / "hook.py"
    hook.write_text(
        "import json, os, sys\n"
        "event = json.load(sys.stdin)\n"
        "from PIL import Image\n"
        "assert max(Image.open(os.environ['PEEPHOLE_CROP']).size) > 60\n"
        "assert os.environ['PEEPHOLE_CROP'] == event['best']['crop'] == event['people'][0]['best']['crop']\n"
        "told = [os.environ['PEEPHOLE_' + name] for name in ('EVENT', 'CAMERA', 'NAMES', 'VISIT')]\n"
        "assert told == [event['event'], event['camera'], ','.join(event['names']), event['visit']]\n"
        f"open({str(tmp_path / 'told')!r}, 'a').write(' '.join([*told[:3], *sys.argv[1:]]) + chr(10))\n"
    )
    run = f"{sys.executable} {hook} '$(touch {tmp_path}/shell)'"
    command = Command(folder, "--on-visit", run, "--existing", "take", "--delete", gallery=gallery)
    (folder / "Anna's; door").mkdir()
    (folder / "Anna's; door/a.png").write_bytes(eileen_file.read_bytes())
    until(lambda: command.out, 60)
    until(lambda: not (folder / "Anna's; door/a.png").exists())
    status, said = command.stop()
    assert (status, said) == (0, "")
    opened, closed = (line.split("  ", 1)[1] for line in command.out)
    assert opened == "Anna's; door  opened   Eileen\n"
    assert closed == "Anna's; door  closed   Eileen  (0 s, 1 frame)\n"
    assert (tmp_path / "told").read_text().splitlines() == [
        f"{event} Anna's; door Eileen $(touch {tmp_path}/shell)" for event in ("opened", "closed")
    ]
    assert not (tmp_path / "shell").exists()
    with Gallery.open(gallery) as opened:
        (visit,) = opened.visits()
    assert (visit.camera, visit.names, visit.state, visit.frames) == ("Anna's; door", ("Eileen",), "closed", 1)


def test_json_lines(folder, gallery, eileen_file):
    (folder / "old.png").write_bytes(jpeg(1))
    log, history = folder.parent / "timings", folder.parent / "history"
    timings = ("--timings", str(log), "--history", str(history))
    command = Command(folder, "--jsonl", "--existing", "take", *timings, gallery=gallery)
    until(lambda: command.out, 60)
    (folder / "b.png").write_bytes(eileen_file.read_bytes()[:5000] + b"IEND")
    until(lambda: len(command.out) > 1)
    (folder / "c.png").write_bytes(eileen_file.read_bytes())
    until(lambda: len(command.out) > 3)
    status, said = command.stop(signal.SIGINT)
    assert (status, said) == (0, "")
    lines = [json.loads(line) for line in command.out]
    assert [(each["type"], each.get("event")) for each in lines] == [
        ("frame", None),
        ("frame", None),
        ("frame", None),
        ("visit", "opened"),
        ("visit", "closed"),
    ]
    nobody, damaged, seen, opened, closed = lines
    assert (nobody["image"], nobody["faces"], nobody["camera"]) == (str(folder / "old.png"), [], "in")
    assert damaged["error"]["kind"] == "corrupt"
    assert [each["name"] for each in seen["faces"]] == ["Eileen"]
    assert {"number", "arrived", "taken", "plan", "timings_ms", "models"} <= seen.keys()
    assert opened["names"] == closed["names"] == ["Eileen"]
    logged = list(read_timings(log))
    assert logged == list(read_timings(history))
    assert [each.frame for each in logged] == ["in/1", "in/2", "in/3"]
    assert [each.source for each in logged] == [each["image"] for each in lines[:3]]
    assert [each.error for each in logged] == [None, "corrupt", None]
    assert list(logged[2].stages)[:4] == ["wait.queue", "people", "decode", "plan"]
    assert list(logged[2].stages)[-5:] == ["align", "embed", "match", "crop", "record"]
    (best,) = [each["best"] for each in closed["people"]]
    assert best["image"] == str(folder / "c.png")
    with Image.open(best["crop"]) as crop:
        assert crop.width > 60
    assert {"detect.head", "detect.tail"} <= logged[2].cpu_ms.keys()
    assert (logged[2].detector, logged[2].recognizer) == ("yunet", "sface")


def test_crops_are_not_written_to_where_cameras_upload(folder, gallery):
    for crops in (folder, folder / "crops"):
        ran = CliRunner().invoke(main, ["watch", str(folder), "--crops", str(crops), "--gallery", str(gallery)])
        assert ran.exit_code == 2
        assert "would be taken for the cameras'" in ran.output
    assert list(folder.iterdir()) == []


def test_two_at_once_and_folders_that_are_none(folder, gallery, tmp_path):
    ran = CliRunner().invoke(main, ["watch", str(tmp_path / "none"), "--gallery", str(gallery)])
    assert ran.exit_code == 2
    assert "none cannot be watched: No such file or directory" in ran.output
    queue = folder.parent / "q.db"
    with Spool(queue) as spool, spool.working():
        options = ["--queue", str(queue), "--gallery", str(gallery), "--in-process"]
        ran = CliRunner().invoke(main, ["watch", str(folder), *options])
    assert ran.exit_code == 1
    assert "another process works through the queue" in ran.output


@pytest.mark.soak
def test_killed_while_files_come(folder, gallery, eileen_file):
    """Every file has one result, those too that came while nobody watched."""
    data, out, names = eileen_file.read_bytes(), [], []
    for life in range(4):
        command = Command(folder, "--jsonl", "--existing", "new", gallery=gallery)
        until(lambda path=folder.parent / "q.db": path.exists(), 60)
        for number in range(5):
            name = f"{life}{number}.png"
            (folder / name).write_bytes(data + name.encode())
            names.append(str(folder / name))
            time.sleep(0.3 * (life < 3))
        if life == 3:
            until(lambda last=command: len(last.out) > 8, 60)
            time.sleep(2)
        command.stop(signal.SIGTERM if life == 3 else signal.SIGKILL)
        out += map(json.loads, command.out)
    numbers = {each["number"]: each["image"] for each in out if each["type"] == "frame"}
    first = {name for name in names if name.startswith(str(folder / "0"))}
    assert len(numbers) == len(set(numbers.values()))
    assert set(names) - first <= set(numbers.values()) <= set(names), "the first start skips what was there before it"
