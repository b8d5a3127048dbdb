import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.detectors import DETECTORS, profile
from peephole.detectors.mmod import PROFILE
from peephole.errors import UsageError
from peephole.geometry import round_boxes
from peephole.planner import plan

sides = st.integers(1, 4_000)
options = st.one_of(
    st.fixed_dictionaries({"max_side": st.integers(1, 5_000), "upsample": st.integers(0, 2)}),
    st.fixed_dictionaries({"min_face": st.floats(5, 500), "upsample": st.integers(0, 2)}),
    st.just({}),
)


def test_the_classic_cure():
    p = plan((1536, 1536), PROFILE, max_side=720, upsample=1)
    assert (p.shrunk, p.base) == ((720, 720), (1440, 1440))
    assert [level.size for level in p.levels[:4]] == [(1440, 1440), (1200, 1200), (1000, 1000), (833, 833)]
    assert p.smallest_face == pytest.approx(80 * 1536 / 1440)


def test_a_small_frame_is_not_enlarged():
    p = plan((640, 480), PROFILE, max_side=720)
    assert p.base == p.shrunk == (640, 480)
    assert plan((640, 480), PROFILE, min_face=20).base == (640, 480)


def test_a_frame_is_enlarged_when_asked():
    assert plan((640, 480), PROFILE, upsample=1).base == (1280, 960)
    # an 80 px window for a 60 px face: a third larger, not twice as large
    assert plan((640, 480), PROFILE, min_face=60, upsample=1).base == (853, 640)
    assert plan((640, 480), PROFILE, min_face=10, upsample=1).base == (1280, 960)


def test_min_face_chooses_the_scale_at_which_that_face_is_just_large_enough():
    p = plan((1536, 1536), PROFILE, min_face=160)
    assert p.base == (768, 768)
    assert p.smallest_face == 160


def test_the_longer_side_counts():
    assert plan((1920, 1080), PROFILE, max_side=720).base == (720, 405)
    assert plan((1080, 1920), PROFILE, max_side=720).base == (405, 720)


def test_a_thin_frame_keeps_a_pixel():
    assert plan((30_000, 2), PROFILE, max_side=720).base == (720, 1)
    assert plan((1, 1), PROFILE, max_side=720).levels[0].size == (1, 1)


def test_work_and_memory_follow_the_pixels():
    p = plan((1536, 1536), PROFILE)
    pixels = sum(w * h for w, h in (level.size for level in p.levels))
    assert p.operations == PROFILE.operations_per_pixel * pixels
    assert 55e9 < p.operations < 58e9  # counted by hand from the layers: 56 GFLOP
    assert p.bytes == PROFILE.bytes_per_pixel * 1536 * 1536


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "mmod"])
def test_dlib_gets_one_level_and_makes_its_own_pyramid(name):
    p = plan((1536, 1536), profile(name), max_side=720, upsample=1)
    assert [level.size for level in p.levels] == [(1440, 1440)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"max_side": 0}, "max_side"),
        ({"upsample": -1}, "upsample"),
        ({"upsample": 9}, "upsample"),
        ({"min_face": 0.0}, "min_face"),
        ({"min_face": float("nan")}, "min_face"),
        ({"max_side": 720, "min_face": 40.0}, "both choose the scale"),
    ],
)
def test_options_that_cannot_work(bad, message):
    with pytest.raises(UsageError, match=message):
        plan((640, 480), PROFILE, **bad)


def test_a_frame_without_pixels():
    with pytest.raises(UsageError, match="0x10"):
        plan((0, 10), PROFILE)


@given(sides, sides, options, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_known_box_goes_down_to_every_level_and_up_again(width, height, chosen, corners):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    known = np.array([[x0 * width, y0 * height, x1 * width, y1 * height]])
    for level in plan((width, height), PROFILE, **chosen).levels:
        back = level.to_native.boxes(level.to_native.inverse().boxes(known))
        assert np.abs(back - known).max() <= 1e-6
        assert np.abs(round_boxes(back) - known).max() <= 1


@given(sides, sides, options)
def test_the_base_covers_the_frame_exactly_and_levels_stay_within_it(width, height, chosen):
    p = plan((width, height), PROFILE, **chosen)
    whole = p.levels[0].to_native.boxes([[0, 0, *p.base]])
    np.testing.assert_allclose(whole, [[0, 0, width, height]], rtol=1e-12)
    for level in p.levels[1:]:
        box = level.to_native.boxes([[0.5, 0.5, level.size[0] - 0.5, level.size[1] - 0.5]])[0]
        assert box[0] >= -1e-6
        assert box[1] >= -1e-6
        assert box[2] <= width + 1e-6
        assert box[3] <= height + 1e-6


@given(sides, sides, st.integers(1, 5_000))
def test_shrinking_never_exceeds_the_asked_side_nor_the_frame(width, height, max_side):
    p = plan((width, height), PROFILE, max_side=max_side)
    assert max(p.base) <= max(max_side, 1)
    assert p.base[0] <= width
    assert p.base[1] <= height
