"""The platform's places for what Peephole keeps for a user."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .errors import UsageError


def user_folder(kind: Literal["cache", "data", "state"], instead: str) -> Path:
    """Peephole's folder in the platform's place for a user's caches, data or state; it may not be there yet.

    Args:
        kind: which place.
        instead: what to do where the user has no home, as "set PEEPHOLE_CACHE to a folder".

    Raises:
        UsageError: no place is known: neither ``HOME`` nor the system says where the user's home is.
    """
    import platformdirs

    place = {
        "cache": platformdirs.user_cache_path,
        "data": platformdirs.user_data_path,
        "state": platformdirs.user_state_path,
    }[kind]
    try:
        folder = place("peephole", appauthor=False)
    except RuntimeError as error:
        raise _homeless(kind, instead) from error
    if not folder.is_absolute():  # older ones of platformdirs leave the ~ as it is
        raise _homeless(kind, instead)
    return folder


def _homeless(kind: str, instead: str) -> UsageError:
    return UsageError(f"this user has no home folder, so there is no place for {_KEPT[kind]}: {instead}, or set HOME")


_KEPT = {"cache": "prepared models", "data": "data", "state": "a queue"}
