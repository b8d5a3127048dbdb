"""Processors, extensions, load and power, on fake trees."""

import os

import pytest

from peephole import memory
from peephole.doctor import processor
from peephole.doctor.processor import HIDDEN, NO_AVX, OLD

V1 = "fpu sse sse2 pni cx16"
V2 = "pni cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 aes"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"


def x86(flags, model="Intel(R) N100"):
    block = f"processor\t: 0\nmodel name\t: {model}\nflags\t\t: {flags}\n"
    return {"proc/cpuinfo": f"{block}\n{block.replace(': 0', ': 1')}"}


def only(findings):
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("flags", "state", "advice"),
    [
        (f"{V1} hypervisor", "problem", (HIDDEN,)),  # QEMU's kvm64
        (V1, "problem", (OLD,)),
        (f"{V2} hypervisor", "warning", (HIDDEN, NO_AVX)),  # Proxmox's x86-64-v2-AES
        (V2, "warning", (NO_AVX,)),  # a Celeron J4125
        (f"{V2} avx", "note", ()),
        (f"{V2} avx hypervisor", "note", (HIDDEN,)),
        (f"{V3} hypervisor", "ok", ()),
        (f"{V3} avx512f", "ok", ()),
    ],
)
def test_what_a_processor_hides_or_lacks(tree, flags, state, advice):
    found = only(processor.vectors(tree(x86(flags)), "x86_64"))
    assert (found.state, found.advice) == (state, advice)


def test_the_level_needs_all_of_its_extensions(tree):
    assert only(processor.vectors(tree(x86(V3)), "x86_64")).facts["level"] == "x86-64-v3"
    without = V3.replace(" movbe", "")
    assert only(processor.vectors(tree(x86(without)), "x86_64")).facts["level"] == "x86-64-v2"


def test_arm_is_told_by_its_own_names(tree):
    root = tree({"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd crc32 asimddp\nCPU part\t: 0xd0b\n"})
    found = only(processor.vectors(root, "aarch64"))
    assert (found.state, found.summary) == ("ok", "asimd, asimddp")
    assert only(processor.processors(root)).facts["model"] == "Cortex-A76"


def test_no_flags_are_no_verdict(tree):
    assert only(processor.vectors(tree({"proc/cpuinfo": "processor: 0\n"}), "x86_64")).state == "note"


@pytest.mark.parametrize(
    ("flags", "advice"), [(V3, processor.AT_ODDS), (f"{V1} hypervisor", HIDDEN), (V1, OLD), (None, OLD)]
)
def test_advice_for_a_library_that_lacks_instructions(tree, tmp_path, flags, advice):
    root = tree(x86(flags)) if flags else tmp_path
    assert processor.lacking(root) == (advice,)


@pytest.mark.parametrize(
    ("quota", "state", "words"),
    [
        ("max 100000", "ok", ""),
        ("50000 100000", "warning", "2.0 times"),
        ("150000 100000", "note", "2 threads share 1.5"),
    ],
)
def test_a_quota_is_named_with_its_file(tree, monkeypatch, quota, state, words):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    mounts = "30 22 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    files = {"proc/self/cgroup": "0::/box\n", "proc/self/mountinfo": mounts, "sys/fs/cgroup/box/cpu.max": quota}
    root = tree(x86(V3) | files)
    found = only(processor.processors(root))
    assert found.state == state
    assert found.facts["usable"] == memory.usable_cpus(root=root)
    if words:
        assert f"by {root}/sys/fs/cgroup/box/cpu.max" in found.summary
        assert words in found.advice[0]


@pytest.mark.parametrize(("average", "state"), [("0.10", "ok"), ("9000.00", "note")])
def test_a_busy_machine(tree, average, state):
    assert only(processor.load(tree({"proc/loadavg": f"{average} 0.2 0.3 1/100 4711\n"}))).state == state


THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
VOLT = "sys/class/hwmon/hwmon3"


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ({THROTTLED: "0\n"}, []),
        ({THROTTLED: "50005\n"}, ["under-voltage now", "throttled now", "under-voltage since the start", "throttled"]),
        ({THROTTLED: "10000\n"}, ["under-voltage since the start"]),
        ({f"{VOLT}/name": "rpi_volt\n", f"{VOLT}/in0_lcrit_alarm": "1\n"}, ["under-voltage"]),
        ({f"{VOLT}/name": "rpi_volt\n", f"{VOLT}/in0_lcrit_alarm": "0\n"}, []),
    ],
)
def test_a_weak_power_supply(tree, files, seen):
    found = only(processor.power(tree(files)))
    assert found.facts["throttled"] == seen
    assert found.state == ("warning" if seen else "ok")


def test_no_word_on_power_where_nothing_measures_it(tree):
    assert not list(processor.power(tree({f"{VOLT}/name": "coretemp\n"})))


def test_a_boards_name_ends_with_a_null(tree):
    assert processor.board(tree({"proc/device-tree/model": "Raspberry Pi 5\0"})) == "Raspberry Pi 5"
