"""After a change of model: every face is embedded from its crop, once, also when killed between."""

import io
import signal

import numpy as np
import pytest
from PIL import Image

from peephole.errors import GalleryModelMismatch
from peephole.gallery import Gallery, reembed

A, B = "a" * 64, "b" * 64


def mean(face):
    with Image.open(io.BytesIO(face.crop)) as image:
        return np.asarray(image.convert("RGB")).mean((0, 1)) / 255


def both(vector):
    """A vector, and one that stands for its colourless twin."""
    return np.stack([vector, -np.asarray(vector)])


def embed(faces):
    return np.stack([both(mean(face)) for face in faces])


@pytest.fixture
def full(gallery, photo, vector):
    """Photos, a correction, unknown and ignored faces, all seen by model A, some by B."""
    for number in range(5):
        gallery.add_photo("Anna", photo(number), {A: both(vector(number))})
    gallery.add_photo("Ben", photo(5), {A: both(vector(5)), B: both([1, 2, 3])})
    gallery.reject("Anna", photo(6), {A: both(vector(6))})
    gallery.add_unknown(photo(7), {A: vector(7)})
    gallery.ignore_group(gallery.add_unknown(photo(8), {A: both(vector(8))}).group)
    return gallery


def test_every_face_gets_the_vector_of_its_crop(full, photo):
    with pytest.raises(GalleryModelMismatch):
        full.known(B)
    assert list(reembed(full, B, embed, batch=3)) == [(0, 8), (3, 8), (6, 8), (8, 8)]
    known = full.known(B)
    wanted = [mean(photo(number)) for number in range(9)]
    wanted[5] = np.array([1, 2, 3])  # was there already
    assert known.names == (*["Anna"] * 5, "Ben", "group-2")
    np.testing.assert_array_equal(known.embeddings, np.float32([*wanted[:6], wanted[8]]))
    np.testing.assert_array_equal(known.twins, -known.embeddings)
    np.testing.assert_array_equal(known.rejected[0].embedding, np.float32(wanted[6]))
    np.testing.assert_array_equal(known.rejected[0].twin, -np.float32(wanted[6]))
    np.testing.assert_array_equal(full.unknown_vectors(B).embeddings, np.float32(wanted[7:]))
    assert full.missing(B) == []
    assert full.missing_count(B) == 0


def test_the_model_before_stays_until_it_is_pruned(full, vector):
    list(reembed(full, B, embed))
    assert full.models() == {A: 9, B: 9}
    assert np.array_equal(full.known(A).embeddings[0], vector(0))
    assert full.prune(A) == 9
    assert full.models() == {B: 9}
    assert len(full.known(B)) == 7
    assert full.prune(A) == 0


def test_nothing_to_do(gallery, full):
    assert list(reembed(full, A, embed)) == [(0, 0)]


def test_photos_of_before_there_were_twins_get_theirs(gallery, photo, vector):
    gallery.add_photo("Anna", photo(1), {A: vector(1)})
    gallery.add_unknown(photo(2), {A: vector(2)})  # nobody is compared with it: it needs none
    gallery.ignore_group(gallery.add_unknown(photo(3), {A: vector(3)}).group)
    assert gallery.known(A).twins is None
    assert gallery.missing_count(A) == gallery.twinless_count(A) == 2
    assert list(reembed(gallery, A, embed)) == [(0, 2), (2, 2)]
    np.testing.assert_array_equal(gallery.known(A).twins, -np.float32([mean(photo(1)), mean(photo(3))]))
    assert gallery.missing_count(A) == gallery.twinless_count(A) == 0
    gallery.add_photo("Ben", photo(4), {A: vector(4, d=3)})  # the vector stands in for the twin
    np.testing.assert_array_equal(gallery.known(A).twins[1], vector(4, d=3))
    gallery.add_unknown(photo(5), {B: vector(5)})
    assert (gallery.missing_count(A), gallery.twinless_count(A)) == (2, 1)


def test_vectors_without_twins_end_it(full):
    with pytest.raises(ValueError, match="twins"):
        list(reembed(full, B, lambda faces: np.ones((len(faces), 3))))
    assert full.missing_count(B) == 8


def test_faces_added_meanwhile_are_embedded_as_well(full, photo, vector):
    progress = reembed(full, B, embed, batch=5)
    assert next(progress) == (0, 8)
    full.add_photo("Carl", photo(20), {A: vector(20)})
    assert list(progress) == [(5, 9), (9, 9)]
    assert "Carl" in full.known(B).names


def test_a_face_deleted_meanwhile_is_passed_over(full):
    def slow(faces):
        if full.people()[0].name == "Anna":
            full.forget("Anna")
        return embed(faces)

    list(reembed(full, B, slow, batch=4))
    assert full.known(B).names == ("Ben", "group-2")
    full.check()


def test_a_crop_that_cannot_be_seen_ends_it_and_nothing_is_passed_over(full):
    def fails(faces):
        if "6.jpg" in [face.source for face in faces]:
            raise ValueError("6.jpg")
        return embed(faces)

    with pytest.raises(ValueError, match=r"6\.jpg"):
        list(reembed(full, B, fails, batch=2))
    assert 0 < full.missing_count(B) < 8
    list(reembed(full, B, embed, batch=2))
    assert full.missing_count(B) == 0


def test_killed_and_begun_again_it_goes_on(full, path, python):
    code = """if True:
        import sys
        import numpy as np
        from peephole.gallery import Gallery, reembed
        def embed(faces):
            return np.full((len(faces), 2, 3), 7.0)
        with Gallery.open(sys.argv[1]) as gallery:
            for done, total in reembed(gallery, "b" * 64, embed, batch=1):
                print(done, total, flush=True)
                if done == 3:
                    input()
    """
    process = python(code, path)
    for done in range(4):
        assert process.stdout.readline() == f"{done} 8\n"
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    with pytest.raises(GalleryModelMismatch, match="4 of 8 faces"):  # the unknown face is not compared with
        full.known(B)
    with Gallery.open(path) as gallery:
        gallery.check()
        assert list(reembed(gallery, B, embed, batch=2)) == [(0, 5), (2, 5), (4, 5), (5, 5)]
        vectors = gallery.known(B).embeddings
    assert (vectors == 7.0).all(1).sum() == 3
