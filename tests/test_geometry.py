import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.geometry import Transform, areas, overlaps, round_boxes, suppress, voters

sides = st.integers(1, 20_000)
coordinates = st.floats(-20_000, 20_000)
boxes = st.tuples(coordinates, coordinates, st.floats(0, 20_000), st.floats(0, 20_000)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


def test_resize_keeps_the_outer_edges():
    t = Transform.resize((1536, 864), (720, 405))
    assert t.boxes([[0, 0, 1536, 864]]).tolist() == [[0, 0, 720, 405]]
    assert t.points([768, 432]).tolist() == [360, 202.5]


def test_resize_has_a_scale_for_each_axis():
    # 341 x 0.4688 rounds up and 450 x 0.4688 down: one scale for both would shift the boxes
    t = Transform.resize((341, 450), (160, 211))
    assert (t.a, t.e) == (160 / 341, 211 / 450)


def test_resize_aligned_keeps_the_corner_pixels_centres():
    t = Transform.resize_aligned((1536, 1000), (1280, 833))
    np.testing.assert_allclose(t.points([[0.5, 0.5], [1535.5, 999.5]]), [[0.5, 0.5], [1279.5, 832.5]], atol=1e-9)


def test_resize_aligned_to_one_pixel_is_invertible():
    t = Transform.resize_aligned((7, 1), (1, 1))
    np.testing.assert_allclose(t.inverse().points(t.points([3.0, 0.2])), [3.0, 0.2])


@given(sides, sides, sides, sides, boxes)
def test_a_box_goes_there_and_back(w, h, tw, th, box):
    for make in (Transform.resize, Transform.resize_aligned):
        t = make((w, h), (tw, th))
        worst = np.abs(t.inverse().boxes(t.boxes([box])) - box).max()
        assert worst <= 1e-6


@given(
    st.floats(-math.pi, math.pi),
    st.floats(0.01, 100),
    st.tuples(coordinates, coordinates),
    st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=8, unique=True),
)
def test_similarity_recovers_the_transform_that_made_the_points(angle, scale, shift, points):
    a, d = scale * math.cos(angle), scale * math.sin(angle)
    made = Transform(a, -d, shift[0], d, a, shift[1])
    source = np.array(points)
    if np.ptp(source, axis=0).max() < 1e-2:  # all but the same point: no transform follows
        return
    found = Transform.similarity(source, made.points(source))
    np.testing.assert_allclose(found.points(source), made.points(source), atol=1e-6 * max(1, scale, *map(abs, shift)))


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    # slow reference: the linear system for (a, d, c, f) with b = -d and e = a
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, d, c, f = np.linalg.lstsq(np.array(rows), np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    found = Transform.similarity(source, target)
    np.testing.assert_allclose([found.a, found.d, found.c, found.f], [a, d, c, f], atol=1e-12)
    assert (found.b, found.e) == (-found.d, found.a)


@pytest.mark.parametrize("points", [[[1, 1]], [[2, 3], [2, 3]], [[1, 2, 3]]])
def test_similarity_needs_two_different_points(points):
    with pytest.raises(ValueError, match="points"):
        Transform.similarity(points, points)


def test_then_applies_in_order():
    t = Transform.scale(2, 3).then(Transform.offset(1, -1))
    assert t.points([10, 10]).tolist() == [21, 29]


def test_a_rotation_refuses_boxes():
    with pytest.raises(ValueError, match="rotated"):
        Transform(0.8, -0.6, 0.0, 0.6, 0.8, 0.0).boxes([[0, 0, 1, 1]])


def test_a_picture_turned_by_quarters():
    # 5 pixels wide and 3 high; the point is near the top-left corner
    turned = {degrees: Transform.turn((5, 3), degrees) for degrees in (0, 90, 180, 270)}
    corner = {degrees: each.points([1.0, 0.5]).tolist() for degrees, each in turned.items()}
    assert corner == {0: [1, 0.5], 90: [2.5, 1], 180: [4, 2.5], 270: [0.5, 4]}
    box = {degrees: each.boxes([[0, 0, 2, 1]]).tolist() for degrees, each in turned.items()}
    assert box == {0: [[0, 0, 2, 1]], 90: [[2, 0, 3, 2]], 180: [[3, 2, 5, 3]], 270: [[0, 3, 1, 5]]}


@given(boxes, st.sampled_from([0, 90, 180, 270]), st.floats(0.1, 9))
def test_a_box_turned_by_quarters_has_the_corners_that_its_points_have(box, degrees, scale):
    transform = Transform.scale(scale, 2 * scale).then(Transform.turn((70, 30), degrees))
    corners = transform.points(np.array(box).reshape(2, 2))
    np.testing.assert_allclose(transform.boxes([box])[0], [*corners.min(0), *corners.max(0)], atol=1e-9)
    np.testing.assert_allclose(transform.inverse().boxes(transform.boxes([box]))[0], box, atol=1e-6)


def test_rounding_is_to_the_nearest_edge_on_both_sides_of_zero():
    assert round_boxes([[-0.6, -0.4, 1.5, 2.4]]).tolist() == [[-1, 0, 2, 2]]
    # int() would give [0, 0, 1, 2]: what is left of the frame would move right


@given(boxes)
def test_rounding_moves_no_edge_by_more_than_half_a_pixel(box):
    assert np.abs(round_boxes([box]) - np.array([box])).max() <= 0.5


def test_overlaps_of_literal_boxes():
    one = np.array([[0.0, 0, 10, 10]])
    other = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [3, 3, 3, 3]])
    np.testing.assert_allclose(overlaps(one, other), [[1, 50 / 150, 0, 4 / 100, 0]])


def slow_suppress(boxes, scores, overlap, covered):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for k in kept:
            width = min(boxes[i][2], boxes[k][2]) - max(boxes[i][0], boxes[k][0])
            height = min(boxes[i][3], boxes[k][3]) - max(boxes[i][1], boxes[k][1])
            common = max(0.0, width) * max(0.0, height)
            a, b = (float(areas(np.array([boxes[n]]))[0]) for n in (i, k))
            if common > overlap * (a + b - common) or common > covered * min(a, b):
                break
        else:
            kept.append(i)
    return kept


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2, st.integers(0, 9)), max_size=25))
def test_suppression_equals_the_slow_one(rows):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], float).reshape(-1, 4)
    scores = np.array([s for *_, s in rows], float)
    for overlap, covered in ((0.3, 1.0), (0.5, 0.6), (1.0, 1.0)):
        assert suppress(boxes, scores, overlap, covered).tolist() == slow_suppress(boxes, scores, overlap, covered)


def test_suppression_of_nothing_is_nothing():
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.3).tolist() == []


def test_who_has_a_say_in_where_a_box_is():
    # The second has; the third overlaps too little, the fourth is too weak, the fifth is elsewhere.
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10], [1, 0, 11, 10], [50, 50, 60, 60]], float)
    scores = np.array([0.8, 0.6, 0.7, 0.5, 0.8])
    assert voters(boxes, scores, 0, 0.7).tolist() == [0, 1]
    assert voters(boxes, scores, 4, 0.7).tolist() == [4]
    assert voters(boxes, scores, 3, 0.7).tolist() == [0, 1, 2, 3]


def test_a_box_without_area_has_a_say_in_itself():
    assert voters(np.array([[5.0, 5, 5, 5]]), np.array([0.5]), 0, 0.7).tolist() == [0]
