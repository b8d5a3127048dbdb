import builtins

import pytest
from prometheus_client.parser import text_string_to_metric_families
from timed import ONE, START, failed, record

from peephole.errors import UsageError
from peephole.timings import Observers
from peephole.timings.metrics import CONTENT_TYPE, Metrics


def samples(metrics):
    """Every sample by its name and its labels."""
    text = metrics.exposition().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_text_that_prometheus_reads():
    waiting = [4]
    metrics = Metrics(waiting=lambda: waiting[0])
    observers = Observers(metrics)
    observers.frame(record(0, stages={"wait.queue": 1500.0} | ONE.stages))
    observers.frame(record(1, stages={"decode": 2.0}, faces=0))
    observers.frame(failed(2))
    observers.frame(failed(3, "killed-for-memory"))
    observers.frame(failed(4))
    found = samples(metrics)
    assert found["peephole_frames_total",] == 2
    assert found["peephole_frame_errors_total", ("kind", "corrupt")] == 2
    assert found["peephole_frame_errors_total", ("kind", "killed-for-memory")] == 1
    assert found["peephole_stage_seconds_count", ("stage", "decode")] == 2
    assert found["peephole_stage_seconds_sum", ("stage", "decode")] == pytest.approx(0.042)
    assert found["peephole_stage_seconds_bucket", ("le", "0.0025"), ("stage", "decode")] == 1
    assert found["peephole_stage_seconds_bucket", ("le", "0.05"), ("stage", "decode")] == 2
    assert found["peephole_stage_seconds_sum", ("stage", "detect.head")] == pytest.approx(0.03525)
    assert found["peephole_frame_seconds_count",] == 2
    assert found["peephole_frame_seconds_sum",] == pytest.approx(0.1255 + 0.002)
    assert found["peephole_queue_wait_seconds_sum",] == pytest.approx(1.5)
    assert found["peephole_faces_sum",] == 2
    assert found["peephole_frame_memory_bytes", ("what", "predicted")] == pytest.approx(158.1e6)
    assert found["peephole_frame_memory_bytes", ("what", "measured")] == pytest.approx(145.6e6)
    assert found["peephole_last_frame_timestamp_seconds",] == START.timestamp() + 4
    assert found["peephole_queue_frames",] == 4
    waiting[0] = 0
    assert samples(metrics)["peephole_queue_frames",] == 0
    assert ("peephole_stage_seconds_count", ("stage", "wait.queue")) not in found


def test_what_looks_at_frames_is_told_and_only_the_last():
    metrics = Metrics()
    metrics.frame(ONE)
    metrics.frame(failed(1))
    metrics.frame(record(2, runtime="openvino 2026.4", version="0.2.0"))
    metrics.flush()
    metrics.close()
    (info,) = [key for key in samples(metrics) if key[0] == "peephole_info"]
    assert dict(info[1:]) == {
        "version": "0.2.0",
        "detector": "yunet",
        "recognizer": "sface",
        "runtime": "openvino 2026.4",
        "cpu": "A processor",
    }


def test_each_has_a_registry_of_its_own_and_nothing_but_its_numbers():
    Metrics().frame(ONE)
    names = {key[0] for key in samples(Metrics())}
    assert all(name.startswith("peephole_") for name in names)
    assert samples(Metrics())["peephole_frames_total",] == 0
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_without_the_client_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "prometheus_client":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'peephole\[metrics\]'"):
        Metrics()
