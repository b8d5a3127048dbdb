"""What a recognizer's network wants to see; apart from the code that needs the onnx package."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Color = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True)
class Input:
    """What a recognizer's network wants to see.

    Attributes:
        side: of the square chips, in pixels.
        mean: taken off the pixels, 0 to 255, by channel in the network's own order.
        scale: what is left is multiplied by it, likewise.
        color: the network's order of the channels.
    """

    side: int = 112
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    color: Color = "rgb"

    def to_json(self) -> str:
        """As `Input.from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Input:
        """What `to_json` wrote."""
        return cls(**json.loads(text))
