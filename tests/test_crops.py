"""The folder of crops: private, whole files, few and not for long, and nobody else's files."""

import os
import stat

import pytest

from peephole.crops import Crops

T = 1_700_000_000.0


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_a_crop_is_its_owners_alone(tmp_path):
    crops = Crops(tmp_path / "a" / "crops", clock=lambda: T)
    path = crops.path(f"12@{T:.0f}", 1)
    assert not path.exists()
    crops.keep(path, b"png")
    assert path.read_bytes() == b"png"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert names(path.parent) == [path.name]
    assert path.is_absolute()


def test_each_face_of_each_frame_has_its_own(tmp_path):
    crops = Crops(tmp_path)
    assert len({crops.path(frame, index) for frame in ("1@2", "12@1", "1@21") for index in (0, 1)}) == 6


def test_the_newest_are_kept(tmp_path):
    crops = Crops(tmp_path, most=3, clock=lambda: T)
    for number in range(6):
        path = crops.path(f"{number}@1", 0)
        crops.keep(path, b"png")
        os.utime(path, (T + number, T + number))
    crops.tidy()
    assert names(tmp_path) == ["visit-3-1-0.png", "visit-4-1-0.png", "visit-5-1-0.png"]


def test_for_a_set_time(tmp_path):
    now = [T]
    crops = Crops(tmp_path, seconds=60, clock=lambda: now[0])
    for number in (1, 2):
        crops.keep(crops.path(f"{number}@1", 0), b"png")
        os.utime(crops.path(f"{number}@1", 0), (T + 30 * number, T + 30 * number))
    now[0] = T + 91
    crops.tidy()
    assert names(tmp_path) == ["visit-2-1-0.png"]


def test_nothing_else_is_touched(tmp_path):
    (tmp_path / "2026-11-20.png").write_bytes(b"mine")
    (tmp_path / "1-2-3.jpg").write_bytes(b"mine")
    (tmp_path / "1-2-3.png.bak").write_bytes(b"mine")
    crops = Crops(tmp_path, most=1, seconds=0, clock=lambda: T + 10**9)
    crops.keep(crops.path("1@1", 0), b"png")
    crops.tidy()
    assert names(tmp_path) == ["1-2-3.jpg", "1-2-3.png.bak", "2026-11-20.png"]


def test_what_a_killed_process_left_is_no_hindrance(tmp_path):
    crops = Crops(tmp_path)
    path = crops.path("1@1", 0)
    elsewhere = tmp_path / "elsewhere"
    path.with_name(f".{path.name}").symlink_to(elsewhere)
    crops.keep(path, b"png")
    assert (path.read_bytes(), elsewhere.exists()) == (b"png", False)
    (tmp_path / ".visit-7-7-7.png").write_bytes(b"half")
    os.utime(tmp_path / ".visit-7-7-7.png", (T, T))
    crops.tidy()
    assert names(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    crops = Crops(tmp_path / "file" / "crops")
    crops.tidy()
    with pytest.raises(OSError, match="file"):
        crops.keep(crops.path("1@1", 0), b"png")
