"""dlib's ``.dat`` files, written here: as small as the format."""

import math

import numpy as np

from peephole.models import dat


def integer(value: int) -> bytes:
    magnitude = abs(value)
    count = max(1, (magnitude.bit_length() + 7) // 8)
    return bytes([(0x80 if value < 0 else 0) | count]) + magnitude.to_bytes(count, "little")


def integers(*values: int) -> bytes:
    return b"".join(integer(value) for value in values)


def real(value: float) -> bytes:
    fraction, exponent = math.frexp(value)
    return integers(int(fraction * 2**53), exponent - 53)


def string(text: str) -> bytes:
    return integer(len(text)) + text.encode("latin-1")


def tensor(values: np.ndarray | None = None) -> bytes:
    values = np.zeros((0, 0, 0, 0)) if values is None else values
    return integers(2, *values.shape) + values.astype("<f4").tobytes()


def alias(*shape: int) -> bytes:
    return integers(1, *shape)


def flat(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts])[None, :, None, None]


RATES = real(1) * 4


def convolution(layer: dat.Convolution) -> bytes:
    filters, channels, rows, columns = layer.weights.shape
    shapes = alias(filters, channels, rows, columns) + alias(1, filters, 1, 1)
    numbers = integers(filters, rows, columns, *layer.stride, *layer.padding)
    return string("con_4") + tensor(flat(layer.weights, layer.biases)) + numbers + shapes + RATES


def affine(layer: dat.Affine) -> bytes:
    n = len(layer.gamma)
    return string("affine_") + tensor(flat(layer.gamma, layer.beta)) + alias(1, n, 1, 1) * 2 + integer(0)


def normalisation(
    gamma: np.ndarray, beta: np.ndarray, means: np.ndarray, variances: np.ndarray, epsilon: float
) -> bytes:
    n = len(gamma)
    params = tensor(flat(gamma, beta)) + alias(1, n, 1, 1) * 2
    running = tensor() * 2 + tensor(flat(means)) + tensor(flat(variances))
    return string("bn_con2") + params + running + integers(7, 1000) + RATES + real(epsilon)


def pool(layer: dat.Pool) -> bytes:
    name = {"max": "max_pool_2", "average": "avg_pool_2"}[layer.kind]
    return string(name) + integers(*layer.window, *layer.stride, *layer.padding)


def fully_connected(layer: dat.FullyConnected) -> bytes:
    inputs, outputs = layer.weights.shape
    params = tensor(layer.weights[:, :, None, None])
    aliases = alias(inputs, outputs, 1, 1) + alias(0, 0, 0, 0)
    return string("fc_2") + integers(outputs, inputs) + params + aliases + integer(1) + RATES


def loss_mmod(width: int = 80, height: int = 80, overlap: float = 0.3, covered: float = 1.0) -> bytes:
    numbers = [1, 1, 0.5, overlap, covered, 0.5, 1]
    return string("loss_mmod_") + integers(1, width, height) + b"".join(real(number) for number in numbers)


def input_pyramid(*mean: float) -> bytes:
    return string("input_rgb_image_pyramid") + b"".join(real(number) for number in mean)


def input_sized(rows: int, columns: int) -> bytes:
    return string("input_rgb_image_sized") + real(123) + real(117) + real(104) + integers(rows, columns)


def file(loss: bytes, source: bytes, *layers: bytes | None) -> bytes:
    """A network's file; None stands for a tag or a skip, which leave nothing but their version."""
    versions = [3, *(1 if layer is None else 2 for layer in layers[1:])][::-1]
    body = b""
    for position, layer in enumerate(layers):
        if layer is not None:
            body += layer + b"010" + tensor() * 3 + (integer(1) if position == 0 else b"")
    return integer(1) + loss + integers(*versions) + source + body


def a_convolution(seed: int, filters: int, channels: int, stride: int = 1) -> dat.Convolution:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((filters, channels, 3, 2), np.float32)
    return dat.Convolution(weights, rng.standard_normal(filters, np.float32), (stride, stride), (1, 0))


FIRST, SECOND = a_convolution(1, 4, 3, 2), a_convolution(2, 2, 4)
AFFINE = dat.Affine(np.array([0.5, -1.25], np.float32), np.array([3.0, 1e-3], np.float32))
GAMMA, BETA = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, -1.0, 0.5])
MEANS, VARIANCES = np.array([0.5, -0.5, 2.0, 0.0]), np.array([0.99, 3.99, 8.99, 15.99])
NORMALISATION = normalisation(GAMMA, BETA, MEANS, VARIANCES, 0.01)
RELU = string("relu_")

SMALL = file(
    loss_mmod(),
    input_pyramid(122.5, 117.25, 104.0),
    convolution(FIRST),
    NORMALISATION,
    RELU,
    convolution(SECOND),
    affine(AFFINE),
)

LAST = dat.FullyConnected(np.arange(8, dtype=np.float32).reshape(4, 2))
POOLS = dat.Pool("max", (3, 2), (2, 1), (1, 0)), dat.Pool("average", (0, 0), (1, 1), (0, 0))

RECOGNIZER = file(
    string("loss_metric_2") + real(0.04) + real(0.6),
    input_sized(33, 34),
    convolution(FIRST),
    None,
    pool(POOLS[0]),
    None,
    None,
    string("add_prev_"),
    pool(POOLS[1]),
    fully_connected(LAST),
)
