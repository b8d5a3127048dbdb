import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peephole.errors import (
    WorkerCrashed,
    WorkerEnded,
    WorkerHung,
    WorkerKilled,
    WorkerKilledForMemory,
    WorkerProtocolError,
)
from peephole.memory import oom_kills_in
from peephole.worker import process as module
from peephole.worker.messages import Drawn
from peephole.worker.process import Ending, KernelLog, Process

TRACE = """free(): invalid pointer
Fatal Python error: Aborted

Thread 0x1 (most recent call first):
  File "/lib/threading.py", line 1 in wait

Current thread 0x2 (most recent call first):
  File "/lib/peephole/models/session.py", line 170 in run_all
  File "/lib/peephole/models/session.py", line 150 in run
"""


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        (
            Ending(-9, "memory.events: oom_kill 1 to 2", 210_000_000),
            WorkerKilledForMemory,
            "the kernel killed the worker for memory while looking (SIGKILL; memory.events: oom_kill 1 to 2, "
            "it had 210 MB)",
        ),
        (Ending(-9), WorkerKilled, "the worker was killed from outside while looking (SIGKILL)"),
        (Ending(-15, "oom_kill 0 to 1"), WorkerKilled, "the worker was killed from outside while looking (SIGTERM)"),
        (Ending(-40), WorkerKilled, "the worker was killed from outside while looking (signal 40)"),
        (Ending(-11), WorkerCrashed, "the worker crashed in native code while looking (SIGSEGV)"),
        (
            Ending(-6, words=TRACE),
            WorkerCrashed,
            "the worker crashed in native code while looking (SIGABRT: free(): invalid pointer, "
            "in session.py, line 170, run_all)",
        ),
        (
            Ending(1, words="Traceback\n  File\nZeroDivisionError: division by zero\n"),
            WorkerEnded,
            "the worker ended with status 1 while looking: ZeroDivisionError: division by zero",
        ),
        (Ending(0), WorkerEnded, "the worker ended with status 0 while looking"),
        (Ending(None), WorkerEnded, "the worker ended for reasons unknown while looking"),
        (
            Ending(-6, words=TRACE, hung=2.5),
            WorkerHung,
            "looking took longer than 2.5 s (it was in session.py, line 170, run_all); the worker was killed",
        ),
    ],
)
def test_every_ending_has_a_name(ending, kind, words):
    error = ending.error("looking")
    assert type(error) is kind
    assert str(error) == words
    assert getattr(error, "peak", None) == (ending.peak if kind is WorkerKilledForMemory else None)


def started(code):
    """A process that is no worker: its code gets the descriptor as ``fd``."""
    return Process([sys.executable, "-c", f"import os, sys, time; fd = int(sys.argv[1]); {code}"])


def test_garbage_on_the_pipe_is_one_clear_error_and_ends_the_process():
    process = started("os.write(fd, b'x' * 100); time.sleep(600)")
    with pytest.raises(WorkerProtocolError, match="no message"):
        process.receive(30, "looking")
    assert not process.alive


def test_an_end_within_a_message_is_told_by_how_the_process_ended():
    process = started("os.write(fd, b'PEEP' + bytes([1, 5, 0, 0])); os._exit(7)")
    with pytest.raises(WorkerEnded, match="with status 7"):
        process.receive(30, "looking")


def test_a_process_that_ends_without_a_word():
    process = started("print('last words', file=sys.stderr); sys.exit(4)")
    with pytest.raises(WorkerEnded, match="with status 4 while looking: last words"):
        process.receive(30, "looking")


def test_a_process_that_closes_the_pipe_and_stays_is_killed():
    process = started("os.close(fd); time.sleep(600)")
    with pytest.raises(WorkerKilled):
        process.receive(30, "looking")
    assert not process.alive


def test_a_process_that_hangs_is_killed_even_if_it_will_not_be_interrupted():
    process = started("import signal; signal.signal(signal.SIGABRT, signal.SIG_IGN); time.sleep(600)")
    before = time.monotonic()
    with pytest.raises(WorkerHung, match=r"took longer than 0\.3 s"):
        process.receive(0.3, "looking")
    assert time.monotonic() - before < 30
    assert process.end().status == -signal.SIGKILL


def test_asking_a_process_that_has_ended():
    process = started("sys.exit(5)")
    while process.alive:
        time.sleep(0.01)
    with pytest.raises(WorkerEnded, match="with status 5"):
        process.send(Drawn(None), None, "looking")


EVENTS = "low 0\nhigh 0\nmax {0}\noom {0}\noom_kill {1}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        (EVENTS.format(9, 4), WorkerKilledForMemory, r"memory\.events: oom_kill 3 to 4"),
        (EVENTS.format(9, 3), WorkerKilled, "from outside"),  # its limit was reached, and nobody was killed for it
        ("", WorkerKilled, "from outside"),
    ],
)
def test_a_count_of_version_2_that_went_up_meanwhile_says_what_it_was(tmp_path, monkeypatch, after, kind, words):
    events = tmp_path / "memory.events"
    events.write_text(EVENTS.format(0, 3))
    monkeypatch.setattr(module, "oom_kills", lambda pid: (events, 3))
    monkeypatch.setattr(KernelLog, "killed", lambda self, pid: None)
    process = started(
        f"os.read(fd, 1); import pathlib; pathlib.Path({str(events)!r}).write_text({after!r}); os.kill(os.getpid(), 9)"
    )
    process.send(Drawn(None), None, "starting")
    with pytest.raises(kind, match=words):
        process.receive(60, "starting")


def test_the_count_is_read_anew_before_each_request(tmp_path, monkeypatch):
    events = tmp_path / "memory.events"
    found = []

    def find(pid):
        found.append(pid)
        return events, oom_kills_in(events)

    monkeypatch.setattr(module, "oom_kills", find)
    monkeypatch.setattr(KernelLog, "killed", lambda self, pid: None)
    events.write_text(EVENTS.format(0, 3))
    process = started("time.sleep(600)")
    process.send(Drawn(None), None, "starting")
    events.write_text(EVENTS.format(0, 4))  # somebody else in the group
    process.send(Drawn(None), None, "starting")
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerKilled, match="from outside"):
        process.receive(60, "looking")
    assert found == [process.pid]  # it takes ten times as long as counting, and the process has not been moved


def test_a_status_that_somebody_else_has_taken():
    process = started("sys.exit(5)")
    os.waitpid(process.pid, 0)
    with pytest.raises(WorkerEnded, match="for reasons unknown"):
        process.receive(30, "looking")


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_nothing_stays_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        started("sys.exit(0)").end()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_program_that_cannot_be_started():
    with pytest.raises(FileNotFoundError):
        Process(["/no/such/program"])


def test_the_kernel_log_says_nothing_of_this_process():
    log = KernelLog()
    assert log.killed(os.getpid()) is None
    log.close()
    assert log.killed(os.getpid()) is None


def test_modules_in_the_working_directory_are_not_loaded(tmp_path):
    """A folder into which strangers upload pictures may be the working directory."""
    (tmp_path / "socket.py").write_text("raise SystemExit('loaded from the working directory')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('loaded from the working directory')")
    program = (
        "from peephole.worker.host import WorkerHost, Options\n"
        "with WorkerHost(Options(detector='dlib-hog', embed=False)) as host: print(host.ready().recognizer)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")
