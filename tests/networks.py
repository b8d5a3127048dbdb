"""Small ONNX networks of a recognizer's shape, made here, and what they compute, written down in NumPy."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 16
DIMENSIONS = 8
WEIGHTS = np.random.default_rng(7).normal(0, 0.01, (3 * SIDE * SIDE, DIMENSIONS)).astype(np.float32)


def network(
    *, batch=1, channels_last=False, side=SIDE, output=None, kind=TensorProto.FLOAT, extra=()
) -> onnx.ModelProto:
    """Flatten, then a matrix product: float (batch, 3, side, side), or channels last → (batch, 8)."""
    shape = [batch, side, side, 3] if channels_last else [batch, 3, side, side]
    flow = [helper.make_node("Flatten", ["data"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["out"])]
    if channels_last:
        flow[:1] = [helper.make_node("Transpose", ["data"], ["first"], perm=[0, 3, 1, 2])]
        flow.insert(1, helper.make_node("Flatten", ["first"], ["flat"]))
    graph = helper.make_graph(
        [*flow, *extra],
        "small",
        [helper.make_tensor_value_info("data", kind, shape)],
        [helper.make_tensor_value_info(output or "out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.resize(WEIGHTS, (3 * side * side, DIMENSIONS)), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def computed(chips: np.ndarray, mean=(0, 0, 0), scale=(1, 1, 1), order=(0, 1, 2)) -> np.ndarray:
    """What `network` makes of 8-bit RGB chips, slowly."""
    pixels = (chips[..., order].astype(np.float64) - mean) * scale
    return pixels.transpose(0, 3, 1, 2).reshape(len(chips), -1) @ WEIGHTS.astype(np.float64)


DECLARATION = """
side = 16
mean = 127.5
scale = 0.0078125
color = "rgb"
similarity = "cosine"
"""


def write(folder: Path, model: onnx.ModelProto | bytes | None = None, declaration: str | None = DECLARATION) -> Path:
    """A network and its declaration in a folder; returns the network's file."""
    path = folder / "mine.onnx"
    model = network() if model is None else model
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    if declaration is not None:
        path.with_suffix(".toml").write_text(declaration, "utf-8")
    return path
