"""Frames full of heads, for detectors."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


def scene(head: Image.Image, size: tuple[int, int], sides: tuple[int, int], seed: int = 3) -> Picture:
    """Noise with heads of several sizes on it, ``sides`` the least and the most, some of them cut off by the border."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(60, 200, (size[1], size[0], 3), np.uint8))
    for _ in range(1 + size[0] * size[1] // 120_000):
        side = int(rng.integers(*sides))
        at = (int(rng.integers(-60, size[0])), int(rng.integers(-60, size[1])))
        picture.paste(head.resize((side, side), Image.Resampling.BILINEAR), at)
    return np.asarray(picture)


def grained(values: NDArray[np.float64], sigma: float, rng: np.random.Generator, *, smoothed: bool = False) -> Picture:
    """A grey frame from luminance, (height, width) of 0 to 1, with grain of a standard deviation of ``sigma``.

    ``smoothed``: over about two pixels, as by most cameras.
    """
    noise = rng.normal(0, 1, values.shape)
    for axis in (0, 1) if smoothed else ():
        noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    made = np.clip(values + sigma * noise / noise.std(), 0, 1) * 255
    return made.round().astype(np.uint8)[:, :, None].repeat(3, 2)
