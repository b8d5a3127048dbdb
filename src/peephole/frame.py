"""Encoded snapshot → size-checked decode → frame."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import TiffImageFile

from .errors import (
    FrameCorrupt,
    FrameEmpty,
    FrameError,
    FrameNotAPicture,
    FrameNotFound,
    FrameTooLarge,
    FrameUnreadable,
    OutOfMemory,
    UsageError,
    memory_errors,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What is decoded, under Pillow's names. Nothing else is even tried: every parser is a surface to attack."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Which files of a folder count as pictures."""

MAX_PIXELS = 160_000_000
"""Largest frame that is decoded, in pixels: the 108 million of 12000 x 9000 pass, a decompression bomb doesn't."""

Pixels = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | Pixels


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded snapshot, upright.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, contiguous.
        source: where it came from, for messages and logs.
    """

    pixels: Pixels
    source: str = "array"

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self.width, self.height


def read(source: Source | Frame, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Decode a picture: a path, its encoded bytes, or an (h, w, 3) uint8 RGB array, which is taken as it is.

    EXIF orientation is applied. Grey, palette, CMYK and 16-bit pictures come out as 8-bit RGB (16 bits by their
    upper byte); an alpha channel is ignored, the colours under it are taken as they stand. Of several pages or
    frames the first is read.

    Args:
        source: the picture.
        max_pixels: a larger one is refused before it is decoded. Pillow's own limit, twice its
            ``Image.MAX_IMAGE_PIXELS`` or 179 million pixels, holds in any case; arrays have none.

    Raises:
        FrameError: one of its kinds; see `peephole.errors`.
        UsageError: an array of another shape or type.
    """
    if isinstance(source, Frame):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        return decode(source, "bytes", max_pixels=max_pixels)
    name = os.fspath(source)
    return decode(load(name), name, max_pixels=max_pixels)


def load(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        FrameNotFound, FrameUnreadable: with the operating system's own words.
        OutOfMemory: it does not fit into memory.
    """
    if not os.fspath(path):
        raise FrameNotFound("an empty name")
    try:
        with memory_errors():
            return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FrameNotFound("no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise FrameUnreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def decode(data: bytes, source: str = "bytes", *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Decode a picture's bytes; see `read`.

    Raises:
        FrameEmpty, FrameNotAPicture, FrameCorrupt, FrameTooLarge: what was wrong with them.
        OutOfMemory: the pixels do not fit into memory.
    """
    with _open(data, max_pixels) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise FrameTooLarge(
                f"the header claims {width}x{height} = {width * height / 1e6:.0f} million pixels, "
                f"the limit is {max_pixels / 1e6:.0f} million"
            )
        if _tiff(image, _PLANAR) == 2 and max(_tiff(image, _BITS) or (8,)) > 8:
            # Pillow decodes it, wrongly and without a word.
            raise FrameCorrupt("a TIFF of more than 8 bits a sample in separate planes is not read here")
        image.load()
        if _orientation(image) != 1:
            ImageOps.exif_transpose(image, in_place=True)
        return Frame(_rgb(image), source)


_decoding = threading.Lock()
"""Held while Pillow works: warnings are silenced for the whole process, and two at once would not put them back."""


@contextmanager
def _open(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Pillow's picture over ``data``, its errors translated here and nowhere else."""
    if not data:
        raise FrameEmpty("the file is empty (0 bytes)")
    try:
        with _decoding, warnings.catch_warnings():
            # The size limit is ours and damaged metadata is no reason to refuse: Pillow's warnings add nothing.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                yield image
    except FrameError:
        raise
    except UnidentifiedImageError as error:
        raise FrameNotAPicture(
            f"not a picture in a format that is read here ({', '.join(FORMATS)}); it begins with {data[:8]!r}"
        ) from error
    except Image.DecompressionBombError as error:
        claimed = re.search(r"\d+", str(error))  # it says so in its first number and nowhere else
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or 0))
        raise FrameTooLarge(
            f"the header claims {claimed[0] if claimed else 'too many'} pixels, the limit is {limit / 1e6:.0f} million"
        ) from error
    except MemoryError as error:
        raise OutOfMemory("there is not enough memory to decode it") from error
    except Exception as error:
        # Pillow's parsers raise whatever they trip over in a damaged file: OSError, SyntaxError, struct.error, ...
        raise FrameCorrupt(f"cut off or damaged: {error or type(error).__name__}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(ExifTag.Orientation, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data says nothing, and the pixels may be fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_BITS, _PHOTOMETRIC, _PLANAR = 258, 262, 284
"""TIFF tags: bits a sample, what zero means, whether the colours lie in planes."""


def _tiff(image: Image.Image, tag: int) -> Any:
    """A TIFF's tag, or None."""
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


def _rgb(image: Image.Image) -> Pixels:
    """A loaded picture of any mode as contiguous (h, w, 3) uint8 RGB."""
    if image.mode.startswith("I"):  # 16-bit grey; 32-bit only as Pillow's container of it
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise FrameCorrupt("a grey picture of more than 16 bits a pixel is not read here")
        grey = (values >> 8).astype(np.uint8)
        if _tiff(image, _PHOTOMETRIC) == 0:  # white is zero, which Pillow minds only up to 8 bits
            grey = 255 - grey
        return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
    if image.mode == "F":
        raise FrameCorrupt("a picture of floating-point pixels is not read here")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(array: NDArray[Any]) -> Frame:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UsageError(f"a frame is a non-empty (height, width, 3) uint8 RGB array, not {array.shape} {array.dtype}")
    return Frame(np.ascontiguousarray(array))
