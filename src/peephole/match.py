"""Who is it: the person who leads clearly, or nobody. Pure.

Every face is compared with every photo, a person's score is that of their most alike photo, and a face gets a name
only where the best person's score passes the rule's threshold and leads the next person's by its margin. Between a
wrong name and none, none is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import PeopleError
from .faces import IGNORED, RESERVED, UNCLEAR, UNKNOWN, Decision, Match

Similarity = Literal["euclidean", "cosine"]
"""How two vectors are compared: a score is 1 minus the Euclidean distance, or the cosine of the angle."""
STRANGERS = 1e-3
"""The most strangers that a rule may name: 1 in 1,000."""
AT_ONCE = 4_000_000
"""Scores in one block, 16 MB of float32."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a face is given a name.

    Attributes:
        similarity: how the model's vectors are compared.
        threshold: the least score that is the same person, however few photos are known.
        margin: how far the best person must lead the next one, in score.
        strangers: the largest share of strangers that may be named. Where so many photos are known that the threshold
            would let more in, it rises: see `limit`.
        impostors: the model's (score, rate) pairs, scores rising, rates falling: the false match rate, which is how
            often photos of two different people reach the score. Empty: nothing is known, and the threshold stays as
            it is. Otherwise at least two.
        night: for faces without colour, which are compared with photos without theirs; None: the same rule.
    """

    similarity: Similarity
    threshold: float
    margin: float = 0.0
    strangers: float = STRANGERS
    impostors: tuple[tuple[float, float], ...] = ()
    night: Rule | None = None

    def at_night(self) -> Rule:
        """The rule for faces without colour."""
        return self.night or self

    def fixed(self, threshold: float) -> Rule:
        """The same comparison decided by a threshold alone, in the model's own unit, without a margin.

        Args:
            threshold: the largest Euclidean distance, or the least cosine, that is the same person.
        """
        score = 1.0 - threshold if self.similarity == "euclidean" else threshold
        return Rule(self.similarity, score)

    def false_alarm(self, score: float, photos: int) -> float | None:
        """The estimated share of strangers who reach a score with one of so many photos, or None if nothing is known.

        With n photos 1 - (1 - FMR)^n, as if each were of another person (ISO/IEC 19795-1 estimates it so); photos of
        one person look alike, so it is rather fewer. Between the measured points, and beyond the last two, the false
        match rate's logarithm is a straight line.
        """
        if not self.impostors:
            return None
        scores, logs = self._curve()
        rate = min(10.0 ** _line(score, scores, logs), 1.0)
        return 1.0 if rate == 1.0 else -math.expm1(photos * math.log1p(-rate))

    def limit(self, photos: int) -> float:
        """The threshold with so many photos: no more than ``strangers`` of the strangers are named."""
        if not self.impostors or photos < 1:
            return self.threshold
        scores, logs = self._curve()
        rate = -math.expm1(math.log1p(-self.strangers) / photos)
        return max(self.threshold, _line(-math.log10(rate), [-log for log in logs], scores))

    def _curve(self) -> tuple[list[float], list[float]]:
        return [score for score, _ in self.impostors], [math.log10(rate) for _, rate in self.impostors]


def _line(x: float, xs: list[float], ys: list[float]) -> float:
    """Interpolate between points of rising ``xs``: flat before the first, straight on after the last."""
    if x <= xs[-1]:
        return float(np.interp(x, xs, ys))
    return ys[-1] + (x - xs[-1]) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])


# The curves: the scores that so many of 3,084,516 pairs of photos of different people reach (benchmarks/impostors.py).
# The thresholds are meant for a family of five with three photos each, and were tried with 2,092 strangers at each of
# eight such families (docs/accuracy.md). The margins cost next to nobody their name: 1 in 1,000 of the family's faces
# leads by less than 0.2 with SFace, 1 in 200 by less than 0.07 with ResNet.
RESNET_RULE = Rule(
    "euclidean",
    threshold=0.55,
    margin=0.05,
    impostors=(
        *((-0.026, 0.99), (0.180, 0.5), (0.294, 0.1), (0.384, 0.01)),
        *((0.461, 1e-3), (0.534, 1e-4), (0.593, 1e-5)),
    ),
)
"""For dlib's ResNet: at a distance of 0.45 it names 1 stranger in 1,000, at the conventional 0.6 it is 7 in 100."""
SFACE_RULE = Rule(
    "cosine",
    threshold=0.46,
    margin=0.1,
    impostors=(
        *((-0.111, 0.99), (0.094, 0.5), (0.207, 0.1), (0.298, 0.01)),
        *((0.365, 1e-3), (0.421, 1e-4), (0.478, 1e-5)),
    ),
    # The same pairs without their colour. Faces by infrared light score lower, those of the family too.
    night=Rule(
        "cosine",
        threshold=0.44,
        margin=0.1,
        impostors=(
            *((-0.115, 0.99), (0.091, 0.5), (0.206, 0.1), (0.299, 0.01)),
            *((0.368, 1e-3), (0.428, 1e-4), (0.485, 1e-5)),
        ),
    ),
)
"""For SFace: it names 2 strangers in 10,000, which leaves room for strangers who look more like the family."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A correction: this face is not that person.

    Attributes:
        name: whom the face was taken for.
        embedding: the face's, (d,).
        twin: that of the same face without its colour, (d,), or None where nobody has made it.
    """

    name: str
    embedding: NDArray[np.float32]
    twin: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class _Index:
    """The photos in the order of their people, so that a person is a slice.

    Attributes:
        names: of the people, sorted.
        starts: the first row of each person, (people,).
        rows: (m, d) float32.
        norms: the rows' lengths, (m,) float32.
    """

    names: tuple[str, ...]
    starts: NDArray[np.intp]
    rows: NDArray[np.float32]
    norms: NDArray[np.float32]

    @classmethod
    def of(cls, names: tuple[str, ...], embeddings: NDArray[np.float32]) -> _Index:
        people, starts, owners = np.unique(np.array(names, object), return_index=True, return_inverse=True)
        rows = np.ascontiguousarray(embeddings, np.float32)
        if np.any(owners[1:] < owners[:-1]):
            order = np.argsort(owners, kind="stable")
            rows, starts = rows[order], np.searchsorted(owners[order], np.arange(len(people)))
        squares = np.einsum("md,md->m", rows, rows, dtype=np.float64)
        return cls(tuple(people), starts, rows, np.sqrt(squares).astype(np.float32))

    def of_person(self, person: int) -> slice:
        stop = self.starts[person + 1] if person + 1 < len(self.starts) else len(self.rows)
        return slice(int(self.starts[person]), int(stop))


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The known people, one row a photo.

    Attributes:
        names: whose photo each row is, (m,).
        embeddings: (m, d) float32, of one recognizer.
        problems: what could not be used, a (path, reason) each.
        ignored: the names whose photos are there to keep a face from being taken for somebody else.
        rejected: corrections.
        model: the recognizer's `model_id`, or None where it is not known.
        twins: (m, d) float32, of the same photos without their colour, a photo's own vector where nobody has made
            that; None where nobody has made any.

    Raises:
        PeopleError: a person is called as no person may be.
        ValueError: names, embeddings and twins do not go together.
    """

    names: tuple[str, ...]
    embeddings: NDArray[np.float32]
    problems: tuple[tuple[str, str], ...] = ()
    ignored: frozenset[str] = frozenset()
    rejected: tuple[Rejection, ...] = ()
    model: str | None = None
    twins: NDArray[np.float32] | None = None
    _index: _Index = field(init=False, repr=False)
    _at_night: list[People] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.twins is not None and self.twins.shape != self.embeddings.shape:
            raise ValueError(f"twins of the shape {self.twins.shape} for embeddings of {self.embeddings.shape}")
        if self.embeddings.ndim != 2 or len(self.names) != len(self.embeddings):
            raise ValueError(f"{len(self.names)} names for embeddings of the shape {self.embeddings.shape}")
        for name in RESERVED.keys() & set(self.names):
            raise PeopleError(f"{name!r} is what {RESERVED[name]} is called: give the person another name")
        object.__setattr__(self, "_index", _Index.of(self.names, self.embeddings))

    def __len__(self) -> int:
        return len(self.names)

    def by(self, rule: Rule, *, grey: bool) -> tuple[People, Rule]:
        """Whom a face is compared with, and what decides: without colour, the twins and the rule for the night.

        Where nobody has made twins, it is the photos as they are, and the rule for them.
        """
        return (self.at_night(), rule.at_night()) if grey and self.twins is not None else (self, rule)

    def at_night(self) -> People:
        """The same people by their photos without colour, for faces that have none."""
        if self.twins is None:
            return self
        if not self._at_night:  # made once: it is asked for with every frame of a night
            rejected = tuple(
                each if each.twin is None else replace(each, embedding=each.twin, twin=None) for each in self.rejected
            )
            self._at_night.append(replace(self, embeddings=self.twins, twins=None, rejected=rejected))
        return self._at_night[0]

    @property
    def known(self) -> int:
        """How many photos are of people who are not ignored."""
        index = self._index
        sizes = np.diff(index.starts, append=len(index.rows))
        ignored = [person for person, name in enumerate(index.names) if name in self.ignored] if self.ignored else []
        return len(self) - int(sizes[ignored].sum())

    @property
    def persons(self) -> tuple[str, ...]:
        """Everybody's name once, sorted, the ignored too."""
        return self._index.names

    def scores(self, embeddings: NDArray[np.float32], similarity: Similarity) -> NDArray[np.float64]:
        """Each face's score with each of `persons`: (n, people), computed in float64.

        For looking at a gallery as a whole; `match` needs the best two alone, and finds them faster.
        """
        index = self._index
        out = np.zeros((len(embeddings), len(index.names)))
        for person in range(len(index.names)):
            out[:, person] = compare(embeddings, index.rows[index.of_person(person)], similarity).max(1)
        return out


def compare(one: NDArray[np.float32], other: NDArray[np.float32], similarity: Similarity) -> NDArray[np.float64]:
    """The score of every row of ``one``, (n, d), with every row of ``other``, (m, d): (n, m) float64."""
    scores = np.zeros((len(one), len(other)))
    rows = other.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    for out, vector in zip(scores, one.astype(np.float64), strict=True):
        if similarity == "euclidean":
            out[:] = 1.0 - np.sqrt(((rows - vector) ** 2).sum(1))
        else:
            product = lengths * np.linalg.norm(vector)
            np.divide(rows @ vector, product, out=out, where=product > 0)
    return scores


def match(
    embeddings: NDArray[np.float32],
    people: People,
    rule: Rule,
    *,
    clear: NDArray[np.bool_] | None = None,
    grey: NDArray[np.bool_] | None = None,
) -> tuple[Match, ...]:
    """Decide who each face is.

    In this order: an unclear face is `UNCLEAR`. One whose best score is below the rule's limit is `UNKNOWN`. One whose
    best person is ignored is `IGNORED`. One that is as much like a face that was rejected for its best person as like
    any of that person's photos is `UNKNOWN`, and so is one that leads the next person by less than the margin; the
    ignored are among those who can be next. All others get their best person's name.

    Args:
        embeddings: (n, d), of the recognizer that made the people's.
        people: may be empty: then everybody is unknown.
        rule: the recognizer's, or one fitted to these people.
        clear: False for each face that is too small, too blurred or too far turned to be told, (n,).
        grey: True for each face without colour, (n,): it is compared with the photos without theirs, by the rule for
            the night.

    Raises:
        PeopleError: the people's vectors have another length, so another recognizer made them.
    """
    seen = np.ones(len(embeddings), bool) if clear is None else clear
    if grey is not None and grey.any():
        night = iter(match(embeddings[grey], *people.by(rule, grey=True), clear=seen[grey]))
        day = iter(match(embeddings[~grey], people, rule, clear=seen[~grey]))
        return tuple(next(night if each else day) for each in grey.tolist())
    if not len(people):
        nobody, unclear = Match(UNKNOWN, decided="nobody-known"), Match(UNCLEAR, decided="unclear")
        return tuple(nobody if ok else unclear for ok in seen)
    d = people.embeddings.shape[1]
    if embeddings.shape[1] != d:
        raise PeopleError(
            f"the people's vectors have {d} numbers and the faces' {embeddings.shape[1]}: they are of different "
            "recognizers; embed the people's photos again"
        )
    limit = rule.limit(people.known)
    matches = []
    for vector, ok, best in zip(embeddings, seen, _best_two(embeddings, people, rule.similarity), strict=True):
        (nearest, score), *rest = best
        runner_up, second = rest[0] if rest else (None, None)
        margin = None if second is None else score - second
        decided: Decision = "named"
        if not ok:
            decided = "unclear"
        elif not score >= limit:
            decided = "below-threshold"
        elif nearest in people.ignored:
            decided = "ignored"
        elif _rejected(vector, nearest, people.rejected, rule.similarity) >= score:
            decided = "corrected"
        elif margin is not None and margin < rule.margin:
            decided = "small-margin"
        name = nearest if decided == "named" else {"unclear": UNCLEAR, "ignored": IGNORED}.get(decided, UNKNOWN)
        alarm = rule.false_alarm(score, max(people.known, 1))
        matches.append(Match(name, score, 1.0 - score, margin, nearest, runner_up, alarm, decided))
    return tuple(matches)


def _rejected(vector: NDArray[np.float32], name: str, rejected: tuple[Rejection, ...], similarity: Similarity) -> float:
    """The face's best score with those that were rejected for this name."""
    rows = [each.embedding for each in rejected if each.name == name]
    return float(compare(vector[None], np.stack(rows), similarity).max()) if rows else -math.inf


def _best_two(
    embeddings: NDArray[np.float32], people: People, similarity: Similarity
) -> Iterator[list[tuple[str, float]]]:
    """The two persons most like each face and their scores, the better first; of equals the first by name.

    float32 products choose the photos that can matter, the few that rounding could have hidden among them; their
    scores are computed in float64 from the vectors' differences. So the answer is that of comparing everything in
    float64, and dlib's distances keep their digits where products would lose them.
    """
    index = people._index
    d = embeddings.shape[1]
    # A float32 sum of d products is off by at most about d roundings of the product of the lengths (Higham, Accuracy
    # and Stability of Numerical Algorithms, 3.1); twice that for the few operations around it.
    unit = 2 * (d + 4) * float(np.finfo(np.float32).eps)
    longest = float(index.norms.max())
    for vector, products in _products(embeddings, index.rows):
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if similarity == "euclidean":  # half of |a|² - |b - a|² has the order of the distances
            screen = products - index.norms**2 / 2
            slack = unit * (length + longest) * longest
        else:
            screen = np.divide(products, index.norms, out=np.zeros_like(products), where=index.norms > 0)
            slack = unit * length
        best = np.maximum.reduceat(screen, index.starts)
        second = float(np.partition(best, -2)[-2]) if len(best) > 1 else -math.inf
        exact = []
        for person in np.flatnonzero(best >= second - slack).tolist():
            inside = index.of_person(person)
            rows = index.rows[inside][screen[inside] >= best[person] - slack]
            exact.append((index.names[person], float(compare(vector[None], rows, similarity).max())))
        yield sorted(exact, key=lambda each: -each[1])[:2]


def _products(
    embeddings: NDArray[np.float32], rows: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each face's vector and its dot products with all rows, as many faces at a time as `AT_ONCE` allows."""
    step = max(1, AT_ONCE // len(rows))
    for start in range(0, len(embeddings), step):
        block = embeddings[start : start + step]
        yield from zip(block, block @ rows.T, strict=True)
