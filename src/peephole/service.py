"""What runs on and on: sources → queue → analysis → visits → sinks, and nothing that was accepted is lost on the way.

A source puts frames into the queue from a thread of its own. The caller's thread takes one after another, has it
analysed, and records in one transaction the frame's result, the visits' events that follow from it and the visits'
state. Each sink has a thread too, and takes its messages off the queue's file at its own pace: one that is slow or
fails holds up nobody else.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from .crops import Crops
from .errors import (
    FrameAbandoned,
    FrameError,
    GalleryError,
    PeepholeError,
    SpoolFull,
    WorkerNotStarted,
    WorkerProtocolError,
)
from .faces import IGNORED, Match
from .gallery import Gallery
from .looking import Looking
from .match import People, Rule
from .people import Known
from .pipeline import Analysis, Scale
from .remember import remember
from .spool import MOST_BYTES, MOST_FRAMES, Claimed, Message, Spool, result
from .timings.clock import StageClock
from .timings.observe import Observers
from .timings.record import Record
from .visits import GAP, Best, Event, Picture, Sighting, Track, Visit, Visits, weight
from .worker.values import Arrays, pack, unpack

MOST_CLAIMS = 5
"""Times that the whole program may end while it looks at a frame; then the frame is answered unlooked at.

Some systems kill all of a container's processes when one of them takes too much memory.
"""
FORM = 2
"""Of the visits as they are kept; counts up when that changes. The first named none."""
TICK = 1.0
"""Seconds between two looks at the clock while a visit is going on."""
IDLE = 30.0
"""The same while there is none."""
PAUSE = 60.0
"""Seconds at the most before something that failed is tried again; it begins with one."""
GRACE = 10.0
"""Seconds that sinks have at the end for what is still to be delivered."""

log = logging.getLogger(__name__)


class FrameSource(Protocol):
    """Where frames come from: a folder, a broker, a camera."""

    def run(self, spool: Spool, stop: threading.Event) -> None:
        """Put frames into the queue until told to stop.

        Called in a thread of its own, with an open queue of its own. What it raises ends the service.
        """
        ...


class Sink(Protocol):
    """Where results and visits go: a terminal, a command, a broker."""

    @property
    def name(self) -> str:
        """What the queue calls it; the same the next time, since messages may wait for it."""
        ...

    def deliver(self, message: Message) -> None:
        """Take a message. One may come twice if the program is killed meanwhile: its numbers tell.

        All calls come from one thread, the first one too.

        Raises:
            PeepholeError: not now; the same message will come again, and none before it. So it is with an `OSError`
                that says that a disk is full; any other ends the service.
        """
        ...

    def close(self) -> None:
        """There will be no more."""
        ...


class Service:
    """Works through a queue until it is stopped; see the module."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        looking: Looking,
        gallery: Gallery,
        *,
        sources: Sequence[FrameSource] = (),
        sinks: Sequence[Sink] = (),
        scale: Scale = Scale(),  # noqa: B008 - immutable
        min_confidence: float | None = None,
        rotate: int | None = None,
        gap: float = GAP,
        most_frames: int = MOST_FRAMES,
        most_bytes: int = MOST_BYTES,
        full: Literal["refuse", "drop-oldest"] = "refuse",
        keep_unknown: bool = False,
        crops: Crops | None = None,
        observers: Observers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start nothing yet.

        Args:
            path: the queue's file.
            looking: looks at the frames, in the thread that calls `run`.
            gallery: whom the faces are compared with, read again whenever it has changed.
            sources, sinks: where frames come from and results go.
            scale, min_confidence, rotate: see `Pipeline.analyse`.
            gap: seconds without a face after which a visit is over.
            most_frames, most_bytes, full: the queue's bounds and what happens beyond them; see `Spool`.
            keep_unknown: faces that nobody knows are kept in the gallery; see `remember.remember`.
            crops: where each face of a visit is written as it is seen best; None writes none.
            observers: are told of each frame's timings once its result is recorded; the caller closes them.
            clock: the time, UTC seconds.
        """
        self._path, self._looking, self._gallery = path, looking, gallery
        self._sources, self._sinks = tuple(sources), tuple(sinks)
        self._scale, self._min_confidence, self._rotate, self._gap = scale, min_confidence, rotate, gap
        self._bounds: dict[str, Any] = {"most_frames": most_frames, "most_bytes": most_bytes, "full": full}
        self._keep_unknown, self._crops, self._clock = keep_unknown, crops, clock
        self._observers = observers or Observers()
        self._known = Known()
        self._last: tuple[People, Rule] | None = None
        # Not an Event: its lock is not for signal handlers, and putting something here is.
        self._wake: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._stopping = False
        self._ended = threading.Event()  # for sources
        self._finishing = threading.Event()  # for sinks
        self._due = [threading.Event() for _ in self._sinks]

    def stop(self) -> None:
        """Have `run` finish the frame at hand and return; what waits stays in the queue. For signal handlers too."""
        self._stopping = True
        self._wake.put(None)

    def run(self) -> None:
        """Work until `stop`; then close the visits that are going on, and deliver what can be delivered.

        Raises:
            SpoolBusy: another process works through this queue.
            PeepholeError: no frame's fault: the models, the gallery or the queue cannot be used. All frames wait.
            OSError: a sink cannot be written to any more.
        """
        with self._open() as spool, spool.working():
            spool.retire()
            people, rule = self._people()
            self._visits = Visits(people, rule, gap=self._gap)
            self._restore(spool)
            sources = [threading.Thread(target=self._take_from, args=(each,), daemon=True) for each in self._sources]
            sinks = [
                threading.Thread(target=self._deliver_to, args=(sink, due), daemon=True)
                for sink, due in zip(self._sinks, self._due, strict=True)
            ]
            for thread in (*sinks, *sources):
                thread.start()
            try:
                while not self._stopping:
                    self._step(spool)
                self._ended.set()
                for thread in sources:
                    thread.join()
                self._close(spool)
            finally:
                self._ended.set()
                self._finishing.set()
                self._tell()
                for thread in (*sources, *sinks):
                    thread.join(GRACE)

    def _open(self) -> Spool:
        names = [sink.name for sink in self._sinks]
        return Spool(self._path, sinks=names, told=self._tell, **self._bounds)

    def _tell(self) -> None:
        """There is something to work on, or to deliver."""
        self._wake.put(None)
        for due in self._due:
            due.set()

    # -- the caller's thread --------------------------------------------------------------------------------------

    def _step(self, spool: Spool) -> None:
        """Look at the next frame, or at the clock, or wait."""
        try:
            claimed = spool.claim()
            if claimed is not None:
                self._work(spool, claimed)
                return
            self._tick(spool)
            spool.tidy()
            if self._crops:
                self._crops.tidy()
            self._observers.flush()
        except SpoolFull as error:
            self._pause(error)
        else:
            self._wait(TICK if self._visits.open else IDLE)

    def _work(self, spool: Spool, claimed: Claimed) -> None:
        arrival, before = claimed.arrival, self._visits.open
        events = list(self._visits.tick(arrival.arrived))
        clock = StageClock()
        clock.waited("queue", self._clock() - arrival.arrived)
        seen: Analysis | FrameError
        try:
            seen = analysis = self._look(claimed, clock)
        except WorkerNotStarted as error:  # no frame's doing
            self._visits.open = before
            spool.give_back(claimed.number)
            self._pause(error)
            return
        except FrameError as error:
            log.info("%s: %s", arrival.name, error)
            seen, message = error, result(claimed, error=error)
        else:
            message = result(claimed, analysis.to_dict())
            events += self._visits.update(self._sightings(claimed, analysis), arrival.arrived)
            self._cut_out(claimed, analysis, events, clock)
        messages = [message, *map(_message, events)]

        def answer() -> None:
            with clock.stage("record"):
                spool.answer(claimed.number, messages, self._state(before))

        self._record(answer, before)
        self._observed(claimed, seen, clock)

    def _observed(self, claimed: Claimed, seen: Analysis | FrameError, clock: StageClock) -> None:
        """Tell of a frame's timings; its result is recorded already."""
        if self._observers:
            frame = f"{claimed.arrival.camera}/{claimed.number}"
            if isinstance(seen, FrameError):
                self._observers.frame(Record.failed(claimed.arrival.name, seen, clock, frame=frame))
            else:
                self._observers.frame(Record.of(seen, frame=frame, clock=clock))

    def _look(self, claimed: Claimed, clock: StageClock) -> Analysis:
        if claimed.claims > MOST_CLAIMS:
            raise FrameAbandoned(f"the program ended {MOST_CLAIMS} times while it looked at this frame")
        arrival = claimed.arrival
        with clock.stage("people"):
            people, rule = self._people()
        self._visits.people, self._visits.rule = people, rule
        analysis = self._looking.analyse(
            arrival.data,
            name=arrival.name,
            scale=self._scale,
            min_confidence=self._min_confidence,
            rotate=self._rotate,
            people=people,
            rule=rule,
            clock=clock,
        )
        faces = analysis.faces
        for numbers in (faces.boxes, faces.confidence, faces.landmarks, faces.embeddings):
            if numbers is not None and not np.isfinite(numbers).all():
                raise WorkerProtocolError("what was seen are no numbers")
        if self._keep_unknown:
            cut = partial(self._looking.photo, arrival.data, analysis)
            time, camera = arrival.arrived, arrival.camera
            try:
                with clock.stage("remember"):
                    remember(self._gallery, cut, analysis, self._looking.recognizer, camera=camera, time=time)
            except (GalleryError, FrameError) as error:
                log.warning("unknown faces of %s are not kept: %s", arrival.name, error)
        return analysis

    def _sightings(self, claimed: Claimed, analysis: Analysis) -> list[Sighting]:
        """A frame's faces for the visits, at the time at which it arrived: cameras' clocks are wrong, or jump."""
        arrival, file = claimed.arrival, claimed.arrival.file
        image, stamp = (os.path.abspath(file.path), file.stamp) if file else (None, None)  # noqa: PTH100 - any bytes
        return [
            Sighting(
                arrival.camera,
                arrival.arrived,
                _frame(claimed),
                face.box,
                face.embedding,
                1.0 if face.quality is None else weight(face.quality),
                face.match,
                face.grey,
                Picture(image, stamp, str(self._crops.path(_frame(claimed), index)) if self._crops else None),
            )
            for index, face in enumerate(analysis)
            if face.embedding is not None
        ]

    def _cut_out(self, claimed: Claimed, analysis: Analysis, events: Sequence[Event], clock: StageClock) -> None:
        """Write the faces that are on this frame as their visit has them best, before anybody is told of them."""
        if self._crops is None:
            return
        visits = (*self._visits.open, *(event.visit for event in events))
        wanted = {track.best.picture.crop for visit in visits for track in visit.tracks if track.name != IGNORED}
        for index, face in enumerate(analysis):
            path = self._crops.path(_frame(claimed), index)
            if str(path) in wanted:
                try:
                    with clock.stage("crop"):
                        self._crops.keep(path, self._looking.photo(claimed.arrival.data, analysis, face).crop)
                except (FrameError, OSError) as error:
                    log.warning("a face of %s is not kept as %s: %s", claimed.arrival.name, path, error)

    def _people(self) -> tuple[People, Rule]:
        """Who is known; where the gallery cannot be read just now, who was known before."""
        try:
            self._last = self._known.read(self._gallery, self._looking.recognizer)
        except GalleryError as error:
            if self._last is None:
                raise
            log.warning("going on with the people known before: %s", error)
        return self._last

    def _tick(self, spool: Spool) -> None:
        """Close the visits that are over. Nothing waits, so nothing that belongs to them is still to come."""
        before = self._visits.open
        events = self._visits.tick(self._clock())
        if len(self._visits.open) != len(before):
            self._record(lambda: spool.post(map(_message, events), self._state(before)), before)

    def _close(self, spool: Spool) -> None:
        before = self._visits.open
        events = self._visits.close()
        try:
            spool.post(map(_message, events), self._state(before))
        except SpoolFull as error:
            log.warning("visits stay open until the next start: %s", error)

    def _record(self, write: Callable[[], object], before: tuple[Visit, ...]) -> None:
        """Write until there is space for it, or the end: then nothing has happened, and the frame waits."""
        while True:
            try:
                write()
            except SpoolFull as error:
                if self._stopping:
                    self._visits.open = before
                    raise
                self._pause(error)
            else:
                self._failures = 0
                return

    _failures = 0

    def _pause(self, error: PeepholeError) -> None:
        """Wait before the next try, longer each time."""
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # the first time, the second, the fourth, ...
            log.warning("waiting: %s", error)
        end = time.monotonic() + min(2.0 ** min(self._failures - 1, 10), PAUSE)
        while not self._stopping and (left := end - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Wait to be woken; raise what ended a source or a sink."""
        try:
            woken = self._wake.get(timeout=seconds)
            while woken is None:
                woken = self._wake.get_nowait()
            raise woken
        except queue.Empty:
            return

    # -- visits across restarts ------------------------------------------------------------------------------------

    def _state(self, before: tuple[Visit, ...]) -> dict[str, bytes]:
        """The visits' state, if it is no longer this."""
        return {} if self._visits.open is before else self._kept()

    def _kept(self) -> dict[str, bytes]:
        arrays: list[Any] = []
        state = pack(_Going(FORM, self._looking.recognizer.model_id, self._visits.open), arrays)
        text = json.dumps(state).encode()
        return {"visits": struct.pack("<Q", len(text)) + text + b"".join(each.tobytes() for each in arrays)}

    def _restore(self, spool: Spool) -> None:
        """Go on with the visits of a run that was killed.

        Where their vectors are another model's, or another version has kept them in another form, they are closed: the
        names that they had are the last word.
        """
        data = spool.state("visits")
        if data is None:
            return
        try:
            (size,) = struct.unpack_from("<Q", data)
            state, arrays = json.loads(data[8 : 8 + size]), Arrays(data[8 + size :])
            with suppress(WorkerProtocolError):
                going = unpack(_Going, state, arrays)
                if (going.form, going.model) == (FORM, self._looking.recognizer.model_id):
                    self._visits.open = going.visits
                    return
            over = [visit for visit in map(_salvaged, state["visits"]) if visit.announced]
            spool.post([_message(Event("closed", each)) for each in over], self._kept())
        except (struct.error, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            log.warning("visits that were going on are dropped: %s has them in no form that is known here", spool.path)
            spool.post([], self._kept())

    # -- threads -----------------------------------------------------------------------------------------------------

    def _take_from(self, source: FrameSource) -> None:
        try:
            with self._open() as spool:
                source.run(spool, self._ended)
        except Exception as error:  # noqa: BLE001 - it ends the service, in the caller's thread
            self._wake.put(error)

    def _deliver_to(self, sink: Sink, due: threading.Event) -> None:
        failures = 0
        try:
            with self._open() as spool:
                while True:
                    due.clear()
                    finishing = self._finishing.is_set()
                    failures = failures + 1 if self._delivered(spool, sink, failures) is False else 0
                    if finishing:
                        break
                    if failures:
                        self._finishing.wait(min(2.0 ** min(failures - 1, 10), PAUSE))
                    else:
                        due.wait()
        except Exception as error:  # noqa: BLE001 - it ends the service, in the caller's thread
            self._wake.put(error)
        finally:
            sink.close()

    def _delivered(self, spool: Spool, sink: Sink, failures: int) -> bool:
        """Deliver all that there is, in order; False where the sink, or a disk that is full, would not have it."""
        try:
            while messages := spool.undelivered(sink.name):
                for number, message in messages:
                    sink.deliver(message)
                    spool.delivered(sink.name, number)
        except (PeepholeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            if failures & (failures - 1) == 0:
                log.warning("%s: %s; it will be tried again", sink.name, error)
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Going:
    """Visits that are going on, as they are kept.

    Attributes:
        form: `FORM`.
        model: of the recognizer that made their vectors.
        visits: see `Visits.open`.
    """

    form: int
    model: str
    visits: tuple[Visit, ...]


def _salvaged(kept: Mapping[str, Any]) -> Visit:
    """A visit by what it takes to close it, which every form that it was ever kept in has; without its vectors."""
    tracks: list[Track] = []
    for each in kept["tracks"]:
        match = {name: each["match"][name] for name in Match.__dataclass_fields__ if name in each["match"]}
        left, top, right, bottom = map(float, each["best"]["box"])
        box = (left, top, right, bottom)
        best = Best(str(each["best"]["frame"]), float(each["best"]["time"]), box, 0.0)
        first, last = float(each["first"]), float(each["last"])
        who = Match(**match | {"name": str(match["name"])})
        tracks.append(Track(len(tracks) + 1, who, int(each["faces"]), first, last, best, box, 0.0, np.zeros(0), 0.0))
    first, last = float(kept["first"]), float(kept["last"])
    visit = Visit(str(kept["camera"]), str(kept["frame"]), first, last, last, int(kept["frames"]))
    return replace(visit, tracks=tuple(tracks), announced=bool(kept["announced"]))


def _message(event: Event) -> dict[str, Any]:
    return {"type": "visit"} | event.to_dict()


def _frame(claimed: Claimed) -> str:
    """What a frame is called in its visit, also after the queue's file was removed and begins anew."""
    return f"{claimed.number}@{claimed.arrival.arrived:.0f}"
