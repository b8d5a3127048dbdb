"""Typed values ↔ JSON and raw arrays: dataclasses by their annotations, strictly, and nothing that could run.

The type says what may stand there. A field too many or too few, another type, a shape that does not fit its bytes:
each is a `WorkerProtocolError`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..errors import PeepholeError, WorkerProtocolError

T = TypeVar("T")

MOST_DIMENSIONS = 4


class Arrays:
    """Takes arrays off raw bytes, one behind the other."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Begin at the first byte."""
        self._rest = memoryview(data)

    def take(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """The next one, a copy."""
        count = math.prod(shape)
        size = count * dtype.itemsize
        if size > len(self._rest):
            raise WorkerProtocolError(f"an array of {size} bytes where {len(self._rest)} are left")
        array = np.frombuffer(self._rest, dtype, count).reshape(shape).copy()
        self._rest = self._rest[size:]
        return array

    def end(self) -> None:
        """Raise where bytes are left over."""
        if len(self._rest):
            raise WorkerProtocolError(f"{len(self._rest)} bytes behind the last array")


def pack(value: object, arrays: list[NDArray[Any]]) -> Any:
    """A value as JSON has it; its arrays, in the order in which `unpack` will ask for them, are added to the list.

    Raises:
        TypeError: it is neither a dataclass, a tuple, a dictionary, an array, bytes, a string, a number nor None.
    """
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return [value.dtype.newbyteorder("<").str, *value.shape]
    if isinstance(value, tuple):
        return [pack(each, arrays) for each in value]
    if isinstance(value, dict):
        return {str(key): pack(each, arrays) for key, each in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: pack(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def unpack(kind: type[T], data: Any, arrays: Arrays) -> T:
    """The value of a type that `pack` made this of.

    Raises:
        WorkerProtocolError: it did not.
    """
    try:
        return _unpack(kind, data, arrays)  # type: ignore[no-any-return]
    except WorkerProtocolError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, PeepholeError) as error:  # also of the types' own
        raise WorkerProtocolError(f"no {kind.__name__}: {error}") from error


def _unpack(hint: Any, data: Any, arrays: Arrays) -> Any:
    return _reader(hint)(data, arrays)


@functools.cache
def _reader(hint: Any) -> Callable[[Any, Arrays], Any]:
    """What reads a value of a type, found once for each type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return functools.partial(_first, hint, inner)
    if dataclasses.is_dataclass(hint):
        return functools.partial(_dataclass, hint)
    return functools.partial(_READERS[origin or hint], hint)


def _checked(data: Any, fits: bool, hint: Any) -> Any:
    if not fits:
        shown = repr(data)
        raise WorkerProtocolError(f"{shown if len(shown) <= 40 else shown[:40] + '...'} where {hint} was due")
    return data


def _first(hint: Any, inner: tuple[Any, ...], data: Any, arrays: Arrays) -> Any:
    """By the first of several types that the JSON has the form of; None only by None."""
    for each in inner:
        kind = get_origin(each) or each
        forms = (dict,) if dataclasses.is_dataclass(each) else _FORMS.get(kind, (kind,))
        if type(data) in forms:
            return _unpack(each, data, arrays)
    return _checked(data, False, hint)


def _dataclass(hint: Any, data: Any, arrays: Arrays) -> Any:
    expected = _fields(hint)
    _checked(data, isinstance(data, dict) and data.keys() == expected.keys(), hint)
    return hint(**{name: _unpack(each, data[name], arrays) for name, each in expected.items()})


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _array(hint: Any, data: Any, arrays: Arrays) -> Any:
    (dtype,) = get_args(get_args(hint)[1])  # NDArray[float64] is ndarray[shape, dtype[float64]]
    wanted = np.dtype(dtype).newbyteorder("<")
    sound = isinstance(data, list) and 1 < len(data) <= 1 + MOST_DIMENSIONS and data[0] == wanted.str
    sound = sound and all(type(side) is int and 0 <= side < 2**31 for side in data[1:])
    _checked(data, sound, hint)
    return arrays.take(wanted, tuple(data[1:])).astype(dtype, copy=False)


def _literal(hint: Any, data: Any, _: Arrays) -> Any:
    return _checked(data, isinstance(data, str) and data in get_args(hint), hint)


def _bytes(hint: Any, data: Any, arrays: Arrays) -> bytes:
    _checked(data, isinstance(data, list) and len(data) == 2, hint)
    taken: NDArray[np.uint8] = _array(NDArray[np.uint8], data, arrays)
    return taken.tobytes()


def _tuple(hint: Any, data: Any, arrays: Arrays) -> Any:
    inner = get_args(hint)
    _checked(data, isinstance(data, list), hint)
    if inner[-1] is Ellipsis:
        return tuple(_unpack(inner[0], each, arrays) for each in data)
    _checked(data, len(data) == len(inner), hint)
    return tuple(_unpack(each, value, arrays) for each, value in zip(inner, data, strict=True))


def _dict(hint: Any, data: Any, arrays: Arrays) -> Any:
    _checked(data, isinstance(data, dict), hint)
    return {key: _unpack(get_args(hint)[1], each, arrays) for key, each in data.items()}


def _plain(*forms: type) -> Callable[[Any, Any, Arrays], Any]:
    # Exactly these types: to isinstance a bool is an int.
    return lambda hint, data, _: hint(_checked(data, type(data) in forms, hint))


_AS_IT_IS = frozenset({types.NoneType, bool, int, float, str})
_FORMS: dict[Any, tuple[type, ...]] = {float: (float, int), tuple: (list,), np.ndarray: (list,), Literal: (str,)}
_READERS: dict[Any, Callable[[Any, Any, Arrays], Any]] = {
    Literal: _literal,
    bool: _plain(bool),
    int: _plain(int),
    float: _plain(float, int),
    str: _plain(str),
    tuple: _tuple,
    dict: _dict,
    np.ndarray: _array,
    bytes: _bytes,
    types.NoneType: lambda hint, data, _: _checked(data, data is None, hint),
}
