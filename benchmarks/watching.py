"""`peephole watch` from a closed file to the line of its visit, and its memory over many frames.

    python benchmarks/watching.py [--frames 2000] [--trials 40] [--json FILE]

A real command in a process of its own, with its worker, watches a folder into which 1536x1536 JPEGs are written, of a
person who is enrolled. "Idle": each trial begins when the visit before is over and nothing waits; its time is that from
the file's being closed to the visit's line on standard output, less what the stages of the frame's own line say that
looking took. Then frames are written one after another, a few of them waiting at any time, under 200 names that come
again; the size is the sum of the resident sizes of the command and all its descendants, what they share counted in
each, taken twice a second. Growth is from the median of the tenth after the first to that of the last tenth.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from common import Report, arguments, compose_jpegs
from peephole.timings.record import total

LATENCY_MS = 150.0
MEMORY_MB = 300.0
GROWTH_MB = 10.0
SIDE = 1536
GAP = 0.5
WAITING = 4
NAMES = 200


class Watch:
    """The command at work."""

    def __init__(self, folder: Path, gallery: Path) -> None:
        command = [sys.executable, "-m", "peephole", "watch", str(folder / "in"), "--jsonl", "--gap", str(GAP)]
        command += ["--queue", str(folder / "queue.db"), "--gallery", str(gallery)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: SimpleQueue[tuple[float, str]] = SimpleQueue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put((time.perf_counter(), line))

    def next(self, kind: str, seconds: float = 60.0) -> tuple[float, dict[str, Any]]:
        """The next message of a kind, and when it came."""
        while True:
            when, line = self._lines.get(timeout=seconds)
            message = json.loads(line)
            if message["type"] == kind:
                return when, message

    def size(self) -> int:
        """Resident bytes of the command and its descendants."""
        total, processes = 0, [self._process.pid]
        while processes:
            pid = processes.pop()
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                total += int(status.split("VmRSS:")[1].split()[0]) * 1024
                for task in Path(f"/proc/{pid}/task").iterdir():
                    processes += map(int, (task / "children").read_text().split())
            except (OSError, IndexError):  # it has just ended
                continue
        return total

    def stop(self) -> int:
        """End it; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


def upload(path: Path, data: bytes) -> float:
    """Write a file as an FTP server does; when it was closed."""
    with path.open("wb") as file:
        file.write(data)
    return time.perf_counter()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    if options.frames < 100:
        parser.error("--frames must be at least 100")
    report = Report()

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        compose_jpegs(folder, [(SIDE, SIDE)], "yunet")
        picture = (folder / f"{SIDE}x{SIDE}.jpg").read_bytes()
        enrol(folder / "gallery.db")
        watch = Watch(folder, folder / "gallery.db")
        count = 0

        def frame() -> tuple[Path, bytes]:
            """The next one: the same picture, its bytes unlike any other's."""
            nonlocal count
            count += 1
            return folder / "in" / f"{count % NAMES}.jpg", picture + count.to_bytes(8, "little")

        warm_up(watch, frame)
        latencies = [idle(watch, *frame()) for _ in range(options.trials)]
        latencies.sort()
        report.rows.append({"latencies_ms": latencies})
        print(f"median {statistics.median(latencies):.1f} ms, slowest {latencies[-1]:.1f} ms")
        report.verdict("closed to visit line beside looking, 95 of 100", at(latencies, 0.95), LATENCY_MS, unit=" ms")

        sizes: list[int] = []
        began, looked = time.perf_counter(), 0
        next_look = 0.0
        for _ in range(WAITING):
            upload(*frame())
        while looked < options.frames:
            watch.next("frame")
            looked += 1
            if looked + WAITING <= options.frames:
                upload(*frame())
            if time.perf_counter() >= next_look:
                sizes.append(watch.size())
                next_look = time.perf_counter() + 0.5
        rate = options.frames / (time.perf_counter() - began)
        tenth = len(sizes) // 10
        growth = statistics.median(sizes[-tenth:]) - statistics.median(sizes[tenth : 2 * tenth])
        print(f"{options.frames} frames, {rate:.1f} a second")
        report.verdict("memory of all processes", max(sizes) / 1e6, MEMORY_MB, unit=" MB")
        report.verdict("its growth", growth / 1e6, GROWTH_MB, unit=" MB")
        report.verdict("exit status", watch.stop(), 0)
    report.end(options.json, frames=options.frames, frames_a_second=rate)


def enrol(gallery: Path) -> None:
    """Make a gallery with one of the two who are on the frame."""
    from PIL import Image

    from peephole.demo import EILEEN, pixels

    photo = gallery.parent / "photo.png"
    Image.fromarray(pixels(EILEEN)).save(photo)
    command = [sys.executable, "-m", "peephole", "enroll", "Eileen", str(photo), "--gallery", str(gallery)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)


def warm_up(watch: Watch, frame: Any) -> None:
    """Upload until there is an answer: whatever came before the start is skipped."""
    for _ in range(60):
        upload(*frame())
        try:
            watch.next("frame", 1.0)
        except Empty:
            continue
        time.sleep(1.0)
        return
    sys.exit("no answer within a minute")


def idle(watch: Watch, path: Path, data: bytes) -> float:
    """Milliseconds from a file's being closed to the line of the visit that it opens, beside looking."""
    while watch.next("visit")[1]["event"] != "closed":
        pass
    time.sleep(0.3)
    closed = upload(path, data)
    _, seen = watch.next("frame")
    said, visit = watch.next("visit")
    if visit["event"] != "opened":
        sys.exit(f"a visit {visit['event']} where one was to open")
    return (said - closed) * 1e3 - total(seen["timings_ms"])


def at(values: list[float], part: float) -> float:
    """The value that this part of them does not exceed."""
    return values[min(int(len(values) * part), len(values) - 1)]


if __name__ == "__main__":
    main()
