"""Small files that claim to be huge pictures are refused before anything is decoded, each by one named error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import BOMBS, HARMLESS

from peephole.errors import FrameTooLarge
from peephole.headers import MOST_PARTS, MOST_SCANS, Header, read_header

MOST_GROWTH = 8e6
"""Bytes, of what opening any file at all may take; the frames would take 500 MB and more."""

KINDS = {
    "bmp": {"too-large", "budget-too-small"},
    "jpeg": {"too-large", "budget-too-small", "not-supported"},  # not supported: arithmetic coding
    "png": {"too-large", "budget-too-small", "corrupt"},  # corrupt: a text that unpacks to more than one may
    "tiff": {"too-large", "budget-too-small", "corrupt", "not-supported"},  # not supported: some compressions
    "webp": {"too-large", "budget-too-small", "corrupt"},  # corrupt: a frame that is larger than its canvas
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of each, all in one process of its own."""
    folder = tmp_path_factory.mktemp("bombs")
    named = {f"{number:03}": name for number, name in enumerate([*BOMBS, *(f"harmless {name}" for name in HARMLESS)])}
    for file, data in zip(named, [*BOMBS.values(), *HARMLESS.values()], strict=True):
        (folder / file).write_bytes(data)
    program = str(Path(__file__).with_name("bombs.py"))
    done = subprocess.run([sys.executable, program, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = map(json.loads, done.stdout.splitlines())
    return {named[each["name"]]: each for each in told}


def test_there_are_more_than_enough():
    assert len(BOMBS) >= 20
    assert max(map(len, BOMBS.values())) < 3_000_000


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_decoding(outcomes, name):
    found = outcomes[name]
    family = name.partition(",")[0].partition(" ")[0]
    assert found["kind"] in KINDS.get(family, {"not-a-picture", "not-supported"}), found
    assert found["message"]
    assert "\n" not in found["message"]
    assert found["loads"] == 0, "it was decoded"
    if sys.platform == "linux":
        assert found["growth"] < MOST_GROWTH + found["size"], found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_claimed_beside_small_pixels_is_not_believed(outcomes, name):
    found = outcomes[f"harmless {name}"]
    assert found["kind"] in ("none", "corrupt"), found
    if sys.platform == "linux":
        assert found["growth"] < MOST_GROWTH + 4 * found["size"], found


# -- what is counted -----------------------------------------------------------------------------------


def test_scans_are_counted_behind_the_first_header_alone():
    thumbnail = b"\xff\xe1\x00\x10Exif" + b"\xff\xda" * 5
    scan = b"\xff\xda\x00\x02\x12\xff\x00\x34"
    data = b"\xff\xd8" + thumbnail + scan * 3 + b"\xff\xd9" + scan * 200
    assert read_header(data) == Header(2 + len(thumbnail), 3)
    with pytest.raises(FrameTooLarge, match=f"{MOST_SCANS + 1} scans"):
        read_header(b"\xff\xd8" + scan * (MOST_SCANS + 1))


def test_fillers_between_segments_are_no_segments_of_a_length():
    data = b"\xff\xd8\xff\xff\xff\xe0\x00\x04ab\xff\x01\xff\xd0\xff\xda\x00\x02xy\xff\xd9"
    assert read_header(data) == Header(data.index(b"\xff\xda"), 1)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\xff", b"II*\0", b"MM"])
def test_what_ends_too_soon_is_the_decoders_business(data):
    read_header(data)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("tag", [273, 324])
def test_strips_are_counted_in_both_byte_orders(order, tag):
    def number(value, size):
        return value.to_bytes(size, order)

    def tiff(count):
        entry = number(tag, 2) + number(4, 2) + number(count, 4) + number(99, 4)
        head = b"II*\0" if order == "little" else b"MM\0*"
        return head + number(8, 4) + number(1, 2) + entry + bytes(count)

    read_header(tiff(MOST_PARTS))
    with pytest.raises(FrameTooLarge, match="strips or tiles"):
        read_header(tiff(MOST_PARTS + 1))
