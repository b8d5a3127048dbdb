import json

import numpy as np
import pytest

from peephole.faces import Faces, Match

BOXES = np.array([[1.5, 2, 3, 4], [5, 6, 7, 8.25]])


def test_no_faces_is_an_ordinary_value():
    assert len(Faces()) == 0
    assert list(Faces()) == []


def test_a_row_has_what_was_computed():
    face = Faces(BOXES, np.array([0.5, 0.25]))[1]
    assert face.box == (5, 6, 7, 8.25)
    assert face.landmarks is face.embedding is face.match is face.name is face.score is None
    assert face.to_dict() == {"left": 5, "top": 6, "right": 7, "bottom": 8.25, "confidence": 0.25}


def test_a_full_row_survives_json():
    faces = Faces(
        BOXES[:1],
        np.ones(1),
        np.arange(10.0).reshape(1, 5, 2),
        np.zeros((1, 3), np.float32),
        (Match("Ada", 0.75, 0.25, None, "Ada"),),
    )
    (face,) = faces
    assert (face.name, face.score) == ("Ada", 0.75)
    found = json.loads(json.dumps(face.to_dict()))
    assert found["landmarks"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert found["embedding"] == [0, 0, 0]
    assert [found[key] for key in ("name", "score", "distance", "margin")] == ["Ada", 0.75, 0.25, None]


@pytest.mark.parametrize("boxes", [np.zeros((2, 3)), np.zeros(4)])
def test_boxes_have_four_sides(boxes):
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        Faces(boxes, np.zeros(len(boxes)))


def test_a_face_is_a_row_again_without_its_vector_and_its_match():
    faces = Faces(
        BOXES, np.array([0.5, 0.25]), np.arange(20.0).reshape(2, 5, 2), np.zeros((2, 3), np.float32), kind="dlib"
    )
    (row,) = Faces.of(faces[1])
    assert (row.box, row.confidence, row.kind) == (faces[1].box, 0.25, "dlib")
    np.testing.assert_array_equal(row.landmarks, faces[1].landmarks)
    assert row.embedding is row.match is row.quality is None
