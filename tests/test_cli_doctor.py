"""`peephole doctor`, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from peephole import cli_doctor, doctor
from peephole.cli import main
from peephole.doctor import Finding

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from limits import NotPermitted, confined


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.fixture
def findings(monkeypatch):
    """Has these found instead; returns what was asked."""
    asked = []

    def give(*found):
        def examine(what):
            asked.append(what)
            yield from found

        monkeypatch.setattr(doctor, "examine", examine)
        return asked

    return give


FINE = Finding("processor", "ok", "N100, 4 of 4 usable", facts={"usable": 4})
NOTE = Finding("load", "note", "9.00", ("Others keep it busy.",))
BAD = Finding("cache", "problem", "/x; full", ("Make room. " * 30,), section="storage")


@pytest.mark.parametrize(
    ("found", "status", "verdict"),
    [
        ([FINE], 0, "nothing is wrong"),
        ([FINE, NOTE], 0, "1 note: what to do stands below each"),
        ([FINE, NOTE, NOTE, BAD], 1, "1 problem, 2 notes: what to do stands below each"),
    ],
)
def test_the_verdict_and_the_exit_status(findings, found, status, verdict):
    findings(*found)
    done = run()
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (status, verdict)


def test_the_page(findings):
    findings(FINE, NOTE, BAD)
    lines = run().stdout.splitlines()
    assert lines[1:7] == [
        "",
        "machine",
        "  ok       processor         N100, 4 of 4 usable",
        "  note     load              9.00",
        "             Others keep it busy.",
        "",
    ]
    assert lines[7] == "storage"
    assert max(map(len, lines)) <= cli_doctor.WIDTH


def test_what_a_name_holds_stays_on_its_line(findings):
    findings(Finding("cache", "ok", "/a\nb\x1b[2J", ()))
    assert "/a\\nb\\x1b[2J" in run().stdout


def test_json_lines(findings):
    findings(FINE, BAD)
    done = run("--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {
        "section": "machine",
        "name": "processor",
        "state": "ok",
        "summary": "N100, 4 of 4 usable",
        "advice": [],
        "facts": {"usable": 4},
    }
    assert second["section"] == "storage"
    assert done.exit_code == 1


def test_what_is_asked(findings):
    asked = findings(FINE)
    done = run("--size", "640x480", "--size", "800X600", "--profile", "classic", "--memory", "200MiB", "--gallery", "g")
    assert done.exit_code == 0, done.output
    (what,) = asked
    assert (what.sizes, what.profile, what.memory, what.gallery) == (((640, 480), (800, 600)), "classic", "200MiB", "g")
    assert what.detector is what.recognizer is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "640"], "--size takes WIDTHxHEIGHT"),
        (["--size", "0x480"], "a frame of 0x480 has no pixels"),
        (["--memory", "much"], "'much' is not a size"),
        (["--detector", "opencv"], "opencv"),
    ],
)
def test_what_cannot_work_is_said_before_anything_else(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not done.stdout


def peephole(*arguments, **environment):
    command = [sys.executable, "-m", "peephole", "doctor", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert "Traceback" not in done.stderr
    return done.returncode, {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
def test_this_machine(tmp_path):
    status, found = peephole("--size", "1536x1536", PEEPHOLE_IN_PROCESS="")
    problems = {name: each for name, each in found.items() if each["state"] == "problem"}
    assert (status, problems) == (0, {})
    assert not [name for name, each in found.items() if each["summary"].startswith("not known")]
    assert found["frame"]["facts"]["faces"] == 1
    assert {"system", "processor", "libraries", "models", "cache", "gallery", "budget", "worker", "1536x1536"} <= set(
        found
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "code", "words"),
    [
        ("onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("numpy", "import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("PIL", "raise ImportError('libjpeg.so: cannot open shared object file')", "libjpeg.so"),
        ("platformdirs", "raise ModuleNotFoundError(\"No module named 'platformdirs'\")", "is not installed"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_named_and_the_command_survives(tmp_path, module, code, words):
    (tmp_path / f"{module}.py").write_text(code)
    status, found = peephole(PYTHONPATH=str(tmp_path))
    package = {"PIL": "pillow"}.get(module, module)
    assert status == 1
    assert (found[package]["state"], words in found[package]["summary"]) == ("problem", True)
    assert found["worker"]["state"] == "problem"
    assert found["processor"]["state"] != "problem"


@pytest.mark.slow
def test_a_container_that_is_too_small_is_told_the_least(tmp_path):
    try:
        done = confined([sys.executable, "-m", "peephole", "doctor", "--json", "--size", "1536x1536"], 64 * 2**20)
    except NotPermitted as reason:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            raise
        pytest.skip(f"no memory cgroup can be made here: {reason}")
    assert done.status == 1, done.errors
    found = {each["name"]: each for each in map(json.loads, done.output.splitlines())}
    assert found["memory limit"]["facts"]["limit"] == 64 * 2**20
    for name in ("budget", "worker", "1536x1536"):
        assert found[name]["state"] == "problem"
        assert "limit" in found[name]["advice"][0]
    assert found["worker"]["facts"]["kind"] == "worker-not-started"
    assert "killed the worker for memory" in found["worker"]["summary"]
