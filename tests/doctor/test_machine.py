"""System, surroundings, memory, limits, clock and terminal, on fake trees."""

import errno
import os
import resource
from datetime import UTC, datetime

import pytest

from peephole.doctor import machine
from peephole.doctor.machine import Build

KIB = 1024
MIB = 2**20


def only(findings):
    (finding,) = findings
    return finding


def build(system="Linux", release="6.1.0", machine="x86_64", bits=64, libc="glibc 2.36"):
    return Build(system, release, machine, bits, libc)


def meminfo(**fields):
    usual = {"MemTotal": 4000, "MemAvailable": 3000, "SwapTotal": 100, "SwapFree": 90} | fields
    return {"proc/meminfo": "".join(f"{name}:   {value * KIB} kB\n" for name, value in usual.items())}


@pytest.mark.parametrize(
    ("built", "state", "words"),
    [
        (build(), "ok", None),
        (build(machine="aarch64"), "ok", None),
        (build("Darwin", machine="arm64", libc=""), "ok", None),
        (build(machine="armv7l", bits=32), "problem", "64-bit system"),
        (build(machine="aarch64", bits=32), "problem", "The kernel is a 64-bit one, Python is not"),
        (build(machine="riscv64"), "problem", "x86-64 and 64-bit ARM alone"),
        (build(libc=""), "warning", "glibc alone"),
    ],
)
def test_systems(tree, built, state, words):
    found = only(machine.system(tree({"etc/os-release": 'NAME="D"\nPRETTY_NAME="Debian 12"\n'}), built))
    assert found.state == state
    assert found.summary.startswith("Debian 12, ")
    assert (words in found.advice[0]) if words else not found.advice


def test_a_system_without_a_name(tmp_path):
    assert only(machine.system(tmp_path, build())).summary.startswith("Linux, x86_64, 64 bits, ")


@pytest.mark.parametrize(
    ("files", "environ", "kind"),
    [
        ({}, {}, ""),
        ({".dockerenv": ""}, {}, "Docker"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "Kubernetes"),
        ({"run/.containerenv": ""}, {}, "Podman"),
        ({"run/systemd/container": "lxc\n"}, {}, "LXC"),
        ({"proc/1/environ": "PATH=/bin\0container=lxc\0TERM=linux\0"}, {}, "LXC"),
        ({"proc/1/environ": "PATH=/bin\0nocontainer=1\0"}, {}, ""),
        ({"run/systemd/container": "systemd-nspawn"}, {}, "systemd-nspawn"),
    ],
)
def test_containers(tree, tmp_path, files, environ, kind):
    tree(files)
    assert machine.container(tmp_path, environ) == kind


def test_what_it_runs_in(tree):
    files = {"proc/cpuinfo": "flags : avx hypervisor\n", "sys/class/dmi/id/sys_vendor": "QEMU\n", ".dockerenv": ""}
    found = only(machine.surroundings(tree(files), build(), {}))
    assert found.summary == "Docker container, virtual machine (QEMU)"


def test_windows_is_told(tmp_path):
    found = only(machine.surroundings(tmp_path, build(release="5.15.90-microsoft-standard-WSL2"), {}))
    assert (found.state, found.summary) == ("note", "Windows Subsystem for Linux")


@pytest.mark.parametrize(
    ("available", "pressure", "state"),
    [(3000, None, "ok"), (3000, "0.50", "ok"), (3000, "40.00", "warning"), (200, "0.00", "warning")],
)
def test_memory(tree, available, pressure, state):
    files = meminfo(MemAvailable=available)
    if pressure:
        files["proc/pressure/memory"] = f"some avg10=0.00 avg60={pressure} avg300=9.99 total=5\nfull avg10=0.00\n"
    found = only(machine.available(tree(files)))
    assert (found.state, found.facts["available"]) == (state, available * MIB)


@pytest.mark.parametrize(
    ("fields", "overcommit", "state", "words"),
    [
        ({}, "0", "ok", "10 MiB of 100 MiB used (/dev/zram0)"),
        ({"SwapFree": 5}, "0", "warning", "95 MiB of 100 MiB used"),
        ({"SwapTotal": 0, "SwapFree": 0}, "0", "ok", "none"),
        ({"SwapTotal": 0, "SwapFree": 0, "MemTotal": 900}, "0", "note", "none"),
        ({"CommitLimit": 2000, "Committed_AS": 1500}, "2", "warning", "promises only 500 MiB more"),
        ({"CommitLimit": 2000, "Committed_AS": 1500}, "0", "ok", "10 MiB of 100 MiB used"),
        ({"CommitLimit": 9000, "Committed_AS": 1500}, "2", "ok", "10 MiB of 100 MiB used"),
    ],
)
def test_swap(tree, fields, overcommit, state, words):
    areas = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0  partition\t102396\t10240\t100\n"
    root = tree(meminfo(**fields) | {"proc/sys/vm/overcommit_memory": f"{overcommit}\n", "proc/swaps": areas})
    found = only(machine.swap(root))
    assert found.state == state
    assert words in found.summary


def group(**files):
    mounts = "30 22 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    usual = {"memory.stat": "inactive_file 0\n", "memory.current": f"{90 * MIB}\n", "memory.max": "max\n"}
    kept = {f"sys/fs/cgroup/box/{name}": text for name, text in (usual | files).items()}
    return kept | {"proc/self/cgroup": "0::/box\n", "proc/self/mountinfo": mounts}


def test_no_limit(tree):
    found = only(machine.limit(tree(group())))
    assert (found.state, found.facts["limit"], found.facts["version"]) == ("ok", None, 2)
    assert "none along the cgroup path (version 2, " in found.summary


def test_a_limit_its_path_and_whom_it_has_killed(tree):
    root = tree(group(**{"memory.max": f"{512 * MIB}\n", "memory.events": "oom 3\noom_kill 2\n"}))
    limit, killed = machine.limit(root)
    assert limit.summary == f"512 MiB, 90 MiB of it used (cgroup version 2, {root}/sys/fs/cgroup/box/memory.max)"
    assert (killed.state, killed.facts["kills"]) == ("note", 2)


def test_a_group_that_is_killed_as_a_whole(tree):
    found = only(machine.limit(tree(group(**{"memory.oom.group": "1\n"}))))
    assert found.state == "warning"
    assert "kills all of this group at once" in found.advice[0]


def test_no_cgroups_at_all(tmp_path):
    assert only(machine.limit(tmp_path)).facts == {"limit": None}


def test_process_limits():
    endless = resource.RLIM_INFINITY
    assert only(machine.process_limits(lambda _: (endless, endless))).state == "ok"
    low = {resource.RLIMIT_AS: 2**30, resource.RLIMIT_NOFILE: 64}
    found = only(machine.process_limits(lambda number: (low.get(number, endless), endless)))
    assert found.state == "warning"
    assert found.facts["low"] == ["address space (ulimit -v): 1 GiB", "open files (ulimit -n): 64"]


def seconds(year, month=1):
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "installed", "state", "words"),
    [
        (seconds(2026), seconds(2025, 6), "ok", "2026-01-01 00:00 UTC"),
        (seconds(1970, 2), seconds(2025, 6), "warning", "it is not set"),
        (seconds(2025, 6), seconds(2026), "warning", "files are of 2026-01-01"),
    ],
)
def test_the_clock(now, installed, state, words):
    found = only(machine.clock(now, installed))
    assert found.state == state
    assert words in found.summary


@pytest.mark.parametrize(
    ("output", "files", "state"),
    [("utf-8", "utf-8", "ok"), ("UTF8", "utf-8", "ok"), (None, "utf-8", "ok"), ("ascii", "utf-8", "note")],
)
def test_encodings(output, files, state):
    assert only(machine.terminal(output, files)).state == state


def test_no_more_subscriptions_to_changes(tree):
    root = tree({"proc/sys/fs/inotify/max_user_instances": "128\n"})

    def full():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert only(machine.watching(root, full)).summary == "others have taken all 128 of the user's subscriptions"
    assert only(machine.watching(root, lambda: None)).state == "ok"
