"""The gallery: people, their photos, unknown faces, corrections, rules and visits, in one SQLite file.

schema    the file: made, opened, recognised, migrated
records   what it holds, as values; which names people can have
store     `Gallery`: every way to read and change it
reembed   embeddings by another model, from the stored crops
retention what is kept for how long
archive   export and import
"""

from __future__ import annotations

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
)
from .reembed import reembed
from .retention import retain
from .store import Gallery, gallery_path

__all__ = [
    "Expired",
    "Gallery",
    "Group",
    "Person",
    "Photo",
    "StoredFace",
    "StoredPhoto",
    "StoredRejection",
    "Unknown",
    "UnknownVectors",
    "VisitRecord",
    "checked_name",
    "gallery_path",
    "reembed",
    "retain",
]
