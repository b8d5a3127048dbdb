import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from looks import faces
from peephole.decisions import SAME_FACE, Drift, compare_faces, confidence_drift, match_boxes, score_drift
from peephole.extent import face_extent
from peephole.faces import Faces
from peephole.geometry import overlaps
from peephole.pipeline import decide
from sightings import RULE, family

YUNET = ("yunet", "yunet")
PEOPLE = family(Ann=[0], Bob=[90])


def named(*found):
    return decide(faces(*found), PEOPLE, RULE)


def test_faces_are_lost_gained_and_renamed():
    old = named((10, 20, 0, 0.9), (100, 20, 90, 0.8), (200, 20, 200, 0.7))
    new = named((12, 21, 0, 0.95), (100, 20, 180, 0.8), (300, 20, 5, 0.6))
    found = compare_faces("1.jpg", old, new, YUNET)
    assert [each.words() for each in found.changes] == [
        "Bob 1.00 -> unknown 0.00",
        "lost unknown, confidence 0.70",
        "gained Ann, confidence 0.60",
    ]
    assert found.words() == "1 lost, 1 gained, 1 renamed"
    assert [(a.name, b.name) for a, b in found.pairs] == [("Ann", "Ann"), ("Bob", "unknown")]
    assert [len(found.of(kind)) for kind in ("renamed", "lost", "gained")] == [1, 1, 1]
    renamed = found.changes[0].to_dict()
    assert renamed["kind"] == "renamed"
    assert renamed["old"] == {"box": [100.0, 20.0, 160.0, 90.0], "confidence": 0.8, "name": "Bob", "score": 1.0}
    assert found.changes[1].to_dict()["new"] is None


def test_the_same_decisions_are_no_change_and_nor_is_unknown_to_unclear():
    old = named((10, 20, 0, 0.9))
    assert compare_faces("1.jpg", old, old, YUNET).changes == ()
    unknown = named((10, 20, 200, 0.9))
    unclear = decide(Faces(unknown.boxes, unknown.confidence, None, unknown.embeddings), PEOPLE, RULE)
    unclear = Faces(unknown.boxes, unknown.confidence, matches=tuple(type(m)("unclear", 0.1) for m in unclear.matches))
    assert compare_faces("1.jpg", unknown, unclear, YUNET).changes == ()
    assert [each.kind for each in compare_faces("1.jpg", old, unclear, YUNET).changes] == ["renamed"]


def test_without_names_only_boxes_count():
    found = compare_faces("1.jpg", faces((10, 20, 0, 0.9)), faces((10, 20, 90, 0.9), (200, 0, 0, 0.5)), YUNET)
    assert [each.words() for each in found.changes] == ["gained face, confidence 0.50"]
    assert "name" not in found.changes[0].to_dict()["new"]


def test_empty_sides_are_ordinary():
    assert compare_faces("1.jpg", faces(), faces(), YUNET).changes == ()
    assert len(compare_faces("1.jpg", faces((0, 0, 0, 0.5)), faces(), YUNET).changes) == 1


def test_boxes_of_detectors_that_draw_differently_are_of_one_face():
    tight = np.array([[100.0, 100, 160, 160]])
    whole = face_extent(tight, "mmod")
    assert overlaps(tight, whole)[0, 0] < 0.7
    one, other = Faces(tight, np.ones(1)), Faces(whole + np.array((0, 5, 0, 20)), np.ones(1))
    assert compare_faces("1.jpg", one, other, ("mmod", "yunet")).changes == ()


def slow_match(one, other, least):
    """The pair that shares most, then the next among those left, until none shares enough."""
    left_one, left_other, pairs = list(range(len(one))), list(range(len(other))), []
    while left_one and left_other:
        shares = overlaps(one[left_one], other[left_other])
        shared, i, j = max((float(shares[i, j]), -i, -j) for i, j in np.ndindex(shares.shape))
        if shared < least:
            break
        pairs.append((left_one.pop(-i), left_other.pop(-j)))
    return sorted(pairs)


boxes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30)), max_size=6
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], float).reshape(-1, 4))


@given(boxes, boxes)
def test_matching_is_the_slow_greedy_one(one, other):
    assert match_boxes(one, other) == slow_match(one, other, SAME_FACE)


@given(boxes)
def test_a_set_of_boxes_matches_itself(one):
    one = np.unique(one, axis=0)
    assert match_boxes(one, one) == [(index, index) for index in range(len(one))]


def test_drift_is_the_median_and_the_largest_with_its_sign():
    drift = Drift.of([(0.5, 0.6), (0.5, 0.1), (0.9, 0.9), (None, 0.3), (0.2, None)])
    assert drift.count == 3
    assert drift.median == pytest.approx(0.0)
    assert drift.largest == pytest.approx(-0.4)
    assert drift.words() == "median +0.000, largest -0.400, 3 faces"
    assert Drift.of([(None, 1.0)]) is None
    assert Drift.of([]) is None


def test_scores_drift_over_the_faces_that_both_found():
    old = named((10, 20, 0, 0.9), (200, 20, 90, 0.8))
    new = named((10, 20, 60, 0.7), (300, 20, 90, 0.1))
    frames = [compare_faces("1.jpg", old, new, YUNET)]
    assert confidence_drift(frames).median == pytest.approx(-0.2)
    assert score_drift(frames).largest == pytest.approx(np.cos(np.radians(30)) - 1)  # 60 degrees lie nearer to Bob
    assert score_drift([compare_faces("1.jpg", faces((10, 20, 0, 0.9)), new, YUNET)]) is None
