"""Snapshot → analysis: the whole way through, on one page."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Protocol, TypedDict, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from . import embedding, grain, planner
from .align import Landmarker, cut_chips, matched, quarter, squares
from .detectors import Candidates, Detector, open_detector
from .errors import BudgetTooSmall, PeopleError, UsageError, memory_errors
from .faces import Face, Faces
from .frame import Frame, Snapshot, Source, open_source, turned_size
from .geometry import IDENTITY, Points, Transform, areas, suppress, voters
from .match import People, Rule, Similarity, match
from .memory import Budget, current_rss, find_budget, parse_size, peak_rss, reset_peak, return_what_is_freed
from .models.session import Runtime
from .planner import Plan, Size, Tiling
from .quality import assess, eyes, reason
from .recognizers import Recognizer, open_recognizer
from .timings import Environment, StageClock, here
from .upright import FAINT, HOPELESS, Looks, Mounting, check_rotate, joined, sideways

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the whole process for one frame, in bytes.

    Attributes:
        budget: what it may take.
        predicted: the peak that the plan foresaw.
        measured: the peak that it had; since the process began, where the system does not let it be reset.
    """

    budget: int
    predicted: int
    measured: int

    def to_dict(self) -> dict[str, float]:
        """In 10^6 bytes, as results and logs have it."""
        return {f"{name}_mb": round(getattr(self, name) / 1e6, 1) for name in ("budget", "predicted", "measured")}


@dataclass(frozen=True, slots=True)
class Retry:
    """A first attempt that did not end well.

    Attributes:
        after: what happened to it, a `PeepholeError.kind`.
        budget: bytes within which the frame was looked at then.
    """

    after: str
    budget: int

    def to_dict(self) -> dict[str, Any]:
        """As results have it."""
        return {"after": self.after, "budget_mb": round(self.budget / 1e6, 1)}


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was seen on one frame. Iterating over it yields its faces, the most confident first.

    Attributes:
        source: the frame's.
        width, height: of the frame, native pixels.
        faces: in native pixels.
        plan: how the frame was looked at.
        memory: what was allowed, predicted and measured.
        timings_ms: milliseconds by stage, in their order; see `timings.StageClock`.
        models: SHA-256 of every model file that took part, by name.
        retried: what became of a first attempt, where this is the second one; see `worker.host`.
        recognizer: the name of the one that took part, "" where none did.
        environment: of the process that looked at it.
        fingerprint: of the picture; see `frame.Snapshot.fingerprint`.
        cpu_ms: milliseconds of processor time by stage.
        rows_decoded: see `frame.Frame.rows_decoded`.
        turn: degrees clockwise by which the frame was turned before it was looked at.
    """

    source: str
    width: int
    height: int
    faces: Faces
    plan: Plan
    memory: Memory
    timings_ms: dict[str, float]
    models: dict[str, str]
    retried: Retry | None = None
    recognizer: str = ""
    environment: Environment = field(default_factory=Environment)
    fingerprint: str = ""
    cpu_ms: dict[str, float] = field(default_factory=dict)
    rows_decoded: int | None = None
    turn: int = 0

    def __len__(self) -> int:
        return len(self.faces)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def to_dict(self) -> dict[str, Any]:
        """The analysis as the output contract has it; see docs/output.md."""
        return {
            "image": self.source,
            "width": self.width,
            "height": self.height,
            **({} if self.rows_decoded is None else {"rows_decoded": self.rows_decoded}),
            **({"turn": self.turn} if self.turn else {}),
            "faces": [face.to_dict() for face in self.faces],
            "plan": self.plan.to_dict(),
            "memory": self.memory.to_dict(),
            "timings_ms": self.timings_ms,
            "models": self.models,
            **({} if self.retried is None else {"retried": self.retried.to_dict()}),
        }


@dataclass(frozen=True, slots=True)
class Scale:
    """The options that choose the scale; see `peephole.planner.plan`."""

    max_side: int | None = None
    upsample: int = 0
    min_face: float | None = None
    max_face: float | None = None

    def __post_init__(self) -> None:
        whole("max_side", self.max_side)
        if self.upsample is None:
            raise UsageError("upsample must be a whole number, not None")
        whole("upsample", self.upsample)
        if self.min_face is not None and not isinstance(self.min_face, Real):
            raise UsageError(f"min_face must be a number of native pixels, not {self.min_face!r}")


class How(TypedDict, total=False):
    """How a frame is looked at: what of `Pipeline.analyse`'s arguments the user's options choose."""

    scale: Scale
    min_confidence: float | None
    rotate: int | None


class Asked(How, total=False):
    """What `Pipeline.analyse` can be asked of a frame, for whoever passes that on or has it answered elsewhere."""

    embed: bool
    twins: bool
    people: People | None
    threshold: float | None
    rule: Rule | None


def whole(name: str, value: object) -> None:
    """Raise a `UsageError` for an option that is neither a whole number nor None."""
    if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
        raise UsageError(f"{name} must be a whole number, not {value!r}")


def check(min_confidence: float | None, threshold: float | None) -> None:
    """Raise a `UsageError` for values that every comparison would answer in the same way."""
    if min_confidence is not None and math.isnan(min_confidence):
        raise UsageError("min_confidence must be a number")
    if threshold is not None and not threshold >= 0:
        raise UsageError(f"threshold must be a distance or a cosine of at least 0, not {threshold}")


class Identified(Protocol):
    """A recognizer, as far as the owner of its vectors needs to know; it may be loaded in another process."""

    @property
    def name(self) -> str:
        """See `Recognizer.name`."""
        ...

    @property
    def model_id(self) -> str:
        """See `Recognizer.model_id`."""
        ...

    @property
    def similarity(self) -> Similarity:
        """See `Recognizer.similarity`."""
        ...

    @property
    def rule(self) -> Rule:
        """See `Recognizer.rule`."""
        ...


def check_people(people: People, recognizer: Identified) -> None:
    """Raise a `PeopleError` where the people's vectors are known to be another recognizer's."""
    if people.model not in (None, recognizer.model_id):
        raise PeopleError(
            f"the people's photos were embedded by another recognizer than {recognizer.name}, and vectors of "
            "two models cannot be compared: load the people with this one"
        )


SEEN = 48.0
"""Side of a square as large as a face whose place one level shows as well as a finer one would, in the level's pixels:
from there down what is lost by a pixel that a landmark is off grows fast."""
LEFT_BEHIND = 4_000_000
"""Bytes that aligning and embedding a first frame's faces leave taken, outside of the networks' buffers: 2 to 3 MB.

They are there while the next frame's faces are looked for, which is when a process is largest; so they belong to the
floor. A recognizer's `buffers` do not: they lie in the arena from which the detector has its own.
"""
PROFILES = {"modern": ("yunet", "sface"), "classic": ("mmod", "resnet")}
"""Detector and recognizer that go together; the first is the default. Figures of both: docs/accuracy.md."""
DEFAULT_PROFILE = next(iter(PROFILES))


class Pipeline:
    """A detector and a recognizer, loaded when first needed and kept."""

    def __init__(
        self,
        detector: str | Detector | None = None,
        recognizer: str | Recognizer | None = None,
        *,
        profile: str = DEFAULT_PROFILE,
        threads: int | None = None,
        memory: int | str | None = None,
        runtime: str = "onnxruntime",
        precision: str = "float32",
    ) -> None:
        """Choose the models, by name or ready made.

        Args:
            detector: see `detectors.open_detector`; by default the profile's.
            recognizer: see `recognizers.open_recognizer`; by default the profile's.
            profile: one of `PROFILES`: a detector and a recognizer that go together.
            threads: compute threads, at least 1; by default one a processor that this process may use.
            memory: what the whole process may take, in bytes or as "256MiB"; by default what is found, see
                `memory.find_budget`.
            runtime, precision: what runs the networks; see `models.session.Runtime`.

        Raises:
            UsageError: ``threads`` is no whole number of at least 1, ``memory`` is no size, or there is no such
                profile.
        """
        whole("threads", threads)
        if profile not in PROFILES:
            raise UsageError(f"there is no profile {profile!r}; choose one of {', '.join(PROFILES)}")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        usual_detector, usual_recognizer = PROFILES[profile]
        self._detector = usual_detector if detector is None else detector
        self._recognizer = usual_recognizer if recognizer is None else recognizer
        self._runtime = Runtime(runtime, precision, threads)
        self._requested = None if memory is None else parse_size(memory)
        self.floor = 0
        """Bytes that the process has with its models loaded, before it looks at a frame; grows with each model."""
        self._mounting = Mounting()
        self._kept = 0.0
        """Bytes of the networks' buffers that are there beside the next frame; see `planner.plan`."""
        return_what_is_freed()

    @functools.cached_property
    def budget(self) -> Budget:
        """What the whole process may take, found when first needed."""
        return find_budget(self._requested)

    @functools.cached_property
    def detector(self) -> Detector:
        """The detector, loaded on first use."""
        chosen, runtime = self._detector, self._runtime
        return self._load(open_detector, chosen, runtime) if isinstance(chosen, str) else self._load(_given, chosen)

    @functools.cached_property
    def landmarker(self) -> Landmarker:
        """The landmarker, loaded on first use."""
        return self._load(Landmarker)

    @functools.cached_property
    def recognizer(self) -> Recognizer:
        """The recognizer, loaded on first use."""
        chosen, runtime = self._recognizer, self._runtime
        found = self._load(open_recognizer, chosen, runtime) if isinstance(chosen, str) else self._load(_given, chosen)
        self.floor += LEFT_BEHIND
        return found

    def _load(self, opener: Callable[..., M], *arguments: object) -> M:
        """A model; what it takes is added to the floor: what the process has before it looks at a frame."""
        before = current_rss() if self.floor else 0
        model = opener(*arguments)
        self._environment()  # found out once; what it imports stays, and is no frame's doing
        self.floor += max(current_rss() - before, 0)
        return model

    def _environment(self) -> Environment:
        return here(self._runtime.name, self._runtime.precision, self._runtime.threads)

    def plan(
        self, frame: Size, scale: Scale = Scale(), *, reducible: bool = False, encoded: int = 0, decoder: int = 0
    ) -> Plan:
        """Plan a frame within the budget; see `planner.plan`.

        Raises:
            BudgetTooSmall: not even the coarsest plan fits; the message names the least budget that would do.
        """
        profile = self.detector.profile
        room = self.budget.bytes - self.floor
        try:
            return planner.plan(
                frame,
                profile,
                max_side=scale.max_side,
                upsample=scale.upsample,
                min_face=scale.min_face,
                max_face=scale.max_face,
                room=room,
                reducible=reducible,
                encoded=encoded,
                decoder=decoder,
                kept=self._kept,
            )
        except BudgetTooSmall as error:
            least = math.ceil((self.floor + error.needed) / 2**20)
            raise BudgetTooSmall(
                f"a {frame[0]}x{frame[1]} frame needs a memory budget of at least {least} MiB; there are "
                f"{self.budget.bytes / 2**20:.0f} MiB: {self.budget.source}",
                needed=least * 2**20,
            ) from error

    @memory_errors()
    def analyse(
        self,
        source: Source | Snapshot | Frame,
        *,
        scale: Scale = Scale(),
        min_confidence: float | None = None,
        rotate: int | None = None,
        embed: bool = False,
        twins: bool = False,
        people: People | None = None,
        threshold: float | None = None,
        rule: Rule | None = None,
        clock: StageClock | None = None,
        keep: Callable[[Frame], object] | None = None,
    ) -> Analysis:
        """Look at one frame.

        Args:
            source: see `frame.read`.
            scale: how large it is looked at.
            min_confidence: boxes at or below it are left out, in the detector's own unit; by default what its profile
                says.
            rotate: degrees clockwise by which to turn the frame so that people stand upright: 0, 90, 180 or 270. None:
                found out from the faces, also from those that are too faint where they stand on their sides; see
                `upright`. A face that stands otherwise all the same is turned or unclear in either case.
            embed: also find landmarks and embeddings.
            twins: also embed the faces without their colour, for whoever keeps them; implies ``embed``.
            people: also say who it is; implies ``embed``.
            threshold: decide by this alone, without a margin and whatever the face's quality, in the recognizer's own
                unit: the largest Euclidean distance, or the least cosine, that is the same person.
            rule: decides who it is; by default the recognizer's.
            clock: the caller's, where it has timed stages of its own already.
            keep: called with the decoded frame, for a caller that wants to draw on it.

        Raises:
            FrameError: the frame cannot be looked at.
            PeopleError: the people are another recognizer's.
            UsageError: an option cannot work.
            ModelError: a model cannot be used.
        """
        check(min_confidence, threshold)
        check_rotate(rotate)
        clock = clock or StageClock()
        embed = embed or twins or people is not None
        if embed:  # the recognizer first: while it loads it takes more than afterwards
            recognizer = self.recognizer
            if people is not None:
                check_people(people, recognizer)
        detector = self.detector
        landmarker = self.landmarker if embed and detector.landmarks != recognizer.landmarks else None
        models = detector.models | (recognizer.models if embed else {}) | (landmarker.models if landmarker else {})
        reset_peak()
        kept = min(self._kept, max(current_rss() - self.floor, 0))  # not all that was planned need have been taken
        self._kept = max(kept, recognizer.buffers) if embed else kept

        with clock.stage("decode"):
            opened = open_source(source)
            fingerprint = opened.fingerprint() if isinstance(opened, Snapshot) else ""
        learns = rotate is None and detector.landmarks == "arcface"
        size = opened.size if isinstance(opened, Snapshot) else opened.native_size
        mounted = size if learns and not twins else None  # a photo of somebody is no camera's
        turn = self._mounting.turn(size) if mounted else rotate or 0
        frame, planned = self._decoded(opened, turn, scale, clock)
        look = functools.partial(self._found, min_confidence=min_confidence, clock=clock, mounted=mounted)
        faces, oriented = look(frame, planned, closely=embed, thorough=learns and twins)
        if mounted and turn and not len(faces):  # what the frames before have shown may hold no longer
            del frame
            turn = 0
            frame, planned = self._decoded(opened, turn, scale, clock)
            faces, oriented = look(frame, planned, closely=embed, thorough=False)
        if keep:
            keep(frame)
        if embed:
            faces = self._embedded(frame, faces, oriented, clock, twins=twins)
            if people is not None:
                with clock.stage("match"):
                    faces = decide(faces, people, rule or recognizer.rule, threshold)

        memory = Memory(self.budget.bytes, self.floor + math.ceil(planned.bytes), peak_rss())
        width, height = frame.native_size
        return Analysis(
            frame.source,
            width,
            height,
            faces,
            planned,
            memory,
            clock.rounded(),
            models,
            recognizer=recognizer.name if embed else "",
            environment=self._environment(),
            fingerprint=fingerprint,
            cpu_ms=clock.rounded_processor(),
            rows_decoded=frame.rows_decoded,
            turn=turn,
        )

    def _decoded(self, opened: Snapshot | Frame, turn: int, scale: Scale, clock: StageClock) -> tuple[Frame, Plan]:
        """A picture's frame, turned by so many degrees, and how it is to be looked at."""
        with clock.stage("plan"):
            if isinstance(opened, Snapshot):
                planned = self.plan(
                    turned_size(opened.size, turn),
                    scale,
                    reducible=opened.reducible,
                    encoded=len(opened.data),
                    decoder=opened.decoder_bytes,
                )
            else:
                # The pixels that it came with are there beside those that are turned.
                encoded = opened.pixels.nbytes if turn else 0
                planned = self.plan(turned_size(opened.native_size, turn), scale, encoded=encoded)
        with clock.stage("decode"):
            frame = opened.decode(planned.reduction, turn) if isinstance(opened, Snapshot) else opened.turned(turn)
        if (upright := turned_size(frame.native_size, turn)) != planned.frame:
            planned = self.plan(upright, scale)  # turned by an orientation that stood behind the pixels
        with clock.stage("plan"):
            profile = self.detector.profile
            planned = planner.suited(planned, profile, grain.estimate(frame.pixels))
        self._kept = max(self._kept, planner.buffers(profile, planned, planned.tiling))
        return frame, planned

    def _found(
        self,
        frame: Frame,
        planned: Plan,
        *,
        min_confidence: float | None,
        clock: StageClock,
        mounted: Size | None,
        closely: bool,
        thorough: bool,
    ) -> tuple[Faces, NDArray[np.bool_]]:
        """The faces on a frame, and for which of them it is known which way up they stand, (n,); see `upright`.

        Args:
            frame: as it was decoded, and turned.
            planned: how to look at it.
            min_confidence: see `analyse`.
            clock: for the stages.
            mounted: how the camera of frames of this size is mounted is found out from the faces; None: it is not.
            closely: far faces are looked at again for their landmarks.
            thorough: turned faces are searched for whatever frames before have shown.
        """
        detector = self.detector
        least = detector.profile.default_confidence if min_confidence is None else min_confidence
        grainy = (planned.grain or 0.0) > detector.profile.bearable
        worthwhile = mounted is not None and (planned.grain or 0.0) <= HOPELESS and self._mounting.searches(mounted)
        search = thorough or worthwhile
        faintest = min(least, FAINT) if search else least
        with clock.stage("detect"):
            voters = min(faintest, least * (detector.voter or 1.0))
            candidates = list(detector.scan(frame.pixels, planned, voters, clock))
        with clock.stage("map"):  # the one place where coordinates become native
            # The plan's levels are of the frame as it is turned.
            back = Transform.turn(frame.native_size, frame.turn).inverse()
            faces, exactness = _native(candidates, back, grainy=grainy)
        with clock.stage("detect"), clock.stage("suppress"):
            faces = _suppressed(faces, exactness, detector, faintest)
        oriented = np.ones(len(faces), bool)
        if faces.landmarks is not None:
            with clock.stage("detect"), clock.stage("upright"):
                looks = Looks(frame, detector)
                faces, oriented = looks.upright(faces, least)
                if search:
                    faces, oriented = self._sideways(frame, faces, oriented, least, planned.tiling)
                if mounted is not None:
                    turns = [quarter(each) for each in cast("Points", faces.landmarks)[oriented]]
                    self._mounting.note(mounted, turns)
                if closely:
                    faces = looks.closer(faces)
        return faces, oriented

    def _embedded(
        self, frame: Frame, faces: Faces, oriented: NDArray[np.bool_], clock: StageClock, *, twins: bool
    ) -> Faces:
        """The faces with landmarks, qualities and embeddings, and with their twins where these are asked for."""
        detector, recognizer = self.detector, self.recognizer
        kind = recognizer.landmarks
        with clock.stage("align"):
            if detector.landmarks != recognizer.landmarks:
                seen = faces if detector.landmarks == "none" else replace(faces, boxes=squares(faces.boxes))
                faces, kind = replace(faces, landmarks=self.landmarker.find(frame, seen)), self.landmarker.landmarks
            points, template = matched(faces, kind, recognizer.landmarks, recognizer.template)
            chips = cut_chips(frame, points, template, recognizer.side)
            on_chip = eyes(recognizer.template, recognizer.landmarks)
            qualities = assess(chips, on_chip, cast("Points", faces.landmarks), kind, faces.boxes, oriented)
        with clock.stage("embed"):
            grains, sizes = np.array([(each.grain, each.size) for each in qualities]).reshape(-1, 2).T
            vectors = embedding.embed(recognizer, chips, grains, sizes)
            faces = replace(faces, embeddings=vectors, qualities=qualities, kind=kind)
            if twins:
                colourless = embedding.colourless(chips)
                faces = replace(faces, twins=embedding.embed(recognizer, colourless, grains, sizes))
        return faces

    def _sideways(
        self, frame: Frame, faces: Faces, oriented: NDArray[np.bool_], least: float, tiling: Tiling
    ) -> tuple[Faces, NDArray[np.bool_]]:
        """What was found, and what a look at the frame on its side adds to it, where it may; see `upright`."""
        again = sideways(frame, faces, oriented)
        if again is None:
            return faces, oriented
        profile = self.detector.profile
        planned = planner.plan(again.size, profile, tiling=tiling)  # in no more memory than the frame itself took
        least = max(least, profile.default_confidence)
        faintest = min(least, FAINT)
        found, exactness = _native(list(self.detector.scan(again.pixels, planned, faintest)), again.to_native)
        found = _suppressed(found, exactness, self.detector, faintest)
        more, known = Looks(again, self.detector).upright(found, least)
        more = Faces(more.boxes[known], more.confidence[known], cast("Points", more.landmarks)[known])
        return joined(faces, oriented, more, self.detector)


def _given(model: M) -> M:
    """What opens a model that is given ready made."""
    return model


def _native(
    candidates: list[Candidates], back: Transform = IDENTITY, *, grainy: bool = False
) -> tuple[Faces, NDArray[np.float64]]:
    """What was found on all levels, in native pixels; landmarks where the detector finds them.

    And how exact each place is, (n,). Levels are off by about as many of their own pixels, so it is one over a pixel's
    area. On a grainy frame it is the grain that they are off by, of which a pixel has the less the larger it is, as
    long as the face is no smaller than `SEEN` of them.

    Args:
        candidates: of each level.
        back: from what was planned for to native pixels.
        grainy: the frame has grain that hides faces on its finest level.
    """
    boxes = np.concatenate([level.to_native.boxes(boxes) for level, boxes, _, _ in candidates])
    confidence = np.concatenate([each.confidence for each in candidates])
    points = [each.level.to_native.points(each.landmarks) for each in candidates if each.landmarks is not None]
    exactness = []
    for level, within, _, _ in candidates:
        area = level.to_native.a * level.to_native.e
        large = np.clip(np.sqrt(areas(within)) / SEEN, 1e-3, 1.0) ** 4  # one without an area has a place too
        exactness.append(area * large if grainy else np.full(len(within), 1 / area))
    faces = Faces(back.boxes(boxes), confidence, back.points(np.concatenate(points)) if points else None)
    return faces, np.concatenate(exactness)


def _suppressed(faces: Faces, exactness: NDArray[np.float64], detector: Detector, least: float) -> Faces:
    """One box a face, the most confident first; boxes, confidence and landmarks are all that there is yet.

    Confidence is the strongest box's and exceeds ``least``. Where a face's boxes vote, on whatever level they were
    found, box and landmarks are their means, weighted by confidence and exactness.
    """
    kept = suppress(faces.boxes, faces.confidence, detector.nms_overlap, detector.nms_covered)
    kept = kept[faces.confidence[kept] > least]
    boxes, landmarks = faces.boxes[kept], None if faces.landmarks is None else faces.landmarks[kept]
    if detector.voter is not None:
        for row, index in enumerate(kept):
            near = voters(faces.boxes, faces.confidence, index, detector.voter)
            weights = faces.confidence[near] * exactness[near]
            boxes[row] = np.average(faces.boxes[near], 0, weights)
            if landmarks is not None and faces.landmarks is not None:
                landmarks[row] = np.average(faces.landmarks[near], 0, weights)
    return Faces(boxes, faces.confidence[kept], landmarks)


def decide(faces: Faces, people: People, rule: Rule, threshold: float | None = None) -> Faces:
    """The faces with their matches: by the rule, unclear ones left alone, or by a threshold and nothing else.

    Args:
        faces: with embeddings and, for the rule, qualities.
        people: of the recognizer that made the embeddings.
        rule: that recognizer's.
        threshold: see `Pipeline.analyse`.

    Raises:
        ValueError: the faces have no embeddings.
    """
    if faces.embeddings is None:
        raise ValueError("faces without embeddings cannot be matched")
    if threshold is not None:  # all faces that do not stand upright are alike, whoever they are
        upright = None if faces.qualities is None else np.array([each.oriented for each in faces.qualities], bool)
        fixed = rule.fixed(threshold)
        return replace(faces, matches=match(faces.embeddings, people, fixed, clear=upright, grey=faces.grey))
    clear = None if faces.qualities is None else np.array([reason(each) is None for each in faces.qualities], bool)
    return replace(faces, matches=match(faces.embeddings, people, rule, clear=clear, grey=faces.grey))
