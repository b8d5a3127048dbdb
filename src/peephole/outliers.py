"""Photos of a person that are somebody else's, and one person under two names, to all appearance. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .match import People, Rule, compare

PASSED = 0.01
"""The share of other people's photos that may pass for the person's: 99 of 100 are found."""


def limit(rule: Rule, others: int) -> float:
    """The score below which a photo is unlike so many others of its person.

    No more than `PASSED` of other people's photos reach it by the rule's curve. A score that gives the name is never
    below it. It is the threshold itself where the rule has no curve.
    """
    if not rule.impostors:
        return rule.threshold
    return min(rule.threshold, replace(rule, threshold=-math.inf, strangers=PASSED).limit(others))


def outliers(
    embeddings: NDArray[np.float32],
    rule: Rule,
    *,
    twins: NDArray[np.float32] | None = None,
    trusted: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which of a person's photos are unlike the others, whatever their order.

    Two photos that reach the `limit` are alike, and so are two that a chain of such pairs links: a face from the side
    may be like one from the front by way of one in between. The person's are those alike the trusted ones, or without
    any trusted ones the largest part of the photos that are alike, in which the same vector counts once. Where two
    parts are as large nothing tells which is the person, and every photo is an outlier.

    Args:
        embeddings: the photos', (n, d), of one recognizer.
        rule: the recognizer's, or one fitted to these people.
        twins: those of the same photos without their colour, (n, d): a photo by infrared light is alike by these.
        trusted: photos that are the person's whatever the others are, (n,).

    Returns:
        Whether each is an outlier, (n,), and its best score with a photo that it is not alike, (n,); -inf without one.
    """
    n = len(embeddings)
    scores = compare(embeddings, embeddings, rule.similarity)
    if twins is not None:
        scores = np.maximum(scores, compare(twins, twins, rule.similarity))
    linked = scores >= limit(rule, n - 1)
    np.fill_diagonal(linked, val=True)
    part = np.arange(n)
    while True:  # each photo takes the lowest number that it is linked to, until all of a part have the same
        lowest = np.where(linked, part, n).min(1, initial=n)
        if np.array_equal(lowest, part):
            break
        part = lowest
    apart = np.where(part[:, None] == part, -np.inf, scores).max(1, initial=-np.inf)
    if trusted is not None and trusted.any():
        return ~np.isin(part, part[trusted]), apart
    sizes = {int(each): len(np.unique(embeddings[part == each], axis=0)) for each in np.unique(part)}
    largest = [each for each, size in sizes.items() if size == max(sizes.values())]
    return part != (largest[0] if len(largest) == 1 else -1), apart


def unlike(name: str, score: float, *, nobody: bool = False) -> str:
    """That a photo is an outlier, in words; and where all are, that nobody knows which photos are the person's."""
    if nobody:
        return f"the photos are unlike each other, score {score:.2f} at best: nothing tells which are {name}'s"
    return f"unlike {name}'s other photos: score {score:.2f} at best"


def same_person(name: str, people: People, rule: Rule) -> list[tuple[str, float]]:
    """Who else is this person: by the rule more than half of the photos of each are the other's.

    Args:
        name: the person's.
        people: everybody, this person and the ignored among them.
        rule: what gives names.

    Returns:
        Their names, sorted, each with the best score between two photos.
    """
    owners = np.array(people.names, object)
    own = owners == name
    others = owners[~own]
    scores = compare(people.embeddings[own], people.embeddings[~own], rule.similarity)
    named = scores >= rule.limit(people.known)
    found = []
    for other in sorted(set(others[named.any(0)])):
        theirs = others == other
        if min(named[:, theirs].any(1).mean(), named[:, theirs].any(0).mean()) > 0.5:
            found.append((str(other), float(scores[:, theirs].max())))
    return found
