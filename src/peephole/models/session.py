"""ONNX Runtime sessions, opened one way."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelDamaged, OutOfMemory, PeepholeError
from ..memory import usable_cpus


@functools.cache
def _share_arena() -> None:
    """Let all sessions of the process take their buffers from one arena that grows by no more than is asked for.

    They never run at the same time, so the next one reuses what the last one has let go. By default each session has
    an arena of its own, grown to the next power of two.
    """
    import onnxruntime as ort

    kind, cpu = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    as_requested = ort.OrtArenaCfg({"arena_extend_strategy": 1})
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, cpu), as_requested)


class Session:
    """One ONNX graph with one output, on the CPU."""

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
        """The graph's inputs in its own order → its output.

        Raises:
            OutOfMemory: there is no memory for what comes between input and output.
            ModelDamaged: the graph does not run on them.
        """
        named = dict(zip(self._inputs, data, strict=True))
        try:
            output: NDArray[Any] = self._session.run(None, named)[0]
        except Exception as error:
            raise _translated(error, f"ONNX Runtime cannot run {self._path}") from error
        return output


_NO_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")
"""Words of ONNX Runtime's arena and of C++: its exceptions have no type for it."""


def _translated(error: Exception, what: str) -> PeepholeError:
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        return OutOfMemory("there is not enough memory to look at it at this scale")
    return ModelDamaged(f"{what}: {error}")
