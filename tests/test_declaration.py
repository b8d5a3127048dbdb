"""What a declaration may say, and what is said of one that says something else."""

import re
from pathlib import Path

import numpy as np
import pytest

from networks import DECLARATION
from peephole.align import ARCFACE
from peephole.declaration import read_declaration
from peephole.errors import UsageError
from peephole.models.input import Input


@pytest.fixture
def declare(tmp_path):
    def read(text):
        path = tmp_path / "mine.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_declaration(path)

    return read


def test_what_is_left_out_has_defaults(declare):
    declared = declare(DECLARATION)
    assert declared.input == Input(16, (127.5,) * 3, (0.0078125,) * 3, "rgb")
    np.testing.assert_allclose(declared.template, ARCFACE / 7)
    assert (declared.threshold, declared.rule.threshold, declared.rule.margin) == (0.4, 0.4, 0.03)
    assert declared.dimensions is None


def test_everything_can_be_said(declare):
    declared = declare(
        """
        side = 96
        mean = [104, 117.5, 123]
        scale = [1, 2, 3]
        color = "bgr"
        similarity = "euclidean"
        template = [[30, 40], [60, 40], [45, 55], [35, 70], [55, 70.5]]
        dimensions = 512
        threshold = 1.1
        margin = 0.1
        """
    )
    assert declared.input == Input(96, (104.0, 117.5, 123.0), (1.0, 2.0, 3.0), "bgr")
    assert declared.template.tolist() == [[30, 40], [60, 40], [45, 55], [35, 70], [55, 70.5]]
    assert declared.rule.similarity == "euclidean"
    assert declared.rule.threshold == pytest.approx(-0.1)
    assert (declared.threshold, declared.rule.margin, declared.dimensions) == (1.1, 0.1, 512)


def test_the_template_may_be_named(declare):
    np.testing.assert_array_equal(declare(DECLARATION + 'template = "arcface"').template, declare(DECLARATION).template)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe", "cannot be read as a declaration"),
        ("side = ", "cannot be read as a declaration"),
        ("", "side, mean, scale, color, similarity must be there"),
        (DECLARATION.replace("side = 16", ""), "side must be there"),
        (DECLARATION.replace("cosine", "euclidean"), "threshold must be there"),
        (DECLARATION + "size = 112", "there is no key 'size'; there are side, mean"),
        (DECLARATION.replace("16", "15"), "side must be a whole number from 16 to 1024, not 15"),
        (DECLARATION.replace("16", "16.0"), "side must be a whole number"),
        (DECLARATION.replace("16", "true"), "side must be a whole number"),
        (DECLARATION.replace("127.5", "[1, 2]"), "mean must be a number, or a list of three, not \\[1, 2\\]"),
        (DECLARATION.replace("127.5", "nan"), "mean must be a number"),
        (DECLARATION.replace("127.5", "'x'"), "mean must be a number"),
        (DECLARATION.replace("rgb", "RGB"), "color must be 'rgb' or 'bgr', not 'RGB'"),
        (DECLARATION.replace('"rgb"', "[]"), "color must be"),
        (DECLARATION.replace("cosine", "dot"), "similarity must be 'cosine' or 'euclidean'"),
        (DECLARATION + 'template = "dlib"', "template must be 'arcface', or a list of five"),
        (DECLARATION + "template = [[1, 2], [3]]", "template must be"),
        (DECLARATION + "template = [[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]", "not all the same"),
        (DECLARATION + "dimensions = 1", "dimensions must be a whole number from 2"),
        (DECLARATION + "threshold = inf", "threshold must be a number, not inf"),
        (DECLARATION + "margin = -1", "margin must be a number of at least 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(declare, text, said):
    with pytest.raises(UsageError, match=rf"mine\.toml.*{said}"):
        declare(text)


def test_a_missing_declaration_names_the_docs(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*none\.toml: .*docs/models\.md"):
        read_declaration(tmp_path / "none.toml")


def test_the_examples_of_the_docs_can_be_read(declare):
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert declare(example).input.side == 112
