"""A whole gallery in one checked file.

An export is a ZIP archive, its members stored as they are: ``manifest.json`` says what it is, ``gallery.db`` is the
database. The archive's comment, the last bytes of the file, is the SHA-256 of all bytes before it, so that no damage
can go unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from .. import __version__
from ..database import private_folder
from ..errors import GalleryDamaged, GalleryError, GalleryNotFound
from . import schema
from .records import checked_name

FORMAT = "peephole-gallery"
MANIFEST = "manifest.json"
DATABASE = "gallery.db"
SEAL = b"sha256:"
SEAL_BYTES = len(SEAL) + 64
CHUNK = 1 << 20


def export(db: sqlite3.Connection, gallery: Path, file: Path, now: float) -> None:
    """Write all that a gallery holds into a file, readable by its owner alone, in one step, in place of an older one.

    What other processes store meanwhile is in it or not, each change as a whole. What was deleted is not in it.

    Raises:
        GalleryError: the file is the gallery itself, or cannot be written; there is then no new file.
        GalleryDamaged: the gallery is damaged.
    """
    with schema.translated(file, f"the export of {gallery} to"):
        if file.exists() and file.samefile(gallery):
            raise GalleryError(f"{file} is the gallery itself; name another file for its export")
        with _temporary(file.parent, ".peephole-export-") as folder:
            copy, new = folder / DATABASE, folder / "new"
            copy.touch(0o600)
            db.execute("VACUUM INTO ?", (str(copy),))
            with closing(schema.open_file(copy)) as copied:
                schema.check(copied, gallery)
            _pack(copy, new, now)
            new.replace(file)


@contextmanager
def unpacked(file: Path, folder: Path) -> Iterator[Path]:
    """The database of an export, checked and brought to the current schema, for as long as the block lasts.

    Args:
        file: the export.
        folder: where to put it meanwhile, made if need be; nothing is written there before the export is found whole.

    Raises:
        GalleryNotFound: there is no such export.
        GalleryDamaged: it is not, to the last bit, what `export` wrote.
        GalleryError: a newer Peephole wrote it; or there is no place for it.
    """
    with schema.translated(file, "the export"):
        if not file.exists():
            raise GalleryNotFound(f"there is no export {file}")
        with file.open("rb") as source:
            end = source.seek(0, os.SEEK_END) - SEAL_BYTES
            if end <= 0 or _seal(source, end) != source.read(SEAL_BYTES):
                raise GalleryDamaged(f"{file} is damaged, or no export of a gallery: its checksum is not right")
            with _archive(file, source) as archive:
                private_folder(folder)
                with _temporary(folder, ".peephole-import-") as temporary:
                    copy = temporary / DATABASE
                    with archive.open(DATABASE) as packed, copy.open("xb") as out:
                        shutil.copyfileobj(packed, out, CHUNK)
                    with closing(schema.open_file(copy)) as db:
                        schema.identify(db, file)
                        schema.check(db, file)
                        schema.migrate(db)
                        for table in schema.TABLES:
                            db.execute(f"SELECT 1 FROM {table}")  # noqa: S608 - a name of ours; it raises if there is none
                        for (name,) in db.execute("SELECT name FROM people"):
                            checked_name(name)
                    yield copy


@contextmanager
def _temporary(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder for its owner alone; what killed processes left under this prefix is removed, since it holds faces."""
    for stale in folder.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as name:
        yield Path(name)


def _pack(copy: Path, new: Path, now: float) -> None:
    """Make an archive of a database."""
    manifest = {"format": FORMAT, "schema": schema.SCHEMA, "peephole": __version__, "exported": now}
    new.touch(0o600)
    with new.open("r+b") as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            archive.write(copy, DATABASE)
            archive.comment = bytes(SEAL_BYTES)  # its place is kept; it is known when all else stands
        end = out.seek(-SEAL_BYTES, os.SEEK_END)
        seal = _seal(out, end)
        out.seek(end)
        out.write(seal)
        out.flush()
        os.fsync(out.fileno())


def _archive(file: Path, source: IO[bytes]) -> zipfile.ZipFile:
    """The archive, if it is one that this version can read."""
    try:
        archive = zipfile.ZipFile(source)
        manifest = json.loads(archive.read(MANIFEST))
        found, written, wanted = manifest["schema"], manifest["peephole"], manifest["format"] == FORMAT
        archive.getinfo(DATABASE)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise GalleryDamaged(f"{file} is no export of a gallery: {error}") from error
    if not wanted:
        raise GalleryDamaged(f"{file} is no export of a gallery")
    if found > schema.SCHEMA:
        raise GalleryError(
            f"{file} has schema {found}, written by Peephole {written}, and this Peephole {__version__} knows no "
            f"schema newer than {schema.SCHEMA}: update it"
        )
    return archive


def _seal(file: IO[bytes], end: int) -> bytes:
    """What the last bytes of an export are: the checksum of the ``end`` bytes before; the file stands there then."""
    file.seek(0)
    checksum = hashlib.sha256()
    while (left := end - file.tell()) > 0 and (chunk := file.read(min(CHUNK, left))):
        checksum.update(chunk)
    return SEAL + checksum.hexdigest().encode()
