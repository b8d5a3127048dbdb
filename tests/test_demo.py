import numpy as np
import pytest

from peephole import demo
from peephole.errors import PeepholeError
from peephole.frame import read


def test_the_demo_is_right_and_leaves_its_pictures(tmp_path):
    lines = []
    assert demo.run(tmp_path / "out", lines.append)
    assert "every face found, named and placed rightly" in lines[-1]
    (header,) = [line for line in lines if line.startswith("frame ")]
    assert header.split()[-7:] == ["decode", "plan", "detect", "map", "align", "embed", "match"]
    assert "; yunet and sface; " in lines[0]
    assert any(line.startswith("error: ") for line in lines)
    for scene in demo.SCENES:
        frame, drawn = (read(tmp_path / "out" / kind / f"{scene.name}.jpg") for kind in ("frames", "labelled"))
        assert frame.size == drawn.size == (1536, 1536)
        if scene.visitors:
            assert np.abs(frame.pixels.astype(int) - drawn.pixels).max() > 100


def test_the_scenes_are_what_the_demo_promises():
    widths = [visitor.width for scene in demo.SCENES for visitor in scene.visitors]
    assert len(demo.SCENES) == 8
    assert (min(widths), max(widths)) == (60, 320)
    assert [scene.name for scene in demo.SCENES if not scene.visitors] == ["8-leaves"]


@pytest.mark.parametrize(
    ("visitors", "word"),
    [
        ((demo.Visitor(demo.EILEEN, 200, (1200, 300)),), "MISPLACED"),  # is at (760, 640)
        ((demo.Visitor(demo.GRACE, 320, (760, 640)),), "MISNAMED"),
        ((demo.Visitor(demo.EILEEN, 320, (760, 640)), demo.Visitor(demo.GRACE, 90, (200, 200))), "MISSED"),
        ((), "MISPLACED"),
    ],
)
def test_a_wrong_answer_fails_the_demo(tmp_path, monkeypatch, visitors, word):
    real, first = demo.compose, demo.SCENES[0]
    claimed = demo.Scene(first.name, visitors)
    monkeypatch.setattr(demo, "SCENES", (claimed,))
    monkeypatch.setattr(demo, "compose", lambda scene, portraits, seed: real(first, portraits, seed=seed))
    monkeypatch.setattr(demo, "SCALE", demo.Scale(max_side=800))
    lines = []
    assert not demo.run(tmp_path / "out", lines.append)
    assert any(word in line for line in lines)


def test_missing_portraits_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "EILEEN", demo.Portrait("Eileen Collins", "no_such_package", "x.png", (0, 0), 1))
    with pytest.raises(PeepholeError, match=r"needs no_such_package: pip install 'peephole\[demo\]'"):
        demo.run(tmp_path, print)
