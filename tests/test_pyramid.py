import numpy as np

from peephole import pyramid
from peephole.detectors.mmod import PROFILE
from peephole.detectors.planted import Planted
from peephole.frame import Frame
from peephole.planner import plan


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


def test_every_level_comes_in_its_size_and_order(rng):
    frame = Frame(rng.integers(0, 256, (300, 401, 3), np.uint8))
    p = plan(frame.size, PROFILE, max_side=200, upsample=1)
    seen = [(level, image.shape) for level, image in pyramid.images(frame, p, Planted([], []).shrink)]
    assert [level for level, _ in seen] == list(p.levels)
    assert [shape for _, shape in seen] == [(level.size[1], level.size[0], 3) for level in p.levels]
