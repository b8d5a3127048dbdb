from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from peephole.errors import WorkerProtocolError
from peephole.worker.values import Arrays, pack, unpack


@dataclass(frozen=True)
class Inner:
    name: str
    sides: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Outer:
    inner: Inner | None
    kind: Literal["a", "b"] | None
    ratio: float | None
    many: tuple[Inner, ...]
    words: dict[str, float]
    box: NDArray[np.float64]
    vector: NDArray[np.float32] | None
    sure: bool = True


def through(value, kind=Outer):
    arrays = []
    data = pack(value, arrays)
    rest = Arrays(b"".join(array.tobytes() for array in arrays))
    return data, unpack(kind, data, rest)


def test_a_value_comes_back_with_its_arrays_bit_for_bit():
    box = np.array([[0.1, np.nan], [np.inf, -0.0]])
    value = Outer(Inner("é\udcff", (1, 2)), "b", 0.1, (Inner("x", (3, 4)),), {"a": 1e-300}, box, None)
    data, back = through(value)
    assert data["box"] == ["<f8", 2, 2]
    assert (back.inner, back.kind, back.ratio, back.many, back.words) == (
        value.inner,
        "b",
        0.1,
        value.many,
        value.words,
    )
    assert back.box.tobytes() == box.tobytes()
    assert back.vector is None


def test_empty_arrays_and_numbers_of_numpy():
    value = Outer(None, None, np.float32(0.5), (), {}, np.zeros((0, 4)), np.zeros((3, 0), np.float32), False)
    _, back = through(value)
    assert (back.inner, back.kind, back.ratio, back.sure) == (None, None, 0.5, False)
    assert (back.box.shape, back.vector.shape, back.vector.dtype) == ((0, 4), (3, 0), np.float32)


@pytest.mark.parametrize(
    "change",
    [
        {"inner": {"name": "x"}},
        {"inner": {"name": "x", "sides": [1, 2], "more": 0}},
        {"inner": {"name": 5, "sides": [1, 2]}},
        {"inner": {"name": "x", "sides": [1]}},
        {"inner": {"name": "x", "sides": [1, True]}},
        {"inner": []},
        {"kind": "c"},
        {"ratio": "0.1"},
        {"ratio": True},
        {"many": {}},
        {"words": {"a": None}},
        {"sure": 1},
        {"box": ["<f4", 1, 4]},
        {"box": ["<f8"]},
        {"box": ["|O", 1, 4]},
        {"box": ["<f8", 1, -4]},
        {"box": ["<f8", 2**40, 0]},
        {"box": ["<f8", 2**30, 2**30]},
        {"box": ["<f8", 1, 1, 1, 1, 1]},
        {"box": None},
    ],
)
def test_what_does_not_fit_the_type_is_refused(change):
    data, _ = through(Outer(None, None, None, (), {}, np.zeros((1, 4)), None))
    with pytest.raises(WorkerProtocolError):
        unpack(Outer, data | change, Arrays(bytes(32)))


def test_what_is_no_value_cannot_be_sent():
    with pytest.raises(TypeError, match="object cannot be sent"):
        pack((object(),), [])
