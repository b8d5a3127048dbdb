import numpy as np
import pytest

from peephole.draw import FACE_COLOUR, KNOWN_COLOUR, UNKNOWN_COLOUR, annotate
from peephole.faces import Faces, Match
from peephole.frame import Frame


def frame(width=300, height=200):
    return Frame(np.full((height, width, 3), 50, np.uint8))


def test_the_box_is_drawn_on_its_edges_and_the_frame_is_left_alone():
    f = frame()
    image = np.array(annotate(f, Faces(np.array([[100.2, 80, 140, 119.7]]), np.ones(1))))
    for y, x in ((80, 120), (119, 120), (100, 100), (100, 139)):
        assert tuple(image[y, x]) == FACE_COLOUR
    assert tuple(image[100, 120]) == (50, 50, 50)
    assert tuple(image[100, 140]) == (50, 50, 50)
    assert (f.pixels == 50).all()


@pytest.mark.parametrize(
    ("name", "colour"),
    [("Ada", KNOWN_COLOUR), *((name, UNKNOWN_COLOUR) for name in ("unknown", "unclear", "ignored"))],
)
def test_known_and_unknown_have_their_colours(name, colour):
    faces = Faces(np.array([[100.0, 80, 140, 120]]), np.ones(1), matches=(Match(name, 0.5, 0.5, None, "Ada"),))
    assert tuple(np.array(annotate(frame(), faces))[100, 100]) == colour


@pytest.mark.parametrize("box", [[-20, -20, 30, 30], [270, 170, 330, 230], [0, 0, 300, 200], [-50, -50, -10, -10]])
def test_boxes_over_the_border_are_no_trouble(box):
    assert annotate(frame(), Faces(np.array([box], float), np.ones(1))).size == (300, 200)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_frame_that_was_looked_at_turned_is_drawn_as_it_was(degrees):
    faces = Faces(np.array([[100.2, 80, 140, 119.7]]), np.ones(1), np.array([[[120.0, 100]] * 5]))
    plain = frame()
    drawn = np.array(annotate(plain.turned(degrees), faces))
    np.testing.assert_array_equal(drawn, np.array(annotate(plain, faces)))


def test_a_tiny_frame_is_no_trouble():
    assert annotate(frame(1, 1), Faces(np.array([[0.0, 0, 1, 1]]), np.ones(1))).size == (1, 1)
