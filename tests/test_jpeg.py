"""JPEGs that are whole, cut off, damaged or of a kind that is not read: which are which, and what comes out."""

import io
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from peephole.errors import FrameCorrupt, FrameNotSupported
from peephole.frame import decode, snapshot
from peephole.planner import DECODE_BYTES_PER_PIXEL

END = b"\xff\xd9"
SIDE = 640
CODED = {"mode": "RGB", "quality": 85}
KINDS = {
    "plain": CODED,
    "full colours": CODED | {"subsampling": 0},
    "own tables": CODED | {"optimize": True},
    "restarts": CODED | {"restart_marker_rows": 1},
    "grey": CODED | {"mode": "L"},
    "cmyk": CODED | {"mode": "CMYK"},
    "progressive": CODED | {"progressive": True},
}
IN_ROWS = [kind for kind in KINDS if kind != "progressive"]


@pytest.fixture(scope="module")
def jpegs() -> dict[str, bytes]:
    """One textured picture, coded in every way."""
    rng = np.random.default_rng(20261126)
    small = Image.fromarray(rng.integers(0, 256, (SIDE // 5, SIDE // 5, 3), np.uint8))
    picture = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    made = {}
    for kind, options in KINDS.items():
        file, how = io.BytesIO(), dict(options)
        picture.convert(how.pop("mode")).save(file, "JPEG", **how)
        made[kind] = file.getvalue()
    return made


def scan(data: bytes) -> int:
    """Where the coded data begin, more or less."""
    return data.index(b"\xff\xda") + 14


def by_pillow(data: bytes, reduction: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        if reduction > 1:
            image.draft(None, tuple(side // reduction for side in image.size))
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_the_pixels_are_pillows(jpegs, kind, reduction):
    frame = decode(jpegs[kind], reduction=reduction)
    assert np.array_equal(frame.pixels, by_pillow(jpegs[kind], reduction))
    assert frame.pixels.flags.c_contiguous
    assert frame.rows_decoded is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", [1, 4])
def test_a_picture_that_lacks_only_its_end_marker_is_whole(jpegs, kind, reduction):
    whole = decode(jpegs[kind], reduction=reduction).pixels
    for ending in (b"", bytes(1), bytes(6), bytes(70_000)):
        frame = decode(jpegs[kind][:-2] + ending, reduction=reduction)
        assert frame.rows_decoded is None, len(ending)
        assert np.array_equal(frame.pixels, whole), len(ending)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_between_the_last_pixel_and_the_end_or_behind_it_changes_nothing(jpegs, kind):
    data = jpegs[kind]
    whole = decode(data).pixels
    for same in (data[:-2] + bytes(3) + END, data[:-2] + bytes(900) + END + b"junk", data + bytes(range(256)) + END):
        frame = decode(same)
        assert frame.rows_decoded is None
        assert np.array_equal(frame.pixels, whole)


def test_coded_data_that_end_in_zeros_of_their_own_are_whole_without_an_end_marker():
    # Blocks of nothing take two bits in tables of their own, all zeros, so that a number of them ends so.
    file = io.BytesIO()
    Image.new("L", (32, 32), 128).save(file, "JPEG", optimize=True)
    data = file.getvalue()
    assert data.endswith(bytes(2) + END)
    assert np.array_equal(decode(data[:-2]).pixels, decode(data).pixels)
    assert decode(data[:-2]).rows_decoded is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_bytes_missing_within_are_damage(jpegs, kind, reduction):
    data = jpegs[kind]
    start, size = scan(data), len(data) - scan(data)
    for share in (0.1, 0.5, 0.8):
        at = start + int(share * size)
        holed = data[:at] + data[at + size // 10 :]
        with pytest.raises(FrameCorrupt, match="cut off or damaged"):
            decode(holed, reduction=reduction)
        assert snapshot(holed).size == (SIDE, SIDE)


@pytest.mark.parametrize("kind", ["plain", "restarts", "grey", "progressive"])
def test_a_part_that_was_never_written_is_damage(jpegs, kind):
    data = jpegs[kind]
    middle = (scan(data) + len(data)) // 2
    with pytest.raises(FrameCorrupt):
        decode(data[:middle] + bytes(4096) + data[middle + 4096 :])


@pytest.mark.parametrize("kind", ["plain", "restarts", "grey", "cmyk", "progressive"])
def test_what_befalls_files_on_their_way_is_damage(jpegs, kind, rng):
    data = jpegs[kind]
    middle = (scan(data) + len(data)) // 2
    befallen = {
        "line ends translated": data.replace(b"\n", b"\r\n"),
        "begun again": data[:middle] + data,
        "a block of something else": data[:middle] + rng.bytes(4096) + data[middle + 4096 :],
        "a block twice": data[:middle] + data[middle - 4096 :],
        "the eighth bit lost": data[: scan(data)] + bytes(each & 0x7F for each in data[scan(data) :]),
    }
    for what, damaged in befallen.items():
        try:
            frame = decode(damaged)
        except FrameCorrupt:
            continue
        pytest.fail(f"{what}: taken for {frame.rows_decoded} sound rows")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.8, 0.97])
def test_a_cut_picture_with_an_end_marker_put_behind_is_damage(jpegs, kind, share):
    data = jpegs[kind]
    with pytest.raises(FrameCorrupt):
        decode(data[: int(share * len(data))] + END)


@pytest.mark.parametrize("kind", IN_ROWS)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_cut_within_the_last_rows_says_how_many_are_there(jpegs, kind, reduction):
    data = jpegs[kind]
    whole = decode(data, reduction=reduction).pixels
    for missing in (0.003, 0.01, 0.02):
        cut = data[: -int(missing * len(data))]
        for ending in (b"", bytes(5000)):
            frame = decode(cut + ending, reduction=reduction)
            assert 0.95 * SIDE <= frame.rows_decoded < SIDE
            assert frame.rows_decoded >= (1 - missing) * SIDE - 32  # two rows of blocks
            rows = frame.rows_decoded // reduction
            assert np.array_equal(frame.pixels[: rows - 1], whole[: rows - 1])
            assert np.abs(frame.pixels[rows - 1].astype(int) - whole[rows - 1]).mean() < 20  # colours reach over
            assert not frame.pixels[rows:].any()
            assert frame.native_size == (SIDE, SIDE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", [1, 4])
def test_a_cut_above_them_is_damage(jpegs, kind, reduction):
    data = jpegs[kind]
    for missing in (0.08, 0.3, 0.9):
        cut = data[: -int(missing * len(data))]
        for ending in (b"", bytes(5000)):
            with pytest.raises(FrameCorrupt):
                decode(cut + ending, reduction=reduction)


def test_a_cut_picture_that_is_damaged_besides_is_not_taken_in_part(jpegs, rng):
    data = jpegs["restarts"]
    middle = (scan(data) + len(data)) // 2
    damaged = data[:middle] + bytes(each for each in rng.bytes(900) if each != 0xFF) + data[middle:]
    with pytest.raises(FrameCorrupt):
        decode(damaged[:-300])


def test_a_picture_of_scans_over_all_of_it_is_never_taken_in_part(jpegs):
    for missing in (10, 200, 2000):
        with pytest.raises(FrameCorrupt):
            decode(jpegs["progressive"][:-missing])


def test_the_rows_of_a_turned_picture_are_counted_as_they_are_stored(jpegs):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    with Image.open(io.BytesIO(jpegs["plain"])) as image:
        image.crop((0, 0, SIDE, 400)).save(file, "JPEG", exif=exif, quality=85)
    frame = decode(file.getvalue()[:-500])
    assert frame.size == (400, SIDE)
    assert 380 <= frame.rows_decoded < 400
    assert not frame.pixels[:, : 400 - frame.rows_decoded].any()  # the last stored row is the upright one's left
    assert frame.pixels[:, 400 - frame.rows_decoded :].any()


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (0xC3, "lossless"),
        (0xC5, "hierarchical"),
        (0xC9, "arithmetic"),
        (0xCA, "arithmetic"),
        (0xCB, "arithmetic"),
        (0xCF, "arithmetic"),
    ],
)
def test_processes_that_are_not_supported_are_named(jpegs, process, words):
    data = bytearray(jpegs["plain"])
    data[data.index(b"\xff\xc0") + 1] = process
    for look in (snapshot, decode):
        with pytest.raises(FrameNotSupported, match=f"{words}.* not supported"):
            look(bytes(data))


@pytest.mark.parametrize("oddity", ["spectral selection", "revision"])
def test_odd_declarations_that_change_no_pixel_are_no_damage(jpegs, oddity):
    odd, sound = bytearray(jpegs["plain"]), decode(jpegs["plain"]).pixels
    if oddity == "revision":
        odd[odd.index(b"JFIF\0") + 5] = 7
    else:
        odd[scan(bytes(odd)) - 2] = 0  # the last coefficient of the scan: 63 in every picture of this kind
    assert np.array_equal(decode(bytes(odd)).pixels, sound)


def test_twelve_bits_are_not_supported(jpegs):
    data = bytearray(jpegs["plain"])
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(FrameNotSupported, match="12 bits"):
        decode(bytes(data))


def test_unusual_subsampling_is_left_to_pillow():
    file = io.BytesIO()
    Image.new("RGB", (24, 8), (128, 128, 128)).save(file, "JPEG", subsampling=0)
    data = bytearray(file.getvalue())
    data[data.index(b"\xff\xc0") + 11] = 0x31  # three blocks of brightness to one of each colour
    # Five blocks without a difference in the tables of T.81, annex K: 001010 three times, 0000 twice, and ones.
    sound = bytes(data[: data.index(b"\xff\xda") + 14]) + bytes([0x28, 0xA2, 0x80, 0x3F])
    assert decode(sound + END).pixels.tolist() == [[[128] * 3] * 24] * 8
    with pytest.raises(FrameCorrupt):
        decode(sound[:-2])


@pytest.mark.parametrize("ending", [b"", bytes(50), END], ids=["cut", "zeros", "ended"])
def test_damage_takes_no_more_memory_than_the_plan_counts(jpegs, ending):
    data = jpegs["plain"]
    data = data[: -len(data) // 100] + ending
    tracemalloc.start()
    try:
        decode(data)
    except FrameCorrupt:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < DECODE_BYTES_PER_PIXEL * SIDE * SIDE + 4 * len(data)


STARVED = """
import resource, sys
from peephole.errors import OutOfMemory
from peephole.frame import decode
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
data = open(sys.argv[1], "rb").read()
resource.setrlimit(resource.RLIMIT_AS, (taken + 45_000_000,) * 2)
try:
    decode(data)
except OutOfMemory:
    print("out of memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_that_the_decoder_lacks_is_no_damage(tmp_path):
    Image.new("RGB", (3000, 3000)).save(tmp_path / "large.jpg", progressive=True)
    command = [sys.executable, "-c", STARVED, str(tmp_path / "large.jpg")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "out of memory\n"


def test_the_result_says_it(jpegs):
    from peephole.pipeline import Pipeline

    pipeline = Pipeline(threads=1)
    whole, cut = (pipeline.analyse(data).to_dict() for data in (jpegs["plain"], jpegs["plain"][:-300]))
    assert "rows_decoded" not in whole
    assert json.loads(json.dumps(cut))["rows_decoded"] == SIDE - 16
