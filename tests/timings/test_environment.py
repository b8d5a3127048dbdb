import importlib.metadata
import platform

import pytest

from peephole.timings.environment import LIBRARIES, cpu_model, here, versions

PI = """processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd08

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


@pytest.mark.parametrize(
    ("info", "board", "model"),
    [
        (
            "processor\t: 0\nmodel\t\t: 158\nmodel name\t: A  Processor(TM)   @ 2 GHz\n\nprocessor\t: 1\n",
            None,
            "A Processor(TM) @ 2 GHz",
        ),
        (PI, None, "Raspberry Pi 4 Model B Rev 1.4 (ARM 0x41/0xd08)"),
        (PI.replace("Model\t", "Other"), "Some Board\0", "Some Board (ARM 0x41/0xd08)"),
        (
            "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd0a\n",
            None,
            "ARM 0x41/0xd05, ARM 0x41/0xd0a",
        ),
    ],
    ids=["x86", "pi", "device tree", "big and little"],
)
def test_the_processors_model(tmp_path, info, board, model):
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc" / "cpuinfo").write_text(info)
    if board:
        (tmp_path / "proc" / "device-tree" / "model").write_text(board)
    assert cpu_model(tmp_path) == model


def test_a_system_that_does_not_tell(tmp_path):
    assert isinstance(cpu_model(tmp_path / "without"), str)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("")
    assert cpu_model(tmp_path) == platform.machine()


def test_the_runtime_says_its_version_and_precision():
    installed = importlib.metadata.version("onnxruntime")
    assert here("onnxruntime").runtime == f"onnxruntime {installed}"
    assert here("onnxruntime").threads >= 1
    assert here("openvino", "bfloat16", 3).runtime.endswith(" bfloat16")
    assert here("openvino", "bfloat16", 3).threads == 3
    assert (here().runtime, here().threads) == ("", 0)


def test_one_process_is_one_run():
    assert here().run == here("onnxruntime").run


def test_libraries_that_are_not_installed_are_left_out():
    assert set(versions()) <= {"python", "peephole", *LIBRARIES}
    assert "numpy" in versions()
