"""The declaration beside a recognizer of the user's own: ``model.toml`` says what ``model.onnx`` wants.

docs/models.md has an example and every key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .align import ARCFACE, ARCFACE_SIDE
from .errors import UsageError
from .geometry import Points
from .match import Rule
from .models.input import Input

COSINE_THRESHOLD = 0.4
"""Where a declaration gives none: ArcFace's networks keep nearly all strangers below it."""
COSINE_MARGIN = 0.03
SIDES = (16, 1024)
"""The smallest and the largest chip that is believed."""
DIMENSIONS = (2, 65536)
LARGEST = 1e30
"""No number that means anything to a network of float32 is larger."""
MOST_BYTES = 2**16
"""Of a declaration; the longest has a few hundred."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a declaration says.

    Attributes:
        input: what the network wants to see.
        template: where ArcFace's five landmarks lie on a chip, (5, 2) chip pixels.
        threshold: the least cosine, or the largest Euclidean distance, that is the same person.
        rule: the same as a rule, with its margin.
        dimensions: of the vectors, or None where it does not say.
    """

    input: Input
    template: Points
    threshold: float
    rule: Rule
    dimensions: int | None


def read_declaration(path: Path) -> Declaration:
    """Read a declaration.

    Raises:
        UsageError: it is not there, is no TOML, leaves something out, or says what cannot be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(f"{path} is no declaration: it has more than {MOST_BYTES} bytes")
        said = tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}: a model of your own needs a declaration; see docs/models.md") from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or no TOML
        raise UsageError(f"{path} cannot be read as a declaration: {error}") from error
    try:
        return _declaration(said)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _declaration(said: dict[str, Any]) -> Declaration:
    unknown = set(said) - set(_READERS)
    missing = [key for key in ("side", "mean", "scale", "color", "similarity") if key not in said]
    if unknown:
        raise ValueError(f"there is no key {min(unknown)!r}; there are {', '.join(_READERS)}")
    if said.get("similarity") == "euclidean" and "threshold" not in said:
        missing.append("threshold")  # distances have no scale that is common to all models
    if missing:
        raise ValueError(f"{', '.join(missing)} must be there")
    values = {key: _read(key, value) for key, value in said.items()}
    side, similarity = values["side"], values["similarity"]
    euclidean = similarity == "euclidean"
    threshold = values.get("threshold", COSINE_THRESHOLD)
    margin = values.get("margin", 0.0 if euclidean else COSINE_MARGIN)
    template = values.get("template")
    return Declaration(
        Input(side, values["mean"], values["scale"], values["color"]),
        ARCFACE * (side / ARCFACE_SIDE) if template is None else template,
        threshold,
        Rule(similarity, 1.0 - threshold if euclidean else threshold, margin),
        values.get("dimensions"),
    )


def _read(key: str, value: object) -> Any:
    try:
        return _READERS[key](value)
    except (ValueError, TypeError) as error:
        shown = repr(value)
        raise ValueError(f"{key} must be {error}, not {shown if len(shown) <= 60 else shown[:60] + '...'}") from error


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(" or ".join(map(repr, words)))
        return str(value)

    return read


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -LARGEST < value < LARGEST:
        raise ValueError("a number")
    return float(value)


def _not_negative(value: object) -> float:
    if _number(value) < 0.0:
        raise ValueError("a number of at least 0")
    return _number(value)


def _channels(value: object) -> tuple[float, float, float]:
    """One number for all channels, or one for each."""
    try:
        first, second, third = map(_number, value if isinstance(value, list) else [value] * 3)
    except ValueError as error:
        raise ValueError("a number, or a list of three") from error
    return first, second, third


def _template(value: object) -> Points | None:
    """Five points, or None for ArcFace's."""
    if value == "arcface":
        return None
    message = "'arcface', or a list of five [x, y] that are not all the same"
    try:
        points = np.array(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(message) from error
    if points.shape != (5, 2) or not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        raise ValueError(message)
    return points


_READERS: dict[str, Callable[[object], Any]] = {
    "side": _whole(*SIDES),
    "mean": _channels,
    "scale": _channels,
    "color": _one_of("rgb", "bgr"),
    "similarity": _one_of("cosine", "euclidean"),
    "template": _template,
    "dimensions": _whole(*DIMENSIONS),
    "threshold": _number,
    "margin": _not_negative,
}
