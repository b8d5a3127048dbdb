"""For how long the gallery keeps what comes by itself: unknown faces and visits."""

from __future__ import annotations

import math

from .records import Expired
from .store import Gallery

DAY = 86_400.0
MAX_AGE = 30 * DAY
"""Seconds for which an unknown face or a visit is kept at most: whoever comes by often has come by in a month."""
MAX_UNKNOWNS = 2_000
"""Unknown faces that are kept at most: about 200 MB of crops."""
MAX_VISITS = 20_000
"""Visits that are kept at most: about 20 MB."""
ROOM = 0.05
"""The part of a number that is made free at a time: the file is written anew after each deletion."""


def retain(
    gallery: Gallery, *, max_age: float = MAX_AGE, max_unknowns: int = MAX_UNKNOWNS, max_visits: int = MAX_VISITS
) -> Expired:
    """Delete the unknown faces and the visits that are too old or too many, for real, but not for each one that is.

    The file is written anew after a deletion, so a day's worth, or `ROOM` of the number, goes at once: between two
    deletions is a day, or so many new ones. Whoever adds to the gallery calls it; where nothing is due it takes a
    millisecond.

    Args:
        gallery: whose.
        max_age: seconds since the face was seen or the visit ended.
        max_unknowns, max_visits: how many of each.
    """
    late = gallery.now() - max_age

    def limits(count: int, earliest: float | None, most: int) -> tuple[float | None, int | None]:
        age = max(max_age - DAY, 0.0) if earliest is not None and earliest < late else None
        return age, math.floor((1 - ROOM) * most) if count > most else None

    gone = Expired(0, 0)
    if (due := limits(*gallery.unknown_count(), max_unknowns)) != (None, None):
        gone += gallery.expire(*due, visits=False)
    if (due := limits(*gallery.visit_count(), max_visits)) != (None, None):
        gone += gallery.expire(*due, unknowns=False)
    return gone
