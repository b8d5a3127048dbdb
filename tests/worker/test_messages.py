import contextlib
import io
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from children import pipeline
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peephole import __version__
from peephole.errors import BudgetTooSmall, FrameTooLarge, ModelDamaged, UsageError, WorkerError, WorkerProtocolError
from peephole.faces import Faces
from peephole.match import SFACE_RULE
from peephole.pipeline import Scale
from peephole.quality import Quality
from peephole.worker import messages
from peephole.worker.confine import Confinement
from peephole.worker.messages import (
    HEADER,
    KINDS,
    MOST_ARRAYS,
    MOST_TEXT,
    Cut,
    Cutting,
    Draw,
    Drawn,
    Embed,
    Embedded,
    Failed,
    Identity,
    Look,
    Picture,
    Ready,
    Seen,
    Show,
    Shown,
    Start,
    Stored,
    encode,
    read,
    same_version,
)

START = Start(__version__, None, "resnet", "classic", None, "256MiB", "onnxruntime", "float32", True)
LOOK = Look(Picture("file", "a/b\udcff.jpg"), Scale(min_face=40.5), None, None, True, True, 2**28)
IDENTITY = Identity("sface", "c" * 64, "cosine", 128, 0.3, SFACE_RULE)
FACES = Faces(np.array([[1.0, 2, 3, 4]]), np.array([0.5]), np.arange(10.0).reshape(1, 5, 2))
CUTTING = Cutting(b"\x89PNG", None, "none", (1.0, 2.0, 3.0, 4.0), "a.jpg", "d" * 64, Quality(*[0.5] * 8))
EXAMPLES = (
    START,
    Ready(
        "1",
        {"a": "b"},
        Identity("sface", "c" * 64, "cosine", 128, 0.3, SFACE_RULE),
        5,
        "asked for",
        6,
        Confinement(True, False),
    ),
    Ready("1", {}, None, 5, "asked for", 6, Confinement(data_bytes=7)),
    LOOK,
    Look(Picture("pixels", "array", (4, 5)), Scale(), float("-inf"), 270, False, False, None),
    Draw(Picture("encoded", "-"), 2, Faces(), "out.jpg"),
    Drawn("no space left"),
    Cut(Picture("file", "a.jpg"), 1, Faces()),
    CUTTING,
    Embed((Stored(7, CUTTING), Stored(8, replace(CUTTING, crop=b"\x89PNG2")))),
    Show(Stored(7, CUTTING)),
    Failed("corrupt", "cut off", None, {"decode": 1.5}),
)


def back(message):
    return read(io.BytesIO(encode(message)).read)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda each: type(each).__name__)
def test_every_message_comes_back(message):
    if isinstance(message, (Draw, Cut)):
        name = "faces" if isinstance(message, Draw) else "face"
        assert replace(back(message), **{name: getattr(message, name)}) == message
    else:
        assert back(message) == message


def test_faces_come_back():
    faces = back(Draw(Picture("encoded", "-"), 2, FACES, "out.jpg")).faces
    for name in ("boxes", "confidence", "landmarks"):
        np.testing.assert_array_equal(getattr(faces, name), getattr(FACES, name))
    assert (faces.embeddings, faces.matches, faces.qualities, faces.kind) == (None, None, None, None)


def test_vectors_and_portraits_come_back(rng):
    vectors, pixels = rng.normal(size=(3, 128)).astype(np.float32), rng.integers(0, 256, (5, 4, 3), np.uint8)
    np.testing.assert_array_equal(back(Embedded(vectors)).vectors, vectors)
    np.testing.assert_array_equal(back(Shown(pixels)).pixels, pixels)


def test_an_analysis_comes_back():
    roomy = replace(START, memory="4GiB")  # it is looked at in this process, which has been through all other tests
    analysis = pipeline(roomy).analyse(np.zeros((48, 64, 3), np.uint8))
    again = back(Seen(analysis)).analysis
    assert again.to_dict() == analysis.to_dict()
    assert again.plan == analysis.plan
    assert again.memory == analysis.memory


def test_messages_stand_one_behind_the_other_and_the_end_is_no_error():
    stream = io.BytesIO(encode(START) + encode(LOOK))
    assert [read(stream.read), read(stream.read), read(stream.read)] == [START, LOOK, None]


def test_a_stream_may_come_in_pieces_of_a_byte():
    stream = io.BytesIO(encode(LOOK))
    assert read(lambda size: stream.read(min(size, 1))) == LOOK


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ((b"HTTP", 1, 0, 0, 0, 0), "no message"),
        ((b"PEEP", messages.VERSION, 0, 7, 0, 0), "no message"),
        ((b"PEEP", 9, 0, 0, 0, 0), "version 9.*updated"),
        ((b"PEEP", messages.VERSION, len(KINDS), 0, 0, 0), "unknown kind"),
        ((b"PEEP", messages.VERSION, 0, 0, MOST_TEXT + 1, 0), "larger than one may be"),
        ((b"PEEP", messages.VERSION, 0, 0, 0, MOST_ARRAYS + 1), "larger than one may be"),
        ((b"PEEP", messages.VERSION, 0, 0, 5, 0), "ends after 0 of 5"),
    ],
)
def test_a_header_that_cannot_be(header, words):
    with pytest.raises(WorkerProtocolError, match=words):
        read(io.BytesIO(HEADER.pack(*header)).read)


def framed(text, raw=b"", kind=0):
    return HEADER.pack(b"PEEP", messages.VERSION, kind, 0, len(text), len(raw)) + text + raw


deep = b"[" * 100_000 + b"]" * 100_000


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(framed, st.binary(max_size=200), st.binary(max_size=64), st.integers(0, len(KINDS) - 1)),
        st.builds(
            lambda message, at, byte, cut: (
                (data := bytearray(encode(message)), data.__setitem__(at % len(data), byte))
                and bytes(data[: cut if cut else None])
            ),
            st.sampled_from([*EXAMPLES, Draw(Picture("encoded", "-"), 2, FACES, "out.jpg")]),
            st.integers(0, 10_000),
            st.integers(0, 255),
            st.integers(0, 400),
        ),
    )
)
@example(framed(deep))
@example(framed(b"9" * 10_000))
@example(framed(b"{}", b"x" * 100))
def test_whatever_comes_is_a_message_or_one_clear_error(data):
    with contextlib.suppress(WorkerProtocolError):
        read(io.BytesIO(data).read)


def test_a_promised_length_takes_no_memory_before_it_comes():
    header = HEADER.pack(b"PEEP", messages.VERSION, 0, 0, MOST_TEXT, MOST_ARRAYS)
    tracemalloc.start()
    with pytest.raises(WorkerProtocolError, match="ends after 3 of"):
        read(io.BytesIO(header + b"abc").read)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_too_many_faces_are_said_before_anything_is_sent():
    many = Faces(np.zeros((600_000, 4)), np.zeros(600_000))
    with pytest.raises(WorkerProtocolError, match=r"too much for one message.*--min-confidence"):
        encode(Draw(Picture("encoded", "-"), 1, many, "out.jpg"))


@pytest.mark.parametrize(
    "error", [FrameTooLarge("a"), ModelDamaged("b"), UsageError("c"), BudgetTooSmall("d", needed=7)], ids=str
)
def test_an_error_is_raised_again_as_it_was(error):
    again = back(Failed.of(error, {})).error()
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, "needed", None) == getattr(error, "needed", None)


@pytest.mark.parametrize("failed", [Failed("sunspots", "x", None, {}), Failed("budget-too-small", "x", None, {})])
def test_an_error_that_nobody_knows(failed):
    with pytest.raises(WorkerProtocolError):
        failed.error()


def test_every_kind_of_error_has_a_word_of_its_own():
    found = messages._errors()
    assert all(kind.kind == word for word, kind in found.items())
    assert {each.kind for each in WorkerError.__subclasses__()} <= found.keys()


def test_two_versions_refuse_each_other():
    same_version(__version__)
    with pytest.raises(UsageError, match=r"updated while it ran.*0\.0\.0: start it again"):
        same_version("0.0.0")


def test_the_header_has_sixteen_bytes():
    assert HEADER.size == 16
    assert encode(Drawn(None))[:16] == struct.pack("<4sBBHII", b"PEEP", messages.VERSION, KINDS.index(Drawn), 0, 16, 0)
