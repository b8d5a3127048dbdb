"""People, photos, unknown faces, corrections, rules and visits: what goes in comes out, and errors change nothing."""

import json
import signal
import subprocess
import threading
from dataclasses import fields, replace

import numpy as np
import pytest

from peephole.errors import GalleryError, GalleryModelMismatch, NameRefused, NotInGallery
from peephole.gallery import Expired, Gallery, Group, Person, Photo, VisitRecord, schema
from peephole.match import Rule, match
from peephole.quality import Quality

A, B = "a" * 64, "b" * 64
RULE = Rule("cosine", 0.36, 0.03)
QUALITY = Quality(*(index / 7 for index, _ in enumerate(fields(Quality))))


def names(gallery: Gallery) -> list[str]:
    return [person.name for person in gallery.people()]


def same(one: Photo, other: Photo) -> bool:
    return all(np.array_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(Photo))


# -- people and photos ------------------------------------------------------------------------------------------


def test_a_photo_comes_back_as_it_went_in(gallery, clock, photo, vector):
    clock.now = 1234.5
    kept = photo(1, quality=QUALITY)
    number = gallery.add_photo("Anna", kept, {A: vector(1)})
    (stored,) = gallery.photos("Anna")
    assert same(stored, kept)
    assert stored.quality == QUALITY
    assert (stored.id, stored.name, stored.created) == (number, "Anna", 1234.5)
    assert gallery.people() == [Person(1, "Anna", 1, False, 1234.5)]


def test_who_has_a_photo_of_which_picture(gallery, photo):
    gallery.add_photo("Anna", photo(1), {})
    gallery.add_photo("Ben", photo(2), {})
    gallery.reject("Anna", photo(3), {})
    asked = [("Anna", 1), ("Anna", 2), ("Anna", 3), ("Ben", 2), ("Cid", 1)]
    assert [each for each in asked if gallery.has_photo(each[0], photo(each[1]).sha256)] == [("Anna", 1), ("Ben", 2)]


def test_a_photo_without_landmarks_or_quality(gallery, photo):
    kept = photo(1, landmarks=None, landmark_kind="none")
    gallery.add_photo("Anna", kept, {})
    assert same(gallery.photos()[0], kept)


def test_people_are_listed_by_name_whatever_its_case(gallery, photo):
    for number, name in enumerate(["zoe", "Anna", "ben", "🦊", "Ørjan"]):
        gallery.add_photo(name, photo(number), {})
    assert names(gallery) == ["Anna", "ben", "zoe", "Ørjan", "🦊"]


def test_names_are_kept_composed(gallery, photo):
    gallery.add_photo("A\u030asa", photo(1), {})
    gallery.add_photo(" Åsa ", photo(2), {})
    assert names(gallery) == ["Åsa"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("../x", "path separator"), ("x" * 300, "300 characters"), ("unknown", "a stranger"), ("", "nothing to see")],
)
def test_a_name_nobody_can_have_enrols_nobody(gallery, photo, name, reason):
    with pytest.raises(NameRefused, match=reason):
        gallery.add_photo(name, photo(1), {})
    with pytest.raises(NameRefused, match=reason):
        gallery.name_group(gallery.add_unknown(photo(1), {}).group, name)
    assert gallery.people() == gallery.photos() == []


@pytest.mark.parametrize(("one", "other"), [("Anna", "anna"), ("STRASSE", "straße"), ("Ørjan", "ØRJAN")])
def test_two_people_differ_in_more_than_case(gallery, photo, one, other):
    gallery.add_photo(one, photo(1), {})
    group = gallery.add_unknown(photo(3), {}).group
    for attempt in (
        lambda: gallery.add_photo(other, photo(2), {}),
        lambda: gallery.name_group(group, other),
    ):
        with pytest.raises(NameRefused, match=f"'{other}' is taken: there is '{one}' already"):
            attempt()
    assert [person.photos for person in gallery.people()] == [1]
    assert len(gallery.unknowns(group)) == 1


def test_the_same_picture_again_replaces_the_photo(gallery, photo, vector):
    first = gallery.add_photo("Anna", photo(1), {A: vector(1), B: vector(1)})
    gallery.add_photo("Anna", photo(2), {A: vector(2)})
    again = gallery.add_photo("Anna", photo(3, sha256=photo(1).sha256), {A: vector(3)})
    assert again == first
    assert [each.source for each in gallery.photos("Anna")] == ["3.jpg", "2.jpg"]
    assert gallery.models() == {A: 2}
    gallery.add_photo("Ben", photo(1), {A: vector(4)})  # two people can be on one picture
    assert len(gallery.photos()) == 3


def test_photos_of_nobody(gallery, photo):
    gallery.add_photo("Anna", photo(1), {})
    for ask in (gallery.photos, gallery.rejections, gallery.forget, gallery.ignore):
        with pytest.raises(NotInGallery, match=r"nobody is called 'Ben' in .*: peephole people lists who is enrolled"):
            ask("Ben")
    with pytest.raises(NotInGallery, match=r"nobody is called 'ANNA' in .*: did you mean 'Anna'\?"):
        gallery.forget("ANNA")
    assert names(gallery) == ["Anna"]


def test_one_photo_is_forgotten(gallery, photo, vector):
    number = gallery.add_photo("Anna", photo(1), {A: vector(1)})
    gallery.add_photo("Anna", photo(2), {A: vector(2)})
    gallery.forget_photo(number)
    assert [each.source for each in gallery.photos()] == ["2.jpg"]
    unknown = gallery.add_unknown(photo(3), {})
    for other in (number, unknown.id, 99):
        with pytest.raises(NotInGallery, match=f"there is no photo {other} "):
            gallery.forget_photo(other)
    assert len(gallery.unknowns()) == 1


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 2)), np.zeros((2, 0)), np.zeros(0), np.array([1.0, np.nan]), np.array([np.inf])]
)
def test_an_embedding_is_a_vector_of_numbers(gallery, photo, bad):
    with pytest.raises(ValueError, match="an embedding is a vector of finite numbers"):
        gallery.add_photo("Anna", photo(1), {A: bad})
    assert gallery.people() == []


# -- rename, merge ----------------------------------------------------------------------------------------------


def fill(gallery, photo, vector):
    """Anna with two photos, a correction and two visits; Ben with one photo, which Anna has too."""
    for number, name in ((1, "Anna"), (2, "Anna"), (1, "Ben")):
        gallery.add_photo(name, photo(number), {A: vector(number)})
    gallery.reject("Anna", photo(9), {A: vector(9)})
    detail = {"people": [{"name": "Anna", "nearest": "Anna", "runner_up": "Ben"}], "Anna": ["Anna", "Annabel", 1]}
    gallery.save_visit(VisitRecord("door/1", "door", 1.0, 2.0, "closed", ("unknown", "Anna"), 3, detail))
    gallery.save_visit(VisitRecord("door/2", "door", 5.0, 6.0, "opened", ("Anna", "Ben"), 1))


def test_rename_keeps_everything(gallery, photo, vector):
    fill(gallery, photo, vector)
    before = gallery.people()[0]
    gallery.rename("Anna", "Änne")
    (after,) = (person for person in gallery.people() if person.id == before.id)
    assert (after.name, after.photos, after.created) == ("Änne", 2, before.created)
    assert gallery.known(A).names == ("Änne", "Änne", "Ben")
    assert [each.name for each in gallery.known(A).rejected] == ["Änne"]
    one, two = gallery.visits()
    assert (one.names, two.names) == (("unknown", "Änne"), ("Änne", "Ben"))
    people = [{"name": "Änne", "nearest": "Änne", "runner_up": "Ben"}]
    assert one.detail == {"people": people, "Änne": ["Änne", "Annabel", 1]}


def test_rename_to_another_case(gallery, photo):
    gallery.add_photo("anna", photo(1), {})
    gallery.rename("anna", "Anna")
    assert names(gallery) == ["Anna"]


@pytest.mark.parametrize("new", ["Ben", "ben", "a/b", "unknown"])
def test_rename_to_a_name_that_cannot_be_changes_nothing(gallery, photo, vector, new):
    fill(gallery, photo, vector)
    version, visits = gallery.version(), gallery.visits()
    with pytest.raises(NameRefused):
        gallery.rename("Anna", new)
    assert (names(gallery), gallery.version(), gallery.visits()) == (["Anna", "Ben"], version, visits)


def test_merge(gallery, photo, vector):
    fill(gallery, photo, vector)
    gallery.merge("Anna", "Ben")
    assert [(person.name, person.photos) for person in gallery.people()] == [("Ben", 2)]
    assert sorted(each.source for each in gallery.photos("Ben")) == ["1.jpg", "2.jpg"]
    assert [each.name for each in gallery.rejections()] == ["Ben"]
    assert [visit.names for visit in gallery.visits()] == [("unknown", "Ben"), ("Ben",)]
    assert gallery.visits()[0].detail["people"] == [{"name": "Ben", "nearest": "Ben", "runner_up": "Ben"}]
    gallery.check()


@pytest.mark.parametrize(("source", "into"), [("Anna", "Carl"), ("Carl", "Anna"), ("Anna", "Anna")])
def test_a_merge_that_cannot_be_changes_nothing(gallery, photo, vector, source, into):
    fill(gallery, photo, vector)
    version = gallery.version()
    with pytest.raises(GalleryError, match=r"Carl|into itself"):
        gallery.merge(source, into)
    assert [(person.name, person.photos) for person in gallery.people()] == [("Anna", 2), ("Ben", 1)]
    assert gallery.version() == version


# -- known ------------------------------------------------------------------------------------------------------


def test_known_has_a_row_for_each_photo(gallery, photo, vector):
    for number, name in enumerate(["Ben", "Anna", "Ben"]):
        gallery.add_photo(name, photo(number), {A: vector(number), B: vector(number, d=5)})
    known = gallery.known(A)
    rows = dict(zip(["0", "2", "1"], known.embeddings, strict=True))  # a person's photos stand together
    assert known.names == ("Ben", "Ben", "Anna")
    assert all(np.array_equal(row, vector(int(number))) for number, row in rows.items())
    assert (known.embeddings.dtype, known.embeddings.flags.c_contiguous) == (np.float32, True)
    assert known.model == A
    assert gallery.known(B).embeddings.shape == (3, 5)


def test_known_refuses_a_model_that_has_not_seen_all(gallery, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1), B: vector(1)})
    gallery.add_photo("Ben", photo(2), {A: vector(2)})
    with pytest.raises(
        GalleryModelMismatch, match=r"1 of 2 faces .* model bbbbbbbbbbbb .*: peephole gallery reembed"
    ) as e:
        gallery.known(B)
    assert e.value.missing == 1
    with pytest.raises(GalleryModelMismatch, match="2 of 2 faces"):
        gallery.known("c" * 64)
    assert len(gallery.known(A)) == 2


def test_known_waits_for_no_unknown_face(gallery, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    unknown = gallery.add_unknown(photo(2), {})
    assert gallery.known(A).names == ("Anna",)
    gallery.ignore_group(unknown.group)
    with pytest.raises(GalleryModelMismatch, match="1 of 2 faces"):
        gallery.known(A)


def test_the_ignored_are_known_and_never_named(gallery, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    gallery.add_photo("Postman", photo(2), {A: vector(2)})
    group = gallery.add_unknown(photo(3), {A: vector(3)}).group
    faces = np.stack([vector(1), vector(2), vector(3)])

    def seen():
        return [each.name for each in match(faces, gallery.known(A), RULE)]

    assert seen() == ["Anna", "Postman", "unknown"]
    gallery.ignore("Postman")
    gallery.ignore_group(group)
    assert seen() == ["Anna", "ignored", "ignored"]
    assert gallery.known(A).ignored == {"Postman", f"group-{group}"}
    assert [person.name for person in gallery.people() if person.ignored] == ["Postman"]
    assert gallery.groups() == gallery.unknowns() == []
    assert [each.name for each in gallery.groups(ignored=True)] == [f"group-{group}"]
    gallery.ignore("Postman", False)
    gallery.ignore_group(group, False)
    assert seen() == ["Anna", "Postman", "unknown"]
    assert len(gallery.groups()) == 1


def test_a_correction_is_used_and_can_be_taken_back(gallery, clock, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    clock.now = 77.0
    number = gallery.reject("Anna", photo(5), {A: vector(5)})
    (known,) = gallery.known(A).rejected
    assert (known.name, np.array_equal(known.embedding, vector(5))) == ("Anna", True)
    (stored,) = gallery.rejections("Anna")
    assert (stored.id, stored.name, stored.created, same(stored, photo(5))) == (number, "Anna", 77.0, True)
    assert gallery.people()[0].photos == 1
    gallery.forget_rejection(number)
    assert gallery.known(A).rejected == ()
    with pytest.raises(NotInGallery, match=f"there is no correction {number} "):
        gallery.forget_rejection(number)


# -- unknown faces ----------------------------------------------------------------------------------------------


def test_unknown_faces_come_back_by_group_and_time(gallery, clock, photo, vector):
    one = gallery.add_unknown(photo(1), {A: vector(1)}, camera="door", time=500.0)
    two = gallery.add_unknown(photo(2), {A: vector(2)}, camera="yard", time=400.0, group=one.group)
    clock.now = 600.0
    three = gallery.add_unknown(photo(3), {A: vector(3)})
    assert [each.id for each in gallery.unknowns()] == [two.id, one.id, three.id]
    stored = gallery.unknowns(one.group)[1]
    assert same(stored, photo(1))
    assert (stored.id, stored.group, stored.camera, stored.time) == (one.id, one.group, "door", 500.0)
    assert same(one, stored)
    assert gallery.groups() == [
        Group(three.group, 1, 600.0, 600.0, ("",), False),
        Group(one.group, 2, 400.0, 500.0, ("door", "yard"), False),
    ]
    vectors = gallery.unknown_vectors(A)
    assert vectors.faces.tolist() == [two.id, one.id, three.id]
    assert vectors.groups.tolist() == [one.group, one.group, three.group]
    assert np.array_equal(vectors.embeddings, [vector(2), vector(1), vector(3)])
    with pytest.raises(GalleryModelMismatch, match="3 of 3 faces"):
        gallery.unknown_vectors(B)


def test_no_unknown_faces(gallery):
    assert gallery.unknowns() == gallery.groups() == []
    assert len(gallery.unknown_vectors(A)) == 0


def test_there_is_no_such_group(gallery, photo):
    for ask in (
        lambda: gallery.unknowns(7),
        lambda: gallery.add_unknown(photo(1), {}, group=7),
        lambda: gallery.name_group(7, "Anna"),
        lambda: gallery.ignore_group(7),
        lambda: gallery.forget_group(7),
        lambda: gallery.merge_groups(7, 8),
    ):
        with pytest.raises(NotInGallery, match=r"there is no group-7 in .*: peephole unknowns lists the groups"):
            ask()
    assert gallery.groups() == gallery.people() == []


def test_naming_a_group_enrols_its_faces(gallery, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    first = gallery.add_unknown(photo(2), {A: vector(2)}, time=5.0)
    gallery.add_unknown(photo(3), {A: vector(3)}, time=6.0, group=first.group)
    assert gallery.name_group(first.group, "Anna") == 2
    assert [each.source for each in gallery.photos("Anna")] == ["1.jpg", "2.jpg", "3.jpg"]
    assert gallery.known(A).names == ("Anna",) * 3
    assert gallery.groups() == gallery.unknowns() == []
    other = gallery.add_unknown(photo(4), {A: vector(4)})
    assert gallery.name_group(other.group, "Ben") == 1
    assert names(gallery) == ["Anna", "Ben"]


def test_groups_are_merged_and_made_anew(gallery, photo):
    one, two, three = (gallery.add_unknown(photo(number), {}) for number in range(3))
    gallery.merge_groups(one.group, two.group)
    assert {group.id: group.faces for group in gallery.groups()} == {two.group: 2, three.group: 1}
    gallery.regroup({one.id: three.group, three.id: two.group})
    assert [each.group for each in gallery.unknowns()] == [three.group, two.group, two.group]
    gallery.add_photo("Anna", photo(9), {})
    with pytest.raises(NotInGallery, match="there is no unknown face 4 "):
        gallery.regroup({one.id: two.group, 4: two.group})
    assert gallery.unknowns()[0].group == three.group


# -- retention --------------------------------------------------------------------------------------------------


def visit(number: float, state: str = "closed") -> VisitRecord:
    return VisitRecord(f"door/{number}", "door", number, number, state)


def test_expire_by_age(gallery, clock, photo, vector):
    for time in (100.0, 200.0, 300.0):
        gallery.add_unknown(photo(int(time)), {A: vector(1)}, time=time)
        gallery.save_visit(visit(time))
    gallery.save_visit(visit(50.0, "opened"))
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    clock.now = 1200.0
    assert gallery.expire(max_age=1000.0) == Expired(1, 1)
    assert [each.time for each in gallery.unknowns()] == [200.0, 300.0]
    assert [each.first for each in gallery.visits()] == [50.0, 200.0, 300.0]
    assert len(gallery.groups()) == 2
    assert len(gallery.photos()) == 1
    assert gallery.expire(max_age=1000.0) == Expired(0, 0)


def test_expire_by_number_keeps_the_latest(gallery, photo):
    for time in (300.0, 100.0, 200.0):
        gallery.add_unknown(photo(int(time)), {}, time=time)
        gallery.save_visit(visit(time))
    assert gallery.expire(max_count=2, visits=False) == Expired(1, 0)
    assert [each.time for each in gallery.unknowns()] == [200.0, 300.0]
    assert gallery.expire(max_count=0, unknowns=False) == Expired(0, 3)
    assert gallery.expire(max_count=0) == Expired(2, 0)
    assert gallery.unknowns() == gallery.groups() == gallery.visits() == []


def test_ignored_groups_are_kept_whatever_their_age(gallery, photo, vector):
    group = gallery.add_unknown(photo(1), {A: vector(1)}, time=1.0).group
    gallery.ignore_group(group)
    assert gallery.expire(max_age=0.0, max_count=0) == Expired(0, 0)
    assert gallery.known(A).names == (f"group-{group}",)


def test_expire_without_a_limit_deletes_nothing(gallery, photo):
    gallery.add_unknown(photo(1), {}, time=-1e9)
    assert gallery.expire() == Expired(0, 0)


# -- rules and visits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        Rule("euclidean", 0.5, 0.02, 2e-3, ((0.1, 0.5), (1 / 3, 1e-2), (0.7, 1e-7))),
        Rule("cosine", 0.4, night=Rule("cosine", 0.45, impostors=((0.1, 0.5), (0.7, 1e-7)))),
    ],
)
def test_a_rule_comes_back_as_it_went_in(gallery, rule):
    assert gallery.rule(A) is None
    gallery.set_rule(A, Rule("cosine", 0.9))
    gallery.set_rule(A, rule)
    assert gallery.rule(A) == rule
    assert gallery.rule(B) is None


def test_a_rule_of_before_there_were_nights_holds_at_night_too(gallery):
    gallery.set_rule(A, RULE)
    gallery._db.execute("UPDATE rules SET rule = json_remove(json_set(rule, '$.schema', 1), '$.night')")
    assert gallery.rule(A) == RULE
    assert gallery.rule(A).at_night() == RULE


def test_a_rule_of_another_version_is_refused(gallery):
    gallery.set_rule(A, RULE)
    for change in ("$.schema", "$.more"):
        gallery._db.execute("UPDATE rules SET rule = json_set(rule, ?, 99)", (change,))
        with pytest.raises(GalleryError, match=r"the rule of the model aaaaaaaaaaaa .*: peephole calibrate"):
            gallery.rule(A)
        gallery.set_rule(A, RULE)


def test_a_visit_is_kept_and_updated(gallery, photo):
    gallery.add_photo("Anna", photo(1), {})
    opened = VisitRecord("door/a.jpg", "door", 10.0, 11.0, "opened", ("unknown",), 1, {"people": [{"score": 0.25}]})
    other = VisitRecord("yard/b.jpg", "yard", 5.0, 30.0, "closed", ("unknown", "unknown", "Anna"), 9)
    gallery.save_visit(opened)
    gallery.save_visit(other)
    assert gallery.visits() == [other, opened]
    assert gallery.visits(camera="door") == gallery.visits(camera="door", since=11.0) == [opened]
    assert gallery.visits(since=11.5) == [other]
    closed = VisitRecord("door/a.jpg", "door", 9.0, 15.0, "closed", ("Anna", "unclear"), 4)
    gallery.save_visit(closed)
    assert gallery.visits(camera="door") == [closed]


# -- version ----------------------------------------------------------------------------------------------------


def test_the_version_changes_with_what_faces_are_compared_with(gallery, photo, vector):
    gallery.add_photo("Anna", photo(0), {A: vector(0)})
    seen = gallery.add_unknown(photo(1), {A: vector(1)})
    for change in (
        lambda: gallery.add_photo("Ben", photo(2), {A: vector(2)}),
        lambda: gallery.rename("Ben", "Benno"),
        lambda: gallery.reject("Benno", photo(3), {A: vector(3)}),
        lambda: gallery.ignore("Benno"),
        lambda: gallery.merge("Benno", "Anna"),
        lambda: gallery.put_embedding(1, B, vector(1)),
        lambda: gallery.prune(B),
        lambda: gallery.set_rule(A, RULE),
        lambda: gallery.ignore_group(seen.group),
        lambda: gallery.add_unknown(photo(4), {A: vector(4)}, group=seen.group),
        lambda: gallery.name_group(seen.group, "Carl"),
        lambda: gallery.forget_photo(1),
        lambda: gallery.forget("Carl"),
    ):
        before = gallery.version()
        change()
        assert gallery.version() > before


def test_the_version_stays_with_all_else(gallery, photo, vector):
    gallery.add_photo("Anna", photo(0), {A: vector(0)})
    version = gallery.version()
    gallery.add_unknown(photo(1), {A: vector(1)})
    gallery.save_visit(VisitRecord("door/1", "door", 1.0, 2.0, "closed", ("Anna",)))
    gallery.known(A), gallery.people(), gallery.photos(), gallery.expire(max_count=0)
    with pytest.raises(NotInGallery):
        gallery.forget("Ben")
    assert gallery.version() == version


# -- several processes ------------------------------------------------------------------------------------------

ENROL = """if True:
    import hashlib, io, sys
    import numpy as np
    from PIL import Image
    from peephole.gallery import Gallery, Photo
    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "png")
    with Gallery.open(path) as gallery:
        print("open", flush=True)
        input()
        for number in range(count):
            digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
            photo = Photo(file.getvalue(), None, "none", (0, 0, 9, 9), str(number), digest)
            gallery.add_photo(name, photo, {"a" * 64: np.full(8, number)})
            print(number, flush=True)
"""


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdout.readline() == "open\n"
    process.stdin.write("\n")
    process.stdin.flush()


def test_an_open_gallery_sees_what_another_process_enrols(gallery, path, python):
    assert len(gallery.known(A)) == 0
    version = gallery.version()
    process = python(ENROL, path, "Anna", 1)
    go(process)
    assert process.wait(60) == 0
    assert gallery.version() > version
    assert gallery.known(A).names == ("Anna",)


def test_two_processes_write_at_once_and_lose_nothing(gallery, path, python):
    processes = [python(ENROL, path, name, 60) for name in ("Anna", "Ben")]
    for process in processes:
        go(process)
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", ""]
    assert {person.name: person.photos for person in gallery.people()} == {"Anna": 60, "Ben": 60}
    assert gallery.version() == 120
    gallery.check()


def test_a_killed_process_leaves_whole_photos(gallery, path, python):
    process = python(ENROL, path, "Anna", 100_000)
    go(process)
    for _ in range(20):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    gallery.check()
    assert len(gallery.known(A)) == gallery.people()[0].photos >= last + 1
    gallery.add_photo("Ben", gallery.photos()[0], {A: np.zeros(8)})


def test_a_gallery_that_another_keeps_writing_is_said_to_be_busy(path, photo, monkeypatch):
    monkeypatch.setattr(schema, "FORMAT", replace(schema.FORMAT, timeout=0.05))
    with Gallery.open(path) as one, Gallery.open(path) as two:
        with one._change():
            with pytest.raises(GalleryError, match="is being written by another process"):
                two.add_photo("Anna", photo(1), {})
            assert two.people() == []  # reading goes on
        two.add_photo("Anna", photo(1), {})


def test_readers_see_one_state_while_another_writes(gallery, path, photo, vector):
    """Each photo is stored with its vector: no reader ever finds one without the other."""
    stop = threading.Event()

    def write():
        with Gallery.open(path) as other:
            for number in range(1000):
                other.add_photo("Anna", photo(number), {A: vector(number)})
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = [len(gallery.known(A)) for _ in range(100)]
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)


def test_the_quality_of_another_version_is_left_out(gallery, photo):
    gallery.add_photo("Anna", photo(1, quality=QUALITY), {})
    gallery._db.execute("UPDATE faces SET quality = ?", (json.dumps({"size": 3.0}),))
    assert gallery.photos()[0].quality is None
