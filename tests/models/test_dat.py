"""The reader of dlib's .dat files: literal bytes, a file written here, the two published files, and damage."""

import numpy as np
import pytest

from datfiles import (
    AFFINE,
    BETA,
    FIRST,
    GAMMA,
    LAST,
    MEANS,
    POOLS,
    RATES,
    RECOGNIZER,
    RELU,
    SECOND,
    SMALL,
    VARIANCES,
    a_convolution,
    affine,
    alias,
    convolution,
    file,
    fully_connected,
    input_pyramid,
    integer,
    integers,
    loss_mmod,
    normalisation,
    pool,
    string,
    tensor,
)
from peephole.errors import ModelDamaged
from peephole.models import dat, store


def same(one: dat.Layer, other: dat.Layer) -> bool:
    names = type(one).__dataclass_fields__
    return type(one) is type(other) and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def parses(data: bytes) -> bool:
    """Whether it does; whatever is raised besides `ModelDamaged` goes through."""
    try:
        dat.read_network(data)
    except ModelDamaged:
        return False
    return True


@pytest.fixture(scope="module")
def mmod_bytes() -> bytes:
    return store.locate(store.MMOD).read_bytes()


@pytest.fixture(scope="module")
def resnet_bytes() -> bytes:
    return store.locate(store.RESNET).read_bytes()


# -- primitives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x01\x00", 0),
        (b"\x81\x00", 0),
        (b"\x01\x50", 80),
        (b"\x81\x04", -4),
        (b"\x02\xc0\x04", 1216),
        (b"\x82\x00\x01", -256),
        (b"\x03\x01\x02\x03", 0x030201),
        (b"\x04\xff\xff\xff\xff", 2**32 - 1),
        (b"\x05\x00\x00\x00\x00\x01", 2**32),
        (b"\x06\x01\x00\x00\x00\x00\x80", 0x800000000001),
        (b"\x07\x8c\x6a\x54\xf2\x50\xa6\x15", 0x15A650F2546A8C),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\x7f", 2**63 - 1),
        (b"\x88\x00\x00\x00\x00\x00\x00\x00\x80", -(2**63)),
    ],
)
def test_integer(data: bytes, value: int):
    reader = dat._Reader(data + b"rest")
    assert reader.integer() == value
    assert reader.at == len(data)


@pytest.mark.parametrize("control", [0x00, 0x80, 0x09, 0x0F, 0x89, 0x11, 0x21, 0x41, 0xFF])
def test_integer_with_a_bad_control_byte(control: int):
    with pytest.raises(ModelDamaged, match=f"{control:#04x}"):
        dat._Reader(bytes([control]) + bytes(16)).integer()


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02\x00", b"\x08\x00\x00\x00\x00\x00\x00\x00"])
def test_integer_cut_off(data: bytes):
    with pytest.raises(ModelDamaged, match="bytes are needed"):
        dat._Reader(data).integer()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x01\x10\x81\x04", 1.0),
        (b"\x01\x10\x81\x05", 0.5),
        (b"\x81\x03\x01\x02", -12.0),
        (b"\x01\x00\x01\x00", 0.0),
        (b"\x03\x0a\xd7\xa3\x81\x1c", 0.04),
        (b"\x01\x01\x82\x4c\x04", 0.0),  # 2 to the power of -1100 is no float any more
    ],
)
def test_real(data: bytes, value: float):
    assert dat._Reader(data).real() == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("exponent", [b"\x02\xe9\x03", b"\x02\x00\x7d", b"\x82\x4d\x04", b"\x08" + b"\xff" * 8])
def test_real_with_an_absurd_exponent(exponent: bytes):
    with pytest.raises(ModelDamaged, match="no exponent"):
        dat._Reader(b"\x01\x01" + exponent).real()


def test_string():
    assert dat._Reader(b"\x01\x05con_4rest").string() == "con_4"
    assert dat._Reader(b"\x01\x00").string() == ""
    assert dat._Reader(b"\x01\x02\xe9\xff").string() == "éÿ"


@pytest.mark.parametrize("data", [b"\x01\x05con_", b"\x81\x05con_4", b"\x01\x65" + b"x" * 101, b"\x08" + b"\xff" * 99])
def test_string_of_a_wrong_length(data: bytes):
    with pytest.raises(ModelDamaged):
        dat._Reader(data).string()


def test_tensor():
    numbers = b"\x00\x00\x80\x3f" + b"\x00\x00\x00\xc0" + b"\x00\x00\x00\x3f" + b"\x00\x00\x00\x00"
    read = dat._Reader(b"\x01\x02" + b"\x01\x01\x01\x02\x01\x02\x01\x01" + numbers).tensor()
    assert read.dtype == np.float32
    assert read.tolist() == [[[[1.0], [-2.0]], [[0.5], [0.0]]]]


def test_empty_tensor():
    assert dat._Reader(b"\x01\x02" + b"\x01\x00" * 4).tensor().shape == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "shape",
    [
        (-1, 1, 1, 1),
        (-1, -1, 1, 1),
        (1, 1, 4000, 4001),
        (2**64 - 1,) * 4,
        (2**32, 2**32, 1, 1),
        (1, 1, 1, 100),
        (0, 2**63, 1, 1),
        (0, 2**62, 2**62, 2**62),
        (2**64 - 1, 1, 1, 0),
    ],
)
def test_tensor_of_absurd_dimensions(shape: tuple[int, ...]):
    with pytest.raises(ModelDamaged):
        dat._Reader(integers(2, *shape) + bytes(396)).tensor()


def test_tensor_of_another_version():
    with pytest.raises(ModelDamaged, match="version should be 2, not 1"):
        dat._Reader(integers(1, 1, 1, 1, 1) + bytes(4)).tensor()


def test_the_message_says_at_which_byte():
    with pytest.raises(ModelDamaged, match="at byte 3:"):
        dat._Reader(b"\x01\x01\x00").integers(2)


# -- a file written here ----------------------------------------------------------------------------------------


def test_small_detector_round_trip():
    network = dat.read_network(SMALL)
    assert network.mean == (122.5, 117.25, 104.0)
    assert network.input_size is None
    assert network.window == dat.Window(80, 80, 0.3, 1.0)
    folded = dat.Affine(
        np.array([1.0, 1.0, 1.0, 1.0], np.float32),  # gamma over the root of 1, 4, 9, 16
        np.array([-0.5, 1.5, -3.0, 0.5], np.float32),
    )
    read_normalisation = network.layers[1]
    assert read_normalisation.gamma == pytest.approx(folded.gamma, rel=1e-6)
    assert read_normalisation.beta == pytest.approx(folded.beta, rel=1e-6)
    expected = [FIRST, read_normalisation, dat.Relu(), SECOND, AFFINE]
    assert len(network.layers) == len(expected)
    assert all(same(one, other) for one, other in zip(network.layers, expected, strict=True))


def test_small_recognizer_round_trip():
    network = dat.read_network(RECOGNIZER)
    assert network.input_size == (33, 34)
    assert network.window is None
    expected = [FIRST, dat.Tag(), POOLS[0], dat.Tag(), dat.Skip(), dat.AddTagged(), POOLS[1], LAST]
    assert all(same(one, other) for one, other in zip(network.layers, expected, strict=True))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (integer(2) + SMALL[2:], "file's version"),
        (SMALL + b"\x00", "1 bytes are left over"),
        (SMALL.replace(b"loss_mmod_", b"loss_mmud_"), "ends in 'loss_mmud_'"),
        (SMALL.replace(b"image_pyramid", b"image_pyramod"), "begins with"),
        (SMALL.replace(b"relu_", b"gelu_"), "a layer 'gelu_'"),
        (SMALL.replace(b"010", b"012"), "flags"),
        (file(loss_mmod(0, 80), input_pyramid(1, 2, 3), RELU), "0x80 window"),
        (file(loss_mmod(80, 1001), input_pyramid(1, 2, 3), RELU), "80x1001 window"),
        (file(loss_mmod(80, -80), input_pyramid(1, 2, 3), RELU), "80x-80 window"),
        (file(loss_mmod(overlap=1.5), input_pyramid(1, 2, 3), RELU), "overlaps 1.5"),
        (file(loss_mmod(covered=-0.5), input_pyramid(1, 2, 3), RELU), "-0.5"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, message: str):
    with pytest.raises(ModelDamaged, match=message):
        dat.read_network(data)


@pytest.mark.parametrize(
    "layer",
    [
        string("con_4") + tensor(np.zeros((1, 9, 1, 1))) + integers(1, 3, 3, 1, 1, 0, 0) + alias(1, 1, 3, 3) * 2,
        convolution(a_convolution(1, 2, 2, stride=0)),
        convolution(FIRST).replace(integers(4, 3, 2), integers(5, 3, 2)),
        convolution(FIRST).replace(alias(4, 3, 3, 2), alias(4, 2**63, 3, 2)),
        convolution(FIRST).replace(alias(1, 4, 1, 1), alias(1, 5, 1, 1)),
        normalisation(GAMMA, BETA, MEANS, -VARIANCES, 0.01),
        normalisation(GAMMA, BETA, MEANS, VARIANCES * np.nan, 0.01),
        normalisation(GAMMA, BETA[:3], MEANS, VARIANCES, 0.01),
        normalisation(GAMMA, BETA, MEANS, VARIANCES[:3], 0.01),
        normalisation(GAMMA, BETA, MEANS, VARIANCES, -20.0),
        affine(AFFINE).replace(alias(1, 2, 1, 1), alias(1, 3, 1, 1), 1),
        affine(AFFINE).replace(alias(1, 2, 1, 1), alias(1, -2, 1, 1), 1),
        pool(dat.Pool("max", (-1, 3), (1, 1), (0, 0))),
        pool(dat.Pool("max", (3, 3), (1, 0), (0, 0))),
        pool(dat.Pool("average", (3, 3), (1, 1), (0, -1))),
        fully_connected(dat.FullyConnected(np.zeros((2, 3)))).replace(integers(3, 2), integers(2, 3), 1),
        fully_connected(dat.FullyConnected(np.zeros((2, 3)))).replace(integer(1) + RATES, integer(0) + RATES),
    ],
)
def test_a_layer_at_odds_with_itself(layer: bytes):
    with pytest.raises(ModelDamaged):
        dat.read_network(file(loss_mmod(), input_pyramid(1, 2, 3), layer))


@pytest.mark.parametrize(
    "layer",
    [
        normalisation(GAMMA * 1e37, BETA, MEANS, VARIANCES * 0 + 1e-20, 0.0),
        normalisation(GAMMA * np.inf, BETA, MEANS * 0, VARIANCES, 0.01),
        normalisation(GAMMA, BETA, MEANS, VARIANCES * np.inf, 0.01),
        normalisation(GAMMA, BETA, MEANS, VARIANCES, 1e300),
    ],
    ids=["overflow", "infinite", "infinite-variance", "epsilon"],
)
def test_a_normalisation_that_leaves_single_precision_is_damage_or_parses(layer: bytes):
    parses(file(loss_mmod(), input_pyramid(1, 2, 3), layer))


# -- the published files ----------------------------------------------------------------------------------------


def test_published_detector(mmod_bytes: bytes):
    network = dat.read_network(mmod_bytes)
    assert network.mean == pytest.approx((122.782, 117.001, 104.298))
    assert network.input_size is None
    assert (network.window.width, network.window.height) == (80, 80)
    assert network.window.nms_overlap == pytest.approx(0.338276, abs=1e-6)
    assert network.window.nms_covered == 1.0
    assert [type(layer) for layer in network.layers] == [dat.Convolution, dat.Affine, dat.Relu] * 6 + [dat.Convolution]
    convolutions = [layer for layer in network.layers if isinstance(layer, dat.Convolution)]
    assert [(layer.weights.shape, layer.stride, layer.padding) for layer in convolutions] == [
        ((16, 3, 5, 5), (2, 2), (0, 0)),
        ((32, 16, 5, 5), (2, 2), (0, 0)),
        ((32, 32, 5, 5), (2, 2), (0, 0)),
        ((45, 32, 5, 5), (1, 1), (2, 2)),
        ((45, 45, 5, 5), (1, 1), (2, 2)),
        ((45, 45, 5, 5), (1, 1), (2, 2)),
        ((1, 45, 9, 9), (1, 1), (4, 4)),
    ]
    assert all(np.isfinite(layer.weights).all() and np.isfinite(layer.biases).all() for layer in convolutions)


def test_published_recognizer(resnet_bytes: bytes):
    network = dat.read_network(resnet_bytes)
    assert network.input_size == (150, 150)
    assert network.window is None
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds[:5] == ["Convolution", "Affine", "Relu", "Pool", "Tag"]
    assert kinds[-2:] == ["Pool", "FullyConnected"]
    assert kinds.count("Convolution") == kinds.count("Affine") == 29
    assert kinds.count("AddTagged") == 14
    assert kinds.count("Skip") == 4
    assert kinds.count("Tag") == 14 + 4
    assert network.layers[-1].weights.shape == (256, 128)
    assert network.layers[-2] == dat.Pool("average", (0, 0), (1, 1), (0, 0))


# -- damage -----------------------------------------------------------------------------------------------------


def mutated(data: bytes, end: int, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(end, len(damaged))))
        match rng.integers(5):
            case 0:
                damaged[at] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[at] = int(rng.choice([0x00, 0x01, 0x08, 0x7F, 0x80, 0x88, 0xFF]))
            case 2:
                damaged[at : at + 1] = rng.bytes(int(rng.integers(4)))
            case 3:
                damaged[at : at + 2] = integer(int(rng.choice([-1, 0, 2**31, 2**63, 2**64 - 1])))
            case 4:
                damaged[at:at] = damaged[at : at + int(rng.integers(1, 30))]
    return bytes(damaged)


def test_every_cut_of_the_small_file_is_damage():
    assert parses(SMALL)
    assert not any(parses(SMALL[:end]) for end in range(len(SMALL)))


def test_cuts_of_the_published_files_are_damage(mmod_bytes: bytes, resnet_bytes: bytes):
    rng = np.random.default_rng(5)
    assert not any(parses(mmod_bytes[:end]) for end in [0, 1, 2, 3000, *rng.integers(len(mmod_bytes), size=40)])
    assert not any(parses(resnet_bytes[:end]) for end in [0, 1, 2, 3000, *rng.integers(len(resnet_bytes), size=10)])
    assert not parses(mmod_bytes[:-1])
    assert not parses(resnet_bytes[:-1])


def test_every_single_byte_of_the_small_file_set_to_extremes():
    for at in range(len(SMALL)):
        for value in (0x00, 0x7F, 0x80, 0xFF):
            parses(SMALL[:at] + bytes([value]) + SMALL[at + 1 :])


def test_mutations_of_the_small_file():
    rng = np.random.default_rng(1)
    outcomes = [parses(mutated(SMALL, len(SMALL), rng)) for _ in range(600)]
    assert 0 < sum(outcomes) < len(outcomes)


def test_mutations_of_the_published_detector(mmod_bytes: bytes):
    rng = np.random.default_rng(2)
    outcomes = [parses(mutated(mmod_bytes, 3000, rng)) for _ in range(300)]
    assert 0 < sum(outcomes) < len(outcomes)


def test_noise_is_damage():
    rng = np.random.default_rng(3)
    assert not any(parses(rng.bytes(int(rng.integers(500)))) for _ in range(300))


@pytest.mark.parametrize(
    "data",
    [
        integer(1) + loss_mmod() + integer(2) * 10**6 + integer(3),
        integer(1) + loss_mmod() + integer(1) * 10**6 + integer(3),
        integer(1) + loss_mmod() + integer(2),
        integer(1) + loss_mmod() + integer(-2) + integer(3),
        integer(1) + integer(2**64 - 1) + b"x" * 10**6,
        integer(1) + integer(10**6) + b"x" * 10**6,
        file(loss_mmod(), input_pyramid(1, 2, 3), string("con_4") + integers(2, 10**6, 10**6, 10**6, 10**6)),
        file(loss_mmod(), input_pyramid(1, 2, 3), string("con_4") + integers(2, 16_000_000, 1, 1, 1)),
    ],
    ids=["layers", "tags", "endless", "negative", "string", "long-string", "tensor", "tensor-within-limit"],
)
def test_absurd_counts_are_damage_before_anything_is_made_of_them(data: bytes):
    with pytest.raises(ModelDamaged):
        dat.read_network(data)
