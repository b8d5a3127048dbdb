"""How grainy a frame is, from a sample of its pixels.

By night a camera's sensor has little light, and what it amplifies is grain. A detector's finest level drowns in it
first: each coarser one averages four pixels into one. So how much grain there is decides which levels are worth their
time; see `planner.suited`.
"""

from __future__ import annotations

import math

import numpy as np

from .frame import Pixels

BLOCK = 32
"""Pixels of a block of the sample, a side."""
ALONG = 10
"""Blocks of the sample along each axis, spread evenly."""
CODED = 8
"""Pixels of JPEG's blocks, a side: the sample's begin with one, or the 2x2 means would lie across what it rounds."""
QUIET = 0.05
"""So large a share of the blocks is as quiet as what is reported: grain is everywhere, texture is not."""
QUIETER = 0.84
"""What such a block has of the grain that there is, on average: measured on white noise."""
CLIPPED = 0.1
"""A block with a larger share of pixels as dark, or as bright, as can be is left out: grain is cut off there."""
LUMINANCE = (0.299 / 255, 0.587 / 255, 0.114 / 255)
"""ITU-R BT.601, from 8 bits to 0 .. 1."""


def estimate(pixels: Pixels) -> float:
    """The grain of a frame: the standard deviation of its luminance's noise, as a share of full scale (0 to 1).

    J. Immerkaer, "Fast noise variance estimation", 1996: the mean absolute response to a mask that neither edges nor
    even slopes answer to. Here it is taken block by block, and a quiet block counts, so that texture is not taken for
    grain; and on the means of 2x2 pixels, because cameras smooth their grain over about two pixels and JPEG takes away
    what is finer. What is reported is the white noise that leaves the same there. White noise itself, and grain that is
    smoothed over two pixels and coded at quality 70, come out within a tenth of what they are.

    Args:
        pixels: (height, width, 3) uint8 RGB; at most 100 blocks of 32x32 of them are looked at.

    Returns:
        0 where no block says anything: a frame smaller than a block, or all black, or all white.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < BLOCK:
        return 0.0
    tops, lefts = (_spread(side) for side in (height, width))
    blocks = np.stack([pixels[top : top + BLOCK, left : left + BLOCK] for top in tops for left in lefts])
    clipped = ((blocks[..., 1] == 0) | (blocks[..., 1] == 255)).mean((1, 2))
    whole = clipped <= CLIPPED
    if not whole.any():
        return 0.0
    blocks = blocks[whole]
    rows = np.add(blocks[:, ::2], blocks[:, 1::2], dtype=np.uint16)
    sums = rows[:, :, ::2] + rows[:, :, 1::2]
    red, green, blue = (sums[..., channel] * np.float32(share / 4) for channel, share in enumerate(LUMINANCE))
    means = red + green + blue
    across = means[:, :, :-2] - 2 * means[:, :, 1:-1] + means[:, :, 2:]
    residual = np.abs(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]).mean((1, 2))
    # The mask's norm is 6; a normal's mean absolute value is its deviation times sqrt(2 / pi); 2x2 means halve it.
    return float(np.quantile(residual, QUIET)) / QUIETER * math.sqrt(math.pi / 2) / 6 * 2


def _spread(side: int) -> list[int]:
    """Where the blocks begin along an axis: evenly spread, and not overlapping."""
    count = min(ALONG, side // BLOCK)
    return [index * (side - BLOCK) // max(count - 1, 1) // CODED * CODED for index in range(count)]
