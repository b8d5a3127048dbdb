import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from peephole.cli import main
from peephole.detectors import DETECTORS
from peephole.extent import EXTENTS, face_extent
from peephole.models import store

SIDES = ("left", "top", "right", "bottom")
BOXES = np.array([[100.0, 200, 180, 280], [0, 0, 20, 40]])


@pytest.mark.parametrize("detector", ["mmod", "dlib-cnn"])
def test_dlibs_squares_grow_up_and_down(detector):
    assert face_extent(BOXES, detector).tolist() == [[100, 172, 180, 292], [0, -14, 20, 46]]


@pytest.mark.parametrize("detector", ["yunet", "dlib-hog", "planted"])
def test_other_boxes_stay_as_they_are(detector):
    assert face_extent(BOXES, detector).tolist() == BOXES.tolist()


def test_nobody():
    assert face_extent(np.empty((0, 4)), "mmod").shape == (0, 4)


def test_every_entry_is_a_detector():
    assert set(EXTENTS) <= set(DETECTORS)


def detected(file: Path, *options: str) -> dict:
    result = CliRunner().invoke(main, ["detect", "--jsonl", *options, str(file)])
    assert result.exit_code == 0, result.output
    (face,) = json.loads(result.stdout)["faces"]
    return face


def test_the_command_prints_either(eileen_file):
    tight, wide = (detected(eileen_file, "--detector", "mmod", "--extent", each) for each in ("detector", "face"))
    assert wide["right"] - wide["left"] == pytest.approx(tight["right"] - tight["left"])
    assert wide["bottom"] - wide["top"] == pytest.approx(1.5 * (tight["bottom"] - tight["top"]))
    # Near to what YuNet draws, which leaves out the hair.
    yunet = detected(eileen_file, "--detector", "yunet", "--extent", "face")
    assert [wide[side] for side in SIDES] == pytest.approx([yunet[side] for side in SIDES], abs=30)
    assert yunet == detected(eileen_file, "--detector", "yunet")


def test_the_command_takes_a_yunet_of_ones_own(eileen_file, tmp_path):
    own = tmp_path / "own.onnx"
    own.write_bytes(store.locate(store.YUNET).read_bytes())
    assert detected(eileen_file, "--detector", f"yunet:{own}") == detected(eileen_file, "--detector", "yunet")
    refused = CliRunner().invoke(main, ["detect", "--detector", f"yunet:{eileen_file}", str(eileen_file)])
    assert refused.exit_code == 1
    assert "this is no ONNX file" in refused.output
    wrong = CliRunner().invoke(main, ["detect", "--detector", "resnet:x.onnx", str(eileen_file)])
    assert wrong.exit_code == 2
