import numpy as np
import pytest

from peephole.errors import FrameCorrupt
from peephole.faces import Faces, Match
from peephole.pipeline import Analysis, Memory
from peephole.planner import WHOLE, Plan
from peephole.report import FaceTable, Table, escaped

PLAN = Plan(
    detector="mmod",
    frame=(64, 48),
    reduction=1,
    shrunk=(64, 48),
    base=(64, 48),
    levels=(),
    tiling=WHOLE,
    smallest_face=80.0,
    coarsened_from=None,
    operations=0.0,
    saved=0.0,
    bytes=0.0,
)
MEMORY = Memory(100, 90, 80)


def analysis(faces: Faces, source: str = "a.png") -> Analysis:
    return Analysis(source, 64, 48, faces, PLAN, MEMORY, {"decode": 1.4, "detect": 2.0}, {})


def test_boxes_are_whole_pixels_without_a_minus_zero():
    table = FaceTable(["a.png"])
    (row,) = table.rows(analysis(Faces(np.array([[-0.4, -0.6, 10.5, 11.5]]), np.ones(1))))
    assert row.split() == ["a.png", "64x48", "0", "-1", "11", "12", "1.000", "3"]


def test_nobody_there_has_its_time_under_the_heading():
    table = FaceTable(["a.png"], matches=True)
    (row,) = table.rows(analysis(Faces()))
    assert row.split() == ["a.png", "64x48", "nobody", "there", "3"]
    assert len(row) == len(table.header)


def test_a_match_shows_score_margin_and_what_decided():
    table = FaceTable(["a.png"], matches=True)
    matches = (Match("Ada", 0.75, 0.25, 0.125, "Ada", "Bob"), Match("unknown", decided="nobody-known"))
    rows = table.rows(analysis(Faces(np.array([[0.0, 0, 1, 1]] * 2), np.ones(2), matches=matches)))
    assert table.header.split()[7:] == ["name", "score", "margin", "decided", "ms"]
    assert [row.split()[7:] for row in rows] == [
        ["Ada", "0.750", "0.125", "named", "3"],
        ["unknown", "-", "-", "nobody-known", "3"],
    ]


def test_a_failure_is_one_row_with_its_reason():
    assert FaceTable(["a.png"]).failure("a.png", FrameCorrupt("cut off")).split(maxsplit=2) == [
        *("a.png", "-", "could not look: cut off")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u2028", r"\u2028"),
        ("\x85", r"\x85"),
        ("é文 \udcff", "é文 \udcff"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert escaped(text) == shown
    assert Table([("name", -4)]).row([text]) == shown


def test_a_long_cell_goes_on_into_empty_ones_and_moves_others():
    table = Table([("a", 3), ("b", 3), ("c", 3)])
    assert table.row(["long one", "", "c"]) == "long one    c"
    assert table.row(["long one", "b", "c"]) == "long one    b    c"
