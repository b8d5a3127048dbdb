"""The durable queue: accepted frames until each has its one result, and results until they are delivered.

Everything is in one SQLite file, the frames' bytes too, so that whatever belongs together is one transaction: a frame
and that its file has been taken; a frame's removal, its result, the visits' events that follow from it and the state of
the visits. `Spool.accept` returns when the frame is on disk (write-ahead log, ``synchronous = FULL``). Whenever the
program or the machine stops, a frame either waits or has its result, and a result is kept until it is delivered.

Any number of threads and processes may accept frames, each through a `Spool` of its own; one process at a time works
through them, see `Spool.working`. Frames come out in the order in which they were accepted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from . import database
from .errors import FrameDropped, FrameError, SpoolBusy, SpoolDamaged, SpoolError, SpoolFull
from .folders import user_folder

APPLICATION_ID = int.from_bytes(b"PEEQ", "big")
"""What SQLite's header says of the file: it is a queue of Peephole."""
BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""
MOST_FRAMES = 1_000
"""Frames that may wait, unless the user says otherwise."""
MOST_BYTES = 512 * 2**20
"""Bytes of them."""
MOST_MESSAGES = 10_000
"""Messages that may wait for delivery; beyond, the oldest are lost, counted and logged."""
SPARE = 16 * 2**20
"""Bytes that the file keeps for the next frames when it is empty; the rest goes back to the disk."""

RESERVE = 8 * 2**20
"""Bytes of the disk that no frame is accepted into: a queue that had filled it could not be worked off any more."""

ERRORS = database.Errors(SpoolError, SpoolDamaged, SpoolFull, "queue", "move it away; a new one will be made")

MIGRATIONS = (
    (
        """CREATE TABLE frames (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            camera TEXT NOT NULL,
            name TEXT NOT NULL,
            arrived REAL NOT NULL,
            taken REAL,
            path BLOB,
            stamp TEXT,
            held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
            claims INTEGER NOT NULL DEFAULT 0,
            size INTEGER NOT NULL
        ) STRICT""",
        # Apart, because to change a row is to write all of it anew.
        """CREATE TABLE pictures (
            number INTEGER PRIMARY KEY REFERENCES frames (number) ON DELETE CASCADE,
            data BLOB NOT NULL
        ) STRICT""",
        "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL) STRICT",
        """CREATE TABLE deliveries (
            sink TEXT NOT NULL,
            message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
            PRIMARY KEY (sink, message)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX deliveries_of_message ON deliveries (message)",
        # Files that have been taken, or passed over (then without a hash).
        """CREATE TABLE files (
            path BLOB PRIMARY KEY,
            stamp TEXT NOT NULL,
            sha256 BLOB,
            time REAL NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX files_by_stamp ON files (stamp)",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE counts (
            accepted INTEGER NOT NULL, answered INTEGER NOT NULL, dropped INTEGER NOT NULL,
            refused INTEGER NOT NULL, lost INTEGER NOT NULL
        ) STRICT""",
        "INSERT INTO counts VALUES (0, 0, 0, 0, 0)",
    ),
)
FORMAT = database.Format(
    application=APPLICATION_ID,
    foreign="is no queue of Peephole",
    migrations=MIGRATIONS,
    at_first=("auto_vacuum = INCREMENTAL",),
    set_up=("journal_mode = WAL", "foreign_keys = ON", f"journal_size_limit = {SPARE}"),
    errors=ERRORS,
    timeout=BUSY_SECONDS,
)

Message = Mapping[str, Any]
"""What a sink is told, as JSON has it; ``type`` says what it is."""

log = logging.getLogger(__name__)


def queue_folder() -> Path:
    """Where queues are, unless the user says otherwise: the platform's place for a user's state.

    Raises:
        UsageError: there is no such place; see `folders.user_folder`.
    """
    return user_folder("state", "name a file with --queue")


@dataclass(frozen=True, slots=True)
class File:
    """A file that a frame was read from.

    Attributes:
        path: where it lies.
        stamp: its inode, size and time of last change: what is equal for as long as nobody has written to it.
    """

    path: str
    stamp: str

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> File:
        """By what the system says of it."""
        return cls(path, f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame as a source hands it over.

    Attributes:
        camera: which camera.
        name: what people call it.
        data: the encoded picture, as it came.
        arrived: when, UTC seconds by this machine's clock.
        taken: when by the camera's or uploader's clock, which may be wrong; None where nobody says.
        file: where it was read from; a file that has been taken is not taken again.
    """

    camera: str
    name: str
    data: bytes
    arrived: float
    taken: float | None = None
    file: File | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A frame that is being worked on.

    Attributes:
        number: the queue's; never given to another frame.
        arrival: the frame.
        claims: how many times it was claimed and not given back, this time included.
    """

    number: int
    arrival: Arrival
    claims: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is in the queue, and what has been since it was made.

    Attributes:
        frames, bytes: that wait, or are being worked on.
        oldest: when the first of them arrived, UTC seconds; None where there is none.
        messages: that wait for delivery.
        accepted, answered: frames. Those accepted are answered, dropped or waiting.
        dropped: frames left out in favour of later ones.
        refused: frames that did not come in.
        lost: messages given up because too many waited for delivery.
    """

    frames: int
    bytes: int
    oldest: float | None
    messages: int
    accepted: int
    answered: int
    dropped: int
    refused: int
    lost: int


class Spool:
    """An open queue; it belongs to the thread that opened it, others open their own.

    Every method raises `SpoolError` where the file cannot be read or written, and `SpoolFull` where its disk has no
    space left: nothing is changed then, and the same call will do when there is space again.

    Attributes:
        path: its file.
        most_bytes: see `__init__`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sinks: Sequence[str] = (),
        most_frames: int = MOST_FRAMES,
        most_bytes: int = MOST_BYTES,
        full: Literal["refuse", "drop-oldest"] = "refuse",
        told: Callable[[], object] = lambda: None,
    ) -> None:
        """Open the queue, made first where there is none; file and folder are their owner's alone.

        Args:
            path: its file.
            sinks: who every message is to be delivered to, by name.
            most_frames, most_bytes: that may wait.
            full: what happens to a frame for which there is no room: it is refused; or the oldest are dropped, each
                with a result that says so.
            told: called when there is something to work on or to deliver.

        Raises:
            SpoolDamaged: the file is something else, or damaged.
            SpoolError: a newer Peephole wrote it; or it cannot be opened or made.
        """
        self.path = Path(path)
        self._sinks, self._told = tuple(sinks), told
        self._most_frames, self.most_bytes, self._full = most_frames, most_bytes, full
        self._db = database.connect(self.path, FORMAT)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- for sources ----------------------------------------------------------------------------------------------

    def accept(self, arrival: Arrival) -> int | None:
        """Take a frame over: when this returns it is on disk, and it will have exactly one result.

        Returns:
            Its number, or None where its file has been taken before: the same bytes under the same name, or a taken
            file that was only moved.

        Raises:
            SpoolFull: it was not taken; with the policy ``drop-oldest`` only because of the disk, or its own size.
        """
        size, file = len(arrival.data), arrival.file
        digest = hashlib.sha256(arrival.data).digest() if file else b""
        dropped: list[int] = []
        try:
            with self._transaction():
                if file and self._taken(file, digest):
                    self._note(file, digest)
                    return None
                dropped = self._make_room(size)
                number = self._insert(arrival)
                self._db.execute("INSERT INTO pictures VALUES (?, ?)", (number, arrival.data))
                if file:
                    self._note(file, digest)
                self._db.execute("UPDATE counts SET accepted = accepted + 1")
        except SpoolFull as error:
            log.warning("%s of %s is refused: %s", arrival.name, arrival.camera, error)
            self._count_refused()
            raise
        if dropped:
            log.warning("the queue is full: %d frames were dropped, from number %d on", len(dropped), dropped[0])
        self._told()
        return number

    def room(self, size: int) -> bool:
        """Whether a frame of so many bytes would be accepted now."""
        if self._disk_full(size):
            return False
        if self._full == "drop-oldest":
            return size <= self.most_bytes
        frames, held = self._one("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM frames")
        return bool(frames < self._most_frames and held + size <= self.most_bytes)

    def fail(self, arrival: Arrival, error: FrameError) -> int | None:
        """Answer a frame without taking its bytes over: it cannot be read, or is too large.

        Returns:
            Its number, or None where its file, as it is, has been answered before.
        """
        with self._transaction():
            if arrival.file and self._known(arrival.file):
                return None
            number = self._insert(arrival)  # it takes a number like any other
            self._db.execute("DELETE FROM frames WHERE number = ?", (number,))
            self._post([result(Claimed(number, arrival, 0), error=error)])
            if arrival.file:
                self._note(arrival.file, None)
            self._db.execute("UPDATE counts SET accepted = accepted + 1, answered = answered + 1")
        self._told()
        return number

    def known(self, file: File) -> bool:
        """Whether this file, as it is now, has been taken or passed over, be it in another place."""
        with self._translated():
            return self._known(file)

    def pass_over(self, files: Iterable[File]) -> None:
        """Remember files as though they had been taken."""
        with self._transaction():
            for file in files:
                self._note(file, None)

    def forget(self, present: Collection[str], before: float) -> int:
        """Forget files that are no longer there and were taken before a time, UTC seconds; how many."""
        with self._transaction(durable=False):
            old = [path for (path,) in self._db.execute("SELECT path FROM files WHERE time < ?", (before,))]
            gone = [(path,) for path in old if os.fsdecode(path) not in present]
            self._db.executemany("DELETE FROM files WHERE path = ?", gone)
        return len(gone)

    # -- for the one that works through it --------------------------------------------------------------------------

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be the one that works through the queue; frames in a dead one's hands wait again.

        Raises:
            SpoolBusy: another process does it already.
        """
        with self._translated():
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SpoolBusy(f"another process works through the queue {self.path}; name another file") from error
            with self._transaction(durable=False):
                self._db.execute("UPDATE frames SET held = 0 WHERE held")
            yield
        finally:
            os.close(lock)

    def claim(self) -> Claimed | None:
        """The frame that has waited longest, or None. It stays in the queue until it is answered."""
        with self._transaction(durable=False):
            row = self._db.execute(
                "UPDATE frames SET held = 1, claims = claims + 1 "
                "WHERE number = (SELECT MIN(number) FROM frames WHERE NOT held) "
                "RETURNING number"
            ).fetchone()
            if row is None:
                return None
            columns = "number, camera, name, data, arrived, taken, path, stamp, claims"
            joined = f"SELECT {columns} FROM frames JOIN pictures USING (number) WHERE number = ?"  # noqa: S608 - ours
            number, camera, name, data, arrived, taken, path, stamp, claims = self._db.execute(joined, row).fetchone()
        file = None if path is None else File(os.fsdecode(path), stamp)
        return Claimed(number, Arrival(camera, name, data, arrived, taken, file), claims)

    def give_back(self, number: int) -> None:
        """Put a claimed frame back into its place, as though it had not been claimed."""
        with self._transaction(durable=False):
            self._db.execute("UPDATE frames SET held = 0, claims = claims - 1 WHERE number = ? AND held", (number,))

    def answer(self, number: int, messages: Iterable[Message], state: Mapping[str, bytes] | None = None) -> bool:
        """Record a claimed frame's result and remove the frame, all in one transaction.

        Args:
            number: the frame's.
            messages: its result, and whatever follows from it.
            state: to be kept by name; see `state`.

        Returns:
            False where it has a result already; then nothing is recorded.
        """
        with self._transaction():
            if not self._db.execute("DELETE FROM frames WHERE number = ?", (number,)).rowcount:
                return False
            self._db.execute("UPDATE counts SET answered = answered + 1")
            self._post(messages)
            self._keep(state or {})
        self._told()
        return True

    def post(self, messages: Iterable[Message], state: Mapping[str, bytes] | None = None) -> None:
        """Record messages that follow from no frame, and state."""
        with self._transaction():
            self._post(messages)
            self._keep(state or {})
        self._told()

    def state(self, name: str) -> bytes | None:
        """What was kept under a name."""
        row = self._row("SELECT value FROM state WHERE name = ?", (name,))
        return None if row is None else bytes(row[0])

    def tidy(self) -> None:
        """Give back to the disk what an empty queue does not need."""
        with self._translated():
            page, free = self._free_pages()
            if page * free > SPARE:
                # A script, because the module's execute takes one step, and that is a page.
                self._db.executescript(f"PRAGMA incremental_vacuum({free - SPARE // page})")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- for sinks ----------------------------------------------------------------------------------------------------

    def undelivered(self, sink: str, limit: int = 50) -> list[tuple[int, Message]]:
        """The messages that a sink has not had, with their numbers, in the order in which they were recorded."""
        with self._translated():
            rows = self._db.execute(
                "SELECT id, body FROM deliveries JOIN messages ON id = message WHERE sink = ? ORDER BY id LIMIT ?",
                (sink, limit),
            ).fetchall()
        return [(number, json.loads(body)) for number, body in rows]

    def delivered(self, sink: str, message: int) -> None:
        """Note that a sink has had a message; it goes when all have."""
        # Not synchronous: after a power cut it is delivered again, and its number tells.
        with self._transaction(durable=False):
            self._db.execute("DELETE FROM deliveries WHERE sink = ? AND message = ?", (sink, message))
            self._drop_delivered()

    def retire(self) -> None:
        """Give up deliveries to sinks that are not among this queue's, of an earlier run."""
        names = json.dumps(self._sinks)
        with self._transaction(durable=False):
            self._db.execute("DELETE FROM deliveries WHERE sink NOT IN (SELECT value FROM json_each(?))", (names,))
            self._drop_delivered()

    # -- for people ---------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """What is in it."""
        row = self._one(
            "SELECT (SELECT COUNT(*) FROM frames), (SELECT COALESCE(SUM(size), 0) FROM frames), "
            "(SELECT MIN(arrived) FROM frames), (SELECT COUNT(*) FROM messages), "
            "accepted, answered, dropped, refused, lost FROM counts"
        )
        return Status(*row)

    def check(self) -> None:
        """Read the whole file for damage.

        Raises:
            SpoolDamaged: what is wrong first.
        """
        (found,) = self._one("PRAGMA integrity_check(1)")
        if found != "ok":
            raise SpoolDamaged(f"the queue {self.path} is damaged: {found}")

    # -- underneath ---------------------------------------------------------------------------------------------------

    def _insert(self, arrival: Arrival) -> int:
        """Give a frame its number, and what is known of it a row."""
        file = arrival.file
        values = (
            _text(arrival.camera),
            _text(arrival.name),
            arrival.arrived,
            arrival.taken,
            file and os.fsencode(file.path),
            file and file.stamp,
            len(arrival.data),
        )
        columns = "camera, name, arrived, taken, path, stamp, size"
        query = f"INSERT INTO frames ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - the columns are ours
        return int(self._db.execute(query, values).lastrowid or 0)

    def _make_room(self, size: int) -> list[int]:
        """Drop what has to go for a frame of so many bytes, each with its result; the numbers."""
        if self._disk_full(size):
            raise SpoolFull(f"the queue {self.path} has no space left on its disk, but for what working it off takes")
        bounds = f"at most {self._most_frames} frames and {self.most_bytes / 2**20:.0f} MiB may wait"
        if size > self.most_bytes:
            raise SpoolFull(f"{size / 2**20:.1f} MiB are more than the queue {self.path} takes: {bounds}")
        dropped: list[int] = []
        frames, held = self._one("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM frames")
        while frames >= self._most_frames or held + size > self.most_bytes:
            row = self._full == "drop-oldest" and self._row(
                "SELECT number, camera, name, arrived, taken, size FROM frames WHERE NOT held ORDER BY number LIMIT 1"
            )
            if not row:
                raise SpoolFull(f"the queue {self.path} is full: {bounds}")
            number, camera, name, arrived, taken, its_size = row
            reason = FrameDropped(f"dropped in favour of later frames: {bounds}")
            self._post([result(Claimed(number, Arrival(camera, name, b"", arrived, taken), 0), error=reason)])
            self._db.execute("DELETE FROM frames WHERE number = ?", (number,))
            frames, held = frames - 1, held - its_size
            dropped.append(number)
        self._db.execute("UPDATE counts SET dropped = dropped + ?", (len(dropped),))
        return dropped

    def _disk_full(self, size: int) -> bool:
        with self._translated():
            disk = os.statvfs(self.path)
        page, free = self._free_pages()
        # It is written to the log first, then to its place.
        return disk.f_bavail * disk.f_frsize + page * free < RESERVE + 2 * size

    def _free_pages(self) -> tuple[int, int]:
        """The size of a page, and how many of the file's hold nothing."""
        return self._one("PRAGMA page_size")[0], self._one("PRAGMA freelist_count")[0]

    def _count_refused(self) -> None:
        try:
            with self._transaction(durable=False):
                self._db.execute("UPDATE counts SET refused = refused + 1")
        except SpoolError:  # its disk is full: the log has it
            log.debug("a refusal could not be counted", exc_info=True)

    def _taken(self, file: File, digest: bytes) -> bool:
        """Whether these bytes have been taken under this name, or this very file under another."""
        return bool(
            self._row(
                "SELECT 1 FROM files WHERE (path = ?1 AND sha256 = ?2) OR (stamp = ?3 AND COALESCE(sha256, ?2) = ?2)",
                (os.fsencode(file.path), digest, file.stamp),
            )
        )

    def _known(self, file: File) -> bool:
        return bool(self._db.execute("SELECT 1 FROM files WHERE stamp = ?", (file.stamp,)).fetchone())

    def _note(self, file: File, digest: bytes | None) -> None:
        values = (os.fsencode(file.path), file.stamp, digest, time.time())
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", values)

    def _post(self, messages: Iterable[Message]) -> None:
        """Record messages for all sinks; too many of them push out the oldest."""
        for message in messages:
            body = json.dumps(message, allow_nan=False)
            number = self._db.execute("INSERT INTO messages (body) VALUES (?)", (body,)).lastrowid
            self._db.executemany("INSERT INTO deliveries VALUES (?, ?)", [(sink, number) for sink in self._sinks])
            if not self._sinks:
                self._drop_delivered()
        (count,) = self._one("SELECT COUNT(*) FROM messages")
        if count > MOST_MESSAGES:
            oldest = "SELECT id FROM messages ORDER BY id LIMIT ?"
            self._db.execute(f"DELETE FROM messages WHERE id IN ({oldest})", (count - MOST_MESSAGES,))  # noqa: S608
            self._db.execute("UPDATE counts SET lost = lost + ?", (count - MOST_MESSAGES,))
            log.warning("%d messages were given up: more than %d wait", count - MOST_MESSAGES, MOST_MESSAGES)

    def _drop_delivered(self) -> None:
        self._db.execute("DELETE FROM messages WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE message = messages.id)")

    def _keep(self, state: Mapping[str, bytes]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(state.items()))

    def _translated(self) -> Any:
        return database.translated(self.path, "the queue", ERRORS, timeout=BUSY_SECONDS)

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[None]:
        """A transaction that is on disk when it ends, or that only a power cut can undo."""
        with self._translated():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with database.transaction(self._db):
                yield

    def _row(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        with self._translated():
            return self._db.execute(query, values).fetchone()

    def _one(self, query: str) -> Any:
        row = self._row(query)
        if row is None:
            raise SpoolDamaged(f"the queue {self.path} is damaged: there is nothing in it where its counts should be")
        return row


def result(
    claimed: Claimed, analysis: Mapping[str, Any] | None = None, *, error: FrameError | None = None
) -> dict[str, Any]:
    """A frame's result as sinks have it: what was seen, or why nothing was; see docs/output.md."""
    arrival = claimed.arrival
    message = {
        "type": "frame",
        "number": claimed.number,
        "camera": _text(arrival.camera),
        "image": _text(arrival.name),
        "arrived": arrival.arrived,
        "taken": arrival.taken,
    }
    if arrival.file:
        message["file"] = {"path": arrival.file.path, "stamp": arrival.file.stamp}
    if error is not None:
        return message | {"error": {"kind": error.kind, "message": str(error)}}
    return message | {key: value for key, value in (analysis or {}).items() if key != "image"}


def _text(text: str) -> str:
    """Text that SQLite and JSON take: a file's name may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
