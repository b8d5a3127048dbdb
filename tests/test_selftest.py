import pytest

from peephole import selftest
from peephole.geometry import Transform
from peephole.models import store


def test_everything_works_here():
    lines = []
    assert selftest.run(lines.append)
    assert len(lines) == 15
    assert all(line.startswith("ok ") for line in lines[:-1])


def test_a_wrong_way_back_is_noticed(monkeypatch):
    # the classic drift: a scale that forgets that the target size was rounded
    monkeypatch.setattr(Transform, "inverse", lambda self: Transform(1 / self.a, 0, -self.c, 0, 1 / self.e, -self.f))
    lines = []
    assert not selftest.run(lines.append)
    assert lines[0].startswith("FAIL  boxes there and back")


def test_a_changed_model_file_is_noticed(monkeypatch, tmp_path):
    package = tmp_path / "damaged_models"
    (package / "models").mkdir(parents=True)
    data = bytearray(store.locate(store.LANDMARKS).read_bytes())
    data[5000] ^= 1
    (package / "models" / "five.dat").write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    asset = store.Asset("landmarks5", "damaged_models", "models/five.dat", store.LANDMARKS.sha256, "CC0-1.0")
    with pytest.raises(store.ModelDamaged, match=r"five\.dat has SHA-256 .* not c4b1e9804792"):
        selftest._hash(asset)
