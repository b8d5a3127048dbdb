"""A folder into which cameras upload, as a source: each picture is taken once, when it is complete.

On Linux the kernel says when a file was closed or renamed (inotify(7), through `inotify_simple`), and it is taken at
once. A look at all of the folder now and then finds what that has missed: events that were too many, files on a network
share, where other machines' changes are not announced. There, and on other systems, a file is complete when it has not
changed for a while.

Nothing in the folder is trusted: links are not followed (see `tree`), nothing but regular files is opened.
"""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .cameras import Cameras
from .errors import FrameTooLarge, FrameUnreadable, SpoolFull, UsageError
from .files import is_aside, is_snapshot
from .mounts import mount_of
from .sinks import remove
from .spool import Arrival, File, Spool
from .tree import NOT_THERE, Tree

MOST_BYTES = 64 * 2**20
"""Bytes of the largest file that is taken; more are in no camera's snapshot."""
SETTLED = 2.0
"""Seconds without a change after which a file is complete, where nothing says that it was closed."""
UNFINISHED = 30.0
"""The same for one that ends before the picture does: its upload may go on."""
STALLED = 300.0
"""The same for one that is being written to, as far as is known: the word that it was closed may have been lost."""
STOPPING = 0.25
"""Seconds after which a word to stop is heard at the latest."""
RESCAN = 30.0
"""Seconds between two looks at the whole folder where the kernel tells of changes ..."""
POLL = 1.0
"""... and where it does not."""
SHARE = 0.1
"""The part of the time that these looks may take at the most."""
RETRY = 1.0
"""Seconds before a frame for which there was no room is offered again."""
LAG = 0.02
"""Seconds by which a file system's clock may be behind: it goes in ticks."""
SAID_AGAIN = 3600.0
"""Seconds before a folder that cannot be looked at is spoken of again."""
DAY = 86_400.0
MEMORY = 30 * DAY
"""Seconds for which a file that is gone is remembered: a share that is not mounted looks like an empty folder."""


log = logging.getLogger(__name__)


def looks_finished(data: bytes) -> bool:
    """Whether a picture's bytes go on to its end, by the few formats that say where that is."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in data[-4096:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-4096:]
    if data.startswith(b"RIFF"):
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return bool(data)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A file that is not complete yet, as far as is known.

    Attributes:
        stamp: see `File.stamp`; empty where nobody has looked yet.
        since: when it was last seen to have changed, by the monotonic clock.
        arrived: when it was first seen, or came by its own account; UTC seconds.
        patience: seconds without a change after which it is complete all the same.
        last: it is then taken as it is, finished or not.
    """

    stamp: str
    since: float
    arrived: float
    patience: float
    last: bool = False


class Folder:
    """The pictures that come into a folder, or those below it; a `service.FrameSource`.

    Attributes:
        tree: the folder, and what is below it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        camera: str | None = None,
        existing: Literal["skip", "new", "take"] = "skip",
        delete: bool = False,
        poll: float | None = None,
        settled: float = SETTLED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at nothing yet.

        Args:
            folder: which.
            camera: the one camera that uploads into it, or a pattern of its name; see `Cameras`.
            existing: what happens to pictures that are there at the start, or on a file system that is mounted later:
                they are skipped; or those are taken that have come since the folder was watched last; or all that
                have not been taken yet.
            delete: files that turn out to have been taken before are removed; for the others see `sinks.Remover`.
            poll: seconds between looks at the whole folder; by default what suits the system and the file system.
            settled: see `SETTLED`.
            clock: the time, UTC seconds.

        Raises:
            UsageError: there is no such folder, or it cannot be looked into; or the pattern is none.
        """
        self.tree = Tree(folder)
        self.path = self.tree.path
        try:
            with self.tree.listed(str(self.path)) as listed, os.scandir(listed) as entries:
                next(entries, None)
        except OSError as error:
            raise UsageError(f"the folder {self.path} cannot be watched: {error.strerror or error}") from error
        self._cameras = Cameras(self.path.absolute().name, camera)
        self._existing, self._delete = existing, delete
        self._poll, self._settled, self._clock = poll, settled, clock
        self._known: dict[str, str] = {}  # path to stamp, of what is there and needs no second look
        self._pending: dict[str, _Pending] = {}
        self._ready: deque[tuple[str, float, bool]] = deque()  # in the order of their arrival; see `_Pending`
        self._root: tuple[int, int] | None = None
        self._devices: dict[str, int] = {}  # that folders were on at the last look
        self._closed: dict[str, float] = {}  # folders that could not be looked at then, and when that was said
        self._since = -math.inf  # what was there before that, UTC seconds, is passed over wherever it turns up late
        self._aside: set[str] = set()  # names of folders that it has been said of that they are passed over
        self._next_scan = self._next_forget = self._retry = 0.0

    def run(self, spool: Spool, stop: threading.Event) -> None:
        """Put the folder's pictures into the queue until told to stop."""
        with _Notices(self.path) as notices:
            self._begin(spool, notices)
            while not stop.is_set():
                for path, change in notices.read(self._pause()):
                    self._noticed(path, change)
                if notices.lost:
                    log.warning("%s: more changes than the kernel could tell of; looking at all files", self.path)
                    changed = {path: replace(each, patience=self._settled) for path, each in self._pending.items()}
                    self._pending, notices.lost, notices.look = changed, False, True
                if notices.look:
                    notices.look, self._next_scan = False, 0.0
                if time.monotonic() >= self._next_scan:
                    self._scan(spool, notices)
                self._settle()
                self._take_ready(spool, stop)

    # -- what is there ------------------------------------------------------------------------------------------------

    def _begin(self, spool: Spool, notices: _Notices) -> None:
        """Pass over what is there, or not, as the user says."""
        watched, now = spool.state("watched"), self._clock()
        if self._existing == "skip" or (self._existing == "new" and watched is None):
            files = [File.of(path, status) for path, status, _ in self._files(notices)]
            self._known = {file.path: file.stamp for file in files}
            self._pass_over(spool, [file for file in files if not spool.known(file)], "were there already")
        if self._existing != "take":
            self._since = (now if self._existing == "skip" or watched is None else float(watched)) - LAG
        if watched is None:
            spool.post((), {"watched": repr(now).encode()})

    def _pass_over(self, spool: Spool, files: list[File], why: str) -> None:
        if files:
            spool.pass_over(files)
            log.info("%s: %d pictures %s and are skipped", self.path, len(files), why)

    def _scan(self, spool: Spool, notices: _Notices) -> None:
        """Look at all files."""
        began, now = time.monotonic(), self._clock()
        first = self._root is None
        present: dict[str, str] = {}
        fresh: list[tuple[float, int, str, bool]] = []
        try:
            changed = self._check_root(notices)
            for path, status, late in self._files(notices, late=changed):
                stamp = present[path] = File.of(path, status).stamp
                pending = self._pending.get(path)
                if pending and pending.stamp not in ("", stamp):
                    self._pending[path] = _Pending(stamp, began, pending.arrived, self._settled)
                elif not pending and self._known.get(path) != stamp:
                    # What was there before anybody looked is as old as the file system says: nobody can set that time.
                    came = min(status.st_ctime, now) if late else now
                    old = late and (came if first else min(came, status.st_mtime)) < self._since
                    fresh.append((came, status.st_mtime_ns, path, old))
        except OSError as error:
            if self._root != _GONE:
                log.warning("the folder %s is gone (%s); waiting for it", self.path, error.strerror or error)
            self._root = _GONE
        ready = {path for path, _, _ in self._ready}
        self._known = {path: stamp for path, stamp in self._known.items() if path in present}
        skipped: list[File] = []
        for came, _, path, old in sorted(fresh):
            file = File(path, present[path])
            if old or spool.known(file):
                self._known[path] = file.stamp
                skipped += [file] * old
            elif path not in ready:
                self._pending[path] = _Pending(file.stamp, began, came, self._settled)
        with suppress(SpoolFull):  # they are skipped all the same, and will be again
            self._pass_over(spool, skipped, "are older than the watch")
        if present and began >= self._next_forget:
            self._next_forget = began + DAY
            with suppress(SpoolFull):  # it can wait for another day
                spool.forget(present, now - MEMORY)
        took = time.monotonic() - began
        default = RESCAN if notices.complete and self._root != _GONE else POLL
        self._next_scan = time.monotonic() + max(self._poll or default, took / SHARE)

    def _check_root(self, notices: _Notices) -> bool:
        """Begin anew where the folder is another one than before: removed and made again, mounted, unmounted."""
        with self.tree.listed(str(self.path)) as listed:
            status = os.fstat(listed)
        root, before = (status.st_dev, status.st_ino), self._root
        if root != before:
            if before == _GONE:
                log.warning("the folder %s is there again", self.path)
            if before is not None:
                notices.forget()
        self._root = root
        return root != before

    def _files(self, notices: _Notices, *, late: bool = False) -> Iterator[tuple[str, os.stat_result, bool]]:
        """The pictures below the folder; folders are watched before they are listed, so that nothing falls between.

        With each whether it is seen late, as it may have been there long before: the folder is another one than at the
        last look (``late``), or the picture is on a file system that has been mounted, or in a folder that could not
        be looked at until now.

        Raises:
            OSError: the folder itself cannot be listed.
        """
        root, devices, closed = str(self.path), self._devices, self._closed
        self._devices, self._closed = {}, {}
        folders: list[tuple[str, int | None, bool]] = [(root, None, late)]
        while folders:
            folder, above, late = folders.pop()
            inside = os.path.join(folder, "")  # noqa: PTH118 - text
            try:
                with self.tree.listed(folder) as listed:
                    device = self._devices[folder] = os.fstat(listed).st_dev
                    expected = devices.get(folder, above)
                    late |= folder in closed or expected not in (None, device)
                    notices.watch(folder, listed, mounted=above not in (None, device))
                    with os.scandir(listed) as entries:
                        for entry in entries:
                            try:
                                if entry.is_dir(follow_symlinks=False):
                                    if not is_aside(entry.name):
                                        folders.append((inside + entry.name, device, late))
                                    elif entry.name not in self._aside:
                                        self._aside.add(entry.name)
                                        log.warning("%s: folders called %s are passed over", self.path, entry.name)
                                elif is_snapshot(entry.name) and entry.is_file(follow_symlinks=False):
                                    yield inside + entry.name, entry.stat(follow_symlinks=False), late
                            except OSError:  # it has just gone
                                continue
            except OSError as error:
                if folder == root:
                    raise
                if not isinstance(error, NOT_THERE):
                    self._cannot_look(folder, error, closed.get(folder))

    def _cannot_look(self, folder: str, error: OSError, said: float | None) -> None:
        """Say it, and from time to time again; the other folders are looked at."""
        now = time.monotonic()
        if said is None or now - said >= SAID_AGAIN:
            log.warning("the folder %s cannot be looked at (%s); trying again", folder, error.strerror or error)
            said = now
        self._closed[folder] = said

    # -- what becomes of a file -----------------------------------------------------------------------------------

    def _noticed(self, path: str, change: _Change) -> None:
        """The kernel says that a file has changed."""
        before = self._pending.pop(path, None)
        self._known.pop(path, None)
        if change == "complete":
            self._ready.append((path, self._clock(), False))
        elif change in ("made", "written"):
            arrived = before.arrived if before else self._clock()
            # One that is linked there is whole already, and nobody will close it.
            linked = change == "made" and self._size(path) > 0
            self._pending[path] = _Pending("", time.monotonic(), arrived, self._settled if linked else STALLED)

    def _settle(self) -> None:
        """What has not changed for long enough is ready."""
        now = time.monotonic()
        for path, pending in list(self._pending.items()):
            if now - pending.since < pending.patience:
                continue
            try:
                stamp = File.of(path, self.tree.status(path)).stamp
            except OSError:
                del self._pending[path]
                continue
            if stamp == pending.stamp or not pending.stamp:
                del self._pending[path]
                self._ready.append((path, pending.arrived, pending.last))
            else:
                self._pending[path] = _Pending(stamp, now, pending.arrived, self._settled)

    def _take_ready(self, spool: Spool, stop: threading.Event) -> None:
        """Put what is complete into the queue; where there is no room, the rest waits in its order."""
        while self._ready and time.monotonic() >= self._retry and not stop.is_set():
            try:
                self._take(spool, *self._ready[0])
            except SpoolFull as error:
                if self._retry == 0.0:
                    log.warning("%d pictures wait in %s: %s", len(self._ready), self.path, error)
                self._retry = time.monotonic() + RETRY
                return
            if self._retry:
                self._retry = 0.0
            self._ready.popleft()

    def _take(self, spool: Spool, path: str, arrived: float, last: bool) -> None:
        """Read a file and put it into the queue, or back among the pending where it is not complete after all.

        Raises:
            SpoolFull: there is no room for it.
        """
        arrival = Arrival(self._cameras.of(path, self.tree.inside(path)), path, b"", arrived)
        try:
            with self.tree.open(path) as file:
                status = os.fstat(file.fileno())
                source = File.of(path, status)
                arrival = replace(arrival, taken=status.st_mtime, file=source)
                most = min(MOST_BYTES, spool.most_bytes)
                if status.st_size > most:
                    spool.fail(arrival, FrameTooLarge(f"a file of {status.st_size} bytes; {most} are the most"))
                    self._known[path] = source.stamp
                    return
                if not spool.room(status.st_size):
                    raise SpoolFull(f"the queue {spool.path} is full")
                data = _read(file, status.st_size)
                changed = File.of(path, os.fstat(file.fileno())) != source
        except NOT_THERE:
            return
        except OSError as error:
            self._unreadable(spool, arrival, last, error)
            return
        if changed or not (last or looks_finished(data)):
            patience = self._settled if changed else UNFINISHED
            self._pending[path] = _Pending(source.stamp, time.monotonic(), arrived, patience, last=not changed)
            return
        if spool.accept(replace(arrival, data=data)) is None:
            log.info("%s has been taken before", path)
            if self._delete:
                remove(source, self.tree)
        self._known[path] = source.stamp

    def _unreadable(self, spool: Spool, arrival: Arrival, last: bool, error: OSError) -> None:
        """Try once more later, since another program may hold it; then it is answered with the reason."""
        path = arrival.name
        try:
            file = arrival.file or File.of(path, self.tree.status(path))
        except OSError:
            return
        if last:
            spool.fail(replace(arrival, file=file), FrameUnreadable(f"cannot be read: {error.strerror or error}"))
            self._known[path] = file.stamp
        else:
            self._pending[path] = _Pending(file.stamp, time.monotonic(), arrival.arrived, UNFINISHED, last=True)

    def _size(self, path: str) -> int:
        try:
            return self.tree.status(path).st_size
        except OSError:
            return 0

    def _pause(self) -> float:
        """Seconds until there is something to do without being told."""
        due = [self._next_scan, *(each.since + each.patience for each in self._pending.values())]
        if self._ready:
            due.append(self._retry)
        return min(max(min(due) - time.monotonic(), 0.0), STOPPING)


_GONE = (-1, -1)
_Change = Literal["made", "written", "complete", "gone"]


class _Notices:
    """What the kernel says of changes in folders; nothing, where it does not.

    Attributes:
        complete: it says all there is to say.
        lost: there were more changes than it could tell of.
        look: a folder has come or gone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[int, str] = {}
        self._inotify: Any = None
        self.complete = self.lost = self.look = False

    def __enter__(self) -> _Notices:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _open(self) -> None:
        if sys.platform == "linux":
            import inotify_simple

            try:
                self._inotify = inotify_simple.INotify()
            except OSError as error:
                log.warning("changes are not announced (%s); looking at all files every second", error.strerror)
        self.complete = self._inotify is not None and not mount_of(self._root).remote

    def _close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        self._folders.clear()

    def forget(self) -> None:
        """Watch no folder any more."""
        self._close()
        self._open()

    def watch(self, folder: str, descriptor: int, *, mounted: bool) -> None:
        """Be told of changes in this folder, not of those below it.

        Args:
            folder: its path.
            descriptor: the folder, whatever its path leads to by now.
            mounted: a file system begins here.
        """
        if self._inotify is None:
            return
        if mounted and mount_of(folder).remote:
            self.complete = False
        from inotify_simple import flags

        mask = flags.CREATE | flags.MODIFY | flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
        mask |= flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR | flags.EXCL_UNLINK
        try:
            self._folders[self._inotify.add_watch(f"/proc/self/fd/{descriptor}", mask)] = folder
        except OSError as error:  # mostly that there may be no more watches, fs.inotify.max_user_watches
            if self.complete:
                log.warning("changes in %s are not announced (%s); looking at all files", folder, error.strerror)
            self.complete = False

    def read(self, seconds: float) -> list[tuple[str, _Change]]:
        """What has changed: waits for it for so long."""
        if self._inotify is None:
            time.sleep(seconds)
            return []
        changes: list[tuple[str, _Change]] = []
        for event in self._inotify.read(timeout=int(seconds * 1000) + 1 if seconds else 0):
            change = self._change(event)
            if change:
                changes.append((os.path.join(self._folders[event.wd], event.name), change))  # noqa: PTH118 - text
        return changes

    def _change(self, event: Any) -> _Change | None:
        """What has happened to a file; or take note of what has happened to folders."""
        from inotify_simple import flags

        mask, inside = event.mask, event.wd in self._folders
        if mask & flags.Q_OVERFLOW:
            self.lost = True
        elif mask & flags.IGNORED:
            self._folders.pop(event.wd, None)
        elif mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT):
            self.look = True
        elif mask & flags.ISDIR:
            self.look |= not is_aside(event.name)
            if mask & flags.MOVED_FROM:  # its watch goes with it, and would tell of it under its old name
                self.forget()
        elif inside and is_snapshot(event.name) and not mask & flags.ATTRIB:
            if mask & (flags.CLOSE_WRITE | flags.MOVED_TO):
                return "complete"
            if mask & (flags.DELETE | flags.MOVED_FROM):
                return "gone"
            return "made" if mask & flags.CREATE else "written"
        return None


def _read(file: io.FileIO, size: int) -> bytes:
    """A file's bytes, a few more than it should have at the most: enough to tell that it has grown."""
    parts, left = [], size + 1
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
