"""A user without a home: `PEEPHOLE_CACHE` and a gallery are enough, and without them there is one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from peephole.errors import UsageError
from peephole.folders import user_folder

NOBODY = 54_321


@pytest.fixture
def nobody(tmp_path):
    """Runs a command of Peephole's as a user whom the system does not know, without HOME."""
    alone = ["unshare", "--user", f"--map-user={NOBODY}"]
    if sys.platform != "linux" or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")

    def run(*words, **more):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)} | more
        command = [*alone, sys.executable, "-m", "peephole", *map(str, words)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    "command",
    [
        ("detect", "grace.jpg"),
        ("enroll", "Grace", "grace.jpg"),
        ("people",),
        ("timings",),
        ("plan", "--size", "100x100"),
        ("watch", "."),
    ],
)
def test_without_a_home_there_is_one_line(nobody, tmp_path, grace_file, command):
    shutil.copy(grace_file, tmp_path / "grace.jpg")
    done = nobody(*command)
    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (2, 1)
    assert "no home folder" in said[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["grace.jpg"]


def test_without_a_home_cache_and_gallery_are_enough(nobody, tmp_path, cache, grace_file):
    folder = tmp_path / "cams"
    folder.mkdir()
    shutil.copy(grace_file, folder / "grace.jpg")

    def run(*words):
        done = nobody(*words, "--gallery", "g.db", PEEPHOLE_CACHE=str(cache))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "enrolled" in run("enroll", "Grace", grace_file)
    (tmp_path / "stop.sh").write_text('[ "$PEEPHOLE_EVENT" = closed ] || kill -TERM $PPID')
    assert "Grace" in run("watch", "cams", "--existing", "take", "--on-visit", f"sh {tmp_path}/stop.sh")
    queues = list(tmp_path.glob("watch-*.db"))
    assert len(queues) == 1


def test_a_tilde_that_stays_is_no_home(monkeypatch):
    """As older versions of platformdirs have it: a folder called ~ would be made in the working directory."""
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: Path("~/.local/share/peephole"))
    with pytest.raises(UsageError, match="name a file with --gallery"):
        user_folder("data", "name a file with --gallery")


def test_each_kind_has_its_place(monkeypatch, tmp_path):
    for kind in ("cache", "data", "state"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(tmp_path / kind))
    monkeypatch.setenv("HOME", str(tmp_path))
    places = {user_folder(kind, "") for kind in ("cache", "data", "state")}
    assert len(places) == 3
    assert all(tmp_path in each.parents and each.name == "peephole" for each in places)
