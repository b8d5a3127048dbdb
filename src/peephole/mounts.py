"""Which file system a path is on, by Linux's table of mounts; see proc(5) on ``mountinfo``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

REMOTE = ("nfs", "cifs", "smb", "9p", "fuse", "virtiofs", "afs", "ceph", "gluster", "vboxsf", "prl_fs")
"""What the types of file systems begin with on which other machines' changes are not announced."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system.

    Attributes:
        point: the folder that it is mounted on.
        kind: its type, as "ext4"; empty where nobody tells.
        options: of the mount, as "rw".
    """

    point: str
    kind: str
    options: tuple[str, ...] = ()

    @property
    def remote(self) -> bool:
        """Whether other machines write to it."""
        return self.kind.startswith(REMOTE)


def mount_of(path: str | os.PathLike[str], *, root: Path = Path("/")) -> Mount:
    """The file system that holds a path, or would hold it.

    Args:
        path: a file or folder, links in it are followed.
        root: where ``/proc`` is looked for.
    """
    real, found = os.path.realpath(path), Mount("", "")
    try:
        lines = (root / "proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        # "35 31 0:32 ROOT POINT rw,relatime [more...] - TYPE SOURCE OPTIONS"
        mount, _, system = line.partition(" - ")
        match mount.split(" ")[4:6]:
            case [field, options]:
                point = unescape(field)
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(found.point):  # what was mounted later covers what was there
                    found = Mount(point, system.split(" ")[0], tuple(options.split(",")))
    return found


def unescape(field: str) -> str:
    """A path as it is from a field of mountinfo, where blanks and backslashes are in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
