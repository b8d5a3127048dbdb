"""What is taken for a YuNet and what is not; that the graphs say the same is in tests/detectors/test_yunet.py."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from peephole.errors import ModelDamaged
from peephole.models import folded, store, yunet


@pytest.fixture(scope="module")
def published() -> bytes:
    return store.locate(store.YUNET).read_bytes()


@pytest.fixture
def model(published):
    """The published network with its weights in full, to be damaged."""
    return folded.read(published)


def node(model, kind: str, index: int = 0):
    return [each for each in model.graph.node if each.op_type == kind][index]


def refused(model, match: str) -> None:
    with pytest.raises(ModelDamaged, match=match):
        yunet.build(model.SerializeToString())


def test_three_graphs(published):
    built = {name: onnx.load_model_from_string(data) for name, data in yunet.build(published).items()}
    assert tuple(built) == store.YUNET.graphs == ("stem", "neck", "head")
    described = {
        name: ([len(graph.graph.input), len(graph.graph.output)], sum(n.op_type == "Conv" for n in graph.graph.node))
        for name, graph in built.items()
    }
    # The first convolution, the mean of 4x4 pixels and seven units; six units and two heads; a unit and a head.
    assert described == {"stem": ([1, 3], 16), "neck": ([1, 3], 16), "head": ([2, 1], 4)}
    for each in built.values():
        onnx.checker.check_model(each, full_check=True)


def test_the_same_file_gives_the_same_graphs(published):
    assert yunet.build(published) == yunet.build(published)


def test_weights_in_full_are_taken(model, published):
    assert yunet.build(model.SerializeToString()) == yunet.build(published)


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1000)])
def test_no_onnx_file(data):
    with pytest.raises(ModelDamaged, match="no ONNX file"):
        yunet.build(data)


@pytest.mark.parametrize("name", ["cls_8", "kps_32"])
def test_an_output_is_missing(model, name):
    (output,) = (each for each in model.graph.output if each.name == name)
    model.graph.output.remove(output)
    refused(model, f"no YuNet: it has no output '{name}'")


def test_outputs_changed_places(model):
    outputs = {each.name: each for each in model.graph.output}
    outputs["bbox_8"].name, outputs["kps_8"].name = "kps_8", "bbox_8"
    for each in model.graph.node:
        swapped = {"bbox_8": "kps_8", "kps_8": "bbox_8"}
        each.output[0] = swapped.get(each.output[0], each.output[0])
    refused(model, "bbox_8 has not 4 channels")


def set_ints(target, name: str, values: list[int]) -> None:
    (attribute,) = (each for each in target.attribute if each.name == name)
    attribute.CopyFrom(helper.make_attribute(name, values))


@pytest.mark.parametrize(
    ("kind", "index", "name", "values"),
    [
        ("Conv", 0, "strides", [1, 1]),
        ("Conv", 0, "pads", [0, 0, 0, 0]),
        ("Conv", 2, "pads", [1, 1, 0, 0]),
        ("Conv", 2, "dilations", [2, 2]),
        ("Conv", 9, "strides", [1, 2]),
        ("MaxPool", 0, "kernel_shape", [3, 3]),
        ("MaxPool", 3, "strides", [1, 1]),
    ],
)
def test_another_step_or_padding_would_need_other_halos(model, kind, index, name, values):
    set_ints(node(model, kind, index), name, values)
    refused(model, "is made by another (Conv|MaxPool), not by")


def test_a_convolution_that_is_not_depthwise(model):
    group = next(each for each in node(model, "Conv", 2).attribute if each.name == "group")
    group.i = 1
    refused(model, "is made by another Conv, not by Depthwise3")


def test_a_node_more(model):
    relu = node(model, "Relu", 4)
    added = helper.make_node("Relu", [relu.output[0]], ["again"])
    for each in model.graph.node:
        each.input[:] = ["again" if name == relu.output[0] else name for name in each.input]
    model.graph.node.append(added)
    refused(model, "no YuNet")


def test_a_sum_with_something_else(model):
    node(model, "Add").op_type = "Mul"
    refused(model, "is no sum with enlarged features")


def test_features_enlarged_otherwise(model):
    resize = node(model, "Resize")
    (scales,) = (each for each in model.graph.initializer if each.name == resize.input[2])
    scales.CopyFrom(numpy_helper.from_array(np.array([1, 1, 3, 3], np.float32), scales.name))
    refused(model, "is not its input twice as large")


def test_heads_that_look_at_different_features(model):
    coarse = node(model, "Relu", -1).output[0]
    mixed = [each for each in model.graph.node if each.op_type == "Conv" and each.input[0] == coarse]
    assert len(mixed) == 4
    mixed[0].input[0] = node(model, "Relu", -2).output[0]
    refused(model, "the heads of stride 8 look at different features")


def test_grey_pictures(model):
    first = node(model, "Conv")
    (weights,) = (each for each in model.graph.initializer if each.name == first.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[:, :1].copy(), weights.name))
    refused(model, "its pictures have 1 channels, not 3")


def test_weights_that_are_not_there(model):
    first = node(model, "Conv")
    (weights,) = (each for each in model.graph.initializer if each.name == first.input[1])
    model.graph.initializer.remove(weights)
    refused(model, "lacks constant weights")


def test_a_circle(model):
    reshape = node(model, "Reshape")
    reshape.input[0] = reshape.output[0]
    refused(model, "no YuNet")


def test_weights_of_another_shape_than_their_bytes(model):
    model.graph.initializer[0].dims[0] += 1
    refused(model, "no YuNet: cannot reshape")


def test_nodes_that_look_at_nothing(model):
    for each in model.graph.node:
        if each.op_type == "Reshape":
            del each.input[:]
    refused(model, "no YuNet|hold together|fit together")
