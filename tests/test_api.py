"""The calls of `import peephole`."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import peephole
from peephole import api
from peephole import pipeline as pipelines
from peephole.detectors import open_detector
from peephole.errors import FrameNotFound, PeopleError, UsageError
from peephole.frame import Frame
from peephole.pipeline import Pipeline


def child(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def eileen_crop(eileen):
    """256x256, one face: quicker than the whole portrait."""
    return Frame(np.ascontiguousarray(eileen.pixels[:256, 100:356]))


@pytest.fixture(scope="module")
def grace_crop(grace):
    return Frame(np.ascontiguousarray(grace.pixels[100:350, 147:403]))


@pytest.fixture
def people_folder(tmp_path, eileen_crop, grace_crop):
    for name, frame in (("Eileen", eileen_crop), ("Grace", grace_crop)):
        (tmp_path / "people" / name).mkdir(parents=True)
        Image.fromarray(frame.pixels).save(tmp_path / "people" / name / "1.png")
    return tmp_path / "people"


def pipeline(**options) -> Pipeline:
    """The one that the calls use."""
    return api._open(options)[0]


def outcome(analysis) -> list:
    """What two calls must agree on: everything but the time, the source and the memory of encoded bytes."""
    plan = replace(analysis.plan, bytes=0.0)
    return [analysis.width, analysis.height, [face.to_dict() for face in analysis], plan, analysis.models]


@pytest.mark.parametrize("module", ["numpy", "onnxruntime", "onnx", "dlib", "PIL", "click", "tqdm", "threading"])
def test_import_is_light(module):
    assert child(f"import sys, peephole; print({module!r} in sys.modules)") == "False"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux only")
def test_import_starts_no_thread():
    assert child("import os, peephole; print(len(os.listdir('/proc/self/task')))") == "1"


def test_planning_loads_the_detector_and_nothing_else():
    # What the process takes with the detector loaded is not there for the frame, and the plan has to know it.
    code = (
        "import sys, peephole; peephole.plan((1536, 1536)); print('onnxruntime' in sys.modules, 'dlib' in sys.modules)"
    )
    assert child(code) == "True False"


@pytest.mark.parametrize(("profile", "finest"), [("modern", 20), ("classic", 80)])
def test_a_plan_keeps_to_its_memory(profile, finest):
    free = peephole.plan((12_000, 9_000), profile=profile, memory="8GiB")
    assert (free.reduction, free.base, free.coarsened_from) == (1, (12_000, 9_000), None)
    code = (
        f"import peephole, json; p = peephole.plan((12000, 9000), profile={profile!r}, memory='256MiB'); "
        "print(json.dumps([p.reduction, p.bytes, p.smallest_face, p.coarsened_from]))"
    )
    reduction, needed, smallest, asked = json.loads(child(code))
    assert reduction > 1
    assert needed < 256 * 2**20
    assert smallest > asked == finest


def test_a_plan_for_what_cannot_be_reduced():
    assert peephole.plan((4_000, 3_000), memory="8GiB", reducible=False).reduction == 1
    code = "import peephole; peephole.plan((12000, 9000), memory='256MiB', reducible=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BudgetTooSmall: a 12000x9000 frame needs a memory budget of at least" in done.stderr


def test_max_face_leaves_levels_out(eileen):
    everything, some = (peephole.detect(eileen, profile="classic", **more) for more in ({}, {"max_face": 120}))
    assert len(some.plan.levels) < len(everything.plan.levels)
    assert some.plan.saved > 0
    assert some.faces.boxes == pytest.approx(everything.faces.boxes)


@pytest.mark.parametrize("memory", ["nonsense", "0", "-5MB", 0, ""])
def test_memory_that_is_no_size(memory):
    with pytest.raises(UsageError, match="not a size of memory"):
        peephole.plan((640, 480), memory=memory)


def test_what_the_models_take_counts_for_every_pipeline(eileen_crop):
    peephole.detect(eileen_crop)
    for memory in (None, "3GiB"):  # the second finds its models loaded already
        analysis = peephole.detect(eileen_crop, memory=memory)
        assert analysis.memory.predicted - analysis.plan.bytes > 20e6


@pytest.mark.parametrize("name", peephole.__all__)
def test_every_public_name_resolves(name):
    assert getattr(peephole, name).__name__ == name
    assert name in dir(peephole)


def test_public_names_are_sorted_and_listed_once():
    _ = peephole.detect
    assert peephole.__all__ == sorted(set(peephole.__all__))
    assert len(dir(peephole)) == len(set(dir(peephole)))


def test_star_import():
    code = (
        "import peephole; names = {}; exec('from peephole import *', names); print(set(peephole.__all__) <= set(names))"
    )
    assert child(code) == "True"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'peephole' has no attribute 'recognise'"):
        _ = peephole.recognise


def test_sources_agree(eileen_file, eileen):
    analyses = [
        peephole.detect(eileen_file),
        peephole.detect(str(eileen_file)),
        peephole.detect(eileen_file.read_bytes()),
        peephole.detect(eileen.pixels),
        peephole.detect(eileen),
    ]
    assert all(outcome(analysis) == outcome(analyses[0]) for analysis in analyses)
    assert [analysis.source for analysis in analyses] == [
        str(eileen_file),
        str(eileen_file),
        "bytes",
        "array",
        str(eileen_file),
    ]


@pytest.mark.parametrize(
    ("profile", "box"), [("modern", (178, 63, 269, 176)), ("classic", (168, 69, 264, 165))], ids=["modern", "classic"]
)
def test_detect_finds_the_face(eileen_file, profile, box):
    analysis = peephole.detect(eileen_file, profile=profile)
    assert (analysis.width, analysis.height, len(analysis)) == (512, 512, 1)
    (face,) = analysis
    assert np.abs(np.array(face.box) - box).max() <= 5
    assert face.confidence > 0.5
    assert face.embedding is face.match is face.name is face.score is None
    if profile == "modern":  # YuNet finds the landmarks along with the face
        eyes = face.landmarks[:2]
        assert np.abs(eyes - [(204, 108), (246, 108)]).max() <= 6
    else:
        assert face.landmarks is None


def test_the_profile_names_both_models(eileen_crop):
    assert {"yunet", "sface"} <= set(peephole.embed(eileen_crop).models)
    assert {"mmod", "resnet", "landmarks5"} <= set(peephole.embed(eileen_crop, profile="classic").models)


def test_a_model_that_is_named_goes_before_the_profile(eileen_crop):
    found = peephole.embed(eileen_crop, profile="classic", detector="yunet").models
    assert {"yunet", "resnet"} <= set(found)
    assert "mmod" not in found
    found = peephole.embed(eileen_crop, recognizer="resnet", detector=None).models
    assert {"yunet", "resnet"} <= set(found)
    assert "sface" not in found


@pytest.mark.parametrize("call", [peephole.detect, peephole.embed, peephole.label])
def test_an_option_that_is_unknown_is_named(eileen_crop, call):
    with pytest.raises(TypeError, match="'max_sides'"):
        call(eileen_crop, max_sides=720)


def test_options_in_any_order_are_the_same_pipeline():
    assert pipeline(threads=1, memory="2GiB") is pipeline(memory="2GiB", threads=1)


def test_array_is_not_changed(eileen):
    pixels = eileen.pixels.copy()
    peephole.embed(pixels, max_side=400)
    assert np.array_equal(pixels, eileen.pixels)


def test_options_go_by_name(eileen):
    options = {"detector": "mmod", "upsample": 1, "min_confidence": 0.5, "threads": 1}
    shrunk = peephole.detect(eileen, max_side=256, **options)
    assert (shrunk.plan.shrunk, shrunk.plan.base) == ((256, 256), (512, 512))
    assert peephole.detect(eileen, min_face=160, **options).plan.base == (256, 256)
    embedded = peephole.embed(eileen, recognizer="resnet", max_side=256, **options)
    assert embedded.faces.embeddings.shape == (1, 128)
    assert embedded.faces.landmarks.shape == (1, 5, 2)
    with pytest.raises(TypeError, match="positional"):
        peephole.detect(eileen, "mmod")


def test_min_confidence_leaves_faces_out(eileen):
    assert len(peephole.detect(eileen, min_confidence=5.0)) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "haar"}, "no detector 'haar'; choose one of mmod"),
        ({"max_side": 0}, "max_side must be at least 1"),
        ({"upsample": 5}, "upsample must be 0 to 4"),
        ({"upsample": -1}, "upsample must be 0 to 4"),
        ({"min_face": 0}, "min_face must be a positive number"),
        ({"max_side": 720, "min_face": 40}, "give one of them"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"threads": 1.5}, "threads must be a whole number, not 1.5"),
        ({"max_side": "720"}, "max_side must be a whole number, not '720'"),
        ({"max_side": 720.0}, "max_side must be a whole number"),
        ({"upsample": 0.5}, "upsample must be a whole number"),
        ({"upsample": None}, "upsample must be a whole number, not None"),
        ({"min_face": "40"}, "min_face must be a number"),
        ({"profile": "dlib"}, "there is no profile 'dlib'; choose one of modern, classic"),
        ({"profile": None}, "there is no profile None"),
    ],
)
def test_options_that_cannot_work(eileen, options, words):
    with pytest.raises(UsageError, match=words):
        peephole.detect(eileen, **options)


def test_recognizer_that_does_not_exist(eileen):
    with pytest.raises(UsageError, match="no recognizer 'arc'; choose one of sface, resnet"):
        peephole.embed(eileen, recognizer="arc")


def test_errors_share_a_root():
    with pytest.raises(peephole.PeepholeError) as caught:
        peephole.detect("gone.jpg")
    assert isinstance(caught.value, FrameNotFound)


def test_models_are_loaded_once(eileen):
    api._pipeline.cache_clear()
    first = peephole.detect(eileen)
    before = pipeline().detector
    second = peephole.detect(eileen)
    peephole.embed(eileen)
    assert pipeline().detector is before
    assert api._pipeline.cache_info().misses == 1
    assert outcome(first) == outcome(second)


def test_pipelines_share_the_models_they_have_in_common(eileen_crop):
    peephole.detect(eileen_crop)
    detector = pipeline().detector
    peephole.embed(eileen_crop, recognizer="dlib-resnet")
    both = pipeline(), pipeline(recognizer="dlib-resnet")
    assert all(each.detector is detector for each in both)
    assert both[0].landmarker is both[1].landmarker
    assert pipeline(threads=1).detector is not detector


def test_first_calls_at_once_load_once(eileen_crop, monkeypatch):
    opened = []

    def slowly(name, runtime):
        opened.append(name)
        time.sleep(0.2)
        return open_detector(name, runtime)

    monkeypatch.setattr(pipelines, "open_detector", slowly)
    api._pipeline.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: outcome(peephole.detect(eileen_crop)), range(4)))
    assert opened == ["yunet"]
    assert all(one == found[0] for one in found)
    api._pipeline.cache_clear()


def test_detect_faces_yields_whole_native_pixels(grace_file):
    faces = list(peephole.detect_faces(grace_file))
    analysis = peephole.detect(grace_file, detector="mmod", max_side=720, upsample=1)
    assert len(faces) == len(analysis) == 1
    for found, face in zip(faces, analysis, strict=True):
        assert list(found) == ["left", "top", "right", "bottom", "confidence"]
        sides = [found[side] for side in ("left", "top", "right", "bottom")]
        assert all(type(side) is int for side in sides)
        assert sides == [int(np.floor(side + 0.5)) for side in face.box]
        assert type(found["confidence"]) is float
        assert found["confidence"] == face.confidence


def test_detect_faces_on_a_frame_that_is_shrunk(eileen):
    large = np.asarray(Image.fromarray(eileen.pixels).resize((1536, 1536), Image.Resampling.BICUBIC))
    (face,) = peephole.detect_faces(large)
    sides = np.array([face["left"], face["top"], face["right"], face["bottom"]])
    assert np.abs(sides / 3 - (168, 69, 264, 165)).max() <= 12  # boxes come in steps of 6/5


def test_detect_faces_takes_its_scale_by_name(eileen):
    assert list(peephole.detect_faces(eileen, max_side=100, upsample=0)) == []


def test_nobody_there():
    plain = np.full((120, 160, 3), 127, np.uint8)
    analysis = peephole.embed(plain)
    assert len(analysis) == 0
    assert list(analysis) == list(peephole.detect_faces(plain)) == []
    assert analysis.faces.landmarks.shape == (0, 5, 2)
    assert analysis.faces.embeddings.shape == (0, 128)


@pytest.mark.parametrize("profile", ["modern", "classic"])
def test_label_with_a_folder_and_with_loaded_people_agree(people_folder, eileen_crop, grace_crop, profile):
    people = peephole.load_people(people_folder, profile=profile)
    assert people.names == ("Eileen", "Grace")
    for frame, name in ((eileen_crop, "Eileen"), (grace_crop, "Grace")):
        by_people = peephole.label(frame, people, profile=profile)
        assert outcome(by_people) == outcome(peephole.label(frame, people_folder, profile=profile))
        assert outcome(by_people) == outcome(peephole.label(frame, str(people_folder), profile=profile))
        (face,) = by_people
        assert face.name == name
        assert face.score == pytest.approx(1.0, abs=1e-5)
        assert face.match.margin > 0.5


def test_strangers_are_unknown(people_folder, eileen_crop):
    shutil.rmtree(people_folder / "Eileen")
    (face,) = peephole.label(eileen_crop, people_folder)
    assert face.name == "unknown"
    assert face.match.nearest == "Grace"
    assert face.match.margin is None
    (face,) = peephole.label(eileen_crop, people_folder, threshold=0.0)
    assert face.name == "Grace"
    (face,) = peephole.label(eileen_crop, people_folder, threshold=2.0, profile="classic")
    assert face.name == "Grace"


def test_folder_is_read_once(people_folder, eileen_crop):
    api._known.cache_clear()
    peephole.label(eileen_crop, people_folder)
    peephole.label(eileen_crop, people_folder)
    assert (api._known.cache_info().misses, api._known.cache_info().hits) == (1, 1)


def test_changed_photo_is_noticed(people_folder, eileen_crop):
    grace = (people_folder / "Grace" / "1.png").rename(people_folder.parent / "grace.png")
    shutil.rmtree(people_folder / "Grace")
    (face,) = peephole.label(eileen_crop, people_folder)
    assert face.name == "Eileen"
    shutil.copyfile(grace, people_folder / "Eileen" / "1.png")
    (face,) = peephole.label(eileen_crop, people_folder)
    assert face.name == "unknown"


def test_added_person_is_noticed(people_folder, eileen_crop):
    eileen = (people_folder / "Eileen").rename(people_folder.parent / "Eileen")
    (face,) = peephole.label(eileen_crop, people_folder)
    assert face.name == "unknown"
    shutil.copytree(eileen, people_folder / "Ilene")
    (face,) = peephole.label(eileen_crop, people_folder)
    assert face.name == "Ilene"


def test_people_folder_that_cannot_be_used(tmp_path, eileen_crop):
    with pytest.raises(PeopleError, match="is not a folder"):
        peephole.label(eileen_crop, tmp_path / "gone")
