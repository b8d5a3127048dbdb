"""People, their photos, unknown faces, corrections, rules and visits in one SQLite file."""

# ruff: noqa: S608 - what is put into statements are names from this module; values are bound

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..database import transaction
from ..errors import GalleryDamaged, GalleryError, GalleryModelMismatch, NameRefused, NotInGallery
from ..folders import user_folder
from ..match import People, Rejection, Rule
from . import archive, rows, schema
from .records import (
    Expired,
    Group,
    Person,
    Photo,
    StoredFace,
    StoredPhoto,
    StoredRejection,
    Unknown,
    UnknownVectors,
    VisitRecord,
    checked_name,
    folded,
    group_name,
)
from .rows import Embeddings

GALLERY_VARIABLE = "PEEPHOLE_GALLERY"
SILENT = 86_400.0
"""Seconds after which a visit that nobody has closed is over all the same: the queue that it was in may be gone."""

log = logging.getLogger(__name__)


def gallery_path() -> Path:
    """Where the gallery is: ``$PEEPHOLE_GALLERY``, or the platform's own place for a user's data.

    Raises:
        UsageError: there is no such place; see `folders.user_folder`.
    """
    chosen = os.environ.get(GALLERY_VARIABLE)
    return (
        Path(chosen)
        if chosen
        else user_folder("data", f"name a file with --gallery or {GALLERY_VARIABLE}") / "gallery.db"
    )


class Gallery:
    """An open gallery. Each change is made as a whole or not at all, and other processes see it at once.

    It belongs to the thread that opened it; others open their own. Every method raises `GalleryError` where the file
    cannot be read or written, `GalleryFull` where its disk has no space left: nothing is stored then.

    Attributes:
        path: its file.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.path = path
        self._db = db
        self._clock = clock

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> Self:
        """Open the gallery, an older one brought up to date.

        The file and a folder made for it can be read by their owner alone.

        Args:
            path: its file; None for that of `gallery_path`.
            create: make an empty one where there is none.
            clock: tells the time, UTC seconds.

        Raises:
            GalleryNotFound: there is none, and none is to be made.
            GalleryDamaged: the file is something else, or damaged.
            GalleryError: a newer Peephole wrote it; or it cannot be opened or made.
        """
        file = Path(path) if path is not None else gallery_path()
        gallery = cls(file, schema.connect(file, create=create), clock)
        try:
            gallery._make_good()
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def now(self) -> float:
        """The time by the gallery's clock, UTC seconds."""
        return self._clock()

    # -- for a running service ----------------------------------------------------------------------------------

    def version(self) -> int:
        """A number that grows with every change, by any process, to what faces are compared with or the rules.

        Reading it takes microseconds: a running service asks before each frame, and reads again what it knows.
        """
        return int(self._one("SELECT version FROM state")[0])

    def known(self, model: str) -> People:
        """Who is known, as `match.match` takes it: a row for each photo of people and each face of ignored groups.

        Raises:
            GalleryModelMismatch: some of them have no embedding of this model. Nothing is compared across models.
        """
        with self._reading():
            names = dict(self._all("SELECT id, name FROM people"))
            ignored = [name for (name,) in self._all("SELECT name FROM people WHERE ignored")]
            groups = [group for (group,) in self._all("SELECT id FROM groups WHERE ignored")]
            photos = rows.vectors(self._db, "person_id", model)
            others = rows.vectors(self._db, "group_id", model, where=rows.IGNORED)
            rejected = rows.vectors(self._db, "rejected_id", model)
        self._refuse_lacking(photos + others + rejected, model)
        owners = [names[person] for _, person, *_ in photos] + [group_name(group) for _, group, *_ in others]
        return People(
            tuple(owners),
            rows.stacked(photos + others),
            ignored=frozenset(ignored) | {group_name(group) for group in groups},
            rejected=tuple(
                Rejection(names[person], vector, twin)
                for (_, person, *_), vector, twin in zip(
                    rejected, rows.stacked(rejected), rows.twins(rejected), strict=True
                )
            ),
            model=model,
            twins=rows.twins(photos + others) if any(twin for *_, twin in photos + others) else None,
        )

    # -- people -------------------------------------------------------------------------------------------------

    def people(self) -> list[Person]:
        """Everybody enrolled, by name."""
        found = self._all(
            "SELECT people.id, name, COUNT(faces.id), ignored, created FROM people "
            "LEFT JOIN faces ON faces.person_id = people.id GROUP BY people.id ORDER BY folded"
        )
        return [Person(id_, name, photos, bool(ignored), created) for id_, name, photos, ignored, created in found]

    def add_photo(self, name: str, photo: Photo, embeddings: Embeddings) -> int:
        """Enrol a photo; the person is made with the first one.

        The same picture again, by its bytes, replaces the person's photo of before.

        Returns:
            The photo's number.

        Raises:
            NameRefused: nobody can have this name, or somebody has it in other letters' case.
        """
        name = checked_name(name)
        with self._change():
            person = self._person_or_new(name)
            old = "SELECT id FROM faces WHERE person_id = ? AND sha256 = ?"
            before = self._db.execute(old, (person, photo.sha256)).fetchone()
            self._db.execute("DELETE FROM faces WHERE id = ?", before or (None,))
            face = before and before[0]
            return rows.add(self._db, "person_id", person, photo, embeddings, time=self._clock(), face=face)

    def photos(self, name: str | None = None) -> list[StoredPhoto]:
        """The photos of one person, or of all, in the order enrolled.

        Raises:
            NotInGallery: there is nobody of this name.
        """
        with self._reading():
            where = "person_id IS NOT NULL" if name is None else "person_id = :owner"
            found = rows.faces(self._db, where, owner=None if name is None else self._person(name))
        return [face for face in found if isinstance(face, StoredPhoto)]

    def has_photo(self, name: str, sha256: str) -> bool:
        """Whether a person, if there is one of this name, has a photo cut from this picture; see `Photo.sha256`."""
        query = "SELECT 1 FROM faces JOIN people ON people.id = person_id WHERE name = ? AND sha256 = ?"
        return self._db_row(query, (name, sha256)) is not None

    def forget_photo(self, photo: int) -> None:
        """Delete one photo for real; see `forget`. Its person stays.

        Raises:
            NotInGallery: there is no photo of this number.
        """
        with self._deletion():
            done = self._db.execute("DELETE FROM faces WHERE id = ? AND person_id IS NOT NULL", (photo,))
            if not done.rowcount:
                raise NotInGallery(f"there is no photo {photo} in {self.path}")

    def rename(self, old: str, new: str) -> None:
        """Give a person another name; all that belongs to the person stays.

        Raises:
            NotInGallery: there is nobody of the old name.
            NameRefused: nobody can have the new name, or somebody has it.
        """
        new = checked_name(new)
        with self._change():
            person = self._person(old)
            self._refuse_other(new, allowed=person)
            self._db.execute("UPDATE people SET name = ?, folded = ? WHERE id = ?", (new, folded(new), person))
            self._rename_in_visits(old, new)

    def merge(self, source: str, into: str) -> None:
        """Make two people one: photos, corrections and visits of the first become the second's.

        Of pictures that both have, the second's remain.

        Raises:
            NotInGallery: there is nobody of one of the names.
            GalleryError: it is the same person.
        """
        with self._change():
            here, there = self._person(source), self._person(into)
            if here == there:
                raise GalleryError(f"{source!r} cannot be merged into itself")
            for statement in (
                "DELETE FROM faces WHERE person_id = :here"
                " AND sha256 IN (SELECT sha256 FROM faces WHERE person_id = :there)",
                "UPDATE faces SET person_id = :there WHERE person_id = :here",
                "UPDATE faces SET rejected_id = :there WHERE rejected_id = :here",
                "DELETE FROM visitors WHERE person_id = :here"
                " AND visit_id IN (SELECT visit_id FROM visitors WHERE person_id = :there)",
                "UPDATE visitors SET person_id = :there WHERE person_id = :here",
                "DELETE FROM people WHERE id = :here",
            ):
                self._db.execute(statement, {"here": here, "there": there})
            self._rename_in_visits(source, into)

    def ignore(self, name: str, ignored: bool = True) -> None:
        """Never name or announce this person: the photos tell only whom not to name. ``False`` undoes it.

        Raises:
            NotInGallery: there is nobody of this name.
        """
        with self._change():
            self._db.execute("UPDATE people SET ignored = ? WHERE id = ?", (ignored, self._person(name)))

    def forget(self, name: str) -> None:
        """Delete a person for real: photos, embeddings, corrections, and the name, also in visits.

        The file is written anew without them and its log emptied. Where that fails, or the process is killed before,
        the next opening does it.

        Raises:
            NotInGallery: there is nobody of this name.
            GalleryError: the person is deleted, but the file could not be written anew; it says why.
        """
        with self._deletion():
            person = self._person(name)
            written = json.dumps(name, ensure_ascii=False)[1:-1]
            # Better a detail lost than a name kept that somebody asked to forget.
            self._db.execute("UPDATE visits SET detail = '{}' WHERE instr(detail, ?)", (written,))
            self._db.execute("DELETE FROM visitors WHERE name = ?", (name,))
            self._db.execute("DELETE FROM people WHERE id = ?", (person,))

    # -- corrections --------------------------------------------------------------------------------------------

    def reject(self, name: str, photo: Photo, embeddings: Embeddings) -> int:
        """Remember that this face is not this person's.

        Returns:
            The correction's number.

        Raises:
            NotInGallery: there is nobody of this name.
        """
        with self._change():
            return rows.add(self._db, "rejected_id", self._person(name), photo, embeddings, time=self._clock())

    def rejections(self, name: str | None = None) -> list[StoredRejection]:
        """The corrections of one person, or of all, the oldest first.

        Raises:
            NotInGallery: there is nobody of this name.
        """
        with self._reading():
            where = "rejected_id IS NOT NULL" if name is None else "rejected_id = :owner"
            found = rows.faces(self._db, where, owner=None if name is None else self._person(name))
        return [face for face in found if isinstance(face, StoredRejection)]

    def forget_rejection(self, rejection: int) -> None:
        """Take a correction back, its face deleted for real.

        Raises:
            NotInGallery: there is no correction of this number.
        """
        with self._deletion():
            done = self._db.execute("DELETE FROM faces WHERE id = ? AND rejected_id IS NOT NULL", (rejection,))
            if not done.rowcount:
                raise NotInGallery(f"there is no correction {rejection} in {self.path}")

    # -- unknown faces ------------------------------------------------------------------------------------------

    def add_unknown(
        self,
        photo: Photo,
        embeddings: Embeddings,
        *,
        group: int | None = None,
        camera: str = "",
        time: float | None = None,
    ) -> Unknown:
        """Keep a face that is nobody's, in a group of those that look like it, or in a new one.

        Args:
            photo, embeddings: the face.
            group: its group's number; None for a new group.
            camera: which camera saw it.
            time: when, UTC seconds; now by default.

        Raises:
            NotInGallery: there is no such group.
        """
        now = self._clock()
        with self._change(counts=group is not None and self._ignored(group)):
            if group is None:
                group = self._insert("INSERT INTO groups (created) VALUES (?)", (now,))
            self._check_group(group)
            seen = now if time is None else time
            face = rows.add(self._db, "group_id", group, photo, embeddings, time=seen, camera=camera)
        fields = {each.name: getattr(photo, each.name) for each in dataclasses.fields(Photo)}
        return Unknown(**fields, id=face, group=group, camera=camera, time=seen)

    def unknowns(self, group: int | None = None) -> list[Unknown]:
        """The unknown faces of one group, or of all that are not ignored, the earliest first.

        Raises:
            NotInGallery: there is no such group.
        """
        with self._reading():
            if group is not None:
                self._check_group(group)
            where = rows.OFFERED if group is None else "group_id = :owner"
            found = rows.faces(self._db, where, owner=group, order="time, faces.id")
        return [face for face in found if isinstance(face, Unknown)]

    def unknown_count(self) -> tuple[int, float | None]:
        """How many unknown faces there are that are not ignored, and when the earliest of them was seen; quick."""
        count, earliest = self._one(f"SELECT COUNT(*), MIN(time) FROM faces WHERE {rows.OFFERED}")
        return int(count), earliest

    def unknown_vectors(self, model: str) -> UnknownVectors:
        """What grouping the next face needs of those before, ignored groups included.

        Raises:
            GalleryModelMismatch: some have no embedding of this model.
        """
        with self._reading():
            found = rows.vectors(self._db, "group_id", model, order="time, faces.id")
        self._refuse_lacking(found, model)
        faces, groups = (np.array([row[column] for row in found], np.int64) for column in (0, 1))
        return UnknownVectors(faces, groups, rows.stacked(found))

    def groups(self, *, ignored: bool = False) -> list[Group]:
        """The groups of unknown faces, or those ignored, the latest seen first."""
        found = self._all(
            "SELECT groups.id, COUNT(faces.id), MIN(time), MAX(time), json_group_array(DISTINCT camera), ignored "
            "FROM groups JOIN faces ON faces.group_id = groups.id WHERE ignored = ? "
            "GROUP BY groups.id ORDER BY MAX(time) DESC, groups.id DESC",
            (ignored,),
        )
        return [Group(row[0], row[1], row[2], row[3], tuple(sorted(json.loads(row[4]))), bool(row[5])) for row in found]

    def regroup(self, groups: Mapping[int, int]) -> None:
        """Put unknown faces into other groups, as grouping anew has it: the group's number by the face's.

        Raises:
            NotInGallery: there is no such face or group.
        """
        with self._change():
            for face, group in groups.items():
                self._check_group(group)
                move = "UPDATE faces SET group_id = ? WHERE id = ? AND group_id IS NOT NULL"
                if not self._db.execute(move, (group, face)).rowcount:
                    raise NotInGallery(f"there is no unknown face {face} in {self.path}")
            self._drop_empty_groups()

    def merge_groups(self, source: int, into: int) -> None:
        """Make two groups one; the second's number stays.

        Raises:
            NotInGallery: there is no such group.
        """
        with self._change():
            self._check_group(source)
            self._check_group(into)
            self._db.execute("UPDATE faces SET group_id = ? WHERE group_id = ?", (into, source))
            self._drop_empty_groups()

    def name_group(self, group: int, name: str, faces: Collection[int] | None = None) -> int:
        """Enrol the faces of a group as photos of a person, new or known.

        Args:
            group: whose faces; there is no such group afterwards.
            name: the person's.
            faces: the numbers of those to enrol; the group's others are deleted for real, see `forget`. By default all.

        Returns:
            How many.

        Raises:
            NotInGallery: there is no such group, or none of the faces is in it.
            NameRefused: nobody can have this name, or somebody has it in other letters' case.
        """
        name = checked_name(name)
        with self._change() if faces is None else self._deletion():
            self._check_group(group)
            person = self._person_or_new(name)
            inside = [face for (face,) in self._db.execute("SELECT id FROM faces WHERE group_id = ?", (group,))]
            chosen = inside if faces is None else [face for face in inside if face in faces]
            if not chosen:
                raise NotInGallery(f"none of these faces is in {group_name(group)} in {self.path}")
            enrol = "UPDATE faces SET person_id = ?, group_id = NULL WHERE id = ?"
            self._db.executemany(enrol, [(person, face) for face in chosen])
            self._db.execute("DELETE FROM groups WHERE id = ?", (group,))
            return len(chosen)

    def ignore_group(self, group: int, ignored: bool = True) -> None:
        """Never announce or offer these faces again. They are kept whatever their age. ``False`` undoes it.

        Raises:
            NotInGallery: there is no such group.
        """
        with self._change():
            self._check_group(group)
            self._db.execute("UPDATE groups SET ignored = ? WHERE id = ?", (ignored, group))

    def forget_group(self, group: int) -> None:
        """Delete a group's faces for real; see `forget`.

        Raises:
            NotInGallery: there is no such group.
        """
        with self._deletion():
            self._check_group(group)
            self._db.execute("DELETE FROM groups WHERE id = ?", (group,))

    def expire(
        self,
        max_age: float | None = None,
        max_count: int | None = None,
        *,
        unknowns: bool = True,
        visits: bool = True,
    ) -> Expired:
        """Delete for real what is too old or too much of unknown faces and of visits that are over; see `forget`.

        Ignored groups are kept: without their faces they would be offered again. For what is kept by default see
        `retention.retain`.

        Args:
            max_age: seconds since the face was seen or the visit ended; None for any age.
            max_count: how many of each to keep, the latest; None for any number.
            unknowns, visits: which of them.
        """
        oldest = None if max_age is None else self._clock() - max_age
        with self._transaction():
            gone = self._expire("faces", rows.OFFERED, "time", oldest, max_count) if unknowns else 0
            ended = self._expire("visits", OVER, "ended", oldest, max_count) if visits else 0
            self._drop_empty_groups()
            if gone or ended:
                self._db.execute("UPDATE state SET unscrubbed = unscrubbed + 1")
        if gone or ended:
            self._scrub()
        return Expired(gone, ended)

    # -- models -------------------------------------------------------------------------------------------------

    def models(self) -> dict[str, int]:
        """How many faces have an embedding of each model."""
        return dict(self._all("SELECT model, COUNT(*) FROM embeddings GROUP BY model ORDER BY model"))

    def missing_count(self, model: str) -> int:
        """How many faces have no embedding of this model, or are photos and corrections without a colourless twin."""
        return int(self._one(f"SELECT COUNT(*) FROM faces WHERE {rows.LACKING}", {"model": model})[0])

    def twinless_count(self, model: str) -> int:
        """How many faces that others are compared with have an embedding of this model, but no colourless twin."""
        query = f"SELECT COUNT(*) FROM faces JOIN embeddings ON face_id = faces.id WHERE {rows.TWINLESS}"
        return int(self._one(query, {"model": model})[0])

    def missing(self, model: str, limit: int = -1) -> list[StoredFace]:
        """The faces that `missing_count` counts: photos, corrections and unknown faces.

        Args:
            model: SHA-256 of the recognizer's weights.
            limit: this many at most; crops take memory.
        """
        with self._reading():
            return rows.faces(self._db, rows.LACKING, model=model, limit=limit)

    def put_embedding(self, face: int, model: str, vector: NDArray[np.floating[Any]]) -> None:
        """Add a face's embedding by another model, or replace it; see `put_embeddings`."""
        self.put_embeddings(model, [(face, vector)])

    def put_embeddings(self, model: str, vectors: Iterable[tuple[int, NDArray[np.floating[Any]]]]) -> None:
        """Add embeddings by a model, or replace them, all at once: a face's number and its vector each, (d,) or (2, d).

        A face that was deleted meanwhile is passed over.
        """
        with self._change():
            for face, vector in vectors:
                if self._db.execute("SELECT 1 FROM faces WHERE id = ?", (face,)).fetchone():
                    rows.put(self._db, face, model, vector)

    def prune(self, model: str) -> int:
        """Delete the embeddings and the rule of a model that is no longer wanted, for real; see `forget`.

        Returns:
            How many embeddings.
        """
        with self._deletion():
            self._db.execute("DELETE FROM rules WHERE model = ?", (model,))
            return self._db.execute("DELETE FROM embeddings WHERE model = ?", (model,)).rowcount

    def set_rule(self, model: str, rule: Rule) -> None:
        """Keep the rule that was calibrated for a model, in place of the one before."""
        text = json.dumps({"schema": RULE_SCHEMA} | dataclasses.asdict(rule))
        with self._change():
            self._db.execute("INSERT OR REPLACE INTO rules VALUES (?, ?, ?)", (model, text, self._clock()))

    def reset_rule(self, model: str) -> None:
        """Go back to the model's own rule."""
        with self._change():
            self._db.execute("DELETE FROM rules WHERE model = ?", (model,))

    def rule(self, model: str) -> Rule | None:
        """The rule calibrated for a model, or None: then the model's own holds.

        Raises:
            GalleryError: another version of Peephole calibrated it.
        """
        row = self._db_row("SELECT rule FROM rules WHERE model = ?", (model,))
        if row is None:
            return None
        fields = json.loads(row[0])
        try:
            if 1 <= fields.pop("schema") <= RULE_SCHEMA:  # the first knew no night: it is the same by night then
                return _rule(fields)
        except (KeyError, TypeError) as error:
            log.warning("the rule of the model %s: %s", model, error)
        raise GalleryError(
            f"the rule of the model {model[:12]} in {self.path} is another version's; make it anew: peephole calibrate"
        )

    # -- visits -------------------------------------------------------------------------------------------------

    def save_visit(self, visit: VisitRecord) -> None:
        """Keep a visit, or what has become of it. Who is enrolled is kept as the person, so that names can change."""
        detail = json.dumps(dict(visit.detail), ensure_ascii=False, allow_nan=False)
        with self._transaction():
            (id_,) = self._db.execute(
                "INSERT INTO visits (key, camera, began, ended, state, frames, detail) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET camera = excluded.camera, began = excluded.began, "
                "ended = excluded.ended, state = excluded.state, frames = excluded.frames, detail = excluded.detail "
                "RETURNING id",
                (visit.id, visit.camera, visit.first, visit.last, visit.state, visit.frames, detail),
            ).fetchone()
            self._db.execute("DELETE FROM visitors WHERE visit_id = ?", (id_,))
            for position, name in enumerate(visit.names):
                person = self._db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
                who = (person[0], None) if person else (None, name)
                self._db.execute("INSERT INTO visitors VALUES (?, ?, ?, ?)", (id_, position, *who))

    def visits(self, *, camera: str | None = None, since: float | None = None) -> list[VisitRecord]:
        """Visits in the order of their start: of one camera or all, those that ended at ``since`` or later."""
        wanted = "FROM visits WHERE (?1 IS NULL OR camera = ?1) AND (?2 IS NULL OR ended >= ?2)"
        with self._reading():
            names: dict[int, list[str]] = {}
            for id_, name in self._all(
                "SELECT visit_id, COALESCE(people.name, visitors.name) FROM visitors "
                "LEFT JOIN people ON people.id = person_id "
                f"WHERE visit_id IN (SELECT id {wanted}) ORDER BY visit_id, position",
                (camera, since),
            ):
                names.setdefault(id_, []).append(name)
            found = self._all(
                f"SELECT id, key, camera, began, ended, state, frames, detail {wanted} ORDER BY began, id",
                (camera, since),
            )
        return [
            VisitRecord(key, where, began, ended, state, tuple(names.get(id_, ())), frames, json.loads(detail))
            for id_, key, where, began, ended, state, frames, detail in found
        ]

    def visit_count(self) -> tuple[int, float | None]:
        """How many visits there are, and when the earliest of them ended; quick."""
        count, earliest = self._one("SELECT COUNT(*), MIN(ended) FROM visits")
        return int(count), earliest

    # -- the file -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Read the whole file for damage.

        Raises:
            GalleryDamaged: what is wrong first.
        """
        schema.check(self._db, self.path)

    def export(self, file: str | os.PathLike[str]) -> None:
        """Write all there is into one file, checked, in one step; see `archive.export`."""
        archive.export(self._db, self.path, Path(file), self._clock())

    @staticmethod
    def import_(
        file: str | os.PathLike[str], path: str | os.PathLike[str] | None = None, *, replace: bool = False
    ) -> None:
        """Fill a gallery from what `export` wrote.

        Args:
            file: the export.
            path: the gallery's file, made where there is none; None for that of `gallery_path`. A running service
                that has it open goes on with what was imported.
            replace: put it in the place of what the gallery holds; otherwise the gallery must be empty.

        Raises:
            GalleryNotFound: there is no such export.
            GalleryDamaged: it is not, to the last bit, what `export` wrote. The gallery is as before.
            GalleryError: a newer Peephole wrote it; or the gallery holds something; or it cannot be written.
        """
        target = Path(path) if path is not None else gallery_path()
        with archive.unpacked(Path(file), target.parent) as copy, Gallery.open(target) as gallery:
            gallery._replace(copy, allowed=replace)

    # -- underneath ---------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with schema.translated(self.path), transaction(self._db):
            yield

    @contextmanager
    def _change(self, *, counts: bool = True) -> Iterator[None]:
        """A transaction that changes what faces are compared with."""
        with self._transaction():
            yield
            if counts:
                self._db.execute("UPDATE state SET version = version + 1")

    @contextmanager
    def _deletion(self) -> Iterator[None]:
        """A change after which the file is written anew, now or, if that fails, at the next opening."""
        with self._change():
            yield
            self._db.execute("UPDATE state SET unscrubbed = unscrubbed + 1")
        self._scrub()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with schema.translated(self.path), transaction(self._db, writing=False):
            yield

    def _replace(self, copy: Path, *, allowed: bool) -> None:
        """Put the rows of another gallery's file of the same schema in place of this one's."""
        with schema.translated(self.path):
            self._db.execute("ATTACH ? AS other", (str(copy.absolute()),))
        with self._change():
            held = [table for table in schema.TABLES if self._db.execute(f"SELECT 1 FROM main.{table}").fetchone()]
            if held and not allowed:
                raise GalleryError(
                    f"the gallery {self.path} is not empty: --replace puts the export in the place of what it holds, "
                    "--gallery names another file"
                )
            for table in reversed(schema.TABLES):
                self._db.execute(f"DELETE FROM main.{table}")
            for table in schema.TABLES:
                columns = ", ".join(row[1] for row in self._db.execute(f"PRAGMA main.table_info({table})"))
                self._db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM other.{table}")
            self._db.execute("UPDATE main.state SET unscrubbed = unscrubbed + ?", (bool(held),))
        with schema.translated(self.path):
            self._db.execute("DETACH other")
        if held:
            self._scrub()

    def _scrub(self) -> None:
        try:
            with schema.translated(self.path):
                schema.scrub(self._db)
        except GalleryError as error:
            raise type(error)(
                f"what was deleted is gone from the gallery, but its bytes stay in {self.path} until the file can be "
                f"written anew; the next opening tries again: {error}"
            ) from error

    def _make_good(self) -> None:
        """Write the file anew where a deletion could not."""
        if self._one("SELECT unscrubbed FROM state")[0]:
            try:
                self._scrub()
            except GalleryError as error:
                log.warning("%s", error)

    def _all(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[Any]:
        with schema.translated(self.path):
            return self._db.execute(query, values).fetchall()

    def _db_row(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> Any:
        with schema.translated(self.path):
            return self._db.execute(query, values).fetchone()

    def _one(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> Any:
        row = self._db_row(query, values)
        if row is None:
            raise GalleryDamaged(f"{self.path} is damaged: there is nothing in it where its state should be")
        return row

    def _refuse_lacking(self, found: rows.Vectors, model: str) -> None:
        """Refuse to compare where some faces lack an embedding of the model."""
        lacking = sum(vector is None for _, _, vector, _ in found)
        if lacking:
            raise GalleryModelMismatch(
                f"{lacking} of {len(found)} faces in {self.path} have no embedding of the model {model[:12]} in use; "
                "make them: peephole gallery reembed, with the same --recognizer",
                missing=lacking,
            )

    def _insert(self, statement: str, values: tuple[Any, ...]) -> int:
        return int(self._db.execute(statement, values).lastrowid or 0)

    def _person(self, name: str) -> int:
        """The number of a person."""
        row = self._db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        if row is None:
            near = self._namesake(name)
            hint = f"did you mean {near!r}?" if near else "peephole people lists who is enrolled"
            raise NotInGallery(f"nobody is called {name!r} in {self.path}: {hint}")
        return int(row[0])

    def _person_or_new(self, name: str) -> int:
        row = self._db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        if row:
            return int(row[0])
        self._refuse_other(name)
        values = (name, folded(name), self._clock())
        return self._insert("INSERT INTO people (name, folded, created) VALUES (?, ?, ?)", values)

    def _refuse_other(self, name: str, allowed: int | None = None) -> None:
        """Refuse a name that differs from another person's by nothing but upper and lower case."""
        namesake = "SELECT name FROM people WHERE folded = ? AND id IS NOT ?"
        row = self._db.execute(namesake, (folded(name), allowed)).fetchone()
        if row:
            raise NameRefused(f"{name!r} is taken: there is {row[0]!r} already; use that name, or another one")

    def _namesake(self, name: str) -> str | None:
        row = self._db.execute("SELECT name FROM people WHERE folded = ?", (folded(name),)).fetchone()
        return str(row[0]) if row else None

    def _rename_in_visits(self, old: str, new: str) -> None:
        written = json.dumps(old, ensure_ascii=False)
        for id_, detail in self._db.execute(
            "SELECT id, detail FROM visits WHERE instr(detail, ?)", (written,)
        ).fetchall():
            text = json.dumps(_renamed(json.loads(detail), old, new), ensure_ascii=False)
            self._db.execute("UPDATE visits SET detail = ? WHERE id = ?", (text, id_))

    def _check_group(self, group: int) -> None:
        if not self._db.execute("SELECT 1 FROM groups WHERE id = ?", (group,)).fetchone():
            raise NotInGallery(f"there is no {group_name(group)} in {self.path}: peephole unknowns lists the groups")

    def _ignored(self, group: int) -> bool:
        return bool(self._db_row("SELECT 1 FROM groups WHERE id = ? AND ignored", (group,)))

    def _drop_empty_groups(self) -> None:
        self._db.execute("DELETE FROM groups WHERE id NOT IN (SELECT group_id FROM faces WHERE group_id IS NOT NULL)")

    def _expire(self, table: str, which: str, when: str, oldest: float | None, max_count: int | None) -> int:
        """Delete the rows before a time, and those after the first so many, the latest first."""
        values = {"oldest": oldest, "count": max_count, "silent": self._clock() - SILENT}
        late = f"SELECT id FROM {table} WHERE {which} ORDER BY {when} DESC, id DESC LIMIT -1 OFFSET :count"
        gone = 0
        if oldest is not None:
            gone += self._db.execute(f"DELETE FROM {table} WHERE {which} AND {when} < :oldest", values).rowcount
        if max_count is not None:
            gone += self._db.execute(f"DELETE FROM {table} WHERE id IN ({late})", values).rowcount
        return gone


OVER = "(state = 'closed' OR ended < :silent)"
"""The visits that nothing will be added to."""

RULE_SCHEMA = 2
"""Of the JSON that a rule is kept as."""


def _rule(fields: dict[str, Any]) -> Rule:
    night = fields.pop("night", None)
    return Rule(**{name: _tuples(value) for name, value in fields.items()}, night=night and _rule(night))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _renamed(value: Any, old: str, new: str) -> Any:
    """What JSON holds, with a name replaced wherever it stands as a key or a text of its own."""
    if isinstance(value, dict):
        return {new if key == old else key: _renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    return new if value == old else value
