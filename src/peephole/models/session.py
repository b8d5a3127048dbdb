"""One ONNX graph, opened to be run on the CPU: by ONNX Runtime, or by OpenVINO where it is installed."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import ModelDamaged, OutOfMemory, PeepholeError, UsageError
from ..memory import usable_cpus


@functools.cache
def _share_arena() -> None:
    """Let all sessions of the process take their buffers from one arena, in which one block follows the other.

    The next session reuses what the last one has let go. By default each has an arena of its own; and an arena that
    begins small grows by regions, into whose ends the next larger buffer does not fit.
    """
    import onnxruntime as ort

    kind, cpu = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    one_region = ort.OrtArenaCfg({"arena_extend_strategy": 0, "initial_chunk_size_bytes": ARENA})
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, cpu), one_region)


ARENA = 128 * 2**20
"""Bytes of address space that the arena begins with; only what is used of it takes memory."""
RUNTIMES = ("onnxruntime", "openvino")
PRECISIONS = ("float32", "bfloat16")


class Runnable(Protocol):
    """An opened graph."""

    def run(self, *data: NDArray[Any]) -> NDArray[Any]:
        """The graph's inputs in its own order → its first output."""
        ...

    def run_all(self, *data: NDArray[Any]) -> list[NDArray[Any]]:
        """The graph's inputs in its own order → all its outputs, likewise."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the networks, and how.

    Attributes:
        name: one of `RUNTIMES`.
        precision: one of `PRECISIONS`; bfloat16 only in OpenVINO, and where the processor has it.
        threads: how many compute threads; None for one a processor that this process may use.
    """

    name: str = "onnxruntime"
    precision: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.name not in RUNTIMES:
            raise UsageError(f"there is no runtime {self.name!r}; choose one of {', '.join(RUNTIMES)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"there is no precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        if self.name == "onnxruntime" and self.precision != "float32":
            raise UsageError(f"onnxruntime computes in float32 here; {self.precision} needs the runtime openvino")

    def open(self, path: Path) -> Runnable:
        """Open a graph.

        Raises:
            UsageError: OpenVINO is not installed, or the processor lacks the precision.
            ModelDamaged: the runtime does not accept the file.
        """
        if self.name == "openvino":
            return OpenVinoSession(path, precision=self.precision, threads=self.threads)
        return Session(path, threads=self.threads)


ONNXRUNTIME = Runtime()


TELEMETRY = "openvino_telemetry"


def _openvino() -> Any:
    """OpenVINO's module, imported without its telemetry.

    Its import alone would write a client's number into the user's home and send an event to Google Analytics. Where the
    package for that is missing, OpenVINO has a stub in its place.

    Raises:
        UsageError: it is not installed.
    """
    absent = TELEMETRY not in sys.modules
    if absent:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # as import has it for what must not be found
    try:
        import openvino
    except ImportError as error:
        raise UsageError("the runtime openvino is not installed: pip install 'peephole[openvino]'") from error
    finally:
        if absent:
            del sys.modules[TELEMETRY]
    return openvino


class OpenVinoSession:
    """One ONNX graph, in OpenVINO on the CPU; compiled anew for each shape, of which few are kept."""

    KEPT = 4

    def __init__(self, path: Path, *, precision: str = "float32", threads: int | None = None) -> None:
        """Read a graph; see `Runtime.open`."""
        self._core = _openvino().Core()
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError("this processor does not compute in bfloat16")
        self._options = {
            "INFERENCE_NUM_THREADS": threads or usable_cpus(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = self._core.read_model(str(path))
        except RuntimeError as error:
            raise ModelDamaged(f"OpenVINO cannot open {path}: {error}") from error
        self._path = path
        self._compiled: dict[tuple[tuple[int, ...], ...], Any] = {}

    def run(self, *data: NDArray[Any]) -> NDArray[Any]:
        """See `Session.run`."""
        return self.run_all(*data)[0]

    def run_all(self, *data: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Session.run_all`."""
        shapes = tuple(array.shape for array in data)
        try:
            if shapes not in self._compiled:
                while len(self._compiled) >= self.KEPT:
                    del self._compiled[next(iter(self._compiled))]
                self._model.reshape(dict(enumerate(shapes)))
                model = self._core.compile_model(self._model, "CPU", self._options)
                self._compiled[shapes] = model.create_infer_request()
            request = self._compiled[shapes]
            request.infer(dict(enumerate(data)), share_inputs=True)
        except RuntimeError as error:
            raise _translated(error, f"OpenVINO cannot run {self._path}") from error
        return [request.get_output_tensor(index).data.copy() for index in range(len(self._model.outputs))]


class Session:
    """One ONNX graph, in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Open a graph.

        Args:
            path: the ``.onnx`` file; its hash is the caller's business.
            threads: how many compute threads; by default one a processor that this process may use.

        Raises:
            ModelDamaged: ONNX Runtime does not accept the file.
            OutOfMemory: there is no memory for it.
        """
        import onnxruntime as ort

        _share_arena()
        options = ort.SessionOptions()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # A pattern is a second block as large as all the buffers of a run, beside those of the first run.
        options.enable_mem_pattern = False
        # Threads that spin while they wait gain nothing here and take processor time from everybody else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = threads or usable_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors come as exceptions: no word of its own on standard error
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base but Exception
            raise _translated(error, f"ONNX Runtime cannot open {path}") from error
        self._path = path
        self._inputs: list[str] = [each.name for each in self._session.get_inputs()]

    def run(self, *data: NDArray[Any]) -> NDArray[Any]:
        """The graph's inputs in its own order → its first output.

        Raises:
            OutOfMemory: there is no memory for what comes between input and output.
            ModelDamaged: the graph does not run on them.
        """
        return self.run_all(*data)[0]

    def run_all(self, *data: NDArray[Any]) -> list[NDArray[Any]]:
        """The graph's inputs in its own order → all its outputs, likewise; see `run`."""
        named = dict(zip(self._inputs, data, strict=True))
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, named)
        except Exception as error:
            raise _translated(error, f"ONNX Runtime cannot run {self._path}") from error
        return outputs


_NO_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")
"""Words of ONNX Runtime's arena and of C++: its exceptions have no type for it."""


def _translated(error: Exception, what: str) -> PeepholeError:
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return OutOfMemory("there is not enough memory to look at it at this scale")
    return ModelDamaged(f"{what}: {error}")
