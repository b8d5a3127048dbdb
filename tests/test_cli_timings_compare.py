"""``peephole timings compare``: the real command line on real logs and a real history."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from peephole.cli import main
from peephole.timings import History, TimingLog
from simulated import run

START = datetime(2026, 5, 1, 12).astimezone()
QUIET = {"noise": 0.005, "drift": 0.003, "own": 0.002}


def compare(*arguments, status=0):
    """Run the command; its standard output, or what it says on standard error where that is expected."""
    done = CliRunner().invoke(main, ["timings", "compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout if done.stdout else done.stderr


def write(path, records):
    log = TimingLog(path)
    for each in records:
        log.frame(each)
    return path


def runs(**second):
    rng = np.random.default_rng(1)
    return run(rng, start=START, **QUIET), run(rng, start=START + timedelta(days=7), **{**QUIET, **second})


NEW = {"yunet": "0123abcd" * 8, "sface": "fb143eea" * 8}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Three runs of the same frames: as it was, as it was, with a slower embedding; and both ends in one log."""
    folder = tmp_path_factory.mktemp("logs")
    before, same = runs()
    _, slower = runs(slower={"embed": 1.1}, models=NEW, version="2.0")
    sides = {"before": before, "same": same, "slower": slower, "both": [*before, *slower]}
    return {name: write(folder / f"{name}.jsonl", records) for name, records in sides.items()}


@pytest.fixture
def history(logs, tmp_path, monkeypatch):
    from peephole.timings.read import read

    path = tmp_path / "timings.sqlite"
    with History(path) as history:
        for each in read(logs["both"]):
            history.frame(each)
    monkeypatch.setenv("PEEPHOLE_HISTORY", str(path))
    return path


def test_the_same_thing_twice(logs):
    lines = compare(logs["before"], logs["same"]).splitlines()
    assert lines[0].startswith("not distinguishable: total ")
    assert lines[0].endswith("slower cannot be ruled out")
    assert lines[2] == "200 of 200 and 200 of 200 frames, compared by picture, size and plan; milliseconds by the clock"
    assert [line.split()[0] for line in lines[4:]] == [
        "stage",
        "decode",
        "plan",
        "detect",
        "map",
        "align",
        "embed",
        "total",
    ]


def test_a_slower_stage_ends_with_status_1_and_is_named_first(logs):
    lines = compare(logs["before"], logs["slower"], status=1).splitlines()
    assert lines[0].startswith("slower: embed +")
    assert lines[0].endswith("beyond the tolerated 5 %")
    assert "note: models: yunet-49f000ec sface-fb143eea before; yunet-0123abcd sface-fb143eea after" in lines
    assert "note: peephole: 1.0 before; 2.0 after" in lines
    assert next(line for line in lines if line.startswith("embed")).endswith("slower")


def test_what_is_tolerated_ends_with_status_0(logs):
    for share in ("20%", "0.2", "20 %"):
        assert "20 % are tolerated" in compare(logs["before"], logs["slower"], "--tolerate", share)


def test_only_the_stages_that_were_asked_for_end_with_status_1(logs):
    compare(logs["before"], logs["slower"], "--stage", "detect")
    compare(logs["before"], logs["slower"], "--stage", "detect", "--stage", "embed", status=1)
    said = compare(logs["before"], logs["slower"], "--stage", "match", status=2)
    assert "there is no stage 'match' on both sides; there are decode, plan" in said


def test_faster_is_no_regression(logs):
    assert compare(logs["slower"], logs["before"]).startswith("faster: embed -")


def test_json(logs):
    found = json.loads(compare(logs["before"], logs["slower"], "--json", status=1))
    assert found["verdict"] == "slower"
    assert "embed" in found["regressions"]
    assert found["tolerate"] == 0.05


def test_a_busier_machine_is_said(tmp_path, logs):
    _, busy = runs(busy=0.4)
    said = compare(logs["before"], write(tmp_path / "busy.jsonl", busy))
    assert "note: the machine was busier after than before: +" in said


def test_logs_without_processor_time(tmp_path):
    before, after = runs(cpu=False)
    said = compare(write(tmp_path / "before", before), write(tmp_path / "after", after))
    assert "note: processor time was not logged on both sides" in said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("49f000ec", "0123abcd"),
        ("yunet-49f000ec", "yunet-0123abcd"),
        ("1.0", "2.0"),
        ("2026-05-01", "2026-05-08"),
        ("2026-04-30..2026-05-02", "2026-05-02.."),
        ("..2026-05-02T08:00", "0123"),
    ],
)
def test_sides_of_the_history(history, before, after):
    assert compare(before, after, status=1).startswith("slower: embed +")


def test_a_side_of_the_history_and_a_log(history, logs):
    compare("1.0", logs["slower"], status=1)
    compare("1.0", logs["same"])


def test_sides_of_a_log(logs):
    assert compare("1.0", "2.0", "--log", logs["both"], status=1).startswith("slower: embed +")


def test_what_is_not_there_is_told_with_what_is(history):
    said = compare("1.0", "3.0", status=1)
    assert "3.0 is no file, and no frame of" in said
    assert "yunet-49f000ec" in said
    assert "versions 1.0, 2.0; 2026-05-01T" in said


def test_no_history(tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_HISTORY", str(tmp_path / "none.sqlite"))
    assert "there is no file 1.0 and 2.0, and no history to look for it" in compare("1.0", "2.0", status=1)


def test_sides_that_overlap(history):
    assert "400 frames are on both sides" not in compare("1.0", "2.0", status=1)
    assert "200 frames are on both sides" in compare("1.0", "yunet", status=1)


def test_frames_that_have_nothing_in_common(tmp_path, logs):
    other = write(tmp_path / "large.jsonl", run(np.random.default_rng(2), width=1920, height=1080))
    assert "no frame has a counterpart on the other side" in compare(logs["before"], other, status=1)


def test_too_few_frames(tmp_path, logs):
    few = write(tmp_path / "few.jsonl", runs()[0][:5])
    assert "only 5 frames have a counterpart" in compare(logs["before"], few, status=1)


def test_an_empty_and_a_foreign_file(tmp_path, logs):
    (tmp_path / "empty").write_text("")
    (tmp_path / "foreign").write_text("hello\n")
    assert "is empty" in compare(tmp_path / "empty", logs["before"], status=1)
    assert "is no timing log" in compare(logs["before"], tmp_path / "foreign", status=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["1.0", "1.0"], "there is nothing to compare"),
        (["2026-05-02..2026-05-01", "1.0"], "ends before it begins"),
        (["2026-13-01", "1.0"], "is no time"),
        (["1.0", "2.0", "--tolerate", "a bit"], "is no share; write it like 5% or 0.05"),
        (["1.0", "2.0", "--tolerate", "-5%"], "is no share"),
        (["1.0", "2.0", "--tolerate", "nan"], "is no share"),
        (["1.0"], "Missing argument 'AFTER'"),
    ],
)
def test_a_command_line_that_cannot_work(history, arguments, said):
    assert said in compare(*arguments, status=2)


def test_the_same_file_under_two_names(tmp_path, logs):
    link = tmp_path / "link"
    link.symlink_to(logs["before"])
    assert "there is nothing to compare" in compare(logs["before"], link, status=2)
