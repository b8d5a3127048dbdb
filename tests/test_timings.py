import json
import multiprocessing
import time

import numpy as np
import pytest

from peephole.errors import FrameCorrupt, UsageError
from peephole.pipeline import Pipeline
from peephole.timings import StageClock, TimingLog, versions


def test_stages_add_up_in_their_order():
    clock = StageClock()
    for name in ("decode", "detect", "decode"):
        with clock.stage(name):
            time.sleep(0.002)
    assert list(clock.milliseconds) == ["decode", "detect"]
    assert clock.milliseconds["decode"] >= 4


def test_a_stage_that_raises_is_timed_too():
    clock = StageClock()
    with pytest.raises(RuntimeError), clock.stage("decode"):
        raise RuntimeError
    assert "decode" in clock.milliseconds


def test_a_line_a_frame_with_everything_in_it(tmp_path, eileen):
    log = TimingLog(tmp_path / "t.jsonl")
    log.frame(Pipeline().analyse(eileen, embed=True))
    log.failure("broken.jpg", FrameCorrupt("cut off"), StageClock())
    good, bad = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert good["schema"] == 1
    assert (good["width"], good["height"], good["faces"]) == (512, 512, 1)
    assert list(good["timings_ms"]) == ["decode", "plan", "detect", "map", "align", "embed"]
    assert good["total_ms"] == pytest.approx(sum(good["timings_ms"].values()), abs=0.01)
    assert 50 < good["peak_rss_mb"] < 4000
    assert good["versions"] == versions()
    assert good["plan"]["base"] == [512, 512]
    assert set(good["models"]) >= {"yunet", "sface"}
    assert good["time"].endswith("+00:00")
    assert bad["source"] == "broken.jpg"
    assert bad["error"] == {"kind": "corrupt", "message": "cut off"}


def test_a_log_that_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        TimingLog(tmp_path / "nowhere" / "t.jsonl")


def _append(path, name):
    log = TimingLog(path)
    for _ in range(50):
        log.failure(name * 200, FrameCorrupt("x" * 500), StageClock())


def test_lines_of_several_processes_do_not_mix(tmp_path):
    path = tmp_path / "t.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    sources = [json.loads(line)["source"][0] for line in path.read_text().splitlines()]
    assert np.unique(sources, return_counts=True)[1].tolist() == [50, 50, 50]
