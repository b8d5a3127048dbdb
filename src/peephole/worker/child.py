"""The worker: ``python -P -m peephole.worker.child FD``, started by `process.Process`.

It confines itself, loads its models, and looks at one frame after another. It keeps nothing but the last frame's
pixels, for drawings and crops of it: whatever happens to it, no more than the frame at hand is lost. An exception that
Peephole does not raise on purpose ends it, and the host starts another.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .confine import Confinement, bound, confine

if TYPE_CHECKING:  # before it is confined it loads nothing
    from ..frame import Frame, Snapshot
    from ..gallery import StoredPhoto
    from ..memory import Budget
    from ..pipeline import Analysis, Pipeline
    from ..timings import StageClock
    from .channel import Channel
    from .messages import Answer, Cut, Cutting, Draw, Look, Message, Picture, Ready, Start, Stored

Open = Callable[["Start"], "Pipeline"]


def main(descriptor: int, opened: Open | None = None) -> None:
    """Confine this process and serve the host at the other end of a socket until that closes it.

    Args:
        descriptor: the socket's.
        opened: makes the pipeline; by default as the host's options say.
    """
    faulthandler.enable()  # what a crash in native code leaves behind, the host reads
    os.set_inheritable(descriptor, False)
    confinement = confine()
    from .channel import Channel

    serve(Channel(socket.socket(fileno=descriptor)), confinement, opened or open_pipeline)


def open_pipeline(start: Start) -> Pipeline:
    """The pipeline that the host's options ask for."""
    from ..pipeline import Pipeline

    return Pipeline(
        start.detector,
        start.recognizer,
        profile=start.profile,
        threads=start.threads,
        memory=start.memory,
        runtime=start.runtime,
        precision=start.precision,
    )


def serve(channel: Channel, confinement: Confinement, opened: Open) -> None:
    """Load the models, say so, and answer one request after another until the stream ends."""
    from ..errors import PeepholeError, WorkerProtocolError
    from ..timings import StageClock
    from .messages import Failed, Look, Start, encode

    start = channel.receive()
    if start is None:
        return
    if not isinstance(start, Start):
        raise WorkerProtocolError(f"{type(start).__name__} where Start was due")
    try:
        pipeline = opened(start)
        ready = _loaded(pipeline, start, confinement)
    except PeepholeError as error:
        channel.send(Failed.of(error, {}))
        return
    budget = pipeline.budget
    channel.send(ready)
    last = _Last()
    while (request := channel.receive()) is not None:
        clock = StageClock()
        descriptors = channel.descriptors()
        try:
            if isinstance(request, Look):
                pipeline.budget = _within(budget, request.learned)
            answer = encode(_answer(pipeline, request, descriptors, clock, last))
        except PeepholeError as error:
            answer = encode(Failed.of(error, clock.rounded()))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        channel.send(answer)


def _answer(pipeline: Pipeline, request: Message, descriptors: list[int], clock: StageClock, last: _Last) -> Answer:
    """What the host has asked for."""
    from ..errors import WorkerProtocolError
    from .messages import Cut, Draw, Drawn, Embed, Embedded, Look, Seen, Show, Shown

    match request:
        case Look():
            return Seen(_look(pipeline, request, descriptors, clock, last))
        case Draw():
            return Drawn(_draw(request, descriptors, last))
        case Cut():
            return _cut(request, descriptors, last)
        case Embed():
            from ..enrolment import vectors_of

            return Embedded(vectors_of([_stored(each) for each in request.faces], pipeline))
        case Show():
            from ..enrolment import portrait

            return Shown(portrait(_stored(request.face)))
    raise WorkerProtocolError(f"{type(request).__name__} where a request was due")


def _loaded(pipeline: Pipeline, start: Start, confinement: Confinement) -> Ready:
    """Load all models, bound the memory that is left, and say what there is."""
    from .. import __version__
    from .messages import Identity, Ready, same_version

    same_version(start.version)
    models: dict[str, str] = {}
    identity = None
    if start.embed:  # the recognizer first, as in `Pipeline.analyse`
        recognizer = pipeline.recognizer
        identity = Identity(
            recognizer.name,
            recognizer.model_id,
            recognizer.similarity,
            recognizer.dimensions,
            recognizer.threshold,
            recognizer.rule,
        )
        models |= recognizer.models
        if pipeline.detector.landmarks != recognizer.landmarks:
            models |= pipeline.landmarker.models
    models = pipeline.detector.models | models
    budget = pipeline.budget
    confined = dataclasses.replace(confinement, data_bytes=bound(budget.bytes - pipeline.floor))
    return Ready(__version__, models, identity, budget.bytes, budget.source, pipeline.floor, confined)


def _within(budget: Budget, learned: int | None) -> Budget:
    """The budget for a frame: the worker's own, or the least of it, what was learned and what is found just now."""
    from ..memory import MEMORY_VARIABLE, Budget, find_budget

    if learned is None:
        return budget
    os.environ.pop(MEMORY_VARIABLE, None)  # it has been asked, and was too much
    words = f"{learned / 2**20:.0f} MiB learned when the kernel killed the worker for memory"
    return min(budget, find_budget(), Budget(learned, words), key=lambda each: each.bytes)


class _Last:
    """The last frame that was looked at, decoded as it was then."""

    def __init__(self) -> None:
        self._kept: tuple[Snapshot, int, Frame] | None = None

    def forget(self) -> None:
        """The next frame needs its room."""
        self._kept = None

    def keep(self, opened: Snapshot | Frame, reduction: int, frame: Frame) -> None:
        """Keep a picture's frame; pixels that were handed over are there anyway."""
        from ..frame import Frame

        self._kept = None if isinstance(opened, Frame) else (opened, reduction, frame)

    def decoded(self, opened: Snapshot | Frame, reduction: int) -> Frame:
        """A picture with its sides divided; it is decoded unless it is the last one, byte by byte."""
        from ..frame import Frame

        if isinstance(opened, Frame):
            return opened
        if self._kept is not None and self._kept[:2] == (opened, reduction):
            return self._kept[2]
        return opened.decode(reduction)


def _look(pipeline: Pipeline, request: Look, descriptors: list[int], clock: StageClock, last: _Last) -> Analysis:
    last.forget()
    with clock.stage("decode"):
        opened = _open(request.picture, descriptors)
    frames: list[Frame] = []
    analysis = pipeline.analyse(
        opened,
        scale=request.scale,
        min_confidence=request.min_confidence,
        rotate=request.rotate,
        embed=request.embed,
        twins=request.twins,
        clock=clock,
        keep=frames.append,
    )
    last.keep(opened, analysis.plan.reduction, frames[0])
    return analysis


def _draw(request: Draw, descriptors: list[int], last: _Last) -> str | None:
    """Write the drawing; the reason why it cannot be, or None."""
    from ..draw import write

    opened = _open(request.picture, descriptors)
    return write(last.decoded(opened, request.reduction), request.faces, request.target)


def _cut(request: Cut, descriptors: list[int], last: _Last) -> Cutting:
    from ..enrolment import digest, photo_of
    from .messages import Cutting

    opened = _open(request.picture, descriptors)
    frame = last.decoded(opened, request.reduction)
    photo = photo_of(frame, request.face[0], sha256=digest(opened))
    return Cutting(**{each.name: getattr(photo, each.name) for each in dataclasses.fields(Cutting)})


def _stored(face: Stored) -> StoredPhoto:
    """As `enrolment` takes it, where it does not matter whose it is."""
    from ..gallery import StoredPhoto

    photo = {each.name: getattr(face.photo, each.name) for each in dataclasses.fields(face.photo)}
    return StoredPhoto(**photo, id=face.id, name="", created=0.0)


def _open(picture: Picture, descriptors: list[int]) -> Frame | Snapshot:
    """The picture as `Pipeline.analyse` takes it; the bytes are where the host has put them."""
    import numpy as np

    from ..errors import WorkerProtocolError
    from ..frame import Frame, load, snapshot

    if picture.kind == "file":
        return snapshot(load(picture.name), picture.name)
    if not descriptors:
        raise WorkerProtocolError(f"{picture.kind} bytes were to come in a descriptor, and none came")
    size = os.fstat(descriptors[0]).st_size
    if picture.kind == "encoded":
        return snapshot(os.pread(descriptors[0], size, 0), picture.name)
    width, height = picture.size
    if min(width, height) < 1 or size != width * height * 3:
        raise WorkerProtocolError(f"{size} bytes of pixels for {width}x{height}")
    mapped = mmap.mmap(descriptors[0], size, access=mmap.ACCESS_READ)
    return Frame(np.frombuffer(mapped, np.uint8).reshape(height, width, 3), picture.name)


if __name__ == "__main__":
    main(int(sys.argv[1]))
