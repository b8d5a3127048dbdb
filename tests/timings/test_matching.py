from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from peephole.errors import TimingsError
from peephole.timings.matching import LEAST_FRAMES, differences, match_frames
from simulated import START, run


@pytest.fixture
def frames(rng):
    return run(rng, frames=40, pictures=20)


def changed(records, **fields):
    return [replace(each, **fields) for each in records]


def test_the_same_pictures_are_compared(frames):
    found = match_frames(frames, frames[:30])
    assert found.by == "picture, size and plan"
    assert (len(found.before.wall), len(found.after.wall), found.groups) == (40, 30, 20)
    assert found.stages == ("decode", "plan", "detect", "map", "align", "embed", "total")
    first = frames[0]
    assert found.before.wall[0].tolist() == pytest.approx([*first.stages.values(), first.total_ms])
    assert found.before.group.tolist() == [*range(20), *range(20)]


def test_frames_are_in_the_order_of_time(frames):
    found = match_frames(frames[::-1], frames)
    assert (found.before.wall == found.after.wall).all()


def test_other_pictures_are_compared_by_size_plan_and_faces(frames):
    other = [replace(each, frame=f"f{index:015x}") for index, each in enumerate(frames)]
    found = match_frames(frames, other)
    assert found.by == "size, plan and faces"
    kinds = {
        number: {each.faces for each in frames if found.before.group[frames.index(each)] == number}
        for number in range(found.groups)
    }
    assert all(len(each) == 1 for each in kinds.values())


def test_a_queues_numbers_are_no_pictures(frames):
    numbered = [replace(each, frame=f"front/{index}") for index, each in enumerate(frames)]
    assert match_frames(numbered, numbered).by == "size, plan and faces"


def test_unknown_pictures_are_not_one_picture(frames):
    assert match_frames(changed(frames, frame=""), changed(frames, frame="")).by == "size, plan and faces"


def test_other_plans_are_compared_by_picture_and_it_is_said(frames):
    other = changed(frames, plan="320x240/1/40/1")
    found = match_frames(frames, other)
    assert found.by == "picture and size"
    assert "no plan is on both sides" in "; ".join(differences(found, frames, other))


def test_frames_of_another_size_are_left_out(frames):
    mixed = frames[:25] + changed(frames[25:], width=1280)
    found = match_frames(frames, mixed)
    assert len(found.after.wall) == 25
    assert len(found.before.wall) == 40


def test_nothing_in_common(frames):
    with pytest.raises(TimingsError, match=r"no frame has a counterpart.*640x480.*1280x480"):
        match_frames(frames, changed(frames, width=1280))


def test_too_few(frames):
    with pytest.raises(TimingsError, match=f"only 19 frames .* {LEAST_FRAMES} on each"):
        match_frames(frames, frames[:19])
    match_frames(frames, frames[:20])


@pytest.mark.parametrize("side", ["before", "after"])
def test_nobody_could_look_at_any(frames, side):
    failed = changed(frames, error="corrupt")
    sides = (failed, frames) if side == "before" else (frames, failed)
    with pytest.raises(TimingsError, match=f"no frame that was looked at among those {side}"):
        match_frames(*sides)


def test_frames_that_failed_are_left_out_and_counted(frames):
    failed = frames[:35] + changed(frames[35:], error="corrupt")
    found = match_frames(frames, failed)
    assert len(found.after.wall) == 35
    assert differences(found, frames, failed) == ("could not be looked at: 0 frames before, 5 after",)


def test_stages_are_those_of_both_sides_and_waiting_is_none(frames):
    more = [
        replace(each, stages={**each.stages, "match": 1.0, "wait.queue": 9.0, "detect.head": 7.0}) for each in frames
    ]
    assert "match" not in match_frames(frames, more).stages
    both = match_frames(more, more)
    assert both.stages[-3:] == ("match", "detect.head", "total")
    assert both.before.wall[0, -1] == pytest.approx(frames[0].total_ms + 1.0)


def test_processor_time_that_was_not_measured_is_not_a_number(frames):
    part = [replace(each, cpu_ms={"decode": 1.0}) for each in frames]
    found = match_frames(changed(frames, cpu_ms={}), part)
    assert np.isnan(found.before.cpu).all()
    assert np.isnan(found.after.cpu[0]).tolist() == [False, True, True, True, True, True, False]


def test_sides_that_took_turns(frames):
    later = changed(frames, run="other")
    assert not match_frames(frames, [replace(each, time=each.time + timedelta(hours=1)) for each in later]).interleaved
    assert match_frames(
        frames, [replace(each, time=each.time + timedelta(milliseconds=50)) for each in later]
    ).interleaved


def test_runs_are_counted_on_the_side_that_has_fewer(frames):
    runs = [replace(each, run=str(index // 10)) for index, each in enumerate(frames)]
    assert match_frames(runs, runs).runs == 4
    assert match_frames(runs, frames).runs == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cpu", "Another", "processor: A processor before; Another after"),
        ("threads", 4, "threads: 2 before; 4 after"),
        ("runtime", "openvino 2026.1", "runtime: onnxruntime 1.31.1 before; openvino 2026.1 after"),
        ("version", "", "peephole: 1.0 before; not known after"),
        ("models", {"yunet": "0123456789"}, "models: yunet-49f000ec sface-fb143eea before; yunet-01234567 sface after"),
    ],
)  # fmt: skip
def test_what_else_differs_is_said(frames, field, value, said):
    other = changed(frames, **{field: value})
    assert differences(match_frames(frames, other), frames, other) == (said,)


def test_that_other_faces_were_found_is_said(frames):
    other = [replace(each, faces=each.faces + (each.frame == frames[3].frame)) for each in frames]
    assert differences(match_frames(frames, other), frames, other) == (
        "faces: not as many as before on 1 of 20 pictures",
    )


def test_nothing_differs(frames):
    assert differences(match_frames(frames, frames), frames, frames) == ()
    assert frames[0].time == START
