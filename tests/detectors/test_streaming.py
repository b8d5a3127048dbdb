"""The detector in strips against the same detector at once: the same cells, the same scores, the same boxes."""

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.detectors.mmod import PROFILE, Mmod, spans
from peephole.errors import UsageError
from peephole.geometry import suppress
from peephole.planner import TILINGS, WHOLE, Plan, Tiling, canvas_size, cells, plan
from scenes import Picture
from scenes import scene as any_scene

scene = partial(any_scene, sides=(150, 500))
EVERY = -1e9
"""Below any score: every cell is reported."""


@pytest.fixture(scope="module")
def detector() -> Mmod:
    return Mmod()


def seen(detector: Mmod, picture: Picture, chosen: Plan, threshold: float) -> list[tuple[float, ...]]:
    """Every candidate as (level, left, top, right, bottom, score), sorted by its place."""
    found = []
    for index, (_, boxes, scores, _) in enumerate(detector.scan(picture, chosen, threshold)):
        found += [(index, *box, score) for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)]
    return sorted(found)


def kept(detector: Mmod, picture: Picture, chosen: Plan, threshold: float) -> list[tuple[float, ...]]:
    """The native boxes that are left after suppression, sorted."""
    candidates = list(detector.scan(picture, chosen, threshold))
    boxes = np.concatenate([each.level.to_native.boxes(each.boxes) for each in candidates])
    scores = np.concatenate([each.confidence for each in candidates])
    return sorted(map(tuple, boxes[suppress(boxes, scores, detector.nms_overlap, detector.nms_covered)].tolist()))


def assert_streamed_alike(
    detector: Mmod, picture: Picture, tilings: tuple[Tiling, ...], threshold: float = -1.5, **options
) -> None:
    whole = plan((picture.shape[1], picture.shape[0]), PROFILE, tiling=WHOLE, **options)
    everything = np.array(seen(detector, picture, whole, EVERY))
    across, down = (cells(side, PROFILE) for side in canvas_size(whole.levels, PROFILE))
    assert len(everything) == across * down
    boxes = kept(detector, picture, whole, threshold)
    for tiling in tilings:
        streamed = replace(whole, tiling=tiling)
        found = np.array(seen(detector, picture, streamed, EVERY))
        assert found.shape == everything.shape, tiling
        assert np.array_equal(found[:, :5], everything[:, :5]), tiling
        assert np.abs(found[:, 5] - everything[:, 5]).max() <= 1e-4, tiling
        assert kept(detector, picture, streamed, threshold) == boxes, tiling


scales = st.sampled_from([{}, {"max_side": 150}, {"max_side": 333}, {"min_face": 97.3}, {"min_face": 300.0}])


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.builds(Tiling, st.integers(3, 40), st.integers(5, 50), st.integers(9, 70)),
    scales,
    st.integers(0, 1000),
)
def test_any_frame_in_any_strips(detector, head, size, tiling, options, seed):
    assert_streamed_alike(detector, scene(head, size, seed=seed), (tiling,), **options)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.builds(Tiling, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([{}, {"max_side": 40}, {"upsample": 1}, {"min_face": 61.0, "upsample": 1}]),
    st.integers(0, 1000),
)
def test_small_frames_in_single_cells(detector, head, size, tiling, options, seed):
    assert_streamed_alike(detector, scene(head, size, seed=seed), (tiling,), **options)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((640, 480), {}),
        ((210, 290), {"upsample": 1}),
        ((800, 430), {}),
        ((1536, 1536), {"max_side": 720}),
        ((2000, 9), {}),
        ((3, 1500), {}),
        ((1, 1), {}),
        ((30, 30), {}),
        ((500, 400), {"max_face": 120}),
        ((300, 260), {"min_face": 55, "upsample": 1}),
    ],
)
def test_the_tilings_in_use(detector, head, size, options):
    assert_streamed_alike(detector, scene(head, size), TILINGS, **options)


def test_there_are_boxes_to_compare(detector, head):
    picture = scene(head, (640, 480))
    chosen = plan((640, 480), PROFILE, tiling=TILINGS[-1])
    assert len(kept(detector, picture, chosen, -1.5)) > 10
    assert len(kept(detector, picture, chosen, 0.0)) >= 1


def test_the_threshold_is_on_each_cell(detector, head):
    picture = scene(head, (300, 200))
    chosen = plan((300, 200), PROFILE, tiling=TILINGS[-1])
    everything = seen(detector, picture, chosen, EVERY)
    for threshold in (-1.5, -1.0, 0.3):
        assert seen(detector, picture, chosen, threshold) == [each for each in everything if each[5] > threshold]


def test_a_frame_is_not_written_to(detector, head):
    picture = scene(head, (300, 200)).copy()
    before = picture.copy()
    picture.flags.writeable = False
    seen(detector, picture, plan((300, 200), PROFILE, tiling=TILINGS[-1]), 0.0)
    assert np.array_equal(picture, before)


# -- spans ------------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 500), st.integers(1, 600), st.integers(0, 30))
def test_spans_cover_all_there_is_once(length: int, step: int, halo: int):
    found = spans(length, step, halo)
    assert found[0].start == 0
    assert found[-1].end == length
    assert all(one.end == other.start for one, other in itertools.pairwise(found))
    assert len({span.high - span.low for span in found}) == 1
    assert found[0].high - found[0].low <= min(step + 2 * halo, length)
    assert len(found) == max(1, math.ceil((length - 2 * halo) / step))  # as few as can be
    for span in found:
        assert 0 <= span.low <= span.start < span.end <= span.high <= length
        # Beyond what is kept there is the halo, or the end of all there is.
        assert span.start - span.low >= halo or span.low == 0
        assert span.high - span.end >= halo or span.high == length
        assert span.inner == slice(span.start - span.low, span.end - span.low)


def test_spans_by_hand():
    assert [(s.low, s.high, s.start, s.end) for s in spans(10, 4, 1)] == [(0, 6, 0, 5), (4, 10, 5, 10)]
    assert [(s.low, s.high, s.start, s.end) for s in spans(10, 4, 0)] == [(0, 4, 0, 4), (4, 8, 4, 8), (6, 10, 8, 10)]
    assert [(s.low, s.high, s.start, s.end) for s in spans(5, 9, 3)] == [(0, 5, 0, 5)]


def test_a_tiling_does_not_change_what_a_plan_looks_at():
    one, other = (plan((640, 480), PROFILE, tiling=tiling) for tiling in (WHOLE, TILINGS[-1]))
    assert replace(one, tiling=WHOLE, bytes=0.0) == replace(other, tiling=WHOLE, bytes=0.0)
    with pytest.raises(UsageError):
        plan((0, 480), PROFILE, tiling=WHOLE)
