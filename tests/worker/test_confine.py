import json
import subprocess
import sys

import pytest

from peephole.worker.confine import Confinement

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own means")

PROGRAM = """
import json, os, resource, signal, socket
from peephole.worker.confine import bound, confine
before = os.getuid(), open("/proc/self/cgroup").read()
done = confine()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
most = bound(2**20)
try:
    bytearray(most)
    refused = False
except MemoryError:
    refused = True
print(json.dumps({
    "network": done.network, "interfaces": socket.if_nameindex(), "privileges": int(status["NoNewPrivs"]),
    "adjusted": int(open("/proc/self/oom_score_adj").read()), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "most": most, "refused": refused, "same user": before[0] == os.getuid(),
    "said": [done.no_new_privileges, done.first_to_go, done.no_core, done.dies_with_parent],
    "ignores": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
}))
"""


@linux
def test_what_it_says_it_gave_up_is_gone():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["said"] == [True, True, True, True]
    assert found["privileges"] == 1
    assert found["adjusted"] == 1000
    assert found["core"] == [0, 0]
    assert found["refused"]
    assert found["same user"]
    assert found["ignores"]
    if found["network"] == "none":
        assert [name for _, name in found["interfaces"]] in ([], ["lo"])
    else:
        assert found["network"].startswith("shared: ")


def test_it_can_be_told_to_people():
    lines = Confinement(True, False, True, True, "none", 2**30).lines()
    assert lines[0] == "no new privileges   yes"
    assert lines[1].startswith("dies with its host  no: ")
    assert lines[4:] == ["network             none", "memory              at most 1024 MiB of private memory"]
    assert Confinement().lines()[5] == "memory              no limit"
