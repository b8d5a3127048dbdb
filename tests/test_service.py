"""The service's loop and its sinks: what fails is tried again, and holds up nobody else."""

import errno
import json
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sightings
from peephole import service as module
from peephole.crops import Crops
from peephole.errors import (
    FrameCorrupt,
    GalleryError,
    ModelNotFound,
    SpoolFull,
    TimingsError,
    UsageError,
    WorkerNotStarted,
)
from peephole.gallery import Gallery, Photo
from peephole.service import Service
from peephole.sinks import Command, JsonLines, Lines, Remover, Visitors
from peephole.spool import Arrival, File, Spool
from peephole.timings import Observers
from peephole.tree import Tree
from peephole.visits import GAP
from spool_service import FakeLooking

T = 1_700_000_000.0
PNG = b"\x89PNG\r\n\x1a\n"


class Looking(FakeLooking):
    """Does with each frame as its bytes say: a number of faces, or a word."""

    def __init__(self):
        super().__init__(0.0)
        self.looked = []
        self.photos = 0

    def analyse(self, source, *, name, people, rule, **options):
        self.looked.append(name)
        if source == b"corrupt":
            raise FrameCorrupt("cut off")
        if source == b"late" and self.looked.count(name) < 3:
            raise WorkerNotStarted("not yet")
        if source == b"no model":
            raise ModelNotFound("it is gone")
        return super().analyse(b"1" if source == b"late" else source, name=name, people=people, rule=rule)

    def photo(self, source, analysis, face):
        self.photos += 1
        return Photo(PNG, None, "none", face.box, "x", f"{self.photos:064x}")


class Kept:
    """A sink that keeps what it gets, after so many failures."""

    def __init__(self, name="kept", failures=0):
        self.name, self.failures, self.messages, self.closed = name, failures, [], 0

    def deliver(self, message):
        if self.failures:
            self.failures -= 1
            raise GalleryError("not now")
        self.messages.append(message)

    def close(self):
        self.closed += 1

    @property
    def told(self):
        return [each.get("event") or each.get("error", {}).get("kind") or each["image"] for each in self.messages]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Frames that another process has accepted are found soon."""
    monkeypatch.setattr(module, "TICK", 0.02)
    monkeypatch.setattr(module, "IDLE", 0.02)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.open(tmp_path / "gallery.db") as opened:
        yield opened


@pytest.fixture
def queue(tmp_path):
    return tmp_path / "queue.db"


def enrol(gallery, name, angle):
    photo = Photo(PNG, None, "none", (0, 0, 1, 1), "x", f"{round(angle * 10):064x}")
    gallery.add_photo(name, photo, {sightings.MODEL: sightings.at(angle)[0]})


def offer(queue, *frames, camera="door", at=T):
    """Put frames a second apart into the queue, by their bytes."""
    with Spool(queue) as spool:
        for number, data in enumerate(frames):
            spool.accept(Arrival(camera, f"{camera}{number}", data, at + number))


@contextmanager
def running(queue, looking, gallery, **options):
    """A service at work in a thread, stopped at the end of the block; the errors that ended it."""
    raised, services = [], []

    def run():
        with Gallery.open(gallery.path) as mine:  # one belongs to its thread
            services.append(Service(queue, looking, mine, **{"clock": lambda: T} | options))
            try:
                services[0].run()
            except Exception as error:  # noqa: BLE001 - the test looks at it
                raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: services)
    try:
        yield raised
    finally:
        services[0].stop()
        thread.join()


def until(what, seconds=10.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_frames_become_results_and_visits(queue, gallery):
    enrol(gallery, "Ada", 0.0)
    offer(queue, b"1", b"0", b"corrupt", b"2")
    kept, clock = Kept(), [T + 10]
    with running(queue, Looking(), gallery, sinks=[kept], clock=lambda: clock[0]):
        until(lambda: len(kept.messages) == 6)
        clock[0] = T + 10 + GAP
        until(lambda: "closed" in kept.told)
    assert kept.told == ["door0", "opened", "door1", "corrupt", "door3", "updated", "closed"]
    names = [each["names"] for each in kept.messages if each["type"] == "visit"]
    assert names == [["Ada"], ["Ada", "unknown"], ["Ada", "unknown"]]
    assert [face["name"] for face in kept.messages[4]["faces"]] == ["Ada", "unknown"]
    assert kept.messages[0]["number"] == 1
    assert kept.messages[-1]["first"] == T
    assert kept.closed == 1


def test_an_enrolment_counts_from_the_next_frame_on(queue, gallery):
    kept = Kept()
    with running(queue, Looking(), gallery, sinks=[kept]):
        offer(queue, b"1")
        until(lambda: "opened" in kept.told)
        with Gallery.open(gallery.path) as other:
            enrol(other, "Ada", 0.0)
        offer(queue, b"1", at=T + 5)
        until(lambda: "updated" in kept.told)
    assert [each["names"] for each in kept.messages if each["type"] == "visit"][:2] == [["unknown"], ["Ada"]]


def test_a_gallery_that_cannot_be_read_is_as_it_was(queue, gallery, monkeypatch, caplog):
    enrol(gallery, "Ada", 0.0)
    kept = Kept()
    with running(queue, Looking(), gallery, sinks=[kept]):
        offer(queue, b"1")
        until(lambda: "opened" in kept.told)

        def refuse(*_):
            raise GalleryError("it is locked")

        monkeypatch.setattr(module.Known, "read", refuse)
        offer(queue, b"1", at=T + 5)
        until(lambda: len(kept.messages) == 3)
    assert [face["name"] for face in kept.messages[2]["faces"]] == ["Ada"]
    assert "going on with the people known before: it is locked" in caplog.text


def test_a_worker_that_does_not_start_costs_no_frame(queue, gallery, monkeypatch, caplog):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    offer(queue, b"late", b"0")
    kept, looking = Kept(), Looking()
    with running(queue, looking, gallery, sinks=[kept]):
        until(lambda: "door1" in kept.told)
    assert looking.looked == ["door0", "door0", "door0", "door1"]
    assert kept.told[:3] == ["door0", "opened", "door1"]
    assert "waiting: not yet" in caplog.text


def test_what_is_no_frames_fault_ends_it_and_all_frames_wait(queue, gallery):
    offer(queue, b"0", b"no model", b"0")
    with running(queue, Looking(), gallery, sinks=[Kept()]) as raised:
        until(lambda: raised)
    assert isinstance(raised[0], ModelNotFound)
    with Spool(queue) as spool:
        assert spool.status().frames == 2


def test_a_frame_at_which_the_program_always_ends(queue, gallery):
    offer(queue, b"1", b"0")
    with Spool(queue) as spool:
        for _ in range(module.MOST_CLAIMS):
            with spool.working():
                spool.claim()
    kept, looking = Kept(), Looking()
    with running(queue, looking, gallery, sinks=[kept]):
        until(lambda: len(kept.messages) == 2)
    assert kept.told == ["abandoned", "door1"]
    assert looking.looked == ["door1"]


def test_stopped_it_leaves_the_rest_for_the_next_start(queue, gallery):
    offer(queue, *[b"0"] * 5)

    class Stopping(Looking):
        def analyse(self, source, **options):
            service.stop()
            return super().analyse(source, **options)

    kept = Kept()
    service = Service(queue, Stopping(), gallery, sinks=[kept], clock=lambda: T)
    service.run()
    assert kept.told == ["door0"]
    with running(queue, Looking(), gallery, sinks=[kept]):
        until(lambda: len(kept.messages) == 5)
    assert kept.told == [f"door{number}" for number in range(5)]


def test_a_visit_goes_on_after_a_crash(queue, gallery):
    """The same tracker, event by event, as though nothing had happened."""
    enrol(gallery, "Ada", 0.0)
    kept = Kept()
    offer(queue, b"1", b"no model")
    with running(queue, Looking(), gallery, sinks=[kept]) as raised:
        until(lambda: raised)
    with Spool(queue) as spool, spool.working():
        spool.answer(spool.claim().number, [])
    offer(queue, b"2", at=T + 9)
    with running(queue, Looking(), gallery, sinks=[kept]):
        until(lambda: "updated" in kept.told)
    visits = [each for each in kept.messages if each["type"] == "visit"]
    assert [each["event"] for each in visits] == ["opened", "updated", "closed"]
    assert len({each["visit"] for each in visits}) == 1
    assert visits[-1]["frames"] == 2
    assert [each["faces"] for each in visits[-1]["people"]] == [2, 1]
    assert visits[-1]["last"] - visits[-1]["first"] == 9


def test_a_visit_of_another_model_is_closed_with_the_names_it_had(queue, gallery):
    enrol(gallery, "Ada", 0.0)
    kept = Kept()
    offer(queue, b"1", b"no model")
    with running(queue, Looking(), gallery, sinks=[kept]) as raised:
        until(lambda: raised)
    other = Looking()
    other.recognizer = sightings.Circle(model_id="cd" * 32)
    gallery.forget("Ada")
    with Spool(queue) as spool, spool.working():
        spool.answer(spool.claim().number, [])
    with running(queue, other, gallery, sinks=[kept]):
        until(lambda: "closed" in kept.told)
    assert kept.messages[-1]["names"] == ["Ada"]


def left_open(queue, gallery):
    """Leave a visit open in a queue, as a run that was killed does; what is kept of it, and its vectors."""
    enrol(gallery, "Ada", 0.0)
    offer(queue, b"2", b"no model")
    with running(queue, Looking(), gallery, sinks=[Kept()]) as raised:
        until(lambda: raised)
    with Spool(queue) as spool, spool.working():
        spool.answer(spool.claim().number, [])
        data = spool.state("visits")
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def keep(queue, state, vectors):
    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    with Spool(queue) as spool:
        spool.post([], {"visits": len(text).to_bytes(8, "little") + text + vectors})


def older(state):
    """As the first version kept it."""
    return {"model": state["model"], "visits": state["visits"]}


def other_fields(state):
    for visit in state["visits"]:
        visit["weather"] = "rain"
        for track in visit["tracks"]:
            track["match"].pop("false_alarm")
            track["match"]["mood"] = "good"
            track["best"].pop("weight")
            track.pop("total")
    return state


@pytest.mark.parametrize("change", [older, other_fields, lambda state: state | {"form": state["form"] + 1}])
def test_visits_in_another_versions_form_are_closed_and_the_rest_goes_on(queue, gallery, change):
    state, vectors = left_open(queue, gallery)
    keep(queue, change(state), vectors)
    offer(queue, b"1", at=T + 5)
    kept = Kept()
    with running(queue, Looking(), gallery, sinks=[kept]) as raised:
        until(lambda: len(kept.messages) == 3)
        assert not raised
    assert kept.told == ["closed", "door0", "opened", "closed"]
    assert (kept.messages[0]["names"], kept.messages[0]["frames"]) == (["Ada", "unknown"], 1)
    assert kept.messages[0]["visit"] != kept.messages[2]["visit"]
    for sink in (Lines(str), JsonLines(str), Visitors(gallery.path)):
        sink.deliver(kept.messages[0])
        sink.close()


@pytest.mark.parametrize(
    "kept_as", [b"", b"\xff", b"[]", b"{}", b'{"visits": [1]}', b'{"visits": [{"tracks": 2}]}', b"[" * 100_000]
)
def test_visits_in_no_known_form_are_dropped_with_a_word_and_the_rest_goes_on(queue, gallery, caplog, kept_as):
    keep(queue, kept_as, b"")
    offer(queue, b"1")
    kept = Kept()
    with running(queue, Looking(), gallery, sinks=[kept]):
        until(lambda: len(kept.messages) == 2)
    assert kept.told == ["door0", "opened", "closed"]
    assert "visits that were going on are dropped" in caplog.text
    with Spool(queue) as spool:
        assert len(spool.state("visits")) > 50


def test_vectors_of_nonsense_fail_one_frame(queue, gallery):
    class Mad(Looking):
        def analyse(self, source, **options):
            seen = super().analyse(source, **options)
            return replace(seen, faces=replace(seen.faces, embeddings=seen.faces.embeddings * np.nan))

    offer(queue, b"1", b"0")
    kept = Kept()
    with running(queue, Mad(), gallery, sinks=[kept]):
        until(lambda: len(kept.messages) == 2)
    assert kept.told == ["worker-protocol", "door1"]


def test_unknown_faces_are_kept_if_that_was_asked(queue, gallery):
    now = time.time()
    offer(queue, b"2", at=now)
    kept = Kept()
    with running(queue, Looking(), gallery, sinks=[kept], keep_unknown=True) as raised:
        until(lambda: kept.messages or raised)
    assert not raised
    assert [(each.camera, each.time) for each in gallery.unknowns()] == [("door", now)] * 2


class Noting(Kept):
    """A sink that looks at what it is told of at once, as a command does."""

    def deliver(self, message):
        bests = [each["best"] for each in message.get("people", [])]
        self.messages.append(message | {"there": [Path(each["crop"]).exists() for each in bests]})


def test_the_best_face_of_each_person_is_there_before_anybody_is_told(queue, gallery, tmp_path):
    crops, looking, sink = tmp_path / "crops", Looking(), Noting()
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"2")
    with Spool(queue) as spool:
        spool.accept(Arrival("door", "a.jpg", b"2", T, file=File.of(str(picture), picture.lstat())))
        for number in (1, 2):  # as clear, so not better
            spool.accept(Arrival("door", f"{number}", b"1", T + number))
    with running(queue, looking, gallery, sinks=[sink], crops=Crops(crops, clock=time.time)):
        until(lambda: len(sink.messages) == 4)
    visits = [each for each in sink.messages if each["type"] == "visit"]
    assert [each["event"] for each in visits] == ["opened", "closed"]
    for visit in visits:
        assert visit["there"] == [True, True]
        assert [each["best"]["image"] for each in visit["people"]] == [str(picture)] * 2
        assert visit["best"] == visit["people"][0]["best"]
    assert looking.photos == 2
    kept = sorted(str(each) for each in crops.iterdir())
    assert kept == sorted(each["best"]["crop"] for each in visits[-1]["people"])


def test_crops_outlive_a_crash(queue, gallery, tmp_path):
    sink, crops = Noting(), Crops(tmp_path / "crops")
    offer(queue, b"1", b"no model")
    with running(queue, Looking(), gallery, sinks=[Kept()], crops=crops) as raised:
        until(lambda: raised)
    with Spool(queue) as spool, spool.working():
        spool.answer(spool.claim().number, [])
    with running(queue, Looking(), gallery, sinks=[sink], crops=crops):
        pass
    assert [each["there"] for each in sink.messages if each.get("event") == "closed"] == [[True]]


def test_a_crop_that_cannot_be_had_costs_no_visit(queue, gallery, tmp_path, caplog):
    class Blind(Looking):
        def photo(self, source, analysis, face):
            raise FrameCorrupt("it was sound a moment ago")

    (tmp_path / "file").write_bytes(b"")
    for looking, folder in ((Blind(), tmp_path / "crops"), (Looking(), tmp_path / "file")):
        kept = Kept("output")
        offer(queue, b"1")
        with running(queue, looking, gallery, sinks=[kept], crops=Crops(folder)):
            until(lambda kept=kept: len(kept.messages) > 1)
        assert kept.told == ["door0", "opened", "closed"]
    assert "it was sound a moment ago" in caplog.text
    assert "Not a directory" in caplog.text or "File exists" in caplog.text


def test_a_full_disk_is_waited_for(queue, gallery, monkeypatch, caplog):
    monkeypatch.setattr(module, "PAUSE", 0.01)
    answer, failures = Spool.answer, [1, 1, 1]

    def full(self, *args):
        if failures:
            failures.pop()
            raise SpoolFull("no space")
        return answer(self, *args)

    monkeypatch.setattr(Spool, "answer", full)
    offer(queue, b"1", b"1")
    kept, looking = Kept(), Looking()
    with running(queue, looking, gallery, sinks=[kept]):
        until(lambda: "door1" in kept.told)
    assert looking.looked == ["door0", "door1"]
    assert kept.told == ["door0", "opened", "door1", "closed"]
    assert "waiting: no space" in caplog.text


def test_a_source_that_fails_ends_it(queue, gallery):
    class Source:
        def run(self, spool, stop):
            raise UsageError("there is nothing")

    with pytest.raises(UsageError, match="there is nothing"):
        Service(queue, Looking(), gallery, sources=[Source()], clock=lambda: T).run()


def test_a_sink_that_cannot_be_written_to_ends_it(queue, gallery):
    class Pipe(Kept):
        def deliver(self, message):
            raise BrokenPipeError

    offer(queue, b"0")
    with pytest.raises(BrokenPipeError):
        Service(queue, Looking(), gallery, sinks=[Pipe()], clock=lambda: T).run()


def test_output_to_a_full_disk_comes_when_there_is_space(queue, gallery, monkeypatch, caplog):
    monkeypatch.setattr(module, "PAUSE", 0.05)

    class Full(Kept):
        def deliver(self, message):
            if self.failures:
                self.failures -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            super().deliver(message)

    offer(queue, b"1")
    sink = Full(failures=3)
    with running(queue, Looking(), gallery, sinks=[sink]) as raised:
        until(lambda: len(sink.messages) == 2)
    assert not raised
    assert sink.told == ["door0", "opened", "closed"]
    assert "No space left on device; it will be tried again" in caplog.text


def test_a_sink_that_fails_holds_up_nobody_and_misses_nothing(queue, gallery, monkeypatch, caplog):
    monkeypatch.setattr(module, "PAUSE", 0.05)
    offer(queue, b"1", b"0")
    fine, failing, never = Kept("fine"), Kept("failing", 3), Kept("never", 10**6)
    with running(queue, Looking(), gallery, sinks=[fine, failing, never]):
        until(lambda: len(fine.messages) == 3)
        until(lambda: len(failing.messages) == 3)
    assert fine.told == failing.told == ["door0", "opened", "door1", "closed"]
    assert "failing: not now; it will be tried again" in caplog.text
    assert never.messages == []

    never.failures = 0
    with running(queue, Looking(), gallery, sinks=[never]):
        until(lambda: len(never.messages) == 4)
    assert never.told == fine.told


# -- sinks ----------------------------------------------------------------------------------------------------------

VISIT = {
    "type": "visit",
    "event": "closed",
    "visit": "door/1@2",
    "camera": "door",
    "first": T,
    "last": T + 12.4,
    "frames": 3,
    "names": ["Ada", "unknown"],
    "people": [],
}
FRAME = {"type": "frame", "number": 1, "camera": "door", "image": "a\n.jpg", "arrived": T, "taken": None}
FAILED = FRAME | {"error": {"kind": "corrupt", "message": "cut off"}}


def test_lines(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    lines = []
    for message in (FRAME, FAILED, VISIT | {"event": "opened"}, VISIT, VISIT | {"frames": 1}):
        Lines(lines.append).deliver(message)
    assert lines == [
        "2023-11-14 22:13:20  door  could not look: a\\n.jpg: cut off",
        "2023-11-14 22:13:32  door  opened   Ada, unknown",
        "2023-11-14 22:13:32  door  closed   Ada, unknown  (12 s, 3 frames)",
        "2023-11-14 22:13:32  door  closed   Ada, unknown  (12 s, 1 frame)",
    ]


def test_json_lines_leave_out_what_is_for_other_sinks():
    lines = []
    JsonLines(lines.append).deliver(FRAME | {"file": {"path": "x", "stamp": "1"}})
    assert json.loads(lines[0]) == FRAME


def run(command, tmp_path, message=VISIT, **options):
    Command(f"{sys.executable} {tmp_path / 'hook.py'} {command}", **options).deliver(message)


def test_a_command(tmp_path):
    (tmp_path / "hook.py").write_text(
        "import json, os, sys\n"
        f"with open({str(tmp_path / 'told')!r}, 'a') as out:\n"
        "    print(json.load(sys.stdin)['names'], sys.argv[1:], os.environ['PEEPHOLE_NAMES'], file=out)\n"
    )
    run("'a b' ;", tmp_path)
    run("", tmp_path, FRAME)
    assert (tmp_path / "told").read_text() == "['Ada', 'unknown'] ['a b', ';'] Ada,unknown\n"


def test_a_command_needs_no_temporary_folder(tmp_path, monkeypatch):
    """As where every disk is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    (tmp_path / "hook.py").write_text(f"open({str(tmp_path / 'told')!r}, 'w').write(input())")
    run("", tmp_path)
    assert json.loads((tmp_path / "told").read_text()) == VISIT


def test_a_command_is_given_the_pictures_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_CROP", "another's")
    picture, crop = tmp_path / "a.jpg", tmp_path / "1-2-0.png"
    (tmp_path / "hook.py").write_text(
        "import os\n"
        f"with open({str(tmp_path / 'told')!r}, 'a') as out:\n"
        "    print([os.environ['PEEPHOLE_FRAME'], os.environ['PEEPHOLE_CROP']], file=out)\n"
    )
    picture.write_bytes(b"a")
    crop.write_bytes(b"b")
    stamp = File.of(str(picture), picture.lstat()).stamp
    best = {"image": str(picture), "stamp": stamp, "crop": str(crop)}
    run("", tmp_path, VISIT | {"best": best})
    crop.unlink()
    run("", tmp_path, VISIT | {"best": best})
    picture.write_bytes(b"another frame")  # under the same name
    run("", tmp_path, VISIT | {"best": best})
    picture.unlink()
    run("", tmp_path, VISIT | {"best": best})
    run("", tmp_path, VISIT | {"best": None})
    run("", tmp_path, VISIT)  # as an older version has left it in the queue
    told = [[str(picture), str(crop)], [str(picture), ""], *[["", ""]] * 4]
    assert (tmp_path / "told").read_text().splitlines() == [str(each) for each in told]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('it is\\nso')", r"failed with status 1: it is\\nso"),
        ("import sys; sys.exit(3)", "failed with status 3"),
        ("import time; time.sleep(60)", "took longer than 0.5 s and was killed"),
        ("import os, time; os.fork(); time.sleep(60)", "took longer than 0.5 s and was killed"),
        ("import os; os.close(0)", ""),
    ],
)
def test_a_command_that_fails_is_logged_and_no_more(tmp_path, caplog, code, says):
    (tmp_path / "hook.py").write_text(code)
    message = VISIT | {"people": ["x" * 1_000_000]}
    began = time.monotonic()
    run("", tmp_path, message, timeout=0.5)
    assert time.monotonic() - began < 10
    assert (says.replace("\\\\", "\\") in caplog.text) if says else not caplog.text


def test_a_command_that_is_none(caplog):
    with pytest.raises(UsageError, match="there is no command in it"):
        Command("  ")
    with pytest.raises(UsageError, match="No closing quotation"):
        Command("say 'x")
    Command("/no/such/program").deliver(VISIT)
    assert "/no/such/program cannot be run" in caplog.text


def test_visits_go_into_the_gallery(gallery):
    enrol(gallery, "Ada", 0.0)
    sink = Visitors(gallery.path, clock=lambda: T + 20)
    sink.deliver(FRAME)
    sink.deliver(VISIT | {"event": "opened", "names": ["unknown"]})
    sink.deliver(VISIT)
    sink.close()
    (visit,) = gallery.visits()
    assert (visit.id, visit.camera, visit.state, visit.names) == ("door/1@2", "door", "closed", ("Ada", "unknown"))
    assert (visit.first, visit.last, visit.frames) == (T, T + 12.4, 3)


def test_visits_are_kept_for_a_set_time(gallery):
    sink = Visitors(gallery.path, clock=lambda: T + 31 * 86_400)
    sink.deliver(VISIT)  # of a month ago
    sink.deliver(VISIT | {"visit": "door/2@2", "last": T + 30.5 * 86_400})
    sink.close()
    assert [visit.id for visit in gallery.visits()] == ["door/2@2"]


def test_files_are_removed_if_they_are_still_what_they_were(tmp_path, caplog):
    path = tmp_path / "in/a.jpg"
    path.parent.mkdir()

    def message(**more):
        path.write_bytes(b"x")
        file = File.of(str(path), path.stat())
        return FRAME | {"file": {"path": file.path, "stamp": file.stamp}} | more

    remover = Remover(Tree(path.parent))
    remover.deliver(FRAME)
    remover.deliver(VISIT)
    remover.deliver(message(error={"kind": "dropped", "message": ""}))
    assert path.exists()
    told = message()
    path.write_bytes(b"another")
    remover.deliver(told)
    assert path.read_bytes() == b"another"
    remover.deliver(message(error={"kind": "corrupt", "message": ""}))
    assert not path.exists()
    remover.deliver(message())
    remover.deliver(told)
    assert not caplog.text


@pytest.mark.parametrize("step", ["in", "in/front", "in/front/a.jpg"])
def test_files_outside_are_not_removed(tmp_path, step):
    """The same file under the same names, but for a link on the way."""
    path, elsewhere = tmp_path / "in/front/a.jpg", tmp_path / "elsewhere"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for name in ("a.jpg", "front/a.jpg"):
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).hardlink_to(path)
    remover, file = Remover(Tree(tmp_path / "in")), File.of(str(path), path.stat())
    (tmp_path / step).rename(tmp_path / "away")
    (tmp_path / step).symlink_to(elsewhere / "a.jpg" if step.endswith("jpg") else elsewhere)
    assert path.samefile(elsewhere / "a.jpg")
    remover.deliver(FRAME | {"file": {"path": file.path, "stamp": file.stamp}})
    assert (elsewhere / "a.jpg").exists()
    assert path.samefile(elsewhere / "front/a.jpg")


def test_files_of_another_folder_are_not_removed(tmp_path, caplog):
    """As an earlier run may have left them to be removed, that watched another one through the same queue."""
    path = tmp_path / "other/a.jpg"
    path.parent.mkdir()
    (tmp_path / "in").mkdir()
    path.write_bytes(b"x")
    file = File.of(str(path), path.stat())
    Remover(Tree(tmp_path / "in")).deliver(FRAME | {"file": {"path": file.path, "stamp": file.stamp}})
    assert path.exists()
    assert "is not below" in caplog.text


class Watching:
    """An observer that keeps what it is told, or fails."""

    name = "fake log"

    def __init__(self, *, failing=False):
        self.records, self.flushed, self.failing = [], 0, failing

    def frame(self, record):
        if self.failing:
            raise TimingsError("the disk is full")
        self.records.append(record)

    def flush(self):
        self.flushed += 1

    def close(self):
        raise AssertionError("its owner closes it")


def test_each_frames_timings_are_told_with_what_the_service_adds(queue, gallery):
    class Clocked(Looking):
        def analyse(self, source, *, clock, **options):
            with clock.stage("decode"):
                return super().analyse(source, **options)

    watching = Watching()
    offer(queue, b"1", b"corrupt", b"0", camera="door", at=T - 5)
    with running(queue, Clocked(), gallery, observers=Observers(watching)):
        until(lambda: len(watching.records) == 3 and watching.flushed)
    one, damaged, nobody = watching.records
    assert [each.frame for each in watching.records] == ["door/1", "door/2", "door/3"]
    assert list(one.stages) == ["wait.queue", "people", "decode", "record"]
    assert [each.stages["wait.queue"] for each in watching.records] == [5000, 4000, 3000]
    assert one.total_ms < 2000
    assert (one.error, one.faces, nobody.faces) == (None, 1, 0)
    assert (damaged.error, damaged.message, damaged.source) == ("corrupt", "cut off", "door1")
    assert list(damaged.stages) == ["wait.queue", "people", "decode", "record"]


def test_a_log_that_fails_costs_no_result_and_no_visit(queue, gallery, caplog):
    kept = Kept()
    offer(queue, b"1", b"0", b"1")
    with running(queue, Looking(), gallery, sinks=[kept], observers=Observers(Watching(failing=True))) as raised:
        until(lambda: len(kept.messages) >= 4)
    assert raised == []
    assert kept.told == ["door0", "opened", "door1", "door2", "closed"]
    assert [each for each in caplog.messages if "disk is full" in each] == [
        "the disk is full; looking goes on without it"
    ]


def test_remembering_is_a_stage(queue, gallery):
    watching = Watching()
    offer(queue, b"1")
    with running(queue, Looking(), gallery, keep_unknown=True, observers=Observers(watching)):
        until(lambda: watching.records)
    assert list(watching.records[0].stages)[-2:] == ["remember", "record"]
