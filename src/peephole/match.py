"""Who is it: nearest known photo, or nobody. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import PeopleError
from .faces import UNKNOWN, Match


@dataclass(frozen=True, slots=True)
class People:
    """The known people, one row a photo.

    Attributes:
        names: whose photo each row is, (m,).
        embeddings: (m, d) float32, of one recognizer.
        problems: what could not be used, a (path, reason) each.
    """

    names: tuple[str, ...]
    embeddings: NDArray[np.float32]
    problems: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if len(self.names) != len(self.embeddings):
            raise ValueError(f"{len(self.names)} names for {len(self.embeddings)} embeddings")
        if UNKNOWN in self.names:
            raise PeopleError(f"{UNKNOWN!r} is what a stranger is called: give the person another name")

    def __len__(self) -> int:
        return len(self.names)


def match(embeddings: NDArray[np.float32], people: People, threshold: float) -> tuple[Match, ...]:
    """The nearest photo's person for each face, or unknown beyond the threshold.

    Args:
        embeddings: (n, d), of the recognizer that made the people's.
        people: may be empty: then everybody is unknown.
        threshold: largest Euclidean distance that is still the same person.
    """
    if not len(people):
        return tuple(Match(UNKNOWN, None, None, None, None) for _ in embeddings)
    names, owner = np.unique(np.array(people.names), return_inverse=True)
    difference = embeddings[:, None, :].astype(np.float64) - people.embeddings[None, :, :]
    to_photo = np.sqrt((difference**2).sum(-1))
    to_person = np.full((len(embeddings), len(names)), np.inf)
    for person in range(len(names)):
        to_person[:, person] = to_photo[:, owner == person].min(1)

    matches = []
    for distances in to_person:
        order = np.argsort(distances, kind="stable")
        distance = float(distances[order[0]])
        margin = float(distances[order[1]]) - distance if len(order) > 1 else None
        nearest = str(names[order[0]])
        name = nearest if distance <= threshold else UNKNOWN
        matches.append(Match(name, 1.0 - distance, distance, margin, nearest))
    return tuple(matches)
