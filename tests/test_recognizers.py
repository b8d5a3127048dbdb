import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from networks import DECLARATION, DIMENSIONS, SIDE, computed, network, write
from peephole.align import ARCFACE
from peephole.cli import main
from peephole.errors import ModelDamaged, ModelNotFound, UsageError
from peephole.models import folded, store
from peephole.pipeline import Pipeline
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
    with pytest.raises(UsageError, match=r"'arcface'.*sface, resnet, dlib-resnet, or onnx:FILE"):
        open_recognizer("arcface")


# -- SFace and recognizers of the user's own ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_chips(eileen, grace):
    noise = np.random.default_rng(3).integers(0, 256, (2, 112, 112, 3), np.uint8)
    return np.concatenate([noise, eileen.pixels[None, 60:172, 160:272], grace.pixels[None, 160:272, 220:332]])


@pytest.fixture(scope="module")
def sface():
    return open_recognizer("sface")


def test_sface_gives_unit_vectors(sface, small_chips):
    vectors = sface.embed(small_chips)
    assert vectors.shape == (4, sface.dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_sface_takes_rgb_as_opencv_has_it(sface, small_chips, tmp_path):
    cv2 = pytest.importorskip("cv2")
    plain = tmp_path / "plain.onnx"  # OpenCV, too, refuses the published file's inputs
    plain.write_bytes(folded.read(store.locate(store.SFACE).read_bytes()).SerializeToString())
    theirs = cv2.FaceRecognizerSF.create(str(plain), "")
    for chip, ours in zip(small_chips, sface.embed(small_chips), strict=True):
        vector = theirs.feature(np.ascontiguousarray(chip[:, :, ::-1]))[0]
        assert ours @ (vector / np.linalg.norm(vector)) > 1 - 1e-4


def test_a_batch_gives_what_single_chips_give_with_sface(sface, small_chips):
    single = np.concatenate([sface.embed(chip[None]) for chip in small_chips])
    np.testing.assert_array_equal(sface.embed(small_chips), single)


def test_sface_from_a_file_is_the_same(sface, small_chips, tmp_path):
    path = tmp_path / "copy.onnx"
    path.write_bytes(store.locate(store.SFACE).read_bytes())
    copy = open_recognizer(f"sface:{path}")
    assert copy.model_id == sface.model_id == store.SFACE.sha256
    np.testing.assert_array_equal(copy.embed(small_chips), sface.embed(small_chips))


@pytest.mark.parametrize("name", ["sface", "resnet"])
def test_recognizers_say_what_they_are(name):
    recognizer = open_recognizer(name)
    assert recognizer.name == name
    assert recognizer.model_id == recognizer.models[name]
    assert recognizer.rule.similarity == recognizer.similarity
    assert recognizer.template.shape == (5, 2)


def cosine(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_recognizer_of_ones_own(tmp_path, rng):
    recognizer = open_recognizer(f"onnx:{write(tmp_path)}")
    chips = rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    wanted = cosine(computed(chips, (127.5,) * 3, (1 / 128,) * 3))
    np.testing.assert_allclose(recognizer.embed(chips), wanted, atol=1e-5)
    assert recognizer.embed(chips[:0]).shape == (0, DIMENSIONS)
    assert recognizer.dimensions == DIMENSIONS
    assert (recognizer.name, recognizer.side, recognizer.similarity, recognizer.landmarks) == (
        "mine",
        SIDE,
        "cosine",
        "arcface",
    )
    np.testing.assert_allclose(recognizer.template, ARCFACE * SIDE / 112)


def test_euclidean_vectors_keep_their_length(tmp_path, rng):
    declaration = DECLARATION.replace('"cosine"', '"euclidean"\nthreshold = 1.25')
    recognizer = open_recognizer(f"onnx:{write(tmp_path, declaration=declaration)}")
    chips = rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_allclose(recognizer.embed(chips), computed(chips, (127.5,) * 3, (1 / 128,) * 3), rtol=1e-4)
    assert recognizer.threshold == 1.25
    assert recognizer.rule.threshold == -0.25


def test_another_input_makes_another_model(tmp_path):
    folders = [tmp_path / str(index) for index in range(3)]
    for folder in folders:
        folder.mkdir()
    texts = [DECLARATION, DECLARATION.replace("127.5", "0"), DECLARATION + "threshold = 0.5\n"]
    one, other, same = (
        open_recognizer(f"onnx:{write(folder, declaration=text)}").model_id
        for folder, text in zip(folders, texts, strict=True)
    )
    assert one == same != other
    assert len(one) == 64


@pytest.mark.parametrize(
    ("model", "declaration", "error", "said"),
    [
        (None, None, UsageError, r"there is no .*mine\.toml"),
        (None, DECLARATION + "colour = 1", UsageError, "no key 'colour'; there are side"),
        (b"not ONNX", DECLARATION, ModelDamaged, "no ONNX file"),
        (b"", DECLARATION, ModelDamaged, "no ONNX file"),
        (network(side=20), DECLARATION, ModelDamaged, "1x3x20x20, not a float picture of 1x3x16x16"),
        (network(), DECLARATION + "dimensions = 9", ModelDamaged, "vectors of 8 numbers; 9 were declared"),
        (network(output="data"), DECLARATION, ModelDamaged, "gives .* no vector"),
    ],
    ids=["no-declaration", "unknown-key", "text", "empty", "other-size", "other-dimensions", "no-vector"],
)
def test_what_is_no_recognizer_is_refused(model, declaration, error, said, tmp_path):
    with pytest.raises(error, match=said):
        open_recognizer(f"onnx:{write(tmp_path, model, declaration)}")


def test_a_network_that_gives_no_numbers_is_refused(tmp_path):
    declaration = re.sub("mean = .*", "mean = 1e29", DECLARATION.replace("scale = 0.0078125", "scale = 1e29"))
    with pytest.raises(ModelDamaged, match="gives no numbers"):
        open_recognizer(f"onnx:{write(tmp_path, declaration=declaration)}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelNotFound, match=r"no file .*nowhere\.onnx"):
        open_recognizer(f"onnx:{tmp_path / 'nowhere.onnx'}")
    with pytest.raises(ModelNotFound, match=r"no file .*nowhere\.onnx"):
        open_recognizer(f"sface:{tmp_path / 'nowhere.onnx'}")


@pytest.mark.parametrize("name", ["", "onnx", "onnx:", "resnet:x.dat", "SFACE", "arcface:x.onnx"])
def test_names_that_are_none(name):
    with pytest.raises(UsageError, match="there is no recognizer"):
        open_recognizer(name)


# -- the worked example of docs/models.md ---------------------------------------------------------------------------


def test_the_worked_example_of_the_docs(eileen_file, tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    file = tmp_path / "face_recognition_sface_2021dec.onnx"
    # what `peephole models fetch sface-float` would bring but for the rounding: the same network in float32
    file.write_bytes(folded.read(store.locate(store.SFACE).read_bytes()).SerializeToString())
    declaration = re.search(rf"`{file.stem}\.toml`:\n\n```toml\n(.*?)```", page, re.DOTALL)[1]
    file.with_suffix(".toml").write_text(declaration)
    (line,) = re.findall(r"^    (peephole embed .* photo\.jpg)$", page, re.MULTILINE)
    _, *arguments = line.replace("/path/", f"{tmp_path}/").replace("photo.jpg", str(eileen_file)).split()
    done = CliRunner().invoke(main, [*arguments, "--jsonl"])
    assert done.exit_code == 0
    (face,) = json.loads(done.stdout)["faces"]
    (wanted,) = Pipeline("yunet", "sface").analyse(eileen_file, embed=True).faces.embeddings
    np.testing.assert_allclose(face["embedding"], wanted, atol=1e-5)
