"""ONNX Runtime sessions, opened one way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import ModelDamaged
from ..memory import usable_cpus


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

        options = ort.SessionOptions()
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
