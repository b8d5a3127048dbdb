"""dlib's own detectors behind the same Protocol."""

import subprocess
import sys

import dlib
import numpy as np
import pytest

from peephole.detectors import DETECTORS, open_detector, profile
from peephole.errors import UsageError
from peephole.frame import Frame
from peephole.models import store
from peephole.pipeline import Pipeline, Scale


@pytest.fixture
def head(eileen: Frame) -> Frame:
    return Frame(np.ascontiguousarray(eileen.pixels[:260, 80:340]))


def edges(rectangle: dlib.rectangle) -> list[int]:
    """The area that the rectangle's pixels cover: its last column and row are in it."""
    right, bottom = rectangle.left() + rectangle.width(), rectangle.top() + rectangle.height()
    return [rectangle.left(), rectangle.top(), right, bottom]


def test_cnn_boxes_end_behind_the_last_pixel(head: Frame):
    direct = dlib.cnn_face_detection_model_v1(str(store.locate(store.MMOD)))(head.pixels, 0)
    faces = Pipeline("dlib-cnn").analyse(head).faces
    assert len(faces) == len(direct) == 1
    assert faces.boxes.tolist() == [edges(found.rect) for found in direct]
    assert faces.confidence.tolist() == [found.confidence for found in direct]


def test_hog_boxes_end_behind_the_last_pixel(eileen: Frame):
    rectangles, scores, _ = dlib.get_frontal_face_detector().run(eileen.pixels, 0, 0.0)
    faces = Pipeline("dlib-hog").analyse(eileen).faces
    assert len(faces) == len(rectangles) == 1
    assert faces.boxes.tolist() == [edges(rectangle) for rectangle in rectangles]
    assert faces.confidence.tolist() == pytest.approx(list(scores))


def test_hog_finds_more_below_zero(eileen: Frame):
    detector = Pipeline("dlib-hog")
    found = [len(detector.analyse(eileen, min_confidence=threshold)) for threshold in (-0.6, 0.0, 1.0, 100.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[1] == 1
    assert found[-1] == 0


def test_boxes_come_back_in_native_pixels(eileen: Frame):
    detector = Pipeline("dlib-hog")
    (native,) = detector.analyse(eileen).faces.boxes
    for scale in (Scale(max_side=400), Scale(upsample=1)):
        boxes = detector.analyse(eileen, scale=scale).faces.boxes
        assert boxes[0] == pytest.approx(native, abs=20)


@pytest.mark.parametrize("name", ["dlib-cnn", "dlib-hog"])
def test_nobody_on_a_blank_frame(name: str):
    faces = Pipeline(name).analyse(Frame(np.full((90, 100, 3), 128, np.uint8))).faces
    assert faces.boxes.shape == (0, 4)
    assert faces.confidence.shape == (0,)


@pytest.mark.parametrize("name", ["dlib-cnn", "dlib-hog"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (300, 2), (2, 300), (6, 6), (9, 9)])
def test_nobody_on_a_tiny_frame(name: str, width: int, height: int):
    """In a process of its own, because dlib's code can end it."""
    code = """
import sys
import numpy as np
from peephole.frame import Frame
from peephole.pipeline import Pipeline
width, height = int(sys.argv[2]), int(sys.argv[3])
print(len(Pipeline(sys.argv[1]).analyse(Frame(np.full((height, width, 3), 128, np.uint8)))))
"""
    command = [sys.executable, "-c", code, name, str(width), str(height)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "0\n"), ran.stderr


@pytest.mark.parametrize("name", DETECTORS)
def test_an_opened_detector_has_the_profile_of_its_name(name: str):
    assert open_detector(name).profile is profile(name)
    assert profile(name).name == name


def test_models_in_use_are_named():
    assert open_detector("dlib-cnn").models == {"mmod": store.MMOD.sha256}
    assert open_detector("dlib-hog").models == {}


def test_profiles_are_known_without_loading_a_model():
    code = """
import sys
from peephole.detectors import DETECTORS, profile
from peephole.models import store
def refused(*arguments, **options):
    raise AssertionError("a model was asked for")
store.locate = store.prepare = refused
print([profile(name).name for name in DETECTORS])
print(sorted({"dlib", "onnx", "onnxruntime", "face_recognition_models"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "['mmod', 'yunet', 'dlib-cnn', 'dlib-hog']\n[]\n"


@pytest.mark.parametrize("ask", [profile, open_detector])
@pytest.mark.parametrize("name", ["", "cnn", "MMOD", "dlib"])
def test_an_unknown_name_lists_the_choices(ask, name: str):
    with pytest.raises(UsageError, match=f"no detector {name!r}; choose one of mmod, yunet, dlib-cnn, dlib-hog"):
        ask(name)
