import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.match import People, Rejection, Rule, match
from peephole.quality import Quality
from peephole.visits import GAP, HOLD, REMEMBERED, SHARE, SHARE_AT_NIGHT, Picture, Sighting, Visits, decide, weight

RULE = Rule("cosine", 0.5, 0.1)
ADA, BOB, EVE, MAX = np.eye(4, 8, dtype=np.float32)
FAMILY = People(("Ada", "Bob"), np.stack([ADA, BOB]))
LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


def towards(person, cosine, other=7):
    """A unit vector at that cosine to a person's, the rest of it along another axis."""
    rest = np.eye(8, dtype=np.float32)[other]
    return np.float32(cosine) * person + np.float32(math.sqrt(1 - cosine**2)) * rest


def seen(time, embedding, *, frame=None, camera="door", box=LEFT, weight=1.0):
    return Sighting(camera, time, frame or f"{time}", box, embedding, weight)


def run(tracker, sightings, now=0.0):
    return [(event.kind, event.visit.names) for event in tracker.update(sightings, now)]


def test_a_visit_opens_updates_and_closes():
    tracker = Visits(FAMILY, RULE)
    assert run(tracker, [seen(100, ADA)], now=5) == [("opened", ("Ada",))]
    assert run(tracker, [seen(101, towards(ADA, 0.9))], now=6) == []  # nothing new
    assert run(tracker, [seen(102, BOB), seen(102, ADA, box=RIGHT)], now=7) == [("updated", ("Ada", "Bob"))]
    assert tracker.tick(7 + GAP) == ()
    (event,) = tracker.tick(7.1 + GAP)
    assert (event.kind, event.visit.names, event.visit.frames) == ("closed", ("Ada", "Bob"), 3)
    assert (event.visit.first, event.visit.last) == (100, 102)
    assert [track.faces for track in event.visit.tracks] == [3, 1]
    assert tracker.open == ()


def test_a_frame_after_the_gap_closes_one_visit_and_opens_another():
    tracker = Visits(FAMILY, RULE, gap=10)
    tracker.update([seen(0, ADA)], 0)
    assert run(tracker, [seen(10, ADA)]) == []
    assert run(tracker, [seen(20.5, BOB)]) == [("closed", ("Ada",)), ("opened", ("Bob",))]


def test_a_track_of_grey_faces_is_decided_by_the_twins_and_the_rule_for_the_night():
    night = People(("Ada", "Bob"), np.stack([ADA, BOB]), twins=np.stack([BOB, ADA]))
    rule = Rule("cosine", 0.5, 0.1, night=Rule("cosine", 0.9, 0.1))
    for grey, names in (((0, 0), ("Ada",)), ((1, 1), ("unknown",)), ((1, 0), ("Ada",))):
        tracker = Visits(night, rule)
        for time, each in enumerate(grey):
            tracker.update([replace(seen(time, towards(ADA, 0.8)), grey=bool(each))], time)
        (event,) = tracker.close()
        assert event.visit.names == names
        assert event.visit.tracks[0].match.nearest == ("Bob" if all(grey) else "Ada")


def test_grainy_frames_that_disagree_count_for_more_at_night_than_by_day():
    scores = {}
    for grey in (False, True):
        tracker = Visits(FAMILY, RULE)
        for time in range(4):  # each frame's error is its own
            tracker.update([replace(seen(time, towards(ADA, 0.8, other=4 + time)), grey=grey)], time)
        (event,) = tracker.close()
        scores[grey] = event.visit.tracks[0].match.score
    length = math.sqrt(0.8**2 + (1 - 0.8**2) / 4)
    assert scores[False] == pytest.approx(0.8 / length * length**SHARE)
    assert scores[True] == pytest.approx(0.8 / length * length**SHARE_AT_NIGHT)


def test_cameras_have_visits_of_their_own():
    tracker = Visits(FAMILY, RULE)
    events = tracker.update([seen(0, ADA), seen(0, ADA, camera="garden"), seen(1, ADA)], 0)
    assert [(event.kind, event.visit.camera) for event in events] == [("opened", "door"), ("opened", "garden")]
    assert [visit.frames for visit in tracker.open] == [2, 1]
    assert len({visit.id for visit in tracker.open}) == 2


def test_a_single_frame_is_decided_as_match_decides_it():
    rng = np.random.default_rng(0)
    for similarity, threshold in (("cosine", 0.3), ("euclidean", 0.0)):
        rule = Rule(similarity, threshold, 0.05, impostors=((0.0, 0.5), (0.5, 1e-3)))
        people = People(tuple("AABBCD"), rng.normal(size=(6, 8)).astype(np.float32) / 3, ignored=frozenset("D"))
        for vector in rng.normal(size=(200, 8)).astype(np.float32) / 3:
            tracker = Visits(people, rule)
            tracker.update([seen(0, vector)], 0)
            (found,), (track,) = match(vector[None], people, rule), tracker.open[0].tracks
            assert (track.match.name, track.match.decided) == (found.name, found.decided)
            assert track.match.score == pytest.approx(found.score, abs=1e-6)
            assert track.match.margin == pytest.approx(found.margin, abs=1e-6)
            assert track.match.false_alarm == pytest.approx(found.false_alarm, rel=1e-4)


def fused(frames, weights, similarity):
    """Slow reference: the score of the frames together with a photo."""
    w = [weight / sum(weights) for weight in weights]
    mean = sum(a * f for a, f in zip(w, frames, strict=True))
    if similarity == "cosine":
        average = [sum(a * float(f @ p) for a, f in zip(w, frames, strict=True)) for p in (ADA, BOB)]
        length = math.sqrt(
            sum(a * b * float(f @ g) for a, f in zip(w, frames, strict=True) for b, g in zip(w, frames, strict=True))
        )
        return [value / length * length**SHARE for value in average]
    spread = sum(a * float(((f - mean) ** 2).sum()) for a, f in zip(w, frames, strict=True))
    return [1 - math.sqrt(float(((mean - p) ** 2).sum()) + SHARE * spread) for p in (ADA, BOB)]


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_frames_together_decide_by_their_weights(similarity):
    rng = np.random.default_rng(1)
    for _ in range(50):
        frames = [ADA + rng.normal(scale=0.1, size=8) for _ in range(4)]
        frames = [(f / np.linalg.norm(f)).astype(np.float32) for f in frames]
        weights = rng.uniform(0.1, 2, 4).tolist()
        rule = Rule(similarity, -1.0)
        tracker = Visits(FAMILY, rule)
        tracker.update([seen(i, f, weight=w) for i, (f, w) in enumerate(zip(frames, weights, strict=True))], 0)
        (track,) = tracker.open[0].tracks
        ada, bob = fused([f.astype(float) for f in frames], weights, similarity)
        assert track.match.score == pytest.approx(max(ada, bob), abs=1e-6)
        assert track.match.margin == pytest.approx(abs(ada - bob), abs=1e-6)


def test_threshold_margin_ignored_and_corrections_hold_for_the_frames_together():
    def name(people, rule, *vectors):
        tracker = Visits(people, rule)
        tracker.update([seen(i, v) for i, v in enumerate(vectors)], 0)
        return decide(tracker.open[0].tracks[0], people, rule).decided

    weak, strong = towards(ADA, 0.45), towards(ADA, 0.9)
    assert name(FAMILY, RULE, weak, strong) == "named"
    assert name(FAMILY, RULE, weak, weak, weak) == "below-threshold"
    both = (ADA + BOB) / np.float32(math.sqrt(2))
    assert name(FAMILY, RULE, both, both) == "small-margin"
    assert name(People(("Ada",), ADA[None], ignored=frozenset(["Ada"])), RULE, strong) == "ignored"
    assert name(People(("Ada",), ADA[None], rejected=(Rejection("Ada", strong),)), RULE, strong) == "corrected"
    assert name(People((), np.zeros((0, 8), np.float32)), RULE, strong) == "nobody-known"


def test_frames_that_disagree_count_for_less_than_their_mean():
    # two frames, each at 0.45 to Ada and else unlike: their mean points to her at 0.58
    frames = [towards(ADA, 0.45, 6), towards(ADA, 0.45, 7)]
    (alone,) = match(np.mean(frames, 0)[None], FAMILY, RULE)
    assert alone.name == "Ada"
    tracker = Visits(FAMILY, Rule("cosine", 0.55))
    tracker.update([Sighting("door", i, f"{i}", LEFT, f) for i, f in enumerate(frames)], 0)
    (track,) = tracker.open[0].tracks
    assert track.faces == 2
    assert 0.45 < track.match.score < 0.52
    assert track.name == "unknown"


def test_a_name_given_is_held_until_the_evidence_has_clearly_gone():
    tracker = Visits(FAMILY, RULE)
    assert run(tracker, [seen(0, towards(ADA, 0.52))]) == [("opened", ("Ada",))]
    given, plain = [0.52], set()
    for i in range(1, 8):  # so that the mean goes up and down around the threshold
        given.append((i + 1) * (0.485 if i % 2 else 0.515) - sum(given))
        assert run(tracker, [seen(i, towards(ADA, given[-1]))]) == []
        plain.add(decide(tracker.open[0].tracks[0], FAMILY, RULE).name)
    assert plain == {"Ada", "unknown"}  # what the plain rule would have said
    changes = [event for i in range(60) for event in run(tracker, [seen(21 + i / 10, towards(ADA, 0.31))])]
    assert changes == [("updated", ("unknown",))]
    assert tracker.open[0].tracks[0].match.score < RULE.threshold - HOLD


def test_a_first_mistake_is_mended():
    tracker = Visits(FAMILY, RULE)
    mixed = (np.float32(0.8) * ADA + np.float32(0.6) * BOB).astype(np.float32)
    assert run(tracker, [seen(0, mixed)]) == [("opened", ("Ada",))]
    changes = [event for i in range(1, 6) for event in run(tracker, [seen(i, BOB)])]
    assert changes[-1] == ("updated", ("Bob",))
    assert len(changes) <= 2  # at most unknown in between


def test_a_visit_that_closes_is_decided_by_the_plain_rule():
    tracker = Visits(FAMILY, RULE)
    tracker.update([seen(0, towards(ADA, 0.51))], 0)
    assert run(tracker, [seen(1, towards(ADA, 0.47))]) == []  # held
    assert [event.visit.names for event in tracker.close()] == [("unknown",)]


def test_clear_and_sharp_frames_count_most():
    best = Quality(size=100, sharpness=0.3, yaw=0, pitch=0, roll=0, brightness=0.5, contrast=0.2, colour=0.2)
    assert weight(best) == 1
    assert weight(replace(best, sharpness=0.1)) == pytest.approx(0.5)
    assert weight(replace(best, yaw=80)) == 0
    assert weight(replace(best, size=5)) == 0


def test_two_people_on_a_frame_keep_their_tracks_when_they_change_places():
    tracker = Visits(People((), np.zeros((0, 8), np.float32)), RULE)
    tracker.update([seen(0, EVE, box=LEFT), seen(0, MAX, box=RIGHT)], 0)
    tracker.update([seen(1, towards(EVE, 0.8), box=RIGHT), seen(1, towards(MAX, 0.8), box=LEFT)], 0)
    eve, max_ = tracker.open[0].tracks
    assert (eve.faces, eve.latest) == (2, RIGHT)
    assert (max_.faces, max_.latest) == (2, LEFT)
    assert tracker.open[0].names == ("unknown", "unknown")


def test_two_faces_of_one_frame_are_never_one_person():
    tracker = Visits(FAMILY, RULE)
    tracker.update([seen(0, EVE), seen(1, EVE, box=LEFT), seen(1, towards(EVE, 0.95), box=RIGHT)], 0)
    assert [track.faces for track in tracker.open[0].tracks] == [2, 1]


def test_the_place_helps_where_the_likeness_is_weak():
    weak = towards(EVE, 0.2)
    for box, time, tracks in ((LEFT, 1, 1), (RIGHT, 1, 2), (LEFT, 20, 2)):
        tracker = Visits(FAMILY, RULE)
        tracker.update([seen(0, EVE), seen(time, weak, box=box)], 0)
        assert len(tracker.open[0].tracks) == tracks


def test_a_frame_that_names_somebody_continues_their_track():
    turned = towards(ADA, 0.25)
    (named,) = match(ADA[None], FAMILY, RULE)
    for by_frame, tracks in ((named, 1), (None, 2)):
        tracker = Visits(FAMILY, RULE)
        tracker.update([seen(0, ADA), Sighting("door", 9, "9", RIGHT, turned, 1.0, by_frame)], 0)
        assert len(tracker.open[0].tracks) == tracks


def test_an_unclear_face_has_no_say_and_becomes_whoever_comes_into_view():
    tracker = Visits(FAMILY, RULE)
    assert run(tracker, [seen(0, BOB, weight=0)]) == [("opened", ("unclear",))]
    assert run(tracker, [seen(1, ADA)]) == [("updated", ("Ada",))]
    assert run(tracker, [seen(2, BOB, weight=0, box=LEFT)]) == []  # in Ada's place: she, turned away
    (track,) = tracker.open[0].tracks
    assert (track.name, track.faces, track.weight) == ("Ada", 3, 1.0)
    assert track.best.frame == "1"


def test_nobody_hears_of_who_is_ignored():
    people = People(("Ada", "Bob"), np.stack([ADA, BOB]), ignored=frozenset(["Bob"]))
    tracker = Visits(people, RULE)
    assert run(tracker, [seen(0, BOB)]) == []
    assert tracker.tick(1000) == ()
    assert run(tracker, [seen(2000, BOB)]) == []
    assert run(tracker, [seen(2001, ADA)]) == [("opened", ("Ada",))]
    (event,) = tracker.close()
    told = event.to_dict()
    assert told["names"] == ["Ada"]
    assert [each["name"] for each in told["people"]] == ["Ada"]


def test_late_frames_find_their_visit_and_old_ones_make_their_own():
    tracker = Visits(FAMILY, RULE, gap=10)
    tracker.update([seen(100, ADA), seen(105, ADA)], 0)
    assert run(tracker, [seen(95, ADA), seen(102, ADA)]) == []
    assert (tracker.open[0].first, tracker.open[0].last, tracker.open[0].frames) == (95, 105, 4)
    assert run(tracker, [seen(10, BOB)]) == [("opened", ("Bob",))]
    assert run(tracker, [seen(108, ADA)]) == [("closed", ("Bob",))]  # and Ada's goes on
    assert tracker.open[0].frames == 5


def test_a_frame_that_comes_twice_counts_once():
    tracker = Visits(FAMILY, RULE)
    tracker.update([seen(0, ADA), seen(0, ADA)], 0)
    tracker.update([seen(0, ADA)], 0)
    tracker.update([seen(5, ADA, frame="0")], 0)
    assert tracker.open[0].frames == 1
    assert [track.faces for track in tracker.open[0].tracks] == [1]


def test_when_the_cameras_clock_jumps_back_nothing_is_lost():
    tracker = Visits(FAMILY, RULE, gap=10)
    tracker.update([seen(1000, ADA)], 50)
    assert run(tracker, [seen(0, ADA), seen(1, ADA)], now=51) == [("opened", ("Ada",))]
    closed = tracker.tick(60.5)
    assert [event.visit.first for event in closed] == [1000]
    assert [event.visit.frames for event in tracker.tick(61.5)] == [2]


def test_when_the_callers_clock_jumps_back_the_silence_counts_from_there():
    tracker = Visits(FAMILY, RULE, gap=10)
    tracker.update([seen(0, ADA)], 1_000_000)
    assert tracker.tick(500) == ()
    assert tracker.tick(510) == ()
    assert len(tracker.tick(510.5)) == 1


def test_a_skewed_camera_clock_is_no_silence():
    tracker = Visits(FAMILY, RULE, gap=10)
    tracker.update([seen(9e9, ADA)], 100)
    assert tracker.tick(105) == ()
    tracker.update([seen(9e9 + 5, ADA)], 105)
    assert tracker.open[0].frames == 2


def test_a_visit_that_never_ends_stays_small():
    tracker = Visits(FAMILY, RULE)
    tracker.update([seen(float(i), ADA) for i in range(400)], 0)
    (visit,) = tracker.open
    assert (visit.frames, len(visit.tracks), len(visit.recent)) == (400, 1, REMEMBERED)


def test_the_gallery_may_change_during_a_visit():
    tracker = Visits(People((), np.zeros((0, 8), np.float32)), RULE)
    assert run(tracker, [seen(0, ADA)]) == [("opened", ("unknown",))]
    tracker.people = FAMILY
    assert run(tracker, [seen(1, ADA)]) == [("updated", ("Ada",))]


@pytest.mark.parametrize(
    "field", [{"time": math.nan}, {"weight": -1.0}, {"weight": math.inf}, {"embedding": ADA * np.nan}]
)
def test_a_sighting_holds_numbers(field):
    values = {"camera": "door", "time": 0.0, "frame": "f", "box": LEFT, "embedding": ADA, "weight": 1.0} | field
    with pytest.raises(ValueError, match="finite"):
        Sighting(**values)


def test_an_event_is_json():
    tracker = Visits(FAMILY, RULE)
    (event,) = tracker.update([seen(3.5, ADA)], 0)
    told = json.loads(json.dumps(event.to_dict()))
    assert (told["event"], told["visit"], told["names"]) == ("opened", "door/3.5", ["Ada"])
    (ada,) = told["people"]
    assert (ada["name"], ada["faces"], ada["best"]) == ("Ada", 1, {"frame": "3.5", "time": 3.5, "box": list(LEFT)})


def test_an_event_says_where_it_can_be_looked_at():
    """On the frame that shows most, of each person and of all."""
    tracker = Visits(FAMILY, RULE)
    pictures = [Picture(f"{number}.jpg", f"stamp {number}", f"{number}.png") for number in range(3)]
    tracker.update([replace(seen(0, ADA, weight=0.5), picture=pictures[0])], 0)
    tracker.update([replace(seen(1, ADA, weight=0.8), picture=pictures[1]), seen(1, BOB, box=RIGHT, weight=0.6)], 1)
    tracker.update([replace(seen(2, ADA, weight=0.7), picture=pictures[2])], 2)
    (event,) = tracker.close()
    told = json.loads(json.dumps(event.to_dict()))
    ada, bob = told["people"]
    place = {"frame": "1", "time": 1, "box": list(LEFT)}
    assert ada["best"] == place | {"image": "1.jpg", "stamp": "stamp 1", "crop": "1.png"}
    assert bob["best"].keys() == {"frame", "time", "box"}
    assert told["best"] == ada["best"]


@st.composite
def one_frame(draw, number):
    camera, time = draw(st.sampled_from(["door", "garden"])), draw(st.floats(0, 100))
    faces = []
    for i in range(draw(st.integers(1, 3))):
        vector = np.random.default_rng(draw(st.integers(0, 30))).normal(size=8) + 2 * np.eye(8)[draw(st.integers(0, 3))]
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        box = (20.0 * i, 0.0, 20.0 * i + 15, 10.0)
        faces.append(Sighting(camera, time, f"{number}", box, vector, draw(st.sampled_from([0.0, 0.5, 1.0]))))
    return faces


@st.composite
def streams(draw):
    """Frames in any order, some of them twice, and where the stream is cut."""
    pool = [draw(one_frame(number)) for number in range(draw(st.integers(1, 10)))]
    frames = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=15))
    return frames, [draw(st.booleans()) for _ in frames]


@settings(max_examples=40, deadline=None)
@given(streams())
def test_how_the_stream_is_cut_into_calls_changes_nothing(stream):
    frames, cuts = stream
    told = []
    for cut in (False, True):
        tracker, events, batch = Visits(FAMILY, Rule("cosine", 0.5, 0.1), gap=10), [], []
        for frame, here in zip(frames, cuts, strict=True):
            batch += frame
            if cut and here:
                events += tracker.update(batch, 7.0)
                batch = []
        events += tracker.update(batch, 7.0) + tracker.tick(7.0) + tracker.close()
        told.append([event.to_dict() for event in events])
    assert told[0] == told[1]


@settings(max_examples=40, deadline=None)
@given(streams())
def test_every_visit_opens_once_and_closes_once(stream):
    frames, _ = stream
    tracker = Visits(FAMILY, Rule("cosine", 0.5, 0.1), gap=10)
    events = [event for frame in frames for event in tracker.update(frame, 0)] + list(tracker.close())
    state = {}
    for event in events:
        known = state.get(id_ := (event.visit.id, event.visit.camera))
        assert (event.kind == "opened") == (known in (None, "closed"))
        state[id_] = event.kind
        assert event.visit.first <= event.visit.last
        assert event.visit.names
    assert set(state.values()) <= {"closed"}
    for event in events:
        if event.kind == "closed":
            faces = [track.faces for track in event.visit.tracks]
            assert max(faces) <= event.visit.frames
