"""Everything that parses what others wrote: what it is handed, what it may raise, and sound input to begin from."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from datfiles import RECOGNIZER, SMALL
from networks import DECLARATION, network
from peephole import __version__
from peephole.declaration import read_declaration
from peephole.errors import FrameError, ModelError, UsageError, WorkerProtocolError
from peephole.faces import Faces
from peephole.frame import snapshot
from peephole.headers import read_header
from peephole.match import SFACE_RULE
from peephole.models import dat, folded, graphs, store, yunet
from peephole.models.input import Input
from peephole.pipeline import Scale
from peephole.quality import Quality
from peephole.worker import messages
from peephole.worker.confine import Confinement
from peephole.worker.messages import KINDS, Cut, Cutting, Draw, Drawn, Failed, Identity, Look, Picture, Ready, Start


@dataclass(frozen=True)
class Parser:
    """One that parses.

    Attributes:
        run: hands it bytes.
        raises: what it may raise; nothing else.
        seeds: what it takes.
        mutate: changes what it takes so that its form stays right, where chance alone would not get far.
    """

    run: Callable[[bytes], object]
    raises: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[random.Random, bytes], bytes] | None = None


def _dat(data: bytes) -> None:
    parsed = dat.read_network(data)
    for build in (graphs.mmod, graphs.resnet):
        with contextlib.suppress(ModelError):
            build(parsed)


def _message(data: bytes) -> None:
    stream = io.BytesIO(data)
    while (message := messages.read(stream.read)) is not None:
        if isinstance(message, Failed):
            message.error()


MESSAGES = (
    Start(__version__, None, "resnet", "classic", None, "256MiB", "onnxruntime", "float32", True),
    Ready("1", {"a": "b"}, Identity("sface", "c", "cosine", 128, 0.3, SFACE_RULE), 5, "asked", 6, Confinement()),
    Look(Picture("file", "a.jpg"), Scale(min_face=40.5), None, 90, True, True, 2**28),
    Draw(Picture("encoded", "-"), 2, Faces(np.ones((1, 4)), np.ones(1), np.ones((1, 5, 2))), "out.jpg"),
    Drawn("no space left"),
    Cut(Picture("pixels", "a", (4, 5)), 1, Faces()),
    Cutting(b"\x89PNG", None, "none", (1.0, 2.0, 3.0, 4.0), "a.jpg", "d" * 64, Quality(*[0.5] * 8)),
    Failed("budget-too-small", "cut off", 7, {"decode": 1.5}),
)


def _messages() -> list[bytes]:
    """One of each, and the frame of each kind of message around nothing."""
    empty = [
        messages.HEADER.pack(b"PEEP", messages.VERSION, kind, 0, 2, 8) + b"{}" + bytes(8) for kind in range(len(KINDS))
    ]
    return [messages.encode(each) for each in MESSAGES] + empty


STRANGE = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    1e308,
    -1e-308,
    float("nan"),
    "",
    "file",
    "none",
    "a" * 300,
    [],
    {},
    ["<f8", 1],
)


def _message_changed(dice: random.Random, data: bytes) -> bytes:
    """A message with one of its values changed, taken out, doubled or put in another's place, in a frame that fits."""
    size = messages.HEADER.size
    try:
        *_, kind, _, length, _ = messages.HEADER.unpack(data[:size])
        said, raw = json.loads(data[size : size + length]), data[size + length :]
    except (struct.error, ValueError):
        return data
    places: list[tuple[Any, Any]] = []
    rest = [said]
    while rest:
        inner = rest.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        places += [(inner, key) for key in keys]
        rest += [inner[key] for key in keys]
    for _ in range(dice.choice((1, 1, 3)) if places else 0):
        inner, key = dice.choice(places)
        other, its = dice.choice(places)
        with contextlib.suppress(LookupError, ValueError, RecursionError):  # it may hold itself by now
            new = (*STRANGE, other[its], json.loads(json.dumps([inner[key]] * 2)))
            inner[key] = dice.choice(new)
            if dice.random() < 0.1:
                del inner[key]
    try:
        text = json.dumps(said).encode()
    except (ValueError, RecursionError):
        return data
    kind = kind if dice.random() < 0.9 else dice.randrange(256)
    return messages.HEADER.pack(b"PEEP", messages.VERSION, kind, 0, len(text), len(raw)) + text + raw


def _toml(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read_declaration(Path(file.name))


DECLARATIONS = (
    DECLARATION,
    'side = 112\nmean = [1, 2.5, 3]\nscale = 1e-2\ncolor = "bgr"\nsimilarity = "euclidean"\nthreshold = 1\nmargin = 0\n'
    "dimensions = 128\ntemplate = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]\n",
    DECLARATION + 'template = "arcface"\n',
)


SEEN = Input(4, color="bgr", mean=(1.0, 2.0, 3.0))


def _onnx(data: bytes) -> None:
    folded.recognizer(data, SEEN)


def _networks() -> list[bytes]:
    """Small ones, one of them with weights in blocks of bytes and a graph inside a node."""
    blocks = helper.make_node("DequantizeLinear", ["bytes", "scales", "zeros"], ["reals"], axis=0, block_size=2)
    shaped = helper.make_node("Reshape", ["reals", "shape"], ["weights"])
    inner = helper.make_graph([helper.make_node("Identity", ["weights"], ["kept"])], "inner", [], [])
    branch = helper.make_node("If", ["yes"], ["kept"], then_branch=inner, else_branch=inner)
    packed = network(side=4, extra=[helper.make_node("PRelu", ["out", "slope"], ["end"]), branch], output="end")
    constants = {
        "bytes": np.zeros((48, 8), np.int8),
        "scales": np.ones((24, 8), np.float32),
        "zeros": np.zeros((24, 8), np.int8),
        "shape": np.array([48, 8]),
        "slope": np.ones(8, np.float32),
        "yes": np.array(True),
    }
    del packed.graph.initializer[:]
    packed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    packed.graph.node.insert(0, shaped)
    packed.graph.node.insert(0, blocks)
    made = network(side=4), network(side=4, channels_last=True, batch="n"), packed
    return [each.SerializeToString() for each in made]


def _network_changed(dice: random.Random, data: bytes) -> bytes:
    """A network with nodes or constants changed: names, kinds, shapes, attributes, what there is of each."""
    try:
        model = onnx.load_model_from_string(data)
        for _ in range(dice.choice((1, 1, 3))):
            if model.graph.initializer and dice.random() < 0.4:
                _constant_changed(dice, dice.choice(model.graph.initializer))
            elif model.graph.node:
                _node_changed(dice, dice.choice(model.graph.node), dice.choice(model.graph.node))
        return bytes(model.SerializeToString())
    except Exception:  # noqa: BLE001 - protobuf's share no base; names may be no text by now
        return data


def _constant_changed(dice: random.Random, tensor: Any) -> None:
    what = dice.randrange(4)
    if what == 0 and tensor.dims:
        tensor.dims[dice.randrange(len(tensor.dims))] = dice.choice((-1, 0, 1, 2, 3, 2**31, 2**62))
    elif what == 1:
        tensor.data_type = dice.randrange(30)
    elif what == 2:
        tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data) + 1)]
    else:
        del tensor.dims[dice.randrange(len(tensor.dims) + 1) :]


def _node_changed(dice: random.Random, node: Any, other: Any) -> None:
    names, what = dice.choice((node.input, node.output)), dice.randrange(5)
    if what == 0:
        node.op_type = dice.choice(("Conv", "MaxPool", "Resize", "Reshape", "DequantizeLinear", "PRelu", "If", ""))
    elif what == 1:
        del names[dice.randrange(len(names) + 1) :]
    elif what == 2 and names:
        names[dice.randrange(len(names))] = dice.choice([*names, *other.output, "", "?"])
    elif what == 3 and node.attribute:
        attribute = dice.choice(node.attribute)
        attribute.i, attribute.type = dice.choice((-1, 0, 2**40)), dice.randrange(15)
        del attribute.ints[dice.randrange(len(attribute.ints) + 1) :]
    else:
        names.extend(other.output)


def _picture(data: bytes) -> None:
    read_header(data)
    snapshot(data)


def _pictures() -> list[bytes]:
    from mutations import bases

    return [data[:600] for data in bases().values()]


PARSERS = {
    "dat": Parser(_dat, (ModelError,), lambda: [SMALL, RECOGNIZER]),
    "messages": Parser(_message, (WorkerProtocolError,), _messages, _message_changed),
    "declaration": Parser(_toml, (UsageError,), lambda: [each.encode() for each in DECLARATIONS]),
    "onnx": Parser(_onnx, (ModelError,), _networks, _network_changed),
    "yunet": Parser(yunet.build, (ModelError,), lambda: [store.locate(store.YUNET).read_bytes()], _network_changed),
    "headers": Parser(_picture, (FrameError,), _pictures),
}


def tried(name: str, data: bytes) -> None:
    """Hand bytes to a parser; whatever it raises that it may not comes through."""
    parser = PARSERS[name]
    with contextlib.suppress(*parser.raises):
        parser.run(data)
