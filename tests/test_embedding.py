"""What is done for a noisy, far or colourless face before its chip becomes a vector."""

import numpy as np
import pytest

from peephole.embedding import DROWNED, FAR, colourless, embed, smoothed
from peephole.quality import GRAINY, grain

CLEAN, NEAR = np.zeros(1), np.full(1, 2 * FAR)


class Corner:
    """A recognizer whose vector is the chip's first pixel, so that a mirror image has another one."""

    def __init__(self, similarity="euclidean"):
        self.similarity = similarity

    def embed(self, chips):
        vectors = chips[:, 0, 0].astype(np.float32)
        if self.similarity == "cosine":
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


@pytest.fixture
def chip():
    """Red on the left, blue on the right."""
    made = np.zeros((112, 112, 3), np.uint8)
    made[:, :56, 0] = made[:, 56:, 2] = 200
    return made


def noisy(rng, sigma, base=128):
    return np.clip(base + rng.normal(0, 255 * sigma, (112, 112, 1)), 0, 255).astype(np.uint8).repeat(3, 2)


def test_a_clear_near_face_is_embedded_once_and_as_it_is(chip):
    np.testing.assert_array_equal(embed(Corner(), chip[None], CLEAN, NEAR), [[200, 0, 0]])


@pytest.mark.parametrize(("grains", "sizes"), [(CLEAN, NEAR / 4), (np.full(1, DROWNED), NEAR)])
def test_a_far_or_noisy_face_counts_with_its_mirror_image(chip, grains, sizes):
    np.testing.assert_allclose(embed(Corner(), chip[None], grains, sizes), [[100, 0, 100]], atol=1)
    (vector,) = embed(Corner("cosine"), chip[None], grains, sizes)
    np.testing.assert_allclose(vector, [0.5**0.5, 0, 0.5**0.5], atol=0.01)


def test_it_comes_by_degrees(chip):
    for grains, sizes in (
        (np.linspace(GRAINY, DROWNED, 9), np.full(9, 2 * FAR)),
        (np.zeros(9), np.linspace(FAR, 40, 9)),
    ):
        vectors = embed(Corner(), np.stack([chip] * 9), grains, sizes)
        np.testing.assert_array_equal(vectors[0], [200, 0, 0])
        np.testing.assert_allclose(vectors[-1], [100, 0, 100], atol=1)
        steps = -np.diff(vectors[:, 0])
        assert (steps[:4] > 0).all()
        assert steps.max() <= 100 / 4 + 1


def test_each_face_by_its_own_grain(chip):
    chips = np.stack([chip, chip])
    first, second = embed(Corner(), chips, np.array([0.0, DROWNED]), np.concatenate([NEAR, NEAR]))
    np.testing.assert_array_equal(first, [200, 0, 0])
    np.testing.assert_allclose(second, [100, 0, 100], atol=1)


def test_nobody():
    assert embed(Corner(), np.zeros((0, 112, 112, 3), np.uint8), np.zeros(0), np.zeros(0)).shape == (0, 3)


def test_smoothing_takes_noise_off(rng):
    chip = noisy(rng, 0.05)
    assert smoothed(chip, 0.0) is chip
    left = [smoothed(chip, share).std() for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.3 * left[0]


def test_colourless_is_the_luminance(chip):
    (grey,) = colourless(chip[None])
    assert grey[0, 0].tolist() == [60, 60, 60]  # 0.299 of 200
    assert grey[0, 111].tolist() == [23, 23, 23]  # 0.114
    np.testing.assert_array_equal(colourless(grey[None]), grey[None])  # it has no colour to lose


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.06])
def test_grain_of_white_noise_is_half_of_it(rng, sigma):
    assert grain(noisy(rng, sigma)) == pytest.approx(sigma / 2, rel=0.1, abs=0.0005)


def test_what_is_no_noise_is_no_grain(chip):
    assert grain(chip) == 0.0  # an edge
    ramp = np.linspace(0, 255, 112).astype(np.uint8)[None, :, None].repeat(112, 0).repeat(3, 2)
    assert grain(ramp) < 0.002
    for flat in (0, 255):
        assert grain(np.full((112, 112, 3), flat, np.uint8)) == 0.0
