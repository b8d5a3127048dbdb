"""Published ONNX files are folded into what every runtime takes; what is none is refused."""

import contextlib
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from networks import SIDE, computed, network
from peephole.errors import ModelDamaged
from peephole.models import folded, store
from peephole.models.input import Input
from peephole.models.session import Runtime


def run(data: bytes, folder, *inputs):
    path = folder / "built.onnx"
    path.write_bytes(data)
    return Runtime(threads=1).open(path).run(*inputs)


@pytest.fixture
def chips(rng):
    return rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


# -- the normalisation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("mean", "scale"),
    [((0, 0, 0), (1, 1, 1)), ((127.5, 127.5, 127.5), (0.0078125,) * 3), ((123.7, 116.3, 103.5), (0.017, 0.018, 0.019))],
)
def test_a_network_sees_what_is_declared(chips, tmp_path, color, channels_last, mean, scale):
    data = network(batch="n", channels_last=channels_last).SerializeToString()
    built = folded.recognizer(data, Input(SIDE, mean, scale, color))["embed"]
    order = (0, 1, 2) if color == "rgb" else (2, 1, 0)
    np.testing.assert_allclose(run(built, tmp_path, chips), computed(chips, mean, scale, order), rtol=1e-3, atol=1e-3)


def test_a_batch_of_one_becomes_any(chips, tmp_path):
    built = folded.recognizer(network(batch=1).SerializeToString(), Input(SIDE))["embed"]
    np.testing.assert_allclose(run(built, tmp_path, chips), computed(chips), rtol=1e-3)


def test_only_the_first_output_is_left(chips, tmp_path):
    model = network(extra=[helper.make_node("Relu", ["out"], ["more"])])
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    built = onnx.load_from_string(folded.recognizer(model.SerializeToString(), Input(SIDE))["embed"])
    assert [each.name for each in built.graph.output] == ["out"]


def test_input_goes_through_json():
    declared = Input(64, (1.5, 2, 3), (0.1, 0.2, 0.3), "bgr")
    assert Input.from_json(declared.to_json()) == Input(64, [1.5, 2, 3], [0.1, 0.2, 0.3], "bgr")


# -- PRelu ----------------------------------------------------------------------------------------------------------


def test_prelu_in_simple_nodes_gives_the_same_bits(rng, tmp_path):
    slope = rng.normal(0.2, 1, (3, 1, 1)).astype(np.float32)
    flow = [helper.make_node("PRelu", ["data", "slope"], ["bent"]), helper.make_node("Flatten", ["bent"], ["out"])]
    graph = helper.make_graph(
        flow,
        "bent",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(slope, "slope")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    chips = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    built = folded.recognizer(model.SerializeToString(), Input(SIDE, (127.5,) * 3, (0.01,) * 3))["embed"]
    kinds = [node.op_type for node in onnx.load_from_string(built).graph.node]
    assert "PRelu" not in kinds
    x = ((chips.astype(np.float32) - np.float32(127.5)) * np.float32(0.01)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run(built, tmp_path, chips), np.where(x > 0, x, x * slope).reshape(2, -1))


# -- constants ------------------------------------------------------------------------------------------------------


def quantized(values, scales, zero, **attributes):
    """A graph of one DequantizeLinear whose result is added to the data."""
    constants = {"q": values, "s": scales} | ({} if zero is None else {"z": zero})
    nodes = [
        helper.make_node("DequantizeLinear", list(constants), ["w"], **attributes),
        helper.make_node("Add", ["data", "w"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [
            helper.make_tensor_value_info("data", TensorProto.FLOAT, values.shape),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, values.shape),  # as the zoo's files have it
            helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 9),
    axis=st.sampled_from([0, 1, -1]),
    block=st.sampled_from([None, 1, 2, 3, 4]),
    with_zero=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_weights_are_dequantized_as_onnx_says(rows, columns, axis, block, with_zero, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, (rows, columns)).astype(np.int8)
    if block:
        shape = list(values.shape)
        shape[axis] = -(-shape[axis] // block)
    else:
        shape = [values.shape[axis]]
    scales = rng.uniform(0.01, 1, shape).astype(np.float32)
    zero = rng.integers(-9, 9, shape).astype(np.int8) if with_zero else None
    model = quantized(values, scales, zero, axis=axis, **({"block_size": block} if block else {}))
    # the slow reference: ONNX's definition, an element at a time
    wanted = np.zeros(values.shape)
    for index in np.ndindex(*values.shape):
        at = list(index)
        at[axis] //= block or 1
        at = tuple(at) if block else (index[axis],)
        wanted[index] = (int(values[index]) - (0 if zero is None else int(zero[at]))) * float(scales[at])
    graph = folded.read(model.SerializeToString()).graph
    assert [each.name for each in graph.input] == ["data"]
    assert [node.op_type for node in graph.node] == ["Add"]
    (weights,) = graph.initializer
    np.testing.assert_allclose(numpy_helper.to_array(weights), wanted, rtol=1e-6)


def test_folding_changes_no_result_of_the_published_recognizer():
    published = onnx.load(store.locate(store.SFACE))
    nodes = {node.output[0]: node for node in published.graph.node}
    ours = {each.name: each for each in folded.read(published.SerializeToString()).graph.initializer}
    constants = {each.name: numpy_helper.to_array(each) for each in published.graph.initializer}
    node = nodes["conv_3_conv2d_weight_dequantized"]
    graph = helper.make_graph(
        [node],
        "one",
        [],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constants[name], name) for name in node.input],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (wanted,) = ReferenceEvaluator(model).run(None, {})
    got = numpy_helper.to_array(ours["conv_3_conv2d_weight_reshaped"])
    np.testing.assert_array_equal(got.reshape(-1), wanted.reshape(-1))


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x80\x04\x95 a pickle", b"\x08\x07", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(data):
    with pytest.raises(ModelDamaged, match="no ONNX file"):
        folded.read(data)


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_damaged_files_are_refused_or_read(noise, at):
    data = network().SerializeToString()
    at %= len(data)
    with contextlib.suppress(ModelDamaged):
        folded.recognizer(data[:at] + noise + data[at + len(noise) :], Input(SIDE))


def test_weights_in_other_files_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 8)
    model = network()
    weights = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(weights, str(secret))
    with pytest.raises(ModelDamaged, match="'weights' lie in another file"):
        folded.read(model.SerializeToString())


def test_weights_in_other_files_are_refused_inside_of_nodes():
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "inside")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    model = network(extra=[helper.make_node("Constant", [], ["c"], value=tensor)])
    with pytest.raises(ModelDamaged, match="'inside' lie in another file"):
        folded.read(model.SerializeToString())


def test_a_huge_file_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(folded, "LARGEST", 100)
    with pytest.raises(ModelDamaged, match="at most 100 are read"):
        folded.read(b"\0" * 101)


def test_weights_that_grow_too_large_are_refused(monkeypatch):
    model = quantized(np.zeros((40, 40), np.int8), np.ones((), np.float32), None)
    data = model.SerializeToString()
    monkeypatch.setattr(folded, "LARGEST", len(data))  # as int8 they fit, as float32 they would not
    with pytest.raises(ModelDamaged, match="the weights take more than"):
        folded.read(data)


def test_scales_that_do_not_fit_are_refused():
    model = quantized(np.zeros((4, 4), np.int8), np.ones(3, np.float32), None, axis=1)
    with pytest.raises(ModelDamaged, match="'q' do not fit together"):
        folded.read(model.SerializeToString())


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 4), {"axis": 0, "block_size": 2**40}),
        ((2, 4), {"axis": 0, "block_size": -2}),
        ((2, 1), {"axis": 0, "block_size": 2}),
        ((9,), {"axis": 1}),
        ((1, 4000), {"axis": 0, "block_size": 4}),
        ((4,), {"axis": 2}),
    ],
)
def test_scales_that_would_make_more_than_the_file_has_are_refused(shape, attributes):
    model = quantized(np.zeros((4, 4), np.int8), np.ones(shape, np.float32), np.ones(shape, np.int8), **attributes)
    tracemalloc.start()
    with pytest.raises(ModelDamaged, match="'q' do not fit together"):
        folded.read(model.SerializeToString())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_old_operator_set_is_refused():
    model = network()
    model.opset_import[0].version = 6
    with pytest.raises(ModelDamaged, match="operator set 6; at least 7"):
        folded.read(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"side": 15}, "is 1x3x15x15, not a float picture of 1x3x16x16"),
        ({"kind": TensorProto.UINT8}, "not a float picture"),
        ({"batch": "n", "side": 17}, r"is \?x3x17x17"),
    ],
)
def test_another_input_is_refused(change, said):
    with pytest.raises(ModelDamaged, match=said):
        folded.recognizer(network(**change).SerializeToString(), Input(SIDE))


def test_a_detector_is_no_recognizer():
    with pytest.raises(ModelDamaged, match="is 1x3x640x640"):
        folded.recognizer(store.locate(store.YUNET).read_bytes(), Input(112))


def test_two_inputs_are_refused():
    model = network(extra=[helper.make_node("Add", ["out", "other"], ["sum"])], output="sum")
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelDamaged, match="one input, not 2"):
        folded.recognizer(model.SerializeToString(), Input(SIDE))
