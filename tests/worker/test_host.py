import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from children import BOX, picture, pipeline, png

from peephole.enrolment import photo_of, portrait, vectors_of
from peephole.errors import (
    BudgetTooSmall,
    FrameCorrupt,
    FrameNotFound,
    GalleryDamaged,
    PeopleError,
    UsageError,
    WorkerCrashed,
    WorkerEnded,
    WorkerHung,
    WorkerKilled,
    WorkerNotStarted,
    WorkerProtocolError,
)
from peephole.frame import read
from peephole.gallery import StoredPhoto
from peephole.geometry import Transform
from peephole.match import People
from peephole.memory import peak_of
from peephole.pipeline import Pipeline, Scale
from peephole.timings import StageClock
from peephole.worker.host import Backoff, Options, WorkerHost

FAKE = (sys.executable, "-P", str(Path(__file__).with_name("children.py")))
PLAIN = Options(embed=False, threads=1)


def fake(**more):
    return WorkerHost(PLAIN, command=FAKE, **more)


@pytest.fixture(scope="module")
def host():
    """One for all whose frames it survives; nobody asserts how often it was started."""
    with fake(deadline=60) as host:
        yield host


@pytest.fixture(scope="module")
def real():
    with WorkerHost(Options(detector="mmod", recognizer="resnet", threads=1)) as host:
        yield host


def same(one, other):
    """Whether two analyses say the same of a frame, what the processes took aside."""
    for name in ("boxes", "confidence", "landmarks", "embeddings"):
        np.testing.assert_array_equal(getattr(one.faces, name), getattr(other.faces, name))
    assert (one.faces.matches, one.faces.qualities, one.faces.kind) == (
        other.faces.matches,
        other.faces.qualities,
        other.faces.kind,
    )
    assert (one.source, one.width, one.height, one.models) == (other.source, other.width, other.height, other.models)
    # How much memory is foreseen depends on what the process has looked at before.
    assert replace(one.plan, bytes=0) == replace(other.plan, bytes=0)
    assert list(one.timings_ms) == list(one.cpu_ms) == list(other.timings_ms)
    assert (one.recognizer, one.fingerprint) == (other.recognizer, other.fingerprint)
    assert replace(one.environment, run="") == replace(other.environment, run="")
    assert one.environment.run != other.environment.run


def test_an_analysis_equals_that_of_this_process(real, eileen_file):
    here = Pipeline("mmod", "resnet", threads=1)
    alone = here.analyse(eileen_file, embed=True)
    same(real.analyse(str(eileen_file), embed=True), replace(alone, source=str(eileen_file)))
    people = People(("Eileen",), alone.faces.embeddings, model=here.recognizer.model_id)
    for more in ({}, {"threshold": 0.5}, {"scale": Scale(max_side=400), "min_confidence": 0.3}):
        same(
            real.analyse(str(eileen_file), people=people, **more),
            here.analyse(str(eileen_file), people=people, **more),
        )


def test_bytes_and_pixels_come_through_too(real, eileen_file, eileen):
    here = Pipeline("mmod", "resnet", threads=1)
    same(real.analyse(eileen_file.read_bytes()), here.analyse(eileen_file.read_bytes()))
    same(real.analyse(eileen.pixels), here.analyse(eileen.pixels))
    assert real.analyse(eileen_file.read_bytes(), name="-").source == "-"


def test_a_turned_frame_is_turned_by_the_worker(real, grace, tmp_path):
    here, down = Pipeline("mmod", "resnet", threads=1), np.ascontiguousarray(grace.pixels[::-1, ::-1])
    there = real.analyse(down, embed=True, rotate=180)
    same(there, here.analyse(down, embed=True, rotate=180))
    assert (there.turn, len(there)) == (180, 1)
    assert real.draw(down, there, tmp_path / "drawn.jpg") is None
    assert np.abs(read(tmp_path / "drawn.jpg").pixels.astype(int) - down).mean() < 10  # as it was given
    with pytest.raises(UsageError, match="rotate"):
        real.analyse(down, rotate=45)


def test_the_recognizer_is_known_without_being_loaded(real):
    there, here = real.recognizer, Pipeline("mmod", "resnet").recognizer
    for name in ("name", "model_id", "similarity", "dimensions", "threshold", "rule"):
        assert getattr(there, name) == getattr(here, name)
    assert real.ready().models.keys() >= {"mmod", "resnet", "landmarks5"}
    with pytest.raises(PeopleError, match="another recognizer than resnet"):
        real.analyse(b"", people=People(("A",), np.zeros((1, 128), np.float32), model="0" * 64))


def test_drawings_are_made_by_the_worker(real, eileen_file, tmp_path):
    analysis = real.analyse(eileen_file)
    assert real.draw(eileen_file, analysis, tmp_path / "drawn.jpg") is None
    drawn = read(tmp_path / "drawn.jpg")
    assert drawn.size == (512, 512)
    assert np.abs(drawn.pixels.astype(int) - read(eileen_file).pixels).max() > 100
    assert "No such file" in real.draw(eileen_file, analysis, tmp_path / "nowhere" / "drawn.jpg")


def test_a_face_is_cut_out_by_the_worker(real, eileen, eileen_file):
    analysis = real.analyse(eileen_file, embed=True)
    there = real.photo(eileen_file, analysis, analysis.faces[0])
    here = photo_of(eileen, analysis.faces[0], sha256=hashlib.sha256(eileen_file.read_bytes()).hexdigest())
    assert there.crop == here.crop
    np.testing.assert_array_equal(there.landmarks, here.landmarks)
    for name in ("landmark_kind", "box", "sha256", "quality"):
        assert getattr(there, name) == getattr(here, name)
    assert there.source == str(eileen_file)


def test_a_face_is_cut_out_of_the_picture_that_is_given(real, eileen, grace, eileen_file, grace_file, tmp_path):
    """Not of the one that was looked at last, be it of the same name."""
    file = tmp_path / "latest"
    file.write_bytes(eileen_file.read_bytes())
    analysis = real.analyse(file)
    face = analysis.faces[0]
    file.write_bytes(grace_file.read_bytes())
    assert real.photo(file, analysis, face).crop == photo_of(grace, face).crop
    real.analyse(file)
    assert real.photo(eileen_file, analysis, face).crop == photo_of(eileen, face).crop
    assert real.photo(grace_file.read_bytes(), analysis, face).crop == photo_of(grace, face).crop


def test_what_a_gallery_holds_is_looked_at_by_the_worker(real, eileen, eileen_file):
    here = Pipeline("mmod", "resnet", threads=1)
    photo = photo_of(eileen, here.analyse(eileen, embed=True).faces[0])
    cut = {each.name: getattr(photo, each.name) for each in fields(photo)}
    stored = [StoredPhoto(**cut | bare, id=7, name="", created=0.0) for bare in ({}, {"landmarks": None})]
    np.testing.assert_array_equal(real.vectors(stored), vectors_of(stored, here))
    np.testing.assert_array_equal(real.portrait(stored[0]), portrait(stored[0]))
    assert real.vectors([]).shape == (0, 2, 128)
    broken = StoredPhoto(**cut | {"crop": photo.crop[:100]}, id=7, name="", created=0.0)
    for look in (real.portrait, lambda face: real.vectors([face])):
        with pytest.raises(GalleryDamaged, match="the crop of face 7: cut off or damaged"):
            look(broken)


def test_a_frame_can_be_handed_over_unless_it_was_decoded_smaller(real, eileen):
    here = Pipeline("mmod", "resnet", threads=1)
    named = replace(eileen, source="porch")
    same(real.analyse(named), here.analyse(named))
    with pytest.raises(UsageError, match="decoded smaller"):
        real.analyse(replace(eileen, native_size=(1024, 1024), to_native=Transform.scale(2, 2)))


def test_a_frame_that_cannot_be_read_is_the_same_error_and_the_worker_stays(host, tmp_path):
    (tmp_path / "cut.png").write_bytes(png(tmp_path / "whole.png", "sees").read_bytes()[:60])
    host.ready()
    pid, clock = host.pid, StageClock()
    with pytest.raises(FrameCorrupt, match="cut off or damaged"):
        host.analyse(tmp_path / "cut.png", clock=clock)
    assert "decode" in clock.milliseconds
    with pytest.raises(FrameNotFound, match="no such file"):
        host.analyse(tmp_path / "none.png")
    with pytest.raises(UsageError, match="uint8 RGB"):
        host.analyse(np.zeros((4, 4)))
    with pytest.raises(UsageError, match="without a recognizer"):
        host.analyse(tmp_path / "whole.png", embed=True)
    assert host.analyse(tmp_path / "whole.png").faces.boxes.tolist() == [list(BOX)]
    assert host.pid == pid


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        (
            "crashes",
            WorkerCrashed,
            r"in native code while looking at the frame \(SIGSEGV: .*Segmentation fault",
        ),
        ("aborts", WorkerCrashed, r"SIGABRT: terminate called .*'std::bad_alloc', in children\.py, line \d+, happen"),
        ("raises", WorkerEnded, "ended with status 1 .*ZeroDivisionError: nobody expected this"),
        ("exits", WorkerEnded, "ended with status 3"),
        ("is killed", WorkerKilled, r"killed from outside while looking at the frame \(SIGKILL\)"),
        ("babbles", WorkerProtocolError, "no message: it begins with b'HTTP/1.1 200 OK"),
    ],
)
def test_what_befalls_the_worker_fails_one_frame_by_its_name(host, tmp_path, what, kind, words):
    bad, good = png(tmp_path / "bad.png", what), png(tmp_path / "good.png", "sees")
    with pytest.raises(kind, match=words):
        host.analyse(bad)
    assert host.analyse(good).faces.boxes.tolist() == [list(BOX)]


def test_a_hung_model_is_ended_at_its_deadline_and_the_next_frame_is_unaffected(tmp_path):
    bad, good = png(tmp_path / "bad.png", "hangs"), png(tmp_path / "good.png", "sees")
    with fake(deadline=1.0, quarantine=tmp_path / "q") as host:
        first = host.ready() and host.pid
        with pytest.raises(WorkerHung, match=r"longer than 1 s \(it was in children.py, line \d+, happen\).*set aside"):
            host.analyse(bad)
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        host.ready()
        assert len(host.analyse(good)) == 1
        assert host.starts == 2
    (reason,) = (tmp_path / "q").glob("*.json")
    assert json.loads(reason.read_text())["image"] == str(bad)
    assert reason.with_suffix(".png").read_bytes() == bad.read_bytes()


INTERRUPTED = """
import os, signal, sys, threading
from peephole.worker.host import Options, WorkerHost
bad, good, *command = sys.argv[1:]
with WorkerHost(Options(embed=False, threads=1), command=command, deadline=60) as host:
    host.ready()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        host.analyse(bad)
    except KeyboardInterrupt:
        print(host.analyse(good).source)
"""


def test_an_interrupted_frame_leaves_no_answer_behind_for_the_next(tmp_path):
    # In a process of its own: the signal is for a whole process, and this one has other libraries' threads.
    bad, good = png(tmp_path / "bad.png", "hangs"), png(tmp_path / "good.png", "sees")
    command = [sys.executable, "-c", INTERRUPTED, str(bad), str(good), *FAKE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == (f"{good}\n", 0), done.stderr


def test_a_worker_that_cannot_start_says_why(tmp_path):
    with pytest.raises(UsageError, match="there is no detector 'nobody'"), WorkerHost(Options(detector="nobody")) as h:
        h.ready()
    with pytest.raises(WorkerNotStarted, match=r"cannot be started: .*No such file"):
        WorkerHost(command=["/no/such/program"]).start()
    broken = WorkerHost(command=[sys.executable, "-c", "raise ImportError('no libgomp')"])
    with pytest.raises(WorkerNotStarted, match=r"did not start: .*status 1 .*ImportError: no libgomp"):
        broken.analyse(png(tmp_path / "a.png", "sees"))
    slow = WorkerHost(command=[sys.executable, "-c", "import time; time.sleep(600)"], start_deadline=0.3)
    with pytest.raises(WorkerNotStarted, match=r"did not start: loading its models took longer than 0\.3 s"):
        slow.ready()


def test_a_worker_that_ends_at_every_start_is_started_more_and_more_rarely():
    now, waits = [0.0], []

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    host = WorkerHost(
        command=[sys.executable, "-c", "raise SystemExit(1)"],
        backoff=Backoff(0.5, 3.0),
        clock=lambda: now[0],
        sleep=sleep,
    )
    for _ in range(6):
        with pytest.raises(WorkerNotStarted):
            host.ready()
    assert waits == [0.5, 1.0, 2.0, 3.0]


def test_backing_off_begins_anew_after_a_success():
    backoff = Backoff(0.1, 1.0)
    assert [backoff.failed() for _ in range(6)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]
    backoff.succeeded()
    assert backoff.failed() == 0.0


def test_a_budget_that_is_too_small_is_the_frame_s_error():
    with WorkerHost(replace(PLAIN, memory="20MiB"), command=FAKE) as host:
        with pytest.raises(BudgetTooSmall, match="needs a memory budget of at least") as raised:
            host.analyse(picture("sees", 600, 400))
        assert raised.value.needed > 20 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_the_worker_dies_with_its_host_even_in_the_middle_of_a_frame(tmp_path):
    bad = png(tmp_path / "bad.png", "hangs")
    program = (
        "import sys, threading; from peephole.worker.host import Options, WorkerHost\n"
        f"host = WorkerHost(Options(embed=False), command={FAKE!r}); host.ready(); print(host.pid, flush=True)\n"
        f"host.analyse({str(bad)!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    last = time.monotonic() + 20
    while _runs(child) and time.monotonic() < last:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


PARENT = """
import resource, sys
from peephole.worker.host import Options, WorkerHost
from peephole.people import load_people
with WorkerHost(Options(detector="mmod", recognizer="resnet", threads=1)) as host:
    print(host.analyse(sys.argv[1], embed=True).faces.embeddings.shape)
    heavy = [name for name in ("onnxruntime", "onnx", "dlib", "openvino", "cv2") if name in sys.modules]
    print(heavy)
"""


def test_the_host_stays_small(eileen_file):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT + "    input()", eileen_file], stdin=-1, stdout=-1, text=True
    ) as parent:
        assert parent.stdout.readline() == "(1, 128)\n"
        assert parent.stdout.readline() == "[]\n"
        peak = peak_of(parent.pid)
        parent.communicate("\n")
    assert peak <= 60e6


def undisturbed(frames):
    from peephole.worker.messages import Start

    here = pipeline(Start("", None, "resnet", "classic", 1, None, "", "", False))
    return [here.analyse(str(frame)) for frame in frames]


def killed_at_random(tmp_path, count, kills, seed):
    """Every frame through a host whose worker is killed at random moments; what came out, and how often it started."""
    rng = random.Random(seed)
    frames = [png(tmp_path / f"{index}.png", "sees", 64 + index, 48) for index in range(count)]
    doomed = set(rng.sample(range(count), kills))
    killed = []

    def kill(host):
        while True:
            pid = host.pid
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(pid)
                return
            time.sleep(0.001)

    results, timers = [], []
    with fake() as host:
        host.ready()
        for index, frame in enumerate(frames):
            if index in doomed:
                timers.append(threading.Timer(rng.uniform(0, 0.02), kill, (host,)))
                timers[-1].start()
            results.append(host.analyse(str(frame)))
        for timer in timers:
            timer.join()
        starts = host.starts
    assert len(killed) == kills
    return frames, results, starts


@pytest.mark.parametrize(
    ("count", "kills", "seed"), [(40, 5, 1), pytest.param(200, 50, 2, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_kills_at_random_moments_change_nothing(tmp_path, count, kills, seed):
    frames, results, starts = killed_at_random(tmp_path, count, kills, seed)
    assert [each.source for each in results] == [str(frame) for frame in frames]
    for one, other in zip(results, undisturbed(frames), strict=True):
        same(one, other)
    assert starts > 1
