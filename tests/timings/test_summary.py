import json
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed import ONE, OTHER, SFACE, START, YUNET, failed, record

from peephole.errors import TimingsError
from peephole.timings.changes import MOST, changes
from peephole.timings.columns import TOTAL, Columns, Filter
from peephole.timings.record import Glance, Setup
from peephole.timings.summary import summarise

EVERYTHING = Filter()


def short(found):
    """As `read.glance` gives it."""
    setup = Setup(
        found.detector,
        found.recognizer,
        found.models,
        found.runtime,
        found.threads,
        found.cpu,
        found.version,
        found.libraries,
    )
    seconds = found.time.timestamp()
    return Glance(seconds, found.width, found.height, found.plan, setup, found.stages, found.error)


def columns(*records, chosen=EVERYTHING):
    return Columns(map(short, records), chosen)


def test_percentiles_by_hand():
    found = columns(*(record(number, stages={"decode": float(number)}) for number in range(101)), failed(200))
    (decode, total) = summarise(found, ("stage",))
    assert (decode.stage, decode.model, decode.day, decode.size) == ("decode", None, None, None)
    assert (decode.count, decode.p50, decode.p90, decode.p99, decode.most, decode.share) == (101, 50, 90, 99, 100, 1.0)
    assert (total.stage, total.count, total.p50) == ("total", 101, 50)
    assert found.errors == {"corrupt": 1}


def test_shares_are_of_the_stages_that_are_no_parts_and_waiting_is_none():
    stages = {"wait.queue": 900.0, "decode": 30.0, "detect": 70.0, "detect.head": 40.0}
    rows = {row.stage: row for row in summarise(columns(record(stages=stages)), ("stage",))}
    assert rows["total"].p50 == 100
    assert {name: row.share for name, row in rows.items()} == pytest.approx(
        {"wait.queue": 9.0, "decode": 0.3, "detect": 0.7, "detect.head": 0.4, "total": 1.0}
    )


def test_parts_stand_behind_their_stage_whenever_they_were_met():
    found = columns(
        record(stages={"decode": 1.0, "detect": 1.0, "map": 1.0}),
        record(1, stages={"decode": 1.0, "detect": 1.0, "detect.tail": 1.0, "map": 1.0, "match": 1.0}),
        record(2, stages={"decode": 1.0, "detect": 1.0, "detect.head": 1.0, "decode.header": 0.5}),
    )
    stages = ["decode", "decode.header", "detect", "detect.tail", "detect.head", "map", "match"]
    assert found.stages == stages
    rows = summarise(found, ("stage",))
    assert [row.stage for row in rows] == [*stages, "total"]
    assert [row.count for row in rows] == [3, 1, 3, 1, 1, 2, 1, 3]


def test_groups_by_model_day_and_size():
    other = ONE.models | {"sface": OTHER}
    day = 86_400
    found = columns(
        record(2 * day, stages={"decode": 5.0}),
        record(0, stages={"decode": 1.0}),
        record(1, stages={"decode": 3.0}),
        record(day, stages={"decode": 7.0}, models=other),
        record(day + 1, stages={"decode": 9.0}, models=other, width=640, height=480),
    )
    old, new = f"yunet-{YUNET[:8]} sface-{SFACE[:8]}", f"yunet-{YUNET[:8]} sface-{OTHER[:8]}"
    days = [(START + timedelta(days=number)).astimezone().strftime("%Y-%m-%d") for number in range(3)]
    by_both = summarise(found, ("model", "day"))
    assert [(row.model, row.day, row.count, row.p50) for row in by_both] == [
        (old, days[0], 2, 2.0),
        (new, days[1], 2, 8.0),
        (old, days[2], 1, 5.0),
    ]
    assert all(row.stage is None and row.share == 1 for row in by_both)
    assert [(row.model, row.count) for row in summarise(found, ("model",))] == [(old, 3), (new, 2)]
    assert [(row.size, row.count) for row in summarise(found, ("size",))] == [("1536x1536", 4), ("640x480", 1)]
    assert [(row.stage, row.size) for row in summarise(found, ("size", "stage"))] == [
        ("decode", "1536x1536"),
        ("total", "1536x1536"),
        ("decode", "640x480"),
        ("total", "640x480"),
    ]
    assert len(summarise(found, ())) == 1


frames = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from([SFACE, OTHER]),
        st.dictionaries(st.sampled_from(["decode", "detect", "detect.head", "wait.queue"]), st.integers(0, 1000)),
    ),
    min_size=1,
    max_size=40,
)


@given(frames)
def test_as_a_slow_reference_says(found):
    given_ = [
        record(at, stages={name: float(ms) for name, ms in stages.items()}, models={"yunet": YUNET, "sface": sface})
        for at, sface, stages in found
    ]
    groups = {}
    for each in given_:
        day = each.time.astimezone().strftime("%Y-%m-%d")
        for stage, value in [*each.stages.items(), (TOTAL, each.total_ms)]:
            groups.setdefault((stage, each.model, day), []).append(value)
    rows = summarise(columns(*given_), ("stage", "model", "day"))
    assert {(row.stage, row.model, row.day) for row in rows} == set(groups)
    for row in rows:
        values = groups[row.stage, row.model, row.day]
        assert row.count == len(values)
        assert (row.p50, row.p90, row.p99, row.most) == pytest.approx(
            (*np.percentile(values, (50, 90, 99)), max(values)), abs=1e-3
        )


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(since=START.timestamp() + 1, until=START.timestamp() + 3), [1, 2]),
        (Filter(model="sface"), [0, 1, 3]),
        (Filter(model=OTHER[:6]), [3]),
        (Filter(model="embed"), []),
        (Filter(detector="mmod"), [2]),
        (Filter(size=(640, 480)), [1]),
        (Filter(size=(640, 480), model="mmod"), []),
    ],
)
def test_only_what_is_chosen(chosen, kept):
    records = [
        record(0, stages={"decode": 0.0}),
        record(1, stages={"decode": 1.0}, width=640, height=480),
        record(2, stages={"decode": 2.0}, detector="mmod", recognizer="", models={"mmod": "ab" * 32}),
        record(3, stages={"decode": 3.0}, models={"yunet": YUNET, "sface": OTHER}),
    ]
    if not kept:
        with pytest.raises(TimingsError, match="there are no such timings"):
            columns(*records, chosen=chosen)
        return
    assert columns(*records, chosen=chosen).of("decode").tolist() == kept


def test_errors_alone_are_no_timings():
    with pytest.raises(TimingsError, match="no such timings; 2 frames could not be looked at"):
        columns(failed(), failed(1))


def test_frames_without_any_stage():
    (row,) = summarise(columns(record(stages={})), ("stage",))
    assert (row.stage, row.p50, row.share) == ("total", 0.0, 0.0)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin"])
def test_days_are_those_of_this_machines_zone_also_when_clocks_are_put_back(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        times = [datetime(2026, 10, 24, 20).timestamp() + 1200 * number for number in range(120)]
        found = columns(*(record(seconds - START.timestamp()) for seconds in times))
        expected = [datetime.fromtimestamp(seconds).strftime("%Y-%m-%d") for seconds in times]
        rows = summarise(found, ("day",))
        assert {row.day: row.count for row in rows} == {day: expected.count(day) for day in sorted(set(expected))}
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_row_as_json_leaves_out_what_it_is_not_grouped_by():
    (row,) = summarise(columns(record(stages={"decode": 1.5})), ("model",))
    assert json.loads(json.dumps(row.to_dict())) == {
        "model": ONE.model,
        "count": 1,
        "p50_ms": 1.5,
        "p90_ms": 1.5,
        "p99_ms": 1.5,
        "max_ms": 1.5,
        "share": 1.0,
    }


# what was changed


def test_a_model_and_back_again():
    other = ONE.models | {"sface": OTHER}
    found = changes(columns(record(0), record(5, models=other), record(3), record(9), record(6, models=other)))
    assert [(each.seconds - START.timestamp(), each.what, each.model) for each in found] == [
        (5, (f"sface-{OTHER[:8]}",), True),
        (9, (f"sface-{SFACE[:8]}",), True),
    ]


def test_all_else_that_can_make_a_difference():
    found = changes(
        columns(
            record(0),
            record(1, runtime="onnxruntime 1.33.0"),
            record(2, runtime="onnxruntime 1.33.0", version="0.2.0", threads=1),
            record(3, runtime="onnxruntime 1.33.0", version="0.2.0", threads=1, cpu="Another"),
        )
    )
    assert [each.what for each in found] == [("onnxruntime 1.33.0",), ("peephole 0.2.0", "1 threads"), ("Another",)]
    assert not any(each.model for each in found)


def test_two_programs_that_log_in_turn_are_no_changes():
    boxes = {"recognizer": "", "models": {"yunet": YUNET}}
    later = {"runtime": "onnxruntime 1.33.0"}
    found = changes(
        columns(
            *(record(number, **(boxes if number % 2 else {}), **(later if number > 20 else {})) for number in range(40))
        )
    )
    assert [each.what for each in found] == [(f"yunet-{YUNET[:8]}",), ("onnxruntime 1.33.0",)]


def test_two_models_in_turn_are_told_once_each():
    found = changes(
        columns(
            *(
                record(number, models=ONE.models | {"sface": OTHER if number % 2 else SFACE})
                for number in range(2 * MOST)
            )
        )
    )
    assert [each.what for each in found] == [(f"sface-{OTHER[:8]}",), (f"sface-{SFACE[:8]}",)]


def test_nothing_was_changed():
    assert changes(columns(record(0), record(1, width=640, height=480, plan="640x480/1/40/1"))) == []
