import numpy as np
import pytest

from peephole.errors import UsageError
from peephole.recognizers import DlibResnet, Resnet, open_recognizer
from peephole.sample import drawn_face


@pytest.fixture(scope="module")
def chips(eileen, grace):
    noise = np.random.default_rng(3).integers(0, 256, (2, 150, 150, 3), np.uint8)
    flat = np.zeros((1, 150, 150, 3), np.uint8)
    cuts = [eileen.pixels[40:190, 140:290], grace.pixels[150:300, 200:350], drawn_face()[165:315, 165:315]]
    return np.concatenate([noise, flat, 255 - flat, np.stack(cuts)])


def test_the_same_vectors_as_dlib_on_the_same_chips(chips):
    assert np.abs(Resnet().embed(chips) - DlibResnet().embed(chips)).max() <= 1e-4


def test_a_batch_gives_what_single_chips_give(chips):
    recognizer = Resnet()
    single = np.concatenate([recognizer.embed(chip[None]) for chip in chips])
    np.testing.assert_allclose(recognizer.embed(chips), single, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "dlib-resnet"])
def test_no_chips_give_no_vectors(name):
    assert open_recognizer(name).embed(np.zeros((0, 150, 150, 3), np.uint8)).shape == (0, 128)


def test_an_unknown_recognizer_is_refused_by_name():
    with pytest.raises(UsageError, match=r"'arcface'.*resnet, dlib-resnet"):
        open_recognizer("arcface")
