"""Labels the people on a doorbell camera's snapshots.

The whole job: `detect`, `embed`, `label`, `enroll`, `detect_faces`. By stages: `read`, `plan`, `Pipeline`, and the
modules.
Importing this package loads no model, no numerical library and starts no thread; the first use of a name does. It tells
ONNX Runtime, for this process and those that it starts, to report to nobody.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Its import alone writes a device's number into the user's cache and looks up its maker's host; only this variable, set
# before, keeps it from that (`Privacy.md` in its package). Here, because every way in comes through here.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from .api import detect, detect_faces, embed, enroll, label, load_people, plan
    from .enrolment import Enrolment
    from .errors import PeepholeError
    from .faces import Face, Faces, Match
    from .frame import Frame, read
    from .geometry import Transform
    from .match import People
    from .pipeline import Analysis, Pipeline, Scale
    from .planner import Plan

_HOMES = {
    "detect": "api",
    "detect_faces": "api",
    "embed": "api",
    "enroll": "api",
    "label": "api",
    "load_people": "api",
    "Enrolment": "enrolment",
    "PeepholeError": "errors",
    "Face": "faces",
    "Faces": "faces",
    "Match": "faces",
    "Frame": "frame",
    "read": "frame",
    "Transform": "geometry",
    "People": "match",
    "Analysis": "pipeline",
    "Pipeline": "pipeline",
    "Scale": "pipeline",
    "Plan": "planner",
    "plan": "api",
}

__all__ = [
    "Analysis",
    "Enrolment",
    "Face",
    "Faces",
    "Frame",
    "Match",
    "PeepholeError",
    "People",
    "Pipeline",
    "Plan",
    "Scale",
    "Transform",
    "detect",
    "detect_faces",
    "embed",
    "enroll",
    "label",
    "load_people",
    "plan",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
