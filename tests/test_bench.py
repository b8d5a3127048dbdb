import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from looks import Fake, faces
from peephole import bench_pictures, demo
from peephole.bench import (
    REFERENCES,
    Configuration,
    configurations,
    in_worker,
    installed,
    measure,
    runtimes,
    scales,
    thread_counts,
)
from peephole.bench_pictures import Picture, built_in, find_pictures
from peephole.errors import (
    BudgetTooSmall,
    FrameCorrupt,
    FrameNotFound,
    ModelDamaged,
    PeepholeError,
    PeopleError,
    UsageError,
    WorkerNotStarted,
)
from peephole.files import PassedOver
from peephole.frame import snapshot
from peephole.pipeline import Pipeline, Scale
from peephole.timings.compare import Verdict, compare
from peephole.timings.matching import match_frames
from peephole.timings.read import read
from sightings import RULE, family

ONE = faces((10, 20, 0, 0.9))
SMALL = [Picture(f"{number}.jpg", f"{number}.jpg", (320, 240)) for number in range(3)]


def setups(*names):
    return [Configuration(name, "circle") for name in names]


class Box:
    """Opens fakes, one for each configuration, and keeps what they were asked."""

    def __init__(self, seen=None, **special):
        self.calls, self.special = [], special
        self.seen = seen or {each.name: ONE for each in SMALL}

    def __call__(self, setup):
        return Fake(setup.detector, **{"seen": self.seen, "calls": self.calls, **self.special.get(setup.detector, {})})

    def looks(self):
        return [call for call in self.calls if call[1] not in ("opened", "closed")]


def run(box, names, pictures=SMALL, **more):
    more = {"repeat": 2, "room": 1e12, **more}
    done = measure(setups(*names), pictures, opened=box, **more)
    started = {name: sum(call == (name, "opened") for call in box.calls) for name in names}
    closed = {name: sum(call == (name, "closed") for call in box.calls) for name in names}
    assert started == closed  # nothing is left behind, whatever happened
    return done


# Turns


def test_all_look_at_one_picture_before_the_next_and_take_turns_at_being_first():
    box = Box()
    done = run(box, "ab", repeat=2)
    warm, looks = box.looks()[:2], box.looks()[2:]
    assert warm == [("a", "0.jpg"), ("b", "0.jpg")]
    assert looks[0::2] != looks[1::2]
    pictures = [name for _, name in looks]
    assert pictures == [name for _ in range(2) for each in SMALL for name in (each.name, each.name)]
    firsts = [who for who, _ in looks[0::2]]
    assert firsts == ["a", "b", "a", "b", "a", "b"]
    assert [len(each.looks) for each in done.results] == [6, 6]
    assert [(look.picture, look.round) for look in done.results[0].looks[:4]] == [
        ("0.jpg", 0),
        ("1.jpg", 0),
        ("2.jpg", 0),
        ("0.jpg", 1),
    ]
    assert done.rounds == 2
    assert not done.interrupted


def test_the_warm_up_sees_one_picture_of_each_size_and_does_not_count():
    pictures = [Picture("0.jpg", "", (320, 240)), Picture("1.jpg", "", (64, 48)), Picture("2.jpg", "", (320, 240))]
    box = Box()
    done = run(box, "a", pictures, repeat=1)
    assert [name for _, name in box.looks()] == ["0.jpg", "1.jpg", "0.jpg", "1.jpg", "2.jpg"]
    assert len(done.results[0].looks) == 3


def test_processes_that_do_not_fit_into_memory_together_are_started_anew_in_each_round():
    box = Box(b={"megabytes": 500.0})
    done = run(box, "abc", room=250e6, repeat=2)
    assert [sum(call == (name, "opened") for call in box.calls) for name in "abc"] == [1, 3, 1]
    assert [len(each.looks) for each in done.results] == [6, 6, 6]
    turn = ["opened", "0.jpg", "0.jpg", "1.jpg", "2.jpg", "closed"]
    assert [what for who, what in box.calls if who == "b"] == ["opened", "0.jpg", "closed", *turn, *turn]
    assert box.calls[-2:] == [("a", "closed"), ("c", "closed")]


# Failures


def test_a_model_that_cannot_be_used_is_told_and_the_others_are_measured():
    box = Box(b={"start": ModelDamaged("no model")}, c={"start": UsageError("no such runtime")})
    done = run(box, "abcd")
    assert [str(each.error) for each in done.results] == ["None", "no model", "no such runtime", "None"]
    assert [len(each.looks) for each in done.results] == [6, 0, 0, 6]
    assert math.isnan(done.results[1].quartiles()[1])
    assert math.isnan(done.results[1].peak_mb)


def test_a_worker_that_does_not_start_is_no_pictures_fault():
    done = run(Box(b={"start": WorkerNotStarted("gone")}), "ab")
    assert done.results[1].problems == ()
    assert str(done.results[1].error) == "gone"


def test_a_picture_that_one_configuration_cannot_look_at_is_left_out_for_it_and_not_tried_again():
    small = {**{each.name: ONE for each in SMALL}, "1.jpg": BudgetTooSmall("too little", needed=5)}
    box = Box(b={"seen": small})
    done = run(box, "ab", repeat=3)
    assert [(name, str(error)) for name, error in done.results[1].problems] == [("1.jpg", "too little")]
    assert [len(each.looks) for each in done.results] == [9, 6]
    assert box.looks().count(("b", "1.jpg")) == 1
    assert done.blind == ()


def test_a_picture_that_nobody_can_look_at_is_told_once():
    box = Box({**{each.name: ONE for each in SMALL}, "1.jpg": FrameCorrupt("cut off")})
    done = run(box, "ab")
    assert [(name, str(error)) for name, error in done.blind] == [("1.jpg", "cut off")]
    assert [len(each.looks) for each in done.results] == [4, 4]
    assert [len(each.analyses) for each in done.results] == [2, 2]


def test_a_configuration_that_can_look_at_nothing_says_why():
    nothing = dict.fromkeys((each.name for each in SMALL), BudgetTooSmall("too little", needed=5))
    done = run(Box(b={"seen": nothing}), "ab")
    assert str(done.results[1].error) == "too little"
    assert [line["source"] for line in done.results[1].lines()] == ["0.jpg", "1.jpg", "2.jpg"]  # each error once


# Ending early


def test_an_interrupt_keeps_what_there_is():
    box, seen = Box(), []

    def told(what):
        seen.append(what)
        if len(seen) == 2 + 2 * 3 + 3:
            raise KeyboardInterrupt

    done = run(box, "ab", told=told, repeat=5)
    assert done.interrupted
    assert done.rounds == 1
    assert [len(each.looks) for each in done.results] == [4, 4]
    assert seen[0] == "a+circle 0.jpg"


def test_an_interrupt_in_the_warm_up_leaves_nothing_open_and_nothing_measured():
    def told(what):
        if what.startswith("b"):
            raise KeyboardInterrupt

    done = run(Box(), "abc", told=told)
    assert done.interrupted
    assert [len(each.looks) for each in done.results] == [0, 0, 0]
    assert [each.error for each in done.results] == [None, None, None]


@pytest.mark.parametrize(("budget", "looks", "rounds"), [(0.5, 3, 1), (6.5, 6, 2), (4.5, 4, 1), (1e9, 30, 10)])
def test_time_runs_out_after_the_first_round_and_never_in_it(budget, looks, rounds):
    box = Box()
    done = run(box, "a", repeat=10, time_budget=budget, clock=lambda: len(box.looks()) - 1.0)
    assert len(done.results[0].looks) == looks
    assert done.rounds == rounds
    assert not done.interrupted


# Whose faces they are


def test_each_recognizer_is_asked_once_for_whom_it_knows():
    asked = []

    def knowing(looking):
        asked.append(looking.name)
        return family(Ann=[0], Bob=[90]), RULE

    done = run(Box(b={"megabytes": 1e6}), "ab", knowing=knowing, room=1e9)
    assert asked == ["a", "b"]
    assert [face.name for _, each in done.results[0].analyses for face in each] == ["Ann"] * 3
    assert [each.similarity for each in done.results] == ["cosine", "cosine"]


def test_people_that_cannot_be_used_end_it_and_nothing_stays_open():
    box = Box()

    def knowing(looking):
        raise PeopleError("nobody")

    with pytest.raises(PeopleError, match="nobody"):
        measure(setups("a"), SMALL, opened=box, knowing=knowing, room=1e9)
    assert box.calls == [("a", "opened"), ("a", "closed")]


# Results


def test_results_in_numbers():
    seen = {"0.jpg": ONE, "1.jpg": faces(), "2.jpg": faces((0, 0, 0, 0.9), (80, 0, 0, 0.8))}
    (result,) = run(Box(seen, a={"milliseconds": 20.0, "megabytes": 123.4}), "a").results
    assert result.faces == 3
    assert result.peak_mb == pytest.approx(123.4)
    assert result.smallest_face == pytest.approx(80.0)
    times = np.array([look.record.total_ms for look in result.looks])
    assert times == pytest.approx([23.2, 23.6, 23.0, 23.4, 23.8, 23.2])  # the stages without a dot
    assert result.quartiles() == pytest.approx((23.2, 23.3, 23.55))
    assert result.quartiles("embed") == (2.0, 2.0, 2.0)
    assert result.quartiles("align") == (0.0, 0.0, 0.0)


def test_the_lines_are_a_timing_log_that_can_be_read_with_the_configuration_beside_it(tmp_path):
    box = Box({**{each.name: ONE for each in SMALL}, "1.jpg": FrameCorrupt("cut off")})
    done = measure([Configuration("a", "circle", threads=2, scale=Scale(720, 1))], SMALL, opened=box, room=1e9)
    lines = list(done.results[0].lines())
    file = tmp_path / "bench.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = list(read(file))
    assert len(records) == len(lines) == 11
    assert [each.error for each in records].count("corrupt") == 1
    assert records[0].source == "0.jpg"
    assert records[0].total_ms == pytest.approx(done.results[0].looks[0].record.total_ms)
    assert lines[0]["bench"] == {
        "detector": "a",
        "recognizer": "circle",
        "runtime": "onnxruntime",
        "threads": 2,
        "max_side": 720,
        "upsample": 1,
        "round": 0,
    }
    assert lines[-1]["setup"]["detector"] == "a"


def test_two_files_of_measurements_are_compared_configuration_by_configuration():
    def records(slow):
        setups = [Configuration("a", "circle"), Configuration("b", "circle")]
        # The fakes' records have the same plan; what tells them apart is the runtime's threads.
        box = Box(a={"milliseconds": 10.0}, b={"milliseconds": slow})
        results = measure(setups, SMALL, opened=box, room=1e9, repeat=40).results
        return [
            replace(look.record, threads=threads) for threads, result in enumerate(results, 1) for look in result.looks
        ]

    matched = match_frames(records(500.0), records(500.0))
    assert matched.groups == 2 * len(SMALL)
    assert matched.by == "picture, size and plan, and model, runtime and threads"
    slower = compare(records(500.0), [each for each in records(600.0) if each.threads == 2])
    assert slower.verdict is Verdict.SLOWER
    assert slower.total.clock == pytest.approx(1.2, abs=0.02)
    assert slower.frames == (120, 120)


# What is measured


def test_all_combinations_each_once_and_dlibs_own_code_in_one_way_only():
    found = configurations(
        ["yunet", "dlib-hog"], ["sface", "dlib-resnet"], ["onnxruntime", "openvino"], [1, 2], [Scale()]
    )
    assert len(found) == len(set(found)) == 3 * 4 + 1
    assert sum({each.detector, each.recognizer} <= REFERENCES for each in found) == 1


def test_what_is_installed_is_found_and_dlibs_own_code_only_when_asked_for(monkeypatch):
    assert installed() == (["yunet", "mmod"], ["sface", "resnet"])
    detectors, recognizers = installed(references=True)
    assert detectors == ["yunet", "mmod", "dlib-cnn", "dlib-hog"]
    assert recognizers == ["sface", "resnet", "dlib-resnet"]
    assert runtimes()[0] == "onnxruntime"
    assert thread_counts()[0] == 1

    def nowhere(asset):
        raise ModelDamaged("gone")

    monkeypatch.setattr("peephole.models.store.locate", nowhere)
    assert installed() == ([], [])


def test_pictures_are_shrunk_only_where_that_changes_something():
    assert scales([Picture("a", "a", (720, 400))]) == [Scale()]
    assert scales([Picture("a", "a", (720, 400)), Picture("b", "b", (400, 721))]) == [Scale(), Scale(max_side=720)]


# Pictures


def test_pictures_are_found_in_folders_each_once_and_the_bad_ones_are_told(tmp_path, eileen_file, grace_file):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "grace.jpg").symlink_to(grace_file)
    (inside / "bad.png").write_bytes(b"nothing of the kind")
    (inside / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    names = [str(eileen_file), str(inside), str(eileen_file), str(tmp_path / "empty"), str(tmp_path / "gone.jpg"), ""]
    found, missing = find_pictures(names)
    assert [(Path(each.name).name, each.size) for each in found] == [
        (eileen_file.name, (512, 512)),
        ("grace.jpg", (512, 600)),
    ]
    assert {(Path(name).name, error.kind) for name, error in missing} == {
        ("bad.png", "not-a-picture"),
        ("empty", "not-found"),
        ("gone.jpg", "not-found"),
        ("", "not-found"),
    }


def test_what_of_a_folder_is_passed_over_is_told(tmp_path, grace_file):
    for name in ("a.jfif", "@eaDir/a.jpg", "train/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(grace_file.read_bytes())
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(300))
    passed = PassedOver()
    found, missing = find_pictures([str(tmp_path)], passed)
    assert [Path(each.name).name for each in found] == ["a.jfif"]
    assert [(Path(name).name, error.kind) for name, error in missing] == [("b.heic", "not-supported")]
    assert "@eaDir" in str(passed)
    assert "train" in str(passed)


def test_no_picture_at_all_is_an_error_that_says_why(tmp_path):
    with pytest.raises(FrameNotFound, match=r"gone\.jpg: no such file"):
        find_pictures([str(tmp_path / "gone.jpg")])


@pytest.mark.slow
def test_the_built_in_frames_are_the_same_every_time():
    first, again = built_in(), built_in()
    assert first == again
    assert [each.name for each in first] == ["built-in/1-noon", "built-in/3-together", "built-in/8-leaves"]
    assert [snapshot(each.source).size for each in first] == [(demo.SIDE, demo.SIDE)] * 3


def test_without_the_portraits_a_drawn_face_is_looked_at(monkeypatch):
    def missing(portrait):
        raise PeepholeError("not installed")

    monkeypatch.setattr(bench_pictures.demo, "pixels", missing)
    (picture,) = built_in()
    assert len(Pipeline("yunet").analyse(picture.source)) == 1


# With real processes


@pytest.mark.slow
def test_each_configuration_has_a_process_and_a_budget_of_its_own(tmp_path, eileen_file):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    setups = [
        Configuration("yunet", "sface"),
        Configuration(f"yunet:{broken}", "sface"),
        Configuration("yunet", "sface", scale=Scale(max_side=256)),
    ]
    pictures, _ = find_pictures([str(eileen_file)])
    started = time.time()
    done = measure(setups, pictures, opened=in_worker("400MB"), repeat=2)
    first, bad, small = done.results
    assert bad.error.kind.startswith("model")
    assert [len(each.looks) for each in (first, small)] == [2, 2]
    assert first.faces == small.faces == 1
    assert 50 < first.peak_mb < 400
    assert small.smallest_face == pytest.approx(2 * first.smallest_face)
    for look in first.looks:
        assert look.record.detector == "yunet"
        assert look.record.recognizer == "sface"
        assert look.record.threads == 1
        assert look.record.time.timestamp() >= started - 1
    few = measure(setups[:1], pictures, opened=in_worker("20MB"), repeat=1)
    assert few.results[0].error.kind == "budget-too-small"
