import logging

from timed import ONE, record

from peephole.errors import TimingsError
from peephole.timings import Observers


class Fake:
    """Takes frames, unless it is to fail."""

    name = "fake"

    def __init__(self):
        self.got, self.flushed, self.closed, self.failing = [], 0, 0, False

    def frame(self, record):
        if self.failing:
            raise TimingsError("the fake is full")
        self.got.append(record)

    def flush(self):
        self.flushed += 1
        if self.failing:
            raise TimingsError("the fake is full")

    def close(self):
        self.closed += 1
        if self.failing:
            raise TimingsError("the fake is full")


def test_all_are_told():
    one, other = Fake(), Fake()
    with Observers(one, other) as observers:
        observers.frame(ONE)
        observers.flush()
    assert one.got == other.got == [ONE]
    assert (one.flushed, one.closed, other.flushed, other.closed) == (1, 1, 1, 1)
    assert not observers.failed
    assert observers
    assert not Observers()


def test_one_that_fails_holds_up_nobody_and_is_said_once():
    bad, good, said = Fake(), Fake(), []
    observers = Observers(bad, good, warn=said.append)
    bad.failing = True
    for number in range(3):
        observers.frame(record(number))
    observers.flush()
    assert len(good.got) == 3
    assert good.flushed == 1
    assert said == ["the fake is full; looking goes on without it"]
    assert observers.failed
    bad.failing = False
    observers.frame(record(3))
    observers.frame(record(4))
    assert bad.got == [record(3), record(4)]
    assert said[1:] == ["the fake is written again"]
    bad.failing = True
    observers.close()
    assert good.closed == 1
    assert said[2:] == ["the fake is full; looking goes on without it"]


def test_without_anybody_to_tell_it_is_logged(caplog):
    bad = Fake()
    bad.failing = True
    with caplog.at_level(logging.WARNING):
        Observers(bad).frame(ONE)
    assert caplog.messages == ["the fake is full; looking goes on without it"]
