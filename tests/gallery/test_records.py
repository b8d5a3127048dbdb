"""Names that people can have, and faces that can be kept."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.errors import NameRefused
from peephole.gallery import checked_name


@pytest.mark.parametrize(
    "name",
    [
        "Anna",
        "Anna-Lena O'Hara",
        "Åsa Öberg",
        "李小龍",
        "محمد",
        "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645",
        "🦊",
        "👩\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "❤️",
        "Mr. Fox",
        "7",
        "group",
        "group-12a",
        "unknown lady",
        "x" * 100,
    ],
)
def test_names_people_can_have(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "kept"),
    [("  Anna\n", "Anna"), ("A\u030asa", "Åsa"), ("Cafe\u0301", "Café")],
)
def test_names_are_composed_and_stripped(name, kept):
    assert checked_name(name) == kept


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' cannot be a person's name: there is nothing to see in it"),
        ("  ", "there is nothing to see in it"),
        ("\u200d", "there is nothing to see in it"),
        ("x" * 101, r"'xxxxxxxxxxxxxxxxxxxx…' cannot be a person's name: it has 101 characters; 100 are the most"),
        ("🦊" * 300, "it has 300 characters"),
        ("a/b", "it contains a path separator"),
        ("../../etc/passwd", "it contains a path separator"),
        ("a\\b", "it contains a path separator"),
        (".hidden", "it begins with a dot"),
        ("..", "there is nothing to see in it|it begins with a dot"),
        ("An\0na", r"'An\\x00na' cannot be .*: it contains control characters"),
        ("An\nna", "it contains control characters"),
        ("An\u202ena", r"'An\\u202ena' .* it contains control characters"),
        ("An\u200bna", "it contains control characters"),
        ("An\ud800na", r"'An\\ud800na' .* it contains control characters"),
        ("unknown", "it is what a stranger is called"),
        ("Unclear", "it is what a face that shows too little is called"),
        ("IGNORED", "it is what whoever is ignored is called"),
        ("group-12", "it stands for a group of unknown faces"),
        ("Group-1", "it stands for a group of unknown faces"),
    ],
)
def test_names_nobody_can_have(name, reason):
    with pytest.raises(NameRefused, match=reason):
        checked_name(name)


@given(st.text(st.characters(), max_size=120))
def test_a_name_that_passes_is_safe_to_show_and_passes_again(name):
    try:
        kept = checked_name(name)
    except NameRefused:
        return
    assert checked_name(kept) == kept == unicodedata.normalize("NFC", kept)
    assert 0 < len(kept) <= 100
    assert kept.encode().decode() == kept
    assert not set("/\\\n\r\0") & set(kept)
    assert len(kept.splitlines()) == 1


def test_a_crop_is_a_png(photo):
    with pytest.raises(ValueError, match="PNG"):
        photo(1, crop=b"\xff\xd8\xff a JPEG")


def test_a_hash_is_in_hexadecimal(photo):
    with pytest.raises(ValueError, match="64 hexadecimal digits, not 'abc'"):
        photo(1, sha256="abc")


def test_landmarks_are_five_points(photo):
    with pytest.raises(ValueError, match=r"must be \(5, 2\), not \(68, 2\)"):
        photo(1, landmarks=np.zeros((68, 2)))


def test_landmarks_cannot_be_changed(photo):
    with pytest.raises(ValueError, match="read-only"):
        photo(1).landmarks[0, 0] = 7
