import numpy as np
import pytest

from looks import faces
from peephole.change_sheet import MOST_FRAMES, NEW_COLOUR, OLD_COLOUR, TILE, change_sheet
from peephole.decisions import compare_faces
from peephole.frame import Frame
from peephole.geometry import Transform
from peephole.pipeline import decide
from peephole.sheets import GAP, TITLE_HEIGHT
from sightings import RULE, family

PEOPLE = family(Ann=[0], Bob=[90])
NAMES = ("yunet", "yunet:new.onnx")
GREY = Frame(np.full((480, 640, 3), 128, np.uint8), "1.jpg")
TOP = 2 * GAP + 2 * TITLE_HEIGHT
"""Where the first row's pictures begin: below the legend and the title."""


def decisions(old, new, name="1.jpg"):
    old, new = (decide(faces(*each), PEOPLE, RULE) for each in (old, new))
    return compare_faces(name, old, new, ("yunet", "yunet"))


def count(sheet, colour, column):
    left = GAP + column * (TILE + GAP)
    tile = np.array(sheet)[TOP : TOP + TILE, left : left + TILE]
    return int((tile == colour).all(-1).sum())


LOST = decisions([(100, 100, 0, 0.9), (400, 100, 90, 0.8)], [(400, 100, 90, 0.8)])
RENAMED = decisions([(100, 100, 0, 0.9)], [(102, 101, 180, 0.9)], "2.jpg")


def test_a_lost_face_is_drawn_in_the_old_colour_and_the_others_are_thin():
    sheet = change_sheet([LOST], lambda name: GREY, NAMES)
    assert count(sheet, OLD_COLOUR, 0) > 60  # the whole frame: the lost face's thick line
    assert count(sheet, NEW_COLOUR, 0) > 60  # and the thin one of the face that both found
    assert count(sheet, OLD_COLOUR, 1) > 1000  # near: box and label
    assert count(sheet, NEW_COLOUR, 1) == 0


def test_a_renamed_face_shows_both_boxes_and_both_labels():
    sheet = change_sheet([RENAMED], lambda name: GREY, NAMES)
    assert count(sheet, OLD_COLOUR, 1) > 1000
    assert count(sheet, NEW_COLOUR, 1) > 1000


def test_a_frame_decoded_smaller_shows_the_same_place():
    whole = GREY.pixels.copy()
    whole[100:170, 100:160] = (255, 0, 0)
    half = Frame(whole[::2, ::2].copy(), "1.jpg", (640, 480), Transform.scale(2, 2))
    tiles = []
    for frame in (Frame(whole, "1.jpg"), half):
        pixels = np.array(change_sheet([LOST], lambda name, frame=frame: frame, NAMES))
        left = GAP + TILE + GAP
        tiles.append(pixels[TOP : TOP + TILE, left : left + TILE].astype(int))
    red = [(tile[..., 0] > 200) & (tile[..., 1] < 60) for tile in tiles]
    assert red[0].sum() > 3000
    assert (red[0] ^ red[1]).sum() < 0.1 * red[0].sum()


def test_frames_that_did_not_change_are_left_out_and_of_many_the_first_are_drawn():
    asked = []
    same = decisions([(0, 0, 0, 0.9)], [(0, 0, 0, 0.9)], "same.jpg")

    def frames(name):
        asked.append(name)
        return GREY

    many = [decisions([(100, 100, 0, 0.9)], [], f"{number}.jpg") for number in range(MOST_FRAMES + 7)]
    sheet = change_sheet([same, *many], frames, NAMES)
    assert asked == [f"{number}.jpg" for number in range(MOST_FRAMES)]
    few = change_sheet(many[:MOST_FRAMES], frames, NAMES)
    assert sheet.height > few.height  # the line that says how many more


def test_no_change_is_a_sheet_that_says_so():
    sheet = change_sheet([], lambda name: GREY, NAMES)
    assert sheet.height == 2 * (GAP + TITLE_HEIGHT)
    assert (np.array(sheet)[GAP + TITLE_HEIGHT :] < 100).any()


@pytest.mark.parametrize("place", [(-30, -40), (620, 450), (-500, -500), (2000, 2000)])
def test_faces_over_the_border_and_beyond_are_no_trouble(place):
    found = decisions([(*place, 0, 0.9)], [])
    assert change_sheet([found], lambda name: GREY, NAMES).height > TILE


def test_a_tiny_frame_is_no_trouble():
    tiny = Frame(np.zeros((1, 1, 3), np.uint8), "1.jpg")
    assert change_sheet([LOST], lambda name: tiny, NAMES).height > TILE
