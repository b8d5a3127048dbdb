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
