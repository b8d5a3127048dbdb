"""Files below a folder, where somebody puts links in the way."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from peephole.tree import NOT_THERE, Tree


@pytest.fixture
def tree(tmp_path):
    """``in/front/day/p.jpg``, the same file as ``elsewhere/p.jpg``."""
    (tmp_path / "srv/in/front/day").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "srv/in/front/day/p.jpg").write_bytes(b"inside")
    (tmp_path / "elsewhere/p.jpg").hardlink_to(tmp_path / "srv/in/front/day/p.jpg")
    for way in ("day", "front/day", "in/front/day"):  # whatever step leads there
        (tmp_path / "elsewhere" / way).mkdir(parents=True)
        (tmp_path / "elsewhere" / way / "p.jpg").hardlink_to(tmp_path / "elsewhere/p.jpg")
    return Tree(tmp_path / "srv/in")


def replaced(path, target):
    """Put a link in a path's place."""
    path.rename(path.with_name("away"))
    path.symlink_to(target)


def outside(tmp_path):
    return sorted((tmp_path / "elsewhere").rglob("*"))


def all_ways(tree, path):
    """What can be done with a file; each way a call."""
    folder = str(Path(path).parent)
    return (
        lambda: tree.status(path),
        lambda: tree.open(path),
        lambda: tree.remove(path, lambda status: True),
        lambda: tree.listed(folder).__enter__(),
    )


def test_a_file(tree):
    path = str(tree.path / "front/day/p.jpg")
    assert tree.inside(path) == ("front", "day", "p.jpg")
    assert tree.status(path).st_size == 6
    with tree.open(path) as file:
        assert file.read() == b"inside"
    with tree.listed(str(tree.path / "front")) as folder, os.scandir(folder) as entries:
        assert [each.name for each in entries] == ["day"]
    assert not tree.remove(path, lambda status: status.st_size == 7)
    assert Path(path).exists()
    assert tree.remove(path, lambda status: status.st_size == 6)
    assert not Path(path).exists()
    for way in all_ways(tree, path)[:3]:
        with pytest.raises(NOT_THERE):
            way()


@pytest.mark.parametrize("step", ["srv", "srv/in", "srv/in/front", "srv/in/front/day"])
def test_a_link_in_a_folders_place_is_not_followed(tree, tmp_path, step):
    before, path = outside(tmp_path), tree.path / "front/day/p.jpg"
    replaced(tmp_path / step, tmp_path / "elsewhere")
    assert path.samefile(tmp_path / "elsewhere/p.jpg")
    for way in all_ways(tree, str(path)):
        with pytest.raises(NOT_THERE):
            way()
    assert outside(tmp_path) == before


def test_a_link_in_a_files_place_is_not_followed(tree, tmp_path):
    path = tree.path / "front/day/p.jpg"
    replaced(path, tmp_path / "elsewhere/p.jpg")
    for way in all_ways(tree, str(path))[:3]:
        with pytest.raises(NOT_THERE):
            way()
    assert path.is_symlink()


def test_links_come_and_go_while_files_are_read(tree, tmp_path):
    """A folder and a link to another one change places as fast as they can."""
    (tmp_path / "elsewhere/p.jpg").unlink()
    (tmp_path / "elsewhere/p.jpg").write_bytes(b"outside")
    day, away, path = tree.path / "front/day", tree.path / "front/away", str(tree.path / "front/day/p.jpg")
    ended = threading.Event()

    def juggle():
        while not ended.is_set():
            replaced(day, tmp_path / "elsewhere")
            day.unlink()
            away.rename(day)

    thread = threading.Thread(target=juggle)
    thread.start()
    read, missed, end = set(), 0, time.monotonic() + 10.0
    try:
        while (missed < 200 or not read) and time.monotonic() < end:
            try:
                with tree.open(path) as file:
                    read.add(file.read())
            except NOT_THERE:
                missed += 1
    finally:
        ended.set()
        thread.join()
    assert read == {b"inside"}


def test_what_was_reached_stays_what_it_is(tree, tmp_path):
    with tree.folder(str(tree.path / "front/day")) as folder:
        replaced(tree.path / "front", tmp_path / "elsewhere")
        os.unlink("p.jpg", dir_fd=folder)
    assert (tmp_path / "elsewhere/p.jpg").exists()
    assert not (tree.path / "away/day/p.jpg").exists()


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_nothing_but_files(tree, kind, monkeypatch):
    path = tree.path / "x.jpg"
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            monkeypatch.chdir(tree.path)
            bound.bind("x.jpg")
        elif kind == "folder":
            path.mkdir()
        else:
            try:
                os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("no device can be made here")
        for way in all_ways(tree, str(path))[:3]:
            with pytest.raises(NOT_THERE):
                way()
    assert path.exists()


@pytest.mark.parametrize("path", ["../p.jpg", "../in2/p.jpg", "./front/../../p.jpg", "/etc/passwd"])
def test_what_is_not_below(tree, path):
    for way in all_ways(tree, f"{tree.path}/{path}" if path[0] == "." else path)[:3]:
        with pytest.raises(ValueError, match="is not in the subpath"):
            way()


def test_the_folders_own_path(tmp_path, monkeypatch):
    """It may be relative, and lead through links: those that are there when it is named."""
    (tmp_path / "real/in").mkdir(parents=True)
    (tmp_path / "real/in/a.jpg").write_bytes(b"a")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    for given, path in (("link/in", "link/in/a.jpg"), ("real/in/", "real/in/a.jpg"), ("link/in/.", "link/in/a.jpg")):
        tree = Tree(given)
        assert tree.inside(path) == tree.inside(str(tmp_path / path)) == ("a.jpg",)
        assert tree.status(path).st_size == 1
    monkeypatch.chdir(tmp_path / "real/in")
    assert Tree(".").status("a.jpg").st_size == Tree(".").status("./a.jpg").st_size == 1
    tree = Tree(tmp_path / "link/in")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")
    assert tree.status(str(tmp_path / "link/in/a.jpg")).st_size == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors cannot be counted here")
def test_nothing_is_left_open(tree, tmp_path):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    path = str(tree.path / "front/day/p.jpg")
    tree.status(path)
    tree.open(path).close()
    for wrong in (str(tree.path / "none/p.jpg"), str(tree.path / "front/day"), str(tmp_path / "p.jpg"), path + "/x"):
        for way in all_ways(tree, wrong)[:3]:
            with pytest.raises((*NOT_THERE, ValueError)):
                way()
    tree.remove(path, lambda status: True)
    assert count() == before
