"""What looks at pictures without a model, and tells what it was asked: for tests of what is measured and compared."""

from dataclasses import replace

import numpy as np

from peephole.errors import ModelError
from peephole.faces import Faces
from peephole.pipeline import Memory, decide
from peephole.timings import Environment
from sightings import CLEAR, Circle, analysis, at


def faces(*found):
    """Faces of (left, top, degrees, confidence), 60 x 70 pixels."""
    boxes = np.array([(left, top, left + 60.0, top + 70.0) for left, top, _, _ in found]).reshape(-1, 4)
    confidence = np.array([each[3] for each in found], float)
    vectors = at(*[each[2] for each in found]).reshape(-1, 2)
    return Faces(boxes, confidence, None, vectors, qualities=(CLEAR,) * len(found))


class Fake:
    """Looks as it is told: a picture's name → its faces, or the error that it raises.

    Takes so many milliseconds by its own account, and notes every call, and when it is closed, in a list.
    """

    def __init__(self, name, seen, calls, *, milliseconds=10.0, megabytes=100.0, start=None):
        self.name, self._seen, self._calls = name, seen, calls
        self._milliseconds, self._megabytes, self._start = milliseconds, megabytes, start
        calls.append((name, "opened"))

    @property
    def recognizer(self):
        if isinstance(self._start, ModelError):
            raise self._start
        return Circle(self.name)

    def analyse(self, source, *, name=None, scale=None, embed=False, people=None, rule=None):
        self._calls.append((self.name, name))
        if self._start is not None:
            raise self._start
        found = self._seen[name]
        if isinstance(found, BaseException):
            raise found
        if people is not None:
            found = decide(found, people, rule)
        plain = analysis()
        spread = self._milliseconds * (1 + 0.01 * (len(self._calls) * 7 % 5))
        return replace(
            plain,
            source=name,
            faces=found,
            memory=Memory(10**9, 10**8, int(self._megabytes * 1e6)),
            timings_ms={"decode": 1.0, "detect": spread, "detect.head": spread / 2, "embed": 2.0},
            models={self.name: "ab" * 32},
            recognizer="circle",
            environment=Environment("onnxruntime 1", 1, "cpu", "0", {}),
            fingerprint=f"{name!s:0<16.16}",
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._calls.append((self.name, "closed"))
