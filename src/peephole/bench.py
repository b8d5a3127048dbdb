"""Configurations measured side by side: each in a process of its own, all on the same pictures, in turns."""

from __future__ import annotations

import importlib.util
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bench_pictures import Missing, Picture
from .errors import FrameError, ModelError, PeepholeError, UsageError, WorkerNotStarted
from .frame import Size
from .looking import Looking
from .match import People, Rule, Similarity
from .memory import find_budget, found_budget, usable_cpus
from .models import store
from .models.session import RUNTIMES
from .pipeline import Analysis, Scale
from .timings import StageClock
from .timings.record import Record

DETECTORS = {"yunet": store.YUNET, "mmod": store.MMOD, "dlib-cnn": store.MMOD, "dlib-hog": None}
RECOGNIZERS = {"sface": store.SFACE, "resnet": store.RESNET, "dlib-resnet": store.RESNET}
"""By name, what they need; dlib's own code comes last: its detector takes 17 s for a frame."""
REFERENCES = frozenset({"dlib-cnn", "dlib-hog", "dlib-resnet"})
"""dlib's own code: measured only when asked for; it takes no notice of runtime and threads."""
SHRUNK = 720
"""The longer side of the second scale, in pixels: that of the classic cure."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to look at frames.

    Attributes:
        detector, recognizer, runtime, threads: as for `pipeline.Pipeline`.
        scale: how large frames are looked at.
    """

    detector: str
    recognizer: str
    runtime: str = "onnxruntime"
    threads: int = 1
    scale: Scale = Scale()  # noqa: RUF009 - immutable

    def to_dict(self) -> dict[str, Any]:
        """As the file of measurements has it."""
        scale = {"max_side": self.scale.max_side, "upsample": self.scale.upsample}
        names = ("detector", "recognizer", "runtime", "threads")
        return {**{name: getattr(self, name) for name in names}, **scale}


def installed(*, references: bool = False) -> tuple[list[str], list[str]]:
    """The detectors and the recognizers whose files are here; dlib's own code only with ``references``."""
    found: list[list[str]] = []
    for kind in (DETECTORS, RECOGNIZERS):
        names = [name for name in kind if references or name not in REFERENCES]
        found.append([name for name in names if _here(name, kind[name])])
    return found[0], found[1]


def _here(name: str, asset: store.Asset | None) -> bool:
    if name in REFERENCES and importlib.util.find_spec("dlib") is None:
        return False
    try:
        if asset is not None:
            store.locate(asset)
    except ModelError:
        return False
    return True


def runtimes() -> list[str]:
    """Those that are installed."""
    return [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]


def thread_counts() -> list[int]:
    """One thread, and one a processor that this process may use."""
    return sorted({1, usable_cpus()})


def scales(pictures: Iterable[Picture]) -> list[Scale]:
    """The native size, and `SHRUNK` where that is smaller."""
    larger = any(max(each.size) > SHRUNK for each in pictures)
    return [Scale(), Scale(max_side=SHRUNK)] if larger else [Scale()]


def configurations(
    detectors: Iterable[str],
    recognizers: Iterable[str],
    runtimes: Sequence[str],
    threads: Sequence[int],
    scales: Iterable[Scale],
) -> list[Configuration]:
    """All combinations, each once; what is dlib's own code alone is not measured for every runtime and thread count."""
    found: dict[Configuration, None] = {}
    for detector, recognizer, runtime, count, scale in itertools.product(
        detectors, recognizers, runtimes, threads, scales
    ):
        if {detector, recognizer} <= REFERENCES:
            runtime, count = runtimes[0], threads[0]
        found[Configuration(detector, recognizer, runtime, count, scale)] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class Look:
    """One time that one configuration looked at one picture, or tried to.

    Attributes:
        picture: its name.
        round: which time it was, from 0 on.
        record: how long it took.
    """

    picture: str
    round: int
    record: Record


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one configuration.

    Attributes:
        configuration: which.
        looks: those that count, without the warm-up, in the order of time.
        analyses: what was seen on each picture, by its name.
        problems: the pictures that it could not look at, and why.
        error: why it could not be measured at all, or None.
        similarity: how its recognizer compares vectors; None where nobody was named.
    """

    configuration: Configuration
    looks: tuple[Look, ...] = ()
    analyses: tuple[tuple[str, Analysis], ...] = ()
    problems: tuple[Missing, ...] = ()
    error: PeepholeError | None = None
    similarity: Similarity | None = None

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        """Of all stages together, for each look."""
        return np.array([each.record.total_ms for each in self.looks], np.float64)

    def quartiles(self, stage: str | None = None) -> tuple[float, float, float]:
        """The first quartile, the median and the third, in milliseconds: of a stage, or of all together.

        NaN where nothing was measured.
        """
        if not self.looks:
            return math.nan, math.nan, math.nan
        stages = [each.record.stages.get(stage, 0.0) for each in self.looks] if stage else self.milliseconds
        first, median, third = (float(value) for value in np.percentile(stages, (25, 50, 75)))
        return first, median, third

    @property
    def peak_mb(self) -> float:
        """The largest resident memory that its process had, in 10^6 bytes; NaN where nothing was measured."""
        return max((each.memory.measured / 1e6 for _, each in self.analyses), default=math.nan)

    @property
    def smallest_face(self) -> float:
        """Side of the smallest face that is found on every picture, in native pixels; NaN likewise."""
        return max((each.plan.smallest_face for _, each in self.analyses), default=math.nan)

    @property
    def faces(self) -> int:
        """How many were found on all pictures together, each looked at once."""
        return sum(len(each) for _, each in self.analyses)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The looks as lines of a timing log, each with the configuration and round under ``bench``."""
        for look in self.looks:
            yield look.record.to_dict() | {"bench": {**self.configuration.to_dict(), "round": look.round}}
        setup = self.configuration
        problems: list[tuple[str, PeepholeError]] = [*self.problems]
        if self.error is not None and self.error not in [error for _, error in problems]:
            problems.append(("", self.error))
        for name, error in problems:
            failed = replace(
                Record.failed(name, error, StageClock()),
                detector=setup.detector,
                recognizer=setup.recognizer,
                runtime=setup.runtime,
                threads=setup.threads,
            )
            yield failed.to_dict() | {"bench": setup.to_dict()}


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured.

    Attributes:
        results: of each configuration, in the order given.
        rounds: how many rounds were finished.
        interrupted: whether somebody ended it.
    """

    results: tuple[Result, ...]
    rounds: int
    interrupted: bool = False

    @property
    def blind(self) -> tuple[Missing, ...]:
        """The pictures that no configuration could look at, all for the same reason."""
        first, *others = [dict(each.problems) for each in self.results if each.error is None] or [{}]
        return tuple(
            (name, error)
            for name, error in first.items()
            if all(name in each and each[name].kind == error.kind for each in others)
        )


Open = Callable[[Configuration], Looking]
Knowing = Callable[[Looking], tuple[People | None, Rule | None]]
"""Whom a configuration's recognizer knows, and what decides; asked once for each."""


def in_worker(memory: int | str | None = None) -> Open:
    """Looks in a worker process; see `worker.host.WorkerHost`.

    Args:
        memory: the budget of each; by default what is found now, the same for all.

    Raises:
        UsageError: ``memory`` is no size.
    """
    from .worker.host import Options, WorkerHost

    budget = find_budget(memory).bytes

    def opened(each: Configuration) -> Looking:
        return WorkerHost(
            Options(
                detector=each.detector,
                recognizer=each.recognizer,
                runtime=each.runtime,
                threads=each.threads,
                memory=budget,
            )
        )

    return opened


def measure(
    configurations: Sequence[Configuration],
    pictures: Sequence[Picture],
    *,
    opened: Open | None = None,
    repeat: int = 5,
    time_budget: float | None = None,
    knowing: Knowing | None = None,
    room: float | None = None,
    told: Callable[[str], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Bench:
    """Measure configurations on the same pictures, in turns, so that what else the machine does hits all alike.

    Every configuration is warmed up on one picture of each size, which does not count. Then they look at one picture
    after the other, each at the same one before the next, in an order that changes. Processes stay open as long as
    their memory fits into ``room``; those that do not fit are started, warmed up and ended anew in each round.

    What fails is left out from then on, and told in the results: a picture for one configuration, or a configuration.
    An interrupt (`KeyboardInterrupt`) ends the measuring, not the caller: what there is comes back.

    Args:
        configurations: what to measure.
        pictures: at least one.
        opened: makes what looks at frames; by default a worker process.
        repeat: rounds, at least one.
        time_budget: seconds after which no other round is begun and one after the first is broken off.
        knowing: whom each recognizer knows; by default nobody is named. What it raises ends the measuring.
        room: bytes that idle processes may take together; by default half of what is available.
        told: of each look before it begins: ``yunet+sface built-in/noon``.
        clock: seconds.

    Returns:
        The results, in the order of the configurations.
    """
    runs = [_Run(each, opened or in_worker(), knowing, told or (lambda _: None)) for each in configurations]
    room = found_budget().bytes / 2 if room is None else room
    end = math.inf if time_budget is None else clock() + time_budget
    rounds, interrupted = 0, False

    def late() -> bool:
        return clock() >= end

    try:
        for run in runs:
            run.start(pictures)
            if run.open and run.peak <= room:
                room -= run.peak
            else:
                run.close()
        for number in range(repeat):
            if not _round(number, runs, pictures, late if number else _never):
                break
            rounds += 1
    except KeyboardInterrupt:
        interrupted = True
    finally:
        for run in runs:
            run.close()
    return Bench(tuple(run.result() for run in runs), rounds, interrupted)


def _never() -> bool:
    return False


def _round(number: int, runs: Sequence[_Run], pictures: Sequence[Picture], over: Callable[[], bool]) -> bool:
    """Every configuration on every picture once; whether it was finished."""
    together = [run for run in runs if run.open]
    alone = [run for run in runs if not run.open and run.error is None]
    for index, picture in enumerate(pictures):
        if over():
            return False
        first = (index + number) % max(1, len(together))
        for run in together[first:] + together[:first]:
            run.look(picture, number)
    for run in alone:
        if over():
            return False
        run.start(pictures)
        for picture in pictures:
            run.look(picture, number)
        run.close()
    return True


class _Run:
    """One configuration while it is measured."""

    def __init__(
        self, configuration: Configuration, opened: Open, knowing: Knowing | None, told: Callable[[str], object]
    ) -> None:
        self._configuration, self._opened, self._knowing, self._told = configuration, opened, knowing, told
        self._looking: Looking | None = None
        self._known: tuple[People | None, Rule | None] | None = None if knowing else (None, None)
        self._looks: list[Look] = []
        self._analyses: dict[str, Analysis] = {}
        self._problems: dict[str, FrameError] = {}
        self.error: PeepholeError | None = None
        self.peak = 0.0
        """Bytes that its process has had at the most."""

    @property
    def open(self) -> bool:
        """Whether its process runs."""
        return self._looking is not None

    def start(self, pictures: Sequence[Picture]) -> None:
        """Start its process and look at the first picture of each size."""
        self._looking = self._opened(self._configuration)
        sizes: set[Size] = set()
        for picture in pictures:
            if picture.size not in sizes and self._see(picture) is not None:
                sizes.add(picture.size)
            if self.error is not None:
                return
        if not sizes:  # not one picture could be seen
            self.error = next(iter(self._problems.values()))
            self.close()

    def look(self, picture: Picture, number: int) -> None:
        """Look at a picture, and take its time."""
        analysis = self._see(picture)
        if analysis is not None:
            self._looks.append(Look(picture.name, number, Record.of(analysis)))
            self._analyses.setdefault(picture.name, analysis)

    def _see(self, picture: Picture) -> Analysis | None:
        """An analysis; None where there is none to be had, now or ever."""
        if self._looking is None or picture.name in self._problems:
            return None
        self._told(f"{self._configuration.detector}+{self._configuration.recognizer} {picture.name}")
        try:
            if self._known is None and self._knowing is not None:
                self._known = self._knowing(self._looking)
            people, rule = self._known or (None, None)
            analysis = self._looking.analyse(
                picture.source,
                name=picture.name,
                scale=self._configuration.scale,
                embed=True,
                people=people,
                rule=rule,
            )
        except FrameError as error:
            if isinstance(error, WorkerNotStarted):
                self._fail(error)
            else:
                self._problems[picture.name] = error
            return None
        except (ModelError, UsageError) as error:  # UsageError: no such runtime here
            self._fail(error)
            return None
        self.peak = max(self.peak, analysis.memory.measured)
        return analysis

    def _fail(self, error: PeepholeError) -> None:
        self.error = error
        self.close()

    def close(self) -> None:
        """End its process."""
        if self._looking is not None:
            looking, self._looking = self._looking, None
            looking.__exit__(None, None, None)

    def result(self) -> Result:
        """What was measured."""
        problems, seen = tuple(self._problems.items()), tuple(self._analyses.items())
        rule = self._known[1] if self._known else None
        similarity = rule.similarity if rule else None
        return Result(self._configuration, tuple(self._looks), seen, problems, self.error, similarity)
