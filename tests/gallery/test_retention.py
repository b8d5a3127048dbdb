"""What is kept for how long, by one mechanism for unknown faces and visits; see also tests/test_remember.py."""

import pytest

from peephole.gallery import Expired, VisitRecord, retain
from peephole.gallery.retention import DAY, MAX_AGE

START = 1_000_000.0


@pytest.fixture
def at(gallery, clock):
    """Keep a visit that ends at so many seconds, by the clock too."""

    def keep(seconds, state="closed"):
        clock.now = START + seconds
        gallery.save_visit(VisitRecord(f"door/{seconds}", "door", clock.now - 5, clock.now, state))

    return keep


def kept(gallery):
    return [int(each.last - START) for each in gallery.visits()]


def test_visits_go_a_day_s_work_at_a_time(gallery, clock, at):
    for hour in range(0, 48, 6):
        at(hour * 3600)
    clock.now = START + MAX_AGE
    assert retain(gallery) == Expired(0, 0)
    clock.now += 1
    assert retain(gallery) == Expired(0, 5)  # of 0, 6, 12, 18 and 24 hours: a day older than the first
    assert kept(gallery) == [30 * 3600, 36 * 3600, 42 * 3600]
    clock.now += 3600
    assert retain(gallery) == Expired(0, 0)


def test_of_many_visits_the_latest_stay(gallery, at):
    for second in range(21):
        at(second)
    assert retain(gallery, max_visits=21) == Expired(0, 0)
    assert retain(gallery, max_visits=20) == Expired(0, 2)
    assert kept(gallery) == list(range(2, 21))


def test_faces_and_visits_are_counted_apart(gallery, at, clock, photo, vector):
    for second in range(3):
        at(second)
        gallery.add_unknown(photo(second), {"aa": vector(second)}, time=START + second)
    assert retain(gallery, max_unknowns=3, max_visits=2) == Expired(0, 2)
    assert retain(gallery, max_unknowns=2, max_visits=2) == Expired(2, 0)
    clock.now = START + 2 * MAX_AGE
    assert retain(gallery) == Expired(1, 1)
    assert gallery.visits() == gallery.unknowns() == []
    assert (gallery.visit_count(), gallery.unknown_count()) == ((0, None), (0, None))


def test_a_visit_that_goes_on_stays_and_one_that_nobody_closed_goes(gallery, clock, at):
    at(0, "opened")
    at(10, "updated")
    clock.now = START + DAY
    assert retain(gallery, max_visits=0) == Expired(0, 0)
    clock.now += 5
    assert retain(gallery, max_visits=0) == Expired(0, 1)
    assert kept(gallery) == [10]
    clock.now = START + MAX_AGE + 11
    assert retain(gallery) == Expired(0, 1)
