"""Where a detector's time goes: its stages are there, within the whole, and none is open when it hands over boxes."""

import pytest

from peephole.detectors import open_detector
from peephole.planner import plan
from peephole.timings import StageClock

PARTS = ["resize", "head", "tail"]


@pytest.mark.parametrize(
    ("name", "parts"), [("mmod", PARTS), ("yunet", PARTS), ("dlib-hog", PARTS[:2])], ids=["mmod", "yunet", "dlib"]
)
def test_the_stages_of_a_detector(eileen, name, parts):
    detector = open_detector(name)
    clock, planned = StageClock(), plan((512, 512), detector.profile, max_side=300)
    with clock.stage("detect"):
        for _ in detector.scan(eileen.pixels, planned, 0.5, clock):
            with clock.stage("handed over"):
                pass
    took = clock.milliseconds
    assert list(took) == ["detect", *(f"detect.{part}" for part in parts), "detect.handed over"]
    assert all(took[f"detect.{part}"] > 0 for part in parts)
    assert sum(value for stage, value in took.items() if "." in stage) <= took["detect"]


def test_without_a_clock_it_is_the_same(eileen):
    detector = open_detector("yunet")
    planned = plan((512, 512), detector.profile)
    with_clock = list(detector.scan(eileen.pixels, planned, 0.5, StageClock()))
    for one, other in zip(detector.scan(eileen.pixels, planned, 0.5), with_clock, strict=True):
        assert one.boxes.tolist() == other.boxes.tolist()
