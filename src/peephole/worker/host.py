"""The host: one worker kept running, one frame after another, and an answer to each whatever happens to the worker.

Nothing of the models is imported here. What looks at frames is another process, see `child`; whose faces they are is
decided here, by numbers alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import numpy as np

from .. import __version__
from ..errors import (
    BudgetTooSmall,
    UsageError,
    WorkerError,
    WorkerKilled,
    WorkerKilledForMemory,
    WorkerNotStarted,
    WorkerProtocolError,
)
from ..faces import Face, Faces
from ..frame import Frame, Pixels, Source, open_source
from ..geometry import IDENTITY
from ..pipeline import DEFAULT_PROFILE, Analysis, Asked, Retry, Scale, check, check_people, decide
from ..timings import StageClock
from ..upright import check_rotate
from .channel import anonymous_file
from .messages import (
    Answer,
    Cut,
    Cutting,
    Draw,
    Drawn,
    Embed,
    Embedded,
    Failed,
    Identity,
    Look,
    Message,
    Picture,
    Ready,
    Request,
    Seen,
    Show,
    Shown,
    Start,
    Stored,
    same_version,
)
from .process import COMMAND, Process
from .quarantine import set_aside

if TYPE_CHECKING:
    from ..gallery import Photo, StoredFace
    from ..recognizers import Embeddings

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

A = TypeVar("A", bound=Answer)
DOING: dict[type[Request], str] = {
    Look: "looking at the frame",
    Draw: "drawing",
    Cut: "cutting out a face",
    Embed: "embedding stored faces",
    Show: "looking at a stored face",
}

DEADLINE = 300.0
"""Seconds for a frame. The slowest plan that was measured, dlib's own network on 1536x1536 enlarged once, takes 61."""
START_DEADLINE = 120.0
"""Seconds to load the models; on first use they are built, on a slow box."""
KILLS = 5
"""Tries for a frame whose worker is killed from outside: that is not the frame's doing."""
LEARNED = 0.85
"""How much of what it had when the kernel killed it a worker may take from then on."""
REMEMBERED = 3600.0
"""Seconds for which that holds: the memory may have been somebody else's for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Which models a worker loads, and within what budget; see `pipeline.Pipeline`.

    Attributes:
        detector, recognizer, profile, threads, memory, runtime, precision: as for the pipeline, models by name.
        embed: load the recognizer too; a host without it only detects.
    """

    detector: str | None = None
    recognizer: str | None = None
    profile: str = DEFAULT_PROFILE
    threads: int | None = None
    memory: int | str | None = None
    runtime: str = "onnxruntime"
    precision: str = "float32"
    embed: bool = True


class Backoff:
    """How long to wait before the next start: not at all after a first failure, then longer each time."""

    def __init__(self, first: float = 0.1, most: float = 5.0) -> None:
        """Bounds of the waiting, in seconds."""
        self._first, self._most, self._failures = first, most, 0

    def failed(self) -> float:
        """Count a failure; returns how many seconds to wait."""
        self._failures += 1
        return 0.0 if self._failures == 1 else min(self._most, self._first * 2.0 ** min(self._failures - 2, 30))

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0


class WorkerHost:
    """Looks at frames in a worker process and outlives it; see docs/reliability.md.

    A frame whose worker the kernel kills for memory is tried once more within a smaller budget, which is kept for the
    frames after it. One whose worker is killed from outside is tried again as it is. All else fails the frame at hand,
    and the next one has a new worker. Calls from several threads wait for one another; the worker dies with the thread
    that made the call by which it was started.
    """

    def __init__(
        self,
        options: Options = Options(),
        *,
        deadline: float = DEADLINE,
        start_deadline: float = START_DEADLINE,
        quarantine: str | os.PathLike[str] | None = None,
        command: Sequence[str] = COMMAND,
        started: Process | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Start nothing yet.

        Args:
            options: the models and the budget.
            deadline: seconds for each attempt at a frame.
            start_deadline: seconds for loading the models.
            quarantine: a folder for copies of the frames that a worker did not survive; None keeps none.
            command: starts a worker; a descriptor is added to it.
            started: the first worker, where the caller has started it: it loads while the caller does.
            backoff: how long to wait before a worker is started again.
            clock, sleep: seconds, and waiting for them.

        Raises:
            UsageError: a deadline that nothing could meet.
        """
        if not (deadline > 0 and start_deadline > 0):
            raise UsageError(f"a deadline must be a positive number of seconds, not {min(deadline, start_deadline)}")
        self._options = options
        self._deadline, self._start_deadline = deadline, start_deadline
        self._quarantine = None if quarantine is None else Path(quarantine)
        self._command, self._backoff, self._clock, self._sleep = command, backoff or Backoff(), clock, sleep
        self._lock = threading.RLock()
        self._started = started
        self._process: Process | None = None
        self._ready: Ready | None = None
        self._last: Ready | None = None  # what the last worker that was ready had loaded
        self._not_before = 0.0
        self._learned: tuple[int, float] | None = None
        self.starts = 0
        """Workers that were started so far."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Start a worker, if there is none, without waiting until it is ready.

        Raises:
            WorkerNotStarted: the system cannot start it.
        """
        with self._lock:
            if self._process is not None and not self._process.alive:
                error = self._process.end().error("waiting for a frame")
                self._gone(error)
            if self._process is not None:
                return
            if (wait := self._not_before - self._clock()) > 0:
                self._sleep(wait)
            try:
                self._process = self._first() or Process(self._command)
            except OSError as error:
                raise WorkerNotStarted(f"the worker cannot be started: {error}") from error
            self.starts += 1
            named = {name: getattr(self._options, name) for name in Options.__dataclass_fields__}
            try:
                self._process.send(Start(version=__version__, **named), None, "starting")
            except WorkerError as error:
                raise self._gone(error, starting=True) from error

    def _first(self) -> Process | None:
        """The worker that the caller has started, once, if it has not ended since."""
        first, self._started = self._started, None
        if first is None or first.alive:
            return first
        log.warning("%s", first.end().error("starting"))
        return None

    def ready(self) -> Ready:
        """What the worker has loaded; waits for it, and starts another if somebody kills it meanwhile.

        Raises:
            WorkerNotStarted: it did not get as far, and why.
            UsageError, ModelError: the options cannot work, or a model cannot be used.
        """
        with self._lock:
            for _ in range(KILLS - 1):
                try:
                    return self._handshake()
                except WorkerNotStarted as error:
                    if not isinstance(error.__cause__, WorkerKilled):
                        raise
            return self._handshake()

    def _handshake(self) -> Ready:
        self.start()
        if self._ready is not None:
            return self._ready
        try:
            answer = self._asked(lambda process: process.receive(self._start_deadline, "loading its models"))
        except WorkerError as error:
            raise self._gone(error, starting=True) from error
        if isinstance(answer, Failed):
            self._stop()
            raise answer.error()
        if not isinstance(answer, Ready):
            raise self._nonsense(answer)
        same_version(answer.version)
        self._ready = self._last = answer
        return answer

    @property
    def pid(self) -> int | None:
        """The worker's process, if there is one."""
        return self._process.pid if self._process else None

    @property
    def recognizer(self) -> Identity:
        """The recognizer that the worker has loaded.

        Raises:
            UsageError: the options ask for none.
        """
        identity = (self._last or self.ready()).recognizer
        if identity is None:
            raise UsageError("this worker was started without a recognizer: it finds faces and no more")
        return identity

    def analyse(
        self,
        source: Source | Frame,
        *,
        name: str | None = None,
        clock: StageClock | None = None,
        **asked: Unpack[Asked],
    ) -> Analysis:
        """Look at one frame; as `Pipeline.analyse`, but for what is named here.

        Args:
            source: a path, encoded bytes, or an (h, w, 3) uint8 RGB array.
            name: what the frame is called; by default the path, "bytes" or "array".
            clock: gets the worker's stages too, also those of a frame that fails.
            asked: see `Pipeline.analyse`.

        Raises:
            WorkerError: the worker gave no answer; by its kind, why.
            FrameError, PeopleError, UsageError, ModelError: as there.
        """
        people, least, threshold = asked.get("people"), asked.get("min_confidence"), asked.get("threshold")
        check(least, threshold)
        check_rotate(rotate := asked.get("rotate"))
        clock = clock or StageClock()
        twins = asked.get("twins", False)
        embed = asked.get("embed", False) or twins or people is not None
        recognizer = self.recognizer if embed else None
        if people is not None and recognizer is not None:
            check_people(people, recognizer)
        with self._lock, _picture(source, name) as (picture, descriptor):
            request = Look(picture, asked.get("scale", Scale()), least, rotate, embed, twins, None)
            analysis = self._looked_at(request, descriptor, clock)
        clock.update(analysis.timings_ms, analysis.cpu_ms)
        faces = analysis.faces
        if people is not None and recognizer is not None:
            with clock.stage("match"):
                faces = decide(faces, people, asked.get("rule") or recognizer.rule, threshold)
        return replace(analysis, faces=faces, timings_ms=clock.rounded(), cpu_ms=clock.rounded_processor())

    def draw(self, source: Source | Frame, analysis: Analysis, target: str | os.PathLike[str]) -> str | None:
        """Have the faces of an analysis drawn on a copy of its frame, a JPEG.

        Returns:
            The reason why it cannot be written, or None.

        Raises:
            FrameError: the frame cannot be decoded any more, or the worker gave no answer.
        """
        faces = replace(analysis.faces, embeddings=None)
        with _picture(source, analysis.source) as (picture, descriptor):
            request = Draw(picture, analysis.plan.reduction, faces, os.fspath(target))
            return self._answer(request, Drawn, descriptor).problem

    def photo(self, source: Source | Frame, analysis: Analysis, face: Face) -> Photo:
        """A face of an analysis as a gallery keeps it, cut out of its frame.

        Raises:
            FrameError: the frame cannot be decoded any more, or the worker gave no answer.
        """
        from ..gallery import Photo

        with _picture(source, analysis.source) as (picture, descriptor):
            request = Cut(picture, analysis.plan.reduction, Faces.of(face))
            cutting = self._answer(request, Cutting, descriptor)
        return Photo(**{each.name: getattr(cutting, each.name) for each in fields(cutting)})

    def vectors(self, stored: Sequence[StoredFace]) -> Embeddings:
        """A gallery's faces, n of them, by the recognizer: (n, 2, d); see `enrolment.vectors_of`.

        Raises:
            GalleryDamaged: a crop is no picture.
            WorkerError: the worker gave no answer.
        """
        return self._answer(Embed(tuple(map(_stored, stored))), Embedded).vectors

    def portrait(self, stored: StoredFace) -> Pixels:
        """A gallery's face for people to look at, (h, w, 3) uint8 RGB.

        Raises:
            GalleryDamaged: its crop is no picture.
            WorkerError: the worker gave no answer.
        """
        return self._answer(Show(_stored(stored)), Shown).pixels

    def close(self) -> None:
        """End the worker. The next frame would start another."""
        with self._lock:
            self._process = self._process or self._first()
            self._stop()

    def _looked_at(self, request: Look, descriptor: int | None, clock: StageClock) -> Analysis:
        """Try, and try again where that makes sense; set a frame aside that no worker survives."""
        kills, killed = 0, False
        while True:
            try:
                request = replace(request, learned=self._budget())
                seen = self._answer(request, Seen, descriptor, clock)
            except WorkerNotStarted:  # no frame's doing
                raise
            except WorkerKilled:
                if (kills := kills + 1) >= KILLS:
                    raise
            except WorkerKilledForMemory as error:
                self._learn(error)
                if killed:
                    again = WorkerKilledForMemory(f"{error}, for the second time", peak=error.peak)
                    raise self._aside(again, request.picture, descriptor) from error
                killed = True
            except WorkerError as error:
                raise self._aside(error, request.picture, descriptor) from error
            except BudgetTooSmall as error:
                self._learned = None  # nothing is left of it: the next frame finds out how things are then
                if not killed:
                    raise
                first = "at first the kernel killed the worker for memory"
                raise BudgetTooSmall(f"{error}; {first}", needed=error.needed) from error
            else:
                analysis = seen.analysis
                retry = Retry(WorkerKilledForMemory.kind, analysis.memory.budget) if killed else None
                return replace(analysis, retried=retry)

    def _answer(
        self, request: Request, due: type[A], descriptor: int | None = None, clock: StageClock | None = None
    ) -> A:
        """One attempt."""
        doing = DOING[type(request)]

        def ask(process: Process) -> Message:
            process.send(request, descriptor, doing)
            return process.receive(self._deadline, doing)

        with self._lock:
            self.ready()
            try:
                answer = self._asked(ask)
            except WorkerError as error:
                raise self._gone(error) from error.__cause__
            self._backoff.succeeded()
            if isinstance(answer, due):
                return answer
            if not isinstance(answer, Failed):
                raise self._nonsense(answer)
        if clock:
            clock.update(answer.timings_ms, {})
        raise answer.error()

    def _asked(self, ask: Callable[[Process], Message]) -> Message:
        """An answer; nobody leaves here with a request that is under way."""
        assert self._process is not None  # noqa: S101 - the callers have started it
        try:
            return ask(self._process)
        except WorkerError:
            raise
        except BaseException:  # an interrupt: its answer would be taken for the next request's
            self._stop()
            raise

    def _nonsense(self, answer: Message) -> WorkerError:
        return self._gone(WorkerProtocolError(f"the worker said {type(answer).__name__}, which nobody asked for"))

    def _gone(self, error: WorkerError, *, starting: bool = False) -> WorkerError:
        """Take note that the worker is of no more use, and why; how the caller should put it."""
        log.warning("%s", error)
        self._stop()
        self._not_before = self._clock() + self._backoff.failed()
        if starting and not isinstance(error, WorkerNotStarted):
            named = WorkerNotStarted(f"the worker did not start: {error}")
            named.__cause__ = error
            return named
        return error

    def _stop(self) -> None:
        if self._process is not None:
            process, self._process, self._ready = self._process, None, None
            process.end(grace=0.0)  # it keeps nothing that it could lose

    def _budget(self) -> int | None:
        """What was learned, as long as that holds."""
        if self._learned and self._clock() - self._learned[1] > REMEMBERED:
            self._learned = None
        return self._learned[0] if self._learned else None

    def _learn(self, error: WorkerKilledForMemory) -> None:
        """Take a budget below what was too much."""
        known = (error.peak, self._last.budget if self._last else 0, self._budget() or 0)
        budget = int(LEARNED * min(each for each in known if each))
        self._learned = (budget, self._clock())
        log.warning("from now on at most %.0f MB: %s", budget / 1e6, error)

    def _aside(self, error: WorkerError, picture: Picture, descriptor: int | None) -> WorkerError:
        """The error as the frame's result has it, after the frame was set aside."""
        if self._quarantine is None or picture.kind == "pixels":
            return error
        kept = set_aside(self._quarantine, picture.name, picture.name if descriptor is None else descriptor, error)
        where = f"set aside as {kept}" if kept else f"it could not be set aside in {self._quarantine}"
        error.args = (f"{error}; {where}",)
        log.warning("%s: %s", picture.name, where)
        return error


@contextmanager
def _picture(source: Source | Frame, name: str | None) -> Iterator[tuple[Picture, int | None]]:
    """What to tell the worker of a picture, and the descriptor that holds its bytes where it is no file."""
    if isinstance(source, (np.ndarray, Frame)):
        frame = open_source(source)
        assert isinstance(frame, Frame)  # noqa: S101 - there is nothing to be decoded
        if frame.to_native != IDENTITY:
            raise UsageError("a frame that was decoded smaller cannot be handed over: hand over its picture")
        with anonymous_file(frame.pixels.data.cast("B")) as descriptor:
            yield Picture("pixels", name or frame.source, frame.size), descriptor
    elif isinstance(source, bytes):
        with anonymous_file(source) as descriptor:
            yield Picture("encoded", name or "bytes"), descriptor
    else:
        yield Picture("file", os.fsdecode(source)), None


def _stored(face: StoredFace) -> Stored:
    return Stored(face.id, Cutting(**{each.name: getattr(face, each.name) for each in fields(Cutting)}))
