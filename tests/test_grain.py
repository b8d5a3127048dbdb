"""The estimate of a frame's grain, on grain that is known."""

import io

import numpy as np
import pytest
from PIL import Image

from peephole.grain import estimate
from scenes import Picture, grained


def flat(side: int = 768, value: float = 0.45) -> np.ndarray:
    return np.full((side, side), value)


def coded(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("sigma", [0.005, 0.01, 0.02, 0.04, 0.08, 0.12])
def test_white_grain_on_a_flat_frame(rng, sigma):
    assert estimate(grained(flat(), sigma, rng)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("sigma", [0.02, 0.04, 0.08])
def test_grain_as_a_camera_smooths_and_codes_it(rng, sigma):
    smoothed = grained(flat(), sigma, rng, smoothed=True)
    assert estimate(smoothed) == pytest.approx(sigma, rel=0.15)
    assert estimate(coded(smoothed, 70)) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("sigma", [0.02, 0.05])
def test_colour_grain_counts_by_its_luminance(rng, sigma):
    noise = rng.normal(0, sigma, (512, 512, 3)) + 0.5
    expected = sigma * np.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    assert estimate((noise * 255).round().astype(np.uint8)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.06])
def test_edges_slopes_and_stripes_are_no_grain(rng, sigma):
    y, x = np.mgrid[:768, :768]
    for values in (0.2 + x / 1600 + y / 3000, 0.3 + 0.4 * (x % 9 < 4), 0.3 + 0.4 * (y % 2), 0.2 + 0.5 * (y > 333)):
        assert estimate(grained(values, sigma, rng)) == pytest.approx(sigma, rel=0.15, abs=0.002)


@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_texture_on_most_of_a_frame_is_no_grain(rng, sigma):
    values = flat()
    values[:, :600] += rng.uniform(-0.3, 0.3, (768, 600))
    assert estimate(grained(values, sigma, rng)) == pytest.approx(sigma, rel=0.25, abs=0.002)


def test_a_portrait_has_little_grain_and_what_is_added(eileen, grace, rng):
    for frame in (eileen, grace):
        assert estimate(frame.pixels) < 0.02
        added = np.clip(frame.pixels + rng.normal(0, 0.05 * 255, (*frame.pixels.shape[:2], 1)), 0, 255)
        assert estimate(added.astype(np.uint8)) == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_none_on_flat_frames(value):
    assert estimate(np.full((480, 640, 3), value, np.uint8)) == 0


def test_black_and_white_parts_hide_no_grain(rng):
    for value in (0.0, 1.0):
        values = flat()
        values[:, 100:] = value  # grain is cut off there
        assert estimate(grained(values, 0.05, rng)) == pytest.approx(0.05, rel=0.2)
        values = grained(flat(), 0.05, rng)
        values[200:] = round(value * 255)
        assert estimate(values) == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize("size", [(1, 1), (31, 900), (900, 31)])
def test_none_where_no_block_fits(rng, size):
    assert estimate(rng.integers(0, 256, (*size, 3), np.uint8)) == 0


@pytest.mark.parametrize("size", [(32, 32), (40, 700), (33, 65), (2000, 32)])
def test_small_and_narrow_frames(rng, size):
    assert estimate(grained(np.full(size, 0.5), 0.05, rng)) == pytest.approx(0.05, rel=0.4)


def test_a_frame_is_not_written_to(rng):
    picture = grained(flat(64), 0.05, rng)
    picture.flags.writeable = False
    assert estimate(picture) > 0
