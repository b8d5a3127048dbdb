"""What follows from all that: the budget, whether a worker starts and looks, and how frames would be looked at."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import memory
from ..errors import (
    BudgetTooSmall,
    ModelError,
    PeepholeError,
    UsageError,
    WorkerCrashed,
    WorkerHung,
    WorkerKilled,
    WorkerKilledForMemory,
)
from ..memory import Budget, in_words
from .findings import Fact, Finding, State, reason

if TYPE_CHECKING:
    from ..frame import Pixels
    from ..pipeline import Analysis
    from ..planner import Plan, Size
    from ..worker.host import Options, WorkerHost
    from ..worker.messages import Ready

USUAL: tuple[Size, ...] = ((1536, 1536), (2592, 1944), (12000, 9000))
"""Snapshots to plan for: a doorbell's, a camera's of 5 megapixels, and the largest that is foreseen."""
SIDE = 1536
"""Pixels of the built-in frame, a side."""
PLACE = (520, 400)
"""Where on it the drawn face stands, x and y."""
START_SECONDS = 180.0
"""For a worker to be ready; on first use the models are prepared, on a slow box."""
LOOK_SECONDS = 120.0
FLOOR = 115 * 2**20
"""Bytes of a worker with its models loaded, where none has started to tell: measured on x86-64, either profile."""
COARSEST = 8 * 2**20
"""Bytes that the coarsest look at a doorbell's frame takes beyond that."""
DETAIL = 2**20
"""Bytes to which the budget for full detail is found."""

LOOSE = {
    "no_new_privileges": "programs that it starts may have more rights",
    "dies_with_parent": "it may outlive the program that started it",
    "first_to_go": "where memory is short, the kernel may kill something else first",
    "no_core": "a crash may write its memory to disk",
}
"""What it means where a part of `worker.confine.Confinement` was not to be had."""


def budget(requested: int | str | None, found: Budget) -> Iterator[Finding]:
    """What the process that looks may take, and whether that is there.

    Args:
        requested: as for `memory.find_budget`.
        found: what the machine leaves.
    """
    by_user = bool(requested is not None or os.environ.get(memory.MEMORY_VARIABLE))
    try:
        chosen = memory.find_budget(requested) if by_user else found
    except UsageError as error:
        advice = f"Unset {memory.MEMORY_VARIABLE}, or write it like 256MiB."
        yield Finding("budget", "problem", str(error), (advice,))
        return
    facts: dict[str, Fact] = {"bytes": chosen.bytes, "found": found.bytes, "source": chosen.source}
    summary = f"{in_words(chosen.bytes)}: {chosen.source}"
    if chosen.bytes <= FLOOR:
        advice = (
            f"The models alone take about {in_words(FLOOR)}, and the coarsest look at a frame {in_words(COARSEST)} "
            f"more. In a container raise its memory limit to {in_words(_container(FLOOR + COARSEST))} at least; "
            "elsewhere end something else."
        )
        yield Finding("budget", "problem", summary, (advice,), facts)
    elif by_user and chosen.bytes > found.bytes:
        advice = (
            f"Only {in_words(found.bytes)} are there ({found.source}): the kernel may kill the worker, whose frames "
            "are then looked at again more coarsely. Ask for less, or leave it to be found."
        )
        yield Finding("budget", "warning", f"{summary}; more than there is", (advice,), facts)
    else:
        yield Finding("budget", "ok", summary, facts=facts)


def _container(worker: int) -> int:
    """Bytes that a container needs for a worker of this size, the program that starts it, and the reserve."""
    return math.ceil((worker + memory.current_rss() + memory.RESERVE) / 2**20) * 2**20


def built_in(detector: str) -> tuple[Pixels, tuple[float, float]]:
    """A frame with one drawn face, (h, w, 3) uint8 RGB, and a point (x, y) inside the face.

    dlib's own detectors get a small one: on a large one they take seconds and gigabytes.
    """
    import numpy as np

    from ..sample import BOX, drawn_face

    face = drawn_face()
    middle = ((BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2)
    if detector.startswith("dlib-"):
        return face, middle
    frame = np.full((SIDE, SIDE, 3), (150, 160, 170), np.uint8)
    x, y = PLACE
    frame[y : y + face.shape[0], x : x + face.shape[1]] = face
    return frame, (middle[0] + x, middle[1] + y)


class Work:
    """A worker that is tried out, and the plans that follow from what it says."""

    def __init__(self, options: Options, detector: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start nothing yet.

        Args:
            options: which models, and the budget.
            detector: the detector's name.
            clock: seconds.
        """
        self._options, self._detector, self._clock = options, detector, clock
        self.ready: Ready | None = None

    def worker(self, make: Callable[[Options], WorkerHost] | None = None) -> Iterator[Finding]:
        """Start one, have it look at the built-in frame twice, and end it.

        Args:
            make: makes the host; by default as the commands do.
        """
        from ..worker.host import WorkerHost

        if make is None:
            host = WorkerHost(self._options, deadline=LOOK_SECONDS, start_deadline=START_SECONDS)
        else:
            host = make(self._options)
        try:
            begun = self._clock()
            ready = self.ready = host.ready()
            seconds = self._clock() - begun
            facts: dict[str, Fact] = {"seconds": round(seconds, 3), "floor": ready.floor, "budget": ready.budget}
            summary = f"ready after {seconds:.1f} s, {in_words(ready.floor)} with its models loaded"
            yield Finding("worker", "ok", summary, facts=facts)
            yield confinement(ready)
            yield from self._look(host)
        except PeepholeError as error:
            yield Finding("worker", "problem", reason(error), advice_for(error), {"kind": error.kind})
        finally:
            host.close()

    def _look(self, host: WorkerHost) -> Iterator[Finding]:
        frame, inside = built_in(self._detector)
        seconds = []
        for _ in range(2):
            begun = self._clock()
            analysis = host.analyse(frame, name="built-in", embed=True)
            seconds.append(self._clock() - begun)
        peak = analysis.memory.measured
        facts: dict[str, Fact] = {"seconds": round(seconds[1], 3), "peak": peak, "faces": len(analysis)}
        width, height = analysis.width, analysis.height
        summary = (
            f"{width}x{height}, {_faces(analysis)}: {seconds[0] * 1e3:.0f} ms, and {seconds[1] * 1e3:.0f} ms the "
            f"second time; peak {in_words(peak)}"
        )
        found = any(_holds(face.box, inside) for face in analysis.faces)
        if analysis.retried:
            advice = (
                "The kernel killed the worker for memory at first; the second try, within "
                f"{in_words(int(analysis.retried.budget))}, went well. Give it that with --memory, or raise the limit."
            )
            yield Finding("frame", "warning", summary, (advice,), facts)
        elif len(analysis) == 1 and found:
            yield Finding("frame", "ok", summary, facts=facts)
        else:
            state: State = "problem" if analysis.plan.coarsened_from is None else "note"
            advice = "One drawn face is on it: peephole selftest says what differs from the reference."
            yield Finding("frame", state, summary, (advice,), facts)

    def plans(self, sizes: Sequence[Size], found: Budget) -> Iterator[Finding]:
        """How frames of these sizes would be looked at: by what the worker says, or by what is found if none started.

        Args:
            sizes: (width, height); for the first one not to fit is a problem.
            found: the budget then.
        """
        floor, bytes_ = (self.ready.floor, self.ready.budget) if self.ready else (FLOOR, found.bytes)
        for index, size in enumerate(sizes):
            yield plan(size, self._detector, floor, bytes_, important=not index or sizes is not USUAL)


def plan(size: Size, detector: str, floor: int, budget: int, *, important: bool) -> Finding:
    """How a frame would be looked at.

    Args:
        size: the frame's (width, height).
        detector: its name.
        floor: bytes of the worker with its models loaded.
        budget: bytes that it may take.
        important: not to fit is a problem; it is a note otherwise.
    """
    name = f"{size[0]}x{size[1]}"
    try:
        planned = _planned(size, detector, budget - floor)
    except BudgetTooSmall as error:
        least = floor + error.needed
        advice = (
            f"The least budget that would do is {_mib(least)}, the frame looked at coarsely; in a container that is "
            f"a memory limit of {in_words(_container(least))}."
        )
        state: State = "problem" if important else "note"
        return Finding(name, state, f"does not fit into {_mib(budget)}", (advice,), {"least": least})
    facts: dict[str, Fact] = {
        "smallest_face": round(planned.smallest_face, 2),
        "peak": floor + math.ceil(planned.bytes),
    }
    face = f"faces from {planned.smallest_face:.0f} pixels"
    peak = _mib(floor + planned.bytes)
    if planned.coarsened_from is None:
        return Finding(name, "ok", f"in full detail, {face}; {peak}", facts=facts)
    enough = floor + _for_detail(size, detector, floor, budget)
    facts |= {"coarsened_from": round(planned.coarsened_from, 2), "full_detail": enough}
    advice = f"Full detail, faces from {planned.coarsened_from:.0f} pixels, takes a budget of {_mib(enough)}."
    return Finding(name, "note", f"coarsened to fit, {face}; {peak}", (advice,), facts)


def _planned(size: Size, detector: str, room: float) -> Plan:
    from .. import planner
    from ..detectors import profile

    return planner.plan(size, profile(detector), room=room, reducible=True, encoded=1)


def _for_detail(size: Size, detector: str, floor: int, budget: int) -> int:
    """Bytes above the floor with which a frame is looked at in full detail, to a megabyte above the least."""
    low, high = max(budget - floor, 0), 1 << 44  # the first is known not to do
    while high - low > DETAIL:
        middle = (low + high) // 2
        enough = False
        with suppress(BudgetTooSmall):
            enough = _planned(size, detector, middle).coarsened_from is None
        low, high = (low, middle) if enough else (middle, high)
    return high


def _mib(size: float) -> str:
    return f"{math.ceil(size / 2**20)} MiB"


def _faces(analysis: Analysis) -> str:
    return f"{len(analysis)} face{'' if len(analysis) == 1 else 's'} found"


def _holds(box: tuple[float, float, float, float], point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left < point[0] < right and top < point[1] < bottom


def confinement(ready: Ready) -> Finding:
    """What the worker gave up, and what it means where something was not to be had."""
    gave = ready.confinement
    facts: dict[str, Fact] = {name: getattr(gave, name) for name in (*LOOSE, "network", "data_bytes")}
    loose = [words for name, words in LOOSE.items() if not getattr(gave, name)]
    advice = []
    if gave.network != "none":
        advice.append(
            "A picture that took the worker over could reach the network. User namespaces would keep it from that: "
            "on Debian and Ubuntu sysctl kernel.unprivileged_userns_clone=1 and "
            "kernel.apparmor_restrict_unprivileged_userns=0; most containers have none: there give the container "
            "no more of the network than it needs."
        )
    if loose:
        advice.append(f"Not to be had here: {'; '.join(loose)}.")
    if advice:
        return Finding(
            "confinement", "note", f"network {gave.network}{'' if not loose else ', and less'}", tuple(advice), facts
        )
    return Finding("confinement", "ok", "no network, no new privileges, no core dumps, killed first", facts=facts)


def advice_for(error: PeepholeError) -> tuple[str, ...]:
    """What to do where the worker did not start or gave no answer."""
    cause = error.__cause__ if isinstance(error.__cause__, PeepholeError) else error
    match cause:
        case WorkerKilledForMemory():
            least = in_words(_container(FLOOR + COARSEST))
            return (f"Raise the memory limit, to {least} at least, or end what else takes memory: see above.",)
        case WorkerCrashed() if "SIGILL" in str(cause):
            return ("The processor lacks instructions that a library uses: see extensions and libraries above.",)
        case WorkerCrashed():
            return (
                "Native code crashed: a library that is damaged or does not fit. See libraries above; if they load, "
                "please report it with this page.",
            )
        case WorkerKilled():
            return (
                "Somebody killed it: a supervisor, a limit on processor time, or the kernel, unnoticed. See memory.",
            )
        case WorkerHung():
            return ("It takes too long: is the disk of the cache slow, or the machine busy?",)
        case ModelError():
            return ("See models and cache: a file is missing or changed, or the cache cannot be written.",)
        case BudgetTooSmall():
            return ("The memory is too little even for the coarsest look: see the budget and the plans.",)
        case _:
            return ("See libraries above. If they load: peephole detect --in-process on a picture says more.",)
