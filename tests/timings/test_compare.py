"""Comparisons of simulated runs, how often they cry wolf and how often not; of real ones: benchmarks/regression.py."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from peephole.errors import TimingsError
from peephole.timings.compare import Verdict, compare
from simulated import STAGES, START, run

TRIALS = 20
LATER = START + timedelta(minutes=1)


def pair(seed, *, both=None, **second):
    """Two runs one after the other, the second with some more."""
    rng = np.random.default_rng(seed)
    return run(rng, **(both or {})), run(rng, **{"start": LATER, **(both or {}), **second})


def verdicts(seeds, **given):
    return [compare(*pair(seed, **given)) for seed in seeds]


def by_stage(found):
    return {each.stage: each for each in (*found.stages, found.total)}


NOISE = {
    "usual": {},
    "quiet": {"noise": 0.005, "drift": 0.003, "own": 0.002},
    "heavy": {"noise": 0.05, "drift": 0.03, "own": 0.012},
    "busy": {"busy": 0.4, "noise": 0.05},
    "by the clock alone": {"cpu": False},
    "by the clock alone, busy": {"cpu": False, "busy": 0.3},
    "every picture once": {"pictures": 200},
}


@pytest.mark.parametrize("noise", NOISE)
def test_two_runs_of_the_same_thing_are_not_distinguishable(noise):
    found = verdicts(range(TRIALS), both=NOISE[noise])
    assert sum(each.verdict is Verdict.SAME for each in found) >= TRIALS - 1
    assert not any(each.regressions for each in found[: TRIALS // 2])


@pytest.mark.parametrize("stage", ["decode", "detect", "embed"])
@pytest.mark.parametrize("noise", ["usual", "quiet", "by the clock alone", "every picture once"])
def test_a_stage_that_takes_a_tenth_longer_is_named(noise, stage):
    found = verdicts(range(100, 100 + TRIALS), both=NOISE[noise], slower={stage: 1.1})
    named = [[change.stage for change in each.changed(Verdict.SLOWER)] for each in found]
    assert sum(stage in each for each in named) >= TRIALS - 1
    assert sum(each == [stage] for each in named) >= TRIALS - 3
    regressions = [each.regressions for each in found]
    assert sum(map(bool, regressions)) >= TRIALS - 1


def test_a_busier_machine_is_no_slower_model():
    """Everything takes half as long again by the clock, and as much processor time as before."""
    found = verdicts(range(10), busy=0.4)
    assert all(each.verdict is Verdict.SAME for each in found)
    assert all(each.total.clock > 1.2 and each.total.processor < 1.1 for each in found)
    assert {each.total.measure for each in found} == {"processor time"}


@pytest.mark.parametrize("busy", [0.2, 0.5])
def test_stages_with_more_threads_that_wait_for_a_neighbour_are_no_slower_model(busy):
    """Beside somebody who computes all the time two threads share what is left, and one thread does not notice."""
    wait = {"detect": 1 + busy, "embed": 1 + busy}
    for seed in range(10):
        before, after = pair(seed)
        found = compare(before, [replace(each, stages=longer(each.stages, wait)) for each in after])
        assert found.verdict is Verdict.SAME


@pytest.mark.parametrize("stage", ["decode", "detect", "embed"])
def test_a_stage_that_waits_longer_while_the_others_do_not_is_named(stage):
    """As for a disk or a lock: by the clock alone."""
    named = []
    for seed in range(TRIALS):
        before, after = pair(seed)
        found = compare(before, [replace(each, stages=longer(each.stages, {stage: 1.1})) for each in after])
        named.append([change.stage for change in found.changed(Verdict.SLOWER)])
        assert by_stage(found)[stage].measure == "clock" or stage not in named[-1]
    assert sum(each == [stage] for each in named) >= TRIALS - 1


def longer(stages, factors):
    return {name: each * factors.get(name, 1.0) for name, each in stages.items()}


def test_several_stages_that_have_changed_are_named_and_no_other():
    slower = {"detect": 1.2, "align": 1.15}
    found = verdicts(range(10), both={"stages": STAGES | {"search": 8.0}}, slower=slower)
    assert sum({each.stage for each in every.changed(Verdict.SLOWER)} == set(slower) for every in found) >= 9
    assert not any(every.changed(Verdict.FASTER) for every in found)


def test_a_stage_too_short_to_judge_does_not_mislead_about_the_others():
    """`resize` took a quarter of its time in one run of several, by where its memory lay."""
    stages = STAGES | {"resize": 0.8}
    for seed in range(10):
        found = compare(*pair(seed, both={"stages": stages}, slower={"resize": 0.4}))
        assert not found.changed(Verdict.SLOWER)
        assert {each.stage for each in found.changed(Verdict.FASTER)} <= {"resize", "total"}


def test_many_stages():
    stages = {f"stage{number}": 2.0 for number in range(40)}
    found = compare(*pair(0, both={"stages": stages}, slower={"stage7": 1.2}))
    assert [each.stage for each in found.changed(Verdict.SLOWER)] == ["stage7"]


def test_a_machine_that_is_a_little_slower_is_no_slower_model():
    found = verdicts(range(TRIALS), machine=0.04)
    assert sum(each.verdict is Verdict.SAME for each in found) >= TRIALS - 1


def test_what_slows_everything_beyond_drift_is_slower_and_no_stage_is_blamed():
    for found in verdicts(range(10), machine=np.log(1.3)):
        assert found.verdict is Verdict.SLOWER
        assert [each.stage for each in found.changed(Verdict.SLOWER)] == ["total"]
        assert found.regressions == (found.total,)
        assert found.total.ratio == pytest.approx(1.3, rel=0.06)


def test_a_stage_is_seen_on_a_machine_that_has_become_faster():
    found = verdicts(range(TRIALS), machine=-0.04, slower={"embed": 1.12})
    assert sum(by_stage(each)["embed"].verdict is Verdict.SLOWER for each in found) >= TRIALS - 2


def test_the_stage_that_stays_is_not_blamed_when_the_others_change():
    """The networks' runtime is slower: decode must not come out as faster because it stays."""
    for found in verdicts(range(10), slower={"detect": 1.4, "align": 1.4, "embed": 1.4}):
        assert by_stage(found)["decode"].verdict is Verdict.SAME
        assert found.verdict is Verdict.SLOWER


def test_faster():
    found = compare(*pair(1, slower={"detect": 0.8}))
    assert found.verdict is Verdict.FASTER
    assert found.changed(Verdict.FASTER)[0].stage == "detect"
    assert found.regressions == ()


def test_the_interval_holds_the_truth():
    inside = [
        change.low < 1.1 < change.high
        for found in verdicts(range(40), slower={"detect": 1.1})
        for change in found.stages
        if change.stage == "detect"
    ]
    assert sum(inside) >= 39


def test_what_is_tolerated_is_no_regression():
    sides = pair(3, both=NOISE["quiet"], slower={"embed": 1.1})
    strict, lenient = (compare(*sides, tolerate=each) for each in (0.05, 0.2))
    assert strict.verdict is lenient.verdict is Verdict.SLOWER
    assert [each.stage for each in strict.regressions] == ["embed"]
    assert lenient.regressions == ()


@pytest.mark.parametrize("share", [-0.01, float("nan"), float("inf")])
def test_a_share_that_cannot_be_tolerated(share):
    with pytest.raises(ValueError, match="tolerate"):
        compare(*pair(0), tolerate=share)


def test_short_stages_are_shown_and_not_judged():
    found = by_stage(compare(*pair(4, slower={"map": 1.5})))
    assert found["map"].verdict is Verdict.UNJUDGED
    assert found["map"].clock == pytest.approx(1.5, rel=0.1)
    grown = by_stage(compare(*pair(4, slower={"map": 100.0})))
    assert grown["map"].verdict is Verdict.SLOWER


def test_a_part_is_named_instead_of_its_whole():
    def nested(records, factor):
        grown = []
        for each in records:
            parts = {"detect.head": each.stages["detect"] * 0.7 * factor, "detect.tail": each.stages["detect"] * 0.3}
            stages = {**each.stages, "detect": sum(parts.values()), **parts}
            grown.append(replace(each, stages=stages, cpu_ms=stages))
        return grown

    before, after = pair(5, both=NOISE["quiet"])
    found = compare(nested(before, 1.0), nested(after, 1.15))
    assert by_stage(found)["detect"].verdict is Verdict.SLOWER
    assert [each.stage for each in found.changed(Verdict.SLOWER)] == ["detect.head"]


def test_other_pictures_with_other_faces_are_no_slowdown(rng):
    """After, there are more frames with two faces: embedding takes longer in all, and not for such a frame."""
    before, after = run(rng), run(rng, start=LATER)
    many = [replace(each, frame="") for each in after if each.faces != 1]
    found = compare([replace(each, frame="") for each in before], many)
    assert found.by == "size, plan and faces"
    assert found.verdict is Verdict.SAME


def test_frames_without_a_face_do_not_decide_about_the_embedding(rng):
    before = [each for each in run(rng, frames=600) if each.faces != 1][:200]
    after = [each for each in run(rng, frames=600, slower={"embed": 1.15}, start=LATER) if each.faces != 1][:200]
    assert by_stage(compare(before, after))["embed"].verdict is Verdict.SLOWER


def test_sides_that_took_turns_are_told_apart_better():
    apart, turns = (
        compare(*pair(6, both={"noise": 0.03}, start=start)) for start in (LATER, START + timedelta(milliseconds=50))
    )
    widths = [np.log(each.total.high / each.total.low) for each in (apart, turns)]
    assert widths[1] < widths[0] * 0.8


def test_more_runs_tell_more():
    """What differs from run to run and shows in none averages out."""
    rng = np.random.default_rng(8)
    one, several = (
        [
            [
                each
                for number in range(runs)
                for each in run(rng, start=START + timedelta(minutes=2 * number + side), **NOISE["quiet"])
            ]
            for side in (0, 1)
        ]
        for runs in (1, 6)
    )
    widths = [np.log(found.total.high / found.total.low) for found in (compare(*one), compare(*several))]
    assert widths[1] < widths[0] * 0.7


def test_both_ways_round_it_is_the_same():
    sides = pair(9, slower={"embed": 1.1})
    there, back = compare(*sides), compare(*sides[::-1])
    assert back.total.ratio == pytest.approx(1 / there.total.ratio)
    assert back.changed(Verdict.FASTER)[0].stage == there.changed(Verdict.SLOWER)[0].stage == "embed"


def test_the_same_records_give_the_same_comparison():
    sides = pair(10)
    assert compare(*sides) == compare(*sides)
    shuffled = np.random.default_rng(0).permutation(200)
    assert compare([sides[0][each] for each in shuffled], sides[1]) == compare(*sides)


def test_a_stage_that_one_side_lacks_is_left_out():
    before, after = pair(11)
    without = [replace(each, stages={name: each.stages[name] for name in STAGES if name != "align"}) for each in after]
    assert "align" not in by_stage(compare(before, without))


def test_few_frames_show_a_gross_change_and_no_small_one():
    few = {"frames": 20, "pictures": 10}
    assert compare(*pair(12, both=few, slower={"detect": 2.0})).verdict is Verdict.SLOWER
    with pytest.raises(TimingsError, match="only 19"):
        compare(*pair(12, both={"frames": 19, "pictures": 10}))


def test_as_json():
    found = compare(*pair(13, slower={"embed": 1.2}, runtime="another 2"))
    read = json.loads(json.dumps(found.to_dict()))
    assert read["verdict"] == "slower"
    assert read["regressions"][0] == "embed"
    assert read["frames"] == {"before": 200, "after": 200}
    assert read["warnings"] == ["runtime: onnxruntime 1.31.1 before; another 2 after"]
    assert [each["stage"] for each in read["stages"]] == list(STAGES)
    assert read["total"]["low"] < read["total"]["ratio"] < read["total"]["high"]
