import numpy as np
import pytest

from peephole.errors import PeopleError
from peephole.match import People, match

FAMILY = People(("Ada", "Ada", "Bob"), np.array([[0, 0], [1, 0], [5, 0]], np.float32))


def faces(*points):
    return np.array(points, np.float32).reshape(-1, 2)


def test_the_nearest_photo_decides():
    (m,) = match(faces([1.2, 0]), FAMILY, threshold=0.6)
    assert (m.name, m.nearest) == ("Ada", "Ada")
    assert m.distance == pytest.approx(0.2)
    assert m.score == pytest.approx(0.8)
    assert m.margin == pytest.approx(3.8 - 0.2)  # to Bob, not to Ada's other photo


def test_beyond_the_threshold_is_unknown_and_still_says_who_was_nearest():
    (m,) = match(faces([3.5, 0]), FAMILY, threshold=0.6)
    assert (m.name, m.nearest, m.distance) == ("unknown", "Bob", 1.5)


def test_the_threshold_itself_is_still_the_same_person():
    (m,) = match(faces([5, 0.5]), FAMILY, threshold=0.5)
    assert m.name == "Bob"


def test_one_person_has_no_margin():
    (m,) = match(faces([0, 0]), People(("Ada",), np.zeros((1, 2), np.float32)), 0.6)
    assert m.margin is None


def test_no_faces_and_no_people():
    assert match(faces(), FAMILY, 0.6) == ()
    (m,) = match(faces([0, 0]), People((), np.zeros((0, 2), np.float32)), 0.6)
    assert (m.name, m.nearest) == ("unknown", None)


def test_a_person_cannot_be_called_unknown():
    with pytest.raises(PeopleError, match="stranger"):
        People(("unknown",), np.zeros((1, 2), np.float32))


def test_names_and_embeddings_go_together():
    with pytest.raises(ValueError, match="names"):
        People(("Ada",), np.zeros((2, 2), np.float32))
