"""The words for every decision, from analyses whose vectors lie on a circle."""

import math
from dataclasses import replace

import numpy as np
import pytest

from peephole.detectors import profile as detector_profile
from peephole.faces import Face, Match
from peephole.match import Rejection, Rule
from peephole.pipeline import Memory
from peephole.planner import plan, suited
from peephole.why import decision, explain, looked, odds, shown
from sightings import BLURRED, CLEAR, NOBODY, RULE, analysis, at, family

FAMILY = family(Ada=(0, 10), Bob=(60,))


def cosine(degrees):
    return math.cos(math.radians(degrees))


def why(*degrees, people=FAMILY, rule=RULE, **changes):
    """Why each face got its name, in a line each."""
    explained = explain(analysis(*degrees, people=people, rule=rule, **changes), people, rule)
    return [verdict.decided for verdict in explained.verdicts]


def test_a_name_and_what_it_leads_by():
    assert why(-10) == [f"Ada: {cosine(10):.3f} ≥ 0.500 and leads Bob by {cosine(10) - cosine(70):.3f}"]


def test_the_only_one_known():
    assert why(10, people=family(Ada=(0,))) == [f"Ada: {cosine(10):.3f} ≥ 0.500, and nobody else is known"]


def test_a_stranger_and_who_is_most_like_them():
    assert why(150) == ["unknown: 0.000 < 0.500; Bob is the most alike"]


def test_two_who_are_both_alike():
    (line,) = why(36)
    assert line.startswith(f"unknown: {cosine(24):.3f} ≥ 0.500 with Bob, but that leads Ada by ")
    assert line.endswith("alone, and 0.10 is needed")


def test_who_is_ignored():
    (line,) = why(62, people=replace(FAMILY, ignored=frozenset({"Bob"})))
    assert line == f"ignored: {cosine(2):.3f} ≥ 0.500 with Bob, who is to be ignored"


def test_a_correction():
    people = replace(FAMILY, rejected=(Rejection("Ada", at(-20)[0]),))
    (line,) = why(-19, people=people)
    assert (
        line == f"unknown: {cosine(19):.3f} ≥ 0.500, but as much like a face of which somebody said that it is not Ada"
    )


def test_what_is_unclear():
    turned = replace(CLEAR, yaw=-75.0)
    small = replace(CLEAR, size=19.0)
    assert why(0, 0, 0, qualities=[small, BLURRED, turned]) == [
        "unclear: too small: 19 px, at least 24 are needed",
        "unclear: too blurred: sharpness 0.02, at least 0.045 is needed",
        "unclear: turned too far: 75 degrees, at most 60 can be told",
    ]


def test_nobody_is_enrolled():
    assert why(0, people=NOBODY) == ["unknown: nobody is enrolled; peephole enroll NAME FILE"]
    assert decision(Face(0, 0, 9, 9, 0.5), 0.5, RULE) == "nobody asked who it is"


@pytest.mark.parametrize("angle", range(0, 180, 7))
def test_the_words_say_what_the_decision_was(angle):
    """Whatever is decided, the line begins with the name, and its numbers do not contradict it."""
    analysed = analysis(angle, people=FAMILY)
    (face,) = analysed
    (line,) = why(angle)
    assert line.startswith(f"{face.name}: ")
    assert ("<" in line) == (face.match.decided == "below-threshold")
    assert ("leads" in line and "alone" not in line) == (face.match.decided == "named")


def test_the_limit_is_that_of_so_many_photos():
    crowd = family(Ada=range(20), Bob=range(100, 140))
    explained = explain(analysis(-30, people=crowd), crowd, RULE)
    assert explained.limit == RULE.limit(60) > 0.5
    assert (explained.people, explained.photos) == (2, 60)
    assert f"{RULE.limit(60):.3f}" in explained.verdicts[0].decided


def test_a_threshold_of_ones_own():
    seen = analysis(40, 65, people=FAMILY, threshold=0.95)
    explained = explain(seen, FAMILY, RULE.fixed(0.95))
    assert [verdict.decided for verdict in explained.verdicts] == [
        "unknown: 0.940 < 0.950; Bob is the most alike",
        f"Bob: 0.996 ≥ 0.950 and leads Ada by {cosine(5) - cosine(55):.3f}",
    ]
    assert explained.lines()[3].endswith("a name needs a score of 0.950")
    assert [verdict.odds for verdict in explained.verdicts] == [None, None]


def test_the_whole_page():
    seen = analysis(-10, 150, people=FAMILY, qualities=[replace(CLEAR, yaw=-30.0), CLEAR])
    assert explain(seen, FAMILY, RULE).lines() == [
        "0.jpg: 320x240",
        "  looked   as 320x240 by mmod: faces from 80 px",
        "  memory   120 of 256 MB",
        "  known    2 people by 3 photos; a name needs a score of 0.500 and a lead of 0.10",
        "face 1: at 10,60 to 70,130, confidence 0.90",
        "  shows    100 px, sharpness 0.35, 30 degrees to the left; brightness 0.50, contrast 0.20, in colour",
        "  like     Ada 0.985, then Bob 0.342",
        "  odds     about 1 stranger in 880,000 reaches this score",
        "  decided  Ada: 0.985 ≥ 0.500 and leads Bob by 0.643",
        "face 2: at 80,60 to 140,130, confidence 0.80",
        "  shows    100 px, sharpness 0.35, straight on; brightness 0.50, contrast 0.20, in colour",
        "  like     Bob 0.000, then Ada -0.766",
        "  odds     about 1 stranger in 4 reaches this score",
        "  decided  unknown: 0.000 < 0.500; Bob is the most alike",
    ]


def test_nobody_there_says_what_was_looked_for():
    lines = explain(analysis(people=FAMILY), FAMILY, RULE).lines()
    assert lines[-1] == (
        "nobody there: no face of 80 px or more; a fainter one shows with a lower --min-confidence, "
        "a smaller one with --upsample"
    )


def test_a_plan_that_had_to_be_coarsened_says_so():
    wanted, coarser = analysis(min_face=40.0), analysis(min_face=40.0, room=9.2e6)
    assert coarser.plan.coarsened_from
    assert "not from" not in looked(wanted)[0]
    assert f"not from {wanted.plan.smallest_face:.0f} px as asked for" in looked(coarser)[0]
    over = replace(wanted, memory=Memory(100_000_000, 90_000_000, 120_000_000))
    assert looked(over)[1] == "memory   120 of 100 MB: MORE THAN THE BUDGET"


def test_levels_for_what_grain_hides_are_told():
    profile = detector_profile("yunet")
    planned = plan((1536, 1536), profile)
    clean, grainy = (replace(analysis(), plan=suited(planned, profile, grain)) for grain in (0.0, 0.04))
    assert not any("grain" in line for line in looked(clean))
    assert looked(grainy)[1] == "grain    0.040 of full scale: looked at as 768x768 too"


def test_what_a_face_shows():
    plain = replace(CLEAR, yaw=0.0, colour=0.0)
    assert shown(plain).endswith("straight on; brightness 0.50, contrast 0.20, grey or infrared")
    turned = replace(CLEAR, yaw=20.0, pitch=-15.0, roll=-12.0)
    assert "20 degrees to the right, 15 degrees down, 12 degrees leaning left" in shown(turned)


@pytest.mark.parametrize(
    ("alarm", "words"),
    [
        (None, None),
        (1.0, "most strangers reach this score"),
        (0.3, "about 1 stranger in 3 reaches this score"),
        (1 / 1234, "about 1 stranger in 1,200 reaches this score"),
        (1e-9, "fewer than 1 stranger in 1,000,000 reaches this score"),
    ],
)
def test_odds(alarm, words):
    assert odds(Match("Ada", 0.6, false_alarm=alarm)) == words
    assert odds(None) is None


def test_json_has_the_reasons():
    explained = explain(analysis(-10, people=FAMILY), FAMILY, RULE).to_dict()
    (face,) = explained["faces"]
    assert face["name"] == "Ada"
    assert face["why"].startswith("Ada: 0.985")
    assert explained["rule"] == {"similarity": "cosine", "threshold": 0.5, "margin": 0.1}
    assert explained["known"] == {"people": 2, "photos": 3}


def test_a_source_stays_on_its_line():
    named = replace(analysis(people=FAMILY), source="a\nb.jpg")
    assert explain(named, FAMILY, RULE).lines()[0] == "a\\nb.jpg: 320x240"


def test_scores_are_those_of_the_match():
    people = family(Ada=(0,), Bob=(90,))
    (verdict,) = explain(analysis(20, people=people), people, RULE).verdicts
    assert f"Ada {cosine(20):.3f}, then Bob {cosine(70):.3f}" in "\n".join(verdict.lines())
    assert np.isclose(verdict.face.match.margin, cosine(20) - cosine(70), atol=1e-6)


def test_a_face_without_colour_is_held_against_the_nights_rule():
    rule = replace(RULE, night=Rule("cosine", 0.4, 0.1))
    grey = replace(CLEAR, colour=0.0)
    ada = replace(family(Ada=(0,)), twins=at(0))
    assert why(60, people=ada, rule=rule, qualities=[grey]) == [
        f"Ada: {cosine(60):.3f} ≥ 0.400, and nobody else is known"
    ]
    assert why(62, people=ada, rule=rule) == [f"unknown: {cosine(62):.3f} < 0.500; Ada is the most alike"]
