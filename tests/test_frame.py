"""What decodes, how it comes out, and what is said of the rest."""

import io
import itertools
import re
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from peephole.errors import (
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
)
from peephole.frame import Frame, Snapshot, decode, load, read, snapshot
from peephole.geometry import IDENTITY, Transform

RGB = np.array(
    [
        [(255, 0, 0), (0, 255, 0), (0, 0, 255)],
        [(0, 0, 0), (255, 255, 255), (12, 200, 77)],
    ],
    np.uint8,
)
DEEP = np.array([[(0x0000, 0x00FF, 0x0100), (0x1234, 0x8000, 0xFFFF)]], np.uint16)
DEEP_AS_8_BITS = [[[0x00, 0x00, 0x01], [0x12, 0x80, 0xFF]]]


def encoded(image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], bits: int, colour: int, rows: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG by hand; ``rows`` are the unfiltered scanlines, each led by its filter byte, 0."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


def pixels(data: bytes) -> list:
    """Decoded pixels, once their layout is what every stage relies on."""
    array = decode(data).pixels
    assert array.dtype == np.uint8
    assert array.ndim == 3
    assert array.shape[2] == 3
    assert array.flags.c_contiguous
    return array.tolist()


def blocks(letters: str, side: int) -> np.ndarray:
    """Coloured squares: ``RG/BK`` is red and green above blue and black."""
    colours = {
        "R": (255, 0, 0),
        "G": (0, 255, 0),
        "B": (0, 0, 255),
        "K": (0, 0, 0),
        "W": (255, 255, 255),
        "Y": (255, 255, 0),
    }
    small = np.array([[colours[letter] for letter in row] for row in letters.split("/")], np.uint8)
    return small.repeat(side, 0).repeat(side, 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_are_exact(kind, options):
    data = encoded(RGB, kind, **options)
    assert pixels(data) == RGB.tolist()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_close(kind):
    data = encoded(blocks("RG/BW", 16), kind, quality=95)
    assert np.abs(np.int16(pixels(data)) - blocks("RG/BW", 16))[8::16, 8::16].max() <= 6


# The stored rows for each value of the EXIF tag, written down from its definition: which side of the
# upright picture, RGB/KWY, the stored picture's first row and first column show.
ORIENTATIONS = {
    1: "RGB/KWY",  # top, left
    2: "BGR/YWK",  # top, right
    3: "YWK/BGR",  # bottom, right
    4: "KWY/RGB",  # bottom, left
    5: "RK/GW/BY",  # left, top
    6: "BY/GW/RK",  # right, top
    7: "YB/WG/KR",  # right, bottom
    8: "KR/WG/YB",  # left, bottom
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF-LZW"])
def test_exif_orientation_is_applied(kind, orientation):
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    if kind == "TIFF-LZW":
        options = {"compression": "tiff_lzw"}
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(blocks(ORIENTATIONS[orientation], 16), kind.removesuffix("-LZW"), exif=exif, **options)
    upright = np.int16(pixels(data))
    assert upright.shape == (32, 48, 3)
    assert np.abs(upright - blocks("RGB/KWY", 16))[8::16, 8::16].max() <= 6


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_means_nothing_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert pixels(encoded(RGB, "PNG", exif=exif)) == RGB.tolist()


def test_damaged_exif_is_ignored():
    assert pixels(encoded(RGB, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")) == RGB.tolist()


def test_orientation_applies_to_16_bit_grey():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(np.array([[0x0100, 0x0200, 0x0300]], np.uint16), "PNG", exif=exif)
    assert pixels(data) == [[[1] * 3], [[2] * 3], [[3] * 3]]


def test_orientation_chunk_behind_the_png_pixels_counts():
    exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0")
    data = png((2, 1), 8, 0, b"\0\x01\x02", after=exif)
    assert pixels(data) == [[[2] * 3, [1] * 3]]


GREY = np.array([[0, 1, 128, 255]], np.uint8)
GREY_16 = np.array([[0x0000, 0x00FF, 0x0100, 0xFFFF]], np.uint16)


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        pytest.param(encoded(GREY, "PNG"), [0, 1, 128, 255], id="png-8"),
        pytest.param(encoded(GREY, "BMP"), [0, 1, 128, 255], id="bmp-8"),
        pytest.param(encoded(GREY, "TIFF"), [0, 1, 128, 255], id="tiff-8"),
        pytest.param(tiff(GREY, photometric="miniswhite"), [255, 254, 127, 0], id="tiff-8-white-is-zero"),
        pytest.param(encoded(GREY_16, "PNG"), [0, 0, 1, 255], id="png-16"),
        pytest.param(tiff(GREY_16), [0, 0, 1, 255], id="tiff-16-little-endian"),
        pytest.param(tiff(GREY_16, byteorder=">"), [0, 0, 1, 255], id="tiff-16-big-endian"),
        pytest.param(tiff(GREY_16, photometric="miniswhite"), [255, 255, 254, 0], id="tiff-16-white-is-zero"),
        pytest.param(tiff(GREY_16.astype(np.int32)), [0, 0, 1, 255], id="tiff-16-bits-in-32"),
        pytest.param(png((4, 1), 2, 0, b"\0\x1b"), [0, 85, 170, 255], id="png-2"),
        pytest.param(png((3, 1), 4, 0, b"\0\x0f\x80"), [0, 255, 136], id="png-4"),
        pytest.param(encoded(Image.fromarray(GREY).convert("1", dither=0), "PNG"), [0, 0, 255, 255], id="png-1"),
        pytest.param(tiff(GREY > 100, photometric="minisblack"), [0, 0, 255, 255], id="tiff-1"),
        pytest.param(tiff(GREY > 100, photometric="miniswhite"), [255, 255, 0, 0], id="tiff-1-white-is-zero"),
        pytest.param(encoded(Image.fromarray(GREY).convert("1", dither=0), "BMP"), [0, 0, 255, 255], id="bmp-1"),
    ],
)
def test_grey_becomes_three_equal_channels(data, grey):
    assert pixels(data) == [[[value] * 3 for value in grey]]


def test_grey_jpeg():
    grey = pixels(encoded(np.full((8, 8), 90, np.uint8), "JPEG", quality=95))
    assert grey == [[[90] * 3] * 8] * 8


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png((2, 1), 16, 2, b"\0" + DEEP.astype(">u2").tobytes()), id="png"),
        pytest.param(tiff(DEEP, photometric="rgb"), id="tiff-little-endian"),
        pytest.param(tiff(DEEP, photometric="rgb", byteorder=">"), id="tiff-big-endian"),
        pytest.param(tiff(DEEP, photometric="rgb", compression="zlib"), id="tiff-deflate"),
    ],
)
def test_16_bit_colours_keep_their_upper_byte(data):
    assert pixels(data) == DEEP_AS_8_BITS


def test_16_bit_planar_tiff_is_right_or_refused():
    planes = np.ascontiguousarray(np.moveaxis(DEEP, 2, 0))
    try:
        found = pixels(tiff(planes, photometric="rgb", planarconfig="separate"))
    except FrameError:
        return
    assert found == DEEP_AS_8_BITS


def test_8_bit_planar_tiff():
    planes = np.ascontiguousarray(np.moveaxis(RGB, 2, 0))
    assert pixels(tiff(planes, photometric="rgb", planarconfig="separate")) == RGB.tolist()


CMYK = np.array([[(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0), (0, 255, 255, 0)]], np.uint8)
CMYK_AS_RGB = [[255, 255, 255], [0, 0, 0], [0, 255, 255], [255, 0, 0]]


def test_cmyk_tiff():
    assert pixels(tiff(CMYK, photometric="separated")) == [CMYK_AS_RGB]


def test_cmyk_jpeg():
    large = CMYK.repeat(16, 0).repeat(16, 1)
    found = np.int16(pixels(encoded(Image.fromarray(large, "CMYK"), "JPEG", quality=95)))
    assert np.abs(found[8, 8::16] - CMYK_AS_RGB).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_palette(kind):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 12, 200, 77])
    image.putdata([2, 0, 1])
    assert pixels(encoded(image, kind)) == [[[12, 200, 77], [255, 0, 0], [0, 255, 0]]]


def test_transparent_palette_entries_keep_their_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert pixels(encoded(image, "PNG", transparency=b"\0\x80")) == [[[255, 0, 0], [0, 255, 0]]]


RGBA = np.array([[(255, 0, 0, 0), (10, 20, 30, 128), (1, 2, 3, 255)]], np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(RGBA, "PNG"), id="png"),
        pytest.param(encoded(RGBA, "WEBP", lossless=True, exact=True), id="webp"),
        pytest.param(encoded(RGBA, "TIFF"), id="tiff"),
        pytest.param(encoded(RGBA, "BMP"), id="bmp"),
    ],
)
def test_alpha_is_ignored(data):
    assert pixels(data) == [[[255, 0, 0], [10, 20, 30], [1, 2, 3]]]


def test_alpha_over_grey_is_ignored():
    assert pixels(png((2, 1), 8, 4, b"\0\x32\x00\x46\x80")) == [[[50] * 3, [70] * 3]]


def test_16_bit_alpha_over_grey_is_ignored():
    assert pixels(png((2, 1), 16, 4, b"\0\x32\xff\x00\x00\x46\x00\x80\x00")) == [[[50] * 3, [70] * 3]]


def test_colour_named_transparent_stays():
    red_is_transparent = chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0))
    assert pixels(png((2, 1), 8, 2, b"\0\xff\0\0\x01\x02\x03", before=red_is_transparent)) == [[[255, 0, 0], [1, 2, 3]]]


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_first_of_several_pages(kind):
    first, second = (Image.new("RGB", (4, 3), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert pixels(data) == [[[255, 0, 0]] * 4] * 3


def test_jpeg_with_a_second_picture_behind_it():
    data = encoded(Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "white")])
    assert pixels(data) == [[[0] * 3] * 8] * 8


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tiff(GREY.astype(np.float32)), id="float"),
        pytest.param(tiff(GREY_16.astype(np.uint32) * 70000), id="32-bit"),
        pytest.param(tiff(np.array([[0, 300, -5]], np.int16)), id="negative"),
    ],
)
def test_deeper_grey_is_refused(data):
    with pytest.raises(FrameNotSupported, match="is not read here"):
        decode(data)


def test_path_string_and_bytes_agree(tmp_path):
    path = tmp_path / "snapshot.png"
    path.write_bytes(encoded(RGB, "PNG"))
    frames = [read(path), read(str(path)), read(path.read_bytes())]
    assert [frame.source for frame in frames] == [str(path), str(path), "bytes"]
    assert all(frame.pixels.tolist() == RGB.tolist() for frame in frames)
    assert all((frame.width, frame.height, frame.size) == (3, 2, (3, 2)) for frame in frames)


def test_frame_passes_through():
    frame = Frame(RGB, "doorbell")
    assert read(frame) is frame


def test_array_passes_through():
    frame = read(RGB)
    assert frame.pixels is RGB
    assert frame.source == "array"


def test_array_becomes_contiguous():
    frame = read(RGB[:, ::-1])
    assert frame.pixels.flags.c_contiguous
    assert frame.pixels.tolist() == RGB[:, ::-1].tolist()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (RGB.astype(np.float32), r"\(2, 3, 3\) float32"),
        (RGB.astype(np.int64), r"\(2, 3, 3\) int64"),
        (RGB > 0, r"\(2, 3, 3\) bool"),
        (RGB[..., 0], r"\(2, 3\) uint8"),
        (RGBA, r"\(1, 3, 4\) uint8"),
        (RGB[None], r"\(1, 2, 3, 3\) uint8"),
        (RGB[:0], r"\(0, 3, 3\) uint8"),
        (RGB[:, :0], r"\(2, 0, 3\) uint8"),
    ],
)
def test_other_arrays_are_refused(array, words):
    with pytest.raises(UsageError, match=f"uint8 RGB array, not {words}"):
        read(array)


def test_missing_file(tmp_path):
    with pytest.raises(FrameNotFound, match="no such file"):
        read(tmp_path / "gone.jpg")


def test_missing_folder(tmp_path):
    with pytest.raises(FrameNotFound, match="no such file"):
        read(tmp_path / "gone" / "gone.jpg")


def test_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(FrameEmpty, match="empty \\(0 bytes\\)"):
        read(tmp_path / "empty.jpg")


def test_no_bytes():
    with pytest.raises(FrameEmpty, match="0 bytes"):
        decode(b"")


def test_text_named_jpg(tmp_path):
    (tmp_path / "text.jpg").write_text("Hello, world")
    with pytest.raises(FrameNotAPicture, match=r"not a picture .* begins with b'Hello, w'"):
        read(tmp_path / "text.jpg")


def boxes(brand: bytes, *compatible: bytes) -> bytes:
    """The beginning of an ISO base media file."""
    brands = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 4 + len(brands)) + brands + bytes(200)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param(encoded(RGB, "GIF"), "GIF", id="gif"),
        pytest.param(encoded(RGB, "AVIF"), "AVIF", id="avif"),
        pytest.param(boxes(b"heic", b"mif1", b"heic"), "HEIC", id="heic"),
        pytest.param(boxes(b"mif1", b"mif1", b"heic"), "HEIC", id="heic-behind-a-general-brand"),
        pytest.param(boxes(b"msf1"), "HEIF", id="heif"),
        pytest.param(boxes(b"crx "), "raw file", id="cr3"),
        pytest.param(encoded(RGB, "JPEG2000"), "JPEG 2000", id="jpeg-2000"),
        pytest.param(b"\xff\x0a" + bytes(100), "JPEG XL", id="jpeg-xl"),
        pytest.param(tiff(RGB, photometric="rgb", subfiletype=1), "raw file", id="tiff-of-a-thumbnail"),
        pytest.param(tiff(RGB, photometric="rgb", subfiletype=1, byteorder=">"), "raw file", id="the-other-byte-order"),
        pytest.param(tiff(RGB, photometric="rgb", subfiletype=1, bigtiff=True), "raw file", id="64-bit-offsets"),
        pytest.param(tiff(RGB, extratags=[(50706, "B", 4, (1, 4, 0, 0), True)]), "raw file", id="dng"),
    ],
)
def test_pictures_of_other_formats_are_named_as_such(data, name):
    for look in (snapshot, decode):
        with pytest.raises(FrameNotSupported, match=f"{name}.* not supported"):
            look(data)


def test_films_are_no_pictures():
    with pytest.raises(FrameNotAPicture):
        decode(boxes(b"isom", b"mp42"))


def test_a_cut_tiff_is_damaged_wherever_its_directory_stands(rng):
    data = encoded(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), "TIFF", compression="tiff_lzw")
    for cut in (data[:-1], data[: len(data) // 2], data[:1000] + data[1100:]):
        with pytest.raises(FrameCorrupt):
            decode(cut)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_file_cut_in_half(kind, rng):
    data = encoded(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    with pytest.raises(FrameCorrupt, match=r"cut off or damaged: ."):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_every_cut_is_a_frame_error(kind):
    data = encoded(blocks("RG/BW", 4), kind)
    for length in range(0, len(data), 7):
        try:
            decode(data[:length])
        except FrameError as error:
            assert str(error)  # noqa: PT017 - a cut behind the last pixel is allowed to pass


def test_damaged_png_chunk():
    data = bytearray(encoded(RGB, "PNG"))
    data[data.index(b"IDAT") + 6] ^= 0xFF
    with pytest.raises(FrameCorrupt, match=r"cut off or damaged: ."):
        decode(bytes(data))


def test_one_pixel():
    assert pixels(encoded(RGB[:1, :1], "PNG")) == [[[255, 0, 0]]]


def test_very_wide():
    assert np.array_equal(pixels(encoded(np.full((2, 30000, 3), 7, np.uint8), "PNG")), np.full((2, 30000, 3), 7))


def test_limit_is_on_the_number_of_pixels():
    data = encoded(RGB, "PNG")
    assert read(data, max_pixels=6).size == (3, 2)
    with pytest.raises(FrameTooLarge, match="3x2"):
        read(data, max_pixels=5)


def test_just_over_the_limit():
    with pytest.raises(FrameTooLarge, match="13000x13000 = 169 million pixels, the limit is 160 million"):
        decode(png((13000, 13000), 8, 2, b""))


GROWTH = """
import resource, sys
from peephole import frame
from peephole.errors import FrameError
frame.decode(bytes.fromhex(sys.argv[1]))  # whatever loads once is loaded
data = open(sys.argv[2], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    frame.decode(data)
except FrameError as error:
    print(type(error).__name__)
else:
    print("fine")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_growth(path: Path) -> tuple[str, float]:
    """What comes of decoding a file in a child, and by how many megabytes the child's peak grows."""
    # Through a shell: a direct child starts with this process's peak as its own (ru_maxrss survives exec).
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    command = [*shell, sys.executable, "-c", GROWTH, encoded(RGB, "PNG").hex(), str(path)]
    outcome, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return outcome, int(kilobytes) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_too_large_is_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png((60000, 60000), 8, 2, bytes(1 + 3 * 60000) * 100))
    outcome, growth = peak_growth(path)
    assert outcome == "FrameTooLarge"
    assert growth < 20


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_decoding_is_what_that_growth_measures(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encoded(Image.new("RGB", (4000, 4000)), "PNG"))
    outcome, growth = peak_growth(path)
    assert outcome == "fine"
    assert growth > 40


def test_folder_as_file(tmp_path):
    with pytest.raises(FrameUnreadable, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux only")
def test_unreadable_file():
    with pytest.raises(FrameUnreadable, match="cannot be read: Input/output error"):
        load("/proc/self/mem")


def test_nul_byte_in_the_name():
    with pytest.raises(FrameUnreadable, match="cannot be read: embedded null byte"):
        read("a\0b.jpg")


def test_name_too_long():
    with pytest.raises(FrameUnreadable, match="cannot be read: File name too long"):
        read("a" * 300)


def test_cause_is_kept():
    with pytest.raises(FrameCorrupt) as caught:
        decode(encoded(blocks("RG/BW", 16), "JPEG")[:400])
    assert caught.value.__cause__ is not None


def test_threads_that_decode_at_once_leave_the_warnings_filters_alone(monkeypatch):
    opening, naps = Image.open, itertools.cycle([0.005, 0.001, 0.003])

    def slowly(*arguments, **options):
        time.sleep(next(naps))  # so that they overlap, and end in another order than they began in
        return opening(*arguments, **options)

    monkeypatch.setattr(Image, "open", slowly)
    makes_pillow_warn = encoded(RGB, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    damaged = [makes_pillow_warn, encoded(RGB, "PNG")] * 30
    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        assert len(list(pool.map(decode, damaged))) == 60
    assert warnings.filters == before


def test_pillows_own_limit_is_said_in_our_words():
    data = png((60000, 60000), 8, 2, b"")
    for max_pixels, limit in ((160_000_000, 160), (10**10, 179)):
        with pytest.raises(FrameTooLarge, match=f"header claims 3600000000 pixels, the limit is {limit} million"):
            decode(data, max_pixels=max_pixels)


def test_memory_that_runs_out_is_no_fault_of_the_header(monkeypatch, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(RGB, "PNG"))
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "convert", fail_with_memory_error)
        with pytest.raises(OutOfMemory, match="not enough memory to decode"):
            decode(encoded(Image.new("L", (2, 2)), "PNG"))
    monkeypatch.setattr(Path, "read_bytes", fail_with_memory_error)
    with pytest.raises(OutOfMemory, match="not enough memory"):
        load(tmp_path / "a.png")


def fail_with_memory_error(*arguments, **options):
    raise MemoryError


# Decoding smaller

MARK = 24


def marked(size: tuple[int, int], at: tuple[int, int], orientation: int = 1) -> bytes:
    """A grey JPEG, upright of this size, with a red square of `MARK` pixels; stored as the orientation says."""
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    picture[at[1] : at[1] + MARK, at[0] : at[0] + MARK] = (230, 20, 20)
    # What turns the upright picture into the one whose orientation is this.
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: p.swapaxes(0, 1)[::-1],
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: p.swapaxes(0, 1)[:, ::-1],
    }[orientation](picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(np.ascontiguousarray(stored), "JPEG", exif=exif, quality=95, subsampling=0)


@pytest.mark.parametrize("size", [(300, 200), (301, 203), (163, 257), (199, 131)])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_reduced_jpeg_knows_where_its_pixels_were(reduction, orientation, size):
    for at in ((0, 0), (size[0] - MARK, size[1] - MARK), (72, 61)):
        frame = decode(marked(size, at, orientation), reduction=reduction)
        assert frame.native_size == size
        assert frame.size == tuple(-(-side // reduction) for side in size)
        red = frame.pixels[..., 0].astype(int) - frame.pixels[..., 1] > 70
        y, x = np.nonzero(red)
        box = frame.to_native.boxes([[x.min(), y.min(), x.max() + 1, y.max() + 1]])[0]
        assert np.abs(box - (*at, at[0] + MARK, at[1] + MARK)).max() <= reduction
        # The whole frame covers the native one, and goes beyond it by less than one of its own pixels.
        left, top, right, bottom = frame.to_native.boxes([[0, 0, *frame.size]])[0]
        assert -reduction < left <= 0
        assert -reduction < top <= 0
        assert size[0] <= right < size[0] + reduction
        assert size[1] <= bottom < size[1] + reduction
        assert (right - left, bottom - top) == (reduction * frame.width, reduction * frame.height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_frame_is_turned_while_it_is_decoded(turn, reduction, orientation):
    data = marked((163, 257), (31, 61), orientation)
    plain, turned = decode(data, reduction=reduction), decode(data, reduction=reduction, turn=turn)
    np.testing.assert_array_equal(turned.pixels, np.rot90(plain.pixels, -turn // 90))  # NumPy turns the other way round
    assert turned.pixels.flags.c_contiguous
    assert (turned.native_size, turned.turn) == ((163, 257), turn)
    y, x = np.nonzero(turned.pixels[..., 0].astype(int) - turned.pixels[..., 1] > 70)
    box = turned.to_native.boxes([[x.min(), y.min(), x.max() + 1, y.max() + 1]])[0]
    assert np.abs(box - (31, 61, 31 + MARK, 61 + MARK)).max() <= reduction
    back = turned.turned((360 - turn) % 360)
    np.testing.assert_array_equal(back.pixels, plain.pixels)
    assert (back.to_native, back.turn) == (plain.to_native, 0)


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 9), (8, 8), (9, 17)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_tiny_jpegs_are_reduced_too(reduction, size):
    frame = decode(encoded(np.full((size[1], size[0], 3), 90, np.uint8), "JPEG"), reduction=reduction)
    assert frame.native_size == size
    # Pillow divides no side by more than it has pixels.
    factor = max(each for each in (1, 2, 4, 8) if each <= min(reduction, *size))
    assert frame.size == tuple(-(-side // factor) for side in size)
    assert frame.to_native == Transform.scale(factor, factor)
    assert abs(int(frame.pixels.mean()) - 90) <= 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_reduced_jpegs_of_other_colours(mode):
    frame = decode(encoded(Image.new(mode, (101, 67), 90 if mode == "L" else (0, 0, 0, 165)), "JPEG"), reduction=4)
    assert (frame.size, frame.native_size) == ((26, 17), (101, 67))
    assert np.abs(frame.pixels.astype(int) - 90).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("reduction", [2, 8])
def test_other_formats_take_no_notice_of_a_reduction(kind, reduction, rng):
    data = encoded(rng.integers(0, 256, (37, 51, 3), np.uint8), kind)
    frame = decode(data, reduction=reduction)
    assert frame.to_native == IDENTITY
    assert frame.size == frame.native_size == (51, 37)
    assert np.array_equal(frame.pixels, decode(data).pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_snapshot_says_its_size_without_decoding(orientation, monkeypatch):
    data = marked((301, 203), (10, 20), orientation)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", fail_with_memory_error)
        taken = snapshot(data, "door.jpg")
    assert (taken.size, taken.reducible, taken.source) == ((301, 203), True, "door.jpg")
    assert taken.decode().size == (301, 203)
    assert taken.decode(4).native_size == (301, 203)
    assert taken.decode(4).source == "door.jpg"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_snapshots_of_other_formats_are_not_reducible(kind, monkeypatch):
    data = encoded(np.zeros((37, 51, 3), np.uint8), kind)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", fail_with_memory_error)
        taken = snapshot(data)
    assert (taken.size, taken.reducible) == ((51, 37), False)


def test_a_snapshot_is_refused_for_what_decoding_would_refuse():
    for data, error in ((b"", FrameEmpty), (b"hello", FrameNotAPicture)):
        with pytest.raises(error):
            snapshot(data)
    with pytest.raises(FrameTooLarge, match="301x203"):
        snapshot(marked((301, 203), (0, 0)), max_pixels=60_000)


def test_a_header_alone_is_a_snapshot_but_no_frame():
    half = marked((301, 203), (10, 20))
    half = half[: len(half) // 2]
    assert snapshot(half).size == (301, 203)
    for reduction in (1, 4):
        with pytest.raises(FrameCorrupt):
            snapshot(half).decode(reduction)


def test_a_pictures_fingerprint_is_that_of_its_bytes(eileen_file):
    data = eileen_file.read_bytes()
    (first, again) = (snapshot(each, name).fingerprint() for each, name in ((data, "a"), (bytes(bytearray(data)), "b")))
    assert first == again
    assert re.fullmatch("[0-9a-f]{16}", first)
    for other in (data + b"\0", data[:-1] + b"\0", data[:-1]):
        assert Snapshot(other, "a", (512, 512), False).fingerprint() != first
    for short in (b"", b"x", b"x" * 255, b"x" * 256, b"x" * 257):
        assert len(Snapshot(short, "a", (1, 1), False).fingerprint()) == 16


def test_a_fingerprint_looks_at_a_picture_from_its_beginning_to_its_end():
    zeros = bytearray(530_000)
    plain = Snapshot(bytes(zeros), "a", (1, 1), False).fingerprint()
    for at in (0, *range(0, 530_000, 530_000 // 16), 529_999):
        changed = bytearray(zeros)
        changed[at] = 1
        assert Snapshot(bytes(changed), "a", (1, 1), False).fingerprint() != plain
