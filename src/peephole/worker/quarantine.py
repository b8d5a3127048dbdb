"""Where frames go that a worker did not survive, so that they can be looked into and do no more harm."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import WorkerError

MOST = 100
"""Frames that are kept; the oldest go first."""


def set_aside(folder: Path, name: str, source: int | str, error: WorkerError) -> Path | None:
    """Copy a frame's bytes into the folder, and a ``.json`` beside them that says why.

    Args:
        folder: made if need be, readable by its owner alone.
        name: what the frame is called.
        source: the file, or a descriptor that holds the bytes.
        error: the reason.

    Returns:
        The copy, or None where it could not be made: that is no reason to stop.
    """
    digest = hashlib.sha256()
    partial = folder / f".{os.getpid()}.partial"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(source, "rb", closefd=isinstance(source, str)) as frame, partial.open("xb") as copy:
            frame.seek(0)
            while part := frame.read(1 << 20):
                digest.update(part)
                copy.write(part)
        kept = folder / f"{digest.hexdigest()[:16]}{Path(name).suffix[:8]}"
        reason = {
            "image": name,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "error": {"kind": error.kind, "message": str(error)},
        }
        kept.with_suffix(".json").write_text(json.dumps(reason, indent=1) + "\n", "utf-8")
        shutil.move(partial, kept)
        _bound(folder)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        return None
    return kept


def _bound(folder: Path) -> None:
    reasons = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for old in reasons[:-MOST]:
        for path in folder.glob(f"{old.stem}*"):
            path.unlink(missing_ok=True)
