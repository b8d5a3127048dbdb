import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from crops import FRAME, compose
from household import Tally, arrange, cross_validate
from peephole.match import SFACE_RULE, People
from protocol import read_protocol


def unit(*rows):
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_protocol_becomes_folders(tmp_path):
    lines = ["role\tperson\timage", "gallery\tAda\timages/Ada/1.jpg", "probe\tAda\timages/Ada/2.jpg"]
    (tmp_path / "protocol.tsv").write_text("\n".join([*lines, "stranger\tBob\timages/Bob/1.jpg"]) + "\n")
    (tmp_path / "images" / "Ada").mkdir(parents=True)
    (tmp_path / "images" / "Ada" / "1.jpg").write_bytes(b"a")
    roles = read_protocol(tmp_path)
    assert roles["gallery"] == {"Ada": [tmp_path / "images/Ada/1.jpg"]}
    assert roles["stranger"] == {"Bob": [tmp_path / "images/Bob/1.jpg"]}
    home = arrange(["Ada"], roles["gallery"], tmp_path / "people")
    assert [path.name for path in (home / "Ada").iterdir()] == ["1.jpg"]


def test_every_outcome_has_its_place():
    tally = Tally()
    for name in ("Ada", "Ada", "Bob", "unknown", "unclear", "no face", "ignored"):
        tally.add_own(name, "Ada")
        tally.add_stranger(name)
    found = tally.summary()
    assert found["family"] == {"right": 2, "wrong": 1, "unknown": 1, "unclear": 1, "no face": 1, "ignored": 1}
    assert found["family_named_rightly"] == pytest.approx(2 / 7)
    assert found["strangers_named"] == pytest.approx(3 / 7)


def test_scores_fitted_on_one_half_hold_on_the_other():
    """Two families of one person each, who is known for sure, and strangers who are at right angles to both."""
    families = [People(("Ada", "Ada"), unit([1, 0, 0], [1, 0.1, 0])), People(("Bob",), unit([0, 1, 0]))]
    probes = {"Ada": unit([1, 0.05, 0]), "Bob": unit([0.05, 1, 0], [0, 1, 0.1])}
    strangers = unit(*[[0, 0, 1]] * 40)
    for figures in cross_validate(families, probes, strangers, SFACE_RULE).values():
        assert figures == {"strangers_named": 0.0, "family_named_rightly": 1.0}


def test_faces_are_pasted_where_the_tiles_say(tmp_path):
    """A red face of 40 pixels on each photo, and frames full of them with faces of 80."""
    photo = np.zeros((100, 120, 3), np.uint8)
    photo[20:60, 50:90] = (255, 0, 0)
    faces = {}
    for number in range(60):
        path = tmp_path / f"{number}.png"
        Image.fromarray(photo).save(path)
        faces[path] = (50.0, 20.0, 90.0, 60.0)
    frames = list(compose(faces, 80))
    assert [len(tiles) for _, tiles in frames] == [42, 18]
    for frame, tiles in frames:
        assert frame.shape == (FRAME, FRAME, 3)
        for tile in tiles:
            x, y = (int(v) for v in tile.centre)
            around = [frame[y, x], frame[y - 36, x - 36], frame[y + 36, x + 36], frame[y - 46, x], frame[y, x + 46]]
            assert [pixel.tolist()[0] > 200 for pixel in around] == [True, True, True, False, False]
