import json
import os
import stat

from peephole.errors import WorkerCrashed
from peephole.worker import quarantine
from peephole.worker.quarantine import set_aside

ERROR = WorkerCrashed("it crashed")


def test_the_bytes_and_the_reason_are_kept(tmp_path):
    frame = tmp_path / "a.jpg"
    frame.write_bytes(b"some bytes")
    folder = tmp_path / "deep" / "quarantine"
    kept = set_aside(folder, str(frame), str(frame), ERROR)
    assert kept.suffix == ".jpg"
    assert kept.read_bytes() == b"some bytes"
    reason = json.loads(kept.with_suffix(".json").read_text())
    assert reason["image"] == str(frame)
    assert reason["error"] == {"kind": "crashed", "message": "it crashed"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == [kept.name, kept.with_suffix(".json").name]
    assert set_aside(folder, str(frame), str(frame), ERROR) == kept


def test_a_descriptor_is_read_from_its_beginning_and_stays_open(tmp_path):
    (tmp_path / "b").write_bytes(b"other bytes")
    descriptor = os.open(tmp_path / "b", os.O_RDONLY)
    os.lseek(descriptor, 5, os.SEEK_SET)
    kept = set_aside(tmp_path / "q", "-", descriptor, ERROR)
    assert kept.read_bytes() == b"other bytes"
    os.close(descriptor)


def test_what_cannot_be_kept_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    assert set_aside(tmp_path / "q", "gone.jpg", str(tmp_path / "gone.jpg"), ERROR) is None
    assert set_aside(tmp_path / "q", "a\0b", "a\0b", ERROR) is None
    assert set_aside(tmp_path / "file" / "q", "file", str(tmp_path / "file"), ERROR) is None
    assert list((tmp_path / "q").iterdir()) == []


def test_only_the_newest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "MOST", 2)
    kept = []
    for index in range(4):
        frame = tmp_path / f"{index}.png"
        frame.write_bytes(bytes([index]))
        kept.append(set_aside(tmp_path / "q", frame.name, str(frame), ERROR))
        os.utime(kept[-1].with_suffix(".json"), (index, index))
    left = {path.name for path in (tmp_path / "q").iterdir()}
    assert left == {path.with_suffix(suffix).name for path in kept[2:] for suffix in (".png", ".json")}
