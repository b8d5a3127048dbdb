"""Faces and their vectors, to rows and back. Whoever calls holds the transaction and translates the errors."""

# ruff: noqa: S608 - what is put into statements are fragments from this package; values are bound

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryDamaged
from ..quality import Quality
from .records import Photo, StoredFace, StoredPhoto, StoredRejection, Unknown

Owner = Literal["person_id", "group_id", "rejected_id"]
"""What a face is: a person's photo, one of a group of unknown ones, or one that is not this person's."""

Embeddings = Mapping[str, NDArray[np.floating[Any]]]
"""A face's vector by each model that looked at it, (d,), or that and the vector of the same face without its colour,
(2, d); a model is the SHA-256 of its weights."""

Vectors = list[tuple[int, int, bytes | None, bytes | None]]
"""Number, owner, vector and colourless twin of faces; None where the model has not looked at them."""

OFFERED = "group_id IN (SELECT id FROM groups WHERE NOT ignored)"
IGNORED = "group_id IN (SELECT id FROM groups WHERE ignored)"
LACKING = (
    "NOT EXISTS (SELECT 1 FROM embeddings WHERE face_id = faces.id AND model = :model"
    f" AND (twin IS NOT NULL OR {OFFERED}))"
)
"""Faces without a vector, and those that others are compared with, also without a twin."""
TWINLESS = f"model = :model AND twin IS NULL AND (group_id IS NULL OR {IGNORED})"


def add(
    db: sqlite3.Connection,
    owner: Owner,
    number: int,
    photo: Photo,
    embeddings: Embeddings,
    *,
    time: float,
    camera: str = "",
    face: int | None = None,
) -> int:
    """Store a face, under a number of its own or this one; the number."""
    values = {
        "id": face,
        owner: number,
        "time": time,
        "camera": camera,
        "source": photo.source,
        "sha256": photo.sha256,
        "landmarks": None if photo.landmarks is None else json.dumps(photo.landmarks.tolist()),
        "landmark_kind": photo.landmark_kind,
        "box": json.dumps([float(each) for each in photo.box]),
        "quality": None if photo.quality is None else json.dumps(dataclasses.asdict(photo.quality)),
        "crop": photo.crop,
    }
    places = ", ".join(f":{column}" for column in values)
    stored = db.execute(f"INSERT INTO faces ({', '.join(values)}) VALUES ({places})", values).lastrowid or 0
    for model, vector in embeddings.items():
        put(db, stored, model, vector)
    return stored


def put(db: sqlite3.Connection, face: int, model: str, vector: NDArray[np.floating[Any]]) -> None:
    """Store a face's vector by a model, (d,) or with its twin (2, d), in place of an earlier one."""
    little = np.ascontiguousarray(vector, "<f4")
    both = little.ndim == 2 and len(little) == 2
    if not (little.ndim == 1 or both) or not little.size or not np.isfinite(little).all():
        raise ValueError(f"an embedding is a vector of finite numbers, not {little.shape} of {vector.dtype}")
    plain, twin = little if both else (little, None)
    values = (face, model, plain.tobytes(), None if twin is None else twin.tobytes())
    db.execute("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", values)


def faces(
    db: sqlite3.Connection,
    where: str,
    *,
    order: str = "faces.id",
    limit: int = -1,
    owner: int | None = None,
    model: str = "",
) -> list[StoredFace]:
    """The faces that a condition on ``:owner`` and ``:model`` holds for."""
    rows = db.execute(
        "SELECT faces.id, person_id, group_id, people.name, time, camera, source, sha256, landmarks, landmark_kind, "
        "box, quality, crop FROM faces LEFT JOIN people ON people.id = COALESCE(person_id, rejected_id) "
        f"WHERE {where} ORDER BY {order} LIMIT :limit",
        {"owner": owner, "model": model, "limit": limit},
    )
    return [_face(row) for row in rows]


def vectors(
    db: sqlite3.Connection, owner: Owner, model: str, *, where: str | None = None, order: str | None = None
) -> Vectors:
    """The vectors of all faces of this kind, or of those that a condition holds for, an owner's side by side."""
    return db.execute(
        f"SELECT faces.id, {owner}, vector, twin FROM faces LEFT JOIN embeddings ON face_id = faces.id AND model = ? "
        f"WHERE {where or f'{owner} IS NOT NULL'} ORDER BY {order or f'{owner}, faces.id'}",
        (model,),
    ).fetchall()


def stacked(found: Vectors) -> NDArray[np.float32]:
    """Vectors, none of them None, as (n, d) float32."""
    return _joined([vector for _, _, vector, _ in found if vector is not None])


def twins(found: Vectors) -> NDArray[np.float32]:
    """Their colourless twins, (n, d) float32; a face's own vector where nobody has made its twin."""
    return _joined([twin or vector for _, _, vector, twin in found if vector is not None])


def _joined(chunks: list[bytes]) -> NDArray[np.float32]:
    if not chunks:
        return np.zeros((0, 0), np.float32)
    if any(len(chunk) != len(chunks[0]) for chunk in chunks):
        raise GalleryDamaged("the gallery is damaged: embeddings of one model differ in length")
    return np.frombuffer(b"".join(chunks), "<f4").reshape(len(chunks), -1).astype(np.float32, copy=False)


def _face(row: Any) -> StoredFace:
    id_, person, group, name, time, camera, source, sha256, landmarks, kind, box, quality, crop = row
    points = None if landmarks is None else np.array(json.loads(landmarks), np.float64)
    left, top, right, bottom = json.loads(box)
    face = (crop, points, kind, (left, top, right, bottom), source, sha256, _quality(quality))
    if person is not None:
        return StoredPhoto(*face, id=id_, name=name, created=time)
    if group is not None:
        return Unknown(*face, id=id_, group=group, camera=camera, time=time)
    return StoredRejection(*face, id=id_, name=name, created=time)


def _quality(text: str | None) -> Quality | None:
    """The figures as they were kept; None where another version kept others."""
    try:
        return None if text is None else Quality(**json.loads(text))
    except TypeError:
        return None
