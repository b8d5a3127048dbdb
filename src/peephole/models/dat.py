"""A reader of dlib's serialized networks (``.dat``): bytes → the layers from input to output, with their weights.

dlib writes a network from the outside in: first one version number for every wrapper (2 for a layer, 1 for a tag
or a skip, 3 for the innermost layer, which holds the input), then the input layer, then the layers in the order
in which data passes them. Which layers a residual sum joins is part of the C++ type and not in the file; but the
version numbers tell where the tags and skips stand, and that is enough to rebuild the graph.

The file is data, not code: every count is checked before it is used, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelDamaged

Weights = NDArray[np.float32]

MAX_WEIGHTS = 16_000_000
"""Most numbers in one tensor, 64 MB: the largest in the face models read here has 590,080; far below what hurts."""
MAX_LAYERS = 1_000
MAX_STRING = 100


@dataclass(frozen=True, slots=True)
class Convolution:
    """Weights (filters, channels, rows, columns), biases (filters,); stride and padding as (y, x) pixels."""

    weights: Weights
    biases: Weights
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Affine:
    """Per channel ``gamma · x + beta``; a batch normalisation comes folded into one."""

    gamma: Weights
    beta: Weights


@dataclass(frozen=True, slots=True)
class Relu:
    """``max(x, 0)``."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Window, stride and padding as (y, x) pixels; a window of (0, 0) takes the whole map."""

    kind: Literal["max", "average"]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tag:
    """Remember the data that passes here."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Go on from the data that the tag before the last one remembered."""


@dataclass(frozen=True, slots=True)
class AddTagged:
    """Add what a tag remembered: the last tag's data, or what came in before the last `Skip`."""


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """Weights (inputs, outputs), no biases."""

    weights: Weights


Layer = Convolution | Affine | Relu | Pool | Tag | Skip | AddTagged | FullyConnected


@dataclass(frozen=True, slots=True)
class Window:
    """What an MMOD detector's header says of its boxes: sizes in pixels, overlaps 0 to 1."""

    width: int
    height: int
    nms_overlap: float
    nms_covered: float


@dataclass(frozen=True, slots=True)
class Network:
    """A network read from a ``.dat`` file.

    Attributes:
        mean: what is taken off red, green and blue (0 to 255) before dividing by 256.
        input_size: (rows, columns) where the input layer fixes them.
        window: the detector's box, where the loss layer has one.
        layers: from input to output.
    """

    mean: tuple[float, float, float]
    input_size: tuple[int, int] | None
    window: Window | None
    layers: tuple[Layer, ...]


def read_network(data: bytes) -> Network:
    """Parse a ``.dat`` file's bytes.

    Raises:
        ModelDamaged: they are not a network of the kinds read here; the message says at which byte.
    """
    return _Reader(data).network()


class _Reader:
    """A cursor over the bytes; one method for each thing that dlib serializes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fail(self, why: str) -> ModelDamaged:
        return ModelDamaged(f"not a dlib network that can be read, at byte {self.at}: {why}")

    # -- primitives ---------------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise self.fail(f"{count} more bytes are needed, {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """One byte: bit 7 the sign, the low nibble the count of little-endian magnitude bytes; then those."""
        control = self.take(1)[0]
        count = control & 0x0F
        if control & 0x70 or not 1 <= count <= 8:
            raise self.fail(f"{control:#04x} does not begin an integer")
        magnitude = int.from_bytes(self.take(count), "little")
        return -magnitude if control & 0x80 else magnitude

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def expect(self, value: int, what: str) -> None:
        found = self.integer()
        if found != value:
            raise self.fail(f"{what} should be {value}, not {found}")

    def real(self) -> float:
        """An integer mantissa, then an integer exponent of two."""
        mantissa, exponent = self.integers(2)
        if not -1100 <= exponent <= 1000:
            raise self.fail(f"{exponent} is no exponent of a number")
        return mantissa * 2.0**exponent

    def string(self) -> str:
        length = self.integer()
        if not 0 <= length <= MAX_STRING:
            raise self.fail(f"a name of {length} bytes")
        return self.take(length).decode("latin-1")

    def booleans(self, count: int) -> None:
        flags = self.take(count)
        if any(flag not in b"01" for flag in flags):
            raise self.fail(f"{flags!r} are not {count} flags")

    def tensor(self) -> Weights:
        """The integer 2, four dimensions, then raw little-endian float32; (n, k, rows, columns)."""
        self.expect(2, "a tensor's version")
        shape = self.integers(4)
        count = int(np.prod([max(size, 0) for size in shape], dtype=object))
        if min(shape) < 0 or max(shape) > MAX_WEIGHTS or count > MAX_WEIGHTS or (not count and any(shape)):
            raise self.fail(f"a tensor of {shape}")
        return np.frombuffer(self.take(4 * count), "<f4").reshape(shape)

    def alias(self) -> tuple[int, int, int, int]:
        """A view into a tensor: the integer 1, then four dimensions."""
        self.expect(1, "an alias's version")
        n, k, rows, columns = self.integers(4)
        return n, k, rows, columns

    def pair(self) -> tuple[int, int]:
        y, x = self.integers(2)
        return y, x

    # -- the file -----------------------------------------------------------------------------------------------

    def network(self) -> Network:
        self.expect(1, "the file's version")
        window = self.loss()
        structure = self.structure()
        mean, input_size = self.input()
        layers: list[Layer] = []
        for position, version in enumerate(structure):
            if version == 1:
                double = layers and isinstance(layers[-1], Tag)
                layers.append(Skip() if double else Tag())
                continue
            layers.append(self.layer())
            self.trailer(innermost=position == 0)
        if self.at != len(self.data):
            raise self.fail(f"{len(self.data) - self.at} bytes are left over")
        return Network(mean, input_size, window, tuple(layers))

    def loss(self) -> Window | None:
        name = self.string()
        if name == "loss_metric_2":
            self.real(), self.real()  # margin and threshold of the training
            return None
        if name != "loss_mmod_":
            raise self.fail(f"a network that ends in {name!r}")
        self.expect(1, "the detector options' version")
        width, height = self.pair()
        self.real(), self.real(), self.real()  # of the training: the two losses, the overlap that is a match
        nms_overlap, nms_covered = self.real(), self.real()
        self.real(), self.real()  # of the training: the overlap with an ignored box
        if not (0 < width <= 1000 and 0 < height <= 1000 and 0 <= nms_overlap <= 1 and 0 <= nms_covered <= 1):
            raise self.fail(f"a {width}x{height} window with overlaps {nms_overlap} and {nms_covered}")
        return Window(width, height, nms_overlap, nms_covered)

    def structure(self) -> list[int]:
        """One version a wrapper, from input to output: 2 a layer, 1 a tag or a skip; the first is the innermost."""
        versions = [self.integer()]
        while versions[-1] != 3:
            if versions[-1] not in (1, 2) or len(versions) > MAX_LAYERS:
                raise self.fail(f"a wrapper of version {versions[-1]} at depth {len(versions)}")
            versions.append(self.integer())
        return versions[::-1]

    def input(self) -> tuple[tuple[float, float, float], tuple[int, int] | None]:
        name = self.string()
        if name not in ("input_rgb_image_pyramid", "input_rgb_image_sized"):
            raise self.fail(f"a network that begins with {name!r}")
        mean = (self.real(), self.real(), self.real())
        return mean, self.pair() if name == "input_rgb_image_sized" else None

    def trailer(self, *, innermost: bool) -> None:
        """What every layer ends with: flags and tensors of the training."""
        self.booleans(3)
        for _ in range(3):
            self.tensor()
        if innermost:
            self.expect(1, "the sample expansion")

    # -- layers -------------------------------------------------------------------------------------------------

    def layer(self) -> Layer:
        readers: dict[str, Callable[[], Layer]] = {
            "con_4": self.convolution,
            "bn_con2": self.batch_normalisation,
            "affine_": self.affine,
            "relu_": Relu,
            "max_pool_2": lambda: self.pool("max"),
            "avg_pool_2": lambda: self.pool("average"),
            "add_prev_": AddTagged,
            "fc_2": self.fully_connected,
        }
        name = self.string()
        if name not in readers:
            raise self.fail(f"a layer {name!r}")
        return readers[name]()

    def convolution(self) -> Convolution:
        params = self.tensor().ravel()
        filters, rows, columns = self.integers(3)
        stride, padding = self.pair(), self.pair()
        shape, biases = self.alias(), self.alias()
        for _ in range(4):
            self.real()  # learning rates and weight decays
        count = int(np.prod(shape, dtype=object))
        if (shape[0], *shape[2:]) != (filters, rows, columns) or biases != (1, filters, 1, 1):
            raise self.fail(f"filters {shape} and biases {biases} in a convolution to {filters} of {rows}x{columns}")
        if min(shape) < 1 or len(params) != count + filters or min(stride) < 1 or min(padding) < 0:
            raise self.fail(f"{len(params)} weights in a convolution of {shape}, stride {stride}, padding {padding}")
        return Convolution(params[:count].reshape(shape), params[count:], stride, padding)

    def batch_normalisation(self) -> Affine:
        params = self.tensor().ravel().astype(np.float64)
        self.alias(), self.alias()
        self.tensor(), self.tensor()  # means and inverse deviations of the last batch
        means, variances = self.tensor().ravel(), self.tensor().ravel()
        self.integers(2)  # updates, and the window of the running averages
        for _ in range(4):
            self.real()  # learning rates and weight decays
        epsilon = self.real()
        n = len(means)
        spread = variances.astype(np.float64) + epsilon
        if len(params) != 2 * n or len(variances) != n or not np.all(spread > 0):
            raise self.fail(f"{len(params)} parameters in a normalisation of {n} channels")
        with np.errstate(all="ignore"):  # what does not fit comes out as no finite number
            scale = params[:n] / np.sqrt(spread)
            gamma, beta = scale.astype(np.float32), (params[n:] - scale * means).astype(np.float32)
        if not (np.isfinite(gamma).all() and np.isfinite(beta).all()):
            raise self.fail("a normalisation by numbers that are not finite")
        return Affine(gamma, beta)

    def affine(self) -> Affine:
        params = self.tensor().ravel()
        gamma, _ = self.alias(), self.alias()
        self.integer()  # per channel or per pixel
        n = gamma[1]
        if gamma != (1, n, 1, 1) or len(params) != 2 * n:
            raise self.fail(f"{len(params)} parameters in an affine layer of {gamma}")
        return Affine(params[:n], params[n:])

    def pool(self, kind: Literal["max", "average"]) -> Pool:
        window, stride, padding = self.pair(), self.pair(), self.pair()
        if min(window) < 0 or min(stride) < 1 or min(padding) < 0:
            raise self.fail(f"a pool of {window}, stride {stride}, padding {padding}")
        return Pool(kind, window, stride, padding)

    def fully_connected(self) -> FullyConnected:
        outputs, inputs = self.integers(2)
        params = self.tensor()
        self.alias(), self.alias()
        self.expect(1, "the fully connected layer's bias mode (1: none)")
        for _ in range(4):
            self.real()  # learning rates and weight decays
        if params.shape != (inputs, outputs, 1, 1):
            raise self.fail(f"weights {params.shape} in a layer from {inputs} to {outputs}")
        return FullyConnected(params.reshape(inputs, outputs))
