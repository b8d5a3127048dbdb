"""The detector in ONNX Runtime: parity with dlib's own code, the canvas, the grid, odd frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from peephole.detectors import mmod
from peephole.faces import Faces
from peephole.frame import Frame
from peephole.geometry import Transform, overlaps
from peephole.pipeline import Analysis, Pipeline, Scale
from peephole.planner import Canvas, Level, Plan, _pack, _pyramid, canvas_size, plan
from peephole.pyramid import Pyramid

Picture = NDArray[np.uint8]

NATIVE = Scale()
CANVAS = Canvas(outer=11, between=10)


@pytest.fixture(scope="module")
def ours() -> Pipeline:
    return Pipeline("mmod", threads=2)


@pytest.fixture(scope="module")
def dlibs() -> Pipeline:
    return Pipeline("dlib-cnn")


# -- parity with dlib -------------------------------------------------------------------------------------------


def assert_found_by(other: Faces, faces: Faces) -> None:
    """Every clear detection has its match: IoU of at least 0.7, scores within 0.02."""
    common = overlaps(faces.boxes, other.boxes)
    for row, confidence in zip(common, faces.confidence, strict=True):
        if confidence >= 0.3:
            assert row.max(initial=0) >= 0.7
            assert other.confidence[row.argmax()] == pytest.approx(confidence, abs=0.02)


def assert_parity(ours: Pipeline, dlibs: Pipeline, frame: Frame, faces: int, scale: Scale = NATIVE) -> None:
    one, other = (pipeline.analyse(frame, scale=scale).faces for pipeline in (ours, dlibs))
    assert (one.confidence >= 0.3).sum() == faces
    assert_found_by(other, one)
    assert_found_by(one, other)


def resized(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def noise(width: int, height: int, seed: int = 9) -> Picture:
    return np.random.default_rng(seed).integers(90, 160, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def eileens_head(eileen: Frame) -> Picture:
    """260x260, the face 96 pixels wide at (88, 79)."""
    return eileen.pixels[:260, 80:340]


@pytest.fixture
def graces_head(grace: Frame) -> Picture:
    """200x220, the face about 90 pixels wide at (52, 70)."""
    return resized(grace.pixels[10:430, 90:470], 200, 220)


def test_parity_on_eileen(ours: Pipeline, dlibs: Pipeline, eileen: Frame):
    assert_parity(ours, dlibs, eileen, 1)


def test_parity_on_grace(ours: Pipeline, dlibs: Pipeline, grace: Frame):
    assert_parity(ours, dlibs, grace, 1)


def test_parity_on_a_shrunk_frame(ours: Pipeline, dlibs: Pipeline, grace: Frame):
    assert_parity(ours, dlibs, grace, 1, Scale(max_side=400))


def test_parity_on_an_enlarged_frame(ours: Pipeline, dlibs: Pipeline, eileens_head: Picture):
    frame = noise(231, 187)
    frame[20:150, 70:200] = resized(eileens_head, 130, 130)  # a face of 48 pixels
    assert not len(ours.analyse(Frame(frame)))
    assert_parity(ours, dlibs, Frame(frame), 1, Scale(upsample=1))


def test_parity_with_two_faces_on_a_frame_of_odd_size(
    ours: Pipeline, dlibs: Pipeline, eileens_head: Picture, graces_head: Picture
):
    frame = noise(497, 283)
    frame[10:270, 5:265] = eileens_head
    frame[40:260, 280:480] = graces_head
    assert_parity(ours, dlibs, Frame(frame), 2)


@pytest.mark.parametrize(
    ("left", "top"),
    [(-45, 41), (200, 41), (100, -40), (100, 120)],
    ids=["left", "right", "top", "bottom"],
)
def test_parity_near_the_borders(ours: Pipeline, dlibs: Pipeline, eileens_head: Picture, left: int, top: int):
    frame = noise(401, 331)
    source = eileens_head[max(0, -top) : 331 - top, max(0, -left) : 401 - left]
    y, x = max(0, top), max(0, left)
    frame[y : y + source.shape[0], x : x + source.shape[1]] = source
    assert_parity(ours, dlibs, Frame(frame), 1)


# -- the canvas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "sizes", "origins"),
    [
        (
            (1536, 1536),
            "1536x1536 1280x1280 1066x1066 888x888 740x740 616x616 513x513 427x427 355x355 295x295 245x245 "
            "204x204 170x170 141x141 117x117 97x97 80x80 66x66 55x55 45x45 37x37 30x30 25x25 20x20 16x16 13x13 "
            "10x10 8x8 6x6 5x5",
            "11,11 11,1557 11,2847 11,3923 11,4821 931,4945 1034,4422 1120,3985 1192,3620 1252,3315 1302,3060 "
            "1343,2846 1377,2666 1406,2515 1430,2388 1450,2281 1467,2191 1481,2115 1492,2050 1502,1995 1510,1948 "
            "1517,1908 1522,1873 1527,1843 1531,1817 1534,1794 1537,1774 1539,1756 1541,1740 1542,1725",
        ),
        (
            (450, 341),
            "450x341 375x284 312x236 260x196 216x163 180x135 150x112 125x93 104x77 86x64 71x53 59x44 49x36 40x30 "
            "33x25 27x20 22x16 18x13 15x10 12x8 10x6 8x5",
            "11,11 11,362 11,656 11,902 11,1108 281,1136 311,1014 336,911 357,824 375,750 390,687 402,633 412,587 "
            "421,547 428,512 434,482 439,456 443,433 446,413 449,395 451,379 453,364",
        ),
        (
            (341, 450),
            "341x450 284x375 236x312 196x260 163x216 135x180 112x150 93x125 77x104 64x86 53x71 44x59 36x49 30x40 "
            "25x33 20x27 16x22 13x18 10x15 8x12 6x10 5x8 4x6 3x5",
            "11,11 11,471 11,856 11,1178 11,1448 217,1484 240,1324 259,1189 275,1075 288,979 299,898 308,829 "
            "316,770 322,720 327,677 332,640 336,608 339,580 342,555 344,533 346,513 347,495 348,479 349,464",
        ),
        (
            (30000, 2),
            "30000x2",
            "11,11",
        ),
        (
            (1, 1),
            "1x1",
            "11,11",
        ),
    ],
    ids=["1536x1536", "450x341", "341x450", "30000x2", "1x1"],
)
def test_canvas_layout(base: tuple[int, int], sizes: str, origins: str):
    found = _pyramid(base, 5 / 6, 5)
    assert " ".join(f"{width}x{height}" for width, height in found) == sizes
    assert " ".join(f"{x},{y}" for x, y in _pack(found, CANVAS)) == origins


def levels(width: int, height: int) -> tuple[Level, ...]:
    sizes = _pyramid((width, height), 5 / 6, 5)
    return tuple(Level(*each, Transform()) for each in zip(sizes, _pack(sizes, CANVAS), strict=False))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_levels_lie_on_the_canvas_and_apart(width: int, height: int):
    placed = levels(width, height)
    low = np.array([level.origin for level in placed])
    high = low + [level.size for level in placed]
    assert low.min() >= CANVAS.outer
    assert high[:, 0].max() == CANVAS.outer + width
    before = (high[:, None] <= low[None]).any(-1)  # wholly to the left of the other, or above it
    assert (before | before.T | np.eye(len(placed), dtype=bool)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(80, 4000), st.integers(80, 4000))
def test_every_level_that_can_hold_a_face_has_its_place(width: int, height: int):
    sizes = _pyramid((width, height), 5 / 6, 5)
    placed = len(_pack(sizes, CANVAS))
    assert all(min(size) < 80 for size in sizes[placed:])


def canvas_of(ours: Pipeline, picture: Picture, chosen: Plan) -> mmod._Canvas:
    return mmod._Canvas(Pyramid(picture, chosen), chosen)


def by_hand(ours: Pipeline, picture: Picture, chosen: Plan) -> Picture:
    """The whole canvas, (height, width, 3), level by level and pixel by pixel where it belongs."""
    pyramid = Pyramid(picture, chosen)
    right = max(level.origin[0] + level.size[0] for level in chosen.levels) + CANVAS.outer
    bottom = max(level.origin[1] + level.size[1] for level in chosen.levels) + CANVAS.outer
    canvas = np.empty((max(bottom, 29), max(right, 29), 3), np.uint8)
    canvas[:] = (123, 117, 104)
    for index, level in enumerate(chosen.levels):
        (x, y), (width, height) = level.origin, level.size
        for row in range(height):
            canvas[y + row, x : x + width] = pyramid.rows(index, row, row + 1)[:, 0].T
    return canvas


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((450, 341), {}),
        ((341, 450), {"max_side": 300}),
        ((160, 120), {"upsample": 1}),
        ((97, 411), {"max_face": 90}),
        ((1000, 60), {}),
        ((3, 300), {}),
        ((700, 2), {}),
        ((1, 1), {}),
    ],
)
def test_every_strip_is_a_part_of_the_canvas(ours: Pipeline, rng: np.random.Generator, size, options):
    picture, chosen = noise(*size), plan(size, mmod.PROFILE, **options)
    wanted = by_hand(ours, picture, chosen)
    canvas = canvas_of(ours, picture, chosen)
    assert canvas.size == wanted.shape[1::-1]
    across, down = ((side - 29) // 8 + 1 for side in canvas.size)
    strips = [(0, down, 0, across), (down - 1, down, across - 1, across)]
    strips += [(row, min(row + 5, down), 0, across) for row in range(0, down, 5)]
    for _ in range(20):  # in any order, any width
        top, left = int(rng.integers(down)), int(rng.integers(across))
        strips.append((top, int(rng.integers(top, down)) + 1, left, int(rng.integers(left, across)) + 1))
    for top, bottom, left, right in strips:
        found = canvas.pixels(top, bottom, left, right)
        there = wanted[8 * top : 8 * (bottom - 1) + 29, 8 * left : 8 * (right - 1) + 29]
        assert found.dtype == np.uint8
        assert np.array_equal(found, there.transpose(2, 0, 1))


def test_the_gaps_of_the_canvas_have_one_colour(ours: Pipeline):
    chosen = plan((450, 341), mmod.PROFILE)
    canvas = canvas_of(ours, np.zeros((341, 450, 3), np.uint8), chosen)
    assert canvas.size == (450 + 22, 1271 + 11)
    pixels = canvas.pixels(0, (1282 - 29) // 8 + 1, 0, (472 - 29) // 8 + 1)
    shown = np.zeros(pixels.shape[1:], bool)
    for level in chosen.levels:
        (x, y), (width, height) = level.origin, level.size
        shown[y : y + height, x : x + width] = True
    assert (pixels[:, shown] == 0).all()
    assert (pixels[:, ~shown].T == (123, 117, 104)).all()


def test_a_canvas_is_at_least_one_cell_large(ours: Pipeline):
    canvas = canvas_of(ours, np.zeros((1, 1, 3), np.uint8), plan((1, 1), mmod.PROFILE))
    assert canvas.size == (29, 29)
    assert canvas.pixels(0, 1, 0, 1).shape == (3, 29, 29)


def nearest(x: float, y: float, placed: tuple[Level, ...]) -> int:
    best, index = float("inf"), -1
    for i, level in enumerate(placed):
        (left, top), (width, height) = level.origin, level.size
        beside = left - x if x < left else x - left - width if x > left + width else 0.0
        above = top - y if y < top else y - top - height if y > top + height else 0.0
        if beside * beside + above * above < best:
            best, index = beside * beside + above * above, i
    return index


@pytest.mark.parametrize("size", [(450, 341), (97, 411), (1000, 60), (3, 3)])
def test_nearest_level(size: tuple[int, int], rng: np.random.Generator):
    placed = levels(*size)
    width, height = canvas_size(placed, mmod.PROFILE)
    points = np.concatenate(
        [
            rng.uniform((-20, -20), (width + 20, height + 20), (400, 2)),
            rng.integers((0, 0), (width, height), (200, 2)),
            [np.add(level.origin, level.size) + 5 for level in placed],  # half way to the next
        ]
    )
    assert mmod._nearest(points, placed).tolist() == [nearest(x, y, placed) for x, y in points]


def test_nearest_level_of_no_points():
    assert mmod._nearest(np.zeros((0, 2)), levels(450, 341)).shape == (0,)


# -- the grid ---------------------------------------------------------------------------------------------------


def shifted(head: Picture, x: int, y: int) -> Frame:
    """A head on a grey frame of 420x420, its face 80 pixels wide: just what the first level finds."""
    frame = np.full((420, 420, 3), 128, np.uint8)
    head = resized(head, 218, 218)
    frame[y : y + 218, x : x + 218] = head
    return Frame(frame)


def only(analysis: Analysis) -> NDArray[np.float64]:
    assert len(analysis) == 1
    return analysis.faces.boxes[0]


def test_a_box_lies_on_the_grid_and_follows_its_face(ours: Pipeline, eileens_head: Picture):
    boxes = np.array([only(ours.analyse(shifted(eileens_head, 70 + step, 60))) for step in range(9)])
    first = boxes[:, 2] - boxes[:, 0] == 80  # found on the first level, so on a grid of 8 pixels
    assert first.sum() >= 3
    assert (boxes[first, :2] % 8 == 3.5).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.arange(9)[:, None] * (1, 0)
    assert np.ptp(centres, axis=0).max() <= 8 * 1.2  # a cell of the second level


@pytest.mark.parametrize(("right", "down"), [(8, 0), (0, 8), (-16, 8)])
def test_a_shift_by_whole_cells_shifts_the_box_by_as_much(ours: Pipeline, eileens_head: Picture, right: int, down: int):
    one = ours.analyse(shifted(eileens_head, 74, 60))
    other = ours.analyse(shifted(eileens_head, 74 + right, 60 + down))
    assert only(one)[2] - only(one)[0] == 80
    assert (only(other) - only(one)).tolist() == [right, down, right, down]
    assert other.faces.confidence[0] == pytest.approx(one.faces.confidence[0], abs=1e-4)


# -- odd frames and thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (1, 1), (30000, 2), (2, 3000), (7, 6), (28, 29), (5000, 1)])
def test_nobody_on_a_blank_frame(ours: Pipeline, width: int, height: int, value: int):
    analysis = ours.analyse(Frame(np.full((height, width, 3), value, np.uint8)))
    assert analysis.faces.boxes.shape == (0, 4)
    assert analysis.faces.confidence.shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (30000, 2), (2, 3000), (40, 40)])
def test_nobody_in_noise_either(ours: Pipeline, size: tuple[int, int]):
    assert not len(ours.analyse(Frame(noise(*size)), scale=Scale(upsample=1)))


def test_a_higher_threshold_keeps_the_strongest_boxes(ours: Pipeline, eileens_head: Picture, graces_head: Picture):
    frame = noise(497, 283)
    frame[10:270, 5:265] = eileens_head
    frame[40:260, 280:480] = graces_head
    thresholds = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.02, 5.0)
    found = [ours.analyse(Frame(frame), min_confidence=threshold).faces for threshold in thresholds]
    counts = [len(faces) for faces in found]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[3] == 2
    assert counts[-1] == 0
    for threshold, faces in zip(thresholds, found, strict=True):
        assert (faces.confidence > threshold).all()
        assert (np.diff(faces.confidence) <= 0).all()
        assert np.array_equal(faces.boxes, found[0].boxes[: len(faces)])


def test_the_same_frame_twice_gives_the_same_faces(ours: Pipeline, grace: Frame):
    one, other = (ours.analyse(grace, scale=Scale(max_side=300)).faces for _ in range(2))
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.confidence, other.confidence)
