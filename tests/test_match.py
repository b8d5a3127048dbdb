"""The decision: literal rules, and the fast search against comparing everything with everything."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.errors import PeopleError
from peephole.match import RESNET_RULE, SFACE_RULE, People, Rejection, Rule, compare, match

FAMILY = People(("Ada", "Ada", "Bob"), np.array([[0, 0], [1, 0], [5, 0]], np.float32))
PLAIN = Rule("euclidean", 0.4)
CURVE = ((0.0, 0.1), (0.2, 0.01), (0.4, 0.0001))


def faces(*points):
    return np.array(points, np.float32).reshape(-1, 2)


def decide(point, people=FAMILY, rule=PLAIN, **options):
    (found,) = match(faces(point), people, rule, **options)
    return found


def test_the_nearest_photo_decides():
    m = decide([1.2, 0])
    assert (m.name, m.nearest, m.runner_up, m.decided) == ("Ada", "Ada", "Bob", "named")
    assert m.distance == pytest.approx(0.2)
    assert m.score == pytest.approx(0.8)
    assert m.margin == pytest.approx(3.8 - 0.2)  # to Bob, not to Ada's other photo


def test_beyond_the_threshold_is_unknown_and_still_says_who_was_nearest():
    m = decide([3.5, 0])
    assert (m.name, m.nearest, m.distance, m.decided) == ("unknown", "Bob", 1.5, "below-threshold")


def test_the_threshold_itself_is_still_the_same_person():
    assert decide([5, 0.5], rule=Rule("euclidean", 0.5)).name == "Bob"


def test_one_person_has_no_margin():
    m = decide([0, 0], People(("Ada",), np.zeros((1, 2), np.float32)), Rule("euclidean", 0.4, margin=9.0))
    assert (m.name, m.margin, m.runner_up) == ("Ada", None, None)


def test_no_faces_and_no_people():
    assert match(faces(), FAMILY, PLAIN) == ()
    nobody = People((), np.zeros((0, 2), np.float32))
    m = decide([0, 0], nobody, Rule("euclidean", 0.4, impostors=CURVE))
    assert (m.name, m.nearest, m.decided) == ("unknown", None, "nobody-known")
    m = decide([0, 0], nobody, clear=np.array([False]))
    assert (m.name, m.decided) == ("unclear", "unclear")


@pytest.mark.parametrize("name", ["unknown", "unclear", "ignored"])
def test_nobody_has_a_reserved_name(name):
    with pytest.raises(PeopleError, match=f"'{name}' is what .* is called: give the person another name"):
        People((name,), np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("shape", [(2, 2), (1,), (0, 2)])
def test_names_and_embeddings_go_together(shape):
    with pytest.raises(ValueError, match="names"):
        People(("Ada",), np.zeros(shape, np.float32))


def test_vectors_of_another_recognizer_are_refused():
    with pytest.raises(PeopleError, match=r"have 2 numbers and the faces' 3: .* embed the people's photos again"):
        match(np.zeros((1, 3), np.float32), FAMILY, PLAIN)


def test_a_small_lead_is_no_name():
    people = People(("Ada", "Bob"), faces([0, 0], [0.5, 0]))
    rule = Rule("euclidean", 0.4, margin=0.25)
    assert (decide([0.125, 0], people, rule).name, decide([0.125, 0], people, rule).margin) == ("Ada", 0.25)
    m = decide([0.25, 0.0], people, rule)
    assert (m.name, m.nearest, m.runner_up, m.margin, m.decided) == ("unknown", "Ada", "Bob", 0.0, "small-margin")
    assert decide([0.25, 0.0], people, Rule("euclidean", 0.4)).name == "Ada"


def test_a_cosine_knows_no_length():
    people = People(("Ada", "Bob", "Nil"), faces([2, 0], [0, 0.1], [0, 0]))
    m = decide([0.3, 0.4], people, Rule("cosine", 0.7))
    assert (m.name, m.runner_up) == ("Bob", "Ada")
    assert (m.score, m.distance, m.margin) == pytest.approx((0.8, 0.2, 0.2))
    assert decide([0, 0], people, Rule("cosine", 0.5)).score == 0


def test_an_unclear_face_gets_no_name_but_keeps_its_scores():
    m, other = match(faces([1, 0], [5, 0]), FAMILY, PLAIN, clear=np.array([False, True]))
    assert (m.name, m.nearest, m.score, m.decided) == ("unclear", "Ada", 1.0, "unclear")
    assert other.name == "Bob"


# Ignored people and corrections


def test_who_is_ignored_is_never_named():
    people = People(FAMILY.names, FAMILY.embeddings, ignored=frozenset({"Bob"}))
    m = decide([5, 0.1], people)
    assert (m.name, m.nearest, m.decided) == ("ignored", "Bob", "ignored")
    assert (decide([4, 0], people).name, decide([4, 0], people).decided) == ("unknown", "below-threshold")
    assert decide([0, 0.1], people).name == "Ada"


def test_an_ignored_person_keeps_a_face_from_being_taken_for_somebody_else():
    people = People(("Ada", "Bob"), faces([0, 0], [0.5, 0]), ignored=frozenset({"Bob"}))
    rule = Rule("euclidean", 0.4, margin=0.1)
    assert decide([0.27, 0], people, rule).name == "ignored"  # Ada is as near as makes no matter, and yet
    m = decide([0.23, 0], people, rule)
    assert (m.name, m.nearest, m.runner_up, m.decided) == ("unknown", "Ada", "Bob", "small-margin")


def test_a_rejected_face_is_not_given_that_name_again():
    people = People(FAMILY.names, FAMILY.embeddings, rejected=(Rejection("Ada", faces([1.3, 0])[0]),))
    m = decide([1.25, 0], people)
    assert (m.name, m.nearest, m.decided) == ("unknown", "Ada", "corrected")
    assert decide([1.3, 0], people).decided == "corrected"
    assert decide([1.1, 0], people).name == "Ada"  # more like Ada's photo than like what was rejected
    assert decide([0, 0], people).name == "Ada"


def test_a_correction_is_about_one_name():
    people = People(FAMILY.names, FAMILY.embeddings, rejected=(Rejection("Ada", faces([5, 0])[0]),))
    assert decide([5, 0], people).name == "Bob"


# The rule


def test_an_explicit_threshold_is_all_that_decides():
    rule = Rule("euclidean", 0.5, margin=0.2, impostors=CURVE)
    assert rule.fixed(0.6) == Rule("euclidean", 1 - 0.6)
    assert Rule("cosine", 0.5, margin=0.2).fixed(0.3) == Rule("cosine", 0.3)
    # Exactly at the distance, as `distance <= threshold` has it.
    people = People(("Ada",), np.zeros((1, 2), np.float32))
    for distance in (0.6, 0.1, 0.37):
        found = decide([0, distance], people, rule.fixed(float(np.float32(distance))))
        assert found.name == "Ada", distance
    assert decide([0, 0.6], people, rule.fixed(0.59)).name == "unknown"


def test_the_false_alarm_rate_is_read_off_the_curve():
    rule = Rule("cosine", 0.3, impostors=CURVE)
    assert [rule.false_alarm(score, 1) for score in (0.0, 0.1, 0.2, 0.3, 0.4)] == pytest.approx(
        [0.1, 10**-1.5, 0.01, 0.001, 0.0001]
    )
    assert rule.false_alarm(0.6, 1) == pytest.approx(1e-6)  # straight on
    assert rule.false_alarm(-0.5, 1) == pytest.approx(0.1)  # no worse than the worst that was measured
    assert rule.false_alarm(0.4, 10) == pytest.approx(1 - (1 - 0.0001) ** 10)
    assert Rule("cosine", 0.3).false_alarm(0.4, 10) is None
    assert Rule("cosine", 0.3, impostors=((0.0, 1.0), (0.5, 0.1))).false_alarm(-1.0, 3) == 1.0


def test_a_large_gallery_raises_the_threshold():
    rule = Rule("cosine", 0.3, strangers=1e-3, impostors=CURVE)
    assert rule.limit(1) == pytest.approx(0.3)
    assert [rule.limit(10), rule.limit(1000)] == pytest.approx([0.4, 0.6], abs=1e-3)
    assert rule.limit(0) == 0.3
    assert Rule("cosine", 0.3).limit(1000) == 0.3


@given(st.integers(1, 10**6), st.sampled_from([RESNET_RULE, SFACE_RULE, Rule("cosine", -1.0, impostors=CURVE)]))
def test_at_the_limit_no_more_strangers_are_named_than_the_rule_allows(photos, rule):
    limit = rule.limit(photos)
    assert limit >= rule.threshold
    assert rule.false_alarm(limit, photos) <= rule.strangers * (1 + 1e-9)
    if limit > rule.threshold:
        assert rule.false_alarm(limit, photos) == pytest.approx(rule.strangers)


def test_only_those_who_can_be_named_count():
    rule = Rule("euclidean", -9.0, impostors=((-9.0, 0.5), (1.0, 0.05)))
    photos = np.zeros((4, 2), np.float32)
    assert decide([0, 0], People(("Ada", "b", "c", "d"), photos), rule).false_alarm == pytest.approx(1 - 0.95**4)
    ignored = People(("Ada", "b", "c", "d"), photos, ignored=frozenset({"b", "c", "x"}))
    assert decide([0, 0], ignored, rule).false_alarm == pytest.approx(1 - 0.95**2)


def test_false_alarm_needs_a_curve():
    assert decide([0, 0]).false_alarm is None


# Exact, however fast


def slow(vector, people, similarity):
    """Persons and scores, the best first, by comparing everything in float64, one photo at a time."""
    best = {}
    for name, row in zip(people.names, people.embeddings.astype(float), strict=True):
        a, b = vector.astype(float), row
        if similarity == "euclidean":
            score = 1 - math.sqrt(((a - b) ** 2).sum())
        else:
            lengths = math.sqrt((a**2).sum()) * math.sqrt((b**2).sum())
            score = (a * b).sum() / lengths if lengths else 0.0
        best[name] = max(score, best.get(name, -math.inf))
    return sorted(best.items(), key=lambda each: (-each[1], each[0]))


def check(embeddings, people, similarity):
    for vector, m in zip(embeddings, match(embeddings, people, Rule(similarity, -9.0)), strict=True):
        (name, score), *rest = slow(vector, people, similarity)
        assert m.score == pytest.approx(score, abs=1e-12)
        scores = dict([(name, score), *rest])
        assert scores[m.nearest] == pytest.approx(score, abs=1e-12)  # rounding may turn equals around
        if rest:
            assert m.margin == pytest.approx(score - rest[0][1], abs=1e-12)
            assert scores[m.runner_up] == pytest.approx(rest[0][1], abs=1e-12)
            assert m.runner_up != m.nearest


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 8),
    st.sampled_from([1e-6, 1e-3, 0.1, 1.0]),
    st.sampled_from(["euclidean", "cosine"]),
)
def test_the_same_as_comparing_everything(seed, photos, persons, spread, similarity):
    """Also where the photos are so alike that float32 products cannot tell them apart."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=16)
    rows = (centre + spread * rng.normal(size=(photos, 16))).astype(np.float32)
    people = People(tuple(f"p{i}" for i in rng.integers(persons, size=photos)), rows)
    seen = (centre + spread * rng.normal(size=(3, 16))).astype(np.float32)
    check(np.concatenate([seen, rows[:1], -rows[:1]]), people, similarity)


@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
def test_the_same_for_thousands(similarity):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(3000, 64)).astype(np.float32)
    people = People(tuple(f"p{i}" for i in rng.integers(500, size=3000)), rows)
    check(rows[:5] + np.float32(0.3) * rng.normal(size=(5, 64)).astype(np.float32), people, similarity)


def test_equals_are_told_by_name():
    people = People(("Cid", "Bob", "Ada"), faces([1, 0], [1, 0], [1, 0]))
    m = decide([1, 0], people)
    assert (m.nearest, m.runner_up, m.margin, m.score) == ("Ada", "Bob", 0.0, 1.0)


def test_the_same_vector_has_no_distance():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(50, 128)) * 0.12).astype(np.float32)
    people = People(tuple(map(str, range(50))), rows)
    assert [m.distance for m in match(rows, people, PLAIN)] == [0.0] * 50


def test_scores_with_everybody():
    assert FAMILY.persons == ("Ada", "Bob")
    assert FAMILY.scores(faces([0, 0], [4, 0]), "euclidean").tolist() == [[1.0, -4.0], [-2.0, 0.0]]
    assert compare(faces([3, 4]), faces([1, 0], [0, 0]), "cosine").tolist() == [[pytest.approx(0.6), 0.0]]


def test_the_order_of_photos_is_of_no_matter():
    rows = faces([0, 0], [5, 0], [1, 0], [6, 0])
    mixed = People(("Bob", "Ada", "Bob", "Ada"), rows)
    assert mixed.embeddings is rows
    assert decide([0.9, 0], mixed).name == "Bob"
    assert decide([5.9, 0], mixed).name == "Ada"


# -- by night -------------------------------------------------------------------------------------------------------

DAY_AND_NIGHT = People(
    ("Ada", "Bob"),
    np.array([[1, 0], [0, 1]], np.float32),
    twins=np.array([[0, 1], [1, 0]], np.float32),
    rejected=(Rejection("Ada", np.array([9, 9], np.float32), np.array([0, 1], np.float32)),),
)


def test_a_face_without_colour_is_compared_with_the_twins_by_the_rule_for_the_night():
    rule = Rule("cosine", 0.5, night=Rule("cosine", 0.99))
    faces = np.array([[1, 0], [1, 0], [0.9, 0.2]], np.float32)
    grey = np.array([False, True, True])
    assert [each.name for each in match(faces, DAY_AND_NIGHT, rule, grey=grey)] == ["Ada", "Bob", "unknown"]
    assert match(faces[2:], DAY_AND_NIGHT, rule)[0].name == "Ada"
    assert rule.fixed(0.5).at_night() == rule.fixed(0.5)  # a threshold of the user's own holds always


def test_corrections_hold_at_night_by_their_twins():
    (found,) = match(np.array([[0, 1]], np.float32), DAY_AND_NIGHT, Rule("cosine", 0.5), grey=np.array([True]))
    assert (found.nearest, found.decided) == ("Ada", "corrected")


def test_without_twins_night_is_day():
    people = People(("Ada",), np.array([[1, 0]], np.float32))
    assert people.at_night() is people
    assert match(np.array([[1, 0]], np.float32), people, PLAIN, grey=np.array([True]))[0].name == "Ada"


def test_an_unclear_face_is_unclear_at_night_too():
    clear, grey = np.array([True, False]), np.array([False, True])
    faces = np.array([[1, 0], [1, 0]], np.float32)
    found = match(faces, DAY_AND_NIGHT, Rule("cosine", 0.5), clear=clear, grey=grey)
    assert [each.name for each in found] == ["Ada", "unclear"]


def test_twins_are_as_many_as_the_photos():
    with pytest.raises(ValueError, match="twins"):
        People(("Ada",), np.zeros((1, 2), np.float32), twins=np.zeros((2, 2), np.float32))
