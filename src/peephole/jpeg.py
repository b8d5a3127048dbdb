"""A JPEG's pixels, and whether its decoder complained while it made them.

libjpeg goes on where data are missing or damaged and fills the gaps, with a warning. Pillow drops that warning,
simplejpeg (the same libjpeg-turbo behind its TurboJPEG interface) raises it. The pixels of both are the same.

What libjpeg does not notice is not noticed here: damage that fits its codes, as a byte missing from a flat area.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .errors import FrameCorrupt

END = b"\xff\xd9"
_SCAN = b"\xff\xda"
MOST_MISSING = 1 / 20
"""The share of a picture's rows that may be missing at its end.

An upload that breaks off in its last packet loses as much. A face that lies in there altogether is of somebody whose
head is at the frame's lower edge.
"""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""What ends a scan: a marker other than the restarts within it."""
_HARMLESS = ("Invalid SOS parameters", "Unknown Adobe color transform", "Warning: unknown JFIF revision")
"""What libjpeg says of odd declarations that change no pixel. It tells of the first thing only: behind one of these,
damage is not noticed."""
_CUT = "premature end of data segment"
_FILLER = bytes(range(254, 0, -1)) * 4
"""Entropy-coded data that are no picture's: what they decode to differs from what is made up where there are none."""

Pixels = NDArray[np.uint8]


def decode_jpeg(
    data: bytes, size: tuple[int, int], factor: int, *, scan: int, rows: int, step: int, colours: str = "RGB"
) -> tuple[Pixels, int] | None:
    """The pixels as they are stored, and how many of the picture's rows they show; rows below are black.

    A picture without an end marker is decoded all the same, as is one with zeros behind its last pixel.

    Args:
        data: the picture.
        size: (width, height) to decode to: the native sides by the factor, rounded up.
        factor: 1, 2, 4 or 8.
        scan: where in the data the first scan begins.
        rows: the native height.
        step: rows that are coded together, a multiple of 8; 0 where every scan is over the whole picture, so that
            none of its rows is complete before the last one is there.
        colours: "RGB", also of a grey one; or "CMYK" of one that is.

    Returns:
        (h, w, 3) or (h, w, 4) uint8 and the number of native rows; None for what has to be left to Pillow: unusual
        subsampling, which TurboJPEG does not take, and odd declarations, which it takes for damage.

    Raises:
        ValueError: the decoder complained, in its own words.
        FrameCorrupt: rows are missing, more than `MOST_MISSING` of them.
        MemoryError: there is none for it.
    """

    def decoded(candidate: bytes, *, strict: bool = True) -> Pixels:
        width, height = size
        buffer = np.empty((height, width, len(colours)), np.uint8)
        least: dict[str, Any] = {} if factor == 1 else {"min_width": width, "min_height": height, "min_factor": factor}
        try:
            simplejpeg.decode_jpeg(candidate, colours, buffer=buffer, strict=strict, **least)
        except ValueError as error:
            del buffer  # the error holds on to this call's variables
            if "memory" in str(error).lower():  # libjpeg's own allocations
                raise MemoryError(str(error)) from error
            raise
        return buffer

    complaints: list[ValueError] = []
    first = data
    start = scan + len(_SCAN) + int.from_bytes(data[scan + 2 : scan + 4], "big")
    for candidate in _complete(data, start):
        try:
            return decoded(candidate), rows
        except ValueError as error:
            first = first if complaints else candidate
            complaints.append(error)
    if str(complaints[0]).startswith(_HARMLESS) or not _taken(data):
        return None
    # A cut leaves no marker behind, and nothing else to complain of. Otherwise bytes are missing within, and nobody
    # knows from where on.
    if not step or _CUT not in str(complaints[0]) or _MARKER.search(data, start):
        raise complaints[0]
    coded = first.removesuffix(END)
    partly = decoded(first, strict=False)
    filled = decoded(coded + b"\0" * coded.endswith(b"\xff") + _FILLER + END, strict=False)
    differs = next((y for y in range(len(partly)) if not np.array_equal(partly[y], filled[y])), None)
    if differs is None:  # the last pixel comes before the data end: something else is wrong with them
        raise complaints[0]
    # Upsampled colours reach one row up, into what was there.
    there = (differs * factor + 1) // step * step
    if rows - there > MOST_MISSING * rows:
        raise FrameCorrupt(f"cut off or damaged: {there} of {rows} rows are there") from complaints[0]
    partly[there // factor :] = 0
    return partly, there


def _taken(data: bytes) -> bool:
    """Whether TurboJPEG takes pictures of this kind at all, damaged or not."""
    try:
        simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:
        return False
    return True


def _complete(data: bytes, start: int) -> Iterator[bytes]:
    """The picture with its end marker, and without zeros before that, the likelier first.

    Zeros come from space that was kept for a file beforehand, and from encoders that write whole words. Where they are
    the picture's own, the decoder puts them back, and complains: then it is the other one.
    """
    ended = data.rfind(END, start) >= 0
    if ended:
        yield data
    coded = data[start : data.find(END, start)] if ended else data[start:]
    bare = coded.rstrip(b"\0")
    if bare.endswith(b"\xff") and len(bare) < len(coded):
        bare += b"\0"  # a 0xFF in the data is written with a zero behind it
    if not ended or len(bare) < len(coded):
        yield data[:start] + bare + END
    if not ended:
        yield data + END
