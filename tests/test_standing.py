from dataclasses import replace

import numpy as np
import pytest

from peephole.match import People, Rule
from peephole.quality import Quality
from peephole.standing import Shot, standing

RULE = Rule("cosine", 0.5, 0.1)
ADA, BOB, EVE = np.eye(3, 8, dtype=np.float32)
NOBODY = People((), np.zeros((0, 8), np.float32))
CLEAR = Quality(size=100, sharpness=0.3, yaw=0, pitch=0, roll=0, brightness=0.5, contrast=0.2, colour=0.2)


def towards(person, cosine, other):
    rest = np.eye(8, dtype=np.float32)[other]
    return (cosine * person + np.sqrt(1 - cosine**2) * rest).astype(np.float32)


def shots(*qualities, cosine=0.8):
    """A photo for each, all at that cosine to Ada and at its square to one another."""
    return [Shot(f"{i}.jpg", towards(ADA, cosine, 3 + i), quality) for i, quality in enumerate(qualities)]


def turned(yaw, **more):
    return replace(CLEAR, yaw=yaw, **more)


def test_counts_variety_angles_and_light():
    found = standing("Ada", shots(turned(-30), turned(0), turned(10), turned(40, colour=0.0)), NOBODY, RULE)
    assert (found.photos, found.left, found.front, found.right) == (4, 1, 2, 1)
    assert (found.colour, found.grey) == (3, 1)
    assert found.alike == pytest.approx(0.64)
    assert found.nearest is None
    assert all(check.right for check in found.checks)
    assert found.advice == "none"


def test_near_duplicates_are_named():
    one, other = shots(CLEAR, CLEAR)
    again = Shot("again.jpg", one.embedding, CLEAR)
    found = standing("Ada", [one, other, again], NOBODY, RULE)
    assert [(pair.one, pair.other) for pair in found.duplicates] == [("0.jpg", "again.jpg")]
    assert found.duplicates[0].score == pytest.approx(1)


def test_each_photo_is_matched_without_itself():
    stranger = Shot("stranger.jpg", EVE, CLEAR)
    found = standing("Ada", [*shots(CLEAR, CLEAR), stranger], People(("Bob",), BOB[None]), RULE)
    assert [(check.photo, check.right) for check in found.checks] == [
        ("0.jpg", True),
        ("1.jpg", True),
        ("stranger.jpg", False),
    ]
    assert "  stranger.jpg: unknown, nearest" in "\n".join(found.lines())


def test_no_photo_like_an_outlier_is_asked_for():
    stranger = Shot("stranger.jpg", EVE, turned(-30, colour=0.0))
    found = standing("Ada", [stranger, *shots(CLEAR, turned(30), turned(20))], NOBODY, RULE)
    assert found.outliers == (("stranger.jpg", pytest.approx(0)),)
    assert "stranger.jpg: unlike Ada's other photos: score 0.00 at best" in found.lines()
    assert (found.left, found.front, found.right, found.grey) == (0, 1, 2, 0)
    assert found.alike == pytest.approx(0.64)
    assert found.advice == "one turned to the left of the picture"


def test_another_one_like_a_photo_that_the_others_hardly_know():
    rule = replace(RULE, impostors=((0.0, 1.0), (0.2, 0.01), (0.3, 0.001)))
    odd = Shot("odd.jpg", towards(ADA, 0.5, 7), CLEAR)
    found = standing("Ada", [*shots(CLEAR, CLEAR), odd], NOBODY, rule)
    assert (found.outliers, found.advice) == ((), "another one like odd.jpg")


def test_two_photos_that_are_unlike():
    found = standing("Ada", [Shot("one.jpg", ADA, CLEAR), Shot("other.jpg", EVE, CLEAR)], NOBODY, RULE)
    assert [photo for photo, _ in found.outliers] == ["one.jpg", "other.jpg"]
    assert "nothing tells which are Ada's" in found.lines()[1]
    assert (found.advice, found.because) == ("one that is Ada beyond doubt", "the photos are unlike each other")


def test_the_same_person_under_another_name():
    others = People(("Bob", "Eve"), np.stack([towards(ADA, 0.9, 7), EVE]))
    found = standing("Ada", shots(CLEAR, CLEAR), others, RULE)
    assert found.same == (("Bob", pytest.approx(0.72)),)
    assert "the same person as Bob, to all appearance: score 0.72" in found.lines()
    assert found.advice == "one name in place of Ada and Bob"


def test_a_photo_of_somebody_else_is_found():
    swapped = Shot("swapped.jpg", towards(BOB, 0.95, 7), CLEAR)
    found = standing("Ada", [*shots(CLEAR, CLEAR), swapped], People(("Bob",), BOB[None]), RULE)
    assert found.checks[2].match.name == "Bob"
    assert found.nearest == ("Bob", "swapped.jpg", pytest.approx(0.95))
    assert (found.advice, found.because) == ("a better one in place of swapped.jpg", "that is taken for somebody else")


def test_who_is_ignored_counts_among_the_others():
    others = People(("Bob",), BOB[None], ignored=frozenset(["Bob"]))
    swapped = Shot("swapped.jpg", towards(BOB, 0.95, 7), CLEAR)
    found = standing("Ada", [*shots(CLEAR, CLEAR), swapped], others, RULE)
    assert found.checks[2].match.name == "ignored"


@pytest.mark.parametrize(
    ("qualities", "advice"),
    [
        ([CLEAR], "a second one, from another day"),
        ([turned(30)], "one from the front"),
        ([replace(CLEAR, size=10)], "a larger and sharper one"),
        ([CLEAR, turned(30)], "one turned to the left of the picture"),
        ([CLEAR, turned(-30)], "one turned to the right of the picture"),
        ([CLEAR, turned(-30), turned(30)], "one by night, as the camera sees it in infrared"),
        ([turned(yaw, colour=0.0) for yaw in (-30, 0, 30)], "one by day"),
        ([CLEAR, turned(-30), turned(30, colour=0.0), replace(CLEAR, size=10)], "a clearer one"),
        ([None, None], "any other one, up to 3"),
        ([None, None, None], "none"),
    ],
)
def test_the_photo_that_would_help_most(qualities, advice):
    found = standing("Ada", shots(*qualities), NOBODY, RULE)
    assert found.advice == advice
    assert found.because in found.lines()[-1]


def test_photos_of_one_occasion():
    found = standing("Ada", shots(None, None, None, cosine=0.92), NOBODY, RULE)
    assert found.advice == "one from another day"
    assert not found.duplicates


def test_the_report_in_words():
    found = standing("Ada", shots(CLEAR, replace(CLEAR, size=10)), People(("Bob",), BOB[None]), RULE)
    assert found.lines() == [
        "Ada: 2 photos",
        "variety: two photos score 0.64 on average",
        "angles: 0 left, 2 front, 0 right",
        "light: 2 in colour, 0 grey or infrared",
        f"weak: 1.jpg: {found.weak[0][1]}",
        "known by the other photos: 2 of 2",
        "nearest other person: Bob, 0.00 with 0.jpg",
        "would help most: one turned to the left of the picture, because no photo shows that side",
    ]


def test_one_photo_or_none():
    (line, *_) = standing("Ada", shots(None), NOBODY, RULE).lines()
    assert line == "Ada: 1 photo"
    for photos, others in (([], NOBODY), (shots(None), People(("Ada",), ADA[None]))):
        with pytest.raises(ValueError, match="at least one photo"):
            standing("Ada", photos, others, RULE)
