from datetime import UTC

import numpy as np
import pytest
from timed import ONE, SFACE, YUNET, failed, record

from peephole.errors import FrameCorrupt, WorkerKilledForMemory
from peephole.pipeline import Pipeline
from peephole.timings import Record, StageClock, here, versions
from peephole.timings.record import plan_key, text, total


def test_everything_of_a_frame_is_in_it(eileen_file):
    analysis = Pipeline(threads=1).analyse(eileen_file, embed=True)
    found = Record.of(analysis)
    assert (found.source, found.width, found.height, found.faces) == (str(eileen_file), 512, 512, 1)
    assert found.plan == "512x512/3/40/1"
    assert (found.detector, found.recognizer) == ("yunet", "sface")
    assert (found.runtime, found.threads) == (f"onnxruntime {versions()['onnxruntime']}", 1)
    assert (found.version, found.cpu) == (versions()["peephole"], here().cpu)
    assert found.libraries.keys() >= {"python", "numpy", "onnxruntime", "pillow", "dlib-bin"}
    assert found.models == analysis.models
    assert found.stages == analysis.timings_ms
    assert list(found.cpu_ms) == list(found.stages)
    assert found.predicted_mb == round(analysis.memory.predicted / 1e6, 1)
    assert 50 < found.measured_mb < 4000
    assert (found.error, found.message) == (None, "")
    assert found.time.tzinfo is UTC
    assert found.time.microsecond % 1000 == 0
    assert found.run == here().run != ""


def test_a_picture_is_known_again_by_its_bytes_and_an_array_by_nothing(eileen_file, tmp_path):
    pipeline, data = Pipeline(), eileen_file.read_bytes()
    (tmp_path / "copy.png").write_bytes(data)
    first, copy = (Record.of(pipeline.analyse(each)) for each in (eileen_file, tmp_path / "copy.png"))
    assert first.frame == copy.frame
    assert len(first.frame) == 16
    (tmp_path / "copy.png").write_bytes(data + b"\0")
    assert Record.of(pipeline.analyse(tmp_path / "copy.png")).frame != first.frame
    assert Record.of(pipeline.analyse(np.zeros((60, 80, 3), np.uint8))).frame == ""
    assert Record.of(pipeline.analyse(eileen_file), frame="front/7").frame == "front/7"


def test_only_boxes_have_no_recognizer(eileen):
    found = Record.of(Pipeline().analyse(eileen))
    assert (found.recognizer, found.model) == ("", f"yunet-{found.models['yunet'][:8]}")


def test_a_clock_that_has_timed_more_goes_before(eileen):
    clock = StageClock()
    clock.waited("queue", 1.0)
    analysis = Pipeline().analyse(eileen, clock=clock)
    with clock.stage("record"):
        pass
    assert list(Record.of(analysis, clock=clock).stages)[:: len(clock.milliseconds) - 1] == ["wait.queue", "record"]
    assert "record" not in Record.of(analysis).stages


def test_a_frame_that_could_not_be_looked_at():
    clock = StageClock()
    with clock.stage("decode"):
        pass
    found = Record.failed("a.jpg", FrameCorrupt("cut off"), clock, frame="front/3")
    assert (found.source, found.frame, found.error, found.message) == ("a.jpg", "front/3", "corrupt", "cut off")
    assert list(found.stages) == list(found.cpu_ms) == ["decode"]
    assert (found.plan, found.models, found.model, found.width) == ("", {}, "", 0)
    killed = Record.failed("a.jpg", WorkerKilledForMemory("", peak=201_000_000), clock)
    assert killed.measured_mb == 201.0


def test_total_and_model():
    assert ONE.total_ms == 125.5
    assert total({"wait.queue": 1e6, "decode": 2.0, "decode.part": 1.0}) == 2.0
    assert ONE.model == f"yunet-{YUNET[:8]} sface-{SFACE[:8]}"


def test_a_plan_in_short():
    plan = {"base": [640, 480], "levels": [[640, 480]], "strip_rows": 16, "reduction": 2}
    assert plan_key(plan) == "640x480/1/16/2"


@pytest.mark.parametrize(("name", "written"), [("a.jpg", "a.jpg"), ("ä\udcff\n", "ä\\udcff\n")])
def test_names_can_be_written_whatever_their_bytes(name, written):
    assert text(name) == written
    assert record(source=name).to_dict()["source"] == written


def test_a_line_has_the_documented_fields():
    line = record().to_dict()
    assert list(line) == [
        *("schema", "time", "source", "frame", "width", "height", "plan", "faces", "timings_ms", "cpu_ms", "total_ms"),
        *("predicted_mb", "measured_mb", "run", "setup"),
    ]
    assert list(line["setup"]) == [
        *("detector", "recognizer", "models", "runtime", "threads", "cpu", "peephole", "libraries"),
    ]
    assert (line["schema"], line["time"], line["total_ms"]) == (2, "2026-05-01T06:00:00.000+00:00", 125.5)
    assert failed().to_dict()["error"] == {"kind": "corrupt", "message": "it ends too early"}
