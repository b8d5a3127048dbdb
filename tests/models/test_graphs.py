"""The ONNX graphs against a slow NumPy reference in double precision, and the recognizer's against dlib's own code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from numpy.typing import NDArray
from PIL import Image

from peephole.errors import ModelDamaged
from peephole.frame import Frame
from peephole.models import dat, graphs, store
from peephole.models.session import Session

Array = NDArray[np.float64]
Open = Callable[[bytes], Session]

MEAN = (122.5, 117.25, 104.0)
WINDOW = dat.Window(80, 80, 0.3, 1.0)


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_graph(data: bytes) -> Session:
        path = tmp_path / "graph.onnx"
        path.write_bytes(data)
        return Session(path, threads=1)

    return open_graph


# -- the reference: one loop a thing, all of it in float64 ------------------------------------------------------


def convolved(data: Array, layer: dat.Convolution) -> Array:
    filters, channels, rows, columns = layer.weights.shape
    (sy, sx), (py, px) = layer.stride, layer.padding
    assert data.shape[0] == channels
    padded = np.pad(data, ((0, 0), (py, py), (px, px)))
    height, width = (padded.shape[1] - rows) // sy + 1, (padded.shape[2] - columns) // sx + 1
    out = np.zeros((filters, height, width))
    for y in range(height):
        for x in range(width):
            part = padded[:, y * sy : y * sy + rows, x * sx : x * sx + columns]
            for f in range(filters):
                out[f, y, x] = (part * layer.weights[f]).sum() + layer.biases[f]
    return out


def pooled(data: Array, layer: dat.Pool) -> Array:
    """As dlib pools: only the part of a window that lies within the map counts."""
    (sy, sx), (py, px) = layer.stride, layer.padding
    rows, columns = layer.window if layer.window != (0, 0) else data.shape[1:]
    height, width = (data.shape[1] + 2 * py - rows) // sy + 1, (data.shape[2] + 2 * px - columns) // sx + 1
    out = np.zeros((len(data), height, width))
    for y in range(height):
        for x in range(width):
            top, left = y * sy - py, x * sx - px
            part = data[:, max(top, 0) : top + rows, max(left, 0) : left + columns]
            out[:, y, x] = part.max((1, 2)) if layer.kind == "max" else part.mean((1, 2))
    return out


def added(one: Array, other: Array) -> Array:
    total = np.zeros(np.maximum(one.shape, other.shape))
    for each in (one, other):
        total[: each.shape[0], : each.shape[1], : each.shape[2]] += each
    return total


def reference(network: dat.Network, pixels: NDArray[np.uint8]) -> Array:
    """(height, width, 3) pixels through the network, layer by layer, nothing folded."""
    data = (pixels.astype(np.float64) - network.mean).transpose(2, 0, 1) / 256
    remembered: list[Array] = []
    for layer in network.layers:
        match layer:
            case dat.Convolution():
                data = convolved(data, layer)
            case dat.Affine():
                data = data * layer.gamma[:, None, None].astype(float) + layer.beta[:, None, None]
            case dat.Relu():
                data = np.maximum(data, 0)
            case dat.Pool():
                data = pooled(data, layer)
            case dat.Tag():
                remembered.append(data)
            case dat.Skip():
                data = remembered[-2]
            case dat.AddTagged():
                data = added(data, remembered[-1])
            case dat.FullyConnected():
                data = data.ravel() @ layer.weights
    return data


def convolution(
    rng: np.random.Generator, filters: int, channels: int, size: int, stride: int = 1, padding: int = 0
) -> dat.Convolution:
    weights = rng.standard_normal((filters, channels, size, size)) / size / channels**0.5
    biases = rng.standard_normal(filters)
    return dat.Convolution(weights.astype(np.float32), biases.astype(np.float32), (stride, stride), (padding, padding))


def affine(rng: np.random.Generator, channels: int) -> dat.Affine:
    gamma, beta = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    return dat.Affine(gamma.astype(np.float32), beta.astype(np.float32))


def noise(rng: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    return rng.integers(256, size=shape, dtype=np.uint8)


# -- the detector -----------------------------------------------------------------------------------------------


def detector(rng: np.random.Generator) -> dat.Network:
    """Five convolutions, channel counts that are no multiples of anything, every kind of layer there may be."""
    layers = (
        convolution(rng, 4, 3, 5, 2),
        affine(rng, 4),
        dat.Relu(),
        convolution(rng, 6, 4, 3, 2),
        dat.Relu(),
        convolution(rng, 5, 6, 5, 2, padding=1),
        affine(rng, 5),
        dat.Relu(),
        convolution(rng, 17, 5, 3, padding=1),
        affine(rng, 17),
        dat.Relu(),
        convolution(rng, 1, 17, 5, padding=2),
    )
    return dat.Network(MEAN, None, WINDOW, layers)


def planar(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 3) → (1, 3, height, width), as the stem takes them."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]


def scores(built: dict[str, bytes], opened: Open, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return opened(built["tail"]).run(opened(built["stem"]).run(planar(pixels)))


@pytest.mark.parametrize("size", [(29, 29), (64, 75), (101, 33)])
def test_stem_and_tail_match_the_reference(rng: np.random.Generator, opened: Open, size: tuple[int, int]):
    network = detector(rng)
    pixels = noise(rng, *size, 3)
    found = scores(graphs.mmod(network), opened, pixels)
    wanted = reference(network, pixels)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert found == pytest.approx(wanted, abs=1e-4)


def test_stem_alone_matches_the_reference(rng: np.random.Generator, opened: Open):
    network = detector(rng)
    pixels = noise(rng, 40, 51, 3)
    found = opened(graphs.mmod(network)["stem"]).run(planar(pixels))
    assert found[0] == pytest.approx(reference(replace(network, layers=network.layers[:8]), pixels), abs=1e-4)


def test_the_mean_colour_is_zero_to_the_network(rng: np.random.Generator, opened: Open):
    network = replace(detector(rng), mean=(120.0, 110.0, 100.0))
    pixels = np.full((40, 40, 3), (120, 110, 100), np.uint8)
    first = network.layers[0].biases * network.layers[1].gamma + network.layers[1].beta
    alone = dat.Network(network.mean, None, None, (*network.layers[:2],))
    assert reference(alone, pixels)[:, 0, 0] == pytest.approx(first, abs=1e-6)
    assert scores(graphs.mmod(network), opened, pixels) == pytest.approx(reference(network, pixels), abs=1e-4)


def test_widening_changes_no_score(rng: np.random.Generator, opened: Open, monkeypatch: pytest.MonkeyPatch):
    network = detector(rng)
    pixels = noise(rng, 70, 80, 3)
    wide = graphs.mmod(network)
    monkeypatch.setattr(graphs, "WIDTH_MULTIPLE", 1)
    narrow = graphs.mmod(network)
    assert scores(wide, opened, pixels) == pytest.approx(scores(narrow, opened, pixels), abs=1e-5)


def test_widening_fills_channels_up_to_multiples_of_16(rng: np.random.Generator):
    tail = onnx.load_from_string(graphs.mmod(detector(rng))["tail"])
    shapes = [list(weights.dims) for weights in tail.graph.initializer if len(weights.dims) == 4]
    # The head of 5 x 5 is in two: its five columns, a filter each, and their sum.
    assert shapes == [[32, 5, 3, 3], [16, 32, 5, 1], [16, 16, 1, 5]]


@pytest.mark.parametrize(("rows", "columns"), [(9, 9), (5, 5), (3, 7), (5, 1), (1, 5)])
def test_a_head_in_two_is_the_same_head(rng: np.random.Generator, rows: int, columns: int):
    weights, biases = rng.standard_normal((1, 4, rows, columns), np.float32), np.float32([0.7])
    head = dat.Convolution(weights, biases, (1, 1), (rows // 2, columns // 2))
    by_column, summed = graphs._split(head)
    assert by_column.weights.shape == (columns, 4, rows, 1)
    assert summed.weights.shape == (1, columns, 1, columns)
    data = rng.standard_normal((4, 11, 12))
    assert convolved(convolved(data, by_column), summed) == pytest.approx(convolved(data, head), abs=1e-4)


def test_the_published_head_is_nine_columns_and_their_sum():
    tail = onnx.load_from_string(graphs.mmod(dat.read_network(store.locate(store.MMOD).read_bytes()))["tail"])
    shapes = [list(weights.dims) for weights in tail.graph.initializer if len(weights.dims) == 4]
    assert shapes[-2:] == [[16, 48, 9, 1], [16, 16, 1, 9]]
    filters = next(weights for weights in tail.graph.initializer if list(weights.dims) == [16, 48, 9, 1])
    used = np.abs(onnx.numpy_helper.to_array(filters)).max((2, 3)) > 0
    assert used[:9, :45].all()
    assert not used[9:].any()
    assert not used[:, 45:].any()


def test_folding_leaves_the_network_as_it_was(rng: np.random.Generator):
    network = detector(rng)
    before = network.layers[0].weights.copy()
    graphs.mmod(network)
    assert np.array_equal(network.layers[0].weights, before)


# -- the recognizer ---------------------------------------------------------------------------------------------


def recognizer(rng: np.random.Generator, rows: int = 37, columns: int = 42) -> dat.Network:
    """A plain block, then one that halves the map and adds channels, so that its sum has sides to fill."""
    layers = (
        convolution(rng, 6, 3, 3, 2),
        affine(rng, 6),
        dat.Relu(),
        dat.Pool("max", (3, 3), (2, 2), (0, 0)),
        dat.Tag(),
        convolution(rng, 6, 6, 3, padding=1),
        affine(rng, 6),
        dat.Relu(),
        convolution(rng, 6, 6, 3, padding=1),
        affine(rng, 6),
        dat.AddTagged(),
        dat.Relu(),
        dat.Tag(),
        convolution(rng, 8, 6, 3, 2),
        affine(rng, 8),
        dat.Relu(),
        convolution(rng, 8, 8, 3, padding=1),
        affine(rng, 8),
        dat.Tag(),
        dat.Skip(),
        dat.Pool("average", (2, 2), (2, 2), (0, 0)),
        dat.AddTagged(),
        dat.Relu(),
        dat.Pool("average", (0, 0), (1, 1), (0, 0)),
        dat.FullyConnected(rng.standard_normal((8, 5), np.float32)),
    )
    return dat.Network(MEAN, (rows, columns), None, layers)


@pytest.mark.parametrize(("rows", "columns"), [(37, 42), (42, 37), (39, 39), (40, 64)])
def test_residual_blocks_match_the_reference(rng: np.random.Generator, opened: Open, rows: int, columns: int):
    network = recognizer(rng, rows, columns)
    chips = noise(rng, 3, rows, columns, 3)
    found = opened(graphs.resnet(network)["embed"]).run(chips)
    assert found.shape == (3, 5)
    assert found == pytest.approx(np.array([reference(network, chip) for chip in chips]), abs=1e-4)


@pytest.mark.parametrize(
    "layer",
    [dat.Pool("max", (3, 2), (2, 1), (1, 1)), dat.Pool("average", (3, 2), (2, 1), (1, 0))],
    ids=["max", "average"],
)
def test_padded_pools_match_the_reference(rng: np.random.Generator, opened: Open, layer: dat.Pool):
    layers = (convolution(rng, 4, 3, 3), layer, dat.Pool("average", (0, 0), (1, 1), (0, 0)))
    last = dat.FullyConnected(rng.standard_normal((4, 3), np.float32))
    network = dat.Network(MEAN, (12, 15), None, (*layers, last))
    chips = noise(rng, 2, 12, 15, 3)
    found = opened(graphs.resnet(network)["embed"]).run(chips)
    assert found == pytest.approx(np.array([reference(network, chip) for chip in chips]), abs=1e-4)


@pytest.fixture(scope="module")
def embed() -> Session:
    return Session(store.prepare(store.RESNET).graphs["embed"], threads=2)


@pytest.fixture(scope="module")
def chips(eileen: Frame, grace: Frame) -> NDArray[np.uint8]:
    """Two of noise, six parts of the portraits cut at random."""
    rng = np.random.default_rng(8)
    cut = [noise(rng, 150, 150, 3), rng.integers(100, 120, (150, 150, 3), dtype=np.uint8)]
    for frame in (eileen, grace) * 3:
        side = int(rng.integers(100, 400))
        x, y = int(rng.integers(frame.width - side)), int(rng.integers(frame.height - side))
        part = Image.fromarray(frame.pixels[y : y + side, x : x + side])
        cut.append(np.asarray(part.resize((150, 150), Image.Resampling.BILINEAR)))
    return np.array(cut)


def test_published_recognizer_matches_dlib(embed: Session, chips: NDArray[np.uint8]):
    import dlib

    model = dlib.face_recognition_model_v1(str(store.locate(store.RESNET)))
    wanted = np.array([model.compute_face_descriptor(chip) for chip in chips])
    found = embed.run(chips)
    assert found.shape == (8, 128)
    assert np.abs(found - wanted).max() <= 1e-4


def test_a_batch_gives_what_each_chip_gives_alone(embed: Session, chips: NDArray[np.uint8]):
    alone = np.concatenate([embed.run(chip[None]) for chip in chips])
    assert np.abs(embed.run(chips) - alone).max() <= 1e-5


# -- networks that are something else ---------------------------------------------------------------------------


def tags_removed(layers: tuple[dat.Layer, ...]) -> tuple[dat.Layer, ...]:
    return tuple(layer for layer in layers if not isinstance(layer, dat.Tag))


def test_published_models_do_not_pass_for_each_other():
    one, other = (dat.read_network(store.locate(asset).read_bytes()) for asset in (store.MMOD, store.RESNET))
    with pytest.raises(ModelDamaged, match="not an MMOD detector"):
        graphs.mmod(other)
    with pytest.raises(ModelDamaged, match="not a recognizer"):
        graphs.resnet(one)


RNG = np.random.default_rng(6)
WIDE = convolution(RNG, 7, 5, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda n: replace(n, window=None),
        lambda n: replace(n, layers=()),
        lambda n: replace(n, layers=n.layers[:8]),
        lambda n: replace(n, layers=n.layers[:11]),
        lambda n: replace(n, layers=n.layers[1:]),
        lambda n: replace(n, layers=(dat.Relu(), *n.layers)),
        lambda n: replace(n, layers=(replace(n.layers[0], padding=(1, 1)), *n.layers[1:])),
        lambda n: replace(n, layers=(replace(n.layers[0], stride=(1, 1)), *n.layers[1:])),
        lambda n: replace(n, layers=(*n.layers[:8], replace(n.layers[8], stride=(2, 2)), *n.layers[9:])),
        lambda n: replace(n, layers=(*n.layers, dat.Relu(), n.layers[1])),
        lambda n: replace(n, layers=(*n.layers[:3], dat.Tag(), *n.layers[3:])),
        lambda n: replace(n, layers=(*n.layers[:9], dat.Pool("max", (2, 2), (2, 2), (0, 0)), *n.layers[9:])),
        lambda n: replace(n, layers=(convolution(RNG, 4, 1, 5, 2), *n.layers[1:])),
        lambda n: replace(n, layers=(n.layers[0], affine(RNG, 3), *n.layers[2:])),
        lambda n: replace(n, layers=(*n.layers[:3], convolution(RNG, 6, 3, 3, 2), *n.layers[4:])),
        lambda n: replace(n, layers=(*n.layers[:8], convolution(RNG, 17, 4, 3, 1, 1), *n.layers[9:])),
        lambda n: replace(n, layers=(*n.layers[:-1], convolution(RNG, 1, 12, 5, 1, 2))),
        lambda n: replace(n, layers=(*n.layers[:-1], convolution(RNG, 1, 40, 5, 1, 2))),
        lambda n: replace(n, layers=(*n.layers[:-1], convolution(RNG, 2, 17, 5, 1, 2))),
    ],
    ids=[
        "no-window",
        "empty",
        "no-tail",
        "four-convolutions",
        "affine-first",
        "relu-first",
        "first-padded",
        "first-not-strided",
        "tail-strided",
        "affine-behind-relu",
        "tag",
        "pool",
        "grey-input",
        "affine-of-other-width",
        "stem-channels-do-not-match",
        "tail-channels-do-not-match",
        "fewer-last-channels",
        "more-last-channels",
        "two-scores-a-cell",
    ],
)
def test_misfit_detectors_are_refused(rng: np.random.Generator, change: Callable[[dat.Network], dat.Network]):
    with pytest.raises(ModelDamaged):
        graphs.mmod(change(detector(rng)))


@pytest.mark.parametrize(
    "change",
    [
        lambda n: replace(n, input_size=None),
        lambda n: replace(n, layers=()),
        lambda n: replace(n, layers=n.layers[:-1]),
        lambda n: replace(n, layers=n.layers[:1]),
        lambda n: replace(n, layers=n.layers[4:]),
        lambda n: replace(n, layers=tags_removed(n.layers)),
        lambda n: replace(n, layers=(*n.layers[:1], dat.Tag(), dat.Skip(), *n.layers[23:])),
        lambda n: replace(n, layers=(*n.layers[:4], affine(RNG, 6), *n.layers[4:])),
        lambda n: replace(n, layers=(*n.layers[:5], convolution(RNG, 6, 5, 3, 1, 1), *n.layers[6:])),
        lambda n: replace(n, layers=(*n.layers[:6], affine(RNG, 5), *n.layers[7:])),
        lambda n: replace(n, layers=(*n.layers[:-1], dat.FullyConnected(np.ones((9, 5), np.float32)))),
        lambda n: replace(n, layers=(*n.layers[:-2], n.layers[-1])),
        lambda n: replace(n, layers=(*n.layers, dat.Relu())),
        lambda n: replace(n, input_size=(5, 5)),
        lambda n: replace(n, input_size=(0, -3)),
    ],
    ids=[
        "no-input-size",
        "empty",
        "no-end",
        "one-layer",
        "tag-first",
        "nothing-tagged",
        "skip-behind-one-tag",
        "affine-behind-pool",
        "channels-do-not-match",
        "affine-of-other-width",
        "last-inputs-do-not-match",
        "no-pool-before-the-end",
        "relu-at-the-end",
        "smaller-than-its-windows",
        "no-pixels",
    ],
)
def test_misfit_recognizers_are_refused(rng: np.random.Generator, change: Callable[[dat.Network], dat.Network]):
    with pytest.raises(ModelDamaged):
        graphs.resnet(change(recognizer(rng)))
