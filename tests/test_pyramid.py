import numpy as np
import pytest
from PIL import Image

from peephole import pyramid
from peephole.buffers import Buffers
from peephole.detectors.mmod import PROFILE
from peephole.planner import KEPT_BANDS, plan


def test_native_scale_hands_the_frame_on_without_a_copy(rng):
    pixels = rng.integers(0, 256, (50, 70, 3), np.uint8)
    assert pyramid.resample(pixels, (70, 50)) is pixels


def test_shrinking_is_antialiased():
    # a checkerboard of single pixels has no detail left at half the size: it must turn grey, not black or white
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = pyramid.resample(np.repeat(board[..., None], 3, 2).astype(np.uint8), (32, 32))
    assert abs(small.astype(int) - 127).max() <= 5


def test_enlarging_is_bilinear_between_pixel_centres():
    row = np.array([[[0] * 3, [100] * 3]], np.uint8)
    assert pyramid.resample(row, (4, 1))[0, :, 0].tolist() == [0, 25, 75, 100]


def noise(size, seed=4):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def waves(size):
    """Smooth, so that a pixel to the side is not 255 grey values away."""
    y, x = np.mgrid[: size[1], : size[0]]
    return np.stack([128 + 100 * np.sin(x / f + y / 17) for f in (7, 11, 23)], -1).astype(np.uint8)


def reference(pixels, size):
    """The next level in float64, the centres of the corner pixels kept; a side of one pixel is the first pixel."""

    def axis(length, target):
        at = np.arange(target) * ((length - 1) / max(target - 1, 1))
        low = np.minimum(at.astype(int), length - 1)
        return low, np.minimum(low + 1, length - 1), at - low

    (top, bottom, y), (left, right, x) = axis(pixels.shape[0], size[1]), axis(pixels.shape[1], size[0])
    rows = pixels[top] * (1 - y)[:, None, None] + pixels[bottom] * y[:, None, None]
    return rows[:, left] * (1 - x)[:, None] + rows[:, right] * x[:, None]


CASES = [
    ((401, 300), {}),
    ((401, 300), {"max_side": 200, "upsample": 1}),
    ((401, 300), {"max_side": 333}),
    ((120, 161), {"upsample": 1}),
    ((90, 70), {"upsample": 3}),
    ((300, 800), {"min_face": 97.3}),
    ((3, 500), {}),
    ((900, 5), {}),
    ((30, 7), {"upsample": 1}),
    ((9001, 12), {}),
    ((1, 1), {}),
]


@pytest.mark.parametrize(("size", "options"), CASES)
def test_every_level_comes_in_its_size_and_type(size, options):
    p = plan(size, PROFILE, **options)
    made = pyramid.Pyramid(noise(size), p)
    for index, level in enumerate(p.levels):
        rows = made.rows(index, 0, level.size[1])
        assert (rows.shape, rows.dtype) == ((3, level.size[1], level.size[0]), np.uint8)


@pytest.mark.parametrize(("size", "options"), [*CASES, ((2, 60), {}), ((2, 9), {"upsample": 2}), ((6, 60), {})])
def test_every_level_is_the_one_before_shrunk(size, options):
    p = plan(size, PROFILE, **options)
    pixels = waves(size)
    made = pyramid.Pyramid(pixels, p)
    before = made.rows(0, 0, p.base[1]).transpose(1, 2, 0)
    assert np.array_equal(before, pyramid.base(pixels, p))
    for index, level in enumerate(p.levels[1:], 1):
        rows = made.rows(index, 0, level.size[1]).transpose(1, 2, 0)
        assert np.abs(rows - reference(before, level.size)).max() <= 0.5001
        before = rows


@pytest.mark.parametrize(("size", "options"), CASES)
def test_any_order_and_any_split_give_the_same_rows(rng, size, options):
    p = plan(size, PROFILE, **options)
    pixels = noise(size)
    whole = pyramid.Pyramid(pixels, p)
    wanted = [whole.rows(index, 0, level.size[1]).copy() for index, level in enumerate(p.levels)]
    asked = pyramid.Pyramid(pixels, p)
    for _ in range(80):
        index = int(rng.integers(len(p.levels)))
        height = p.levels[index].size[1]
        top = int(rng.integers(height))
        bottom = top + 1 + int(rng.integers(height - top))
        assert np.array_equal(asked.rows(index, top, bottom), wanted[index][:, top:bottom])
    for index in range(len(p.levels)):  # a row at a time, upwards and down
        for order in (1, -1):
            rows = [(y, asked.rows(index, y, y + 1)[:, 0].copy()) for y in range(p.levels[index].size[1])[::order]]
            assert all(np.array_equal(row, wanted[index][:, y]) for y, row in rows)


def test_the_first_level_is_never_whole_in_memory():
    p = plan((300, 6000), PROFILE, min_face=100)
    made = pyramid.Pyramid(noise((300, 6000)), p)
    for top in range(0, p.base[1] - 40, 40):
        made.rows(1, int(top / 1.2), int(top / 1.2) + 20)
        made.rows(0, top, top + 40)
        assert len(made._bands) <= KEPT_BANDS


def test_a_frame_that_is_looked_at_as_it_is_is_not_copied():
    pixels = noise((200, 100))
    made = pyramid.Pyramid(pixels, plan((200, 100), PROFILE))
    assert np.shares_memory(made.rows(0, 10, 60), pixels)
    assert pyramid.base(pixels, plan((200, 100), PROFILE)) is pixels


@pytest.mark.parametrize(("size", "target"), [((401, 300), (333, 249)), ((70, 90), (140, 180)), ((500, 411), (80, 66))])
def test_bands_are_what_pillow_makes_at_once(size, target):
    pixels = noise(size)
    whole = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR))
    found = pyramid.resample(pixels, target)
    assert np.abs(found.astype(int) - whole).max() <= 1
    assert (found != whole).mean() < 0.02


@pytest.mark.parametrize(("size", "options"), CASES)
def test_the_base_is_what_was_shrunk_enlarged(size, options):
    p = plan(size, PROFILE, **options)
    pixels = noise(size)
    small = pyramid.resample(pixels, p.shrunk)
    assert small.shape == (p.shrunk[1], p.shrunk[0], 3)
    assert np.array_equal(pyramid.base(pixels, p), pyramid.resample(small, p.base))


# Halves, and their smoothing


@pytest.mark.parametrize("size", [(64, 64), (401, 300), (7, 513), (2, 2)])
def test_a_half_is_the_mean_of_two_by_two_pixels(size):
    pixels = noise(size)
    half = pyramid.halved(pixels, size, Buffers())
    whole = pixels[: size[1] // 2 * 2, : size[0] // 2 * 2].astype(float)
    means = whole.reshape(size[1] // 2, 2, size[0] // 2, 2, 3).mean((1, 3))
    assert np.array_equal(half, np.floor(means + 0.5))


@pytest.mark.parametrize("size", [(333, 290), (900, 700)])
def test_a_half_of_another_size_is_that_of_what_resampling_makes(size):
    pixels = waves((500, 420))
    whole = pyramid.resample(pixels, size)
    assert np.array_equal(pyramid.halved(pixels, size, Buffers()), pyramid.halved(whole, size, Buffers()))


@pytest.mark.parametrize("passes", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("size", [(40, 300), (129, 65), (5, 64), (1, 1), (3, 2)])
def test_smoothing_is_so_many_passes_of_a_binomial_filter_two_at_a_time(size, passes):
    picture = noise(size)
    expected = picture.astype(float)
    for together in [2] * (passes // 2) + [1] * (passes % 2):
        wide = np.pad(expected, [(together, together), (together, together), (0, 0)], "edge")
        for _ in range(together):
            wide = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
            wide = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
        expected = np.floor(wide + 0.5)
    before = picture.copy()
    assert np.array_equal(pyramid.smoothed(picture, passes, Buffers()), expected)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("passes", [1, 2, 3, 4])
def test_smoothed_rows_depend_on_as_many_more_as_there_are_passes(passes):
    picture = noise((70, 200))
    whole = pyramid.smoothed(picture, passes, Buffers())
    part = pyramid.smoothed(picture[50:150], passes, Buffers())
    assert np.array_equal(part[passes:-passes], whole[50 + passes : 150 - passes])
    assert not np.array_equal(part[0], whole[50])


@pytest.mark.parametrize("value", [0, 255])
def test_smoothing_keeps_black_and_white(value):
    picture = np.full((80, 70, 3), value, np.uint8)
    assert (pyramid.smoothed(picture, 4, Buffers()) == value).all()
