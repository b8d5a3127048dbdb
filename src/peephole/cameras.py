"""Which camera a picture is of, by its path below the folder that cameras upload into."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from .errors import UsageError

PLACEHOLDERS = {"{camera}": r"(?P<camera>[^/]+?)", "{digits}": r"[0-9]+", "*": r"[^/]*?"}
"""What stands in a pattern for a camera's name, for digits, and for anything; none of them goes beyond a name."""

_MONTH, _DAY, _HOUR = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:[01]?\d|2[0-4])"
_DATE = re.compile(
    rf"(?:19|20)\d\d(?:[-_. ]?{_MONTH}(?:[-_. ]?{_DAY}(?:[-_. T]?{_HOUR})?)?)?"  # 2026, 202611, 2026-11-26, 2026112618
    r"|\d\d?[-_.]\d\d?[-_.](?:\d\d){1,2}",  # 26-11-2026, 26.11.26
    re.ASCII,
)
_PART_OF_DATE = re.compile(r"\d\d?", re.ASCII)

log = logging.getLogger(__name__)


class Cameras:
    """Names cameras by the paths of their pictures.

    Without a pattern the first folder that is more than a date is the camera's name. Such folders are made by cameras
    that upload as FOLDER/YEAR/MONTH/DAY/FILE, and by recorders that put the cameras below the days.
    """

    def __init__(self, usual: str, named: str | None = None) -> None:
        """Read a pattern.

        Args:
            usual: the name of a camera whose pictures lie in no folder of its own.
            named: the one name of all, or a pattern: the last names of a path, in which the camera's name is called
                ``{camera}``. It is as short as can be, and so is ``*``, anything; ``{digits}`` are one or more.

        Raises:
            UsageError: it is no pattern.
        """
        self._usual, self._named, self._unfit = usual, named, set[str]()
        self._pattern: re.Pattern[str] | None = None
        if named is not None and ("{" in named or "*" in named):
            self._pattern, self._depth = _compiled(named), named.count("/") + 1

    def of(self, path: str, names: Sequence[str]) -> str:
        """The camera of a picture; where a path does not fit the pattern, that is said, once for a name.

        Args:
            path: what to call it.
            names: of the folders on the way to it, and its own.
        """
        if self._pattern is None:
            return self._by_folder(names) if self._named is None else self._named
        if fit := self._pattern.fullmatch("/".join(names[-self._depth :])):
            return fit["camera"]
        name = self._by_folder(names)
        if name not in self._unfit:
            self._unfit.add(name)
            log.warning("%s does not fit %s; its camera, and that of others like it, is %s", path, self._named, name)
        return name

    def _by_folder(self, names: Sequence[str]) -> str:
        dated = False
        for folder in names[:-1]:
            if _DATE.fullmatch(folder):
                dated = True
            elif not (dated and _PART_OF_DATE.fullmatch(folder)):
                return folder
        return self._usual


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression.

    >>> _compiled("{camera}_{digits}.*").fullmatch("front_20261126.jpg")["camera"]
    'front'
    """
    parts = re.split(r"(\{[^}]*\}?|\*)", pattern)
    unknown = [part for part in parts[1::2] if part not in PLACEHOLDERS]
    if unknown:
        raise UsageError(f"the camera {pattern!r}: there is no {unknown[0]}, but {', '.join(PLACEHOLDERS)}")
    if parts.count("{camera}") != 1:
        raise UsageError(f"the camera {pattern!r}: {{camera}} has to be in a pattern, once")
    return re.compile("".join(PLACEHOLDERS.get(part) or re.escape(part) for part in parts), re.DOTALL)
