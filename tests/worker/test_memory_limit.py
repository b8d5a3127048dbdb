"""Real memory cgroups, the kernel's own verdict: host and worker in one group that is too small for the plan."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from children import BOX, png
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from limits import NotPermitted, confined, limited, peephole
from peephole.models import store

MIB = 2**20
FAKE = (sys.executable, "-P", str(Path(__file__).with_name("children.py")))
PROGRAM = """
import json, os, sys
from peephole.errors import FrameError
from peephole.pipeline import Scale
from peephole.worker.host import COMMAND, Options, WorkerHost
chosen = json.loads(sys.argv[1])
host = WorkerHost(Options(embed=False, threads=1, memory="4GiB"), command=chosen["command"] or COMMAND,
                  quarantine=chosen["quarantine"])
with host:
    for frame in sys.argv[2:]:
        try:
            print(json.dumps(host.analyse(frame, scale=Scale(upsample=chosen["upsample"])).to_dict()))
        except FrameError as error:
            print(json.dumps({"image": frame, "error": [error.kind, str(error)]}))
    print(json.dumps({"starts": host.starts}))
"""


@pytest.fixture(scope="module", autouse=True)
def _group():
    try:
        with limited(256 * MIB):
            pass
    except NotPermitted as reason:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise
        pytest.skip(f"no memory cgroup can be made here: {reason}")


def run(limit, frames, *, command=None, quarantine=None, upsample=0):
    chosen = {"command": command, "quarantine": quarantine, "upsample": upsample}
    done = confined([sys.executable, "-c", PROGRAM, json.dumps(chosen), *map(str, frames)], limit)
    assert done.status == 0, done.errors  # the host is alive, whatever became of the workers
    *results, last = map(json.loads, done.output.splitlines())
    assert [each["image"] for each in results] == [str(frame) for frame in frames]
    return results, last["starts"], done.kills


def test_a_plan_that_the_kernel_kills_is_tried_again_coarser_and_the_face_is_found(tmp_path):
    frames = [png(tmp_path / f"{i}.png", what, 1600, 1200) for i, what in enumerate(["sees", *["eats as planned"] * 2])]
    results, starts, kills = run(128 * MIB, frames, command=FAKE)
    assert kills == 1, results
    assert starts == 2
    for each in results:
        assert [each["faces"][0][side] for side in ("left", "top", "right", "bottom")] == pytest.approx(BOX)
    before, killed, after = results
    assert "coarsened_from" not in before["plan"]
    assert killed["retried"]["after"] == "killed-for-memory"
    assert killed["retried"]["budget_mb"] == killed["memory"]["budget_mb"] < 128 * MIB / 1e6
    for each in (killed, after):
        assert each["plan"]["coarsened_from"] < each["plan"]["smallest_face"]
        assert each["memory"]["measured_mb"] <= each["memory"]["budget_mb"]
    assert "retried" not in after  # what was learned holds


@pytest.mark.slow
def test_the_command_survives_a_budget_far_too_large_for_its_cgroup(eileen, tmp_path, monkeypatch):
    monkeypatch.delenv("PEEPHOLE_IN_PROCESS")
    store.prepare(store.MMOD)  # building the graphs takes memory of its own
    frame = np.full((1536, 1536, 3), 90, np.uint8)
    frame[200:712, 300:812] = eileen.pixels
    for index in range(3):
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg", quality=90)
    command = [*peephole(), "detect", "--jsonl", "--detector", "mmod", "--memory", "4GiB", "--upsample", "1"]
    done = confined([*command, str(tmp_path)], 150 * MIB)
    assert (done.status, done.kills) == (0, 1), done.errors
    results = [json.loads(line) for line in done.output.splitlines()]
    assert [Path(each["image"]).name for each in results] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [("retried" in each) for each in results] == [True, False, False]
    for each in results:
        assert each["plan"]["coarsened_from"] < each["plan"]["smallest_face"]
        (face,) = each["faces"]
        assert abs(face["left"] - 468) < 30
        assert abs(face["top"] - 269) < 30


def test_a_frame_that_kills_twice_is_set_aside_and_the_others_go_on(tmp_path):
    frames = [png(tmp_path / f"{i}.png", what) for i, what in enumerate(["sees", "eats memory", "sees"])]
    results, starts, kills = run(128 * MIB, frames, command=FAKE, quarantine=str(tmp_path / "q"))
    assert kills == 2
    assert starts == 3
    before, bad, after = results
    assert [[face[side] for side in ("left", "top", "right", "bottom")] for face in before["faces"]] == [list(BOX)]
    kind, message = bad["error"]
    assert kind == "killed-for-memory"
    assert "the kernel killed the worker for memory while looking at the frame (SIGKILL; " in message
    assert "oom_kill 1 to 2" in message
    assert "for the second time; set aside as" in message
    assert len(after["faces"]) == 1
    (reason,) = (tmp_path / "q").glob("*.json")
    assert reason.with_suffix(".png").read_bytes() == frames[1].read_bytes()


def test_a_group_too_small_for_the_models_names_that_for_every_frame(tmp_path):
    store.prepare(store.MMOD)
    frames = [png(tmp_path / f"{i}.png", "sees") for i in range(2)]
    results, _, kills = run(56 * MIB, frames)
    assert kills >= 2
    for each in results:
        kind, message = each["error"]
        # What the libraries' pages are charged to depends on who loaded them first: the worker is killed, or just fits.
        assert kind in ("worker-not-started", "budget-too-small")
        assert "killed the worker for memory" in message or "needs a memory budget" in message
