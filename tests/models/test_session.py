"""ONNX Runtime's errors come out as Peephole's, their cause kept."""

import os
import subprocess
import sys

import numpy as np
import pytest

from peephole.errors import ModelDamaged, OutOfMemory, UsageError
from peephole.models import session, store
from peephole.models.session import Runtime, Session


@pytest.fixture(scope="module")
def stem():
    return Session(store.prepare(store.MMOD).graphs["stem"], threads=1)


class Failing:
    def __init__(self, error):
        self.error = error

    def run(self, *arguments):
        raise self.error


def test_a_graph_gives_its_output(stem):
    output = stem.run(np.zeros((1, 3, 64, 80), np.uint8))
    assert output.dtype == np.float32
    assert output.shape[:2] == (1, 32)


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelDamaged, match=r"cannot open .*a\.onnx") as caught:
        Session(tmp_path / "a.onnx")
    assert caught.value.__cause__ is not None


def test_input_that_does_not_fit_the_graph(stem):
    with pytest.raises(ModelDamaged, match=r"cannot run .*stem\.onnx") as caught:
        stem.run(np.zeros((1, 64, 80, 3), np.float32))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 768000000"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("bad allocation"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out(error):
    opened = Session.__new__(Session)
    opened._session, opened._inputs, opened._path = Failing(error), ["pixels"], "stem.onnx"
    with pytest.raises(OutOfMemory, match="not enough memory") as caught:
        opened.run(np.zeros(1))
    assert caught.value.__cause__ is error


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from peephole.errors import OutOfMemory
from peephole.models import store
from peephole.models.session import Runtime, Session
session = Session(store.prepare(store.RESNET).graphs["embed"], threads=1)
chips = np.zeros((2000, 150, 150, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    session.run(chips)
except OutOfMemory as error:
    print(type(error.__cause__).__module__)
print(session.run(chips[:1]).shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_memory_that_runs_out_for_real_and_the_session_goes_on():
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["onnxruntime.capi.onnxruntime_pybind11_state", "(1, 128)"]


def test_threads_are_counted_where_none_are_given(monkeypatch, tmp_path):
    counted = []
    monkeypatch.setattr(session, "usable_cpus", lambda: counted.append(1) or 1)
    path = store.prepare(store.MMOD).graphs["stem"]
    Session(path, threads=2)
    assert not counted
    Session(path)
    assert counted


@pytest.fixture
def random_pixels(rng):
    return rng.integers(0, 256, (1, 3, 93, 157), np.uint8)


@pytest.mark.usefixtures("openvino")
def test_openvino_gives_the_same_in_float32(random_pixels):
    path = store.prepare(store.MMOD).graphs["stem"]
    ours, theirs = (Runtime(name).open(path).run(random_pixels) for name in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.usefixtures("openvino")
def test_openvino_takes_one_shape_after_the_other_and_keeps_its_answers(random_pixels):
    session = Runtime("openvino").open(store.prepare(store.MMOD).graphs["stem"])
    first = session.run(random_pixels)
    kept = first.copy()
    for side in (29, 37, 45, 53, 61):
        assert session.run(random_pixels[:, :, :side, :side]).shape[2] == (side - 29) // 8 + 1
    session.run(255 - random_pixels)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.run(random_pixels), kept)


def test_bfloat16_needs_openvino():
    with pytest.raises(UsageError, match="bfloat16 needs the runtime openvino"):
        Runtime("onnxruntime", "bfloat16")


@pytest.mark.usefixtures("openvino")
def test_bfloat16_is_near(random_pixels):
    path = store.prepare(store.MMOD).graphs["stem"]
    try:
        half = Runtime("openvino", "bfloat16").open(path).run(random_pixels)
    except UsageError as error:
        pytest.skip(str(error))
    full = Runtime().open(path).run(random_pixels)
    assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()


@pytest.mark.parametrize(("name", "precision"), [("tensorrt", "float32"), ("openvino", "int4")])
def test_what_there_is_not_is_refused_by_name(name, precision):
    with pytest.raises(UsageError, match=r"there is no (runtime 'tensorrt'|precision 'int4'); choose one of"):
        Runtime(name, precision)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_all_outputs_come_in_the_graphs_order(random_pixels, runtime, request):
    if runtime == "openvino":
        request.getfixturevalue("openvino")
    stem = Runtime(runtime).open(store.prepare(store.YUNET).graphs["stem"])
    pixels = random_pixels[:, :1, :64, :144]
    features, maxima, quarter = stem.run_all(pixels)
    assert (features.shape, maxima.shape) == ((1, 64, 8, 6), (1, 64, 4, 3))
    assert (quarter.shape, quarter.dtype) == ((1, 16, 12, 3), np.uint8)
    np.testing.assert_array_equal(maxima, features.reshape(1, 64, 4, 2, 3, 2).max((3, 5)))
    np.testing.assert_array_equal(stem.run(pixels), features)
