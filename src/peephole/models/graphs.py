"""dlib networks → ONNX graphs that take 8-bit RGB, (n, height, width, 3).

Everything that can be is folded into the convolutions: the normalisation of the pixels (exact, because the first
convolution of both networks has no padding) and the affine layers. The arithmetic that is left is the network's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelDamaged
from . import dat

OPSET = 17
IR_VERSION = 8
PIXEL_SCALE = 256.0
"""dlib divides the pixels by 256, not 255, after taking the mean off."""
STEM_CONVOLUTIONS = 3
"""The detector's strided convolutions: full resolution in, an eighth out. All its memory lies in them."""
WIDTH_MULTIPLE = 16
"""Channel counts are filled up to this with zeros: 45 do not divide into vector registers, 48 do."""

Array = NDArray[Any]


class _Builder:
    """Nodes and weights in the order of the data; ``data`` is the name of the value that flows on."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, array: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *more: str, inputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """Append a node on the flowing data (or on ``inputs``); its output flows on."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*(inputs or [self.data]), *more], [name], **attributes))
        self.data = name
        return name

    def pixels(self) -> None:
        """(n, height, width, 3) uint8 → (n, 3, height, width) float32, still 0 to 255."""
        self.node("Cast", to=TensorProto.FLOAT)
        self.node("Transpose", perm=[0, 3, 1, 2])

    def convolution(self, layer: dat.Convolution) -> None:
        (y, x) = layer.padding
        self.node(
            "Conv",
            self.constant(layer.weights),
            self.constant(layer.biases),
            strides=list(layer.stride),
            pads=[y, x, y, x],
        )

    def model(self, name: str, *sources: tuple[str, int, list[Any]], target: tuple[int, list[Any]]) -> bytes:
        """The finished graph; each source is (name, type, shape), ``target`` (type, shape) of the flowing data."""
        self.nodes[-1].output[0] = "output"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(*source) for source in sources],
            [helper.make_tensor_value_info("output", *target)],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="peephole",
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data


def mmod(network: dat.Network) -> dict[str, bytes]:
    """The MMOD detector in two graphs.

    ``stem``: (1, 3, height, width) uint8 RGB → (1, 32, h, w) float32 at an eighth of the resolution, the strided
    convolutions. ``tail``: that → (1, h, w) float32 scores, everything after. They are apart because the stem's
    activations are what takes the memory, and it can be computed in strips.

    Raises:
        ModelDamaged: the network is not such a detector.
    """
    layers = _folded(network)
    convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, dat.Convolution)]
    strided = [index for index in convolutions if layers[index].stride != (1, 1)]  # type: ignore[union-attr]
    if network.window is None or strided != convolutions[:STEM_CONVOLUTIONS] or len(convolutions) < 5:
        raise ModelDamaged("this network is not an MMOD detector of three strided convolutions and a tail")
    shapes = [layers[index].weights.shape for index in convolutions]  # type: ignore[union-attr]
    if any(one[0] != next_[1] for one, next_ in itertools.pairwise(shapes)) or shapes[-1][0] != 1:
        raise ModelDamaged("the detector's convolutions do not fit each other, or give more than one score")
    cut = convolutions[STEM_CONVOLUTIONS]

    stem = _Builder("pixels")
    stem.node("Cast", to=TensorProto.FLOAT)
    _chain(stem, layers[:cut])
    features = len(layers[strided[-1]].weights)  # type: ignore[union-attr]

    tail = _Builder("features")
    _chain(tail, _widened([*layers[cut:-1], *_split(layers[-1])]))
    zero, one, axis = (tail.constant(np.array([i], np.int64)) for i in (0, 1, 1))
    tail.node("Slice", zero, one, axis)
    tail.node("Squeeze", axis)
    return {
        "stem": stem.model(
            "mmod-stem",
            ("pixels", TensorProto.UINT8, [1, 3, "height", "width"]),
            target=(TensorProto.FLOAT, [1, features, "rows", "columns"]),
        ),
        "tail": tail.model(
            "mmod-tail",
            ("features", TensorProto.FLOAT, [1, features, "rows", "columns"]),
            target=(TensorProto.FLOAT, [1, "rows", "columns"]),
        ),
    }


def _split(head: dat.Layer) -> list[dat.Layer]:
    """A convolution to one output as two: its columns, a filter each, and then the sum of those, each shifted.

    A filter of 9 x 9 over 45 channels is 3,645 multiply-adds a cell, but with a single output it fills one lane in
    sixteen of a vector register. Nine filters of 9 x 1 are the same multiply-adds and fill nine; the sum is cheap.
    """
    if not isinstance(head, dat.Convolution):
        raise ModelDamaged("the detector does not end in a convolution")
    _, channels, rows, columns = head.weights.shape
    by_column = head.weights[0].transpose(2, 0, 1).reshape(columns, channels, rows, 1)
    shifted = np.eye(columns, dtype=np.float32).reshape(1, columns, 1, columns)
    (y, x) = head.padding
    return [
        dat.Convolution(by_column, np.zeros(columns, np.float32), (1, 1), (y, 0)),
        dat.Convolution(shifted, head.biases, (1, 1), (0, x)),
    ]


def resnet(network: dat.Network) -> dict[str, bytes]:  # noqa: C901 - a flat list, a case a layer
    """The ResNet recognizer: (n, 150, 150, 3) uint8 RGB chips → (n, 128) float32, in one graph, ``embed``.

    Raises:
        ModelDamaged: the network is not such a recognizer.
    """
    if network.input_size is None:
        raise ModelDamaged("this network has no fixed input size, so it is not a recognizer")
    rows, columns = network.input_size
    graph = _Builder("chips")
    graph.pixels()
    shape = (3, rows, columns)
    tagged: list[tuple[str, tuple[int, int, int]]] = []
    for layer in _folded(network):
        if min(shape) < 1 or not _fits(layer, shape, len(tagged)):
            raise ModelDamaged(f"a {type(layer).__name__} layer does not fit the {shape} before it")
        match layer:
            case dat.Convolution():
                graph.convolution(layer)
                shape = (len(layer.weights), *_reduced(shape, layer.weights.shape[2:], layer))
            case dat.Relu():
                graph.node("Relu")
            case dat.Pool(window=(0, 0)):
                graph.node("GlobalAveragePool")
                shape = (shape[0], 1, 1)
            case dat.Pool():
                (y, x) = layer.padding
                kind = "MaxPool" if layer.kind == "max" else "AveragePool"
                graph.node(kind, kernel_shape=layer.window, strides=layer.stride, pads=[y, x, y, x])
                shape = (shape[0], *_reduced(shape, layer.window, layer))
            case dat.Tag():
                tagged.append((graph.data, shape))
            case dat.Skip():
                graph.data, shape = tagged[-2]
            case dat.AddTagged():
                shape = _add(graph, shape, *tagged[-1])
            case dat.FullyConnected():
                graph.node("Flatten")
                graph.node("MatMul", graph.constant(layer.weights))
            case _:
                raise ModelDamaged(f"a {type(layer).__name__} layer has no place in a recognizer")
    outputs = layer.weights.shape[1] if isinstance(layer, dat.FullyConnected) else 0
    if not outputs:
        raise ModelDamaged("a recognizer ends in a fully connected layer")
    return {
        "embed": graph.model(
            "resnet",
            ("chips", TensorProto.UINT8, ["n", rows, columns, 3]),
            target=(TensorProto.FLOAT, ["n", outputs]),
        )
    }


def _folded(network: dat.Network) -> list[dat.Layer]:
    """The layers with every affine layer folded into the convolution before it, the normalisation into the first.

    Raises:
        ModelDamaged: an affine layer without a convolution before it, or a padded first convolution.
    """
    layers: list[dat.Layer] = []
    for layer in network.layers:
        if not isinstance(layer, dat.Affine):
            layers.append(layer)
            continue
        before = layers[-1] if layers else None
        if not isinstance(before, dat.Convolution) or len(before.weights) != len(layer.gamma):
            raise ModelDamaged("an affine layer stands behind something that is no convolution of its width")
        layers[-1] = replace(
            before,
            weights=before.weights * layer.gamma[:, None, None, None],
            biases=before.biases * layer.gamma + layer.beta,
        )
    first = layers[0] if layers else None
    if not isinstance(first, dat.Convolution) or first.padding != (0, 0) or first.weights.shape[1] != 3:
        raise ModelDamaged("the network does not begin with an unpadded convolution of three channels")
    mean = np.array(network.mean)[None, :, None, None]
    weights = first.weights.astype(np.float64) / PIXEL_SCALE
    layers[0] = replace(
        first,
        weights=weights.astype(np.float32),
        biases=(first.biases - (weights * mean).sum((1, 2, 3))).astype(np.float32),
    )
    return layers


def _widened(layers: Sequence[dat.Layer]) -> list[dat.Layer]:
    """The same layers with their channel counts filled up to `WIDTH_MULTIPLE`; the added channels stay zero."""
    wide: list[dat.Layer] = []
    inputs = 0
    for layer in layers:
        if not isinstance(layer, dat.Convolution):
            wide.append(layer)
            continue
        filters, channels, rows, columns = layer.weights.shape
        outputs = -(-filters // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
        weights = np.zeros((outputs, inputs or channels, rows, columns), np.float32)
        weights[:filters, :channels] = layer.weights
        wide.append(
            replace(layer, weights=weights, biases=np.pad(layer.biases, (0, outputs - filters))),
        )
        inputs = outputs
    return wide


def _chain(graph: _Builder, layers: Sequence[dat.Layer]) -> None:
    for layer in layers:
        if isinstance(layer, dat.Convolution):
            graph.convolution(layer)
        elif isinstance(layer, dat.Relu):
            graph.node("Relu")
        else:
            raise ModelDamaged(f"a {type(layer).__name__} layer has no place in a detector")


def _fits(layer: dat.Layer, shape: tuple[int, int, int], tags: int) -> bool:
    """Whether a recognizer's layer can stand behind data of a shape, (channels, rows, columns), and so many tags."""
    match layer:
        case dat.Convolution():
            return bool(layer.weights.shape[1] == shape[0])
        case dat.Skip():
            return tags >= 2
        case dat.AddTagged():
            return tags >= 1
        case dat.FullyConnected():
            return bool(len(layer.weights) == shape[0] * shape[1] * shape[2])
    return True


def _reduced(
    shape: tuple[int, int, int], window: tuple[int, ...], layer: dat.Convolution | dat.Pool
) -> tuple[int, int]:
    rows, columns = (
        (length + 2 * padding - size) // stride + 1
        for length, size, stride, padding in zip(shape[1:], window, layer.stride, layer.padding, strict=True)
    )
    return rows, columns


def _add(
    graph: _Builder, shape: tuple[int, int, int], other: str, other_shape: tuple[int, int, int]
) -> tuple[int, int, int]:
    """A residual sum as dlib has it: the smaller side is filled with zeros, behind its channels, rows, columns."""
    target = (max(shape[0], other_shape[0]), max(shape[1], other_shape[1]), max(shape[2], other_shape[2]))

    def filled(name: str, its: tuple[int, int, int]) -> str:
        if its == target:
            return name
        pads = [0, 0, 0, 0, 0, *(t - i for t, i in zip(target, its, strict=True))]
        return graph.node("Pad", graph.constant(np.array(pads, np.int64)), inputs=[name])

    graph.node("Add", inputs=[filled(graph.data, shape), filled(other, other_shape)])
    return target
