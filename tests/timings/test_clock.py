import threading
import time

import pytest

from peephole.timings import StageClock
from peephole.timings.record import total


def test_stages_add_up_in_their_order():
    clock = StageClock()
    for name in ("decode", "detect", "decode"):
        with clock.stage(name):
            time.sleep(0.002)
    assert list(clock.milliseconds) == ["decode", "detect"]
    assert clock.milliseconds["decode"] >= 4


def test_a_stage_that_raises_is_timed_too_and_the_next_one_is_none_of_its_parts():
    clock = StageClock()
    with pytest.raises(RuntimeError), clock.stage("decode"), clock.stage("header"):
        raise RuntimeError
    with clock.stage("plan"):
        pass
    assert list(clock.milliseconds) == ["decode", "decode.header", "plan"]


def test_parts_stand_behind_their_stage_and_in_its_time():
    clock = StageClock()
    for _ in range(2):
        with clock.stage("detect"):
            with clock.stage("head"):
                time.sleep(0.002)
            with clock.stage("tail"), clock.stage("inner"):
                time.sleep(0.001)
    took = clock.milliseconds
    assert list(took) == ["detect", "detect.head", "detect.tail", "detect.tail.inner"]
    assert took["detect"] >= took["detect.head"] + took["detect.tail"]
    assert took["detect.tail"] >= took["detect.tail.inner"] >= 2
    assert total(took) == took["detect"]


def test_processor_time_is_that_of_all_threads_and_not_of_sleep():
    clock, done = StageClock(), threading.Event()

    def busy():
        while not done.is_set():
            pass

    with clock.stage("sleep"):
        time.sleep(0.05)
    thread = threading.Thread(target=busy)
    start = time.process_time()
    with clock.stage("busy"):
        thread.start()
        while time.process_time() < start + 0.05:  # the other thread's
            time.sleep(0.001)
        done.set()
        thread.join()
    assert clock.processor["sleep"] < 25
    assert clock.processor["busy"] >= 40
    assert list(clock.rounded_processor()) == ["sleep", "busy"]


def test_waiting_is_in_no_total():
    clock = StageClock()
    clock.waited("queue", 90.0)
    clock.waited("clock put back", -3.0)
    assert clock.rounded() == {"wait.queue": 90_000.0, "wait.clock put back": 0.0}
    assert total(clock.milliseconds) == 0


def test_stages_of_another_process_are_taken_over():
    clock = StageClock()
    clock.update({"decode": 1.23456, "detect.head": 2.0}, {"decode": 2.0})
    assert clock.rounded() == {"decode": 1.235, "detect.head": 2.0}
    assert clock.rounded_processor() == {"decode": 2.0}
