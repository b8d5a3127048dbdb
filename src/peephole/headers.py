"""What stands in a picture before its pixels, counted before a decoder believes any of it.

Pillow makes an object of every segment of a JPEG, every chunk of a PNG and every strip of a TIFF while it opens the
file, so that a small file of very many of them takes a hundred times its size; and it unpacks compressed texts. Here
they are counted first, without a copy. What is merely damaged is left to the decoder, which says so.

What is a picture by its first bytes, but of a format or kind that is not read here, is refused by its name.

JPEG: ITU-T T.81, annex B. PNG: W3C, "Portable Network Graphics (PNG) Specification", 5. TIFF: Adobe, revision 6.0, 2;
DNG: Adobe, 1.7, 2. HEIF and AVIF: ISO/IEC 14496-12, 4.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .errors import FrameNotSupported, FrameTooLarge

MOST_PARTS = 32_768
"""Segments, chunks, strips or tiles. Pillow takes some 300 bytes for each; a TIFF may have a strip for each row."""
MOST_NUMBERS = 262_144
"""In one field of a TIFF; Pillow makes an object of each."""
MOST_TEXT = 8 * 2**20
"""Bytes that the compressed texts and the colour profile of a PNG may unpack to, all together."""
MOST_SCANS = 100
"""Passes over the whole picture that a JPEG may ask for; the encoders that there are make at most some 20."""

DEFLATED = 1032
"""What a byte of a deflated text can become at the most: zlib's technical details, "Maximum Compression Factor"."""
TEXT_CHUNK = 2**20
"""Bytes of one unpacked text that Pillow takes: ``PngImagePlugin.MAX_TEXT_CHUNK``."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture has beside its pixels.

    Attributes:
        bytes: of all that stands before the pixels, or beside them; texts unpacked. A JPEG's first scan begins there.
        scans: of a JPEG; 1 otherwise.
    """

    bytes: int = 0
    scans: int = 1


def read_header(data: bytes) -> Header:
    """Count what an encoded picture has beside its pixels; it may be of any format, or none.

    Raises:
        FrameTooLarge: there is more of it than any picture needs.
        FrameNotSupported: it is of a format or kind that is known, and not read here.
    """
    if other := _other_format(data):
        raise _not_supported(other)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data[:2] in (b"II", b"MM") and len(data) > 8:
        _tiff(data)
    return Header()


def _not_supported(what: str) -> FrameNotSupported:
    return FrameNotSupported(f"{what}, which is not supported: JPEG, PNG, WebP, BMP and TIFF are read here")


_OTHERS = {
    b"GIF8": "a GIF",
    b"\xff\x0a": "a JPEG XL",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\xd8\xff\xf7": "a JPEG-LS",
    b"8BPS": "a Photoshop file",
    b"II*\0\x10\0\0\0CR": "a raw file of a Canon camera",
    b"IIRO": "a raw file of an Olympus camera",
    b"IIRS": "a raw file of an Olympus camera",
    b"MMOR": "a raw file of an Olympus camera",
    b"IIU\0": "a raw file of a Panasonic camera",
    b"FUJIFILMCCD-RAW": "a raw file of a Fujifilm camera",
    b"FOVb": "a raw file of a Sigma camera",
}
"""First bytes of pictures that are not read here."""
_BRANDS = {
    b"avif": "an AVIF",
    b"avis": "an AVIF",
    b"heic": "a HEIC",
    b"heix": "a HEIC",
    b"hevc": "a HEIC",
    b"heim": "a HEIC",
    b"heis": "a HEIC",
    b"crx ": "a raw file of a Canon camera",
    b"mif1": "a HEIF",
    b"msf1": "a HEIF",
}
"""Kinds of ISO base media files that are pictures; the first that one is compatible with names it."""


def _other_format(data: bytes) -> str | None:
    """What a picture is that is not read here, as "a GIF"; None for all else."""
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        return next((name for brand, name in _BRANDS.items() if brand in brands), None)
    return next((name for magic, name in _OTHERS.items() if data.startswith(magic)), None)


def _check_parts(count: int, what: str) -> None:
    if count > MOST_PARTS:
        raise FrameTooLarge(f"it claims more than {MOST_PARTS} {what}")


_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9), 0xFF})
"""The second bytes of what has no length: fillers, TEM, RST0 to RST7 and SOI."""
_SCAN = b"\xff\xda"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The second bytes of SOF0 to SOF15; the three left out mark tables and extensions."""
_PROCESSES = {0xC0: "", 0xC1: "", 0xC2: "", 0xC3: "lossless", **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical")}
"""How a picture is coded: those without a word are read. All others are arithmetic-coded."""


def _jpeg(data: bytes) -> Header:
    """Go from segment to segment until the first scan, and count the scans behind it.

    Within a scan a 0xFF is never followed by a marker's byte, so counting is exact but for the tables between scans.
    """
    at, parts = 2, 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        _check_parts(parts := parts + 1, "segments")
        if data[at : at + 2] == _SCAN:
            break
        if data[at + 1] in _FRAMES:
            if process := _PROCESSES.get(data[at + 1], "arithmetic-coded"):
                raise _not_supported(f"{'an' if process[0] == 'a' else 'a'} {process} JPEG")
            if (bits := data[at + 4 : at + 5]) not in (b"\x08", b""):
                raise _not_supported(f"a JPEG of {bits[0]} bits a sample")
        bare = data[at + 1] in _BARE
        at += (1 if data[at + 1] == 0xFF else 2) if bare else 2 + struct.unpack_from(">H", data, at + 2)[0]
    if at < 0:
        return Header(len(data))
    end = data.find(b"\xff\xd9", at)
    scans = data.count(_SCAN, at, end if end >= 0 else len(data))
    if scans > MOST_SCANS:
        raise FrameTooLarge(f"a JPEG of {scans} scans, each over all of the picture; at most {MOST_SCANS} are decoded")
    return Header(at, max(scans, 1))


_COMPRESSED = frozenset({b"zTXt", b"iTXt", b"iCCP"})


def _png(data: bytes) -> Header:
    at, parts, besides, unpacked = 8, 0, 0, 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        _check_parts(parts := parts + 1, "chunks")
        if kind in _COMPRESSED:
            unpacked += min(size * DEFLATED, TEXT_CHUNK)
        if kind != b"IDAT":
            besides += min(size, len(data) - at)
        at += 12 + size
    if unpacked > MOST_TEXT:
        raise FrameTooLarge(f"its texts may unpack to {unpacked} bytes; at most {MOST_TEXT} are read")
    return Header(besides + unpacked)


_SUBFILE, _DNG = 254, 50706
"""Fields: what kind of picture it is, whose lowest bit says that it is a reduced one; the version of a DNG."""
_PARTS = frozenset({273, 279, 324, 325})
"""Fields with a number for each strip or tile."""
_BYTES = frozenset({1, 2, 6, 7})
"""Types that Pillow keeps as they are."""


def _tiff(data: bytes) -> None:
    """Count what the fields of the first directory claim; both byte orders, and the form with 64-bit offsets.

    One that claims more than the file could hold is not believed by Pillow either. A camera's raw file is a TIFF too,
    whose first picture is a small one of another.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    start, count, entry = (8, "Q", "HHQ") if big else (4, "H", "HHL")
    try:
        (at,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", data, start)
        (entries,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize(order + count)
        size, field = (20, 12) if big else (12, 8)
        _check_parts(min(entries, len(data) // size), "fields")
        for index in range(entries):
            place = at + index * size
            tag, kind, numbers = struct.unpack_from(order + entry, data, place)
            if numbers > len(data):
                continue
            if tag == _DNG or (tag == _SUBFILE and _value(data, order, place + field, kind) & 1):
                raise _not_supported("a camera's raw file, or a TIFF that begins with a reduced picture")
            if tag in _PARTS:
                _check_parts(numbers, "strips or tiles")
            elif kind not in _BYTES and numbers > MOST_NUMBERS:
                raise FrameTooLarge(f"its field {tag} claims {numbers} numbers; at most {MOST_NUMBERS} are read")
    except (struct.error, OverflowError):  # it ends too soon: the decoder's business
        return


def _value(data: bytes, order: str, at: int, kind: int) -> int:
    """The one number of a field, of type SHORT or LONG."""
    (value,) = struct.unpack_from(order + ("H" if kind == 3 else "L"), data, at)
    return int(value)
