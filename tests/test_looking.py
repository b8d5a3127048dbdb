import hashlib

import numpy as np
import pytest

from peephole.enrolment import photo_of
from peephole.errors import FrameNotFound
from peephole.frame import read
from peephole.looking import InProcess
from peephole.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(profile="classic")


@pytest.mark.parametrize("keep", [True, False])
def test_a_frame_is_drawn_on_and_cut_up_whether_it_was_kept_or_not(pipeline, eileen_file, tmp_path, keep):
    file = tmp_path / "a.png"
    file.write_bytes(eileen_file.read_bytes())
    with InProcess(pipeline, keep=keep) as looking:
        analysis = looking.analyse(str(file), embed=True)
        assert analysis.timings_ms.keys() == pipeline.analyse(file, embed=True).timings_ms.keys()
        photo = looking.photo(str(file), analysis, analysis.faces[0])
        assert photo.crop == photo_of(read(file), analysis.faces[0]).crop
        assert photo.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(tmp_path / "gone.png")
        if keep:
            assert looking.draw(str(file), analysis, tmp_path / "drawn.jpg") is None
            assert read(tmp_path / "drawn.jpg").size == (512, 512)
            assert "No such file" in looking.draw(str(file), analysis, tmp_path / "nowhere" / "drawn.jpg")
        else:
            with pytest.raises(FrameNotFound):
                looking.draw(str(file), analysis, tmp_path / "drawn.jpg")


def test_bytes_have_the_name_that_they_are_given(pipeline, eileen_file):
    looking = InProcess(pipeline)
    data = eileen_file.read_bytes()
    named, alone = looking.analyse(data, name="-"), pipeline.analyse(data)
    assert (named.source, looking.analyse(data).source) == ("-", "bytes")
    np.testing.assert_array_equal(named.faces.boxes, alone.faces.boxes)
    assert looking.recognizer.name == "resnet"
