"""Published ONNX files → graphs that every runtime takes: constants folded, a batch of 8-bit RGB chips in.

Files of the OpenCV Zoo keep their weights as blocks of 8-bit numbers behind ``DequantizeLinear`` and list them once
more as inputs of the graph, which today's ONNX Runtime and OpenCV refuse. Here the blocks become float32 once and for
all, and the only input left is the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelDamaged
from .input import Input

LARGEST = 2**29
"""Bytes of a file, and of all its weights as float32, that are still taken: the largest recognizers have half."""
MOST_NODES = 20_000
OLDEST_OPSET = 7
"""From here on sums and products broadcast as NumPy's do."""
IR_VERSION = 8
CHANNELS = 3
CHIPS = "peephole_chips"

Array = NDArray[Any]


@contextmanager
def sound(what: str) -> Iterator[None]:
    """Say of a network at whose parts a block, or the function it decorates, stumbles that it is damaged.

    That something is missing, of another type, or of a shape that does not fit its bytes can be found at every step.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RecursionError) as error:
        raise ModelDamaged(f"{what}: {error or type(error).__name__}") from error


@sound("the network does not hold together")
def read(data: bytes) -> Any:
    """Parse an ONNX file, (n bytes) → ``onnx.ModelProto``, its constants folded and its weights no longer inputs.

    Raises:
        ModelDamaged: it is no ONNX file, keeps weights in other files, or is larger than any network of this kind.
    """
    if len(data) > LARGEST:
        raise ModelDamaged(f"the file has {len(data)} bytes; at most {LARGEST} are read")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's exceptions share no base but Exception
        raise ModelDamaged(f"this is no ONNX file: {error}") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise ModelDamaged("this is no ONNX file, or one without a network in it")
    if len(graph.node) > MOST_NODES:
        raise ModelDamaged(f"the network has {len(graph.node)} nodes; at most {MOST_NODES} are read")
    for tensor in _tensors(graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelDamaged(f"the weights of {tensor.name!r} lie in another file; only files in one piece are read")
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ModelDamaged(f"the network is of ONNX's operator set {opset}; at least {OLDEST_OPSET} is needed")
    _fold(graph)
    model.ir_version = max(model.ir_version, IR_VERSION)
    return model


@sound("the network does not hold together")
def recognizer(data: bytes, wanted: Input) -> dict[str, bytes]:
    """A recognizer's file → ``embed``: (n, side, side, 3) uint8 RGB → its first output, the normalisation inside.

    Raises:
        ModelDamaged: see `read`; or the network does not take one such picture.
    """
    model = read(data)
    graph = model.graph
    if len(graph.input) != 1:
        raise ModelDamaged(f"a recognizer has one input, not {len(graph.input)}")
    (source,) = graph.input
    channels_last = _takes(source, wanted.side)
    network = [part for node in graph.node for part in _prelu(node)]
    prelude = list(_prelude(graph, source.name, wanted, channels_last=channels_last))
    vectors = graph.output[0]
    vectors.type.tensor_type.ClearField("shape")  # it may say that the batch is of one
    del graph.input[:], graph.node[:], graph.output[1:], graph.value_info[:]
    shape = ["n", wanted.side, wanted.side, CHANNELS]
    graph.input.append(helper.make_tensor_value_info(CHIPS, TensorProto.UINT8, shape))
    graph.node.extend(prelude + network)
    built: bytes = model.SerializeToString()
    return {"embed": built}


def _prelude(graph: Any, name: str, wanted: Input, *, channels_last: bool) -> Iterator[Any]:
    """Nodes from 8-bit RGB chips to the network's input, ``name``; what they need is added to the constants."""

    def constant(what: str, values: Any, kind: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(values, kind), f"{CHIPS}_{what}"))
        return f"{CHIPS}_{what}"

    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Cast", [], {"to": TensorProto.FLOAT})]
    if wanted.color == "bgr":
        steps.append(("Gather", [constant("order", [2, 1, 0], np.int64)], {"axis": 3}))
    if any(wanted.mean):
        steps.append(("Sub", [constant("mean", wanted.mean, np.float32)], {}))
    if set(wanted.scale) != {1.0}:
        steps.append(("Mul", [constant("scale", wanted.scale, np.float32)], {}))
    if not channels_last:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    names = [CHIPS, *(f"{CHIPS}_{index}" for index in range(len(steps) - 1)), name]
    for (kind, more, attributes), (before, after) in zip(steps, itertools.pairwise(names), strict=True):
        yield helper.make_node(kind, [before, *more], [after], **attributes)


def _prelu(node: Any) -> list[Any]:
    """A ``PRelu`` as four simple nodes: ONNX Runtime's own takes half of a network's time, these a fourth of that.

    ``relu(x) + slope * (x - relu(x))``; of the two terms one is always zero, so the result is the same to the last bit.
    """
    if node.op_type != "PRelu" or node.domain not in ("", "ai.onnx"):
        return [node]
    (x, slope), (y,) = node.input, node.output
    positive, negative, scaled = (f"{y}_{part}" for part in ("positive", "negative", "scaled"))
    return [
        helper.make_node("Relu", [x], [positive]),
        helper.make_node("Sub", [x, positive], [negative]),
        helper.make_node("Mul", [negative, slope], [scaled]),
        helper.make_node("Add", [positive, scaled], [y]),
    ]


def _takes(source: Any, side: int) -> bool:
    """Whether the network's input has its channels last, (n, side, side, 3), and not (n, 3, side, side).

    Raises:
        ModelDamaged: it is neither.
    """
    tensor = source.type.tensor_type
    shape = [each.dim_value if each.HasField("dim_value") else 0 for each in tensor.shape.dim]  # 0: any
    first, last = (0, CHANNELS, side, side), (0, side, side, CHANNELS)
    for wanted in (first, last):
        fits = len(shape) == len(wanted) and all(
            got in (0, want) for got, want in zip(shape[1:], wanted[1:], strict=True)
        )
        if fits and tensor.elem_type == TensorProto.FLOAT:
            return wanted is last
    described = "x".join(str(length or "?") for length in shape)
    raise ModelDamaged(
        f"the network's input {source.name!r} is {described}, not a float picture of 1x3x{side}x{side}: "
        "it is no recognizer, or not one for chips of this size"
    )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph, those inside nodes and their graphs as well."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _fold(graph: Any) -> None:
    """Compute what depends on constants alone, as far as weights need it, and drop constants from the inputs.

    Raises:
        ModelDamaged: a constant does not fit its node, or all of them together are too large.
    """
    constants = {each.name: each for each in graph.initializer}
    kept, room = [], LARGEST
    for node in graph.node:
        known = [constants[name] for name in node.input if name in constants]
        if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx") or len(known) != len(node.input):
            kept.append(node)
            continue
        try:
            arrays = [numpy_helper.to_array(each) for each in known]
            room -= arrays[0].size * np.dtype(np.float32).itemsize
            if room < 0:
                raise ModelDamaged(f"the weights take more than {LARGEST} bytes")
            folded = _FOLDED[node.op_type](node, *arrays)
        except (ValueError, TypeError, LookupError) as error:
            raise ModelDamaged(f"the weights {node.input[0]!r} do not fit together: {error}") from error
        constants[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(folded), node.output[0])
    used = {name for node in kept for name in node.input} | {each.name for each in graph.output}
    used |= {name for node in kept for attribute in node.attribute for name in _free(attribute)}
    data = [each for each in graph.input if each.name in used and each.name not in constants]
    del graph.input[:], graph.node[:], graph.initializer[:]
    graph.input.extend(data)
    graph.node.extend(kept)
    graph.initializer.extend(each for name, each in constants.items() if name in used)


def _free(attribute: Any) -> Iterator[str]:
    """The names that graphs inside a node may take from outside."""
    for inner in (attribute.g, *attribute.graphs):
        for node in inner.node:
            yield from node.input
            for deeper in node.attribute:
                yield from _free(deeper)


def _dequantized(node: Any, values: Array, scale: Array, zero: Array | None = None) -> Array:
    """ONNX's ``DequantizeLinear``: one scale in all, one an index of the axis, or one a block along it."""
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)

    def spread(array: Array) -> Array:
        if array.size == 1:
            return array.reshape(())
        fitting = [values.shape[axis]]
        if block:
            fitting = list(values.shape)
            fitting[axis] = -(-values.shape[axis] // block)
        if block < 0 or list(array.shape) != fitting:  # of what does not fit, far more could come than the file has
            raise ValueError(f"scales of {array.shape} for weights of {values.shape}")
        if block:
            taken: Array = np.take(array, np.arange(values.shape[axis]) // block, axis)
            return taken
        return array.reshape([-1 if each == axis % values.ndim else 1 for each in range(values.ndim)])

    with np.errstate(all="ignore"):  # numbers that are none stay none
        offset = values.astype(np.float32) - (0 if zero is None else spread(zero).astype(np.float32))
        result: Array = offset * spread(scale).astype(np.float32)
    if result.shape != values.shape:
        raise ValueError(f"scales of {scale.shape} for weights of {values.shape}")
    return result


def _reshaped(_: Any, values: Array, shape: Array) -> Array:
    wanted = [values.shape[index] if length == 0 else int(length) for index, length in enumerate(shape)]
    return values.reshape(wanted)


_FOLDED: dict[str, Callable[..., Array]] = {"DequantizeLinear": _dequantized, "Reshape": _reshaped}
