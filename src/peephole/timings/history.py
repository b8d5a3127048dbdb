"""The history of timings: a row a frame in an SQLite file, which outlives the log's rotation.

What is the same in row after row, as models, machine, plan and the stages' names, is kept once and referred to.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from .. import database
from ..errors import TimingsError
from ..folders import user_folder
from .record import Glance, Record, Setup, text

T = TypeVar("T")

HISTORY_VARIABLE = "PEEPHOLE_HISTORY"
NONE = "none"
"""The name of no file: no history is kept."""
APPLICATION_ID = int.from_bytes(b"PEPT", "big")
MOST_ROWS = 1_000_000
MOST_DAYS = 730.0
"""What is kept: so many rows, and none older. A frame a minute is half a million rows a year."""
EVERY = 1.0
"""Seconds between two commits: one takes as long for a row as for a hundred."""
AT_ONCE = 500
"""Rows that are not held longer than it takes until there are so many."""
PATIENCE, LAST_PATIENCE = 0.25, 5.0
"""Seconds to wait for another process that is writing; rows are held meanwhile. The second is for the last ones."""
MOST_HELD = 10_000
"""Rows that are held while the file cannot be written; beyond, the oldest go."""
TIDY = 5_000
"""Rows written between two looks at what is too old or too much."""

ERRORS = database.Errors(
    TimingsError, TimingsError, TimingsError, "history of timings", "move it away: a new one will be made"
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (  # 1
        """CREATE TABLE setups (
            id INTEGER PRIMARY KEY,
            detector TEXT NOT NULL,
            recognizer TEXT NOT NULL,
            models TEXT NOT NULL,
            runtime TEXT NOT NULL,
            threads INTEGER NOT NULL,
            cpu TEXT NOT NULL,
            version TEXT NOT NULL,
            libraries TEXT NOT NULL,
            UNIQUE (detector, recognizer, models, runtime, threads, cpu, version, libraries)
        ) STRICT""",
        """CREATE TABLE plans (
            id INTEGER PRIMARY KEY,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            plan TEXT NOT NULL,
            UNIQUE (width, height, plan)
        ) STRICT""",
        "CREATE TABLE stages (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE) STRICT",
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        # Times in milliseconds since 1970, memory in 10^5 bytes: as integers they take two to six bytes. Of processor
        # time an array like that of the milliseconds, null where a stage was not measured.
        """CREATE TABLE frames (
            id INTEGER PRIMARY KEY,
            time INTEGER NOT NULL,
            source TEXT NOT NULL,
            frame TEXT NOT NULL,
            plan_id INTEGER NOT NULL REFERENCES plans (id),
            setup_id INTEGER NOT NULL REFERENCES setups (id),
            faces INTEGER NOT NULL,
            stages_id INTEGER NOT NULL REFERENCES stages (id),
            milliseconds TEXT NOT NULL,
            processor TEXT,
            run_id INTEGER NOT NULL REFERENCES runs (id),
            predicted INTEGER NOT NULL,
            measured INTEGER NOT NULL,
            error TEXT,
            message TEXT
        ) STRICT""",
        "CREATE INDEX frames_by_time ON frames (time)",
        # For those who ask the file itself: a row for each stage of each frame.
        """CREATE VIEW stage_times AS
            SELECT frames.id AS frame_id, datetime(time / 1000, 'unixepoch') AS time, source, width, height, plan,
                detector, recognizer, name.value AS stage, took.value AS milliseconds
            FROM frames JOIN plans ON plans.id = plan_id JOIN setups ON setups.id = setup_id
                JOIN stages ON stages.id = stages_id, json_each(names) AS name, json_each(milliseconds) AS took
            WHERE name.key = took.key""",
    ),
)
"""What leads from each schema to the next. A schema's number is how many of these it has behind it; add, never edit."""

FORMAT = database.Format(
    application=APPLICATION_ID,
    foreign="is an SQLite file, and no history of timings",
    migrations=MIGRATIONS,
    # A power cut may cost the last rows, which are in the log, and no more.
    set_up=("journal_mode = WAL", "foreign_keys = ON", "synchronous = NORMAL"),
    errors=ERRORS,
    timeout=LAST_PATIENCE,
)


def history_path() -> Path:
    """Where the history is: ``$PEEPHOLE_HISTORY``, or beside the gallery's usual place.

    Raises:
        UsageError: there is no such place; see `folders.user_folder`.
    """
    chosen = os.environ.get(HISTORY_VARIABLE)
    return Path(chosen) if chosen else user_folder("data", f"name a file with {HISTORY_VARIABLE}") / "timings.sqlite"


class History:
    """An open history. Several processes may write to it; it belongs to the thread that opened it.

    Rows are committed together, a second's or `AT_ONCE`: what a process that is killed has not committed yet is in the
    log.
    """

    name = "history of timings"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        most_rows: int = MOST_ROWS,
        most_days: float = MOST_DAYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the file, made first where there is none and ``create`` says so, brought up to date.

        Args:
            path: by default `history_path`.
            create: whether to make it.
            most_rows, most_days: what is kept.
            clock: seconds.

        Raises:
            TimingsError: it is something else, or damaged; a newer Peephole wrote it; or it cannot be opened.
            UsageError: see `history_path`.
        """
        self.path = history_path() if path is None else Path(path)
        self._most_rows, self._most_days, self._clock = most_rows, most_days, clock
        self._held: deque[Record] = deque()
        self._last, self._since_tidy, self._failing = float("-inf"), 0, False
        self._ids: dict[tuple[Any, ...], int] = {}
        missing = TimingsError(f"there is no history of timings {self.path} yet; it is written with --timings FILE")
        self._db = database.connect(self.path, FORMAT, missing=None if create else missing)
        self._wait(PATIENCE)

    def frame(self, record: Record) -> None:
        """Take a record; it is committed now or with a later one.

        Raises:
            TimingsError: the file cannot be written just now; the records are held until it can, up to `MOST_HELD`.
        """
        self._held.append(record)
        due = len(self._held) >= AT_ONCE and not self._failing
        if due or self._clock() - self._last >= EVERY:
            self.flush()
        elif len(self._held) > MOST_HELD:
            self._held.popleft()

    def flush(self) -> None:
        """Commit what is held.

        Raises:
            TimingsError: as `frame`.
        """
        if not self._held:
            return
        self._failing = True
        try:
            with self._translated():
                self._commit()
            self._failing = False
        except TimingsError:
            while len(self._held) > MOST_HELD:
                self._held.popleft()
            raise
        finally:
            self._last = self._clock()

    def close(self) -> None:
        """Commit what is held, and let go of the file.

        Raises:
            TimingsError: it could not be written, and is lost.
        """
        try:
            self._wait(LAST_PATIENCE)
            self.flush()
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many frames there are."""
        with self._translated():
            (count,) = self._db.execute("SELECT count(*) FROM frames").fetchone()
        return int(count)

    def records(self) -> Iterator[Record]:
        """All of it, the oldest first.

        Raises:
            TimingsError: there is none yet, or it cannot be read.
        """
        yield from self._rows("SELECT * FROM frames ORDER BY time, id", _record)

    def glances(self) -> Iterator[Glance]:
        """The same in short, three times as fast.

        Raises:
            TimingsError: as `records`.
        """
        columns = "time, plan_id, setup_id, stages_id, milliseconds, error"
        yield from self._rows(f"SELECT {columns} FROM frames ORDER BY time, id", _glance)  # noqa: S608 - nothing foreign

    def _rows(self, query: str, make: Callable[[tuple[Any, ...], _Sides], T]) -> Iterator[T]:
        with self._translated():
            sides = _Sides(
                {row[0]: _setup(row) for row in self._db.execute("SELECT * FROM setups")},
                {row[0]: row[1:] for row in self._db.execute("SELECT * FROM plans")},
                {key: json.loads(names) for key, names in self._db.execute("SELECT * FROM stages")},
                dict(self._db.execute("SELECT * FROM runs")),
            )
            rows = self._db.execute(query)
            found = False
            while some := rows.fetchmany(1000):
                found = True
                yield from (make(row, sides) for row in some)
        if not found:
            raise TimingsError(f"the {self.name} {self.path} is empty: it is written with --timings FILE")

    def prune(self, *, most_rows: int | None = None, most_days: float | None = None) -> int:
        """Delete the oldest rows until no more are left than so many, and none older than so many days.

        Returns:
            How many went.
        """
        with self._translated(), database.transaction(self._db):
            return self._prune(most_rows, most_days)

    def _prune(self, most_rows: int | None, most_days: float | None) -> int:
        gone = 0
        if most_days is not None:
            oldest = int((time.time() - most_days * 86_400) * 1e3)
            gone += self._db.execute("DELETE FROM frames WHERE time < ?", (oldest,)).rowcount
        if most_rows is not None:
            first = "SELECT id FROM frames ORDER BY id DESC LIMIT 1 OFFSET ?"
            gone += self._db.execute(f"DELETE FROM frames WHERE id <= ({first})", (most_rows,)).rowcount  # noqa: S608
        return gone

    def _commit(self) -> None:
        with database.transaction(self._db):
            known = dict(self._ids)
            rows = [self._row(record, known) for record in self._held]
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO frames VALUES (NULL, {marks})", rows)  # noqa: S608 - question marks
            self._since_tidy += len(rows)
            if self._since_tidy >= TIDY:
                self._prune(self._most_rows, self._most_days)
                self._since_tidy = 0
        self._ids = known
        self._held.clear()

    def _row(self, record: Record, known: dict[tuple[Any, ...], int]) -> tuple[Any, ...]:
        models, libraries = _json(record.models), _json(record.libraries)
        setup = (record.detector, record.recognizer, models, record.runtime, record.threads)
        return (
            round(record.time.timestamp() * 1e3),
            text(record.source),
            text(record.frame),
            self._id("plans", ("width", "height", "plan"), (record.width, record.height, record.plan), known),
            self._id("setups", _SETUP, (*setup, record.cpu, record.version, libraries), known),
            record.faces,
            self._id("stages", ("names",), (_json(list(record.stages)),), known),
            _json(list(record.stages.values())),
            _json([record.cpu_ms.get(name) for name in record.stages]) if record.cpu_ms else None,
            self._id("runs", ("name",), (record.run,), known),
            round(record.predicted_mb * 10),
            round(record.measured_mb * 10),
            record.error,
            text(record.message) if record.error is not None else None,
        )

    def _id(
        self, table: str, columns: tuple[str, ...], values: tuple[Any, ...], known: dict[tuple[Any, ...], int]
    ) -> int:
        """The number of what is kept once; it is put there first if need be. Nothing is ever taken out of it."""
        key = (table, *values)
        if (number := known.get(key)) is None:
            where = " AND ".join(f"{column} = ?" for column in columns)
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            self._db.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608
            (number,) = self._db.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()  # noqa: S608
            known[key] = number
        return number

    def _wait(self, seconds: float) -> None:
        """How long to wait from now on for another process that is writing."""
        with self._translated():
            self._db.execute(f"PRAGMA busy_timeout = {seconds * 1e3:.0f}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with database.translated(self.path, f"the {self.name}", ERRORS, timeout=PATIENCE):
            yield


_SETUP = ("detector", "recognizer", "models", "runtime", "threads", "cpu", "version", "libraries")


class _Sides(NamedTuple):
    """What rows refer to, by its number."""

    setups: dict[int, Setup]
    plans: dict[int, tuple[int, int, str]]
    stages: dict[int, list[str]]
    runs: dict[int, str]

    def timed(self, stages: int, milliseconds: str) -> dict[str, float]:
        return dict(zip(self.stages[stages], msgspec.json.decode(milliseconds, type=list[float]), strict=True))


def _setup(row: tuple[Any, ...]) -> Setup:
    _, detector, recognizer, models, runtime, threads, cpu, version, libraries = row
    return Setup(detector, recognizer, json.loads(models), runtime, threads, cpu, version, json.loads(libraries))


def _record(row: tuple[Any, ...], sides: _Sides) -> Record:
    _, moment, source, frame, plan, setup_id, faces, stages, milliseconds, processor, run, *rest = row
    predicted, measured, error, message = rest
    names = sides.stages[stages]
    cpu = zip(names, json.loads(processor), strict=True) if processor else ()
    setup = sides.setups[setup_id]
    return Record(
        datetime.fromtimestamp(moment / 1e3, UTC),
        source,
        frame,
        *sides.plans[plan],
        faces,
        sides.timed(stages, milliseconds),
        predicted / 10,
        measured / 10,
        setup.detector,
        setup.recognizer,
        setup.models,
        setup.runtime,
        setup.threads,
        setup.cpu,
        setup.version,
        error,
        message or "",
        setup.libraries,
        {name: value for name, value in cpu if value is not None},
        sides.runs[run],
    )


def _glance(row: tuple[Any, ...], sides: _Sides) -> Glance:
    moment, plan, setup, stages, milliseconds, error = row
    return Glance(moment / 1e3, *sides.plans[plan], sides.setups[setup], sides.timed(stages, milliseconds), error)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
