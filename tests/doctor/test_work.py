"""The budget, a real worker, workers that fail in every way, and plans."""

import sys
from dataclasses import replace

import pytest

from peephole import memory
from peephole.doctor import work
from peephole.doctor.work import FLOOR, USUAL, Work
from peephole.errors import (
    ModelDamaged,
    WorkerCrashed,
    WorkerEnded,
    WorkerHung,
    WorkerKilled,
    WorkerKilledForMemory,
    WorkerNotStarted,
)
from peephole.memory import MEMORY_VARIABLE, Budget
from peephole.planner import plan as planned
from peephole.worker.confine import Confinement
from peephole.worker.host import Options, WorkerHost
from peephole.worker.messages import Ready

MIB = 2**20
ROOMY = Budget(1024 * MIB, "1 GiB available")


def only(findings):
    (finding,) = findings
    return finding


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("requested", "found", "state", "words"),
    [
        (None, ROOMY, "ok", ""),
        ("512MiB", ROOMY, "ok", ""),
        ("2GiB", ROOMY, "warning", "Only 1 GiB are there"),
        ("64MiB", ROOMY, "problem", "The models alone take about 115 MiB"),
        (None, Budget(90 * MIB, "cgroup limit 106 MiB"), "problem", "memory limit to "),
    ],
)
def test_budgets(requested, found, state, words):
    finding = only(work.budget(requested, found))
    assert finding.state == state
    assert (words in finding.advice[0]) if words else not finding.advice


def test_the_budget_of_the_environment(monkeypatch):
    monkeypatch.setenv(MEMORY_VARIABLE, "3GiB")
    assert only(work.budget(None, ROOMY)).state == "warning"
    monkeypatch.setenv(MEMORY_VARIABLE, "much")
    finding = only(work.budget(None, ROOMY))
    assert (finding.state, "PEEPHOLE_MEMORY: 'much' is not a size" in finding.summary) == ("problem", True)


def test_what_a_container_needs_holds_worker_host_and_reserve():
    least = FLOOR + work.COARSEST + memory.current_rss() + memory.RESERVE
    assert 0 <= work._container(FLOOR + work.COARSEST) - least < 20 * MIB


# Plans


@pytest.mark.parametrize("detector", ["yunet", "mmod", "dlib-hog"])
def test_full_detail_where_there_is_room(detector):
    for size in USUAL:
        finding = work.plan(size, detector, 100 * MIB, 1 << 40, important=True)
        assert (finding.state, finding.summary.startswith("in full detail")) == ("ok", True)


def test_a_plan_that_is_coarsened_names_what_full_detail_takes():
    finding = work.plan((12000, 9000), "yunet", 100 * MIB, 200 * MIB, important=True)
    assert finding.state == "note"
    assert finding.facts["peak"] <= 200 * MIB
    enough = finding.facts["full_detail"]
    from peephole.detectors import profile

    def coarsened(budget):
        room = budget - 100 * MIB
        return planned((12000, 9000), profile("yunet"), room=room, reducible=True, encoded=1).coarsened_from is not None

    assert not coarsened(enough)
    assert coarsened(enough - 2 * MIB)


@pytest.mark.parametrize(("important", "state"), [(True, "problem"), (False, "note")])
def test_a_frame_that_does_not_fit_names_the_least_that_would_do(important, state):
    finding = work.plan((1536, 1536), "yunet", 100 * MIB, 101 * MIB, important=important)
    assert finding.state == state
    least = finding.facts["least"]
    assert work.plan((1536, 1536), "yunet", 100 * MIB, least, important=True).state == "note"  # it fits, coarsely
    assert work.plan((1536, 1536), "yunet", 100 * MIB, least - MIB, important=True).state == "problem"


def test_only_what_was_asked_for_is_a_problem():
    tried = Work(Options(), "yunet")
    small = Budget(FLOOR, "little")
    assert [each.state for each in tried.plans(USUAL, small)] == ["problem", "note", "note"]
    assert [each.state for each in tried.plans([(640, 480), (800, 600)], small)] == ["problem", "problem"]


# Workers


def test_a_real_worker_starts_and_finds_the_drawn_face():
    tried = Work(Options(threads=1), "yunet")
    worker, confinement, frame = tried.worker()
    assert (worker.state, frame.state) == ("ok", "ok")
    assert confinement.facts["no_core"] is True
    assert frame.facts["faces"] == 1
    assert worker.facts["floor"] < frame.facts["peak"] < worker.facts["budget"]
    assert [each.facts["peak"] > tried.ready.floor for each in tried.plans(USUAL, ROOMY)] == [True] * 3


def fails(code, **options):
    command = (sys.executable, "-c", code)
    return lambda chosen: WorkerHost(chosen, command=command, sleep=lambda _: None, **options)


@pytest.mark.parametrize(
    ("code", "words", "advice"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL", "lacks instructions"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", "Native code crashed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed from outside", "Somebody killed it"),
        ("import onnxruntimeisgone", "No module named 'onnxruntimeisgone'", "See libraries above"),
        ("import time; time.sleep(60)", "took longer than 0.5 s", "takes too long"),
    ],
)
def test_a_worker_that_does_not_start_is_a_problem_with_advice(code, words, advice):
    finding = only(Work(Options(), "yunet").worker(fails(code, start_deadline=0.5)))
    assert (finding.state, finding.name) == ("problem", "worker")
    assert words in finding.summary
    assert advice in finding.advice[0]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkerKilledForMemory("x"), "Raise the memory limit"),
        (WorkerKilled("x"), "Somebody killed it"),
        (WorkerCrashed("x (SIGILL)"), "lacks instructions"),
        (WorkerHung("x"), "takes too long"),
        (WorkerEnded("x"), "See libraries"),
        (ModelDamaged("x"), "See models"),
    ],
)
def test_advice_goes_by_the_cause(error, words):
    assert words in work.advice_for(error)[0]
    around = WorkerNotStarted("the worker did not start")
    around.__cause__ = error
    assert words in work.advice_for(around)[0]


CONFINED = Confinement(True, True, True, True, "none", 700 * MIB)


@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        ({}, "ok", ""),
        ({"network": "shared: Operation not permitted"}, "note", "could reach the network"),
        ({"no_core": False, "first_to_go": False}, "note", "the kernel may kill something else first; a crash may"),
    ],
)
def test_what_the_worker_could_not_give_up(change, state, words):
    ready = Ready("1", {}, None, 500 * MIB, "found", FLOOR, replace(CONFINED, **change))
    finding = work.confinement(ready)
    assert finding.state == state
    assert words in " ".join(finding.advice)


def test_the_built_in_frame_is_small_for_dlib():
    assert [work.built_in(name)[0].shape for name in ("yunet", "dlib-cnn")] == [(1536, 1536, 3), (480, 480, 3)]
