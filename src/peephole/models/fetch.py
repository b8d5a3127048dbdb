"""Downloads of models: only when asked for, resumed where one broke off, checked, and in place in one step.

What has come so far lies beside the target as ``NAME.part``. It is hashed as a whole when it is complete, and only then
moved into place; a file that is there is whole.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import ModelDamaged, ModelDownload
from . import store

TIMEOUT = 30.0
"""Seconds without a byte."""
BLOCK = 1 << 16
PACKED = ".bz2"
PACKED_EXTRA = 1 << 16
"""Bytes by which a packed file may be larger than what is in it."""

Progress = Callable[[int, int | None], object]
"""Told the bytes that are there and those that there will be, where the server says so."""


def fetch(asset: store.Asset, *, progress: Progress | None = None) -> Path:
    """Download a published model into the `store.models_folder`, unless it is there.

    Args:
        asset: which; its ``origin`` may be packed by bzip2, its hash is that of what is inside.
        progress: see `Progress`.

    Raises:
        ModelDownload: no route, a refusal, a connection that broke, no space, or another process at it.
        ModelDamaged: what came is not the published file; it is deleted.
    """
    folder = store.models_folder()
    target = folder / Path(asset.file).name
    try:
        if target.is_file() and _sha256(target) == asset.sha256:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{target.name}.part").open("a+b") as part, _alone(part, asset.name):
            resumed = _size(part) > 0
            try:
                _complete(asset, part, target, progress)
            except ModelDamaged:
                if not resumed:
                    Path(part.name).unlink(missing_ok=True)
                    raise
                _complete(asset, part, target, progress)  # what was there may have been of another version
    except OSError as error:
        what = "there is no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise ModelDownload(f"{asset.name}: {folder} cannot be written: {what}") from error
    return target


def _complete(asset: store.Asset, part: IO[bytes], target: Path, progress: Progress | None) -> None:
    """Download the rest into ``part``, check it and move what it holds to ``target``.

    Raises:
        ModelDamaged: it is not the published file; nothing is left of it.
    """
    new = target.with_name(f"{target.name}.new")
    try:
        _download(asset, part, progress)
        with new.open("wb") as file:
            _unpack(asset, part, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)
        Path(part.name).unlink(missing_ok=True)
    except ModelDamaged:
        part.truncate(0)
        raise
    finally:
        new.unlink(missing_ok=True)


def _download(asset: store.Asset, part: IO[bytes], progress: Progress | None) -> None:
    """Append to ``part`` what it lacks, or all of it where the server cannot go on from there.

    Raises:
        ModelDownload: see `fetch`.
        ModelDamaged: more comes than the model has.
    """
    packed = asset.origin.endswith(PACKED)
    most = asset.size + (PACKED_EXTRA if packed else 0)
    have = _size(part)
    if have == asset.size and not packed:
        return
    with _opened(asset, have) as response:
        if response is None:  # there is nothing behind what is here; of a packed file that may be all
            return
        if response.status != http.HTTPStatus.PARTIAL_CONTENT or _start(response) != have:
            part.truncate(0)
            have = 0
        rest = response.headers.get("Content-Length", "")
        total = have + int(rest) if rest.isdecimal() else None if packed else asset.size
        while block := _read(asset, response):
            have += len(block)
            if have > most:
                raise ModelDamaged(f"{asset.name}: {asset.origin} has more than the {most} bytes that are expected")
            part.write(block)
            if progress:
                progress(have, total)
        part.flush()
    if total is not None and have < total:
        raise ModelDownload(f"{asset.name}: the connection broke at {have} of {total} bytes; fetch again to go on")


@contextlib.contextmanager
def _opened(asset: store.Asset, start: int) -> Iterator[Any]:
    """The response to a request for the bytes from ``start`` on; None where the server has none from there on.

    Raises:
        ModelDownload: the server cannot be reached, or says no.
    """
    headers = {"User-Agent": "peephole", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    where = f"{asset.name}: {asset.origin}"
    if urlsplit(asset.origin).scheme not in ("http", "https"):
        raise ModelDownload(f"{where} is no web address")
    request = urllib.request.Request(asset.origin, headers=headers)  # noqa: S310 - the scheme is checked above
    try:
        response = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise ModelDownload(f"{where} answers {error.code} {error.reason}") from error
        yield None
        return
    except (OSError, http.client.HTTPException) as error:
        raise ModelDownload(f"{where} cannot be reached: {getattr(error, 'reason', None) or error}") from error
    with response:
        yield response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted connection to an open one, nor out of the web."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """See `urllib.request.HTTPRedirectHandler.redirect_request`."""
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after != "https"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _start(response: Any) -> int | None:
    """Where a partial answer begins, from ``Content-Range: bytes 100-199/200``."""
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else None


def _read(asset: store.Asset, response: Any) -> bytes:
    try:
        block: bytes = response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise ModelDownload(f"{asset.name}: the connection broke: {error}; fetch again to go on") from error
    return block


def _unpack(asset: store.Asset, part: IO[bytes], file: IO[bytes]) -> None:
    """Copy what ``part`` holds to ``file``.

    Raises:
        ModelDamaged: it is not packed as it should be, or is not the model.
    """
    digest, size = hashlib.sha256(), 0
    part.seek(0)
    source: IO[bytes] = bz2.BZ2File(part) if asset.origin.endswith(PACKED) else part
    try:
        while (block := source.read(BLOCK)) and size <= asset.size:
            size += len(block)
            digest.update(block)
            file.write(block)
    except EOFError as error:
        raise ModelDamaged(f"{asset.name}: what came from {asset.origin} ends too early") from error
    except OSError as error:
        if error.errno is None:  # bz2's own complaint
            raise ModelDamaged(f"{asset.name}: what came from {asset.origin} is no bzip2 file") from error
        raise
    if digest.hexdigest() != asset.sha256:
        raise ModelDamaged(
            f"{asset.name}: what came from {asset.origin} has SHA-256 {digest.hexdigest()}, "
            f"not {asset.sha256} as published"
        )


@contextlib.contextmanager
def _alone(part: IO[bytes], name: str) -> Iterator[None]:
    """Hold the file for this process; the system lets go of it when the process ends, however it ends."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelDownload(f"{name}: another process is fetching it") from error
    yield


def _size(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
