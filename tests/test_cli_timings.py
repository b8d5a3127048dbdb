import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from peephole.cli import main
from peephole.timings import History, TimingLog

sys.path.append(str(Path(__file__).parent / "timings"))
from timed import ONE, OTHER, START, failed, record


def inside(*arguments):
    return CliRunner().invoke(main, ["timings", *map(str, arguments)])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Two days, a model that was replaced on the second, and two frames that could not be looked at."""
    path = tmp_path_factory.mktemp("log") / "t.jsonl"
    writer = TimingLog(path, rotate=20_000)
    for number in range(40):
        new = ONE.models | {"sface": OTHER} if number >= 30 else ONE.models
        stages = {"wait.queue": 5.0} | ONE.stages | {"embed": 25.0 + number}
        writer.frame(record(3600 * number, models=new, stages=stages, width=1536 if number % 2 else 640))
    writer.frame(failed(3600 * 41))
    writer.frame(failed(3600 * 42, "deadline"))
    return path


def local(hours, form="%Y-%m-%d %H:%M:%S"):
    return (START + timedelta(hours=hours)).astimezone().strftime(form)


def test_tables_by_stage_and_by_day(log):
    result = inside(log)
    assert (result.exit_code, result.stderr) == (0, "")
    head, errors, _, *rest = result.stdout.splitlines()
    assert head == f"40 frames, {local(0)} to {local(39)}; 640x1536 (20), 1536x1536 (20); times in milliseconds" or (
        head == f"40 frames, {local(0)} to {local(39)}; 1536x1536 (20), 640x1536 (20); times in milliseconds"
    )
    assert errors == "2 more could not be looked at: corrupt (1), deadline (1)"
    assert rest[0].split() == ["model", "stage", "frames", "50", "%", "90", "%", "99", "%", "max", "share"]
    assert rest[1].split() == [*ONE.model.split(), "wait.queue", "30", "5.0", "5.0", "5.0", "5.0"]
    assert rest[2].split() == ["decode", "30", "40.0", "40.0", "40.0", "40.0", "28.6%"]
    assert [line.split()[0] for line in rest[3:8]] == ["plan", "detect", "detect.head", "detect.tail", "embed"]
    assert rest[8].split() == ["total", "30", "140.0", "151.6", "154.2", "154.5", "100.0%"]
    assert rest[9].split()[2:5] == ["wait.queue", "10", "5.0"]
    (by_day,) = [index for index, line in enumerate(rest) if line.startswith("model") and "day" in line]
    assert rest[by_day + 1].split()[:2] == ONE.model.split()
    assert rest[by_day + 1].split()[2] == local(0, "%Y-%m-%d")
    assert rest[-1] == f"{local(30)}  changed to sface-{OTHER[:8]}"


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["--since", local(10, "%Y-%m-%dT%H:%M:%S")], 30),
        (["--until", local(10, "%Y-%m-%dT%H:%M:%S%z")], 10),
        (["--since", local(10, "%Y-%m-%d %H:%M"), "--until", local(12, "%Y-%m-%d %H:%M")], 2),
        (["--model", OTHER[:7]], 10),
        (["--model", "yunet"], 40),
        (["--detector", "yunet"], 40),
        (["--size", "640X1536"], 20),
    ],
)
def test_only_what_is_chosen(log, options, frames):
    assert json.loads(inside(log, "--json", *options).stdout)["frames"] == frames


def test_ago(tmp_path):
    from datetime import UTC, datetime

    now = (datetime.now(UTC) - START).total_seconds()
    writer = TimingLog(tmp_path / "t")
    for days in (20, 8, 6, 0.2):
        writer.frame(record(now - 86_400 * days))
    assert [
        json.loads(inside(tmp_path / "t", "--json", "--since", since).stdout)["frames"]
        for since in ("300m", "36h", "7d", "2w", "1000d")
    ] == [1, 1, 2, 3, 4]


def test_json(log):
    found = json.loads(inside(log, "--json").stdout)
    assert list(found) == ["frames", "errors", "first", "last", "changes", "groups"]
    assert found["errors"] == {"corrupt": 1, "deadline": 1}
    assert found["changes"] == [
        {
            "time": (START + timedelta(hours=30)).astimezone().isoformat(timespec="milliseconds"),
            "to": [f"sface-{OTHER[:8]}"],
        }
    ]
    assert list(found["groups"][0]) == [
        "stage",
        "model",
        "day",
        "count",
        "p50_ms",
        "p90_ms",
        "p99_ms",
        "max_ms",
        "share",
    ]
    by_size = json.loads(inside(log, "--json", "--by", "size").stdout)["groups"]
    assert {(each["size"], each["count"]) for each in by_size} == {("640x1536", 20), ("1536x1536", 20)}


def test_one_table_by_what_is_said(log):
    lines = inside(log, "--by", "size", "--by", "day").stdout.splitlines()
    assert lines[3].split()[:3] == ["day", "size", "frames"]
    assert sum(line.startswith(("day", "model")) for line in lines) == 1


def test_of_very_many_days_the_last_are_shown(tmp_path):
    writer = TimingLog(tmp_path / "t")
    for day in range(40):
        writer.frame(record(86_400 * day))
    lines = inside(tmp_path / "t").stdout.splitlines()
    assert lines[-1] == "the last of 40; all of them: --by model --by day"
    assert lines[-2].split()[:1] == [local(24 * 39, "%Y-%m-%d")]
    assert len(inside(tmp_path / "t", "--by", "day").stdout.splitlines()) == 43


def test_without_a_file_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("PEEPHOLE_HISTORY", str(tmp_path / "h"))
    assert inside().exit_code == 1
    assert "there are no timings" in inside().stderr
    with History() as history:
        for number in range(7):
            history.frame(record(number))
    assert inside().stdout == inside(tmp_path / "h").stdout == inside("summary").stdout
    assert inside().stdout.startswith("7 frames")
    assert inside("--json", "--by", "stage").exit_code == 0


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_a_picture(log, tmp_path, suffix):
    result = inside(log, "--plot", tmp_path / f"t.{suffix}")
    assert (result.exit_code, result.stderr) == (0, f"plot: {tmp_path / f't.{suffix}'}\n")
    assert (tmp_path / f"t.{suffix}").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--since", "yesterday"], 2, "'yesterday' is no time: write it like 2026-05-01"),
        (["--since", "2026-05-02", "--until", "2026-05-01"], 2, "--since must be earlier than --until"),
        (["--size", "large"], 2, "--size takes WIDTHxHEIGHT"),
        (["--plot", "t.pdf"], 2, "ends with .png, .svg or .html"),
        (["--plot", "/dev/null/t.png"], 2, "/dev/null/t.png cannot be written"),
        (["--model", "nobody"], 1, "there are no such timings"),
        (["--by", "colour"], 2, "'colour' is not one of"),
    ],
)
def test_what_cannot_work_is_said(log, arguments, status, words):
    result = inside(log, *arguments)
    assert (result.exit_code, words in result.stderr) == (status, True)


def test_broken_lines_are_told_of_on_standard_error(tmp_path):
    TimingLog(tmp_path / "t").frame(ONE)
    with (tmp_path / "t").open("a") as file:
        file.write("none\n")
    result = inside(tmp_path / "t", "--json")
    assert json.loads(result.stdout)["frames"] == 1
    assert result.stderr == f"peephole: {tmp_path / 't'}: 1 lines are no timings and are left out\n"


def test_the_oldest_of_the_history_are_deleted_on_request(tmp_path):
    with History(tmp_path / "h") as history:
        for day in range(10):
            history.frame(record(86_400 * day))
    result = inside("prune", tmp_path / "h", "--most", 6)
    assert result.stdout == f"4 deleted, 6 left in {tmp_path / 'h'}\n"
    result = inside("prune", tmp_path / "h", "--older", local(24 * 7 - 1, "%Y-%m-%dT%H:%M"))
    assert result.stdout == f"3 deleted, 3 left in {tmp_path / 'h'}\n"
    assert inside("prune", tmp_path / "h").exit_code == 2
    assert inside("prune", tmp_path / "nowhere", "--most", 6).exit_code == 1
    assert not (tmp_path / "nowhere").exists()


def test_help_shows_both_ways():
    text = inside("--help").stdout
    assert "peephole timings [FILE] [OPTIONS]" in text or "main timings [FILE] [OPTIONS]" in text
    assert "summary" in text
    assert "prune" in text
