"""ONNX Runtime sessions, opened one way."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelDamaged
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
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base but Exception
            raise ModelDamaged(f"ONNX Runtime cannot open {path}: {error}") from error
        self._inputs: list[str] = [each.name for each in self._session.get_inputs()]

    def run(self, *data: NDArray[Any]) -> NDArray[Any]:
        """The graph's inputs in its own order → its output."""
        output: NDArray[Any] = self._session.run(None, dict(zip(self._inputs, data, strict=True)))[0]
        return output
