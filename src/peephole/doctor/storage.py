"""Where files are kept: room, rights, kind of file system; and the gallery's own state."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .. import database
from ..errors import GalleryError
from ..memory import in_words
from ..mounts import Mount, mount_of
from .findings import Fact, Finding, State

FULL = 16 * 2**20
"""Bytes: with less, writing fails; the queue's reserve and a write-ahead log."""
NEARLY = 200 * 2**20
"""Bytes: with less, it is a question of time."""
PATIENCE = 5.0
"""Seconds to wait for a process that writes to the gallery."""
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
IN_A_LAYER = frozenset({"overlay", "aufs", "fuse-overlayfs"})
"""What the file systems of a container's own are called, which go with the container."""
WITHOUT_RIGHTS = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"})


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that Peephole writes to.

    Attributes:
        name: what is kept there, as "cache".
        folder: it may be yet to be made.
        change: how to choose another one.
        lasting: what is kept there must survive a restart.
        sqlite: SQLite's files are kept there.
    """

    name: str
    folder: Path
    change: str
    lasting: bool = False
    sqlite: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """What holds a place.

    Attributes:
        kind: of the file system, empty where nobody tells.
        free, total: bytes, for this user.
        inodes: files that can still be made; None where that is not counted.
        refused: why nothing can be written there, or "".
    """

    kind: str
    free: int
    total: int
    inodes: int | None
    refused: str


def volume_of(folder: Path, *, root: Path = Path("/")) -> Volume:
    """Look at what holds a folder, or would hold it, and try to write there; nothing stays behind.

    Raises:
        OSError: the file system does not answer.
    """
    above = (folder.absolute(), *folder.absolute().parents)
    nearest = next(each for each in above if os.path.exists(each))  # noqa: PTH110 - what may not be looked into is not there
    status = os.statvfs(nearest)
    refused = ""
    if not nearest.is_dir():
        refused = f"{nearest} is no folder"
    else:
        try:
            with tempfile.TemporaryFile(dir=nearest) as file:
                file.write(bytes(4096))
                file.flush()
        except OSError as error:
            refused = _REFUSED.get(error.errno or 0, error.strerror or str(error))
            refused = refused if nearest == folder or refused in _FULL else f"{refused}, in {nearest}"
    inodes = status.f_favail if status.f_files else None
    kind = mount_of(nearest, root=root).kind
    return Volume(kind, status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, inodes, refused)


_REFUSED = {
    errno.EROFS: "read-only",
    errno.EACCES: "not writable for this user",
    errno.EPERM: "not writable for this user",
    errno.ENOSPC: "full",
    errno.EDQUOT: "this user's quota is used up",
}
_FULL = (_REFUSED[errno.ENOSPC], _REFUSED[errno.EDQUOT])


def place(place: Place, volume: Volume, *, container: str = "") -> Finding:
    """How a place is.

    Args:
        place: the folder.
        volume: what holds it.
        container: the kind of container that this runs in, empty outside.
    """
    room = f"{in_words(volume.free)} of {in_words(volume.total)} free"
    summary = f"{place.folder}, {room}{f' ({volume.kind})' if volume.kind else ''}"
    facts: dict[str, Fact] = {
        "path": str(place.folder),
        "free": volume.free,
        "total": volume.total,
        "file_system": volume.kind,
    }

    def finding(state: State, words: str = "", *advice: str) -> Finding:
        return Finding(place.name, state, f"{summary}; {words}" if words else summary, advice, facts)

    elsewhere = f"{place.change} chooses another place."
    full = volume.refused in _FULL
    if volume.refused and not full:
        mount = " Mount it writable into the container." if container else ""
        return finding(
            "problem", volume.refused, f"Make it writable for the user who runs Peephole.{mount} {elsewhere}"
        )
    if full or volume.free < FULL or volume.inodes == 0:
        what = "no file can be made" if volume.inodes == 0 else volume.refused or "full"
        return finding("problem", what, f"Make room on that disk. {elsewhere}")
    shared = Mount("", volume.kind).remote and volume.kind not in WITHOUT_RIGHTS | IN_A_LAYER
    if place.sqlite and shared:
        return finding(
            "warning",
            "other machines may write there",
            "SQLite's write-ahead log does not work when two machines use the file, and a network share may lose "
            f"what it has promised to keep. Use a disk of this machine. {elsewhere}",
        )
    if place.lasting and volume.kind in IN_MEMORY:
        return finding("warning", "in memory: gone after a restart", f"Use a disk. {elsewhere}")
    if place.lasting and container and volume.kind in IN_A_LAYER:
        return finding(
            "warning",
            "in the container itself: gone with it, and it is made anew at each update",
            f"Mount a volume there. {elsewhere}",
        )
    if volume.free < NEARLY:
        return finding("warning", "nearly full", f"Make room on that disk. {elsewhere}")
    if place.sqlite and volume.kind in WITHOUT_RIGHTS:
        return finding("note", "all users can read what is kept there", elsewhere)
    return finding("ok")


def temporary(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Where SQLite puts what it sorts and rewrites. Frames never go there: the worker gets them through memory."""
    candidates = (environ.get("SQLITE_TMPDIR"), environ.get("TMPDIR"), "/var/tmp", "/tmp")  # noqa: S108 - as SQLite does
    for folder in (Path(each) for each in candidates if each):
        if not folder.is_dir():
            continue
        volume = volume_of(folder, root=root)
        if not volume.refused:
            yield place(Place("temporary", folder, "SQLITE_TMPDIR"), volume)
            return
    advice = (
        "people forget and gallery expire rewrite the gallery's file and need room for that. Mount a small tmpfs "
        "on /tmp, or set SQLITE_TMPDIR to a folder that can be written."
    )
    yield Finding("temporary", "warning", "no folder for temporary files can be written", (advice,))


def gallery(path: Path) -> Iterator[Finding]:
    """Whether the gallery's file can be used: rights, damage, schema. Nothing of what is in it is told but counts.

    Raises:
        OSError: the system does not tell.
    """
    from ..gallery import schema

    if not os.path.lexists(path):
        yield Finding("gallery", "ok", f"{path}: none yet; peephole enroll makes it")
        return
    try:
        status = path.stat()
    except FileNotFoundError:
        advice = "It is a link to a file that is not there: is a disk not mounted?"
        yield Finding("gallery", "problem", f"{path}: leads nowhere", (advice,))
        return
    if not (os.access(path, os.R_OK | os.W_OK) and path.is_file()):
        own = os.geteuid()
        advice = (
            f"It belongs to user {status.st_uid}, and Peephole runs as {own}: chown it, or run Peephole as that "
            "user (in a container: --user)."
            if own not in (0, status.st_uid)
            else f"Its disk is mounted read-only, or its rights forbid it: chmod 600 {path}"
        )
        yield Finding("gallery", "problem", f"{path}: cannot be read and written by this user", (advice,))
        return
    try:
        with schema.translated(path), closing(database.open_own(path, schema.FORMAT, timeout=PATIENCE)) as db:
            schema.check(db, path)
            version = database.schema_of(db)
            tables = ("people", "faces") if version else ()
            counts = {table: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in tables}  # noqa: S608
    except GalleryError as error:
        advice = "peephole gallery import brings back an export of it; docs/gallery.md says more."
        yield Finding("gallery", "problem", str(error), (advice,))
        return
    held = ", ".join(f"{table}: {count}" for table, count in counts.items())
    summary = f"{path}: sound, {held}, {in_words(status.st_size)}"
    facts: dict[str, Fact] = {"path": str(path), "bytes": status.st_size, "schema": version, **counts}
    if stat.S_IMODE(status.st_mode) & 0o077:
        advice = f"Faces are nobody else's business: chmod 600 {path}; the next command that opens it does that."
        yield Finding("gallery", "note", f"{summary}; others can read it", (advice,), facts)
    else:
        yield Finding("gallery", "ok", summary, facts=facts)
