"""Unknown faces kept in a real gallery: which, in which groups, for how long, and which are worth a name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.errors import GalleryModelMismatch
from peephole.frame import decode
from peephole.gallery import Expired, Gallery, retain
from peephole.gallery.retention import DAY, MAX_AGE
from peephole.match import Rejection
from peephole.remember import ENOUGH, choose, remember, worth
from sightings import BLURRED, CLEAR, MODEL, NOBODY, RULE, Circle, analysis, at, family, frame


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gallery(tmp_path, clock):
    with Gallery.open(tmp_path / "gallery.db", clock=clock) as opened:
        yield opened


def seen(gallery, *degrees, seed=0, camera="", time=None, **changes):
    """The groups of the faces that were kept of a frame."""
    kept = remember(gallery, frame(seed), analysis(*degrees, seed=seed, **changes), Circle(), camera=camera, time=time)
    return [each.group for each in kept]


def groups(gallery):
    return {group.id: group.faces for group in gallery.groups()}


def test_a_stranger_comes_back_into_the_same_group(gallery):
    assert seen(gallery, 10, 150, seed=1) == [1, 2]
    assert seen(gallery, 12, seed=2) == [1]
    assert groups(gallery) == {1: 2, 2: 1}


def test_what_is_kept_is_the_face_with_its_landmarks_camera_and_time(gallery):
    (kept,) = remember(gallery, frame(7), analysis(10), Circle(), camera="gate", time=123.0)
    (stored,) = gallery.unknowns()
    assert (stored.id, stored.camera, stored.time, stored.source) == (kept.id, "gate", 123.0, "7.jpg")
    assert stored.quality == CLEAR
    crop = decode(stored.crop).pixels
    left, top, right, bottom = (int(edge) for edge in stored.box)
    assert np.array_equal(crop[top:bottom, left:right], frame(7).pixels[60:130, 10:70])
    assert stored.landmark_kind == "arcface"
    assert stored.landmarks - stored.box[:2] == pytest.approx(
        np.array([(18, 28), (42, 28), (30, 42), (21, 56), (39, 56)])
    )
    vectors = gallery.unknown_vectors(MODEL)
    assert vectors.embeddings == pytest.approx(at(10))


def test_only_the_unknown_and_clear_are_kept(gallery):
    people = family(Ada=(0, 5))
    ignored = replace(family(Ada=(0, 5), Bob=(180,)), ignored=frozenset({"Bob"}))
    assert seen(gallery, 3, people=people) == []
    assert seen(gallery, 180, people=ignored) == []
    assert seen(gallery, 90, people=people, qualities=[BLURRED]) == []
    # A threshold of one's own names or not whatever the quality; what is blurred is not kept for that.
    assert seen(gallery, 90, people=people, qualities=[BLURRED], threshold=0.9) == []
    assert gallery.groups() == []
    corrected = replace(people, rejected=(Rejection("Ada", at(20)[0]),))
    assert seen(gallery, 20, 90, people=corrected) == [1, 2]


def test_the_same_frame_again_adds_nothing(gallery):
    assert seen(gallery, 10, 150) == [1, 2]
    assert seen(gallery, 10, 150) == []
    assert groups(gallery) == {1: 1, 2: 1}


def test_who_looks_like_an_ignored_group_is_not_kept(gallery):
    seen(gallery, 10)
    gallery.ignore_group(1)
    assert seen(gallery, 15, seed=1) == []
    assert seen(gallery, 15, seed=1, people=gallery.known(MODEL)) == []
    gallery.ignore_group(1, False)
    assert seen(gallery, 15, seed=1) == [1]


def test_groups_that_turn_out_alike_become_one_in_the_gallery(gallery):
    assert seen(gallery, 0, seed=1) == [1]
    assert seen(gallery, 66, seed=2) == [2]
    kept = remember(gallery, frame(3), analysis(33, seed=3), Circle())
    assert [each.group for each in kept] == [1]
    assert groups(gallery) == {1: 3}


def test_a_group_that_is_gone_meanwhile_is_begun_anew(gallery, monkeypatch):
    seen(gallery, 10)
    read = gallery.unknown_vectors

    def named_meanwhile(model):
        vectors = read(model)
        if gallery.people() == []:
            with Gallery.open(gallery.path) as other:
                other.name_group(1, "Ada")
        return vectors

    monkeypatch.setattr(gallery, "unknown_vectors", named_meanwhile)
    assert seen(gallery, 14, seed=1) == [2]


def test_another_model_is_refused(gallery):
    seen(gallery, 10)
    with pytest.raises(GalleryModelMismatch, match="reembed"):
        remember(gallery, frame(), analysis(20), Circle(model_id="cd" * 32))
    assert groups(gallery) == {1: 1}


def test_nobody_there_touches_nothing(gallery):
    assert seen(gallery) == []
    assert gallery.version() == 0


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 359), min_size=1, max_size=12, unique=True))
def test_groups_in_the_gallery_are_those_of_the_faces(tmp_path_factory, degrees):
    from peephole.unknowns import Groups

    expected = Groups.of("cosine")
    owner = {}
    with Gallery.open(tmp_path_factory.mktemp("groups") / "g.db") as gallery:
        for seed, angle in enumerate(degrees):
            (kept,) = remember(gallery, frame(seed), analysis(angle, seed=seed), Circle())
            (vector,) = at(angle)
            number = expected.nearest(vector)
            number = kept.group if number is None else number  # a new group's number is the gallery's
            owner[kept.id] = number
            expected, merges = expected.add(vector, number).merges(number)
            for merge in merges:
                owner = {face: merge.into if group == merge.absorbed else group for face, group in owner.items()}
            assert kept.group == owner[kept.id]
        assert {each.id: each.group for each in gallery.unknowns()} == owner


# For how long


def test_a_face_is_kept_for_no_longer_than_the_age(gallery, clock):
    seen(gallery, 10, seed=1)
    clock.now += 5 * DAY
    seen(gallery, 150, seed=2)
    clock.now += MAX_AGE - 5 * DAY
    assert groups(gallery) == {1: 1, 2: 1}
    clock.now += 1
    assert seen(gallery, 151, seed=3) == [2]
    assert groups(gallery) == {2: 2}


def test_what_was_seen_too_long_ago_is_not_kept_and_that_is_said(gallery, clock, caplog):
    assert seen(gallery, 10, time=clock.now - MAX_AGE - 1) == []
    assert "0.jpg is 30 days old" in caplog.text
    assert seen(gallery, 10, time=clock.now - MAX_AGE + DAY) == [1]


def test_age_is_a_day_s_work_at_a_time(gallery, clock):
    for hour in range(0, 48, 6):
        clock.now = 1_000_000.0 + hour * 3600
        seen(gallery, 7 * hour, seed=hour)
    clock.now = 1_000_000.0 + MAX_AGE + 1
    assert retain(gallery) == Expired(5, 0)  # of 0, 6, 12, 18 and 24 hours: a day older than the first
    clock.now += 3600
    assert retain(gallery) == Expired(0, 0)


def test_of_many_the_latest_stay_and_the_ignored(gallery, clock):
    for index in range(21):
        clock.now += 1
        seen(gallery, 17 * index, seed=index)
    first = next(each.group for each in gallery.unknowns() if each.source == "0.jpg")
    gallery.ignore_group(first)
    offered, _ = gallery.unknown_count()
    assert retain(gallery, max_unknowns=offered) == Expired(0, 0)
    assert retain(gallery, max_unknowns=10) == Expired(offered - 9, 0)
    assert len(gallery.unknowns(first)) == 21 - offered
    assert [each.source for each in gallery.unknowns()][-1] == "20.jpg"


def test_ignored_faces_have_no_age(gallery, clock):
    seen(gallery, 10)
    gallery.ignore_group(1)
    clock.now += 2 * MAX_AGE
    assert retain(gallery) == Expired(0, 0)
    assert gallery.unknown_count() == (0, None)
    assert len(gallery.unknowns(1)) == 1


# Which are worth a name


def test_the_best_are_chosen_and_near_duplicates_left_out():
    qualities = [replace(CLEAR, sharpness=0.1), CLEAR, replace(CLEAR, size=60.0), BLURRED]
    chosen = choose(at(0, 10, 45, 20), qualities, "cosine", 0.4)
    assert chosen.photos == (1, 2)
    reasons = dict(chosen.left_out)
    assert set(reasons) == {0, 3}
    assert "nearly the same" in reasons[0]
    assert "blurred" in reasons[3]


def test_a_face_unlike_the_others_is_no_photo_of_theirs():
    chosen = choose(at(0, 30, 60, 170), [CLEAR] * 4, "cosine", 0.4)
    assert chosen.photos == (0, 1, 2)
    assert "unlike the others" in dict(chosen.left_out)[3]
    # Of two nobody can tell which one is wrong.
    assert choose(at(0, 170), [CLEAR] * 2, "cosine", 0.4).photos == (0, 1)


def test_no_more_than_enough():
    chosen = choose(np.eye(ENOUGH + 3, dtype=np.float32), [CLEAR] * (ENOUGH + 3), "cosine", -1.0)
    assert chosen.photos == tuple(range(ENOUGH))
    assert {why for _, why in chosen.left_out} == {"10 better ones are enough"}


def test_one_face_is_chosen_and_one_nobody_looked_at_last():
    assert choose(at(0), [CLEAR], "cosine", 0.4).photos == (0,)
    assert choose(at(0, 40), [None, CLEAR], "cosine", 0.4).photos == (1, 0)
    assert choose(NOBODY.embeddings, [], "cosine", 0.4).photos == ()


def test_worth_is_size_sharpness_and_front():
    assert worth(replace(CLEAR, size=500.0, sharpness=0.9, yaw=0.0)) == 1.0
    for worse in (replace(CLEAR, size=40.0), replace(CLEAR, sharpness=0.1), replace(CLEAR, yaw=-50.0)):
        assert 0.0 < worth(worse) < worth(CLEAR)
    assert worth(None) == 0.0
    assert RULE.threshold == 0.5  # what the angles above are made for
