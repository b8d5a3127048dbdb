"""Three detections inside a memory cgroup of 256 MiB, swap off, and dlib's own call, which is killed in 1 GiB.

    python benchmarks/limits.py [--json FILE]

Each case is the real command, ``peephole detect --in-process --detector mmod --jsonl FILE`` (with a worker there would
be two processes to measure; tests/worker/test_memory_limit.py has that), in a cgroup of its own that is removed
afterwards.
"peak" is the largest resident size of the process (``VmHWM``, looked at all the time, and ``ru_maxrss``; both, because
the program resets the first before each frame); "group" is what the kernel charged the whole cgroup with at most, file
cache included. The models' graphs are in the cache before: what building them takes is not measured here.

Needs a memory controller, version 1 or 2, in which this user may make a group (mostly: root). Where that is not so, it
says so and exits 0; with CI=true in the environment it fails instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import Report, arguments, compose_jpegs

MIB = 2**20
LIMIT = 256 * MIB
DLIB_LIMIT = 1024 * MIB
DETECTOR = "mmod"
CASES = (
    ("1536x1536, native", "1536x1536.jpg", (), 150),
    ("1536x1536, --upsample 1", "1536x1536.jpg", ("--upsample", "1"), 200),
    ("12000x9000, default budget", "12000x9000.jpg", (), 240),
)
DLIB_CALL = """
import sys, dlib, numpy
detector = dlib.cnn_face_detection_model_v1(sys.argv[1])
frame = numpy.load(sys.argv[2])
print("dlib", dlib.__version__, "model and frame loaded, calling", flush=True)
print("survived:", len(detector(frame, 1)), "faces", flush=True)
"""


class NotPermitted(Exception):
    """No memory cgroup can be made here; the message says why."""


@dataclass(frozen=True)
class Group:
    """A memory cgroup that exists for one child."""

    folder: Path
    version: int

    def enter(self) -> None:
        """Move the calling process in; between fork and exec."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def max_usage(self) -> int | None:
        """Most bytes charged so far; None where the kernel does not tell (version 2 before Linux 5.19)."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def kills(self) -> tuple[int, str]:
        """How many processes the kernel has killed in here, and the line that says so."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        for line in (self.folder / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1]), f"{name}: {line}"
        return 0, f"{name} has no oom_kill"


def mounts() -> list[tuple[int, Path]]:
    """Version and mount point of the file systems that may have the memory controller."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            found.append((1, Path(point)))
        elif kind == "cgroup2":
            controllers = Path(point) / "cgroup.controllers"
            if controllers.exists() and "memory" in controllers.read_text().split():
                found.append((2, Path(point)))
    return found


def set_limits(group: Group, limit: int) -> None:
    """Set the hard limit and turn swapping off; raise OSError where the group cannot have them."""
    folder = group.folder
    if group.version == 1:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        try:
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
        except OSError:  # swap is not accounted for
            (folder / "memory.swappiness").write_text("0")
        return
    if not (folder / "memory.max").exists():  # the controller is not handed down yet
        (folder.parent / "cgroup.subtree_control").write_text("+memory")
    (folder / "memory.max").write_text(str(limit))
    swap = folder / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")


@contextlib.contextmanager
def limited(limit: int) -> Iterator[Group]:
    """A cgroup with a hard limit and without swap; removed in the end."""
    reasons = ["no memory controller is mounted"]
    for version, point in mounts():
        group = Group(point / f"peephole-{os.getpid()}-{time.monotonic_ns()}", version)
        try:
            group.folder.mkdir()
        except OSError as error:
            reasons.append(f"{point} (version {version}): {error.strerror}")
            continue
        try:
            try:
                set_limits(group, limit)
            except OSError as error:
                reasons.append(f"{group.folder} (version {version}): {error}")
                continue
            yield group
            return
        finally:
            remove(group.folder)
    raise NotPermitted(reasons[-1])


def remove(folder: Path) -> None:
    """Remove a cgroup, as soon as the kernel has let go of the last process in it."""
    for _ in range(100):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    print(f"cannot be removed: {folder}", file=sys.stderr)


@dataclass
class Outcome:
    """How a child fared; sizes in bytes."""

    status: int
    peak: int
    group: int | None
    kills: int
    kernel: str
    seconds: float
    output: str
    errors: str
    record: dict[str, Any] = field(default_factory=dict)


def confined(command: Sequence[str], limit: int) -> Outcome:
    """Run a command in a cgroup of its own and wait for its end."""
    environment = {name: value for name, value in os.environ.items() if name != "PEEPHOLE_MEMORY"}
    with limited(limit) as group, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env=environment, preexec_fn=group.enter)
        peak = 0
        try:
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                peak = max(peak, high_water(child.pid))
                time.sleep(0.004)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        kills, kernel = group.kills()
        peak = max(peak, usage.ru_maxrss * 1024)
        return Outcome(child.returncode, peak, group.max_usage(), kills, kernel, seconds, out.read(), err.read())


def high_water(pid: int) -> int:
    """A process's ``VmHWM`` in bytes, 0 once it has none."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def peephole() -> list[str]:
    """The command of this environment."""
    script = Path(sys.executable).with_name("peephole")
    return [str(script)] if script.exists() else [sys.executable, "-m", "peephole"]


def model_path() -> str:
    program = "from peephole.models import store; print(store.locate(store.MMOD))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def measure(report: Report, folder: Path) -> list[dict[str, Any]]:
    """All four cases; the table as they come."""
    record = []
    print(f"\nhard limit {LIMIT // MIB} MiB, swap off; peaks in 10^6 bytes")
    print(
        f"{'what':28} {'status':>6} {'peak':>6} {'group':>6} {'predicted':>9} {'scale':>6} {'faces':>5} {'seconds':>7}"
    )
    for what, name, more, _ in CASES:
        look = ["detect", "--in-process", "--detector", DETECTOR, "--jsonl", *more]
        done = confined([*peephole(), *look, str(folder / name)], LIMIT)
        told = json.loads(done.output) if done.status == 0 else {}
        predicted = told["memory"]["predicted_mb"] if told else float("nan")
        scale = told["plan"]["base"][0] / told["width"] if told else float("nan")
        group = f"{done.group / 1e6:.0f}" if done.group is not None else "?"
        print(
            f"{what:28} {done.status:6} {done.peak / 1e6:6.1f} {group:>6} {predicted:9.1f} {scale:6.3f} "
            f"{len(told.get('faces', ())):5} {done.seconds:7.2f}",
            flush=True,
        )
        if done.status:
            print(f"    {done.kernel}; {done.errors.strip()[-300:] or 'no word on standard error'}")
        done.record = told
        record.append({"what": what, **vars(done)})
    print(f"\nhard limit {DLIB_LIMIT // MIB} MiB, swap off: dlib.cnn_face_detection_model_v1(...)(frame, 1), 1536x1536")
    dlib = confined([sys.executable, "-c", DLIB_CALL, model_path(), str(folder / "frame.npy")], DLIB_LIMIT)
    print(f"status {dlib.status} after {dlib.seconds:.1f} s, peak {dlib.peak / 1e6:.0f} MB; {dlib.kernel}")
    print("".join(f"    {line}\n" for line in (dlib.output + dlib.errors).splitlines()[-5:]), flush=True)
    for (what, _, _, bar), row in zip(CASES, record, strict=True):
        report.verdict(f"{what}: exit status", abs(row["status"]), 0)
        report.verdict(f"{what}: peak", row["peak"] / 1e6, bar, unit=" MB")
    report.verdict("dlib's own call: killed by SIGKILL", float(dlib.status == -9), 1, least=True)
    report.verdict("dlib's own call: killed by the kernel for memory", dlib.kills, 1, least=True)
    return [*record, {"what": "dlib", **vars(dlib)}]


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report()
    try:
        with limited(LIMIT) as group:
            print(f"cgroup version {group.version} at {group.folder.parent}")
        with tempfile.TemporaryDirectory() as folder:
            compose_jpegs(Path(folder), [(1536, 1536), (12000, 9000)], DETECTOR)
            print(f"12000x9000.jpg has {(Path(folder) / '12000x9000.jpg').stat().st_size / 1e6:.1f} MB")
            record = measure(report, Path(folder))
    except NotPermitted as reason:
        print(f"skipped: no memory cgroup can be made here: {reason}")
        sys.exit(1 if os.environ.get("CI", "").lower() in ("1", "true") else 0)
    report.end(options.json, cases=record)


if __name__ == "__main__":
    main()
