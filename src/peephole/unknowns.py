"""Unknown faces grouped by likeness as they arrive. Pure.

A face joins the group that it is nearest to, if that is near enough, and begins one otherwise. A group is its mean
vector and the spread about it. The squared distance of two groups, a single face being one without spread, is that of
the means plus `SHARE` of both spreads. With a share of 1 it would be the mean squared distance between their members,
which is average linkage (R. R. Sokal and C. D. Michener, 1958), with 0 that of the centroids alone: a mean lies nearer
to everybody than its members do, so large groups would swallow strangers.

A group that has grown may have come near to another; `Groups.merges` finds those. Of two, the one with the smaller
number stays, so numbers stay what they are as faces arrive.

Unclear faces do not belong here: blurred ones are alike whoever they are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .match import Similarity

SHARE = 0.75
"""How much of the groups' spread counts."""
ALIKE: dict[Similarity, float] = {"cosine": 0.53, "euclidean": 0.55}
"""The least score at which two faces are one person's. Higher than what gives a name: every pair of faces has a chance
to be mistaken, and one wrong face in a group shows."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Two groups that turned out to be one: ``absorbed`` is now part of ``into``, the smaller number."""

    into: int
    absorbed: int


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of unknown faces, one row each.

    Attributes:
        similarity: how the model's vectors are compared.
        ids: (k,) int64, rising.
        counts: faces of each, (k,) int64.
        means: (k, d) float32; of unit vectors where they are compared by cosine.
        squares: the mean squared length of each group's vectors, (k,) float64.
        ignored: the groups whose faces are not to be offered again.
        alike: the least score that is one person.
    """

    similarity: Similarity
    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    means: NDArray[np.float32]
    squares: NDArray[np.float64]
    ignored: frozenset[int]
    alike: float

    @classmethod
    def of(
        cls,
        similarity: Similarity,
        groups: ArrayLike = (),
        embeddings: NDArray[np.float32] | None = None,
        *,
        ignored: Collection[int] = (),
        alike: float | None = None,
    ) -> Groups:
        """The groups as they were stored: the group of each face, (n,), and the faces' vectors, (n, d).

        Args:
            similarity: how the model's vectors are compared.
            groups, embeddings: nothing where there are no unknown faces yet.
            ignored: see the attribute.
            alike: by default what was measured for the recognizers that are here: `ALIKE`.
        """
        owners = np.asarray(groups, np.int64)
        vectors = _unit(np.zeros((0, 0)) if embeddings is None else embeddings, similarity)
        if len(owners) != len(vectors):
            raise ValueError(f"{len(owners)} groups for {len(vectors)} embeddings")
        ids, rows, counts = np.unique(owners, return_inverse=True, return_counts=True)
        means, squares = np.zeros((len(ids), vectors.shape[1])), np.zeros(len(ids))
        np.add.at(means, rows, vectors)
        np.add.at(squares, rows, (vectors**2).sum(1))
        means /= np.maximum(counts, 1)[:, None]
        squares /= np.maximum(counts, 1)
        least = ALIKE[similarity] if alike is None else alike
        return cls(similarity, ids, counts, means.astype(np.float32), squares, frozenset(ignored), least)

    def __len__(self) -> int:
        return len(self.ids)

    def nearest(self, embedding: NDArray[np.float32]) -> int | None:
        """The number of the group that a face, (d,), belongs to, or None: it begins a group of its own.

        It can be one of `ignored`: then the face is not to be kept, announced or offered. Of equals the smallest.
        """
        if not len(self):
            return None
        (vector,) = _unit(embedding[None], self.similarity)
        distances = self._distances(vector, float(vector @ vector))
        row = int(distances.argmin())
        return int(self.ids[row]) if distances[row] <= self._reach else None

    def add(self, embedding: NDArray[np.float32], group: int) -> Groups:
        """The groups with a face, (d,), put into one of them, or into one with a new number."""
        (vector,) = _unit(embedding[None], self.similarity)
        return self._with(group, 1, vector, float(vector @ vector))

    def merges(self, touched: int | None = None) -> tuple[Groups, tuple[Merge, ...]]:
        """The groups with those made one that turned out alike, and which these were, in order.

        Ignored groups stay by themselves: nobody else is to become ignored by accident.

        Args:
            touched: look only at this group, which has just got a face, and what it merges with; by default at all in
                turn, the smallest number first.
        """
        groups, done = self, []
        for start in self.ids.tolist() if touched is None else [touched]:
            group = start
            while (other := groups._partner(group)) is not None:
                merge = Merge(min(group, other), max(group, other))
                row = int(np.searchsorted(groups.ids, merge.absorbed))
                count, mean, squares = int(groups.counts[row]), groups.means[row], float(groups.squares[row])
                groups = groups._without(merge.absorbed)._with(merge.into, count, mean.astype(np.float64), squares)
                done.append(merge)
                group = merge.into
        return groups, tuple(done)

    @property
    def _reach(self) -> float:
        """The largest squared distance that is one person."""
        return 2.0 - 2.0 * self.alike if self.similarity == "cosine" else (1.0 - self.alike) ** 2

    def _distances(self, mean: NDArray[np.float64], squares: float) -> NDArray[np.float64]:
        """The squared distance of a group, or a face, to every group: (k,)."""
        lengths = np.einsum("kd,kd->k", self.means, self.means).astype(np.float64)
        length = float(mean @ mean)
        between = lengths + length - 2.0 * (self.means @ mean.astype(np.float32))
        spread = np.maximum(self.squares - lengths, 0.0) + max(squares - length, 0.0)
        found: NDArray[np.float64] = between + SHARE * spread
        return found

    def _partner(self, group: int) -> int | None:
        """The group that this one is to be merged with."""
        row = int(np.searchsorted(self.ids, group))
        if row == len(self) or self.ids[row] != group or group in self.ignored:
            return None
        distances = self._distances(self.means[row].astype(np.float64), float(self.squares[row]))
        distances[row] = np.inf
        distances[np.isin(self.ids, list(self.ignored))] = np.inf
        other = int(distances.argmin())
        return int(self.ids[other]) if distances[other] <= self._reach else None

    def _with(self, group: int, count: int, mean: NDArray[np.float64], squares: float) -> Groups:
        """So many more faces in a group, old or new."""
        row = int(np.searchsorted(self.ids, group))
        if row == len(self) or self.ids[row] != group:
            means = self.means if len(self) else np.zeros((0, len(mean)), np.float32)
            return replace(
                self,
                ids=np.insert(self.ids, row, group),
                counts=np.insert(self.counts, row, count),
                means=np.insert(means, row, mean, axis=0),
                squares=np.insert(self.squares, row, squares),
            )
        counts, means, weights = self.counts.copy(), self.means.copy(), self.squares.copy()
        before, counts[row] = int(counts[row]), counts[row] + count
        means[row] = (before * means[row].astype(np.float64) + count * mean) / counts[row]
        weights[row] = (before * weights[row] + count * squares) / counts[row]
        return replace(self, counts=counts, means=means, squares=weights)

    def _without(self, group: int) -> Groups:
        keep = self.ids != group
        return replace(
            self, ids=self.ids[keep], counts=self.counts[keep], means=self.means[keep], squares=self.squares[keep]
        )


def _unit(embeddings: NDArray[np.floating], similarity: Similarity) -> NDArray[np.float64]:
    """The vectors as they are averaged, (n, d): of length 1 where only their direction counts."""
    vectors = embeddings.astype(np.float64)
    if similarity == "cosine":
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors
