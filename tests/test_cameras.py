"""Which camera a picture is of, by the paths that cameras and recorders make."""

import pytest

from peephole.cameras import Cameras
from peephole.errors import UsageError


def of(path, pattern=None):
    return Cameras("door", pattern).of(f"/srv/{path}", path.split("/"))


@pytest.mark.parametrize(
    ("path", "camera"),
    [
        ("a.jpg", "door"),
        ("front/a.jpg", "front"),
        ("front/2026/11/26/a.jpg", "front"),
        ("front/2026-11-26/001/jpg/12/34/56.jpg", "front"),
        ("192.168.1.64/2026-11/26/a.jpg", "192.168.1.64"),
        ("2026/11/26/a.jpg", "door"),
        ("2026/11/26/18/05/a.jpg", "door"),
        ("2026-11-26/a.jpg", "door"),
        ("20261126/18/a.jpg", "door"),
        ("2026112618/a.jpg", "door"),
        ("2026_11/26/a.jpg", "door"),
        ("26.11.2026/a.jpg", "door"),
        ("26-11-26/a.jpg", "door"),
        ("2026-11-26/18/front/a.jpg", "front"),
        ("2026/11/26/garage/a.jpg", "garage"),
        ("1/a.jpg", "1"),
        ("01/2026/11/a.jpg", "01"),
        ("2026-11-26/001/a.jpg", "001"),
        ("20261326/a.jpg", "20261326"),
        ("2026x/a.jpg", "2026x"),
        ("1080p/a.jpg", "1080p"),
        ("٢٠٢٦/a.jpg", "٢٠٢٦"),
    ],
)
def test_the_first_folder_that_is_more_than_a_date(path, camera):
    assert of(path) == camera


def test_one_name_for_all():
    assert of("front/a.jpg", "hall") == of("a.jpg", "hall") == "hall"


@pytest.mark.parametrize(
    ("pattern", "path", "camera"),
    [
        ("{camera}_*", "front_20261126.jpg", "front"),
        ("{camera}_*", "2026/11/26/front_20261126.jpg", "front"),
        ("{camera}_{digits}_{digits}.*", "2026/11/26/Front Door_00_20261126123456.jpg", "Front Door"),
        ("{camera}_{digits}_{digits}.*", "front_door_00_20261126123456.jpg", "front_door"),
        ("{camera}_{digits}.*", "front_door_20261126123456.jpg", "front_door"),
        ("{camera}-{digits}.{digits}-*", "clips/back-yard-1795674336.94-k3x.jpg", "back-yard"),
        ("{camera}.*", "new/Drive.20261126_123456.jpg", "Drive"),
        ("*_{camera}.jpg", "MDAlarm_20261126_gate.jpg", "20261126_gate"),
        ("*_{digits}_{camera}.jpg", "MDAlarm_20261126_gate.jpg", "gate"),
        ("{camera}/*", "2026-11-26/18/front/05.jpg", "front"),
        ("{camera}_{digits}_{digits}_*", "192.168.1.64_01_20261126182207123_MOTION_DETECTION.jpg", "192.168.1.64"),
        ("{camera}/*/*/jpg/*/*/*", "ftp/front/2026-11-26/001/jpg/18/22/07[M][0@0][0].jpg", "front"),
        ("cam{camera}/*/*/*", "x/cam2/2026/11/a.jpg", "2"),
        ("{camera}", "front.jpg", "front.jpg"),
        ("a+b.{camera}.(x)", "a+b.front.(x)", "front"),
        ("{camera}_*", "fr\nont_1.jpg", "fr\nont"),
    ],
)
def test_a_pattern_names_the_camera(pattern, path, camera):
    assert of(path, pattern) == camera


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("{camera}_*", "front.jpg"),
        ("{camera}_*", "_1.jpg"),
        ("{camera}_*", "front_x/a.jpg"),
        ("{camera}_{digits}.jpg", "front_.jpg"),
        ("{camera}/*", "a.jpg"),
        ("{camera}_{digits}.jpg", "front_1.jpgx"),
    ],
)
def test_a_path_that_does_not_fit_has_its_usual_name(pattern, path, caplog):
    assert of(path, pattern) == of(path)
    assert f"/srv/{path} does not fit {pattern}" in caplog.text


def test_that_is_said_once_for_a_name(caplog):
    cameras = Cameras("door", "{camera}_*")
    for number in range(5):
        for folder in ("2026/11/2", "garage/"):
            path = f"{folder}{number}/{number}.jpg"
            cameras.of(path, path.split("/"))
        cameras.of(f"front_{number}.jpg", [f"front_{number}.jpg"])
    assert [record.args[-1] for record in caplog.records] == ["door", "garage"]


@pytest.mark.parametrize("pattern", ["{cam}_*", "*_x", "{camera}_{camera}", "{camera", "{digits}_*", "{camera}{}"])
def test_what_is_no_pattern(pattern):
    with pytest.raises(UsageError, match="camera"):
        Cameras("door", pattern)


def test_a_name_that_was_made_to_hold_it_up():
    assert of("_" * 255, "{camera}_*{digits}_*.jpg") == "door"
