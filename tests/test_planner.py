import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peephole.detectors import DETECTORS, profile
from peephole.detectors.mmod import PROFILE
from peephole.errors import BudgetTooSmall, UsageError
from peephole.geometry import round_boxes
from peephole.planner import (
    FRAME_BYTES_PER_PIXEL,
    MODEST,
    MOST_BUFFERS,
    SAME,
    TILINGS,
    WHOLE,
    Plan,
    Profile,
    Tiling,
    buffers,
    cells,
    plan,
    suited,
)

YUNET = profile("yunet")
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
    assert 50e6 < p.bytes < 75e6  # the frame, its smaller levels, the tail's buffers


@pytest.mark.parametrize("name", [name for name in DETECTORS if name.startswith("dlib")])
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
        ({"max_face": 0.0}, "max_face"),
        ({"max_face": float("nan")}, "max_face"),
        ({"min_face": 100.0, "max_face": 99.0}, "max_face must be a positive number of native pixels, and not below"),
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


# Within a room

frames = st.tuples(st.integers(1, 12_000), st.integers(1, 9_000))
rooms = st.floats(6e6, 1.5e9)
pictures = st.sampled_from([{}, {"encoded": 50_000}, {"encoded": 400_000, "reducible": True}, {"reducible": True}])
profiles = st.sampled_from([profile(name) for name in DETECTORS])


def planned(size: tuple[int, int], detector: Profile, room: float | None, **chosen) -> Plan | None:
    try:
        return plan(size, detector, room=room, **chosen)
    except BudgetTooSmall:
        return None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(frames, profiles, options, pictures, rooms, st.floats(1, 4))
def test_more_room_is_never_a_coarser_scale(size, detector, chosen, picture, room, more):
    small = planned(size, detector, room, **chosen, **picture)
    large = planned(size, detector, room * more, **chosen, **picture)
    if small:
        assert large
        assert large.scale >= small.scale
        assert large.smallest_face <= small.smallest_face * (1 + 1e-9)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(frames, profiles, options, pictures, rooms)
def test_a_plan_keeps_to_its_room_and_says_what_that_cost(size, detector, chosen, picture, room):
    free = plan(size, detector, **chosen, **picture)
    assert free.coarsened_from is None
    assert free.reduction == 1
    stream = detector.streaming
    tilings, most = (stream.tilings, stream.most_buffers) if stream else (TILINGS, MOST_BUFFERS)
    most = max(most, MODEST * FRAME_BYTES_PER_PIXEL * size[0] * size[1])
    modest = [each for each in tilings if buffers(detector, free, each) <= most]
    assert free.tiling == (modest or tilings[-1:])[0]
    p = planned(size, detector, room, **chosen, **picture)
    assume(p)
    assert p.bytes <= room
    assert p.reduction == 1 or picture.get("reducible")
    grew = p.smallest_face > free.smallest_face * SAME
    assert (p.coarsened_from is not None) == grew
    if grew:
        assert p.coarsened_from == free.smallest_face
    if free.bytes <= room:
        assert p == free
    assert p.scale <= free.scale * (1 + 1e-9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(frames, profiles, options, pictures)
def test_what_is_said_to_be_needed_is_enough_and_not_too_much(size, detector, chosen, picture):
    with pytest.raises(BudgetTooSmall) as caught:
        plan(size, detector, room=1e6, **chosen, **picture)
    needed = caught.value.needed
    assert plan(size, detector, room=needed, **chosen, **picture).bytes <= needed
    with pytest.raises(BudgetTooSmall):
        plan(size, detector, room=needed - 1e6, **chosen, **picture)


@pytest.mark.parametrize("room", [8e6, 40e6, 200e6, 500e6])
def test_what_is_needed_does_not_depend_on_what_is_there(room):
    with pytest.raises(BudgetTooSmall) as poor:
        plan((12_000, 9_000), PROFILE, room=1e6)
    needed = poor.value.needed
    if room >= needed:
        assert plan((12_000, 9_000), PROFILE, room=room).bytes <= room
        return
    with pytest.raises(BudgetTooSmall) as caught:
        plan((12_000, 9_000), PROFILE, room=room)
    assert caught.value.needed == needed


@settings(max_examples=100, deadline=None, derandomize=True)
@given(frames, rooms)
def test_no_more_is_reduced_than_is_of_use(size, room):
    picture = {"encoded": 100_000, "reducible": True}
    p = planned(size, PROFILE, room, **picture)
    assume(p)
    if p.reduction > 1:
        # Without reducing as far, there is either no plan, or none as fine.
        whole = planned(size, PROFILE, room, encoded=100_000)
        assert whole is None or whole.scale < p.scale
    assert p.scale * p.reduction <= 1 + 2 * p.reduction / min(size)  # nothing decoded smaller is enlarged again


@settings(max_examples=200, deadline=None, derandomize=True)
@given(frames, options, st.floats(10, 5_000))
def test_max_face_drops_small_levels_and_counts_them(size, chosen, largest):
    assume(largest > chosen.get("min_face", 0))
    everything = plan(size, PROFILE, **chosen)
    some = plan(size, PROFILE, **chosen, max_face=largest)
    assert 1 <= len(some.levels) <= len(everything.levels)
    assert some.levels == everything.levels[: len(some.levels)]
    assert some.operations + some.saved == pytest.approx(everything.operations)
    assert everything.saved == 0
    assert some.bytes <= everything.bytes
    dropped = everything.levels[len(some.levels) :]
    # A level's smallest face is its window; a face 6/5 as large is still found on it.
    assert all(80 * level.to_native.a > largest * 1.2 * (1 - 1e-9) for level in dropped)
    assert all(80 * level.to_native.a <= largest * 1.2 * (1 + 1e-9) for level in some.levels[1:])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(frames, st.builds(Tiling, st.integers(1, 64), st.integers(1, 200), st.integers(1, 300)))
def test_a_tiling_that_was_chosen_is_kept(size, tiling):
    assert plan(size, PROFILE, tiling=tiling).tiling == tiling
    assert plan(size, PROFILE, tiling=tiling).bytes <= plan(size, PROFILE, tiling=WHOLE).bytes


def test_smaller_tilings_take_less():
    taken = [plan((4_000, 3_000), PROFILE, tiling=tiling).bytes for tiling in TILINGS]
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize(
    ("size", "room", "reduction", "base", "smallest"),
    [
        ((1536, 1536), None, 1, (1536, 1536), 80.0),
        ((1536, 1536), 100e6, 1, (1536, 1536), 80.0),
        ((1536, 1536), 40e6, 1, (1536, 1536), 80.0),
        ((12_000, 9_000), None, 1, (12_000, 9_000), 80.0),
        ((12_000, 9_000), 512e6, 2, (6_000, 4_500), 160.0),
        ((12_000, 9_000), 150e6, 4, (3_000, 2_250), 320.0),
        ((12_000, 9_000), 100e6, 4, (3_000, 2_250), 320.0),
        ((12_000, 9_000), 40e6, 8, (1_500, 1_125), 640.0),
    ],
)
def test_plans_of_two_known_frames(size, room, reduction, base, smallest):
    p = plan(size, PROFILE, room=room, reducible=True, encoded=1)
    assert (p.reduction, p.base, p.smallest_face) == (reduction, base, pytest.approx(smallest))
    assert p.coarsened_from == (None if smallest == 80.0 else 80.0)


def test_a_frame_of_108_million_pixels_that_cannot_be_reduced():
    p = plan((12_000, 9_000), PROFILE, room=1.3e9, encoded=1_000_000)
    assert (p.base, p.coarsened_from) == ((12_000, 9_000), None)
    coarse = plan((12_000, 9_000), PROFILE, room=800e6, encoded=1_000_000)  # decoding takes 762 million
    assert coarse.reduction == 1
    assert coarse.coarsened_from == 80.0
    with pytest.raises(BudgetTooSmall, match="a 12000x9000 frame needs 729 MiB more than the program itself takes"):
        plan((12_000, 9_000), PROFILE, room=700e6, encoded=1_000_000)


@pytest.mark.parametrize("name", DETECTORS)
def test_buffers_that_are_there_already_are_used_again_by_the_detector_alone(name):
    detector = profile(name)
    free = plan((1536, 1536), detector)
    own = buffers(detector, free, free.tiling)
    assert plan((1536, 1536), detector, kept=own / 2).bytes == free.bytes
    assert plan((1536, 1536), detector, kept=own + 5e6).bytes == pytest.approx(free.bytes + 5e6)
    # Beside a frame that is being decoded they are all too much.
    decoded, beside = (plan((8000, 6000), detector, max_side=300, encoded=1, kept=each).bytes for each in (0, 5e6))
    assert beside == decoded + 5e6


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_there_already_counts_for_the_least_room(name):
    def planned(room: float) -> Plan:
        return plan((12_000, 9_000), profile(name), room=room, encoded=1_000_000, kept=50e6, reducible=True)

    with pytest.raises(BudgetTooSmall) as caught:
        planned(50e6)
    assert 57e6 < planned(caught.value.needed).bytes <= caught.value.needed


# A detector with levels of its own grid, in whole blocks


def test_levels_without_a_canvas_map_exactly_and_end_at_the_smallest():
    p = plan((3073, 2600), YUNET)
    sizes = [(3073, 2600), (1536, 1300), (768, 650), (384, 325), (192, 162), (96, 81)]
    assert [level.size for level in p.levels] == sizes
    assert [level.to_native.boxes([[0, 0, 192, 162]])[0, 2:].tolist() for level in p.levels[::2]] == [
        [192, 162],
        [768, 648],
        [3072, 2592],
    ]
    assert [level.size for level in suited(p, YUNET, 0.0).levels] == sizes[::2]


@pytest.mark.parametrize(
    ("size", "purposes"),
    [
        ((1536, 1536), ["detail", "grain", "large-faces", "grain", "grain"]),
        ((3072, 3072), ["detail", "grain", "large-faces", "grain", "large-faces", "grain"]),
        ((640, 481), ["detail", "grain", "large-faces"]),
        ((640, 480), ["detail", "small-frame", "large-faces"]),
        ((400, 399), ["detail", "small-frame", "small-frame"]),
        ((159, 159), ["detail"]),
    ],
)
def test_what_each_level_is_for(size, purposes):
    assert [level.purpose for level in plan(size, YUNET).levels] == purposes


def test_max_face_keeps_every_level_that_is_needed_for_it():
    def levels(grain: float, **options) -> int:
        return len(suited(plan((3072, 3072), YUNET, **options), YUNET, grain).levels)

    assert [levels(0.0, max_face=each) for each in (100, 400, 401, 1600, 1601, 9999)] == [1, 1, 2, 2, 3, 3]
    assert levels(0.0, upsample=1, max_face=300) == 2
    # Faces of 100 pixels show at a half and a quarter, of 401 at an eighth and a sixteenth as well.
    assert [levels(0.5, max_face=each) for each in (20, 100, 401, 9999)] == [1, 2, 4, 5]


# Grain


@pytest.mark.parametrize(
    ("grain", "looked_at"),
    [
        (0.0, {1536: 0, 384: 0}),
        (0.015, {1536: 0, 384: 0}),
        (0.0151, {1536: 1, 768: 1, 384: 0}),
        (0.04, {1536: 1, 768: 2, 384: 1}),
        (0.07, {1536: 1, 768: 4, 384: 2, 192: 1}),
        (0.0701, {768: 4, 384: 2, 192: 1}),
        (0.5, {768: 4, 384: 4, 192: 4, 96: 3}),
    ],
)
def test_levels_and_their_smoothing_by_the_grain(grain, looked_at):
    p = suited(plan((1536, 1536), YUNET), YUNET, grain)
    assert {level.size[0]: level.passes for level in p.levels} == looked_at
    assert p.grain == grain
    assert p.operations == YUNET.operations_per_pixel * sum(side * side for side in looked_at)


def test_grain_is_halved_with_the_sides_wherever_that_is_done():
    def sides(grain: float, **options) -> list[int]:
        return [level.size[0] for level in suited(plan((1536, 1536), YUNET, **options), YUNET, grain).levels]

    assert sides(0.029, max_side=768) == [768, 192]
    assert sides(0.031, max_side=768) == [768, 384, 192]
    assert sides(0.014, upsample=1)[:2] == [3072, 768]
    assert sides(0.016, upsample=1)[:4] == [3072, 1536, 768, 192]  # enlarged, it has as much as before
    # A frame that was decoded at half its sides has its grain measured there.
    reduced = plan((12_000, 9_000), YUNET, room=60e6, reducible=True, encoded=1)
    assert reduced.reduction > 1
    looked_at = suited(reduced, YUNET, 0.02).levels
    finer = [level.to_native.a / reduced.reduction / 2 for level in looked_at if level.purpose == "grain"]
    assert finer
    assert all(0.02 / max(each, 1) > YUNET.bearable for each in finer)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(frames, profiles, options, st.floats(0, 1), st.floats(0, 1))
def test_more_grain_is_never_fewer_of_the_coarser_levels_and_never_more_than_was_planned(
    size, detector, chosen, one, other
):
    p = plan(size, detector, **chosen)
    less, more = (suited(p, detector, each) for each in sorted((one, other)))
    assert {level.size for level in less.levels[1:]} <= {level.size for level in more.levels}
    assert {level.size for level in more.levels} <= {level.size for level in p.levels}
    drowned = more.levels[0].size != p.base
    assert drowned == (
        detector.drowning < sorted((one, other))[1] / max(p.levels[0].to_native.a, 1) and len(p.levels) > 1
    )
    assert drowned or less.operations <= more.operations <= p.operations
    assert more.smallest_face == pytest.approx(p.smallest_face * (2 if drowned else 1))
    assert less.bytes == more.bytes == p.bytes
    # Halves of halves have a third of a level's pixels, of which the quarter is looked at in any case.
    assert p.operations <= 1.34 * detector.operations_per_pixel * p.base[0] * p.base[1] or detector.bearable == math.inf


def test_a_detector_that_is_not_asked_about_grain_looks_at_all_its_levels():
    p = plan((1536, 1536), PROFILE)
    assert suited(p, PROFILE, 0.5) == p


def test_cells_of_levels_that_are_filled_up_to_whole_blocks():
    assert [cells(each, profile("yunet")) for each in (1, 32, 33, 1536)] == [4, 4, 8, 192]
    assert [cells(each, PROFILE) for each in (29, 36, 37)] == [1, 1, 2]
