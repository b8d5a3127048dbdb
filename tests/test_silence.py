"""Nothing that Peephole starts speaks to the network, or writes anything but what is Peephole's own.

Each way in runs in a network namespace of its own whose every route leads to its loopback, so that whatever is sent
anywhere is counted there. The namespace denies the worker one of its own, as most containers do.
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSIDE = """
set -e
ip link set lo up
ip route add default dev lo
ip -6 route add default dev lo 2>/dev/null || true
echo 0 > /proc/sys/user/max_net_namespaces
status=0
"$@" >&2 || status=$?
awk '$1 == "lo:" { print $3 }' /proc/net/dev
exit $status
"""
ALONE = ["unshare", "--user", "--map-root-user", "--net", "bash", "-c", INSIDE, "bash"]

LIBRARY = """
import sys
import peephole
for runtime in sys.argv[2:]:
    assert len(peephole.detect(sys.argv[1], runtime=runtime).faces) == 1
"""
WORKER = """
import sys, time
from peephole.worker.host import Options, WorkerHost
with WorkerHost(Options(embed=False)) as host:
    assert host.ready().confinement.network.startswith("shared")
    assert len(host.analyse(sys.argv[1]).faces) == 1
    time.sleep(float(sys.argv[2]))  # seconds
"""
SPEAKS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b"x", ("192.0.2.1", 53))
"""
TESTS = (
    "tests/detectors/test_yunet.py::test_the_three_graphs_say_what_the_files_network_says",
    "tests/models/test_session.py::test_openvino_gives_the_same_in_float32",
)


@pytest.fixture
def alone(tmp_path, cache):
    """Runs Python in such a namespace; how many packets it sent and which files it left behind."""
    if sys.platform != "linux" or not shutil.which("ip"):
        pytest.skip("needs Linux and ip")
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    home = tmp_path / "home"
    folders = {f"XDG_{each}_HOME": str(home / each.lower()) for each in ("CACHE", "CONFIG", "DATA", "STATE")}
    (home / "temporary").mkdir(parents=True)

    def run(*words):
        kept = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
        own = {"PEEPHOLE_CACHE": str(cache), "PEEPHOLE_IN_PROCESS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
        environment = kept | folders | own | {"HOME": str(home), "TMPDIR": str(home / "temporary")}
        command = [*ALONE, sys.executable, *map(str, words)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        left = [path for path in home.rglob("*") if path.is_file() and "peephole" not in path.parts]
        return int(done.stdout), left

    return run


def runtimes():
    return ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def test_what_is_sent_is_counted(alone):
    assert alone("-c", SPEAKS)[0] > 0


def test_the_library_keeps_quiet(alone, grace_file):
    assert alone("-c", LIBRARY, grace_file, *runtimes()) == (0, [])


def test_a_worker_that_has_the_network_keeps_quiet(alone, grace_file):
    assert alone("-c", WORKER, grace_file, 0) == (0, [])


@pytest.mark.parametrize("how", [(), ("--in-process",)])
def test_a_command_keeps_quiet(alone, grace_file, how):
    assert alone("-m", "peephole", "detect", *how, grace_file) == (0, [])


@pytest.mark.soak
def test_a_worker_keeps_quiet_for_longer(alone, grace_file):
    """ONNX Runtime writes at once, and sends for the first time after ten seconds."""
    assert alone("-c", WORKER, grace_file, 12) == (0, [])


@pytest.mark.slow
def test_the_doctor_keeps_quiet(alone):
    assert alone("-m", "peephole", "doctor") == (0, [])


@pytest.mark.slow
def test_the_tests_keep_quiet(alone, tmp_path):
    options = ("-p", "no:cacheprovider", "--basetemp", tmp_path / "tests")
    assert alone("-m", "pytest", *options, *TESTS) == (0, [])


def test_the_runtimes_are_imported_in_one_place():
    """So that nobody imports OpenVINO without what keeps it quiet."""
    found = set()
    for file in (*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("importorskip", "import_module"):
                names += [str(each.value) for each in node.args if isinstance(each, ast.Constant)]
            if "openvino" in (each.partition(".")[0] for each in names):
                found.add(file.relative_to(ROOT))
    assert found == {Path("src/peephole/models/session.py")}
