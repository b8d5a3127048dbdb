import numpy as np
import pytest
from PIL import ImageFont
from skimage.data import astronaut

from peephole.sheets import GAP, LONGEST, PAPER, TILE, TITLE_HEIGHT, contact_sheet, fitted, shortened

FONT = ImageFont.load_default(size=15)


def plain(colour, height=40, width=40):
    return np.full((height, width, 3), colour, np.uint8)


def test_each_picture_stands_in_its_place():
    red, green, blue = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    sheet = contact_sheet([("Ada", [(plain(red), "1"), (plain(green), "2")]), ("Bob", [(plain(blue), "3")])])
    first = GAP + TITLE_HEIGHT + TILE // 2
    second = first + (sheet.height - GAP) // 2
    x = GAP + TILE // 2
    assert sheet.getpixel((x, first)) == red
    assert sheet.getpixel((x + TILE + GAP, first)) == green
    assert sheet.getpixel((x, second)) == blue
    assert sheet.getpixel((x + TILE + GAP, second)) == PAPER


def test_a_picture_keeps_its_proportions():
    assert fitted(plain(0, 200, 100)).size == (TILE // 2, TILE)
    assert fitted(plain(0, 10, 20)).size == (TILE, TILE // 2)
    assert fitted(plain(0, 1, 5000)).size == (TILE, 1)


def test_the_sheet_is_bounded_and_says_what_it_leaves_out():
    row = ("somebody", [(plain(9), "")] * 500)
    sheet = contact_sheet([row] * 300, columns=6, most_rows=10)
    assert sheet.width == 6 * (TILE + GAP) + GAP
    assert sheet.height < 11 * 200
    whole = contact_sheet([row] * 10, columns=6, most_rows=10)
    assert sheet.height > whole.height  # the line that says how many more


def test_no_rows_and_a_row_without_pictures_are_sheets_too():
    assert contact_sheet([]).getcolors(1) is None  # something is written on it
    assert contact_sheet([("nobody", [])]).size[0] > 0


@pytest.mark.parametrize(
    "name",
    [
        "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{MAN}",
        "Žofie",
        "李小龙",
        "محمد",
        "a\nb\tc\x00\x1b[1m",
        "\ud800",
        "",
        "x" * 100_000,
    ],
)
def test_any_name_can_be_written(name):
    assert contact_sheet([(name, [(astronaut(), name)])]).width > TILE


def test_text_is_cut_where_the_room_ends():
    assert shortened("Ada", FONT, 200) == "Ada"
    cut = shortened("Ada of the very long name that no tile has room for", FONT, 112)
    assert cut.endswith("…")
    assert FONT.getlength(cut) <= 112
    assert FONT.getlength(cut[:-1] + "ii…") > 112  # no more than needed is cut
    assert shortened("two\nlines", FONT, 200) == "two lines"
    assert shortened("Žofie Nováková", FONT, 200) == "Zofie Novakova"
    assert len(shortened("i" * (LONGEST + 5), FONT, 1e9)) == LONGEST + 1
