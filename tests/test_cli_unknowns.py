"""``peephole unknowns`` and ``peephole name``: the real command line on a real gallery, two portraits for faces."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from peephole.align import warp
from peephole.cli import main
from peephole.demo import EILEEN, GRACE, Visitor
from peephole.enrolment import photo_of
from peephole.frame import read
from peephole.gallery import Gallery
from peephole.remember import remember
from sightings import BLURRED, CLEAR, Circle, analysis, at, frame


def peephole(gallery: Path, *arguments, status=0):
    """Run the command in this process; its standard output's lines."""
    command = [*map(str, arguments), "--gallery", str(gallery)]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout.splitlines() if status == 0 else done.stderr.strip()


def picture(path: Path, portrait, pixels, width=110.0, lean=0.0) -> Path:
    """A snapshot of 400x400 with a portrait's face so large and leaning so far."""
    placed = warp(pixels, Visitor(portrait, width, (200, 190), lean).placement(), (400, 400))
    Image.fromarray(placed).save(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, eileen, grace):
    """Two of Eileen, three of Grace, taken an hour apart yesterday."""
    folder = tmp_path_factory.mktemp("pictures")
    made = [
        picture(folder / "e1.png", EILEEN, eileen.pixels),
        picture(folder / "e2.png", EILEEN, eileen.pixels, 150.0, 9.0),
        picture(folder / "g1.png", GRACE, grace.pixels),
        picture(folder / "g2.png", GRACE, grace.pixels, 150.0, 9.0),
        picture(folder / "g3.png", GRACE, grace.pixels, 36.0, -7.0),
    ]
    begin = time.time() - 86_400
    for hour, path in enumerate(made):
        os.utime(path, (begin + 3600 * hour, begin + 3600 * hour))
    return dict(zip(("e1", "e2", "g1", "g2", "g3"), made, strict=True))


@pytest.fixture
def gallery(tmp_path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def drawn(gallery) -> Path:
    """A gallery with three groups of faces of noise: of 3, of 1, and of 1 by two cameras."""
    with Gallery.open(gallery) as opened:
        now = time.time()
        for seed, (angle, camera, quality) in enumerate(
            [(0, "gate", CLEAR), (3, "gate", CLEAR), (40, "door", CLEAR), (120, "", CLEAR), (240, "gate", CLEAR)]
        ):
            seen = analysis(angle, seed=seed, qualities=[quality])
            remember(opened, frame(seed), seen, Circle(), camera=camera, time=now - 100 + seed)
    return gallery


def names(lines):
    return [line.split()[0] for line in lines[1:]]


# End to end


def test_from_a_stranger_to_a_name(gallery, pictures, tmp_path):
    e1, e2, g1, g2, g3 = pictures.values()
    peephole(gallery, "enroll", "Eileen", e1)
    label = ("label", "--jsonl")
    first = peephole(gallery, *label, "--remember", "--camera", "gate", e2, g1, g2, g3)
    named = [json.loads(line)["faces"][0]["name"] for line in first]
    assert named == ["Eileen", "unknown", "unknown", "unknown"]

    (group,) = [json.loads(line) for line in peephole(gallery, "unknowns", "--json")]
    assert group["group"] == "group-1"
    assert (group["faces"], group["cameras"], group["ignored"]) == (3, ["gate"], False)
    assert (group["first"], group["last"]) == pytest.approx((g1.stat().st_mtime, g3.stat().st_mtime), abs=1e-3)
    head, row = peephole(gallery, "unknowns", "--sheet", tmp_path / "sheet.png")
    assert head.split() == ["group", "faces", "first", "last", "cameras"]
    assert row.split()[:2] == ["group-1", "3"]
    assert read(tmp_path / "sheet.png").pixels[30:142].std() > 30  # three photographs

    said = peephole(gallery, "name", "group-1", "Grace")
    assert said[0].startswith("Grace: new, ")
    assert said[0].endswith(" enrolled from the 3 faces of group-1")
    assert peephole(gallery, "unknowns") == ["no unknown faces"]
    assert peephole(gallery, "unknowns", "--ignored") == ["no group is ignored"]
    again = peephole(gallery, *label, "--remember", e2, g1, g2, g3)
    assert [json.loads(line)["faces"][0]["name"] for line in again] == ["Eileen", "Grace", "Grace", "Grace"]
    assert peephole(gallery, "unknowns") == ["no unknown faces"]


def test_a_group_that_is_somebody_already_is_not_given_another_name(gallery, pictures):
    peephole(gallery, "label", "--remember", pictures["g1"])
    peephole(gallery, "enroll", "Grace", pictures["g2"])
    wrong = peephole(gallery, "name", "1", "Ada", status=1)
    assert "Grace's face" in wrong
    assert "--force" in wrong
    assert len(peephole(gallery, "unknowns")) == 2
    right = peephole(gallery, "name", "1", "Grace")
    assert right[0] == "Grace: 1 photo enrolled from the 1 face of group-1"
    with Gallery.open(gallery) as opened:
        assert [(each.name, each.photos) for each in opened.people()] == [("Grace", 2)]


def test_force_takes_the_users_word(gallery, pictures):
    peephole(gallery, "label", "--remember", pictures["g1"])
    peephole(gallery, "enroll", "Grace", pictures["g2"])
    peephole(gallery, "name", "1", "Twin", "--force")
    with Gallery.open(gallery) as opened:
        assert [each.name for each in opened.people()] == ["Grace", "Twin"]


def test_another_recognizers_faces_are_not_compared(gallery, pictures):
    peephole(gallery, "label", "--remember", pictures["g1"])
    wrong = peephole(gallery, "name", "1", "Grace", "--recognizer", "resnet", status=1)
    assert "peephole gallery reembed" in wrong


def test_what_an_ignored_group_is_stays_away(gallery, pictures):
    label = ("label", "--jsonl", "--remember")
    peephole(gallery, *label, pictures["g1"])
    peephole(gallery, "people", "ignore", "group-1")
    assert peephole(gallery, "unknowns") == ["no unknown faces"]
    assert names(peephole(gallery, "unknowns", "--ignored")) == ["group-1"]
    (line,) = peephole(gallery, *label, pictures["g2"])
    assert json.loads(line)["faces"][0]["name"] == "ignored"
    assert len(peephole(gallery, "unknowns", "--ignored", "--json")) == 1
    assert json.loads(peephole(gallery, "unknowns", "--ignored", "--json")[0])["faces"] == 1
    peephole(gallery, "people", "ignore", "group-1", "--undo")
    assert names(peephole(gallery, "unknowns")) == ["group-1"]


# The list


def test_groups_are_listed_the_latest_first(drawn):
    lines = peephole(drawn, "unknowns")
    assert names(lines) == ["group-3", "group-2", "group-1"]
    assert [line.split()[1] for line in lines[1:]] == ["1", "1", "3"]
    assert lines[3].endswith("door, gate")
    assert lines[2].endswith("  -")
    assert time.strftime("%Y-%m-%d", time.localtime()) in lines[1] or time.localtime().tm_hour == 0


def test_a_contact_sheet_has_a_row_a_group(drawn, tmp_path):
    peephole(drawn, "unknowns", "--sheet", tmp_path / "three.png")
    peephole(drawn, "unknowns", "forget", "2", "--yes")
    peephole(drawn, "unknowns", "--sheet", tmp_path / "two.png")
    three, two = (read(tmp_path / name) for name in ("three.png", "two.png"))
    assert three.width == two.width
    assert three.height > two.height


@pytest.mark.parametrize("name", ["sheet.nothing", "missing/sheet.png"])
def test_a_sheet_that_cannot_be_written(drawn, tmp_path, name):
    assert "cannot be written" in peephole(drawn, "unknowns", "--sheet", tmp_path / name, status=2)


def test_there_is_no_gallery(gallery):
    assert "there is no gallery" in peephole(gallery, "unknowns", status=1)
    assert not gallery.exists()


# Forgetting


def test_a_forgotten_group_is_gone_from_the_file(drawn):
    with Gallery.open(drawn) as opened:
        crops = [face.crop for face in opened.unknowns(1)]
    assert all(crop[-200:] in drawn.read_bytes() + _log(drawn) for crop in crops)
    done = CliRunner().invoke(main, ["unknowns", "--gallery", str(drawn), "forget", "group-1"], input="n\n")
    assert (done.exit_code, "group-1 and its 3 faces" in done.stderr) == (1, True)
    assert len(peephole(drawn, "unknowns")) == 4
    assert peephole(drawn, "unknowns", "forget", "group-1", "--yes") == ["group-1 and its 3 faces: deleted"]
    assert names(peephole(drawn, "unknowns")) == ["group-3", "group-2"]
    left = drawn.read_bytes() + _log(drawn)
    assert not any(crop[-200:] in left for crop in crops)


def _log(gallery: Path) -> bytes:
    log = gallery.with_name(gallery.name + "-wal")
    return log.read_bytes() if log.exists() else b""


@pytest.mark.parametrize("command", [("unknowns", "forget", "9", "--yes"), ("name", "9", "Ada")])
def test_there_is_no_such_group(drawn, command):
    assert "there is no group-9" in peephole(drawn, *command, status=1)


@pytest.mark.parametrize("group", ["ada", "group-", "-1", "group-1x", "9" * 19])
def test_what_is_no_group(drawn, group):
    assert "is no group" in peephole(drawn, "unknowns", "forget", "--yes", "--", group, status=2)


def test_options_of_the_list_are_no_options_of_its_commands(drawn):
    done = CliRunner().invoke(main, ["unknowns", "--json", "forget", "1", "--yes", "--gallery", str(drawn)])
    assert done.exit_code == 2
    assert len(peephole(drawn, "unknowns")) == 4


# Naming, with a recognizer whose vectors lie on a circle


ANGLES = {"0.jpg": 0, "1.jpg": 3, "2.jpg": 40}


class Around(Circle):
    """Looks at stored faces, each of which is at the angle that stands for its source; twins lie across."""

    @property
    def recognizer(self):
        return self

    def vectors(self, stored):
        vectors = at(*[ANGLES[each.source] for each in stored])
        return np.stack([vectors, vectors[:, ::-1]], axis=1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def circle(monkeypatch):
    monkeypatch.setattr("peephole.cli_unknowns.open_looking", lambda *arguments, **more: (Around(), {}))


def test_the_best_photos_are_enrolled_and_the_others_deleted(gallery, circle):
    with Gallery.open(gallery) as opened:
        for seed, (angle, quality) in enumerate([(0, CLEAR), (3, CLEAR), (40, CLEAR)]):
            remember(opened, frame(seed), analysis(angle, seed=seed, qualities=[quality]), Circle())
        dropped = opened.unknowns(1)[1].crop[-200:]
    said = peephole(gallery, "name", "1", "Ada")
    assert said[0] == "Ada: new, 2 photos enrolled from the 3 faces of group-1"
    (left,) = said[1:]
    assert left.startswith("left out: 1.jpg, ")
    assert left.endswith("nearly the same as a better one")
    with Gallery.open(gallery) as opened:
        assert [photo.source for photo in opened.photos("Ada")] == ["0.jpg", "2.jpg"]
        assert opened.unknowns() == []
        known = opened.known(Circle.model_id)
        np.testing.assert_array_equal(known.twins, known.embeddings[:, ::-1])  # made when they became somebody's
    assert dropped not in gallery.read_bytes() + _log(gallery)


def test_no_face_is_good_enough(gallery, circle):
    with Gallery.open(gallery) as opened:
        (kept,) = remember(opened, frame(), analysis(0), Circle())
        blurred = analysis(3, qualities=[BLURRED]).faces[0]
        opened.forget_group(kept.group)
        opened.add_unknown(photo_of(frame(), blurred), {Circle().model_id: blurred.embedding})
    wrong = peephole(gallery, "name", "2", "Ada", status=1)
    assert "no face of group-2 is good enough to enrol: too blurred" in wrong
    assert len(peephole(gallery, "unknowns")) == 2


@pytest.mark.parametrize("name", ["unknown", "a/b", "group-7", "x" * 101])
def test_names_that_nobody_can_have(drawn, circle, name):
    assert "cannot be a person's name" in peephole(drawn, "name", "1", name, status=1)
    assert len(peephole(drawn, "unknowns")) == 4


def test_other_groups_that_are_the_same_person_are_said(gallery, circle):
    with Gallery.open(gallery) as opened:
        remember(opened, frame(0), analysis(0, seed=0), Circle())
        crop = analysis(20, seed=1).faces[0]
        opened.add_unknown(photo_of(frame(1), crop), {Circle().model_id: crop.embedding})
        remember(opened, frame(2), analysis(200, seed=2), Circle())
    assert peephole(gallery, "name", "1", "Ada")[-1] == "group-2 looks like Ada, too: peephole name group-2 Ada"
