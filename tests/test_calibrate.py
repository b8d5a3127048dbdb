"""Fitting a rule to a household: literal galleries on a circle, where a score is the cosine of an angle."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.calibrate import ALIEN, GENUINE, OTHERS, PRIOR, SIZE, Share, calibrate, draw
from peephole.match import SFACE_RULE, People, Rejection, Rule, match

RULE = Rule("cosine", 0.5, margin=0.05, impostors=((0.0, 0.1), (0.5, 1e-5), (0.9, 1e-7)))


def at(*degrees):
    """Vectors on the unit circle, (n, 2)."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1).astype(np.float32)


def cosine(degrees):
    return math.cos(math.radians(degrees))


def family(**angles):
    """People by their photos' angles."""
    names = [name for name, all_ in angles.items() for _ in all_]
    return People(tuple(names), at(*[angle for all_ in angles.values() for angle in all_]))


NOBODY = np.zeros((0, 2), np.float32)
FAMILY = family(Ada=(0, 10, 20), Bob=(100, 110))


def test_without_strangers_the_models_rule_stays():
    found = calibrate(FAMILY, NOBODY, RULE)
    assert found.rule == RULE
    assert found.limit == found.before == RULE.limit(5) == 0.5
    assert found.false_alarm == pytest.approx(RULE.false_alarm(0.5, 5))
    assert found.named == Share(0, 0)


def test_scores_are_those_of_other_photos():
    found = calibrate(FAMILY, NOBODY, RULE)
    assert found.genuine == pytest.approx([cosine(10)] * 5, abs=1e-6)
    assert sorted(found.others) == pytest.approx(
        sorted([cosine(100), cosine(90), cosine(80), cosine(80), cosine(90)]), abs=1e-6
    )
    assert found.strangers.size == 0
    assert found.missed == Share(0, 5)
    assert found.mistaken == Share(0, 5)


def test_the_two_most_alike_set_the_floor_and_are_named():
    people = family(Cid=(0, 5), Ada=(50, 55), Bob=(180, 185))
    found = calibrate(people, NOBODY, RULE)
    assert (found.pair.first, found.pair.second) == ("Ada", "Cid")
    assert found.pair.score == pytest.approx(cosine(45), abs=1e-6)
    assert found.rule.threshold > found.pair.score
    assert found.rule.threshold == pytest.approx(found.pair.score)
    assert "Ada and Cid, 0.707, which sets the threshold" in "\n".join(found.lines())
    # Neither's photo is named as the other's, were their own not there.
    (without,) = match(at(50), People(("Cid", "Cid"), at(0, 5)), found.rule)
    assert without.name == "unknown"


def test_one_person_has_no_pair():
    found = calibrate(family(Ada=(0, 10)), NOBODY, RULE)
    assert found.pair is None
    assert found.others.size == 0
    assert found.missed == Share(0, 2)
    assert "there is one person only" in "\n".join(found.lines())


def test_where_there_is_nothing_to_count_no_shares_are_told():
    lines = calibrate(family(Ada=(0,)), NOBODY, RULE).lines(until_now=0.6)
    assert lines[1] == "until now          0.600, by an earlier calibration"
    assert lines[3:5] == [
        "photos not known   no telling: nobody has two photos",
        "strangers named    no telling: nobody unknown or ignored is kept, and nothing was corrected",
    ]
    assert lines[5].endswith("by the model's curve alone")
    lines = calibrate(FAMILY, at(200), RULE).lines()
    assert [line[:26] for line in lines[2:5]] == [
        "photos not known   0 of 5 ",
        "photos mistaken    0 of 5 ",
        "strangers named    0 of 1 ",
    ]
    assert lines[5].endswith("by 1 stranger and the model's curve")


def test_a_single_photo_has_nothing_to_be_compared_with():
    found = calibrate(family(Ada=(0, 10), Bob=(100,)), NOBODY, RULE)
    assert len(found.genuine) == 2
    assert found.missed.total == 2


def test_a_stranger_like_the_family_raises_the_threshold_above_them():
    people = FAMILY
    found = calibrate(people, at(-50, 230), RULE)
    assert found.strangers == pytest.approx([cosine(50), cosine(120)], abs=1e-6)
    assert cosine(50) < found.limit <= cosine(50) + 0.002
    assert found.named == Share(0, 2)
    (named,) = match(at(-50), people, found.rule)
    assert named.decided == "below-threshold"


def test_many_strangers_who_are_unlike_lower_it():
    found = calibrate(FAMILY, np.repeat(at(240), 2 * PRIOR, 0), RULE)
    assert found.limit < found.before
    allowed = RULE.false_alarm(RULE.threshold, 5)
    # Three times as many strangers are known of as the curve stands for, so it may say three times the rate.
    assert RULE.false_alarm(found.limit, 5) == pytest.approx(3 * allowed, rel=0.03)
    assert found.false_alarm <= allowed
    assert found.rule.limit(5) == found.limit


def test_a_crowded_gallery_is_held_to_the_evidence_and_not_the_curve():
    rule = Rule("cosine", 0.3, impostors=RULE.impostors)
    before = rule.limit(5)
    assert before > 0.3
    found = calibrate(FAMILY, np.repeat(at(240), 2 * PRIOR, 0), rule)
    assert found.limit == pytest.approx(found.rule.limit(5))
    assert found.limit < before
    assert found.rule.limit(5000) > found.limit  # and still rises with the gallery


def test_faces_of_one_stranger_count_once():
    faces = np.concatenate([np.repeat(at(240), 50, 0), at(-70)])
    found = calibrate(FAMILY, faces, RULE, groups=[0] * 50 + [1])
    assert len(found.strangers) == 2
    assert len(calibrate(FAMILY, faces, RULE).strangers) == 51


def test_the_ignored_and_the_corrected_are_strangers():
    people = family(Ada=(0, 10), Bob=(100, 110), Postman=(-50, -55))
    found = calibrate(
        People(
            people.names,
            people.embeddings,
            ignored=frozenset({"Postman", "nobody"}),
            rejected=(
                Rejection("Bob", at(60)[0]),
                Rejection("gone", at(0)[0]),
            ),
        ),
        NOBODY,
        RULE,
    )
    assert sorted(found.strangers) == pytest.approx([cosine(50), cosine(40)], abs=1e-6)
    assert found.pair.first == "Ada"
    assert len(found.genuine) == 4
    assert found.limit > cosine(40)


def test_everybody_ignored_is_nobody_to_calibrate_for():
    people = People(("a",), at(0), ignored=frozenset({"a"}))
    with pytest.raises(ValueError, match="everybody is ignored"):
        calibrate(people, NOBODY, RULE)


def test_photos_that_their_person_would_not_be_known_by_are_counted():
    people = family(Ada=(0, 10, 75), Bob=(180, 100, 190))
    found = calibrate(people, NOBODY, Rule("cosine", 0.5, margin=0.05))
    # Ada's third photo is 65 degrees from her others and 25 from one of Bob's; that one is 80 from his others.
    assert found.missed == Share(2, 6)
    assert found.pair.score == pytest.approx(cosine(25), abs=1e-6)
    assert found.mistaken == Share(0, 6)  # for the floor lies above


def test_without_a_curve_the_threshold_lies_above_the_strangers():
    rule = Rule("euclidean", 0.4)
    people = People(("Ada", "Ada"), np.array([[0, 0], [0.1, 0]], np.float32))
    assert calibrate(people, NOBODY, rule).rule == rule
    found = calibrate(people, np.array([[0, 0.5], [3, 3]], np.float32), rule)
    assert found.limit > 0.5
    assert found.limit == pytest.approx(0.5)
    assert found.false_alarm is None
    assert "an unknown share of strangers named" in found.lines()[-1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 200))
def test_never_below_what_was_seen(seed, photos, strangers):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(photos + strangers, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = People(tuple(rng.choice(["Ada", "Bob", "Cid"], photos)), vectors[:photos])
    found = calibrate(people, vectors[photos:], SFACE_RULE)
    assert found.pair is None or found.limit > found.pair.score
    assert found.named.count == 0
    assert found.rule.similarity == SFACE_RULE.similarity
    assert found.rule.margin == SFACE_RULE.margin
    assert draw(found).size == SIZE


def test_an_interval_of_shares():
    assert Share(0, 0).interval == (0, 1)
    low, high = Share(0, 50).interval
    assert (low, high) == (0, pytest.approx(0.0713, abs=1e-3))
    assert Share(50, 50).interval == (pytest.approx(1 - high), 1)
    assert Share(5, 10).interval == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert str(Share(5, 10)) == "5 of 10 (between 23.7% and 76.3%)"


# The picture


def colours(picture):
    return {colour for _, colour in picture.getcolors(100_000)}


def test_the_picture_shows_both_sides():
    picture = draw(calibrate(FAMILY, at(-80, 230), RULE))
    pixels = np.array(picture)
    rows = [np.flatnonzero((pixels[100:] == colour).all(-1).any(1)) for colour in (GENUINE, ALIEN, OTHERS)]
    assert rows[0].max() < rows[1].min()  # up, and down
    assert rows[0].max() < rows[2].min()
    columns = [np.flatnonzero((pixels[100:] == colour).all(-1).any(0)) for colour in (GENUINE, ALIEN)]
    assert columns[0].min() > columns[1].max()  # right, and left


def test_the_threshold_stands_between_them():
    found = calibrate(FAMILY, at(-80, 230), RULE)
    pixels = np.array(draw(found))
    ink = (pixels[130:180] == (30, 30, 30)).all(-1).all(0)  # a line from top to bottom
    genuine = np.flatnonzero((pixels[100:] == GENUINE).all(-1).any(0))
    alien = np.flatnonzero((pixels[100:] == ALIEN).all(-1).any(0))
    (line,) = {round(float(np.flatnonzero(ink).mean()))}
    assert alien.max() < line < genuine.min()


def test_a_picture_without_strangers_or_other_people():
    alone = draw(calibrate(family(Ada=(0,)), NOBODY, RULE))
    assert alone.size == SIZE
    assert len(colours(alone)) > 3


# The night


def test_the_rule_for_the_night_becomes_stricter_with_the_days_and_never_less_strict():
    rule = Rule("cosine", 0.5, 0.05, impostors=RULE.impostors, night=Rule("cosine", 0.4))
    assert calibrate(FAMILY, NOBODY, rule).rule.night == rule.night
    people = People(("Cid", "Ada"), at(0, 45), twins=at(0, 180))
    alike = calibrate(people, NOBODY, rule).rule
    assert alike.night.threshold == pytest.approx(0.4 + (alike.threshold - 0.5))


def test_two_people_who_are_alike_without_colour_set_the_nights_floor():
    rule = Rule("cosine", 0.5, 0.05, impostors=RULE.impostors, night=Rule("cosine", 0.4))
    people = People(("Ada", "Bob"), at(0, 120), twins=at(0, 30))
    assert calibrate(people, NOBODY, rule).rule.threshold == 0.5
    assert calibrate(people, NOBODY, rule).rule.night.threshold == pytest.approx(cosine(30))
