"""Places, the file systems that hold them, and the gallery's file."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from peephole import memory
from peephole.doctor import storage
from peephole.doctor.storage import Place, Volume
from peephole.gallery import Gallery

MIB = 2**20
ROOMY = Volume("ext4", 5000 * MIB, 9000 * MIB, 100_000, "")
CACHE = Place("cache", Path("/data/cache"), "PEEPHOLE_CACHE")
GALLERY = Place("gallery's disk", Path("/data"), "PEEPHOLE_GALLERY", lasting=True, sqlite=True)
root_only = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounts a disk")


@pytest.mark.parametrize(
    ("place", "change", "container", "state", "words"),
    [
        (CACHE, {}, "", "ok", "free (ext4)"),
        (GALLERY, {}, "Docker", "ok", "free (ext4)"),
        (CACHE, {"free": 10 * MIB}, "", "problem", "full"),
        (CACHE, {"refused": "full"}, "", "problem", "full"),
        (CACHE, {"inodes": 0}, "", "problem", "no file can be made"),
        (CACHE, {"inodes": None}, "", "ok", "free (ext4)"),
        (CACHE, {"free": 100 * MIB}, "", "warning", "nearly full"),
        (CACHE, {"refused": "read-only"}, "", "problem", "read-only"),
        (CACHE, {"refused": "read-only", "free": 0}, "LXC", "problem", "read-only"),
        (CACHE, {"kind": "nfs4"}, "", "ok", "free (nfs4)"),
        (GALLERY, {"kind": "nfs4"}, "", "warning", "other machines may write there"),
        (GALLERY, {"kind": "fuse.sshfs"}, "", "warning", "other machines may write there"),
        (GALLERY, {"kind": "fuseblk"}, "", "note", "all users can read"),
        (GALLERY, {"kind": "fuse-overlayfs"}, "Podman", "warning", "gone with it"),
        (CACHE, {"kind": "tmpfs"}, "", "ok", "free (tmpfs)"),
        (GALLERY, {"kind": "tmpfs"}, "", "warning", "gone after a restart"),
        (CACHE, {"kind": "overlay"}, "Docker", "ok", "free (overlay)"),
        (GALLERY, {"kind": "overlay"}, "Docker", "warning", "gone with it"),
        (GALLERY, {"kind": "overlay"}, "", "ok", "free (overlay)"),  # a live system's, or OpenWrt's
    ],
)
def test_places(place, change, container, state, words):
    found = storage.place(place, replace(ROOMY, **change), container=container)
    assert found.state == state
    assert words in found.summary
    assert bool(found.advice) == (state != "ok")
    assert all(place.change in advice for advice in found.advice)


def test_a_volume_is_tried_and_nothing_stays_behind(tmp_path):
    volume = storage.volume_of(tmp_path)
    assert not volume.refused
    assert 0 < volume.free <= volume.total
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_yet_to_be_made_is_judged_by_the_one_above(tmp_path):
    assert not storage.volume_of(tmp_path / "a/b/c").refused
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "cache").write_text("")
    assert storage.volume_of(tmp_path / "cache/graphs").refused == f"{tmp_path}/cache is no folder"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_a_folder_of_somebody_else(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        volume = storage.volume_of(tmp_path / "closed/cache")
    finally:
        os.seteuid(0)
    assert volume.refused.startswith("not writable for this user, in /")


@root_only
def test_a_disk_that_is_full_and_one_that_is_read_only(tmp_path):
    options = ["-o", "size=64k,nr_inodes=16"]
    if subprocess.run(
        ["mount", "-t", "tmpfs", *options, "none", tmp_path], capture_output=True, check=False
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (tmp_path / "all").write_bytes(bytes(64 * 1024))
        volume = storage.volume_of(tmp_path)
        assert (volume.kind, volume.free, volume.refused) == ("tmpfs", 0, "full")
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert storage.volume_of(tmp_path).refused == "read-only"
        assert storage.volume_of(tmp_path / "x").refused == f"read-only, in {tmp_path}"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_temporary_files_go_where_sqlite_puts_them(tmp_path):
    (found,) = storage.temporary(environ={"SQLITE_TMPDIR": str(tmp_path), "TMPDIR": "/"})
    assert found.facts["path"] == str(tmp_path)


def test_no_folder_for_temporary_files(monkeypatch):
    monkeypatch.setattr(storage, "volume_of", lambda folder, root: replace(ROOMY, refused="read-only"))
    (found,) = storage.temporary(environ={})
    assert found.state == "warning"


def only(findings):
    (finding,) = findings
    return finding


def test_a_gallery_that_is_yet_to_be_made(tmp_path):
    assert only(storage.gallery(tmp_path / "g.db")).state == "ok"
    assert not list(tmp_path.iterdir())


def test_a_sound_gallery_is_counted_and_nobody_named(tmp_path):
    Gallery.open(tmp_path / "g.db").close()
    with closing(sqlite3.connect(tmp_path / "g.db")) as db, db:
        db.execute("INSERT INTO people (name, folded, created) VALUES ('Ann', 'ann', 0)")
    found = only(storage.gallery(tmp_path / "g.db"))
    assert found.state == "ok"
    assert "sound, people: 1, faces: 0, " in found.summary
    assert "Ann" not in str(found)


def test_a_gallery_that_others_can_read(tmp_path):
    Gallery.open(tmp_path / "g.db").close()
    (tmp_path / "g.db").chmod(0o644)
    found = only(storage.gallery(tmp_path / "g.db"))
    assert (found.state, "chmod 600" in found.advice[0]) == ("note", True)


def test_a_damaged_gallery(tmp_path):
    path = tmp_path / "g.db"
    Gallery.open(path).close()
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)
    found = only(storage.gallery(path))
    assert found.state == "problem"
    assert "is damaged" in found.summary


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_file_that_is_no_gallery(tmp_path, content):
    (tmp_path / "g.db").write_bytes(content)
    assert only(storage.gallery(tmp_path / "g.db")).state == "problem"
    assert (tmp_path / "g.db").read_bytes() == content


def test_a_gallery_behind_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "g.db").symlink_to(tmp_path / "gone/g.db")
    assert "leads nowhere" in only(storage.gallery(tmp_path / "g.db")).summary


@pytest.mark.parametrize(("own", "words"), [(4711, "Peephole runs as 4711"), (0, "mounted read-only")])
def test_a_gallery_that_cannot_be_written(tmp_path, monkeypatch, own, words):
    Gallery.open(tmp_path / "g.db").close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "geteuid", lambda: own)
    found = only(storage.gallery(tmp_path / "g.db"))
    assert found.state == "problem"
    assert words in found.advice[0]


def test_sizes_are_those_of_the_disk(tmp_path):
    status = os.statvfs(tmp_path)
    volume = storage.volume_of(tmp_path)
    found = storage.place(replace(CACHE, folder=tmp_path), volume)
    assert memory.in_words(status.f_blocks * status.f_frsize) in found.summary
