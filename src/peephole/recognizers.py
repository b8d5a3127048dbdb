"""Recognizers behind one Protocol: chips in, vectors out that lie near each other when the person is the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .align import ARCFACE, Kind
from .declaration import read_declaration
from .errors import ModelDamaged, ModelNotFound, UsageError
from .frame import Pixels
from .geometry import Points
from .match import RESNET_RULE, SFACE_RULE, Rule, Similarity
from .models import store
from .models.session import ONNXRUNTIME, Runtime

Embeddings = NDArray[np.float32]


class Recognizer(Protocol):
    """Turns aligned chips into vectors."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def model_id(self) -> str:
        """What vectors belong to, 64 hexadecimal digits: those of two models cannot be compared.

        The SHA-256 of the file with the weights; for a recognizer of the user's own, of that and its declared input.
        """
        ...

    @property
    def side(self) -> int:
        """Side of the square chips, in pixels."""
        ...

    @property
    def template(self) -> Points:
        """Where the landmarks lie on a chip, (5, 2) chip pixels, in their own order."""
        ...

    @property
    def landmarks(self) -> Kind:
        """Which landmarks the template is made for."""
        ...

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def threshold(self) -> float:
        """By convention still the same person: the largest Euclidean distance, or the least cosine."""
        ...

    @property
    def rule(self) -> Rule:
        """When a face is given a name, unless told otherwise."""
        ...

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of every model file in use, by name."""
        ...

    @property
    def buffers(self) -> float:
        """Bytes that the network takes between input and output, at most; see `planner.buffers`."""
        ...

    def embed(self, chips: Pixels) -> Embeddings:
        """Chips, (n, side, side, 3) uint8 RGB → vectors, (n, dimensions); n may be 0.

        Vectors that are compared by their cosine have unit length.
        """
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

    model_id = store.RESNET.sha256
    side = SIDE
    landmarks: Kind = "dlib"
    similarity: Similarity = "euclidean"
    # In continuous pixels as they stand: dlib's own chips come out like this, and not half a pixel further.
    template = (PADDING + MEAN_FACE) / (2 * PADDING + 1) * SIDE
    threshold = 0.6
    rule = RESNET_RULE
    dimensions = 128


class Resnet(_DlibResnet):
    """dlib's ``dlib_face_recognition_resnet_model_v1.dat`` in ONNX Runtime, `AT_ONCE` chips a call."""

    name = "resnet"
    buffers = 18.5e6

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

    name = "dlib-resnet"
    buffers = 3e6

    def __init__(self) -> None:
        import dlib

        self._model = dlib.face_recognition_model_v1(str(store.locate(store.RESNET)))
        self.models = {store.RESNET.name: store.RESNET.sha256}

    def embed(self, chips: Pixels) -> Embeddings:
        """See `Recognizer.embed`."""
        vectors = [self._model.compute_face_descriptor(chip) for chip in chips]
        return np.array(vectors, np.float32).reshape(-1, self.dimensions)


class _Onnx:
    """A network of ArcFace's shape, prepared by `models.folded`: one chip a call.

    A call of several chips gains no time, and its buffers, 10 MB a chip for SFace, fall out of the processor's cache.
    """

    landmarks: Kind = "arcface"
    similarity: Similarity
    dimensions: int
    buffers = 0.0
    """One of the user's own has run once when it is loaded: the process has them by then."""

    def __init__(self, asset: store.Asset, runtime: Runtime) -> None:
        prepared = store.prepare(asset)
        self._session = runtime.open(prepared.graphs["embed"])
        self.models = prepared.models

    def embed(self, chips: Pixels) -> Embeddings:
        """See `Recognizer.embed`."""
        vectors = np.zeros((len(chips), self.dimensions), np.float32)
        for index, vector in enumerate(vectors):
            vector[:] = self._session.run(chips[index : index + 1]).reshape(-1)
        if self.similarity == "cosine":
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors


class Sface(_Onnx):
    """SFace of the OpenCV Zoo: 112 x 112, unit vectors, compared by their cosine.

    Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face
    Recognition", 2021. The network takes RGB from 0 to 255 and normalises it itself. The threshold is OpenCV's.

    Args:
        runtime: what runs it.
        file: another file of the same network; by default the one that the package carries.
    """

    name = "sface"
    buffers = 10.5e6
    side = 112
    template = ARCFACE
    similarity: Similarity = "cosine"
    threshold = 0.363
    rule = SFACE_RULE
    dimensions = 128

    def __init__(self, runtime: Runtime = ONNXRUNTIME, file: Path | None = None) -> None:
        asset = store.SFACE
        if file is not None:
            asset = store.local(self.name, file, asset.graphs, builder=asset.builder, options=asset.options)
        super().__init__(asset, runtime)
        self.model_id = asset.sha256
        if file is not None:
            _checked(self._session.run(_blank(self.side)), self.dimensions, asset.file)


class OnnxRecognizer(_Onnx):
    """A recognizer of the user's own: an ONNX file of ArcFace's shape, chip in, vector out, with its declaration.

    Args:
        file: the ONNX file; its declaration lies beside it as ``.toml``, see docs/models.md.
        runtime: what runs it.

    Raises:
        UsageError: the declaration is missing, or cannot be.
        ModelNotFound: there is no such ONNX file.
        ModelDamaged: it is no ONNX file, or no such recognizer.
    """

    def __init__(self, file: Path, runtime: Runtime = ONNXRUNTIME) -> None:
        if not file.is_file():
            raise ModelNotFound(f"there is no file {file}")
        declared = read_declaration(file.with_suffix(".toml"))
        self.name = re.sub(r"[^\w.-]", "_", file.stem)
        options = declared.input.to_json()
        asset = store.local(self.name, file, ("embed",), builder="recognizer", options=options)
        super().__init__(asset, runtime)
        self.model_id = hashlib.sha256(f"{asset.sha256} {options}".encode()).hexdigest()
        self.side = declared.input.side
        self.template = declared.template
        self.similarity = declared.rule.similarity
        self.threshold = declared.threshold
        self.rule = declared.rule
        self.dimensions = _checked(self._session.run(_blank(self.side)), declared.dimensions, asset.file)


def _blank(side: int) -> Pixels:
    return np.zeros((1, side, side, 3), np.uint8)


def _checked(output: NDArray[np.float32], dimensions: int | None, file: str) -> int:
    """How many numbers a recognizer gives for one chip.

    Raises:
        ModelDamaged: not a single vector, not numbers, or not as many as were declared.
    """
    if output.size < 2 or output.size != max(output.shape) or output.dtype != np.float32:
        raise ModelDamaged(f"{file} is no recognizer: for one chip it gives {output.shape} {output.dtype}, no vector")
    if not np.isfinite(output).all():
        raise ModelDamaged(f"{file} gives no numbers: is the declared input the right one?")
    if dimensions not in (None, output.size):
        raise ModelDamaged(f"{file} gives vectors of {output.size} numbers; {dimensions} were declared")
    return int(output.size)


RECOGNIZERS = ("sface", "resnet", "dlib-resnet")
FROM_FILE = ("sface", "onnx")
"""What can be named with a file of the user's own, as ``onnx:/path/to/model.onnx``."""


def check(name: str) -> None:
    """Raise a `UsageError` for what is no recognizer's name; no file is looked at."""
    kind, colon, path = name.partition(":")
    if not (kind in FROM_FILE and path if colon else name in RECOGNIZERS):
        raise UsageError(
            f"there is no recognizer {name!r}; choose one of {', '.join(RECOGNIZERS)}, "
            "or onnx:FILE or sface:FILE for a file of your own"
        )


def open_recognizer(name: str, runtime: Runtime = ONNXRUNTIME) -> Recognizer:
    """Load a recognizer by name: one of `RECOGNIZERS`, ``onnx:FILE`` or ``sface:FILE``.

    Raises:
        UsageError: there is no such recognizer, or its declaration cannot be used.
        ModelError: its model cannot be used.
    """
    check(name)
    kind, colon, path = name.partition(":")
    if kind == "onnx":
        return OnnxRecognizer(Path(path), runtime)
    if kind == "sface":
        return Sface(runtime, Path(path) if colon else None)
    return Resnet(runtime) if kind == "resnet" else DlibResnet()
