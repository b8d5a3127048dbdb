import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.detectors.planted import Planted
from peephole.errors import UsageError
from peephole.faces import Faces
from peephole.frame import Frame
from peephole.geometry import overlaps, round_boxes
from peephole.match import People
from peephole.pipeline import Pipeline, Scale

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


def test_an_empty_frame_is_an_ordinary_answer():
    people = People(("Ada",), np.zeros((1, 128), np.float32))
    analysis = Pipeline().analyse(np.full((200, 300, 3), 120, np.uint8), people=people)
    assert len(analysis) == 0
    assert list(analysis) == []
    assert analysis.to_dict()["faces"] == []
    assert list(analysis.timings_ms) == ["decode", "plan", "detect", "map", "align", "embed", "match"]


@pytest.mark.parametrize("scale", [Scale(), Scale(max_side=400), Scale(upsample=1), Scale(max_side=300, upsample=1)])
def test_the_box_is_at_the_same_native_place_at_every_scale(eileen, scale):
    (face,) = Pipeline().analyse(eileen, scale=scale)
    known = np.array([[168.0, 69, 264, 165]])
    assert overlaps(np.array([face.box]), known)[0, 0] > 0.6


def test_a_face_is_recognised_and_a_stranger_is_not(eileen, grace):
    pipeline = Pipeline()
    known = pipeline.analyse(eileen, embed=True).faces.embeddings
    people = People(("Eileen",), known)
    (same,) = pipeline.analyse(eileen, people=people, scale=Scale(upsample=1))
    (other,) = pipeline.analyse(grace, people=people)
    assert same.name == "Eileen"
    assert other.name == "unknown"
    (loose,) = pipeline.analyse(grace, people=people, threshold=0.9)
    assert loose.name == "Eileen"


def test_every_model_that_took_part_is_named(eileen):
    analysis = Pipeline().analyse(eileen, embed=True)
    assert {"mmod", "mmod-stem", "mmod-tail", "landmarks5", "resnet", "resnet-embed"} <= set(analysis.models)
    assert all(len(value) == 64 for value in analysis.models.values())


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
