import dataclasses
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from peephole.align import ARCFACE, cut_chips
from peephole.detectors import Candidates, profile
from peephole.detectors.planted import Planted
from peephole.errors import BudgetTooSmall, PeopleError, UsageError
from peephole.faces import Faces
from peephole.frame import Frame, decode, read
from peephole.geometry import overlaps, round_boxes
from peephole.match import People, Rule
from peephole.memory import Budget
from peephole.pipeline import Pipeline, Scale, decide
from peephole.quality import GRAINY, reason

scales = st.one_of(
    st.builds(Scale, max_side=st.integers(1, 500), upsample=st.integers(0, 2)),
    st.builds(Scale, min_face=st.floats(20, 300), upsample=st.integers(0, 1)),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), scales, st.integers(0, 40), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_planted_box_comes_back_through_a_blank_frame(width, height, scale, level, corners):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    known = np.array([[x0 * width, y0 * height, x1 * width, y1 * height]])
    blank = np.zeros((height, width, 3), np.uint8)
    found = Pipeline(Planted(known, [level])).analyse(blank, scale=scale).faces.boxes
    assert np.abs(found - known).max() <= 1e-6
    assert np.abs(round_boxes(found) - known).max() <= 1


class Told(Planted):
    """Reports what it was told of each level, in native pixels, and lets a face's boxes vote."""

    profile = profile("yunet")
    nms_overlap, voter, landmarks = 0.3, 0.7, "arcface"

    def __init__(self, *levels: list[tuple[list[float], float]]) -> None:
        super().__init__(np.empty((0, 4)), [])
        self._told = levels

    def scan(self, pixels, plan, min_confidence, clock=None):
        for level, told in zip(plan.levels, self._told, strict=False):
            boxes = np.array([box for box, _ in told], float).reshape(-1, 4)
            confidence = np.array([each for _, each in told], float)
            above = confidence > min_confidence
            inside = level.to_native.inverse()
            points = boxes[:, None, :2] + ARCFACE
            yield Candidates(level, inside.boxes(boxes)[above], confidence[above], inside.points(points)[above])


def test_boxes_of_a_face_from_several_levels_are_voted_into_one():
    # At full size, at a half, at a quarter: the strongest, on the half, has the say of a fourth of one at full size.
    face = [([100, 100, 200, 200], 0.81), ([104, 100, 204, 200], 0.96), ([190, 100, 290, 200], 0.9)]
    frame = np.full((480, 640, 3), 128, np.uint8)
    found = Pipeline(Told(face[:1], [face[1], face[2]])).analyse(frame, min_confidence=0.8)
    assert found.faces.confidence.tolist() == [0.96, 0.9]
    moved = 4 * (0.96 / 4) / (0.96 / 4 + 0.81)
    np.testing.assert_allclose(found.faces.boxes, [[100 + moved, 100, 200 + moved, 200], face[2][0]])
    np.testing.assert_allclose(found.faces.landmarks[0], np.add(ARCFACE, (100 + moved, 100)))


def test_a_level_may_be_the_only_one_that_sees_a_face():
    box = [100, 100, 200, 200]
    frame = np.full((480, 640, 3), 128, np.uint8)
    for index in range(3):
        told = [[], [], []]
        told[index] = [(box, 0.9)]
        found = Pipeline(Told(*told)).analyse(frame)
        np.testing.assert_allclose(found.faces.boxes, [box])


def test_a_box_without_an_area_on_a_grainy_frame_is_placed_where_it_is(rng):
    box = [100, 100, 100, 100]
    frame = np.clip(128 + rng.normal(0, 12, (480, 640, 1)), 0, 255).astype(np.uint8).repeat(3, 2)
    found = Pipeline(Told([(box, 0.9)])).analyse(frame, rotate=0)
    assert found.plan.grain > 0.02
    np.testing.assert_allclose(found.faces.boxes, [box])


def test_weaker_boxes_have_a_say_but_are_no_faces():
    told = [([100, 100, 200, 200], 0.9), ([110, 100, 210, 200], 0.7), ([300, 100, 400, 200], 0.79)]
    found = Pipeline(Told(told)).analyse(np.full((480, 640, 3), 128, np.uint8), min_confidence=0.8)
    np.testing.assert_allclose(found.faces.boxes, [[100 + 7 / 1.6, 100, 200 + 7 / 1.6, 200]])


def test_an_empty_frame_is_an_ordinary_answer():
    people = People(("Ada",), np.zeros((1, 128), np.float32))
    analysis = Pipeline().analyse(np.full((200, 300, 3), 120, np.uint8), people=people)
    assert len(analysis) == 0
    assert list(analysis) == []
    assert analysis.to_dict()["faces"] == []
    after = ["align", "embed", "match"]
    parts = ["detect.resize", "detect.head", "detect.tail"]
    ways = ["map", "detect.suppress", "detect.upright"]
    assert list(analysis.timings_ms) == ["decode", "plan", "detect", *parts, *ways, *after]
    assert list(analysis.cpu_ms) == list(analysis.timings_ms)


@pytest.mark.parametrize("scale", [Scale(), Scale(max_side=400), Scale(upsample=1), Scale(max_side=300, upsample=1)])
@pytest.mark.parametrize(
    ("profile", "box"),
    [("modern", (178.0, 63, 269, 176)), ("classic", (168.0, 69, 264, 165))],
    ids=["modern", "classic"],
)
def test_the_box_is_at_the_same_native_place_at_every_scale(eileen, scale, profile, box):
    (face,) = Pipeline(profile=profile).analyse(eileen, scale=scale)
    known = np.array([box])
    assert overlaps(np.array([face.box]), known)[0, 0] > 0.6


@pytest.mark.parametrize(("profile", "loose"), [("modern", 0.0), ("classic", 0.9)])  # a cosine, a distance
def test_a_face_is_recognised_and_a_stranger_is_not(eileen, grace, profile, loose):
    pipeline = Pipeline(profile=profile)
    known = pipeline.analyse(eileen, embed=True).faces.embeddings
    people = People(("Eileen",), known)
    (same,) = pipeline.analyse(eileen, people=people, scale=Scale(upsample=1))
    (other,) = pipeline.analyse(grace, people=people)
    assert same.name == "Eileen"
    assert other.name == "unknown"
    (named,) = pipeline.analyse(grace, people=people, threshold=loose)
    assert named.name == "Eileen"


def test_a_twin_is_the_embedding_of_the_same_face_without_colour(eileen):
    pipeline = Pipeline()
    (face,) = pipeline.analyse(eileen, twins=True)
    grey = np.asarray(Image.fromarray(eileen.pixels).convert("L").convert("RGB"))
    (seen,) = pipeline.analyse(grey, twins=True)
    assert face.grey is False
    assert seen.grey is True
    assert face.embedding @ face.twin < 0.999
    assert seen.embedding @ face.twin > seen.embedding @ face.embedding
    np.testing.assert_array_equal(seen.twin, seen.embedding)
    assert pipeline.analyse(eileen, embed=True).faces.twins is None


def test_a_grainy_grey_face_is_named_by_the_twin(eileen, grace, rng):
    """Its own vector of before any smoothing, and the photo's with its colour, are further apart."""
    pipeline = Pipeline()
    known = pipeline.analyse(eileen, twins=True).faces
    people = People(("Eileen",), known.embeddings, twins=known.twins)
    named = []
    for frame in (eileen, grace):
        grey = np.asarray(Image.fromarray(frame.pixels).convert("L"), np.float32)[..., None]
        infrared = np.clip(60 + 0.6 * grey + rng.normal(0, 14, grey.shape), 0, 255).astype(np.uint8).repeat(3, 2)
        (face,) = pipeline.analyse(infrared, people=people, scale=Scale(min_face=40))
        named.append(face.name)
        assert face.quality.grain > GRAINY
    assert named == ["Eileen", "unknown"]


def test_people_of_another_recognizer_are_refused(eileen):
    people = People(("Ada",), np.zeros((1, 128), np.float32), model="0" * 64)
    with pytest.raises(PeopleError, match="another recognizer than resnet"):
        Pipeline("mmod", "resnet").analyse(eileen, people=people)


def test_an_unclear_face_is_not_guessed_but_by_an_explicit_threshold(eileen):
    pipeline = Pipeline("mmod", "resnet")
    people = People(("Eileen",), pipeline.analyse(eileen, embed=True).faces.embeddings)
    blurred = np.array(Image.fromarray(eileen.pixels).filter(ImageFilter.GaussianBlur(5.5)))
    (face,) = pipeline.analyse(blurred, people=people, min_confidence=-1.0)
    assert (face.name, face.match.nearest, face.match.decided) == ("unclear", "Eileen", "unclear")
    assert "blurred" in reason(face.quality)
    (face,) = pipeline.analyse(blurred, people=people, threshold=2.0, min_confidence=-1.0)
    assert face.name == "Eileen"


def test_a_rule_of_ones_own_decides(eileen):
    pipeline = Pipeline("mmod", "resnet")
    faces = pipeline.analyse(eileen, embed=True).faces
    people = People(("Eileen",), faces.embeddings)
    (face,) = pipeline.analyse(eileen, people=people, rule=Rule("euclidean", 1.5))
    assert (face.name, face.match.decided) == ("unknown", "below-threshold")
    assert decide(faces, people, pipeline.recognizer.rule)[0].name == "Eileen"
    with pytest.raises(ValueError, match="embeddings"):
        decide(Faces(), people, pipeline.recognizer.rule)


@pytest.mark.parametrize(
    ("profile", "models"),
    [
        ("modern", {"yunet", "yunet-stem", "yunet-neck", "yunet-head", "sface", "sface-embed"}),
        ("classic", {"mmod", "mmod-stem", "mmod-tail", "landmarks5", "resnet", "resnet-embed"}),
    ],
)
def test_every_model_that_took_part_is_named(eileen, profile, models):
    analysis = Pipeline(profile=profile).analyse(eileen, embed=True)
    assert set(analysis.models) == models
    assert all(len(value) == 64 for value in analysis.models.values())


def test_a_profile_that_does_not_exist():
    with pytest.raises(UsageError, match="no profile 'dlib'; choose one of modern, classic"):
        Pipeline(profile="dlib")


def test_threads_must_be_positive():
    with pytest.raises(UsageError, match="threads"):
        Pipeline(threads=0)


def test_faces_are_immutable_and_checked():
    faces = Faces(np.array([[0.0, 0, 1, 1]]), np.ones(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        faces.boxes = np.zeros((0, 4))
    with pytest.raises(ValueError, match="read-only"):
        faces.boxes[0, 0] = 5
    with pytest.raises(ValueError, match="rows"):
        Faces(np.zeros((2, 4)), np.ones(1))


def test_a_frame_goes_through_as_it_is(eileen):
    analysis = Pipeline().analyse(Frame(eileen.pixels, "here"))
    assert (analysis.source, analysis.width, analysis.height) == ("here", 512, 512)


# Within a budget

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


FINEST = {"modern": 20, "classic": 80}
"""The smallest face that each profile finds where nothing is shrunk, in pixels."""


def with_room(room: float, profile: str = "modern") -> Pipeline:
    """A pipeline that may take so much more than this process has with its models loaded."""
    pipeline = Pipeline(profile=profile)
    assert pipeline.detector
    assert pipeline.landmarker
    assert pipeline.recognizer
    pipeline.budget = Budget(pipeline.floor + int(room), "for a test")
    return pipeline


def jpeg(picture: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def large(eileen) -> bytes:
    """2048x1536, the face four times as large as on the portrait: at about (672, 276, 1056, 660)."""
    picture = Image.fromarray(eileen.pixels).resize((2048, 2048), Image.Resampling.BICUBIC)
    return jpeg(picture.crop((0, 0, 2048, 1536)))


@pytest.mark.parametrize(("room", "reduction"), [(24e6, (2,)), (12e6, (4, 8))])
@pytest.mark.parametrize("profile", FINEST)
def test_a_jpeg_larger_than_the_room_is_decoded_smaller(large, profile, room, reduction):
    (wanted,) = Pipeline(profile=profile).analyse(large)
    analysis = with_room(room, profile).analyse(large)
    (found,) = analysis
    assert analysis.plan.reduction in reduction
    assert analysis.plan.bytes <= room
    assert analysis.plan.coarsened_from == FINEST[profile]
    assert (analysis.width, analysis.height) == (2048, 1536)
    assert overlaps(np.array([found.box]), np.array([wanted.box]))[0, 0] > 0.5
    assert overlaps(np.array([found.box]), np.array([[672.0, 276, 1056, 660]]))[0, 0] > 0.5


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_jpeg_decoded_smaller_has_its_boxes_upright(large, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    turned = jpeg(Image.fromarray(read(large).pixels).crop((0, 0, 2043, 1531)).transpose(back), exif=exif)
    analysis = with_room(24e6).analyse(turned)
    assert analysis.plan.reduction > 1
    assert (analysis.width, analysis.height) == (2043, 1531)
    (face,) = analysis
    assert overlaps(np.array([face.box]), np.array([[672.0, 276, 1056, 660]]))[0, 0] > 0.5


@pytest.mark.parametrize("reduction", [2, 4])
def test_landmarks_and_chips_of_a_reduced_frame_are_at_their_place(large, reduction):
    pipeline = Pipeline("mmod", "resnet")
    whole, small = decode(large), decode(large, reduction=reduction)
    faces = pipeline.analyse(whole).faces
    landmarker, recognizer = pipeline.landmarker, pipeline.recognizer
    wanted, found = (landmarker.find(frame, faces) for frame in (whole, small))
    assert np.abs(found - wanted).max() <= 4 * reduction  # of 384 pixels of face
    one, other = (cut_chips(frame, wanted, recognizer.template, recognizer.side) for frame in (whole, small))
    assert np.abs(one.astype(int) - other).mean() <= 6
    distance = np.linalg.norm(recognizer.embed(one) - recognizer.embed(other))
    assert distance < 0.2


@pytest.mark.parametrize(("profile", "room"), [("modern", 24e6), ("classic", 32e6)])
def test_faces_are_recognised_on_reduced_frames(large, eileen, profile, room):
    people = People(("Eileen",), Pipeline(profile=profile).analyse(eileen, embed=True).faces.embeddings)
    analysis = with_room(room, profile).analyse(large, people=people)
    assert analysis.plan.reduction > 1
    (face,) = analysis
    assert face.name == "Eileen"
    assert face.score > 0.5


def test_what_is_kept_for_drawing_is_the_reduced_frame(large):
    frames = []
    with_room(24e6).analyse(large, keep=frames.append)
    assert frames[0].native_size == (2048, 1536)
    assert frames[0].size != (2048, 1536)


@pytest.mark.parametrize("profile", FINEST)
def test_too_small_a_budget_names_one_that_works(large, profile):
    pipeline = with_room(0, profile)
    for size, reducible in (((640, 480), False), ((12_000, 9_000), True), ((4_000, 3_000), False)):
        pipeline.budget = Budget(2**20, "for a test")
        with pytest.raises(BudgetTooSmall) as caught:
            pipeline.plan(size, reducible=reducible, encoded=100_000)
        message = str(caught.value)
        assert f"a {size[0]}x{size[1]} frame needs a memory budget of at least " in message
        assert message.endswith("MiB; there are 1 MiB: for a test")
        least = int(re.search(r"at least (\d+) MiB", message)[1])
        assert caught.value.needed == least * 2**20
        pipeline.budget = Budget(least * 2**20, "for a test")
        planned = pipeline.plan(size, reducible=reducible, encoded=100_000)
        assert pipeline.floor + planned.bytes <= least * 2**20
        pipeline.budget = Budget((least - 2) * 2**20, "for a test")
        with pytest.raises(BudgetTooSmall):
            pipeline.plan(size, reducible=reducible, encoded=100_000)
    pipeline.budget = Budget(2**20, "for a test")
    with pytest.raises(BudgetTooSmall) as caught:
        pipeline.analyse(large)
    pipeline.budget = Budget(caught.value.needed, "for a test")
    assert pipeline.analyse(large).plan.coarsened_from == FINEST[profile]


def test_memory_is_told_with_the_faces(eileen):
    analysis = Pipeline(memory="8GiB").analyse(eileen)
    memory = analysis.memory
    assert memory.budget == 8 * 2**30
    assert 0 < memory.predicted - analysis.plan.bytes < 8 * 2**30
    assert memory.measured > 20e6
    assert memory.to_dict() == {
        "budget_mb": 8589.9,
        "predicted_mb": round(memory.predicted / 1e6, 1),
        "measured_mb": round(memory.measured / 1e6, 1),
    }


def printed(code: str, *arguments) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@linux
@pytest.mark.parametrize(("size", "memory"), [((320, 240), "8GiB"), ((1536, 1536), "8GiB"), ((1536, 1536), "100MiB")])
@pytest.mark.parametrize(("profile", "kind"), [("modern", "jpg"), ("modern", "png"), ("classic", "jpg")])
def test_what_is_predicted_is_what_is_taken(tmp_path, eileen, size, memory, profile, kind):
    assert Pipeline(profile=profile).detector  # its graphs are in the cache now: building them is not what is measured
    path = tmp_path / f"frame.{kind}"
    Image.fromarray(eileen.pixels).resize(size).save(path)
    code = (
        "import sys, json, dataclasses; from peephole.pipeline import Pipeline; "
        "pipeline = Pipeline(profile=sys.argv[1], memory=sys.argv[2]); "
        "print(json.dumps(dataclasses.asdict(pipeline.analyse(sys.argv[3]).memory)))"
    )
    found = json.loads(printed(code, profile, memory, path))
    assert found["measured"] <= found["predicted"] * 1.05
    assert found["predicted"] <= found["measured"] * 1.25
    assert found["predicted"] <= found["budget"]


SEVERAL = """
import json, sys
from peephole.pipeline import Pipeline

profile, *files = sys.argv[1:]
pipeline = Pipeline(profile=profile, memory="8GiB")
assert pipeline.recognizer and pipeline.detector and pipeline.landmarker
for file in files:
    memory = pipeline.analyse(file, embed=True).memory
    print(memory.predicted - pipeline.floor, memory.measured - pipeline.floor)
"""


@linux
@pytest.mark.parametrize("profile", FINEST)
def test_what_embedding_and_earlier_frames_leave_is_foreseen(tmp_path, eileen, profile):
    """The recognizer's buffers beside a frame that is small, and those of both beside the next one, which is large."""
    assert Pipeline(profile=profile).recognizer
    Image.fromarray(eileen.pixels[:192, 132:324]).save(tmp_path / "small.png")
    Image.fromarray(eileen.pixels).resize((3000, 2250)).save(tmp_path / "large.png")
    for line in printed(SEVERAL, profile, tmp_path / "small.png", tmp_path / "large.png").splitlines():
        predicted, taken = map(int, line.split())
        assert taken <= predicted * 1.05
        # dlib's recognizer may be given sixteen faces at once, and a frame may have grain.
        assert predicted <= taken + 28e6


CREEP = """
import json, sys
import numpy as np
from peephole.memory import current_rss
from peephole.pipeline import Pipeline

rng = np.random.default_rng(5)
pipeline = Pipeline(profile=sys.argv[1])
sizes = []
for _ in range(120):
    width, height = rng.integers(100, 901, 2)
    pipeline.analyse(rng.integers(0, 256, (height, width, 3), np.uint8), min_confidence=9.0)
    sizes.append(current_rss())
print(json.dumps({"early": sizes[39], "late": sizes[119]}))
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("profile", FINEST)
def test_memory_does_not_creep(profile):
    found = json.loads(printed(CREEP, profile))
    assert abs(found["late"] - found["early"]) <= 5e6
