import numpy as np

from peephole.detectors.planted import Planted
from peephole.frame import Frame
from peephole.planner import plan

KNOWN = np.array([[10.0, 20, 60, 70], [100, 20, 160, 80]])


def scanned(detector: Planted, min_confidence: float = 0.0) -> list:
    frame = Frame(np.zeros((200, 300, 3), np.uint8))
    planned = plan(frame.size, detector.profile)
    return list(detector.scan(frame.pixels, planned, min_confidence))


def test_each_box_comes_from_its_level_in_the_levels_pixels():
    found = scanned(Planted(KNOWN, [0, 2]))
    assert [index for index, each in enumerate(found) if len(each.boxes)] == [0, 2]
    for (level, boxes, confidence, _), known in zip((found[0], found[2]), KNOWN, strict=True):
        np.testing.assert_allclose(level.to_native.boxes(boxes), [known], atol=1e-9)
        assert confidence.tolist() == [1.0]
    assert found[2][1][0, 2] < KNOWN[1, 2]


def test_a_level_that_the_plan_does_not_have_wraps_around():
    levels = len(scanned(Planted(KNOWN, [0, 0])))
    assert [len(each.boxes) for each in scanned(Planted(KNOWN[:1], [levels + 1]))][:2] == [0, 1]


def test_a_confidence_of_1_does_not_exceed_1():
    found = scanned(Planted(KNOWN, [0, 0]), 1.0)
    assert sum(len(each.confidence) for each in found) == sum(len(each.boxes) for each in found) == 0
