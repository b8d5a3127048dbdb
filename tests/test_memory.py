import contextlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole import memory
from peephole.errors import UsageError
from peephole.memory import (
    MEMORY_VARIABLE,
    RESERVE,
    current_rss,
    find_budget,
    oom_kills,
    oom_kills_in,
    parse_size,
    peak_of,
    peak_rss,
    usable_cpus,
)

MIB = 2**20
OWN = 40 * MIB
V1, V2 = "cgroup cgroup rw,memory", "cgroup2 cgroup2 rw,nsdelegate"
V1_NONE = 9223372036854771712
CI = os.environ.get("CI") == "true"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """A process of a known size, without a budget in its environment."""
    monkeypatch.setattr(memory, "current_rss", lambda: OWN)
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)


@pytest.fixture
def tree(tmp_path):
    """Writes a fake system: `tree(own cgroups, mounts as (root, point, the rest), files)`."""

    def write(cgroups, mounts, files, available=8000 * MIB):
        everything = {
            "proc/self/cgroup": "\n".join([*cgroups, ""]),
            "proc/self/mountinfo": "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
            + "".join(
                f"{i} 22 0:{i} {top} {point} rw,nosuid{' shared:9 master:2' * (i % 2)} - {rest}\n"
                for i, (top, point, rest) in enumerate(mounts, 30)
            ),
            "proc/meminfo": f"MemTotal:       9999999 kB\nMemFree:  5 kB\nMemAvailable:   {available // 1024} kB\n",
            **files,
        }
        for name, content in everything.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
        return tmp_path

    return write


def v1(folder, limit, usage=OWN, cache=0):
    stat = f"cache 1\ninactive_file 777\nhierarchical_memory_limit 5\ntotal_inactive_file {cache}\ntotal_cache 2"
    values = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}
    return {f"{folder}/{name}": value for name, value in values.items()}


def v2(folder, limit="max", usage=OWN, cache=0, high="max"):
    stat = f"anon 3\ninactive_file {cache}\nactive_file 4"
    values = {"memory.max": limit, "memory.high": high, "memory.current": usage, "memory.stat": stat}
    return {f"{folder}/{name}": value for name, value in values.items()}


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256MiB", 256 * MIB),
        ("256M", 256_000_000),
        ("256MB", 256_000_000),
        ("1.5GiB", 3 * 2**29),
        ("0.5G", 500_000_000),
        ("300000000", 300_000_000),
        ("512mib", 512 * MIB),
        ("64Mi", 64 * MIB),
        ("8kb", 8000),
        ("1TiB", 2**40),
        ("77 B", 77),
        ("  2  GiB ", 2**31),
        ("0.1G", 100_000_000),
        (123, 123),
        (2**63, 2**63),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "MiB", "256X", "-5M", "+5M", "0", "0.4", "0 GiB", "inf", "nan", "1e9", "1,5G", "1_000", "5i", "1 2"),
        *("٣M", "1.G", "256MiB\n5", "9" * 5000, 0, -1, True),
    ],
)
def test_what_is_no_size(text):
    with pytest.raises(UsageError) as error:
        parse_size(text)
    assert repr(str(text)) in str(error.value)


@given(st.integers(1, 2**50), st.sampled_from("kmgtKMGT"), st.sampled_from(["", "i", "I"]), st.sampled_from(["", "b"]))
def test_a_size_written_is_the_size_read(number, prefix, binary, byte):
    factor = (1024 if binary else 1000) ** ("kmgt".index(prefix.lower()) + 1)
    assert parse_size(f"{number} {prefix}{binary}{byte}") == number * factor
    assert parse_size(str(number)) == parse_size(number) == number


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert 0 < parse_size(text) < math.inf


# Whose word counts


def test_argument_before_environment_before_what_is_found(tree, monkeypatch):
    root = tree(["4:memory:/"], [("/", "/cg", V1)], v1("cg", 300 * MIB))
    assert find_budget(root=root).bytes == 284 * MIB
    monkeypatch.setenv(MEMORY_VARIABLE, "")
    assert find_budget(root=root).bytes == 284 * MIB
    monkeypatch.setenv(MEMORY_VARIABLE, "1.5GiB")
    budget = find_budget(root=root)
    assert (budget.bytes, budget.source) == (3 * 2**29, "1.5 GiB as asked for (PEEPHOLE_MEMORY)")
    for argument in ("256MiB", 256 * MIB):
        budget = find_budget(argument, root=root)
        assert (budget.bytes, budget.source) == (256 * MIB, "256 MiB as asked for (--memory)")


def test_a_bad_request_is_named(monkeypatch):
    with pytest.raises(UsageError, match="'lots'"):
        find_budget("lots")
    with pytest.raises(UsageError, match="'0'"):
        find_budget(0)
    monkeypatch.setenv(MEMORY_VARIABLE, "plenty")
    with pytest.raises(UsageError, match="PEEPHOLE_MEMORY: 'plenty'"):
        find_budget()
    assert find_budget("1G").bytes == 10**9


# What is found


def test_version_1(tree):
    root = tree(
        ["5:cpu:/a", "4:memory:/x"], [("/", "/cg/memory", V1)], v1("cg/memory/x", 256 * MIB, 100 * MIB, 20 * MIB)
    )
    budget = find_budget(root=root)
    assert budget.bytes == (256 - (100 - 20 - 40) - 16) * MIB
    assert budget.source == (
        f"cgroup limit 256 MiB in {root}/cg/memory/x/memory.limit_in_bytes, 40 MiB of it used by others, "
        "16 MiB kept in reserve"
    )


def test_version_1_with_controllers_mounted_together(tree):
    mounts = [("/", "/cg/cpu,memory", "cgroup cgroup rw,cpu,memory"), ("/", "/cg/pids", "cgroup cgroup rw,pids")]
    files = {**v1("cg/cpu,memory/x", 200 * MIB), **v1("cg/pids/x", 50 * MIB)}
    assert find_budget(root=tree(["4:cpu,memory:/x", "3:pids:/x"], mounts, files)).bytes == 184 * MIB


def test_version_2(tree):
    root = tree(
        ["0::/user/x"], [("/", "/sys/fs/cgroup", V2)], v2("sys/fs/cgroup/user/x", 256 * MIB, 90 * MIB, 30 * MIB)
    )
    budget = find_budget(root=root)
    assert budget.bytes == (256 - 20 - 16) * MIB
    assert f"{root}/sys/fs/cgroup/user/x/memory.max, 20 MiB of it" in budget.source


def test_memory_high_is_a_limit(tree):
    files = v2("cg/x", 256 * MIB, high=200 * MIB)
    budget = find_budget(root=tree(["0::/x"], [("/", "/cg", V2)], files))
    assert budget.bytes == 184 * MIB
    assert "cg/x/memory.high" in budget.source


@pytest.mark.parametrize(("make", "own", "mount"), [(v1, "4:memory:/a/b/c", V1), (v2, "0::/a/b/c", V2)])
@pytest.mark.parametrize("tight", ["cg/a", "cg/a/b", "cg/a/b/c", "cg"])
def test_the_smallest_of_nested_limits(tree, make, own, mount, tight):
    files = {}
    for folder in ("cg", "cg/a", "cg/a/b", "cg/a/b/c", "cg/a/other"):
        files |= make(folder, 1 * MIB if folder == "cg/a/other" else 600 * MIB)
    files |= make(tight, 300 * MIB)
    budget = find_budget(root=tree([own], [("/", "/cg", mount)], files))
    assert budget.bytes == 284 * MIB
    assert f"/{tight}/memory." in budget.source


def test_the_smallest_room_is_not_the_smallest_limit(tree):
    files = v2("cg/a", 500 * MIB, 400 * MIB) | v2("cg/a/b", 300 * MIB)
    budget = find_budget(root=tree(["0::/a/b"], [("/", "/cg", V2)], files))
    assert budget.bytes == (500 - 360 - 16) * MIB
    assert "cgroup limit 500 MiB" in budget.source


@pytest.mark.parametrize(("top", "path"), [("/", "/"), ("/docker/1f", "/docker/1f"), ("/docker/1f", "/")])
@pytest.mark.parametrize(("make", "own", "mount"), [(v1, "4:memory:", V1), (v2, "0::", V2)])
def test_in_a_container(tree, make, own, mount, top, path):
    """A namespace of its own, the host's namespace, and a mount that was made outside the namespace."""
    root = tree([own + path], [(top, "/sys/fs/cgroup", mount)], make("sys/fs/cgroup", 256 * MIB))
    assert find_budget(root=root).bytes == 240 * MIB


def test_below_the_root_of_a_container(tree):
    files = v2("cg", 256 * MIB) | v2("cg/init", 128 * MIB)
    root = tree(["0::/docker/1f/init"], [("/docker/1f", "/cg", V2)], files)
    assert find_budget(root=root).bytes == 112 * MIB


@pytest.mark.parametrize(("top", "path"), [("/docker/1", "/docker/1f"), ("/", "/../else"), ("/../..", "/..")])
def test_a_path_outside_the_mount(tree, top, path):
    root = tree([f"0::{path}"], [(top, "/in/cg", V2)], v2("in/cg", 256 * MIB) | v2("in/else", MIB) | v2("in", MIB))
    assert find_budget(root=root).bytes == 240 * MIB


def test_a_group_that_cannot_be_seen_still_has_parents(tree):
    assert find_budget(root=tree(["0::/gone/x"], [("/", "/cg", V2)], v2("cg", 256 * MIB))).bytes == 240 * MIB


def test_a_mount_with_the_group_in_it_beats_one_without(tree):
    mounts = [("/stranger", "/other", V2), ("/", "/cg", V2)]
    root = tree(["0::/x"], mounts, v2("other", 99 * MIB) | v2("cg/x", 256 * MIB))
    assert find_budget(root=root).bytes == 240 * MIB


def test_both_versions_mounted(tree):
    """As on systems where version 2 is mounted for systemd alone."""
    mounts = [("/", "/cg/memory", V1), ("/", "/cg/systemd", "cgroup cgroup rw,name=systemd"), ("/", "/cg/unified", V2)]
    files = {**v1("cg/memory/x", 256 * MIB), "cg/unified/cgroup.procs": "1"}
    root = tree(["9:name=systemd:/", "4:memory:/x", "0::/"], mounts, files)
    assert find_budget(root=root).bytes == 240 * MIB


def test_blanks_in_a_mount_point(tree):
    root = tree(["0::/x y"], [("/", r"/my\040cg\134s", V2)], v2("my cg\\s/x y", 256 * MIB))
    assert find_budget(root=root).bytes == 240 * MIB


def test_no_limit_is_the_machine(tree):
    mounts = [("/", "/one", V1), ("/", "/two", V2)]
    files = v1("one/x", V1_NONE) | v1("one", 2**60) | v2("two/x")
    budget = find_budget(root=tree(["4:memory:/x", "0::/x"], mounts, files, available=200 * MIB))
    assert budget.bytes == (200 + 40 - 16) * MIB
    assert budget.source == (
        "200 MiB available on the machine (MemAvailable) and 40 MiB in this process already, 16 MiB kept in reserve"
    )


def test_the_machine_can_have_less_than_the_limit(tree):
    root = tree(["0::/x"], [("/", "/cg", V2)], v2("cg/x", 600 * MIB), available=100 * MIB)
    assert find_budget(root=root).bytes == (100 + 40 - 16) * MIB


def test_much_room_means_more_reserve(tree):
    budget = find_budget(root=tree([], [], {}, available=8000 * MIB - OWN))
    assert budget.bytes == 7600 * MIB
    assert budget.source.endswith("400 MiB kept in reserve")


def test_pages_charged_elsewhere_make_no_more_room_than_the_limit(tree):
    assert find_budget(root=tree(["0::/"], [("/", "/cg", V2)], v2("cg", 256 * MIB, MIB))).bytes == 240 * MIB


def test_no_room_at_all_is_nothing(tree):
    assert find_budget(root=tree(["0::/"], [("/", "/cg", V2)], v2("cg", 256 * MIB, 900 * MIB))).bytes == 0


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\0junk", b"-1", b"12 apples", b"9" * 5000, b"0::\n::\n - \n:\0:/a\0"])
def test_junk_is_passed_over(tree, junk):
    names = ("memory.max", "memory.high", "memory.current", "memory.stat", "cpu.max")
    files = {f"cg/x/{name}": junk for name in names} | v2("cg", 256 * MIB)
    cgroups, mounts = ["0::/x"], [("/", "/cg", V2)]
    assert find_budget(root=tree(cgroups, mounts, files)).bytes == 240 * MIB
    # A limit is a limit where nothing tells what is used of it.
    files = v2("cg", 256 * MIB) | {"cg/memory.current": junk, "cg/memory.stat": junk}
    assert find_budget(root=tree(cgroups, mounts, files)).bytes == 240 * MIB
    for name in ("proc/self/cgroup", "proc/self/mountinfo", "proc/meminfo"):
        root = tree(cgroups, mounts, {name: junk})
        assert find_budget(root=root).bytes > 0
        assert usable_cpus(root=root) >= 1


def test_what_cannot_be_read_is_passed_over(tree):
    files = v2("cg", 256 * MIB) | {"cg/x/memory.max/folder": "", "cg/x/memory.stat/folder": ""}
    root = tree(["0::/x"], [("/", "/cg", V2)], files)
    (root / "cg/x/memory.high").symlink_to("memory.high")
    assert find_budget(root=root).bytes == 240 * MIB


def test_without_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PHYS_PAGES": 2**18, "SC_PAGE_SIZE": 2**12}.__getitem__)
    budget = find_budget(root=tmp_path)
    assert budget.bytes == 2**30 - 2**30 // 20
    assert budget.source.startswith("1 GiB of memory in the machine")


@pytest.mark.parametrize("failure", [ValueError, OSError, None])
def test_without_anything(tmp_path, monkeypatch, failure):
    def sysconf(name):
        raise failure

    if failure:
        monkeypatch.setattr(memory.os, "sysconf", sysconf)
    else:
        monkeypatch.delattr(memory.os, "sysconf")
    budget = find_budget(root=tmp_path)
    assert budget.bytes == memory.ASSUMED - memory.ASSUMED // 20
    assert "assumed" in budget.source


# Processors


@pytest.mark.parametrize(
    ("own", "mount", "files", "cpus"),
    [
        ("0::/a/b", V2, {"a/b/cpu.max": "max 100000"}, 16),
        ("0::/a/b", V2, {"a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b", V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 3),
        ("0::/a/b", V2, {"a/b/cpu.max": "1000 100000"}, 1),
        ("0::/a/b", V2, {"a/b/cpu.max": "6400000 100000"}, 16),
        ("0::/a/b", V2, {"a/b/cpu.max": "100000 0", "a/cpu.max": "100000"}, 16),
        ("3:cpu,cpuacct:/a", "cgroup c rw,cpu,cpuacct", {"a/cpu.cfs_quota_us": -1, "a/cpu.cfs_period_us": 100000}, 16),
        (
            "3:cpu,cpuacct:/a",
            "cgroup c rw,cpu,cpuacct",
            {"a/cpu.cfs_quota_us": 150000, "a/cpu.cfs_period_us": 100000},
            2,
        ),
        ("3:cpu:/a", "cgroup c rw,cpu", {"a/cpu.cfs_quota_us": 150000}, 16),
        ("3:cpuset:/a", "cgroup c rw,cpuset", {"a/cpu.cfs_quota_us": 100000, "a/cpu.cfs_period_us": 100000}, 16),
    ],
)
def test_processors_under_a_quota(tree, monkeypatch, own, mount, files, cpus):
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    root = tree([own], [("/", "/cg", mount)], {f"cg/{name}": text for name, text in files.items()})
    assert usable_cpus(root=root) == cpus


def test_processors_of_this_machine(tmp_path, monkeypatch):
    assert 1 <= usable_cpus() <= os.cpu_count()
    monkeypatch.delattr(memory.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: None)
    assert usable_cpus(root=tmp_path) == 1


# This process, this machine


def run(program, *, started=lambda pid: None):
    """Runs a program that waits for a line first; what it prints, as JSON. `started` is called before the line."""
    environment = {name: value for name, value in os.environ.items() if name != MEMORY_VARIABLE}
    command = [sys.executable, "-c", f"import json; input(); from peephole.memory import *; {program}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as child:
        try:
            started(child.pid)
            output, _ = child.communicate("\n", timeout=60)
        finally:
            child.kill()
    assert child.returncode == 0
    return json.loads(output)


def test_resident_size():
    assert 5 * MIB < current_rss() <= peak_rss() < 2**36


def test_resident_size_where_proc_is_poor(monkeypatch):
    monkeypatch.setattr(memory, "_field", lambda path, name: None)
    assert current_rss() == peak_rss() > 5 * MIB


@linux
def test_the_peak_starts_anew():
    program = (
        "pages = bytearray(b'x' * 80_000_000); del pages; "
        "print(json.dumps([current_rss(), peak_rss(), reset_peak(), peak_rss()]))"
    )
    now, before, allowed, after = run(program)
    if not allowed and not CI:
        pytest.skip("clear_refs may not be written here")
    assert before - after > 60_000_000
    assert after == pytest.approx(now, abs=2_000_000)


def test_a_peak_that_cannot_be_reset(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    assert memory.reset_peak() is False


@pytest.fixture
def cgroup():
    """A real memory cgroup with a limit of 300 MiB, below the first of this process's groups that lets it be made."""
    for folder, kind in memory._groups(Path("/"), "memory"):
        group = folder / f"peephole-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            limit = group / ("memory.limit_in_bytes" if kind == "cgroup" else "memory.max")
            with contextlib.suppress(OSError):  # no such file where the controller is not handed down
                limit.write_text(str(300 * MIB))
                yield group
                return
        finally:
            group.rmdir()
    if CI:
        pytest.fail("this test must run in CI, and no memory cgroup can be made")
    pytest.skip("no memory cgroup can be made here")


@linux
def test_the_limit_of_a_real_cgroup(cgroup):
    program = (
        "pages = bytearray(b'x' * 60_000_000); found = find_budget(); "
        "print(json.dumps([found.bytes, found.source, current_rss()]))"
    )
    size, source, own = run(program, started=lambda pid: (cgroup / "cgroup.procs").write_text(str(pid)))
    assert 200 * MIB < size < 300 * MIB
    assert f"cgroup limit 300 MiB in {cgroup}/" in source
    assert own > 60_000_000  # which is in the budget, not off it


def test_this_machine_has_room():
    budget = find_budget()
    assert budget.bytes > RESERVE
    assert "kept in reserve" in budget.source


def test_the_kernel_s_kills_are_counted_in_the_process_s_own_group(tree):
    one = "oom_kill_disable 0\nunder_oom 0\noom_kill 3"
    files = {
        "sys/fs/cgroup/memory/a/b/memory.oom_control": one,
        "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill 9",
    }
    root = tree(["4:memory:/a/b"], [("/", "/sys/fs/cgroup/memory", V1)], files)
    assert oom_kills(root=root) == (root / "sys/fs/cgroup/memory/a/b/memory.oom_control", 3)
    two = {
        "proc/77/cgroup": "0::/c",
        "sys/fs/cgroup/c/memory.events": "low 0\nmax 5\noom 2\noom_kill 1\noom_group_kill 0",
    }
    root = tree(["0::/elsewhere"], [("/", "/sys/fs/cgroup", V2)], two)
    assert oom_kills(77, root=root) == (root / "sys/fs/cgroup/c/memory.events", 1)


EVENTS = "low 0\nhigh 0\nmax {max}\noom {oom}\noom_kill {kill}\noom_group_kill {group}"
"""As Linux 6.1 writes it; before 5.17 without the last line."""


@pytest.mark.parametrize("limited", ["box", "box/app.slice", "box/app.slice/peephole"])
def test_version_2_counts_a_kill_in_the_process_s_own_group_whichever_limit_it_was(tree, limited):
    # Observed on Linux 6.1: the limit's group counts max and oom, the victim's own and all above it count oom_kill;
    # memory.events.local of the limit's group does not.
    folders = ["box", "box/app.slice", "box/app.slice/peephole"]
    files = {"proc/77/cgroup": "0::/box/app.slice/peephole"}
    for folder in folders:
        above = limited.startswith(folder)
        full = {"max": 131 * above, "oom": 2 * above, "kill": 2, "group": 0}
        files[f"sys/fs/cgroup/{folder}/memory.events"] = EVENTS.format(**full)
        own = {"max": 131, "oom": 2} if folder == limited else {"max": 0, "oom": 0}
        files[f"sys/fs/cgroup/{folder}/memory.events.local"] = EVENTS.format(
            **own, kill=2 * (folder == folders[-1]), group=0
        )
        files |= v2(f"sys/fs/cgroup/{folder}", limit=128 * MIB if folder == limited else "max")
    root = tree(["0::/elsewhere"], [("/", "/sys/fs/cgroup", V2)], files)
    assert oom_kills(77, root=root) == (root / "sys/fs/cgroup/box/app.slice/peephole/memory.events", 2)


def test_version_2_without_the_controller_in_the_group_counts_in_the_one_above(tree):
    files = {
        "proc/77/cgroup": "0::/box/peephole",
        "sys/fs/cgroup/box/peephole/cgroup.procs": "77",  # memory is not in box's cgroup.subtree_control
        "sys/fs/cgroup/box/memory.events": EVENTS.format(max=9, oom=1, kill=1, group=1),
    }
    root = tree(["0::/elsewhere"], [("/", "/sys/fs/cgroup", V2)], files)
    path, kills = oom_kills(77, root=root)
    assert (path, kills) == (root / "sys/fs/cgroup/box/memory.events", 1)
    path.write_text(EVENTS.format(max=12, oom=2, kill=3, group=2) + "\n")
    assert oom_kills_in(path) == 3
    path.unlink()
    assert oom_kills_in(path) is None


def test_where_nobody_counts_kills(tree):
    assert oom_kills(root=tree(["0::/"], [("/", "/sys/fs/cgroup", V2)], {})) is None
    assert oom_kills(99, root=tree(["0::/"], [], {})) is None


@linux
def test_another_process_has_a_peak_until_it_ends():
    program = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()  # before that it may be one page
        assert 10**5 < peak_of(other.pid) < 10**9
        other.communicate(b"\n")
    assert peak_of(other.pid) == 0
