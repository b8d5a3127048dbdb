"""``peephole calibrate`` and ``peephole why``: what they print, keep, draw, and refuse."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter

from peephole.align import warp
from peephole.calibrate import SIZE
from peephole.cli import main
from peephole.demo import EILEEN, GRACE, Visitor
from peephole.enrolment import photo_of
from peephole.frame import read
from peephole.gallery import Gallery
from peephole.match import SFACE_RULE, Rule
from peephole.remember import remember
from sightings import MODEL, RULE, Circle, analysis, at, frame


def run(*arguments, status=0):
    """Run the command in this process; its standard output's lines, or what standard error says."""
    done = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.stdout.splitlines() if status == 0 else done.stderr.strip()


def enrol(gallery, name, *degrees):
    """Faces of noise with vectors on a circle."""
    for angle in degrees:
        face = analysis(angle).faces[0]
        gallery.add_photo(name, photo_of(frame(hash((name, angle)) % 2**31), face), {MODEL: face.embedding})


@pytest.fixture
def circle(monkeypatch):
    monkeypatch.setattr("peephole.recognizers.open_recognizer", lambda name: Circle())


@pytest.fixture
def gallery(tmp_path, circle):
    """Ada and Bob, 75 degrees apart, and two strangers, one of them seen twice."""
    path = tmp_path / "gallery.db"
    with Gallery.open(path) as opened:
        enrol(opened, "Ada", 0, 10, 20)
        enrol(opened, "Bob", 95, 105)
        for seed, angle in enumerate((200, 204, 270)):
            remember(opened, frame(seed), analysis(angle, seed=seed, people=opened.known(MODEL)), Circle())
        assert len(opened.groups()) == 2
    return path


def rule(gallery):
    with Gallery.open(gallery) as opened:
        return opened.rule(MODEL)


# Calibrating


def test_what_was_found_is_said_and_kept(gallery):
    lines = run("calibrate", "--gallery", gallery)
    assert lines[0] == "threshold          0.500 (the model's own is 0.500), margin 0.10"
    assert lines[1] == "most alike         Ada and Bob, 0.259"
    assert lines[2].startswith("photos not known   0 of 5 (between 0.0% and ")
    assert lines[4].startswith("strangers named    0 of 2 ")
    assert lines[5].startswith("expected           0.0")
    assert lines[5].endswith("by 2 strangers and the model's curve")
    assert lines[-1] == "in use from now on; peephole calibrate --reset undoes it"
    assert rule(gallery).similarity == "cosine"
    assert rule(gallery).threshold == pytest.approx(RULE.threshold)


def test_two_who_look_alike_set_the_threshold(gallery):
    with Gallery.open(gallery) as opened:
        enrol(opened, "Cid", 52)
    lines = run("calibrate", "--gallery", gallery)
    score = np.cos(np.radians(32))
    assert lines[1] == f"most alike         Ada and Cid, {score:.3f}, which sets the threshold"
    assert rule(gallery).threshold > score
    again = run("calibrate", "--gallery", gallery)
    assert again[1] == f"until now          {rule(gallery).limit(6):.3f}, by an earlier calibration"


def test_dry_run_changes_nothing(gallery):
    lines = run("calibrate", "--gallery", gallery, "--dry-run")
    assert lines[-1] == "nothing is changed: this was a dry run"
    assert rule(gallery) is None


def test_the_default_recognizers_own_threshold(known, tmp_path):
    copy = shutil.copyfile(known / "g.db", tmp_path / "g.db")
    (line,) = run("calibrate", "--gallery", copy, "--reset")
    assert line == f"threshold          {SFACE_RULE.threshold:.3f}, sface's own, holds again"


def test_reset_goes_back_to_the_model(gallery):
    run("calibrate", "--gallery", gallery)
    assert run("calibrate", "--gallery", gallery, "--reset") == ["threshold          0.500, circle's own, holds again"]
    assert rule(gallery) is None
    assert "--reset goes without" in run("calibrate", "--gallery", gallery, "--reset", "--dry-run", status=2)


def test_strangers_who_may_be_family_are_named_and_ignored_ones_are_not(gallery):
    with Gallery.open(gallery) as opened:
        for angle in (-40, 145):  # 40 degrees from Ada, and from Bob
            face = analysis(angle).faces[0]
            opened.add_unknown(photo_of(frame(angle + 90), face), {MODEL: face.embedding})
        ada, bob = (group.id for group in opened.groups()[1::-1])
        opened.ignore_group(bob)
    lines = run("calibrate", "--gallery", gallery)
    score = np.cos(np.radians(40))
    doubtful = [line for line in lines if "looks like" in line]
    assert doubtful == [
        f"group-{ada} looks like Ada, {score:.3f}, and counts as a stranger: if it is Ada, say "
        f"`peephole name group-{ada} Ada` and calibrate again"
    ]
    assert rule(gallery).threshold > score


def test_the_picture_is_drawn(gallery, tmp_path):
    run("calibrate", "--gallery", gallery, "--dry-run", "--draw", tmp_path / "scores.png")
    assert read(tmp_path / "scores.png").size == SIZE
    assert "cannot be written" in run("calibrate", "--gallery", gallery, "--draw", tmp_path / "no.thing", status=2)


def test_nobody_to_calibrate_for(tmp_path, circle):
    with Gallery.open(tmp_path / "empty.db") as opened:
        opened.add_unknown(photo_of(frame(), analysis(0).faces[0]), {MODEL: at(0)[0]})
    assert "peephole enroll" in run("calibrate", "--gallery", tmp_path / "empty.db", status=1)
    assert "there is no gallery" in run("calibrate", "--gallery", tmp_path / "none.db", status=1)


# Why


@pytest.fixture(scope="module")
def known(tmp_path_factory, eileen, grace):
    """Frames of Eileen and Grace; a folder of people and a gallery that know both."""
    folder = tmp_path_factory.mktemp("why")
    for name, portrait, source in (("Eileen", EILEEN, eileen), ("Grace", GRACE, grace)):
        (folder / "people" / name).mkdir(parents=True)
        photo = folder / "people" / name / "1.png"
        for file, width, lean in ((photo, 110.0, 0.0), (folder / f"{name}.png", 140.0, 9.0)):
            placed = warp(source.pixels, Visitor(portrait, width, (200, 190), lean).placement(), (400, 400))
            Image.fromarray(placed).save(file)
        run("enroll", name, photo, "--gallery", folder / "g.db")
    Image.new("RGB", (64, 48), "grey").save(folder / "nobody.png")
    return folder


def test_why_a_name(known):
    lines = run("why", known / "Grace.png", "--gallery", known / "g.db")
    assert lines[0] == f"{known / 'Grace.png'}: 400x400"
    assert lines[1].startswith("  looked   as 400x400 by yunet: faces from ")
    needed = "a score of 0.460 (0.440 without colour) and a lead of 0.10"
    assert lines[3] == f"  known    2 people by 2 photos; a name needs {needed}"
    assert lines[4].startswith("face 1: at ")
    assert lines[6].startswith("  like     Grace 0.9")
    assert ", then Eileen " in lines[6]
    assert lines[8].startswith("  decided  Grace: 0.9")
    assert len(lines) == 9


def test_why_by_a_folder_of_people_is_why_by_the_gallery(known):
    by_gallery = run("why", known / "Grace.png", "--gallery", known / "g.db")
    by_folder = run("why", known / "Grace.png", "--people", known / "people")
    assert [line for line in by_folder if "memory" not in line] == [line for line in by_gallery if "memory" not in line]


def test_the_calibrated_rule_decides(known, tmp_path):
    with Gallery.open(known / "g.db") as opened:
        opened.export(tmp_path / "copy.peephole")
    Gallery.import_(tmp_path / "copy.peephole", tmp_path / "copy.db")
    with Gallery.open(tmp_path / "copy.db") as opened:
        (model,) = opened.models()
        opened.set_rule(model, Rule("cosine", 0.999))
    options = (known / "Grace.png", "--gallery", tmp_path / "copy.db")
    assert run("why", *options)[-1].endswith("< 0.999; Grace is the most alike")
    run("calibrate", "--reset", "--gallery", tmp_path / "copy.db")
    assert run("why", *options)[-1].startswith("  decided  Grace: 0.9")


def test_why_nobody_and_why_not_even_looked(known, tmp_path):
    lines = run("why", known / "nobody.png", "--gallery", known / "g.db")
    assert lines[-1].startswith("nobody there: no face of ")
    assert run("why", tmp_path / "none.png", "--gallery", known / "g.db", status=1).endswith(
        "none.png could not be looked at: no such file"
    )
    done = CliRunner().invoke(main, ["why", "none.png", "--gallery", str(known / "g.db"), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"image": "none.png", "error": {"kind": "not-found", "message": "no such file"}}


def test_why_unclear(known, tmp_path):
    blurred = Image.fromarray(read(known / "Grace.png").pixels).filter(ImageFilter.GaussianBlur(10))
    blurred.save(tmp_path / "blurred.png")
    lines = run("why", tmp_path / "blurred.png", "--gallery", known / "g.db", "--min-confidence", 0.3)
    assert "  decided  unclear: too blurred: " in "\n".join(lines)


def test_why_with_a_threshold_of_ones_own(known):
    options = ("--gallery", known / "g.db")
    line = run("why", known / "Grace.png", "--threshold", 0.999, *options)[-1]
    assert line.startswith("  decided  unknown: 0.9")
    assert line.endswith("< 0.999; Grace is the most alike")


def test_why_json(known):
    (line,) = run("why", known / "Eileen.png", "--gallery", known / "g.db", "--json")
    explained = json.loads(line)
    (face,) = explained["faces"]
    assert face["why"].startswith("Eileen: 0.9")
    assert (face["runner_up"], face["decided"]) == ("Grace", "named")
    assert explained["known"] == {"people": 2, "photos": 2}


def test_why_takes_one_way_to_say_who_is_known(known):
    wrong = run("why", "x.png", "--gallery", known / "g.db", "--people", known / "people", status=2)
    assert "--people and --gallery" in wrong
    assert "there is no gallery" in run("why", "x.png", "--gallery", known / "none.db", status=1)
