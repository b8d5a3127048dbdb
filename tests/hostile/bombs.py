"""Small files that claim to be huge pictures, or to hold huge things beside one; each by its name.

Run as ``python bombs.py FOLDER`` it looks at each file of a folder within a budget and prints a JSON line: the kind of
error, its message, how far the process grew, the seconds, and how often Pillow was asked for pixels.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import time
import zlib
from pathlib import Path

BUDGET = 220 * 2**20
"""Bytes; a 144-million-pixel frame takes 7 of them a pixel."""

# -- PNG -------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deflated(size: int) -> bytes:
    """So many zeros, a block at a time."""
    packer, block = zlib.compressobj(6), bytes(2**20 - 2**10)
    return b"".join([packer.compress(block) for _ in range(size // len(block))]) + packer.flush()


def png(width: int, height: int, *before: bytes, bits: int = 8, colour: int = 2, interlaced: int = 0, rows: int = 0):
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    body = [chunk(b"IHDR", ihdr), *before, chunk(b"IDAT", deflated(rows << 20)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


TEXT = deflated(2**20 - 2**10)
PNGS = {
    "png of 2 to the power of 62": png(2**31 - 1, 2**31 - 1),
    "png of zeros": png(60_000, 60_000, rows=8),
    "png, interlaced": png(60_000, 60_000, interlaced=1, rows=1),
    "png below the limit": png(12_600, 12_600, bits=1, colour=0, rows=19),
    "png of 16 bits": png(12_600, 12_600, bits=16, colour=6, rows=4),
    "png with a colour profile of 30 MB": png(64, 64, chunk(b"iCCP", b"x\0\0" + deflated(30 << 20)), rows=1),
    "png with a text of 30 MB": png(64, 64, chunk(b"zTXt", b"x\0\0" + deflated(30 << 20)), rows=1),
    "png with 60 texts of 1 MB": png(
        64, 64, *(chunk(b"zTXt", b"%d\0\0" % number + TEXT) for number in range(60)), rows=1
    ),
    "png with a million chunks": png(64, 64, chunk(b"tEXt", b"") * 200_000, rows=1),
    "png of a thousand million frames": png(60_000, 60_000, chunk(b"acTL", struct.pack(">II", 10**9, 0))),
}

# -- JPEG ------------------------------------------------------------------------------------------

QUANTA = b"\xff\xdb\x00\x43\x00" + bytes([1]) * 64
# One symbol each, of one bit: no difference; end of the block.
TABLES = b"".join(b"\xff\xc4\x00\x14" + bytes([number, 1, *[0] * 15, 0]) for number in (0x00, 0x10))
SCAN = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00"
ONE = b"\xff\xda\x00\x08\x01%c\x00\x00\x3f\x00\x00"


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(width: int, height: int, *before: bytes, frame: int = 0xC0, scans: bytes = SCAN):
    sof = segment(frame, struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x11\x00\x02\x11\x00\x03\x11\x00")
    return b"\xff\xd8" + b"".join(before) + QUANTA + sof + TABLES + scans + bytes(1000) + b"\xff\xd9"


def fields(*entries: tuple[int, int, int, int], following: int = 0, order: str = "<", data: bytes = b"") -> bytes:
    """A TIFF of one directory: tag, type, count, value or offset; what the offsets mean comes behind it."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    packed = b"".join(struct.pack(order + "HHLL", *entry) for entry in entries)
    return head + struct.pack(order + "LH", 8, len(entries)) + packed + struct.pack(order + "L", following) + data


THUMBNAIL = b"Exif\0\0" + fields((513, 4, 1, 60), (514, 4, 1, 1000)) + jpeg(65_000, 65_000)[:1000]
SECOND = b"MPF\0" + fields((0xB001, 4, 1, 10**9), (0xB002, 7, 16, 0))
OVERLAPPING = b"Exif\0\0" + fields(*((tag, 2, 10_000, 0) for tag in range(1000, 5000)), data=bytes(10_000))
JPEGS = {
    "jpeg of 65,535 a side": jpeg(65_535, 65_535),
    "jpeg of arithmetic": jpeg(65_535, 65_535, frame=0xC9),
    "jpeg, progressive, below the limit": jpeg(12_600, 12_600, frame=0xC2),
    "jpeg in three scans, below the limit": jpeg(12_600, 12_600, scans=b"".join(ONE % number for number in (1, 2, 3))),
    "jpeg of 5,000 scans": jpeg(12_600, 1_000, frame=0xC2, scans=ONE % 1 * 5_000),
    "jpeg of a million segments": jpeg(64, 64, segment(0xE5, b"") * 250_000),
    "jpeg with a huge thumbnail": jpeg(65_000, 65_000, segment(0xE1, THUMBNAIL)),
    "jpeg of a thousand million pictures": jpeg(65_000, 65_000, segment(0xE2, SECOND)),
}

# -- BMP -------------------------------------------------------------------------------------------


def bmp(width: int, height: int, bits: int = 24, packed: int = 0, data: bytes = bytes(1000)) -> bytes:
    colours = bytes(4 << bits) if bits <= 8 else b""
    head = struct.pack("<IiiHHIIIIII", 40, width, height, 1, bits, packed, len(data), 0, 0, len(colours) // 4, 0)
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + colours + data


BMPS = {
    "bmp of 100,000 a side": bmp(100_000, 100_000),
    "bmp of a negative height": bmp(100_000, -(2**31)),
    "bmp of a negative width": bmp(-(2**31), 100_000),
    "bmp of runs": bmp(60_000, 60_000, 8, 1, b"\xff\0" * 10_000),
    "bmp of runs, below the limit": bmp(12_600, 12_600, 8, 1, b"\xff\0" * 100_000),
    "bmp of short runs": bmp(12_600, 12_600, 4, 2, b"\0\2\xff\xff" * 10_000),
}

# -- TIFF ------------------------------------------------------------------------------------------


def tiff(width: int, height: int, *more: tuple[int, int, int, int], compression: int = 8, **options) -> bytes:
    usual = {
        256: (256, 4, 1, width),
        257: (257, 4, 1, height),
        258: (258, 3, 1, 8),
        259: (259, 3, 1, compression),
        262: (262, 3, 1, 1),
        273: (273, 4, 1, 200),
        277: (277, 3, 1, 1),
        279: (279, 4, 1, 1000),
    }
    tags = usual | {entry[0]: entry for entry in more}
    return fields(*(tags[tag] for tag in sorted(tags)), **{"data": bytes(200) + deflated(2**20)} | options)


def tiled(width: int, height: int, **options) -> bytes:
    parts = [(322, 4, 1, width), (323, 4, 1, height), (324, 4, 1, 200), (325, 4, 1, 1000)]
    return tiff(64, 64, *parts, **options)


BIG = b"II+\0\x08\0\0\0" + struct.pack("<QQHHQQ", 16, 2**63, 256, 4, 1, 2**31 - 1) + bytes(1000)
TIFFS = {
    "tiff of strips": tiff(2**31 - 1, 2**31 - 1, compression=1),
    "tiff, deflated": tiff(100_000, 100_000),
    "tiff by LZW, below the limit": tiff(12_600, 12_600, compression=5),
    "tiff of a huge tile": tiled(2**20, 2**20, compression=5),
    "tiff of a tile of 2 to the power of 64": tiled(2**32 - 1, 2**32 - 1),
    "tiff of a tile below the limit": tiled(12_600, 12_600),
    "tiff in a circle": tiff(100_000, 100_000, following=8),
    "tiff of many pages": fields(
        (256, 4, 1, 90_000), (257, 4, 1, 90_000), (262, 3, 1, 1), (273, 4, 1, 8), following=8, order=">"
    ),
    "tiff of a million strips": tiff(64, 64, (273, 3, 400_000, 300), compression=1, data=bytes(900_000)),
    "tiff of a million numbers": tiff(64, 64, (339, 3, 400_000, 300), data=bytes(900_000)),
    "tiff by fax of a million rows": tiff(8, 10**6, (258, 3, 1, 1), compression=4),
    "tiff by LZMA": tiff(12_600, 12_600, compression=34925),
}

# -- WebP ------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + three(width - 1) + three(height - 1)


def lossy(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8 ", b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(1000)


def lossless(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(1000)


def animated(width: int, height: int, frames: int) -> bytes:
    kind, data = lossless(width, height)
    part = kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1)
    frame = three(0) * 2 + three(width - 1) + three(height - 1) + three(1) + b"\0" + part
    return riff(canvas(width, height, 2), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames)


WEBPS = {
    "webp of a canvas of 2 to the power of 48": riff(canvas(2**24, 2**24), lossy(16, 16)),
    "webp, lossy": riff(lossy(16_383, 16_383)),
    "webp, lossless": riff(lossless(16_384, 16_384)),
    "webp, lossless, below the limit": riff(lossless(12_600, 12_600)),
    "webp, animated": animated(16_000, 16_000, 3),
    "webp, animated, below the limit": animated(12_600, 12_600, 200),
    "webp of a small canvas and a huge frame": riff(canvas(16, 16), lossy(16_383, 16_383)),
}

OTHERS = {
    "tiff, 64 bits, of 2 to the power of 63 fields": BIG,
    "gif of 65,535 a side": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(100),
    "pdf": b"%PDF-1.4\n" + bytes(100),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n",
}
BOMBS: dict[str, bytes] = PNGS | JPEGS | BMPS | TIFFS | WEBPS | OTHERS

HARMLESS: dict[str, bytes] = {
    "jpeg whose fields overlap": jpeg(64, 64, segment(0xE1, OVERLAPPING)),
    "jpeg with a huge thumbnail": jpeg(64, 64, segment(0xE1, THUMBNAIL)),
    "jpeg of a thousand million pictures": jpeg(64, 64, segment(0xE2, SECOND)),
    "png of a thousand million frames": png(64, 64, chunk(b"acTL", struct.pack(">II", 10**9, 0)), rows=1),
    "png whose fields overlap": png(64, 64, chunk(b"eXIf", OVERLAPPING[6:]), rows=1),
    "tiff in a circle": tiff(64, 64, compression=8, following=8),
    "tiff of 4,000 million numbers": tiff(64, 64, (339, 12, 2**32 - 1, 300)),
    "tiff whose fields overlap": tiff(
        64, 64, *((tag, 2, 200_000, 300) for tag in range(1000, 6000)), data=bytes(60_000) + deflated(2**20)
    ),
}
"""What is small enough, and only claims more than it has beside its pixels: looked at, or said to be damaged."""


def main(folder: Path) -> None:
    import simplejpeg
    from PIL import Image, ImageFile

    from peephole.errors import PeepholeError
    from peephole.memory import current_rss, peak_rss, reset_peak
    from peephole.pipeline import Pipeline

    loads = 0

    def counted(load):
        def method(*arguments, **options):
            nonlocal loads
            loads += 1
            return load(*arguments, **options)

        return method

    Image.Image.load = counted(Image.Image.load)
    Image.init()
    pipeline = Pipeline("yunet", threads=1, memory=BUDGET)
    with io.BytesIO() as file:
        Image.new("RGB", (64, 48)).save(file, "PNG")
        pipeline.analyse(file.getvalue())  # whatever loads once is loaded
    ImageFile.ImageFile.load = counted(ImageFile.ImageFile.load)
    simplejpeg.decode_jpeg = counted(simplejpeg.decode_jpeg)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        reset_peak()
        loads, before, began = 0, current_rss(), time.perf_counter()
        kind, message = "none", ""
        try:
            pipeline.analyse(data)
        except PeepholeError as error:
            kind, message = error.kind, str(error)
        seconds = time.perf_counter() - began
        told = {"name": path.name, "kind": kind, "message": message, "loads": loads, "size": len(data)}
        print(json.dumps(told | {"growth": peak_rss() - before, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
