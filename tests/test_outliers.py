"""Photos unlike the others and one person under two names, by literal vectors and a slow reference."""

from itertools import combinations, permutations

import numpy as np
import pytest

from peephole.match import RESNET_RULE, SFACE_RULE, People, Rule, compare
from peephole.outliers import limit, outliers, same_person

CURVE = ((0.0, 1.0), (0.2, 0.01), (0.3, 0.001))
RULE = Rule("cosine", threshold=0.5, margin=0.1, impostors=CURVE)


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane: the score of two of them is the cosine of the angle between."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1).astype(np.float32)


def apart(vectors, rule=RULE, **more) -> list[bool]:
    return outliers(vectors, rule, **more)[0].tolist()


def slowly(vectors, rule) -> list[bool]:
    """The same from the definition: parts grown photo by photo, the larger part wins, equals lose."""
    n = len(vectors)
    scores = compare(vectors, vectors, rule.similarity)
    parts = [{index} for index in range(n)]
    for one, other in combinations(range(n), 2):
        if scores[one, other] >= limit(rule, n - 1):
            joined = next(part for part in parts if one in part) | next(part for part in parts if other in part)
            parts = [part for part in parts if not part & joined] + [joined]
    most = max(map(len, parts))
    largest = [part for part in parts if len(part) == most]
    return [len(largest) > 1 or index not in largest[0] for index in range(n)]


# The limit


def test_limit_is_the_score_that_one_stranger_in_a_hundred_reaches():
    assert limit(RULE, 1) == pytest.approx(0.2)
    for others in (1, 2, 3, 10):
        assert RULE.false_alarm(limit(RULE, others), others) == pytest.approx(0.01)


def test_limit_is_never_above_what_gives_the_name():
    assert limit(Rule("cosine", 0.1, impostors=CURVE), 5) == 0.1
    assert limit(Rule("cosine", 0.5), 5) == 0.5  # nothing is known of how alike strangers are


@pytest.mark.parametrize("rule", [SFACE_RULE, RESNET_RULE])
def test_limit_of_the_models_leaves_room_below_the_threshold(rule):
    assert rule.impostors[1][0] < limit(rule, 1) < limit(rule, 10) < rule.threshold


# Outliers


def test_one_wrong_photo_is_found_wherever_it_stands():
    for order in permutations([0, 20, 40, 150]):
        assert apart(at(*order)) == [degrees == 150 for degrees in order]


def test_score_is_the_best_with_a_photo_that_it_is_unlike():
    _, scores = outliers(at(0, 20, 150), RULE)
    assert scores == pytest.approx(np.cos(np.radians([150, 130, 130])), abs=1e-6)


def test_side_view_is_known_by_one_in_between():
    assert compare(at(0), at(100), "cosine") < 0
    assert apart(at(0, 10, 50, 100)) == [False] * 4
    assert apart(at(0, 10, 100)) == [False, False, True]


@pytest.mark.parametrize("degrees", [(0, 120), (0, 5, 120, 125), (0, 120, 240), (0, 0, 0, 120)])
def test_where_none_is_in_the_majority_nobody_knows(degrees):
    """Copies of one photo count once: they are no majority."""
    assert all(apart(at(*degrees)))


def test_what_is_trusted_decides_against_any_majority():
    trusted = np.array([True, False, False, False])
    assert apart(at(0, 120, 121, 10), trusted=trusted) == [False, True, True, False]
    assert apart(at(0, 120), trusted=np.array([True, True])) == [False, False]
    assert apart(at(0, 5, 120), trusted=np.zeros(3, bool)) == [False, False, True]


def test_one_photo_or_none_is_no_outlier():
    assert apart(at(0)) == [False]
    assert apart(np.zeros((0, 3), np.float32)) == []


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_against_a_slow_reference(rng, similarity):
    rule, seen = Rule(similarity, 0.5, impostors=CURVE), set()
    for _ in range(300):
        vectors = rng.normal(size=(int(rng.integers(2, 8)), 3)).astype(np.float32)
        found = apart(vectors, rule)
        assert found == slowly(vectors, rule)
        seen.add((any(found), all(found)))
    assert seen == {(False, False), (True, False), (True, True)}


# One person under two names


def people(**photos) -> People:
    names = [name for name, degrees in photos.items() for _ in degrees]
    return People(tuple(names), at(*(each for degrees in photos.values() for each in degrees)))


def test_one_person_under_two_names():
    known = people(Ada=[0, 20, 40], Bob=[180, 200], Eve=[10, 30])
    assert same_person("Ada", known, RULE) == [("Eve", pytest.approx(np.cos(np.radians(10))))]
    assert [other for other, _ in same_person("Eve", known, RULE)] == ["Ada"]
    assert same_person("Bob", known, RULE) == []


def test_one_photo_in_the_wrong_folder_makes_nobody_the_same():
    known = people(Ada=[0, 10, 20], Bob=[180, 190, 5])
    assert same_person("Ada", known, RULE) == same_person("Bob", known, RULE) == []


def test_nobody_else():
    assert same_person("Ada", people(Ada=[0, 10]), RULE) == []
    assert same_person("Ada", people(Bob=[0, 10]), RULE) == []
