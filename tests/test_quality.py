"""Quality: pose of a head drawn in three dimensions, sharpness of chips made worse step by step, limits in words."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from peephole import quality
from peephole.align import ARCFACE, cut_chips
from peephole.geometry import Transform
from peephole.pipeline import Pipeline
from peephole.quality import HEADS, Quality, assess, eyes, luminance, pose, reason, sharpness
from peephole.recognizers import Resnet

GOOD = Quality(size=80, sharpness=0.3, yaw=0, pitch=0, roll=0, brightness=0.5, contrast=0.2, colour=0.2)


def head(kind, yaw, pitch, roll, size=20.0, at=(100.0, 80.0)):
    """Landmarks of the mean head, turned and seen from far away, (5, 2)."""
    (down, front), mouth = HEADS[kind].nose, HEADS[kind].mouth
    if kind == "arcface":
        corners = [(-0.8, mouth[0], mouth[1]), (0.8, mouth[0], mouth[1])]
        points = [(-1, 0, 0), (1, 0, 0), (0, down, front), *corners]
    else:
        points = [(1.4, 0, 0), (0.6, 0, 0), (-1.4, 0, 0), (-0.6, 0, 0), (0, down, front)]
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    lean = np.array([[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]])
    seen = (np.array(points) @ (turn @ nod).T)[:, :2] @ lean.T
    return size * seen + at


@pytest.mark.parametrize("kind", ["arcface", "dlib"])
@given(angle=st.floats(-75, 75), roll=st.floats(-170, 170), size=st.floats(1, 500))
def test_yaw_and_roll_of_a_turned_head(kind, angle, roll, size):
    yaw, pitch, lean = pose(head(kind, angle, 0, roll, size), kind)
    assert (yaw, lean) == pytest.approx((angle, roll), abs=1e-6)
    assert pitch == pytest.approx(0, abs=1e-5)


@given(angle=st.floats(-50, 50), roll=st.floats(-170, 170))
def test_pitch_of_a_nodding_head(angle, roll):
    yaw, pitch, lean = pose(head("arcface", 0, angle, roll), "arcface")
    assert (yaw, pitch, lean) == pytest.approx((0, angle, roll), abs=1e-6)


@given(angle=st.floats(-20, 50))
def test_pitch_without_a_mouth(angle):
    assert pose(head("dlib", 0, angle, 0), "dlib")[1] == pytest.approx(angle, abs=1e-6)


@given(st.lists(st.floats(-1e4, 1e4), min_size=10, max_size=10), st.sampled_from(["arcface", "dlib"]))
def test_any_five_points_have_a_pose(numbers, kind):
    angles = pose(np.array(numbers).reshape(5, 2), kind)
    assert np.isfinite(angles).all()
    assert abs(angles[0]) <= 90


def test_eyes_of_both_kinds_are_ordered_as_on_the_picture():
    assert eyes(head("arcface", 0, 0, 0), "arcface").tolist() == [[80, 80], [120, 80]]
    assert eyes(head("dlib", 0, 0, 0), "dlib") == pytest.approx(np.array([[80.0, 80], [120, 80]]))
    # ArcFace's and dlib's chips have the eyes at the same height.
    left, right = eyes(Resnet.template, "dlib")
    assert left[0] < right[0]


def test_a_clear_face_has_no_reason_against_it():
    assert reason(GOOD) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 23.4}, "too small: 23 px, at least 24 are needed"),
        ({"yaw": -71.6}, "turned too far: 72 degrees, at most 60 can be told"),
        ({"yaw": 71.6}, "turned too far: 72 degrees, at most 60 can be told"),
        ({"sharpness": 0.02}, "too blurred: sharpness 0.02, at least 0.045 is needed"),
        ({"contrast": 0.01}, "too little contrast: 0.010, at least 0.03 is needed"),
    ],
)
def test_an_unclear_face_says_why(change, words):
    assert reason(replace(GOOD, **change)) == words


# On chips


@pytest.fixture(scope="module")
def portrait(eileen):
    """The frame, and the face's landmarks and box on it, by dlib's detector and landmarks."""
    faces = Pipeline("mmod", "resnet").analyse(eileen, embed=True).faces
    return eileen, faces


def looked_at(frame, landmarks, boxes):
    chips = cut_chips(frame, landmarks, Resnet.template, Resnet.side)
    (found,) = assess(chips, eyes(Resnet.template, "dlib"), landmarks, "dlib", boxes, np.ones(1, bool))
    return found


def changed(frame, faces, change, scale=1.0):
    """The quality on a changed picture."""
    picture = change(Image.fromarray(frame.pixels))
    return looked_at(
        replace(frame, pixels=np.array(picture), native_size=picture.size), faces.landmarks * scale, faces.boxes * scale
    )


def test_a_sharp_portrait_is_clear(portrait):
    _, faces = portrait
    (found,) = faces.qualities
    assert reason(found) is None
    assert found.size == pytest.approx(np.sqrt(np.prod(faces.boxes[0, 2:] - faces.boxes[0, :2])))
    assert 0.2 < found.sharpness < 0.5
    assert abs(found.yaw) < 20
    assert abs(found.roll) < 10
    assert 0.2 < found.brightness < 0.8
    assert not found.grey


def test_sharpness_falls_with_every_step_of_blur(portrait):
    sharp = [
        changed(*portrait, lambda p, s=sigma: p.filter(ImageFilter.GaussianBlur(s))).sharpness
        for sigma in (0, 1, 2, 3, 4, 6, 8)
    ]
    assert all(a > b for a, b in pairwise(sharp))
    assert sharp[1] > quality.BLURRED > sharp[-2]


def test_sharpness_falls_with_every_step_of_size(portrait):
    found = []
    for side in (512, 256, 128, 96, 64):
        shrunk = changed(*portrait, lambda p, s=side: p.resize((s, s), Image.Resampling.BOX), side / 512)
        found.append(shrunk)
    assert all(a.sharpness > b.sharpness for a, b in pairwise(found))
    assert [one.size / found[0].size for one in found] == pytest.approx([1, 1 / 2, 1 / 4, 3 / 16, 1 / 8])
    assert "too small" in reason(found[-1])


def test_light_changes_sharpness_little(portrait):
    plain = changed(*portrait, lambda p: p)
    dark = changed(*portrait, lambda p: p.point(lambda v: v * 0.4))
    assert dark.sharpness == pytest.approx(plain.sharpness, rel=0.1)
    assert dark.brightness == pytest.approx(0.4 * plain.brightness, rel=0.05)
    assert dark.contrast == pytest.approx(0.4 * plain.contrast, rel=0.05)


def test_noise_does_not_pass_for_sharpness(portrait, rng):
    def noisy(picture):
        blurred = np.array(picture.filter(ImageFilter.GaussianBlur(6)), float)
        return Image.fromarray(np.clip(blurred + rng.normal(0, 4, blurred.shape), 0, 255).astype(np.uint8))

    assert changed(*portrait, noisy).sharpness < 0.5 * changed(*portrait, lambda p: p).sharpness


def test_an_infrared_picture_is_grey(portrait):
    found = changed(*portrait, lambda p: p.convert("L").convert("RGB"))
    assert found.grey
    assert found.colour == 0


def test_a_leaning_picture_leans(portrait):
    _, faces = portrait
    x, y = faces.landmarks[0].mean(0)
    turn = Transform.offset(-x, -y).then(Transform(np.cos(0.3), -np.sin(0.3), 0, np.sin(0.3), np.cos(0.3), 0))
    turned = turn.then(Transform.offset(x, y))
    upright = pose(faces.landmarks[0], "dlib")
    leaning = pose(turned.points(faces.landmarks[0]), "dlib")
    assert leaning == pytest.approx((upright[0], upright[1], upright[2] + np.degrees(0.3)))


def test_a_plain_chip_is_unclear_and_no_faces_are_no_qualities():
    plain = np.full((1, 112, 112, 3), 90, np.uint8)
    box = np.array([[0.0, 0, 112, 112]])
    (found,) = assess(plain, ARCFACE[:2], ARCFACE[None], "arcface", box, np.ones(1, bool))
    assert (found.sharpness, found.contrast, found.brightness) == pytest.approx((0, 0, 90 / 255), abs=1e-6)
    assert "contrast" in reason(found)
    assert assess(plain[:0], ARCFACE[:2], ARCFACE[None][:0], "arcface", box[:0], np.ones(0, bool)) == ()


def test_the_sharpness_of_a_literal_picture():
    assert sharpness(np.zeros((64, 64), np.float32)) == 0.0
    stripes = np.tile(np.arange(64) % 8 < 4, (64, 1)).astype(np.float32)
    wide = np.tile(np.arange(64) % 32 < 16, (64, 1)).astype(np.float32)
    assert sharpness(stripes) > 2 * sharpness(wide) > 0
    assert sharpness(0.25 * stripes + 0.5) == pytest.approx(sharpness(stripes), rel=1e-4)
    assert luminance(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.float32))[0] == pytest.approx(
        [0.299, 0.587, 0.114]
    )
