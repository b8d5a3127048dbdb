"""Recognizers behind one Protocol: chips in, vectors out that lie near each other when the person is the same."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .frame import Pixels
from .geometry import Points
from .models import store
from .models.session import ONNXRUNTIME, Runtime

Embeddings = NDArray[np.float32]


class Recognizer(Protocol):
    """Turns aligned chips into vectors."""

    @property
    def side(self) -> int:
        """Side of the square chips, in pixels."""
        ...

    @property
    def template(self) -> Points:
        """Where the landmarks lie on a chip, (5, 2) chip pixels, in the landmarker's order."""
        ...

    @property
    def threshold(self) -> float:
        """Largest Euclidean distance that by convention is still the same person."""
        ...

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of every model file in use, by name."""
        ...

    def embed(self, chips: Pixels) -> Embeddings:
        """Chips, (n, side, side, 3) uint8 RGB → vectors, (n, d); n may be 0."""
        ...


SIDE = 150
PADDING = 0.25
"""dlib cuts its chips with a quarter of the face's size around it; the network was trained with that."""
AT_ONCE = 16
"""Chips in one call: they take 1.1 MB each, as much as the detector's buffers in all, and more gain no speed."""
MEAN_FACE = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
"""The five landmarks of the mean face in a unit square, from dlib's ``get_face_chip_details``."""


class _DlibResnet:
    """What both implementations of dlib's recognizer have in common."""

    side = SIDE
    # In continuous pixels as they stand: dlib's own chips come out like this, and not half a pixel further.
    template = (PADDING + MEAN_FACE) / (2 * PADDING + 1) * SIDE
    threshold = 0.6
    dimensions = 128


class Resnet(_DlibResnet):
    """dlib's ``dlib_face_recognition_resnet_model_v1.dat`` in ONNX Runtime, `AT_ONCE` chips a call."""

    def __init__(self, runtime: Runtime = ONNXRUNTIME) -> None:
        prepared = store.prepare(store.RESNET)
        self._session = runtime.open(prepared.graphs["embed"])
        self.models = prepared.models

    def embed(self, chips: Pixels) -> Embeddings:
        """See `Recognizer.embed`."""
        parts = [self._session.run(chips[start : start + AT_ONCE]) for start in range(0, len(chips), AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimensions), np.float32)


class DlibResnet(_DlibResnet):
    """dlib's own code on the same weights, as reference."""

    def __init__(self) -> None:
        import dlib

        self._model = dlib.face_recognition_model_v1(str(store.locate(store.RESNET)))
        self.models = {store.RESNET.name: store.RESNET.sha256}

    def embed(self, chips: Pixels) -> Embeddings:
        """See `Recognizer.embed`."""
        vectors = [self._model.compute_face_descriptor(chip) for chip in chips]
        return np.array(vectors, np.float32).reshape(-1, self.dimensions)


RECOGNIZERS = ("resnet", "dlib-resnet")


def open_recognizer(name: str, runtime: Runtime = ONNXRUNTIME) -> Recognizer:
    """Load a recognizer by name, one of `RECOGNIZERS`.

    Raises:
        UsageError: there is no such recognizer.
        ModelError: its model cannot be used.
    """
    if name == "resnet":
        return Resnet(runtime)
    if name == "dlib-resnet":
        return DlibResnet()
    raise UsageError(f"there is no recognizer {name!r}; choose one of {', '.join(RECOGNIZERS)}")
