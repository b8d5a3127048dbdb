"""Visits: sightings by one camera close in time, and who they show, decided over all of a visit's frames. Pure.

A face seen again in a visit continues a *track*; a track is one person's face over time. Nothing here reads a clock or
a file: the same sightings and times give the same events, however they are cut into calls, so a tracker's state can be
had again by replaying them.

Two clocks meet here. A sighting's ``time`` is the frame's and says which frames belong together; it may be wrong, come
late or jump back. ``now`` is the caller's and says only how long a camera has been silent.

How a track gets its name: the frames' vectors are averaged, weighted by quality, and the mean is matched like a single
face, under the same `peephole.match.Rule`. Averaging brings a vector nearer to everybody, strangers too, so the mean's
score is lowered again by `SHARE` of what the frames' disagreement gained it. `benchmarks/visits.py` measures this rule
against single frames and against its neighbours; docs/accuracy.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .faces import IGNORED, UNCLEAR, UNKNOWN, Match
from .geometry import overlaps
from .match import People, Rule, Similarity, compare, match
from .quality import Quality, reason

GAP = 30.0
"""Seconds without a face after which a visit is over."""
SHARE = 0.75
"""How much of the frames' disagreement counts against a track's score: at 1 the score is about the mean of the frames'
scores and loses family with dlib's model; at 0 it is the mean vector's own and lets strangers in."""
SHARE_AT_NIGHT = 0.25
"""The same of faces without colour, whose frames disagree by their grain more than by how the face is held: a mean
takes that off. With 0.75 more of the family stay unknown (docs/accuracy.md)."""
HOLD = 0.02
"""How far, in score, a track's evidence must fall below the threshold before an open visit takes its name back."""
LINK: dict[Similarity, float] = {"cosine": 0.30, "euclidean": 0.40}
"""The least score at which a face continues a track. Lower than what gives a name: there are few to choose from."""
HINT = 0.15
"""What a box in the track's last place adds to that score, times the boxes' intersection over union ..."""
HINT_SECONDS = 3.0
"""... if it is seen so soon after."""
PLACE = 1.0
"""The same for an unclear face, whose vector says little."""
REMEMBERED = 256
"""Frames of a visit whose names are kept, so that one that comes twice counts once."""

SHARP = 0.2
"""The sharpness from which a frame counts in full."""

Box = tuple[float, float, float, float]


def weight(quality: Quality) -> float:
    """How much a frame counts, 0 to 1: not at all where the face is unclear, and less where it is blurred."""
    return 0.0 if reason(quality) is not None else min(quality.sharpness / SHARP, 1.0)


@dataclass(frozen=True, slots=True)
class Picture:
    """Where a face can be looked at, for people; nothing is known of what lies there by now.

    Attributes:
        image: the frame's file.
        stamp: what that is as long as it is the same, see `spool.File`.
        crop: the file of the face alone.
    """

    image: str | None = None
    stamp: str | None = None
    crop: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One face on one frame.

    Attributes:
        camera: which camera.
        time: when the frame was taken, seconds since 1970.
        frame: what the frame is called, once for each camera.
        box: left, top, right, bottom, native pixels.
        embedding: (d,) float32, of the recognizer that made the people's.
        weight: how much its vector counts, from 0 (unclear: it has no say in the name) upwards; see `weight`.
        match: what this frame alone says, if that was asked.
        grey: whether the face has no colour.
        picture: where it can be looked at.

    Raises:
        ValueError: a time, weight or vector that is no finite number.
    """

    camera: str
    time: float
    frame: str
    box: Box
    embedding: NDArray[np.float32]
    weight: float = 1.0
    match: Match | None = None
    grey: bool = False
    picture: Picture = Picture()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time) and 0 <= self.weight < math.inf and np.isfinite(self.embedding).all()):
            raise ValueError(f"{self.camera} {self.frame}: time, weight and embedding must be finite numbers")


@dataclass(frozen=True, slots=True)
class Best:
    """Where a track's face is seen best."""

    frame: str
    time: float
    box: Box
    weight: float
    picture: Picture = Picture()

    def to_dict(self) -> dict[str, Any]:
        """What there is to say of it, in plain types."""
        known = {key: value for key, value in asdict(self.picture).items() if value is not None}
        return {"frame": self.frame, "time": self.time, "box": list(self.box)} | known


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person's face in a visit.

    Attributes:
        number: from 1, in the order of appearance.
        match: who it is, by all frames.
        faces: on how many frames.
        first, last: when, by the frames' clock.
        best: the frame of the largest weight, the first of equals.
        latest: the box on the frame of ``last``.
        weight: the sum of the weights.
        total: the weighted sum of the vectors, (d,) float64.
        squares: the weighted sum of their squared lengths.
        dark: what part of the weight is that of faces without colour.
    """

    number: int
    match: Match
    faces: int
    first: float
    last: float
    best: Best
    latest: Box
    weight: float
    total: NDArray[np.float64]
    squares: float
    dark: float = 0.0

    @property
    def grey(self) -> bool:
        """Whether it is compared with photos without colour: most of what is seen of it has none."""
        return 2 * self.dark > self.weight

    @property
    def name(self) -> str:
        """The person's name, `UNKNOWN`, `UNCLEAR` or `IGNORED`."""
        return self.match.name

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The weighted mean vector, (d,); zeros where all frames were unclear."""
        return (self.total / (self.weight or 1.0)).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """What there is to say of it, in plain types."""
        seen = {"faces": self.faces, "first": self.first, "last": self.last, "best": self.best.to_dict()}
        return asdict(self.match) | seen


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Sightings by one camera close in time.

    Attributes:
        camera: which camera.
        frame: the frame that opened it; with the camera it names the visit.
        first, last: when, by the frames' clock.
        heard: when the last frame came, by the caller's clock.
        frames: how many frames with faces.
        recent: the names of the last `REMEMBERED` of them.
        tracks: whose faces, in the order of appearance.
        announced: whether its `opened` event was given.
    """

    camera: str
    frame: str
    first: float
    last: float
    heard: float
    frames: int = 0
    recent: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    announced: bool = False

    @property
    def id(self) -> str:
        """The same in all of a visit's events, and when they are replayed."""
        return f"{self.camera}/{self.frame}"

    @property
    def names(self) -> tuple[str, ...]:
        """Who was there, in the order of appearance: every person once, `UNKNOWN` for each stranger.

        `UNCLEAR` stands there only where nobody else was seen, and who is ignored never does.
        """
        names: list[str] = []
        for track in self.tracks:
            if track.name not in (UNCLEAR, IGNORED) and (track.name == UNKNOWN or track.name not in names):
                names.append(track.name)
        return tuple(names) or ((UNCLEAR,) if any(track.name == UNCLEAR for track in self.tracks) else ())

    def to_dict(self) -> dict[str, Any]:
        """What there is to say of it, in plain types; times are seconds since 1970 by the frames' clock."""
        told = [track for track in self.tracks if track.name != IGNORED]
        best = max((track.best for track in told), key=lambda each: each.weight, default=None)
        return {
            "visit": self.id,
            "camera": self.camera,
            "first": self.first,
            "last": self.last,
            "frames": self.frames,
            "names": list(self.names),
            "people": [track.to_dict() for track in told],
            "best": best and best.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Something to tell: a visit opened, its names changed, or it is over."""

    kind: Literal["opened", "updated", "closed"]
    visit: Visit

    def to_dict(self) -> dict[str, Any]:
        """The event in plain types."""
        return {"event": self.kind} | self.visit.to_dict()


class Visits:
    """The visits that are going on, a handful of values; see the module.

    A visit is `opened` with its first face that is not ignored, `updated` when its names changed, and `closed` once.
    A name, once given, stays while the evidence stays within `HOLD` of what gave it; another person's name replaces it
    only when that person leads it by the rule's margin over all frames. So names are revised, and do not flap. When the
    visit closes, the plain rule has the last word.

    Attributes:
        people: who is known; replace it when the gallery changed. Names are decided anew with a track's next frame.
        rule: the recognizer's, or one fitted to these people.
        gap: seconds.
        open: the visits that are going on, in the order of their opening: the whole state.
    """

    def __init__(self, people: People, rule: Rule, *, gap: float = GAP, open_visits: Iterable[Visit] = ()) -> None:
        self.people = people
        self.rule = rule
        self.gap = gap
        self.open = tuple(open_visits)

    def update(self, sightings: Iterable[Sighting], now: float) -> tuple[Event, ...]:
        """Take in frames in the order of their arrival; a frame's faces come together, in one call.

        A frame joins the visit of its camera that it is nearest to in time and no further from than ``gap``, before or
        after; so a late frame finds its visit, and one of long ago makes a visit of its own. A frame later than that
        closes the visit. A frame that an open visit has already changes nothing.
        """
        events: list[Event] = []
        for (camera, frame), faces in groupby(sightings, key=lambda each: (each.camera, each.frame)):
            events += self._frame(camera, frame, _distinct(faces), now)
        return tuple(events)

    def tick(self, now: float) -> tuple[Event, ...]:
        """Close the visits whose camera has been silent for more than ``gap`` seconds.

        Call it about once a second. If the caller's clock went back, the silence counts from there.
        """
        over = [visit for visit in self.open if now - visit.heard > self.gap]
        self.open = tuple(replace(each, heard=min(each.heard, now)) for each in self.open if each not in over)
        return self._closed(over)

    def close(self) -> tuple[Event, ...]:
        """Close all visits: the end."""
        over, self.open = self.open, ()
        return self._closed(over)

    def _frame(self, camera: str, frame: str, faces: list[Sighting], now: float) -> Iterable[Event]:
        time = faces[0].time
        here = [visit for visit in self.open if visit.camera == camera]
        if any(frame in visit.recent for visit in here):
            return ()
        near = [visit for visit in here if visit.first - self.gap <= time <= visit.last + self.gap]
        over = [visit for visit in here if visit.last + self.gap < time]
        self.open = tuple(visit for visit in self.open if visit not in over)
        before = min(near, key=lambda visit: max(visit.first - time, time - visit.last), default=None)
        visit = before or Visit(camera, frame, time, time, now)
        visit = replace(
            visit,
            first=min(visit.first, time),
            last=max(visit.last, time),
            heard=now,
            frames=visit.frames + 1,
            recent=(*visit.recent, frame)[-REMEMBERED:],
            tracks=self._tracks(visit.tracks, faces),
        )
        changed = before is None or visit.names != before.names
        kind: Literal["opened", "updated"] = "updated" if visit.announced else "opened"
        tell = changed and (visit.announced or bool(visit.names))
        visit = replace(visit, announced=visit.announced or tell)
        if before is None:
            self.open += (visit,)
        else:
            self.open = tuple(visit if each is before else each for each in self.open)
        return (*self._closed(over), *([Event(kind, visit)] if tell else ()))

    def _closed(self, visits: Iterable[Visit]) -> tuple[Event, ...]:
        """The last word on each visit: the plain rule over all its frames."""
        events = []
        for visit in visits:
            if visit.announced:
                tracks = tuple(replace(each, match=decide(each, self.people, self.rule)) for each in visit.tracks)
                events.append(Event("closed", replace(visit, tracks=tracks)))
        return tuple(events)

    def _tracks(self, tracks: tuple[Track, ...], faces: list[Sighting]) -> tuple[Track, ...]:
        """The tracks after one more frame: each face continues one, or begins its own."""
        out = list(tracks)
        owner = _assign(faces, tracks, self.rule.similarity)
        for face, index in zip(faces, owner, strict=True):
            if index is None:
                out.append(self._seen(None, face, len(out) + 1))
            else:
                out[index] = self._seen(tracks[index], face, tracks[index].number)
        return tuple(out)

    def _seen(self, track: Track | None, face: Sighting, number: int) -> Track:
        """The track with one more face, and its name decided anew."""
        best = Best(face.frame, face.time, face.box, face.weight, face.picture)
        vector = face.embedding.astype(np.float64)
        total, squares = face.weight * vector, face.weight * float(vector @ vector)
        if track is None:
            track = Track(
                number,
                Match(UNCLEAR, decided="unclear"),
                1,
                face.time,
                face.time,
                best,
                face.box,
                face.weight,
                total,
                squares,
                face.weight * face.grey,
            )
        else:
            track = replace(
                track,
                faces=track.faces + 1,
                first=min(track.first, face.time),
                last=max(track.last, face.time),
                best=best if best.weight > track.best.weight else track.best,
                latest=face.box if face.time >= track.last else track.latest,
                weight=track.weight + face.weight,
                total=track.total + total,
                squares=track.squares + squares,
                dark=track.dark + face.weight * face.grey,
            )
        if not face.weight:  # no evidence, no change
            return track
        decided = decide(track, self.people, self.rule)
        _, rule = self.people.by(self.rule, grey=track.grey)
        return replace(track, match=held(track.match, decided, rule.limit(self.people.known)))


def decide(track: Track, people: People, rule: Rule) -> Match:
    """Who a track is by all its frames, each weighted, as `match` decides for a single face.

    A track of one frame is decided exactly like that frame.
    """
    if not track.weight:
        return Match(UNCLEAR, decided="unclear")
    people, rule = people.by(rule, grey=track.grey)
    share = SHARE_AT_NIGHT if track.grey else SHARE
    limit = rule.limit(people.known)
    mean = track.total / track.weight
    spread = share * max(track.squares / track.weight - float(mean @ mean), 0.0)

    if rule.similarity == "cosine":
        # Of unit vectors the mean's length is what their cosines with their mean's direction come to on average.
        length = (float(mean @ mean) / (track.squares / track.weight)) ** (share / 2) if track.squares else 1.0

        def lowered(score: float) -> float:
            return score * length

        least = limit / length if length else math.inf
    else:

        def lowered(score: float) -> float:
            return 1.0 - math.sqrt((1.0 - score) ** 2 + spread)

        room = (1.0 - limit) ** 2 - spread
        least = 1.0 - math.sqrt(room) if room >= 0 else math.inf

    (found,) = match(mean.astype(np.float32)[None], people, Rule(rule.similarity, least))
    if found.score is None:
        return found
    score = lowered(found.score)
    margin = None if found.margin is None else score - lowered(found.score - found.margin)
    alarm = rule.false_alarm(score, max(people.known, 1))
    fused = replace(found, score=score, distance=1.0 - score, margin=margin, false_alarm=alarm)
    if found.decided == "named" and margin is not None and margin < rule.margin:
        return replace(fused, name=UNKNOWN, decided="small-margin")
    return fused


def held(before: Match, after: Match, least: float) -> Match:
    """The later decision, except that a name stays while its person is the nearest and hardly below the threshold."""
    named = before.decided == "named"
    weaker = after.decided in ("below-threshold", "small-margin") and after.nearest == before.name
    if named and weaker and after.score is not None and after.score >= least - HOLD:
        return replace(after, name=before.name, decided="named")
    return after


def _distinct(faces: Iterable[Sighting]) -> list[Sighting]:
    """A frame's faces without those that are in it twice."""
    return list({face.box: face for face in reversed(list(faces))}.values())[::-1]


def _assign(faces: list[Sighting], tracks: tuple[Track, ...], similarity: Similarity) -> list[int | None]:
    """Which track each face continues, the most alike first, no track twice; None for a face that begins one."""
    owner: list[int | None] = [None] * len(faces)
    if not tracks:
        return owner
    alike = compare(
        np.stack([face.embedding for face in faces]), np.stack([each.embedding for each in tracks]), similarity
    )
    boxes = overlaps(np.array([face.box for face in faces]), np.array([each.latest for each in tracks]))
    links = []
    for i, face in enumerate(faces):
        for j, track in enumerate(tracks):
            score = float(alike[i, j])
            if abs(face.time - track.last) <= HINT_SECONDS:
                score += (HINT if face.weight else PLACE) * float(boxes[i, j])
            if face.match is not None and face.match.decided == "named" and face.match.name == track.name:
                score = max(score, LINK[similarity])
            if not track.weight:  # nothing is known of it but that somebody was there: whoever is left over
                score = -1.0
            if score >= LINK[similarity] or not track.weight:
                links.append((-score, i, j))
    taken: set[int] = set()
    for _, i, j in sorted(links):
        if owner[i] is None and j not in taken:
            owner[i] = j
            taken.add(j)
    return owner
