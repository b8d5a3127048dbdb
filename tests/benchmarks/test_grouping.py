import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from grouping import pairwise


def slow(people, groups):
    """Reference: every pair looked at."""
    pairs = [(people[i] == people[j], groups[i] == groups[j]) for i, j in combinations(range(len(people)), 2)]
    right = sum(same and together for same, together in pairs)
    same, together = sum(same for same, _ in pairs), sum(together for _, together in pairs)
    return (right / together if together else 1.0), (right / same if same else 1.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20))
def test_precision_and_recall_are_over_all_pairs(faces):
    people, groups = [person for person, _ in faces], [group for _, group in faces]
    assert pairwise(people, groups) == pytest.approx(slow(people, groups))


def test_by_hand():
    assert pairwise(["a", "a", "a", "b"], [1, 1, 2, 2]) == (0.5, pytest.approx(1 / 3))
