"""Chips → vectors, as well as a chip allows: what is done for a face that is noisy, far away or without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .quality import GRAINY, luminance

if TYPE_CHECKING:
    from .frame import Pixels
    from .recognizers import Embeddings, Recognizer

DROWNED = 0.018
"""Grain from which a chip is smoothed in full; from `GRAINY` on it is in proportion. See `quality.grain`."""
WIDEST = 1.4 / 112
"""Standard deviation of the Gaussian that smooths such a chip, in sides of the chip."""
FAR, FARTHER = 56.0, 48.0
"""Geometric means of a box's sides, in native pixels: from the first down a chip is enlarged and so blurred; from the
second on its mirror image counts as much as the chip."""


def embed(recognizer: Recognizer, chips: Pixels, grains: NDArray[np.float64], sizes: NDArray[np.float64]) -> Embeddings:
    """A vector for each chip, (n, dimensions).

    A chip is smoothed as far as its own grain asks; one without grain stays as it is. A vector of a face that is noisy
    or far is the mean of the chip's own and its mirror image's, which err differently; ArcFace and others average so
    for every face (J. Deng et al., "ArcFace", 2019), here only those that gain from it pay for it. Both come by
    degrees, so that two looks at the same face give nearly the same vector.

    Args:
        recognizer: makes the vectors.
        chips: aligned, (n, side, side, 3) uint8 RGB.
        grains: (n,), see `quality.grain`.
        sizes: (n,), geometric means of the boxes' sides in native pixels.
    """
    noise = np.clip((grains - GRAINY) / (DROWNED - GRAINY), 0, 1)
    shown = np.stack([smoothed(*each) for each in zip(chips, noise.tolist(), strict=True)]) if len(chips) else chips
    vectors = recognizer.embed(shown)
    faint = np.maximum(noise, np.clip((FAR - sizes) / (FAR - FARTHER), 0, 1))
    rows = np.flatnonzero(faint)
    if len(rows):
        share = (faint[rows, None] / 2).astype(np.float32)
        mirrored = recognizer.embed(np.ascontiguousarray(shown[rows][:, :, ::-1]))
        vectors = vectors.copy()
        vectors[rows] = (1 - share) * vectors[rows] + share * mirrored
        if recognizer.similarity == "cosine":
            vectors[rows] /= np.maximum(np.linalg.norm(vectors[rows], axis=1, keepdims=True), 1e-12)
    return vectors


def smoothed(chip: Pixels, share: float) -> Pixels:
    """A chip, (side, side, 3) uint8 RGB, smoothed by a share, 0 to 1, of what helps a recognizer with the worst."""
    if not share:
        return chip
    return np.asarray(Image.fromarray(chip).filter(ImageFilter.GaussianBlur(share * WIDEST * len(chip))))


def colourless(chips: Pixels) -> Pixels:
    """The same chips by their luminance alone, (n, side, side, 3) uint8.

    A face by infrared light has no colour. Compared with photos that have none either it is not told apart by that.
    """
    grey = (luminance(chips.astype(np.float32)) * 255 + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, -1)
