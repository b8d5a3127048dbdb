import os

import pytest

from peephole.mounts import Mount, mount_of


@pytest.fixture
def table(tmp_path):
    """Writes a table of mounts, (point, type) each, over a root with options "rw"; returns the root to look in."""

    def write(*mounts):
        lines = [f"{i} 1 0:{i} / {point} rw,noatime shared:1 - {kind} src rw" for i, (point, kind) in enumerate(mounts)]
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/mountinfo").write_text("\n".join([*lines, "garbage", ""]))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/srv", "/srv", "xfs"),
        ("/srv/cameras/front", "/srv/cameras", "nfs4"),
        ("/srv/cameras2", "/srv", "xfs"),
        ("/with blank/x", "/with blank", "cifs"),
        ("/twice/x", "/twice", "tmpfs"),
    ],
)
def test_the_longest_point_and_of_those_the_last_holds_a_path(table, path, point, kind):
    root = table(
        ("/", "ext4"),
        ("/srv", "xfs"),
        ("/srv/cameras", "nfs4"),
        ("/with\\040blank", "cifs"),
        ("/twice", "ext4"),
        ("/twice", "tmpfs"),
    )
    assert mount_of(path, root=root) == Mount(point, kind, ("rw", "noatime"))


def test_links_are_followed(table, tmp_path):
    (tmp_path / "link").symlink_to("/srv")
    assert mount_of(tmp_path / "link", root=table(("/", "ext4"), ("/srv", "xfs"))).point == os.path.realpath("/srv")


def test_nobody_tells(tmp_path):
    assert mount_of("/", root=tmp_path) == Mount("", "")


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("virtiofs", True), ("ext4", False), ("", False)],
)
def test_what_other_machines_write_to(kind, remote):
    assert Mount("/", kind).remote is remote
