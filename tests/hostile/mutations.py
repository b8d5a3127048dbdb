"""Mutated pictures without end: number → bytes, the same for the same number.

Small sound pictures of every format that is read, and of most of what each format can be, are damaged as transfers,
storage and people with intentions do it: bits turned, cuts, pieces taken out, doubled or put in, two files spliced,
and fields of the header set to what they should not be, with checksums made good again. One drawn face is in most of
them, so that what still decodes is a frame to look at.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image

from peephole.sample import drawn_face

EXTREMES = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 64, 127, 128, 255, 256, 300, 1000, 4096, 10_000, 16_383, 32_767, 65_535)
WIDE = (*EXTREMES, 2**16, 2**20, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutated picture.

    Attributes:
        number: what it was made from, by `mutant`.
        base: the sound picture, as "jpeg progressive".
        change: what was done to it.
        data: its bytes.
    """

    number: int
    base: str
    change: str
    data: bytes


# -- sound pictures --------------------------------------------------------------------------------


def bases() -> dict[str, bytes]:
    """Pictures of 64 to 400 pixels a side, by format and kind."""
    pixels = drawn_face()[60:460, 40:440]
    face = Image.fromarray(pixels)

    def sized(*size: int) -> Image.Image:
        return face.resize((size[0], size[-1]), Image.Resampling.BILINEAR)

    return _pillow(sized) | _tifffile(np.asarray(sized(200))) | {"bmp runs": _runs(96, 80)}


def _pillow(sized: Callable[..., Image.Image]) -> dict[str, bytes]:
    def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "camera", 0x011A: 72.0, 0x0132: "2026:01:01 00:00:00"})
    exif.get_ifd(0x8769).update({0x9003: "2026:01:01 00:00:00"})
    small, medium, large = sized(64, 80), sized(160), sized(400, 300)
    deep = Image.fromarray(np.asarray(medium.convert("L")).astype(np.uint16) << 8)
    return {
        "jpeg": encoded(large, "JPEG"),
        "jpeg progressive": encoded(medium, "JPEG", progressive=True),
        "jpeg cmyk": encoded(medium.convert("CMYK"), "JPEG"),
        "jpeg grey": encoded(large.convert("L"), "JPEG", quality=50),
        "jpeg exif": encoded(medium, "JPEG", exif=exif, subsampling=0, icc_profile=bytes(300)),
        "jpeg restarts": encoded(small, "JPEG", restart_marker_blocks=2),
        "jpeg several": encoded(small, "MPO", save_all=True, append_images=[small]),
        "png": encoded(medium, "PNG"),
        "png palette": encoded(medium.quantize(64), "PNG", transparency=3),
        "png bits": encoded(medium.convert("1"), "PNG"),
        "png 16 bits": encoded(deep, "PNG"),
        "png alpha": encoded(small.convert("RGBA"), "PNG", exif=exif),
        "png grey alpha": encoded(small.convert("LA"), "PNG"),
        "png interlaced": _interlaced(np.asarray(small)),
        "png animated": encoded(small, "PNG", save_all=True, append_images=[small.rotate(90)]),
        "webp": encoded(large, "WEBP", quality=60),
        "webp lossless": encoded(medium, "WEBP", lossless=True),
        "webp alpha": encoded(medium.convert("RGBA"), "WEBP", exif=exif),
        "webp animated": encoded(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
        "bmp": encoded(medium, "BMP"),
        "bmp palette": encoded(medium.quantize(200), "BMP"),
        "bmp bits": encoded(medium.convert("1"), "BMP"),
        "bmp alpha": encoded(small.convert("RGBA"), "BMP"),
        "tiff": encoded(medium, "TIFF"),
        "tiff lzw": encoded(medium, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encoded(large, "TIFF", compression="jpeg"),
        "tiff packbits": encoded(medium, "TIFF", compression="packbits"),
        "tiff cmyk": encoded(small.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        "tiff palette": encoded(small.quantize(16), "TIFF", exif=exif),
        "tiff pages": encoded(small, "TIFF", save_all=True, append_images=[small]),
    }


def _tifffile(pixels: np.ndarray) -> dict[str, bytes]:
    def tiff(array: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        return file.getvalue()

    planes, deep = np.moveaxis(pixels, -1, 0).copy(), pixels.astype(np.uint16) << 8
    return {
        "tiff planar": tiff(planes, photometric="rgb", planarconfig="separate", compression="zlib"),
        "tiff tiled": tiff(pixels, photometric="rgb", tile=(64, 64), compression="zlib"),
        "tiff tiled raw": tiff(pixels, photometric="rgb", tile=(64, 64)),
        "tiff 16 bits": tiff(deep, photometric="rgb", compression="zlib"),
        "tiff grey 16 bits": tiff(deep[..., 0], byteorder=">"),
        "tiff big": tiff(pixels, photometric="rgb", bigtiff=True, compression="zlib"),
    }


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _interlaced(pixels: np.ndarray) -> bytes:
    """A PNG in the seven passes of Adam7, which Pillow does not write."""
    rows = b""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for top, left, down, right in passes:
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    height, width = pixels.shape[:2]
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = (b"IHDR", ihdr), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _runs(width: int, height: int) -> bytes:
    """A BMP of 8 bits in runs, with all that runs can be: which Pillow does not write."""
    row = b"\x20\x05" + b"\x00\x03\x01\x02\x03\x00" + bytes([width - 35, 9]) + b"\x00\x00"
    body = row * (height - 3) + b"\x00\x02\x05\x01" + row * 3 + b"\x00\x01"
    colours = b"".join(bytes([value, value, value, 0]) for value in range(256))
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + colours + body


# -- changes to any bytes --------------------------------------------------------------------------

Change = Callable[[random.Random, bytes, list[bytes]], bytes]
"""Dice, a picture, other sound ones → another picture."""


def _place(dice: random.Random, size: int) -> int:
    """A place in so many bytes, half of the time near the front, where the headers are."""
    return dice.randrange(min(size, 300) if dice.random() < 0.5 else size) if size else 0


def _flip(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20, 200))):
        changed[_place(dice, len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _extreme_bytes(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at, size = _place(dice, len(data)), dice.choice((1, 2, 4, 16, 64))
    return data[:at] + bytes([dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))]) * size + data[at + size :]


def _cut(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: dice.randrange(len(data))]


def _cut_and_filled(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = dice.randrange(len(data))
    rest = len(data) - at
    return data[:at] + (bytes(rest) if dice.random() < 0.5 else dice.randbytes(rest))


def _without_a_piece(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = _place(dice, len(data))
    return data[:at] + data[at + dice.choice((1, 2, 3, 7, 64, 1000)) :]


def _piece_doubled(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at, size = _place(dice, len(data)), dice.choice((1, 4, 12, 100, 4000))
    return data[: at + size] + data[at : at + size] * dice.choice((1, 2, 50)) + data[at + size :]


def _noise_put_in(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = _place(dice, len(data))
    return data[:at] + dice.randbytes(dice.choice((1, 2, 16, 500))) + data[at:]


def _spliced(dice: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = dice.choice(others)
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def _one_behind_the_other(dice: random.Random, data: bytes, others: list[bytes]) -> bytes:
    return data + dice.choice(others)


ANYWHERE: tuple[Change, ...] = (
    _flip,
    _flip,
    _extreme_bytes,
    _cut,
    _cut_and_filled,
    _without_a_piece,
    _piece_doubled,
    _noise_put_in,
    _spliced,
    _one_behind_the_other,
)

# -- changes to what a format says of itself -------------------------------------------------------


def _set(dice: random.Random, data: bytes, at: int, form: str) -> bytes:
    """A number of this form at this place, set to something extreme or a little off."""
    (old,) = struct.unpack_from(form, data, at)
    most = 2 ** (8 * struct.calcsize(form)) - 1
    new = dice.choice((*WIDE, old + 1, old - 1, old * 2, old ^ (1 << dice.randrange(8)), dice.randrange(most)))
    packed = (abs(new) & most).to_bytes(struct.calcsize(form), "little" if form[0] == "<" else "big")
    return data[:at] + packed + data[at + len(packed) :]


def _reordered(dice: random.Random, parts: list[bytes]) -> list[bytes]:
    """One part dropped, doubled, multiplied or moved."""
    if not parts:
        return parts
    at, what = dice.randrange(len(parts)), dice.randrange(4)
    if what == 0:
        return parts[:at] + parts[at + 1 :]
    if what in (1, 2):
        return parts[:at] + [parts[at]] * dice.choice((2, 3) if what == 1 else (100,)) + parts[at + 1 :]
    part = parts.pop(at)
    parts.insert(dice.randrange(len(parts) + 1), part)
    return parts


def _segments(data: bytes) -> tuple[list[bytes], bytes]:
    """A JPEG's segments as far as the first scan, and the rest; the two bytes at its front are left out."""
    at, found = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        found.append(data[at:end])
        at = end
    return found, data[at:]


def _jpeg_header(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    segments, rest = _segments(data)
    what = dice.randrange(6)
    chosen = dice.randrange(len(segments))
    frames = [index for index, each in enumerate(segments) if 0xC0 <= each[1] <= 0xC2]
    exifs = [index for index, each in enumerate(segments) if each[4:8] in (b"Exif", b"MPF\0")]
    if what == 0:
        segments = _reordered(dice, segments)
    elif what == 1:  # the length
        segments[chosen] = _set(dice, segments[chosen], 2, ">H")
    elif what == 2 and frames:  # height, width, components and their sampling
        at, form = dice.choice(((5, ">H"), (7, ">H"), (4, ">B"), (9, ">B"), (10, ">B"), (11, ">B"), (12, ">B")))
        segments[frames[0]] = _set(dice, segments[frames[0]], at, form)
    elif what == 3 and frames:  # another kind of frame
        segment = segments[frames[0]]
        segments[frames[0]] = bytes([0xFF, dice.choice((*range(0xC0, 0xD0), 0xF7))]) + segment[2:]
    elif what == 4 and exifs:
        segment = segments[dice.choice(exifs)]
        start = 10 if segment[4:8] == b"Exif" else 8
        changed = segment[:start] + _directory_changed(dice, segment[start:])
        segments[segments.index(segment)] = changed
    else:  # tables
        segment = bytearray(segments[chosen])
        segment[dice.randrange(2, len(segment))] = dice.choice((0, 1, 0x10, 0x7F, 0xFF))
        segments[chosen] = bytes(segment)
    return data[:2] + b"".join(segments) + rest


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def _png_header(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    parts = list(_chunks(data))
    what = dice.randrange(6)
    if what == 0:  # width, height, bits, colours, compression, filter, interlace
        at, form = dice.choice(
            ((0, ">I"), (4, ">I"), (8, ">B"), (9, ">B"), (9, ">B"), (10, ">B"), (11, ">B"), (12, ">B"))
        )
        parts[0] = b"IHDR", _set(dice, parts[0][1], at, form)
    elif what == 1:
        extras = (
            (b"PLTE", dice.randbytes(3 * dice.choice((0, 1, 16, 256, 300)))),
            (b"tRNS", dice.randbytes(dice.choice((0, 1, 2, 6, 256, 1000)))),
            (b"zTXt", b"a\0\0" + zlib.compress(bytes(dice.choice((10, 2**20, 2**21))))),
            (b"iTXt", b"a\0\1\0\0\0" + dice.randbytes(50)),
            (b"iCCP", b"a\0\0" + dice.randbytes(50)),
            (b"eXIf", dice.randbytes(60)),
            (b"acTL", struct.pack(">II", dice.choice(WIDE), 0)),
            (b"fcTL", dice.randbytes(26)),
            (b"gAMA", b""),
            (b"pHYs", dice.randbytes(9)),
            (dice.randbytes(4), dice.randbytes(20)),
        )
        parts.insert(dice.randrange(len(parts)), dice.choice(extras))
    elif what == 2:  # what is compressed, or its filters
        index = next(index for index, (kind, _) in enumerate(parts) if kind == b"IDAT")
        rows = bytearray(zlib.decompress(b"".join(part for kind, part in parts if kind == b"IDAT")))
        for _ in range(dice.choice((1, 10, 500))):
            rows[dice.randrange(len(rows))] = dice.randrange(256)
        body = bytes(rows[: dice.choice((len(rows), len(rows) // 2))]) * dice.choice((1, 1, 3))
        parts = [part for part in parts if part[0] != b"IDAT"]
        parts.insert(index, (b"IDAT", zlib.compress(body)))
    elif what == 3:  # any chunk's bytes, its checksum right
        index = dice.randrange(len(parts))
        kind, part = parts[index]
        if part:
            at = dice.randrange(len(part))
            parts[index] = kind, part[:at] + dice.randbytes(1) + part[at + 1 :]
    else:
        packed = _reordered(dice, [_chunk(*part) for part in parts])
        if what == 5 and packed:  # a chunk's length
            index = dice.randrange(len(packed))
            packed[index] = _set(dice, packed[index], 0, ">I")
        return data[:8] + b"".join(packed)
    return data[:8] + b"".join(_chunk(*part) for part in parts)


def _directory_changed(dice: random.Random, data: bytes) -> bytes:
    """A TIFF, or EXIF data, with a field of its first directory changed: tag, type, count or value."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    start, wide = (8, "Q") if big else (4, "L")
    try:
        (at,) = struct.unpack_from(order + wide, data, start)
        (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            entry = at + (8 if big else 2) + dice.randrange(max(entries, 1)) * (20 if big else 12)
            where, form = dice.choice(((0, "H"), (2, "H"), (4, wide), (8 + 4 * big, wide), (8 + 4 * big, "H")))
            if where == 0 and dice.random() < 0.5:  # to what means something
                known = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 338, 339)
                data = data[:entry] + struct.pack(order + "H", dice.choice(known)) + data[entry + 2 :]
            elif where == 2:
                data = data[: entry + 2] + struct.pack(order + "H", dice.randrange(20)) + data[entry + 4 :]
            else:
                data = _set(dice, data, entry + where, order + form)
        if dice.random() < 0.1:
            data = _set(dice, data, dice.choice((start, at)), order + ("H" if dice.random() < 0.5 else wide))
    except struct.error:
        pass
    return data


def _tiff_header(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return _directory_changed(dice, data)


def _bmp_header(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    fields = ((2, "<I"), (10, "<I"), (14, "<I"), (18, "<I"), (22, "<I"), (26, "<H"), (28, "<H"), (30, "<I"), (46, "<I"))
    for _ in range(dice.choice((1, 1, 2, 3))):
        data = _set(dice, data, *dice.choice(fields))
    if dice.random() < 0.3:  # runs: any pair of bytes means something
        (start,) = struct.unpack_from("<I", data, 10)
        if start < len(data):
            data = data[:start] + bytes(dice.choice((0, 1, 2, 5, 255)) for _ in range(len(data) - start))
    return data


def _riff(data: bytes) -> list[bytes]:
    at, found = 12, []
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        found.append(data[at : at + 8 + size + (size & 1)])
        at += 8 + size + (size & 1)
    return found


def _webp_header(dice: random.Random, data: bytes, _: list[bytes]) -> bytes:
    parts = _riff(data)
    what, index = dice.randrange(4), dice.randrange(len(parts))
    part = parts[index]
    if what == 0:
        parts = _reordered(dice, parts)
    elif what == 1:  # a chunk's length
        parts[index] = _set(dice, part, 4, "<I")
    elif what == 2 and len(part) > 18:  # flags, canvas, sizes: all in the first bytes
        parts[index] = _set(dice, part, dice.randrange(8, 18), dice.choice(("<B", "<H")))
    else:  # another kind
        kinds = (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"ICCP", b"XMP ", b"????")
        parts[index] = dice.choice(kinds) + part[4:]
    body = b"".join(parts)
    size = len(body) + 4 if dice.random() < 0.9 else dice.choice(WIDE)
    return b"RIFF" + struct.pack("<I", size) + b"WEBP" + body


OF_A_FORMAT: dict[str, Change] = {
    "jpeg": _jpeg_header,
    "png": _png_header,
    "tiff": _tiff_header,
    "bmp": _bmp_header,
    "webp": _webp_header,
}


class Mutations:
    """Makes mutants out of the same sound pictures."""

    def __init__(self) -> None:
        self.bases = bases()

    def mutant(self, number: int) -> Mutant:
        """The mutant of a number: its picture by turns, one change or a few of them by dice of its own."""
        dice = random.Random(number)  # from Python's own: a seed is a mutant's only input
        base = list(self.bases)[number % len(self.bases)]
        kind = base.partition(" ")[0]
        others = [data for name, data in self.bases.items() if name.startswith(kind)]
        if dice.random() < 0.1:
            others = list(self.bases.values())
        data, done = self.bases[base], []
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            change = OF_A_FORMAT[kind] if not done and dice.random() < 0.55 else dice.choice(ANYWHERE)
            if len(data) > 40:
                data = change(dice, data, others)
                done.append(change.__name__.strip("_"))
        return Mutant(number, base, ", ".join(done), data)
