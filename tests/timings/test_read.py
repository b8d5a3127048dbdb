import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed import ONE, SFACE, START, failed, old_line, record

from peephole.errors import TimingsError
from peephole.timings import TimingLog
from peephole.timings.read import glance, read
from peephole.timings.record import Record


def write(path, *lines, end="\n"):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}{end}" for line in lines))
    return path


def refuse(message):
    raise AssertionError(message)


def test_what_was_logged_comes_back(tmp_path):
    records = [ONE, failed(1), record(2, models={}, recognizer="", cpu_ms={}, run="", libraries={})]
    log = TimingLog(tmp_path / "t")
    for each in records:
        log.frame(each)
    assert list(read(tmp_path / "t", warn=refuse)) == records


words = st.text(max_size=12).filter(lambda text: text.isprintable())
names = st.text("abc.", min_size=1, max_size=8)
numbers = st.floats(0, 1e6).map(lambda value: round(value, 3))
records = st.builds(
    Record,
    time=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
    ),
    source=words,
    frame=words,
    width=st.integers(0, 10**5),
    height=st.integers(0, 10**5),
    plan=words,
    faces=st.integers(0, 100),
    stages=st.dictionaries(names, numbers, max_size=5),
    predicted_mb=numbers,
    measured_mb=numbers,
    detector=words,
    recognizer=words,
    models=st.dictionaries(words, words, max_size=3),
    runtime=words,
    threads=st.integers(0, 64),
    cpu=words,
    version=words,
    error=st.none(),
    message=st.just(""),
    libraries=st.dictionaries(words, words, max_size=3),
    cpu_ms=st.dictionaries(names, numbers, max_size=5),
    run=words,
)


@given(st.lists(records, min_size=1, max_size=4))
def test_any_record_comes_back(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("any") / "t"
    log = TimingLog(path)
    for each in found:
        log.frame(each)
    assert list(read(path, warn=refuse)) == found
    for short, each in zip(glance(path), found, strict=True):
        assert short[1:4] == (each.width, each.height, each.plan)
        assert (short.stages, short.error, short.setup.model) == (each.stages, each.error, each.model)
        assert short.seconds == each.time.timestamp()


def test_both_schemas_in_one_file(tmp_path):
    path = write(tmp_path / "t", old_line(), record(1).to_dict(), old_line(2), failed(3).to_dict())
    first, second, third, last = read(path, warn=refuse)
    assert (second, last) == (record(1), failed(3))
    assert first.time == START
    assert (first.width, first.height, first.faces, first.plan) == (1536, 1536, 2, "1536x1536/2/40/1")
    assert (first.predicted_mb, first.measured_mb) == (158.1, 145.6)
    assert (first.detector, first.recognizer, first.models["sface"]) == ("yunet", "sface", SFACE)
    assert (first.version, first.libraries) == ("0.0.9", {"python": "3.11.7", "onnxruntime": "1.31.0"})
    assert (first.runtime, first.threads, first.cpu, first.frame, first.run, first.cpu_ms) == ("", 0, "", "", "", {})
    assert first.total_ms == pytest.approx(125.6)
    assert third == replace(first, time=START + timedelta(seconds=2))


def test_a_failure_of_the_first_schema(tmp_path):
    line = {key: old_line()[key] for key in ("schema", "time", "source", "peak_rss_mb", "versions")}
    line |= {"error": {"kind": "corrupt", "message": "cut off"}, "timings_ms": {"decode": 1.0}}
    (found,) = read(write(tmp_path / "t", line), warn=refuse)
    assert (found.error, found.message, found.plan, found.models) == ("corrupt", "cut off", "", {})
    assert (found.measured_mb, found.version) == (145.6, "0.0.9")


def test_names_that_the_first_schema_wrote_of_any_bytes(tmp_path):
    line = json.dumps(old_line() | {"source": "front/\udcff.jpg"})
    assert "\\udcff" in line
    (found,) = read(write(tmp_path / "t", line), warn=refuse)
    assert found.source == "front/\\udcff.jpg"
    assert found.models["sface"] == SFACE


def test_fields_that_nobody_knows_are_passed_over(tmp_path):
    line = ONE.to_dict() | {"bench": {"round": 1}, "later": [1]}
    assert list(read(write(tmp_path / "t", line), warn=refuse)) == [ONE]


def test_times_of_other_zones_are_the_same_times(tmp_path):
    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    (found,) = read(write(tmp_path / "t", ONE.to_dict() | {"time": there.isoformat()}))
    assert (found.time, found.time.tzinfo) == (START, UTC)


@pytest.mark.parametrize("cut", [1, 20, 400, -2])
def test_a_last_line_that_is_broken_off_is_passed_over(tmp_path, cut):
    whole = json.dumps(ONE.to_dict())
    path = write(tmp_path / "t", whole + "\n" + whole[:cut], end="")
    assert list(read(path, warn=refuse)) == [ONE]


def test_a_last_line_without_its_end_is_a_line(tmp_path):
    path = write(tmp_path / "t", json.dumps(ONE.to_dict()), end="")
    assert list(read(path, warn=refuse)) == [ONE]


def test_broken_lines_elsewhere_are_counted(tmp_path):
    good = json.dumps(ONE.to_dict())
    bad = ["{", "null", "[]", '{"schema": 2}', good.replace("1536", '"wide"', 1), good.replace('"yunet"', "7", 1)]
    path = write(tmp_path / "t", good, *bad, "", good, bad[0])
    warned = []
    assert list(read(path, warn=warned.append)) == [ONE, ONE]
    assert warned == [f"{path}: 7 lines are no timings and are left out"]


def test_lines_of_a_newer_peephole_are_told_of(tmp_path):
    newer = ONE.to_dict() | {"schema": 3, "plan": {"of": "another form"}}
    warned = []
    assert list(read(write(tmp_path / "t", ONE.to_dict(), newer), warn=warned.append)) == [ONE]
    assert warned == [f"{tmp_path / 't'}: 1 lines of a newer Peephole are left out"]
    with pytest.raises(TimingsError, match="newer Peephole; update"):
        list(read(write(tmp_path / "t", newer)))


@pytest.mark.parametrize("reading", [read, glance])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty: no frame has been logged yet"),
        (b"\n\n \0\0", "is empty"),
        (b"# Notes\n- a list\n", "is no timing log and no history: it begins with b'# Notes"),
        (b'{"image": "a.jpg", "faces": []}\n', "is no timing log"),
        (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 9, "is no timing log"),
        (b"x" * 3_000_000, "is no timing log"),
        (b"[" * 100_000, "is no timing log"),
        (b"SQLite format 3\0" + bytes(200), "is no history of timings, or damaged beyond recognition"),
    ],
    ids=["empty", "blank", "text", "results", "picture", "no line end", "nested", "database"],
)
def test_a_file_that_holds_no_timings(tmp_path, reading, data, words):
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(TimingsError) as error:
        list(reading(tmp_path / "t"))
    assert words in str(error.value)
    assert str(tmp_path / "t") in str(error.value)


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path):
    with pytest.raises(TimingsError, match=r"there are no timings .*they come with --timings"):
        list(read(tmp_path / "nowhere"))
    with pytest.raises(TimingsError, match="Is a directory"):
        list(read(tmp_path))


def test_a_log_of_which_only_files_put_aside_are_left(tmp_path):
    write(tmp_path / "t.1", record(1).to_dict())
    write(tmp_path / "t.2", ONE.to_dict())
    assert list(read(tmp_path / "t")) == [ONE, record(1)]
    assert list(read(tmp_path / "t.2")) == [ONE]


def test_what_many_lines_share_is_one_object(tmp_path):
    path = write(tmp_path / "t", *(record(number).to_dict() for number in range(5)))
    assert len({id(each.models) for each in read(path)}) == 1
    assert len({id(each.setup) for each in glance(path)}) == 1
