"""Faces that do not stand upright are turned before they are embedded, or are unclear."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from peephole.align import ARCFACE, lean, quarter, warp
from peephole.demo import EILEEN, Visitor
from peephole.detectors import Candidates
from peephole.detectors.yunet import PROFILE
from peephole.errors import UsageError
from peephole.geometry import Transform, overlaps
from peephole.match import People
from peephole.pipeline import Pipeline
from peephole.quality import reason
from peephole.upright import AGREED, FRUITLESS, SIZES, Mounting

ANGLES = [0, 15, 30, -30, 45, 90, 180, 270]


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(threads=1)


@pytest.fixture(autouse=True)
def forgotten(request):
    """Each test begins with a pipeline that has seen no frame."""
    if "pipeline" in request.fixturenames:
        request.getfixturevalue("pipeline")._mounting = Mounting()


@pytest.fixture(scope="module")
def portraits(eileen, grace):
    return {"Eileen": eileen.pixels[:480, :480], "Grace": grace.pixels[40:500, :460]}


def turned(pixels, degrees):
    """Clockwise; what comes from beside the picture is grey."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, -degrees // 90))
    picture = Image.fromarray(pixels)
    return np.array(picture.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(90, 90, 90)))


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def apart(one, other):
    """Degrees between two angles."""
    return abs((one - other + 180) % 360 - 180)


# From landmarks


@pytest.mark.parametrize("degrees", [-180, -135, -90, -46, -44, -20, 0, 44, 46, 90, 179])
def test_landmarks_say_how_a_face_leans(degrees):
    angle = np.radians(degrees)
    leaning = Transform(3 * np.cos(angle), -3 * np.sin(angle), 50, 3 * np.sin(angle), 3 * np.cos(angle), 7)
    points = leaning.points(ARCFACE)
    assert apart(lean(points), degrees) < 1e-6
    assert apart(quarter(points) + degrees, 0) <= 46


# What is learned


def test_a_mounting_is_known_once_so_many_frames_agree():
    mounting = Mounting()
    for _ in range(AGREED):
        assert mounting.turn((640, 480)) == 0
        mounting.note((640, 480), [90, 90])
        mounting.note((640, 480), [])  # nobody there says nothing
    assert mounting.turn((640, 480)) == 90
    assert mounting.turn((480, 640)) == 0  # of pictures of another size nothing is known


@pytest.mark.parametrize("other", [[0], [180], [90, 0]])
def test_a_frame_that_says_otherwise_ends_that(other):
    mounting = Mounting()
    for _ in range(AGREED):
        mounting.note((640, 480), [90])
    mounting.note((640, 480), other)
    assert mounting.turn((640, 480)) == 0


def test_sizes_that_were_not_seen_for_long_are_forgotten():
    mounting = Mounting()
    for _ in range(AGREED):
        mounting.note((640, 480), [270])
    for width in range(1, SIZES + 1):
        mounting.note((width, 480), [0])
    assert mounting.turn((640, 480)) == 0


@pytest.mark.parametrize("width", [36, 110])
def test_a_camera_that_is_set_upright_again_sees_from_the_first_frame_on(pipeline, eileen, width):
    """What three frames of turned faces have taught must not hide the upright ones that come after."""
    upright = warp(eileen.pixels, Visitor(EILEEN, width, (320, 310), 0.0).placement(), (640, 640))
    sideways = np.ascontiguousarray(
        np.rot90(warp(eileen.pixels, Visitor(EILEEN, 150, (320, 300), 0.0).placement(), (640, 640)))
    )
    for _ in range(AGREED):
        assert len(pipeline.analyse(sideways)) == 1
    assert pipeline.analyse(sideways).turn == 90
    assert len(pipeline.analyse(upright)) == 1


def test_photos_of_people_teach_a_camera_nothing(pipeline, eileen):
    sideways = np.ascontiguousarray(np.rot90(eileen.pixels))
    for _ in range(AGREED + 1):
        assert pipeline.analyse(sideways, twins=True).turn == 0
    assert pipeline.analyse(eileen).turn == 0


def test_frames_without_a_face_are_searched_now_and_then_until_one_shows_somebody():
    mounting, size = Mounting(), (640, 480)
    searched = []
    for _ in range(3 * FRUITLESS):
        searched.append(mounting.searches(size))
        mounting.note(size, [])
    assert searched == [True] * (FRUITLESS + 1) + ([False] * (FRUITLESS - 1) + [True]) + [False] * (FRUITLESS - 1)
    assert mounting.searches((480, 640))
    mounting.note(size, [0])
    assert mounting.searches(size)


# Portraits


@pytest.mark.parametrize("name", ["Eileen", "Grace"])
@pytest.mark.parametrize("degrees", ANGLES)
def test_a_turned_face_is_as_good_as_an_upright_one(pipeline, portraits, name, degrees):
    pixels = portraits[name]
    (upright,) = pipeline.analyse(pixels, embed=True)
    picture = turned(pixels, degrees)
    (face,) = pipeline.analyse(picture, embed=True)
    assert reason(face.quality) is None
    assert cosine(face.embedding, upright.embedding) > 0.8
    assert apart(face.quality.roll, upright.quality.roll + degrees) < 15
    # The landmarks lie where they did, and the box is around them.
    middle, half = Transform.offset(*(-np.array(pixels.shape[1::-1]) / 2)), np.array(picture.shape[1::-1]) / 2
    cosine_, sine = np.cos(np.radians(degrees)).round(9), np.sin(np.radians(degrees)).round(9)
    there = middle.then(Transform(cosine_, -sine, half[0], sine, cosine_, half[1]))
    assert np.abs(face.landmarks - there.points(upright.landmarks)).max() < 0.1 * upright.quality.size
    if degrees % 90 == 0:
        assert overlaps(np.array([face.box]), there.boxes([upright.box]))[0, 0] > 0.7


def test_strangers_upside_down_are_strangers(pipeline, portraits):
    people = People(("Eileen",), pipeline.analyse(portraits["Eileen"], embed=True).faces.embeddings)
    for degrees in (90, 180, 270):
        (own,) = pipeline.analyse(turned(portraits["Eileen"], degrees), people=people)
        (other,) = pipeline.analyse(turned(portraits["Grace"], degrees), people=people)
        assert (own.name, other.name) == ("Eileen", "unknown")
        assert other.score < 0.3


def test_people_who_stand_differently_on_one_frame(pipeline, portraits):
    frame = np.full((520, 1000, 3), 90, np.uint8)
    frame[:460, :460] = turned(portraits["Grace"], 180)
    frame[20:500, 500:980] = turned(portraits["Eileen"], 30)[:480, 80:560]
    faces = sorted(pipeline.analyse(frame, embed=True), key=lambda each: each.left)
    for face, name in zip(faces, ("Grace", "Eileen"), strict=True):
        (alone,) = pipeline.analyse(portraits[name], embed=True)
        assert cosine(face.embedding, alone.embedding) > 0.8


@pytest.mark.parametrize("detector", ["yunet", "mmod"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_frame_is_turned_as_it_is_told(portraits, detector, degrees):
    pipeline = Pipeline(detector, "resnet", threads=1)
    pixels = portraits["Grace"]
    (upright,) = pipeline.analyse(pixels, embed=True, rotate=0)
    analysis = pipeline.analyse(turned(pixels, degrees), embed=True, rotate=(360 - degrees) % 360)
    (face,) = analysis
    assert (analysis.width, analysis.height) == pixels.shape[1::-1]
    assert analysis.to_dict()["turn"] == (360 - degrees) % 360
    np.testing.assert_array_equal(face.embedding, upright.embedding)  # the very same pixels were looked at
    back = Transform.turn(pixels.shape[1::-1], degrees)
    np.testing.assert_allclose(face.box, back.boxes([upright.box])[0], atol=1e-6)
    np.testing.assert_allclose(face.landmarks, back.points(upright.landmarks), atol=1e-6)


def test_dlibs_landmarks_are_found_on_turned_faces(portraits):
    pipeline = Pipeline("yunet", "resnet", threads=1)
    (upright,) = pipeline.analyse(portraits["Grace"], embed=True)
    for degrees in (90, 180):
        (face,) = pipeline.analyse(turned(portraits["Grace"], degrees), embed=True)
        assert np.linalg.norm(face.embedding - upright.embedding) < 0.35
        assert apart(face.quality.roll, degrees + upright.quality.roll) < 12


@pytest.mark.parametrize("rotate", [45, -90, 360, "auto"])
def test_other_turns_are_refused(pipeline, portraits, rotate):
    with pytest.raises(UsageError, match="rotate"):
        pipeline.analyse(portraits["Grace"], rotate=rotate)


# Several frames


def test_a_camera_that_is_mounted_turned_is_learned_and_forgotten(pipeline, portraits):
    sideways = [turned(portraits[name], 90) for name in ("Grace", "Eileen")] * 3
    sideways = [each[:460, :460] for each in sideways]  # as of one camera
    looks = [pipeline.analyse(each, embed=True) for each in sideways]
    assert [look.turn for look in looks] == [0] * AGREED + [270] * (len(looks) - AGREED)
    for look in looks:
        assert [apart(face.quality.roll, 90) < 15 for face in look] == [True]
    for first, later in ((looks[0], looks[4]), (looks[1], looks[5])):
        assert cosine(first.faces.embeddings[0], later.faces.embeddings[0]) > 0.9
        assert overlaps(first.faces.boxes, later.faces.boxes)[0, 0] > 0.8
    upright = portraits["Eileen"][:460, :460]
    (alone,) = Pipeline(threads=1).analyse(upright, embed=True)
    for turn in (270, 0):  # what was learned is looked at first, and found not to hold
        look = pipeline.analyse(upright, embed=True)
        assert look.turn == turn
        assert cosine(look.faces.embeddings[0], alone.embedding) > 0.9


def test_nothing_is_learned_where_the_turn_is_given(pipeline, portraits):
    for _ in range(AGREED + 1):
        assert pipeline.analyse(turned(portraits["Grace"], 90), rotate=270).turn == 270
    assert pipeline.analyse(turned(portraits["Grace"], 90)).turn == 0


# A detector that sees what it is told


class Seeing:
    """Sees one face in the middle of whatever it is shown, upright, with this confidence; counts how often it looks."""

    profile = PROFILE
    nms_overlap, nms_covered, voter, landmarks = 0.3, 0.8, None, "arcface"

    def __init__(self, confidence):
        self.confidence, self.looked = confidence, 0
        self.models = {}

    def scan(self, pixels, plan, min_confidence, clock=None):
        self.looked += 1
        size = plan.levels[0].size
        middle = np.array(size) / 2
        points = ARCFACE - ARCFACE.mean(0) + middle
        found = self.confidence > min_confidence
        half = np.array([40, 53])
        boxes = np.concatenate([middle - half, middle + half])[None][:found]
        yield Candidates(plan.levels[0], boxes, np.array([self.confidence])[:found], points[None][:found])


def test_a_face_that_is_the_same_whichever_way_up_is_unclear(portraits):
    people = People(("Eileen",), Pipeline(threads=1).analyse(portraits["Eileen"], embed=True).faces.embeddings)
    (face,) = Pipeline(Seeing(0.89), threads=1).analyse(portraits["Eileen"], people=people)
    assert (face.name, face.match.decided) == ("unclear", "unclear")
    assert not face.quality.oriented
    assert "upright" in reason(face.quality)
    assert reason(dataclasses.replace(face.quality, oriented=True)) is None


def test_a_face_that_clearly_stands_upright_is_not_looked_at_again(portraits):
    detector = Seeing(0.95)
    analysis = Pipeline(detector, threads=1).analyse(portraits["Eileen"], embed=True)
    assert detector.looked == 1
    assert analysis.faces[0].quality.oriented


def test_a_frame_that_drowns_in_grain_is_not_looked_at_again_unless_somebody_is_to_be_enrolled(rng):
    noise = rng.integers(0, 256, (480, 640, 3), np.uint8)
    for options, looks in (({"embed": True}, 1), ({"twins": True}, 2)):
        detector = Seeing(0.1)
        assert len(Pipeline(detector, threads=1).analyse(noise, **options)) == 0
        assert detector.looked == looks


def test_only_auto_looks_at_an_empty_frame_again(portraits):
    for rotate, looks in ((None, 2), (0, 1), (90, 1)):
        detector = Seeing(0.1)
        assert len(Pipeline(detector, threads=1).analyse(portraits["Eileen"], rotate=rotate)) == 0
        assert detector.looked == looks
