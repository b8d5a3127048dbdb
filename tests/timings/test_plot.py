import builtins
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from test_summary import columns
from timed import ONE, OTHER, record

from peephole.errors import UsageError
from peephole.timings.plot import Buckets, check, drawn, plot


@pytest.fixture(scope="module")
def found():
    other = ONE.models | {"sface": OTHER}
    return columns(
        *(
            record(
                60.0 * number,
                stages=ONE.stages | {"embed": 25.0 + 40 * (number > 80)},
                models=other if number > 80 else ONE.models,
            )
            for number in range(160)
        )
    )


def test_models_changes_and_stages_are_named_on_it(found):
    above, below = drawn(found).axes
    detector, recognizer = ONE.model.split()
    assert [text.get_text() for text in above.texts] == [f"sface-{OTHER[:8]}"]
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        f"{detector} {recognizer}",
        f"{detector} sface-{OTHER[:8]}",
    ]
    assert [text.get_text() for text in below.get_legend().get_texts()] == [
        *("all others", "embed", "detect.tail", "detect.head", "detect, the rest", "decode"),
    ]
    assert above.get_ylim()[0] == 0
    assert below.get_ylim() == (0, 100)


def test_shares_add_up(found):
    _, below = drawn(found).axes
    tops = [patch.get_data() for patch in below.patches]
    assert tops[-1].values == pytest.approx(np.full(20, 100.0))
    for low, high in pairwise(tops):
        assert high.baseline == pytest.approx(low.values)


def test_a_png(found, tmp_path):
    plot(found, tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_an_svg_that_is_the_same_each_time(found, tmp_path):
    plot(found, tmp_path / "t.svg")
    plot(found, tmp_path / "u.SVG")
    assert ET.parse(tmp_path / "t.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "t.svg").read_bytes() == (tmp_path / "u.SVG").read_bytes()


def test_a_page_that_needs_nothing_else(found, tmp_path):
    plot(found, tmp_path / "t.html", title="Timings of <b>.jsonl & more")
    page = (tmp_path / "t.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 1
    assert "<title>Timings of &lt;b&gt;.jsonl &amp; more</title>" in page
    assert f"<td>{ONE.model}</td><td>detect.head</td><td>81</td><td>35.2</td>" in page
    assert not re.search(r"<script|<link|<img|@import|src=|url\((?!#)", page)
    assert not re.search(r'(?:href|src)="(?!#)', page)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_frames_or_all_at_once(tmp_path, count):
    plot(columns(*(record(0.0) for _ in range(count))), tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_frames_without_any_time(tmp_path):
    plot(columns(record(stages={}), record(1, stages={"decode": 0.0})), tmp_path / "t.png")


def test_gaps_have_no_values():
    buckets = Buckets.of(np.array([0.0] * 20 + [100.0] * 20))
    values = np.arange(40.0)
    low, high = buckets.percentiles(values, np.ones(40, bool), (0, 100))
    assert (low[0], high[0], low[-1], high[-1]) == (0, 19, 20, 39)
    assert np.isnan(low[1:-1]).all()
    assert buckets.sums(np.where(values < 1, np.nan, values)).tolist() == [190, 0, 0, 0, 590]


@pytest.mark.parametrize("name", ["t.pdf", "t", "png"])
def test_other_kinds_of_files(found, tmp_path, name):
    with pytest.raises(UsageError, match=r"ends with \.png, \.svg or \.html"):
        plot(found, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written(found, tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        plot(found, tmp_path / "nowhere" / "t.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'peephole\[plot\]'"):
        check("t.png")
