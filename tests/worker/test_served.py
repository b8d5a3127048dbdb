"""The service with a real worker: what befalls that is one frame's result, and the frames after it are as ever."""

import sys
import threading
import time
from pathlib import Path

import pytest
from children import RED, png

from peephole import service as module
from peephole.gallery import Gallery
from peephole.service import Service
from peephole.spool import Arrival, Spool
from peephole.worker.host import Options, WorkerHost

FAKE = (sys.executable, "-P", str(Path(__file__).with_name("children.py")))
T = 1_700_000_000.0


class Kept:
    """A sink that keeps what it gets."""

    name = "kept"

    def __init__(self):
        self.messages = []

    def deliver(self, message):
        self.messages.append(message)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("what", "kind"), [("hangs", "deadline"), ("crashes", "crashed"), ("babbles", "worker-protocol")]
)
def test_a_frame_that_a_worker_does_not_survive_is_one_result(tmp_path, monkeypatch, what, kind):
    monkeypatch.setattr(module, "IDLE", 0.02)
    monkeypatch.setattr(module, "TICK", 0.02)
    frames = ["sees", what, "sees"]
    assert set(frames) <= RED.keys()
    with Spool(tmp_path / "queue.db") as spool:
        for number, each in enumerate(frames):
            data = png(tmp_path / f"{number}.png", each).read_bytes()
            spool.accept(Arrival("door", f"{number}.png", data, T + number))
    kept, workers = Kept(), []

    def run(host):
        with Gallery.open(tmp_path / "gallery.db") as gallery:
            service = Service(tmp_path / "queue.db", host, gallery, sinks=[kept], clock=lambda: T)
            workers.append(service)
            service.run()

    def until(found):
        end = time.monotonic() + 60
        while not found():
            assert time.monotonic() < end
            time.sleep(0.005)

    with WorkerHost(Options(threads=1), command=FAKE, deadline=1.0, quarantine=tmp_path / "quarantine") as host:
        thread = threading.Thread(target=run, args=(host,))
        thread.start()
        try:
            until(lambda: sum(each["type"] == "frame" for each in kept.messages) == len(frames))
        finally:
            workers[0].stop()
            thread.join()
        assert host.starts == 2
    first, second, third = (each for each in kept.messages if each["type"] == "frame")
    assert second["error"]["kind"] == kind
    assert [len(each["faces"]) for each in (first, third)] == [1, 1]
    assert first["faces"][0]["embedding"] == third["faces"][0]["embedding"]
    assert [each["number"] for each in (first, second, third)] == [1, 2, 3]
    (reason,) = (tmp_path / "quarantine").glob("*.json")
    assert reason.with_suffix(".png").read_bytes() == (tmp_path / "1.png").read_bytes()
