"""YuNet's published ONNX file → three graphs that can be computed in strips.

YuNet (W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; in the OpenCV Zoo) halves the
resolution five times. Its file takes one picture of 640x640 BGR; here the sizes are free, the pixels are RGB, and the
network is cut where it is narrow:

- ``stem``: (1, 1, height, 3 * width) uint8, the rows of an RGB picture as they lie in memory, whole cells of 16 pixels
  → three outputs: (1, c, height / 8, width / 8) features, (1, c, height / 16, width / 16) their maxima, and the picture
  at a quarter of the size, (1, height / 4, width / 4, 3) uint8, for the next level. Most of the work and of the memory.
  A cell of the features sees 35 pixels above and left of its own, and 34 on the other sides.
- ``neck``: maxima, of whole blocks of 32 pixels → three outputs: (1, c, h, w) features at 1/16, and what the heads say
  at 1/16 and at 1/32. A block sees 5 blocks beyond its own.
- ``head``: features, features at 1/16 → what the head says at 1/8. A cell sees 2 cells beyond its own.

What a head says: (1, 16, h, w), the logits of class and object, four numbers of the box, ten of the landmarks. The four
heads of a resolution are one convolution here; each alone is too narrow for vector registers. All convolutions pad with
zeros, so a part with its halo gives what the whole gives, at the border of the picture too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelDamaged
from . import folded

KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""The heads and their channels, in the order in which they stand in a graph's output."""
STRIDES = (8, 16, 32)

UNIT = ("Conv1", "Depthwise3", "Relu")
"""Forward; a depthwise separable convolution."""
FIRST = ("Conv3/2", "Relu", *UNIT[:2], "Relu", "MaxPool")
STEM = (*FIRST, *UNIT * 4, "MaxPool", *UNIT * 2)
HEAD = ("Conv1", "Depthwise3")

Array = NDArray[Any]


@folded.sound("this network is no YuNet")
def build(data: bytes) -> dict[str, bytes]:
    """The three graphs, from the bytes of a YuNet file with weights of any precision that `folded.read` knows.

    Raises:
        ModelDamaged: this is no ONNX file, or its network is not YuNet's.
    """
    model = folded.read(data)
    net = _Network(model)
    heads = [net.head(stride) for stride in STRIDES]
    p8, p16, p32 = (source for source, _, _ in heads)
    c8, top8 = net.merged(p8, p16)
    c16, top16 = net.merged(p16, p32)
    c32, top32 = net.chain(p32, UNIT)
    start, deeper32 = net.chain(c32, ("MaxPool", *UNIT * 2))
    net.same(start, c16)
    maxima, deeper16 = net.chain(c16, UNIT * 2)
    start, pool = net.chain(maxima, ("MaxPool",))
    net.same(start, c8)
    pixels, stem = net.chain(c8, STEM)
    net.same(pixels, model.graph.input[0].name if model.graph.input else "")

    float32: int = TensorProto.FLOAT
    size: list[str | int] = ["rows", "columns"]
    channels = net.channels(c8)
    return {
        "stem": net.graph(
            "yunet-stem",
            [*net.first(stem[0]), *stem[1:], *pool],
            {"pixels": (TensorProto.UINT8, [1, 1, "height", "width3"])},
            {c8: float32, maxima: float32, "quarter": TensorProto.UINT8},
        ),
        "neck": net.graph(
            "yunet-neck",
            [*deeper16, *deeper32, *top32, *top16, *net.joined(heads[1], "said16"), *net.joined(heads[2], "said32")],
            {maxima: (float32, [1, channels, *size])},
            {p16: float32, "said16": float32, "said32": float32},
        ),
        "head": net.graph(
            "yunet-head",
            [*top8, *net.joined(heads[0], "said8")],
            {c8: (float32, [1, channels, *size]), p16: (float32, [1, net.channels(p16), "rows16", "columns16"])},
            {"said8": float32},
        ),
    }


Head = tuple[str, list[Any], list[Any]]
"""What a resolution's heads look at, and of each its two convolutions: the pointwise ones, the depthwise ones."""


class _Network:
    """The nodes of a file, followed from the outputs to the input and compared with what YuNet has there."""

    def __init__(self, model: Any) -> None:
        self._opsets, self._ir_version = model.opset_import, model.ir_version
        self._nodes = {node.output[0]: node for node in model.graph.node if node.output}
        self._outputs = {each.name for each in model.graph.output}
        self._weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}

    def head(self, stride: int) -> Head:
        """Follow the four outputs of a stride to what they have in common."""
        sources, pointwise, depthwise = set(), [], []
        for kind, channels in KINDS.items():
            name = f"{kind}_{stride}"
            if name not in self._outputs:
                raise ModelDamaged(f"this network is no YuNet: it has no output {name!r}")
            for shaped in ("Sigmoid", "Reshape", "Transpose"):  # boxes and landmarks go without the first
                if self._node(name).op_type == shaped:
                    name = self._node(name).input[0]
            source, convolutions = self.chain(name, HEAD)
            if len(self._weights[convolutions[-1].input[1]]) != channels:
                raise ModelDamaged(f"this network is no YuNet: {kind}_{stride} has not {channels} channels")
            sources.add(source)
            pointwise.append(convolutions[0])
            depthwise.append(convolutions[1])
        if len(sources) != 1:
            raise ModelDamaged(f"this network is no YuNet: the heads of stride {stride} look at different features")
        return sources.pop(), pointwise, depthwise

    def merged(self, name: str, coarser: str) -> tuple[str, list[Any]]:
        """What is added to the enlarged coarser features and, with a unit behind it, makes ``name``; all its nodes."""
        before, unit = self.chain(name, UNIT)
        add = self._node(before)
        enlarged = [each for each in add.input if self._node(each).op_type == "Resize"]
        if add.op_type != "Add" or len(enlarged) != 1:
            raise ModelDamaged(f"this network is no YuNet: {before!r} is no sum with enlarged features")
        resize = self._node(enlarged[0])
        self.same(resize.input[0], coarser)
        factors = self._weights.get(resize.input[2]) if len(resize.input) > 2 else None
        if factors is None or factors.tolist() != [1, 1, 2, 2] or _attributes(resize).get("mode") != b"nearest":
            raise ModelDamaged(f"this network is no YuNet: {enlarged[0]!r} is not its input twice as large")
        (other,) = (each for each in add.input if each != enlarged[0])
        return other, [resize, add, *unit]

    def chain(self, name: str, kinds: tuple[str, ...]) -> tuple[str, list[Any]]:
        """Follow nodes of these kinds backwards from what they make; what they begin with, and the nodes, forwards."""
        found = []
        for kind in reversed(kinds):
            node = self._node(name)
            if self._kind(node) != kind:
                raise ModelDamaged(f"this network is no YuNet: {name!r} is made by {self._kind(node)}, not by {kind}")
            found.append(node)
            name = node.input[0]
        return name, found[::-1]

    def same(self, one: str, other: str) -> None:
        """Both ways through the network must have come to the same place."""
        if one != other:
            raise ModelDamaged(f"this network is no YuNet: {one!r} stands where {other!r} should")

    def channels(self, name: str) -> int:
        """How many channels a unit's output has."""
        _, unit = self.chain(name, UNIT)
        return len(self._weights[unit[1].input[1]])

    def first(self, convolution: Any) -> list[Any]:
        """The first convolution on rows of interleaved RGB, one channel of three times the width; and the quarter.

        Its filters' columns and channels become columns, and it steps over three numbers a pixel: the same sums
        without a transposition of the pixels. The file's order of the channels is BGR. The quarter is the mean of 4x4
        pixels, rounded; in float32 it is exact, in whatever order they are summed.
        """
        weights = self._weights[convolution.input[1]]
        filters, channels, rows, columns = weights.shape
        if channels != 3:
            raise ModelDamaged(f"this network is no YuNet: its pictures have {channels} channels, not 3")
        rgb = self._constant("rgb", weights[:, ::-1].transpose(0, 2, 3, 1).reshape(filters, 1, rows, 3 * columns))
        means = self._constant("means", np.tile(np.eye(3, dtype=np.float32)[:, None, None] / 16, (1, 1, 4, 4)))
        half = self._constant("half", np.full(3, 0.5, np.float32))
        return [
            helper.make_node("Cast", ["pixels"], ["flat"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["flat", means, half], ["means_first"], strides=[4, 12]),
            helper.make_node("Transpose", ["means_first"], ["means_last"], perm=[0, 2, 3, 1]),
            helper.make_node("Cast", ["means_last"], ["quarter"], to=TensorProto.UINT8),
            helper.make_node(
                "Conv",
                ["flat", rgb, *convolution.input[2:]],
                convolution.output,
                strides=[2, 6],
                pads=[1, 3, 1, 3],
            ),
        ]

    def joined(self, head: Head, output: str) -> list[Any]:
        """The four heads of a resolution as one, two convolutions."""
        source, pointwise, depthwise = head
        nodes = []
        for convolutions, groups, pad, target in ((pointwise, 1, 0, f"{output}_mixed"), (depthwise, 16, 1, output)):
            weights, biases = (
                self._constant(f"{target}_{index}", np.concatenate([self._input(node, index) for node in convolutions]))
                for index in (1, 2)
            )
            attributes = {"group": groups, "pads": [pad] * 4}
            nodes.append(helper.make_node("Conv", [source, weights, biases], [target], **attributes))
            source = target
        return nodes

    def graph(
        self, name: str, nodes: list[Any], sources: dict[str, tuple[int, list[str | int]]], outputs: dict[str, int]
    ) -> bytes:
        """A graph of some of the nodes; each source has a type and a shape, each output a type."""
        used = {each for node in nodes for each in node.input}
        results = [
            helper.make_tensor_value_info(key, kind, [1, *(f"{key}_{axis}" for axis in range(3))])
            for key, kind in outputs.items()
        ]
        inputs = [helper.make_tensor_value_info(key, *source) for key, source in sources.items()]
        weights = [numpy_helper.from_array(array, key) for key, array in self._weights.items() if key in used]
        model = helper.make_model(
            helper.make_graph(nodes, name, inputs, results, weights),
            opset_imports=self._opsets,
            ir_version=self._ir_version,
            producer_name="peephole",
        )
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise ModelDamaged(f"this network is no YuNet: {error}") from error
        data: bytes = model.SerializeToString()
        return data

    def _constant(self, name: str, array: Array) -> str:
        self._weights[name] = np.ascontiguousarray(array)
        return name

    def _input(self, node: Any, index: int) -> Array:
        try:
            array: Array = self._weights[node.input[index]]
        except (KeyError, IndexError) as error:
            raise ModelDamaged(f"this network is no YuNet: {node.output[0]!r} lacks constant weights") from error
        return array

    def _node(self, name: str) -> Any:
        try:
            return self._nodes[name]
        except KeyError:
            raise ModelDamaged(f"this network is no YuNet: no node makes {name!r}") from None

    def _kind(self, node: Any) -> str:
        """The name of a node in the lists above, or what it is in words."""
        attributes = _attributes(node)
        if node.op_type == "MaxPool":
            return "MaxPool" if _plain(attributes, 2, 2, 0) and not attributes.get("ceil_mode") else "another MaxPool"
        if node.op_type != "Conv":
            return str(node.op_type)
        weights, biases = self._input(node, 1), self._input(node, 2)
        filters, channels, side = (*weights.shape, 0, 0, 0)[:3]
        if (
            weights.shape != (filters, channels, side, side)
            or weights.dtype != np.float32
            or biases.shape != (filters,)
        ):
            return "another Conv"
        stride = next(iter(attributes.get("strides", [1])), 1)
        kinds = {(1, 1, 1): "Conv1", (3, 1, 2): "Conv3/2", (3, filters, 1): "Depthwise3"}
        kind = kinds.get((side, attributes.get("group", 1), stride), "another Conv")
        return kind if _plain(attributes, side, stride, side // 2) else "another Conv"


def _attributes(node: Any) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _plain(attributes: dict[str, Any], side: int, stride: int, pad: int) -> bool:
    """Whether a window is square, undilated, and steps and pads alike in both directions."""

    def alike(name: str, default: int, wanted: int, times: int) -> bool:
        return list(attributes.get(name, [default] * times)) == [wanted] * times

    return (
        alike("kernel_shape", side, side, 2)
        and alike("strides", 1, stride, 2)
        and alike("pads", 0, pad, 4)
        and alike("dilations", 1, 1, 2)
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
