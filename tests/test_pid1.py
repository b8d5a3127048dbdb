"""As process 1 of a container: SIGTERM ends every command, and nothing that has ended stays."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def container(tmp_path, cache):
    """Starts a command of Peephole's as process 1 of a namespace; its standard error is a file."""
    if sys.platform != "linux" or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("needs Linux with user namespaces")
    started = []

    def start(*words):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PEEPHOLE_IN_PROCESS": ""}
        command = [*ALONE, sys.executable, "-m", "peephole", *map(str, words)]
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=said, stderr=said)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def inside(process):
    """The command lines of the processes of its namespace, by what they are called from outside; process 1 first."""
    found, waiting = {}, [process.pid]
    while waiting:
        pid = waiting.pop(0)
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        waiting += map(int, children)
    found.pop(process.pid, None)
    return found


def zombies(process):
    states = {}
    for pid in inside(process):
        try:
            states[pid] = re.search(r"^State:\s+(\S)", Path(f"/proc/{pid}/status").read_text(), re.M)[1]
        except FileNotFoundError:
            continue
    return [pid for pid, state in states.items() if state == "Z"]


def until(what, seconds=40.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("command", [("label", "--people"), ("enroll", "Grace"), ("detect",)])
def test_sigterm_ends_every_command(container, tmp_path, grace_file, command):
    """One that would wait for ever: for a picture in a pipe into which nobody writes."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "people" / "Grace").mkdir(parents=True)
    shutil.copy(grace_file, tmp_path / "people" / "Grace")
    process = container(*command, *(["people"] if "--people" in command else []), "pipe")
    until(lambda: any(b"peephole.worker.child" in each for each in inside(process).values()))
    os.kill(next(iter(inside(process))), signal.SIGTERM)
    assert process.wait(40) == 128 + signal.SIGTERM


def test_a_commands_status_is_its_own(container, tmp_path):
    assert container("detect", "none.jpg").wait(40) == 1
    assert container("detect", "--no-such-option").wait(40) == 2
    assert container("--version").wait(40) == 0


def test_what_a_visits_command_leaves_behind_is_buried(container, tmp_path, grace_file):
    folder, told = tmp_path / "in", tmp_path / "told"
    folder.mkdir()
    # Two that outlive it, one of them in a session of its own.
    hook = tmp_path / "hook.sh"
    hook.write_text(f"(sleep 0.1; echo >> {told}) & setsid sh -c 'sleep 0.1; echo >> {told}' & exit 0\n")
    shutil.copy(grace_file, folder / "grace.jpg")
    process = container("watch", folder, "--queue", "q.db", "--existing", "take", "--on-visit", f"sh {hook}")
    until(lambda: told.exists() and told.read_text() == "\n\n")
    until(lambda: b"sleep" not in b"".join(inside(process).values()) and not zombies(process), seconds=5.0)
    os.kill(next(iter(inside(process))), signal.SIGTERM)
    assert process.wait(40) == 0
