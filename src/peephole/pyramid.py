"""The pictures that a plan calls for, made from the frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from .frame import Frame, Pixels
from .planner import Level, Plan, Size

Resize = Callable[[Pixels, Size], Pixels]


def images(frame: Frame, plan: Plan, shrink: Resize) -> Iterator[tuple[Level, Pixels]]:
    """Each level of a plan with its picture, (height, width, 3) uint8 RGB; one at a time is alive.

    The first is resampled from the frame, keeping the outer edges; each further one from the one before by
    ``shrink``, keeping the centres of the corner pixels, as dlib does.
    """
    image = resample(resample(frame.pixels, plan.shrunk), plan.base)
    for index, level in enumerate(plan.levels):
        if index:
            image = shrink(image, level.size)
        yield level, image


def resample(pixels: Pixels, size: Size) -> Pixels:
    """Resize to (width, height), keeping the outer edges; smaller with antialiasing, larger bilinear."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
