"""Encoded snapshot → size-checked decode → frame."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import TiffImageFile

from .errors import (
    FrameCorrupt,
    FrameEmpty,
    FrameError,
    FrameNotAPicture,
    FrameNotFound,
    FrameNotSupported,
    FrameTooLarge,
    FrameUnreadable,
    OutOfMemory,
    UsageError,
    memory_errors,
)
from .geometry import IDENTITY, Transform
from .headers import Header, read_header
from .jpeg import decode_jpeg

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What is decoded, under Pillow's names. Nothing else is even tried: every parser is a surface to attack."""

COPIED_ROWS, COPIED_COLUMNS = 64, 8192
"""How much of a decoded picture is copied at a time."""

SAMPLES, SAMPLE = 16, 256
"""How many samples of a picture's bytes make its fingerprint, and how many bytes each has."""

MAX_PIXELS = 160_000_000
"""Largest frame that is decoded, in pixels: the 108 million of 12000 x 9000 pass, a decompression bomb doesn't."""

Pixels = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | Pixels
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded snapshot, upright by its EXIF orientation, and turned further where that is asked for.

    Attributes:
        pixels: (height, width, 3) uint8 RGB, contiguous.
        source: where it came from, for messages and logs.
        native_size: (width, height) of the snapshot; the pixels' own unless it was decoded smaller or turned.
        to_native: its pixels → native pixels.
        rows_decoded: how many of the picture's native rows, as they are stored from its top, were there to decode;
            those below are black. None for all.
        turn: degrees clockwise by which its pixels are turned against the snapshot: 0, 90, 180 or 270.
    """

    pixels: Pixels
    source: str = "array"
    native_size: Size = (0, 0)
    to_native: Transform = IDENTITY
    rows_decoded: int | None = field(default=None, kw_only=True)
    turn: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.native_size == (0, 0):
            object.__setattr__(self, "native_size", self.size)

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

    def turned(self, degrees: int) -> Frame:
        """A copy turned clockwise by 90, 180 or 270 degrees more; by 0 the frame itself."""
        if degrees == 0:
            return self
        pixels = np.ascontiguousarray(np.rot90(self.pixels, -degrees // 90))
        to_native = Transform.turn(self.size, degrees).inverse().then(self.to_native)
        return Frame(
            pixels,
            self.source,
            self.native_size,
            to_native,
            rows_decoded=self.rows_decoded,
            turn=(self.turn + degrees) % 360,
        )


def turned_size(size: Size, degrees: int) -> Size:
    """(width, height) of a picture once it is turned by a multiple of 90 degrees."""
    return size[::-1] if degrees % 180 else size


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An encoded picture and what it says of itself before any pixel is decoded.

    Attributes:
        data: its bytes.
        source: where it came from, for messages and logs.
        size: (width, height) upright for a JPEG; for the other formats as stored.
        reducible: it can be decoded at 1/2, 1/4 or 1/8 of its sides.
        decoder_bytes: what the decoder takes beside the file and the pixels, whatever the reduction.
    """

    data: bytes
    source: str
    size: Size
    reducible: bool
    decoder_bytes: int = 0

    def fingerprint(self) -> str:
        """16 hexadecimal digits, the same for the same bytes: by them timings know the picture again.

        BLAKE2b of the length and of evenly spread samples. All bytes would take a hundredth of a frame's time; any
        change of a compressed picture shifts what comes behind it.
        """
        step = max(len(self.data) // SAMPLES, SAMPLE)
        parts = [self.data[at : at + SAMPLE] for at in range(0, len(self.data), step)]
        digest = hashlib.blake2b(len(self.data).to_bytes(8, "big"), digest_size=8)
        digest.update(b"".join([*parts, self.data[-SAMPLE:]]))
        return digest.hexdigest()

    def decode(self, reduction: int = 1, turn: int = 0) -> Frame:
        """The frame; see `decode`."""
        return decode(self.data, self.source, max_pixels=self.size[0] * self.size[1], reduction=reduction, turn=turn)


def snapshot(data: bytes, source: str = "bytes", *, max_pixels: int = MAX_PIXELS) -> Snapshot:
    """Read a picture's header; its size is checked here, and no pixel is decoded.

    Raises:
        FrameEmpty, FrameNotAPicture, FrameNotSupported, FrameCorrupt, FrameTooLarge: what was wrong with the bytes.
    """
    with _open(data, max_pixels) as (image, header):
        jpeg = image.format in _JPEG
        # The other formats' orientation may stand behind the pixels: looking for it would decode them.
        turned = jpeg and _orientation(image) >= 5
        size = image.size[::-1] if turned else image.size
        return Snapshot(data, source, size, jpeg, _decoder_bytes(image, header))


def read(source: Source | Frame, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Decode a picture: a path, its encoded bytes, or an (h, w, 3) uint8 RGB array, which is taken as it is.

    EXIF orientation is applied. Grey, palette, CMYK and 16-bit pictures come out as 8-bit RGB (16 bits by their
    upper byte); an alpha channel is ignored, the colours under it are taken as they stand. Of several pages or
    frames the first is read.

    A picture with bytes missing within, or rows, is refused; but for a JPEG that was cut off within its last rows, a
    twentieth of them at the most: see `Frame.rows_decoded`. One that lacks no more than its end marker is whole.

    Args:
        source: the picture.
        max_pixels: a larger one is refused before it is decoded. Pillow's own limit, twice its
            ``Image.MAX_IMAGE_PIXELS`` or 179 million pixels, holds in any case; arrays have none.

    Raises:
        FrameError: one of its kinds; see `peephole.errors`.
        UsageError: an array of another shape or type.
    """
    opened = open_source(source, max_pixels=max_pixels)
    return opened if isinstance(opened, Frame) else opened.decode()


def open_source(source: Source | Frame | Snapshot, *, max_pixels: int = MAX_PIXELS) -> Snapshot | Frame:
    """What there is to look at: an encoded picture with its header read, or pixels as they are; see `read`."""
    if isinstance(source, (Frame, Snapshot)):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        return snapshot(source, max_pixels=max_pixels)
    name = os.fspath(source)
    return snapshot(load(name), name, max_pixels=max_pixels)


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


def decode(
    data: bytes, source: str = "bytes", *, max_pixels: int = MAX_PIXELS, reduction: int = 1, turn: int = 0
) -> Frame:
    """Decode a picture's bytes; see `read`.

    Args:
        data: the encoded picture.
        source: where it came from.
        max_pixels: the largest native size that is decoded.
        reduction: 2, 4 or 8 decodes a JPEG at that part of its sides, rounded up; other formats take no notice.
        turn: degrees clockwise by which the pixels are turned on the way, beside the orientation: it costs nothing.

    Raises:
        FrameEmpty, FrameNotAPicture, FrameNotSupported, FrameCorrupt, FrameTooLarge: what was wrong with them.
        OutOfMemory: the pixels do not fit into memory.
    """
    with _open(data, max_pixels) as (image, header):
        width, height = image.size
        if reduction > 1:
            image.draft(None, (max(1, width // reduction), max(1, height // reduction)))
        factor = next(each for each in (1, 2, 4, 8) if -(-width // each) == image.size[0])
        made = _jpeg(image, data, header, factor, height) if image.format in _JPEG else None
        if made is None:
            image.load()
        stored, rows = made or (image, height)
        orientation = _orientation(image)
        pixels = _upright(stored, _further(orientation, turn))
        size = turned_size((pixels.shape[1], pixels.shape[0]), turn)  # as it is before the turn
        back = Transform.turn(size, turn).inverse()
        rows_decoded = None if rows == height else rows
        if factor == 1:
            return Frame(pixels, source, size, back, rows_decoded=rows_decoded, turn=turn)
        # A reduced picture's last column and row stand for less than a whole block. Where the orientation turns them
        # to the front, the frame begins with that rest.
        native = (height, width) if orientation >= 5 else (width, height)
        x, y = native[0] - factor * size[0], native[1] - factor * size[1]
        x, y = (x if orientation in (2, 3, 6, 7) else 0, y if orientation in (3, 4, 7, 8) else 0)
        to_native = back.then(Transform.scale(factor, factor)).then(Transform.offset(x, y))
        return Frame(pixels, source, native, to_native, rows_decoded=rows_decoded, turn=turn)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise FrameTooLarge(
            f"the header claims {width}x{height} = {width * height / 1e6:.0f} million pixels, "
            f"the limit is {max_pixels / 1e6:.0f} million"
        )


_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes by which a picture is known even where nothing else of it can be read."""

_decoding = threading.Lock()
"""Held while Pillow works: warnings are silenced for the whole process, and two at once would not put them back."""


@contextmanager
def _open(data: bytes, max_pixels: int) -> Iterator[tuple[Image.Image, Header]]:
    """Pillow's picture over ``data``, all sizes checked and its errors translated here and nowhere else."""
    if not data:
        raise FrameEmpty("the file is empty (0 bytes)")
    header = read_header(data)
    try:
        with _decoding, warnings.catch_warnings():
            # The size limit is ours and damaged metadata is no reason to refuse: Pillow's warnings add nothing.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, max_pixels)
                _check_tiff(image)
                yield image, header
    except FrameError:
        raise
    except UnidentifiedImageError as error:
        if data.startswith(_MAGIC):
            raise FrameCorrupt("cut off or damaged: it has a picture's first bytes, and no more that fits") from error
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


_JPEG = ("JPEG", "MPO")
_BITS, _COMPRESSION, _PHOTOMETRIC, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_LENGTH = 258, 259, 262, 278, 284, 322, 323
"""TIFF tags: bits a sample, how it is compressed, what zero means, rows a strip, whether the colours lie in planes."""
_COMPRESSIONS = frozenset({1, 5, 6, 7, 8, 32773, 32946})
"""How a TIFF may be compressed: not at all, by LZW, JPEG, deflate or PackBits.

Cameras write no other. Some of the rest take as much memory as the file says, and fax complains of each row by itself.
"""


def _tiff(image: Image.Image, tag: int) -> Any:
    """A TIFF's tag, or None."""
    return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None


def _check_tiff(image: Image.Image) -> None:
    """Refuse a TIFF of a kind that is not read here, or of huge parts; any other picture passes."""
    if _tiff(image, _PLANAR) == 2 and max(_tiff(image, _BITS) or (8,)) > 8:
        # Pillow decodes it, wrongly and without a word.
        raise FrameNotSupported("a TIFF of more than 8 bits a sample in separate planes is not read here")
    if (compression := _tiff(image, _COMPRESSION) or 1) not in _COMPRESSIONS:
        raise FrameNotSupported(f"a TIFF of compression {compression} is not read here")
    width, height = _part(image)
    if width * height > MAX_PIXELS:
        raise FrameTooLarge(f"a TIFF of parts of {width}x{height} pixels; the limit is {MAX_PIXELS / 1e6:.0f} million")


def _decoder_bytes(image: Image.Image, header: Header) -> int:
    """What decoding takes beside the file, Pillow's four bytes a pixel and the frame's three, as measured."""
    pixels = image.width * image.height
    if image.format in _JPEG:
        # Of several scans all coefficients, of two bytes, are there before the first pixel is.
        several = header.scans > 1 or image.info.get("progressive")
        return header.bytes + (2 * max(3, len(image.getbands())) * pixels if several else 0)
    if image.format == "WEBP":  # its own two canvases of four bytes a pixel, and a copy on the way to Pillow's
        return 9 * pixels
    if not isinstance(image, TiffImageFile):
        return header.bytes
    turned = pixels if (_tiff(image, ExifTag.Orientation) or 1) != 1 else 0  # Pillow turns it as a whole
    if (_tiff(image, _COMPRESSION) or 1) == 1:
        return turned
    # The frame's own bytes come after the part that is unpacked.
    width, height = _part(image)
    return max(turned, width * height * max(32, sum(_tiff(image, _BITS) or (1,))) // 8 - 3 * pixels)


def _part(image: Image.Image) -> Size:
    """(width, height) of a TIFF's strips or tiles, which are unpacked as a whole, however small the picture."""
    rows = min(_tiff(image, _ROWS) or image.height, image.height)
    return int(_tiff(image, _TILE_WIDTH) or image.width), int(_tiff(image, _TILE_LENGTH) or rows)


def _jpeg(
    image: Image.Image, data: bytes, header: Header, factor: int, height: int
) -> tuple[Pixels | Image.Image, int] | None:
    """A JPEG's pixels as stored, and how many of its rows they show; None where Pillow has to decode it.

    Pillow says of it what it is: ``image`` is not loaded, and has the size that it is to be decoded to.
    """
    layers = getattr(image, "layer", [])
    whole = not image.info.get("progressive") and data[header.bytes + 4 : header.bytes + 5] == bytes([len(layers)])
    step = 8 * max((vertical for _, _, vertical, _ in layers), default=1) if whole else 0
    colours = "CMYK" if image.mode == "CMYK" else "RGB"
    made = decode_jpeg(data, image.size, factor, scan=header.bytes, rows=height, step=step, colours=colours)
    if made is None or colours == "RGB":
        return made
    stored, rows = made
    np.subtract(255, stored, out=stored)  # written inverted, as by Adobe's programs; Pillow takes it so too
    return Image.frombuffer("CMYK", image.size, stored, "raw", "CMYK", 0, 1), rows


def _upright(stored: Pixels | Image.Image, orientation: int) -> Pixels:
    """Decoded pixels, contiguous RGB; a copy only where they have to be turned or converted."""
    if isinstance(stored, Image.Image):
        return _rgb(stored, orientation)
    if orientation == 1:
        return stored
    height, width, _ = stored.shape
    pixels = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    _STORED[orientation](pixels)[...] = stored
    return pixels


def _rgb(image: Image.Image, orientation: int = 1) -> Pixels:
    """A loaded picture of any mode as contiguous (h, w, 3) uint8 RGB, upright.

    A part at a time: in one go there would be a copy of a copy, and one for each conversion.
    """
    width, height = image.size
    pixels = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = _STORED[orientation](pixels)
    for top in range(0, height, COPIED_ROWS):
        bottom = min(top + COPIED_ROWS, height)
        for left in range(0, width, COPIED_COLUMNS):
            right = min(left + COPIED_COLUMNS, width)
            part = image.crop((left, top, right, bottom))
            stored[top:bottom, left:right] = _grey(part, image) if image.mode.startswith("I") else _colours(part)
    return pixels


_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}
"""By the EXIF orientation: the pixels of an upright picture, seen as they are stored."""
_CLOCKWISE = ((1, 6, 3, 8), (2, 7, 4, 5))
"""The orientations, each turned clockwise by 90 degrees more than the one before it; the second row is mirrored."""


def _further(orientation: int, turn: int) -> int:
    """The orientation of a picture that is to be turned clockwise by so many degrees more."""
    row = _CLOCKWISE[orientation in _CLOCKWISE[1]]
    return row[(row.index(orientation) + turn // 90) % 4]


def _colours(part: Image.Image) -> NDArray[Any]:
    if part.mode == "F":
        raise FrameNotSupported("a picture of floating-point pixels is not read here")
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))


def _grey(part: Image.Image, image: Image.Image) -> NDArray[Any]:
    """A part of a picture of 16-bit grey, by its upper byte; 32 bits are only Pillow's container of it."""
    values = np.asarray(part).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise FrameNotSupported("a grey picture of more than 16 bits a pixel is not read here")
    grey = (values >> 8).astype(np.uint8)
    if _tiff(image, _PHOTOMETRIC) == 0:  # white is zero, which Pillow minds only up to 8 bits
        grey = 255 - grey
    return grey[..., None]


def _from_array(array: NDArray[Any]) -> Frame:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UsageError(f"a frame is a non-empty (height, width, 3) uint8 RGB array, not {array.shape} {array.dtype}")
    return Frame(np.ascontiguousarray(array))
