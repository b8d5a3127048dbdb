"""Photos into the gallery: what is refused, what is weak, and that a stored crop gives the vector of its frame."""

import dataclasses
import hashlib
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import peephole
from peephole import enrolment
from peephole.detectors.planted import Planted
from peephole.enrolment import LARGEST, digest, enroll_all, flaws, judge_all, photo_of, portrait, vectors_of
from peephole.errors import (
    FrameNotFound,
    GalleryDamaged,
    GalleryFull,
    GalleryModelMismatch,
    GalleryNotFound,
    NameRefused,
    PeopleError,
    PhotoRefused,
    UsageError,
)
from peephole.faces import Face
from peephole.frame import Frame
from peephole.gallery import Gallery, StoredPhoto, reembed
from peephole.geometry import Transform
from peephole.looking import InProcess
from peephole.match import People, Rejection, Rule
from peephole.people import Known
from peephole.pipeline import Pipeline
from peephole.quality import Quality

EILEEN_BOX, GRACE_BOX = (168.0, 69.0, 264.0, 165.0), (191.0, 145.0, 359.0, 311.0)
GOOD = Quality(size=100, sharpness=0.3, yaw=5, pitch=0, roll=0, brightness=0.5, contrast=0.2, colour=0.2)
RULE = Rule("cosine", threshold=0.5, margin=0.1)


def enroll(pipeline, *arguments, **more):
    return enrolment.enroll(InProcess(pipeline), *arguments, **more)


def looking(*boxes, recognizer="resnet") -> Pipeline:
    """A pipeline that sees faces just there."""
    return Pipeline(Planted(np.array(boxes), [0] * len(boxes)), recognizer, threads=1)


@pytest.fixture(scope="module")
def at_eileen() -> Pipeline:
    return looking(EILEEN_BOX)


@pytest.fixture(scope="module")
def at_grace(at_eileen) -> Pipeline:
    return Pipeline(Planted(np.array([GRACE_BOX]), [0]), at_eileen.recognizer, threads=1)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.open(tmp_path / "gallery.db") as opened:
        yield opened


def stored(photo, number=1) -> StoredPhoto:
    fields = {each.name: getattr(photo, each.name) for each in dataclasses.fields(photo)}
    return StoredPhoto(**fields, id=number, name="Anna", created=0.0)


def opened(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


# What is kept of a face


@pytest.fixture
def chequered(rng) -> Frame:
    return Frame(rng.integers(0, 256, (200, 300, 3), np.uint8), "porch.jpg")


def test_crop_is_the_region_around_the_face_as_it_is(chequered):
    landmarks = np.array([[110.0, 90], [130, 90], [120, 100.5], [112, 110], [128, 110]])
    photo = photo_of(chequered, Face(100, 80, 140, 120, 1.0, landmarks=landmarks, quality=GOOD, kind="arcface"))
    assert np.array_equal(opened(photo.crop), chequered.pixels[50:150, 70:170])
    assert photo.box == (30, 30, 70, 70)
    assert np.array_equal(photo.landmarks, landmarks - (70, 50))
    assert (photo.landmark_kind, photo.source, photo.quality) == ("arcface", "porch.jpg", GOOD)
    assert photo.sha256 == hashlib.sha256(chequered.pixels.tobytes()).hexdigest()


def test_crop_ends_where_the_frame_does(chequered):
    photo = photo_of(chequered, Face(-10, 170, 30, 210, 1.0))
    assert np.array_equal(opened(photo.crop), chequered.pixels[140:200, 0:60])
    assert photo.box == (-10, 30, 30, 70)
    assert (photo.landmarks, photo.landmark_kind) == (None, "none")


def test_box_beside_the_frame_gets_a_pixel(chequered):
    assert opened(photo_of(chequered, Face(900, 900, 910, 910, 1.0)).crop).shape == (1, 1, 3)


def test_large_face_is_kept_smaller(rng):
    frame = Frame(rng.integers(0, 256, (900, 800, 3), np.uint8))
    photo = photo_of(frame, Face(200, 300, 400, 600, 1.0, landmarks=np.full((5, 2), 300.0), kind="dlib"))
    assert max(opened(photo.crop).shape) == LARGEST
    # the region is (0, 75) to (675, 825), 675x750, and 288x320 is what remains of it
    assert photo.box == pytest.approx((200 * 288 / 675, 225 * 320 / 750, 400 * 288 / 675, 525 * 320 / 750))
    assert photo.landmarks[0] == pytest.approx((300 * 288 / 675, 225 * 320 / 750))


def test_frame_decoded_smaller_gives_a_smaller_crop(chequered):
    half = replace(chequered, native_size=(600, 400), to_native=Transform.scale(2, 2))
    photo = photo_of(half, Face(200, 160, 280, 240, 1.0))
    assert np.array_equal(opened(photo.crop), chequered.pixels[50:150, 70:170])
    assert photo.box == (30, 30, 70, 70)


@pytest.mark.parametrize("roll", [10, 95, 170, -80, -179])
def test_crop_stands_upright_by_whole_quarters(chequered, roll):
    landmarks = np.array([[110.0, 90], [130, 90], [120, 100.5], [112, 110], [128, 110]])
    quality = replace(GOOD, roll=roll)
    photo = photo_of(chequered, Face(100, 80, 140, 110, 1.0, landmarks=landmarks, quality=quality, kind="arcface"))
    quarters = round(roll / 90) % 4
    upright = np.rot90(chequered.pixels[45:145, 70:170], quarters)  # against the way that the face leans
    np.testing.assert_array_equal(opened(photo.crop), upright)
    to_crop = Transform.offset(-70, -45).then(Transform.turn((100, 100), (360 - 90 * quarters) % 360))
    np.testing.assert_allclose(photo.landmarks, to_crop.points(landmarks))
    left, top, right, bottom = photo.box
    assert (right - left, bottom - top) == ((30, 40) if quarters % 2 else (40, 30))
    assert ((left + right) / 2, (top + bottom) / 2) == (50, 50)
    for turn in (90, 180, 270):  # also of a frame that was turned before it was looked at
        face = Face(100, 80, 140, 110, 1.0, landmarks=landmarks, quality=quality, kind="arcface")
        same = photo_of(chequered.turned(turn), face, sha256=photo.sha256)
        assert (same.crop, same.box) == (photo.crop, photo.box)
        np.testing.assert_allclose(same.landmarks, photo.landmarks)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_photo_that_stands_otherwise_is_turned(gallery, grace, degrees):
    pipeline = Pipeline(threads=1)
    upright = np.ascontiguousarray(grace.pixels[40:500, :460])
    (known,) = pipeline.analyse(upright, embed=True)
    done = enroll(pipeline, gallery, "Grace", np.ascontiguousarray(np.rot90(upright, -degrees // 90)))
    assert abs((done.turned + degrees + 180) % 360 - 180) < 12
    (photo,) = gallery.photos("Grace")
    ((vector, _),) = vectors_of([photo], pipeline)
    (embedding,) = gallery.known(pipeline.recognizer.model_id).embeddings
    assert min(cosine(vector, known.embedding), cosine(embedding, known.embedding)) > 0.8
    assert cosine(vector, embedding) > 0.95
    # The crop itself stands upright: dlib's landmarks, which take it for that, are found on it.
    other = Pipeline("yunet", "resnet", threads=1)
    (seen,) = other.analyse(upright, embed=True)
    ((vector, _),) = vectors_of([photo], other)
    assert np.linalg.norm(vector - seen.embedding) < 0.35


def test_source_that_is_not_unicode_can_be_stored(gallery, chequered):
    photo = photo_of(replace(chequered, source="\udcff.jpg"), Face(100, 80, 140, 120, 1.0))
    gallery.add_photo("Anna", photo, {})
    assert gallery.photos("Anna")[0].source == "\\udcff.jpg"


# The way back: from the crop to the vector


@pytest.mark.parametrize("recognizer", ["resnet", "sface"])
@pytest.mark.parametrize("times", [1, 3])
def test_crop_gives_the_vector_of_the_whole_frame(eileen, recognizer, times):
    size = (times * eileen.width, times * eileen.height)
    pixels = np.asarray(Image.fromarray(eileen.pixels).resize(size, Image.Resampling.BICUBIC))
    pipeline = looking(np.multiply(EILEEN_BOX, times), recognizer=recognizer)
    frame = Frame(pixels)
    (face,) = pipeline.analyse(frame, twins=True)
    ((vector, twin),) = vectors_of([stored(photo_of(frame, face))], pipeline)
    assert cosine(vector, face.embedding) > 0.99
    assert cosine(twin, face.twin) > 0.99


@pytest.mark.parametrize(("kept_by", "wanted"), [("sface", "resnet"), ("resnet", "sface")])
def test_crop_kept_for_one_model_serves_another(eileen, kept_by, wanted):
    before = Pipeline("yunet", kept_by, threads=1)
    after = Pipeline(before.detector, wanted, threads=1)
    (face,) = before.analyse(eileen, embed=True)
    assert face.kind == ("arcface" if kept_by == "sface" else "dlib")
    ((vector, _),) = vectors_of([stored(photo_of(eileen, face))], after)
    (again,) = after.analyse(eileen, embed=True)
    assert cosine(vector, again.embedding) > (0.95 if wanted == "sface" else 0.99)  # three points, not five


def test_crop_without_landmarks_gets_some(eileen, at_eileen):
    (face,) = at_eileen.analyse(eileen, embed=True)
    whole = stored(photo_of(eileen, face))
    bare = stored(replace(photo_of(eileen, face), landmarks=None, landmark_kind="none"))
    for vector, _ in vectors_of([whole, bare], at_eileen):
        assert cosine(vector, face.embedding) > 0.99
    assert vectors_of([], at_eileen).shape == (0, 2, 128)


def test_damaged_crop_is_named(chequered, at_eileen):
    photo = photo_of(chequered, Face(100, 80, 140, 120, 1.0))
    broken = stored(replace(photo, crop=photo.crop[:100]), number=7)
    with pytest.raises(GalleryDamaged, match="the crop of face 7: cut off or damaged"):
        vectors_of([broken], at_eileen)
    with pytest.raises(GalleryDamaged, match="face 7"):
        portrait(broken)


def test_portrait_shows_the_face_with_little_around_it(chequered):
    photo = photo_of(chequered, Face(100, 80, 140, 120, 1.0))
    assert np.array_equal(portrait(stored(photo)), chequered.pixels[70:130, 90:150])


# What is judged


def people(**vectors) -> People:
    names = tuple(name for name, rows in vectors.items() for _ in rows)
    return People(names, np.array([row for rows in vectors.values() for row in rows], np.float32).reshape(-1, 3))


def at(angle: float, third: float = 0.0) -> list[float]:
    """A vector in the plane at so many degrees, or out of it."""
    return [np.cos(np.radians(angle)), np.sin(np.radians(angle)), third]


def judged(name, vector, known, quality=GOOD, *, again=False):
    (verdict,) = judge_all(name, [(np.array(vector, np.float32), quality)], known, RULE, again=[again])
    return verdict


def judged_together(name, vectors, known=None, quality=GOOD):
    faces = [(np.array(vector, np.float32), quality) for vector in vectors]
    return judge_all(name, faces, people() if known is None else known, RULE)


def refused(*arguments, **more) -> list[bool]:
    return [bool(refusals) for refusals, _ in judged_together(*arguments, **more)]


def test_first_photo_of_the_first_person_is_fine():
    assert judged("Anna", at(0), people()) == ([], [])


def test_photo_like_the_others_is_fine():
    assert judged("Anna", at(0), people(Anna=[at(40)], Ben=[at(120)])) == ([], [])


def test_somebody_elses_face_is_refused():
    refusals, _ = judged("Anna", at(0), people(Ben=[at(30)]))
    assert refusals == ["this is Ben's face, to all appearance: score 0.87"]


def test_somebody_ignored_is_refused():
    known = replace(people(Ben=[at(30)]), ignored=frozenset({"Ben"}))
    assert judged("Anna", at(0), known)[0] == ["this is the face of Ben, who is ignored: score 0.87"]
    assert judged("Ben", at(0), known)[0] == []


def test_what_was_said_to_be_somebody_else_is_refused():
    said = (Rejection("Anna", np.array(at(5), np.float32)),)
    known = replace(people(Anna=[at(40)]), rejected=said)
    assert judged("Anna", at(0), known)[0] == [
        "this is like a face that is not Anna's, as somebody has said: score 0.77"
    ]
    assert judged("Ben", at(0), known)[0] == []


def test_as_much_like_somebody_else_is_weak_and_like_two_others_refused():
    known = people(Anna=[at(40)], Ben=[at(-42)], Carl=[at(180)])
    assert judged("Anna", at(0), known) == ([], ["it is as much like Anna as like Ben: score 0.77"])
    assert judged("Ben", at(0), known) == ([], ["it is as much like Anna as like Ben: score 0.77"])
    refusals, weak = judged("Carl", at(0), known)
    assert refusals == [
        "it is as much like Anna as like Ben: score 0.77",
        "unlike Carl's other photos: score -1.00 at best",
    ]
    assert weak == []


def test_nearly_the_same_photo_is_weak_unless_it_takes_the_others_place():
    known = people(Anna=[at(1)])
    assert judged("Anna", at(0), known) == ([], ["nearly the same as a photo that is there: score 1.00"])
    assert judged("Anna", at(0), known, again=True) == ([], [])


def test_photo_that_the_others_hardly_know_is_weak():
    rule = replace(RULE, impostors=((0.0, 1.0), (0.2, 0.01), (0.3, 0.001)))
    (verdict,) = judge_all("Anna", [(np.array(at(70), np.float32), GOOD)], people(Anna=[at(0)]), rule)
    assert verdict == ([], ["little like Anna's other photos: score 0.34; is it Anna?"])


# What is judged together


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_one_photo_of_somebody_else_is_refused_wherever_it_stands(wrong):
    vectors = [at(0), at(30), at(-30)]
    vectors.insert(wrong, at(170))
    verdicts = judged_together("Anna", vectors)
    assert verdicts[wrong] == (["unlike Anna's other photos: score -0.77 at best"], [])
    assert [verdict for index, verdict in enumerate(verdicts) if index != wrong] == [([], [])] * 3


def test_of_two_photos_that_are_unlike_both_are_refused():
    words = "the photos are unlike each other, score -0.17 at best: nothing tells which are Anna's"
    assert judged_together("Anna", [at(0), at(100)]) == [([words], [])] * 2


def test_what_is_enrolled_decides_against_what_comes():
    known = people(Anna=[at(0)])
    assert refused("Anna", [at(150), at(160), at(20)], known) == [True, True, False]
    assert refused("Ben", [at(150), at(160), at(20)], people()) == [False, False, True]


def test_unclear_faces_do_not_decide_who_the_person_is():
    faces = [(np.array(at(angle), np.float32), replace(GOOD, size=size)) for angle, size in ((0, 9), (5, 9), (100, 99))]
    (one, _), (other, _), (clear, _) = judge_all("Anna", faces, people(), RULE)
    assert one == other == ["too small: 9 px, at least 24 are needed"]
    assert clear == []


def test_somebody_elses_photos_are_refused_under_a_second_name_though_they_are_alike():
    known = people(Ben=[at(0)])
    verdicts = judged_together("Anna", [at(20), at(25), at(62)], known)
    assert [refusals[0].split(":")[0] for refusals, _ in verdicts] == ["this is Ben's face, to all appearance"] * 3


def test_somebody_elses_photo_does_not_decide_who_the_person_is():
    """By number alone Ben's two would be Anna."""
    assert refused("Anna", [at(180), at(20), at(25)], people(Ben=[at(0)])) == [False, True, True]


def test_one_photo_that_is_by_chance_like_somebody_else_is_known_by_the_others():
    known = people(Ben=[at(0)])
    assert refused("Anna", [at(58), at(70), at(80), at(90)], known) == [False] * 4
    assert refused("Anna", [at(58)], known) == [True]


def test_photos_nearly_the_same_are_told_once():
    same = "nearly the same as a photo that is there: score 1.00"
    assert judged_together("Anna", [at(0), at(1), at(40)]) == [([], []), ([], [same]), ([], [])]


def test_no_faces_are_judged():
    assert judge_all("Anna", [], people(), RULE) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"size": 40.0}, ["small: 40 px"]),
        ({"sharpness": 0.06}, ["soft: sharpness 0.06"]),
        ({"yaw": -50.0}, ["turned: 50 degrees"]),
        ({"contrast": 0.05}, ["flat: contrast 0.050"]),
        ({"size": 40.0, "yaw": 50.0}, ["small: 40 px", "turned: 50 degrees"]),
    ],
)
def test_flaws(changes, words):
    assert flaws(replace(GOOD, **changes)) == words


def test_unclear_face_is_refused_and_not_called_weak_besides():
    refusals, weak = judged("Anna", at(0), people(), replace(GOOD, size=20.0))
    assert (refusals, weak) == (["too small: 20 px, at least 24 are needed"], [])


# Enrolment


def test_enrolled_face_is_known(gallery, eileen_file, at_eileen):
    done = enroll(at_eileen, gallery, "Eileen", eileen_file)
    assert (done.name, done.source, done.again, done.weak) == ("Eileen", str(eileen_file), False, ())
    (photo,) = gallery.photos("Eileen")
    assert (photo.id, photo.source) == (done.photo, str(eileen_file))
    assert photo.sha256 == hashlib.sha256(eileen_file.read_bytes()).hexdigest()
    assert photo.quality == done.quality
    known, rule = Known().read(gallery, at_eileen.recognizer)
    (face,) = at_eileen.analyse(eileen_file, people=known, rule=rule)
    assert (face.name, face.score) == ("Eileen", pytest.approx(1, abs=1e-4))


def test_same_picture_takes_its_own_place(gallery, eileen_file, at_eileen):
    first = enroll(at_eileen, gallery, "Eileen", eileen_file)
    again = enroll(at_eileen, gallery, "Eileen", eileen_file.read_bytes())
    assert (again.photo, again.again, again.weak) == (first.photo, True, ())
    assert len(gallery.photos("Eileen")) == 1


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([], "no face found, exactly one is needed"),
        (
            [EILEEN_BOX, (300.0, 300, 400, 400)],
            "2 faces found, exactly one is needed: 1 at 168,69 to 264,165, 2 at 300,300 to 400,400",
        ),
    ],
)
def test_photo_with_none_or_two_is_refused(gallery, eileen, at_eileen, boxes, words):
    detector = Planted(np.array(boxes).reshape(-1, 4), [0] * len(boxes))
    with pytest.raises(PhotoRefused, match=words):
        enroll(Pipeline(detector, at_eileen.recognizer), gallery, "Eileen", eileen)
    assert gallery.people() == []


def test_somebody_in_the_background_does_not_count(gallery, eileen, at_eileen):
    detector = Planted(np.array([(300.0, 300, 340, 340), EILEEN_BOX]), [0, 0])
    enroll(Pipeline(detector, at_eileen.recognizer), gallery, "Eileen", eileen)
    left, top, right, bottom = gallery.photos("Eileen")[0].box
    assert (right - left, bottom - top) == (96, 96)


def test_unclear_face_is_refused_unless_forced(gallery, eileen, at_eileen):
    small = np.asarray(Image.fromarray(eileen.pixels).resize((102, 102)))
    tiny = Pipeline(Planted(np.array([EILEEN_BOX]) / 5, [0]), at_eileen.recognizer)
    with pytest.raises(PhotoRefused, match="too small: 19 px"):
        enroll(tiny, gallery, "Eileen", small)
    assert gallery.people() == []
    done = enroll(tiny, gallery, "Eileen", small, force=True)
    assert done.weak == ("too small: 19 px, at least 24 are needed",)


def test_other_peoples_faces_are_refused_unless_forced(gallery, eileen, grace, at_eileen, at_grace):
    enroll(at_eileen, gallery, "Eileen", eileen)
    before = gallery.version()
    with pytest.raises(PhotoRefused, match=r"this is Eileen's face, to all appearance: score 1\.00"):
        enroll(at_eileen, gallery, "Grace", eileen)
    assert gallery.version() == before
    assert enroll(at_grace, gallery, "Grace", grace).weak == ()
    done = enroll(at_eileen, gallery, "Grace", eileen, force=True)
    assert done.weak[0].startswith("this is Eileen's face")
    assert done.weak[1].startswith("little like Grace's other photos: score 0.3")


@pytest.fixture(scope="module")
def everywhere() -> Pipeline:
    return Pipeline("yunet", "sface", threads=1)


@pytest.fixture
def album(tmp_path, eileen, grace) -> list:
    """Photos 1 to 3 are Eileen's, and photo 0 is Grace's."""
    wrong = tmp_path / "0.png"
    Image.fromarray(grace.pixels).save(wrong)
    for number, angle in enumerate((0, 12, -12), 1):
        Image.fromarray(eileen.pixels).rotate(angle, Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    return [wrong, *(tmp_path / f"{number}.png" for number in (1, 2, 3))]


def test_wrong_photo_among_a_persons_is_not_enrolled_until_it_is_confirmed(gallery, album, everywhere):
    looked = []
    done = enroll_all(InProcess(everywhere), gallery, "Eileen", album, progress=lambda *counts: looked.append(counts))
    wrong, *right = done
    assert isinstance(wrong, PhotoRefused)
    assert str(wrong).startswith("unlike Eileen's other photos: score 0.")
    assert [(each.source, each.photo) for each in right] == [(str(file), n) for n, file in enumerate(album[1:], 1)]
    assert looked == [(1, 4), (2, 4), (3, 4), (4, 4)]
    known, rule = Known().read(gallery, everywhere.recognizer)
    assert everywhere.analyse(album[0], people=known, rule=rule).faces[0].name == "unknown"
    with pytest.raises(PhotoRefused, match=r"unlike Eileen's other photos.*--force"):
        enroll(everywhere, gallery, "Eileen", album[0])
    confirmed = enroll(everywhere, gallery, "Eileen", album[0], force=True)
    assert confirmed.weak[0].startswith("unlike Eileen's other photos")


def test_what_cannot_be_looked_at_is_told_in_its_place(gallery, album, everywhere, tmp_path):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "nobody.png")
    files = [tmp_path / "gone.png", album[1], tmp_path / "nobody.png", album[1]]
    gone, first, nobody, again = enroll_all(InProcess(everywhere), gallery, "Eileen", files)
    assert isinstance(gone, FrameNotFound)
    assert isinstance(nobody, PhotoRefused)
    assert (first.photo, first.again, again.photo, again.again, again.weak) == (1, False, 1, True, ())


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 300, "unknown", "group-3", " \n", "a\x00b"])
def test_impossible_name_is_refused_before_anything_is_looked_at(gallery, name):
    with pytest.raises(NameRefused):
        enroll(looking(EILEEN_BOX), gallery, name, "no-such-file.jpg")
    assert gallery.people() == []


@pytest.mark.parametrize("name", ["👵🏽", "Zoë", "ทราย", "李 明", "a" * 100])
def test_any_writing_will_do(gallery, eileen, at_eileen, name):
    done = enroll(at_eileen, gallery, f" {name} ", eileen)
    assert done.name == gallery.people()[0].name == name


def test_name_in_another_case_is_refused(gallery, eileen, at_eileen):
    enroll(at_eileen, gallery, "Eileen", eileen)
    with pytest.raises(NameRefused, match="there is 'Eileen' already"):
        enroll(at_eileen, gallery, "EILEEN", eileen, force=True)
    assert gallery.people()[0].photos == 1


def test_people_known_by_another_model_alone_are_refused(gallery, eileen, at_eileen):
    enroll(at_eileen, gallery, "Eileen", eileen)
    other = looking(EILEEN_BOX, recognizer="sface")
    with pytest.raises(GalleryModelMismatch, match="peephole gallery reembed"):
        enroll(other, gallery, "Eileen", eileen)
    steps = reembed(gallery, other.recognizer.model_id, InProcess(other).vectors)
    assert list(steps) == [(0, 1), (1, 1)]
    known, rule = Known().read(gallery, other.recognizer)
    (face,) = other.analyse(eileen, people=known, rule=rule)
    assert (face.name, face.score > 0.99) == ("Eileen", True)


def test_full_disk_leaves_nothing_half_stored(gallery, eileen, at_eileen):
    (pages,) = gallery._db.execute("PRAGMA page_count").fetchone()
    gallery._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(GalleryFull):
        enroll(at_eileen, gallery, "Eileen", eileen)
    assert gallery.people() == []
    gallery._db.execute("PRAGMA max_page_count = 100000")
    enroll(at_eileen, gallery, "Eileen", eileen)
    assert [each.photos for each in gallery.people()] == [1]


def test_missing_file_is_a_frame_error(gallery, tmp_path, at_eileen):
    with pytest.raises(FrameNotFound):
        enroll(at_eileen, gallery, "Eileen", tmp_path / "gone.jpg")


def test_digest_of_a_picture_is_that_of_its_bytes(eileen):
    assert digest(eileen) == hashlib.sha256(eileen.pixels.tobytes()).hexdigest()


# Whom a gallery knows


def test_known_is_read_again_only_when_it_has_changed(gallery, eileen, grace, at_eileen, at_grace):
    known = Known()
    enroll(at_eileen, gallery, "Eileen", eileen)
    first, rule = known.read(gallery, at_eileen.recognizer)
    assert known.read(gallery, at_eileen.recognizer)[0] is first
    assert rule is at_eileen.recognizer.rule
    with Gallery.open(gallery.path) as other:
        enroll(at_grace, other, "Grace", grace)
    assert known.read(gallery, at_eileen.recognizer)[0].persons == ("Eileen", "Grace")


def test_calibrated_rule_decides(gallery, eileen, at_eileen):
    known = Known()
    enroll(at_eileen, gallery, "Eileen", eileen)
    known.read(gallery, at_eileen.recognizer)
    gallery.set_rule(at_eileen.recognizer.model_id, RULE)
    assert known.read(gallery, at_eileen.recognizer)[1] == RULE


def test_enrolment_by_another_process_counts_at_the_next_call(tmp_path, eileen_file, grace_file):
    file = tmp_path / "gallery.db"
    code = "import sys, peephole; peephole.enroll(sys.argv[1], sys.argv[2], gallery=sys.argv[3])"

    peephole.enroll("Eileen", eileen_file, gallery=file)
    assert [face.name for face in peephole.label(eileen_file, gallery=file)] == ["Eileen"]
    assert [face.name for face in peephole.label(grace_file, gallery=file)] == ["unknown"]
    subprocess.run([sys.executable, "-c", code, "Grace", str(grace_file), str(file)], check=True)
    assert [face.name for face in peephole.label(grace_file, gallery=file)] == ["Grace"]


@pytest.mark.parametrize("profile", ["modern", "classic"])
def test_new_gallery_in_the_place_of_another_is_read(tmp_path, eileen, grace, profile):
    file = tmp_path / "gallery.db"
    for name, frame in (("Eileen", eileen), ("Grace", grace)):  # as many changes to each
        peephole.enroll(name, frame, gallery=file, profile=profile)
        assert [face.name for face in peephole.label(frame, gallery=file, profile=profile)] == [name]
        for each in tmp_path.iterdir():
            each.unlink()


def test_label_needs_somebody_to_know(tmp_path, eileen):
    with pytest.raises(GalleryNotFound, match="peephole enroll NAME FILE"):
        peephole.label(eileen, gallery=tmp_path / "gallery.db")
    assert list(tmp_path.iterdir()) == []
    Gallery.open(tmp_path / "gallery.db").close()
    with pytest.raises(PeopleError, match=r"nobody is enrolled in .*gallery\.db; .* peephole enroll NAME FILE"):
        peephole.label(eileen, gallery=tmp_path / "gallery.db")
    with pytest.raises(UsageError, match="name one of them"):
        peephole.label(eileen, tmp_path, gallery=tmp_path / "gallery.db")
