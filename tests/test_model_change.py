import re
from dataclasses import replace

import numpy as np
import pytest

from looks import Fake, faces
from peephole.bench import Configuration, measure
from peephole.bench_pictures import Picture
from peephole.errors import BudgetTooSmall, ModelDamaged, UsageError
from peephole.model_change import Models, compare_models, short, sides
from peephole.timings.compare import Verdict
from sightings import RULE, family

PICTURES = [Picture(f"{number}.jpg", "", (320, 240)) for number in range(4)]
BOTH = (Models("old", "circle", "OLD"), Models("new", "circle", "NEW"))
PEOPLE = family(Ann=[0], Bob=[90])
ANN, BOB, STRANGER = (10, 20, 0, 0.9), (100, 20, 90, 0.8), (200, 20, 200, 0.7)
SAME = {each.name: faces(ANN, BOB) for each in PICTURES}


def change(old=SAME, new=SAME, *, named=True, repeat=60, tolerate=0.05, **special):
    """Measure two fakes and compare them; ``special`` is the new one's."""

    def opened(setup):
        return Fake("old", old, []) if setup.detector == "old" else Fake("new", new, [], **special)

    setups = [Configuration(each.detector, each.recognizer) for each in BOTH]
    knowing = (lambda looking: (PEOPLE, RULE)) if named else None
    done = measure(setups, PICTURES, opened=opened, repeat=repeat, knowing=knowing, room=1e12)
    return compare_models(BOTH, *done.results, tolerate=tolerate, named=named)


def test_nothing_changes():
    found = change()
    assert found.good
    assert found.changed == ()
    assert found.time.total.verdict is Verdict.SAME
    assert found.sentence().startswith("NEW takes the same time as far as can be told (")
    assert found.sentence().endswith(" %), takes as much memory, loses no face, changes no name.")
    assert found.confidence.largest == 0.0
    assert found.score.largest == 0.0


def test_a_slower_model_is_refused_beyond_what_is_tolerated():
    found = change(milliseconds=13.0)
    assert found.time.total.verdict is Verdict.SLOWER
    assert found.slower
    assert not found.good
    assert found.sentence().startswith("NEW is 2")  # 3 of 13 ms that both take
    assert " % slower (" in found.sentence()
    assert change(milliseconds=13.0, tolerate=0.4).good


def test_a_much_slower_one_is_told_as_a_multiple_and_a_faster_one_by_what_it_saves():
    assert re.match(r"NEW takes [78]\.\d times as long \(", change(milliseconds=100.0).sentence())
    faster = change(milliseconds=4.0)
    assert faster.good
    assert " % less time (" in faster.sentence()


def test_lost_faces_and_changed_names_are_counted_told_and_refused():
    new = {**SAME, "1.jpg": faces(ANN), "2.jpg": faces(ANN, (100, 20, 200, 0.8)), "3.jpg": faces(ANN, BOB, STRANGER)}
    found = change(new=new, megabytes=121.0)
    assert not found.good
    assert not found.slower
    assert found.sentence().endswith("takes 21 MB more, loses 1 of 8 faces, finds 1 other face, changes 1 name.")
    lines = found.lines()
    assert "1.jpg: lost Bob, confidence 0.80" in lines
    assert "2.jpg: Bob 1.00 -> unknown -0.34" in lines
    assert "3.jpg: gained unknown, confidence 0.70" in lines
    assert any(line.startswith("faces found") and line.endswith("1 lost, 1 gained") for line in lines)
    assert any(line.split() == ["faces", "named", "8", "6", "1", "renamed"] for line in lines)
    assert found.lines(2)[-1] == "and 1 more"
    assert "1.jpg: lost Bob, confidence 0.80" in found.lines(2)


def test_a_gained_face_alone_is_no_reason_to_refuse():
    assert change(new={**SAME, "3.jpg": faces(ANN, BOB, STRANGER)}).good


def test_without_names_none_is_compared():
    found = change(new={**SAME, "2.jpg": faces(ANN, (100, 20, 200, 0.8))}, named=False)
    assert found.good
    assert found.score is None
    assert "name" not in found.sentence()
    assert not any(line.startswith("faces named") for line in found.lines())


def test_a_picture_that_only_the_new_one_cannot_look_at_is_a_loss():
    found = change(new={**SAME, "1.jpg": BudgetTooSmall("too little", needed=5)})
    assert not found.good
    assert found.sentence().endswith("changes no name, cannot look at 1 picture.")
    assert "1.jpg: cannot be looked at: too little" in found.lines()
    assert found.faces == 6
    assert change(old={**SAME, "1.jpg": BudgetTooSmall("too little", needed=5)}).good


def test_a_model_that_cannot_be_used_is_its_own_error():
    with pytest.raises(ModelDamaged, match="no network"):
        change(start=ModelDamaged("no network"))


def test_too_few_looks_are_said_to_be_too_few():
    found = change(repeat=1)
    assert found.time is None
    assert not found.slower
    assert "was tried too few times" in found.sentence()


def test_the_report_holds_all_of_it():
    new = {**SAME, "1.jpg": faces(ANN)}
    report = change(new=new, megabytes=80.0).to_dict()
    assert not report["good"]
    assert (report["lost"], report["gained"], report["renamed"], report["faces"]) == (1, 0, 0, 8)
    assert report["memory_mb"] == -20.0
    assert report["old"]["looks"] == report["new"]["looks"] == 240
    assert report["old"]["faces"] == 8
    assert report["new"]["named"] == 7
    assert report["time"]["verdict"] == "not distinguishable"
    assert [each["stage"] for each in report["stages"]][:1] == ["decode"]
    assert report["changed"] == [
        {
            "image": "1.jpg",
            "changes": [
                {
                    "kind": "lost",
                    "old": {"box": [100.0, 20.0, 160.0, 90.0], "confidence": 0.8, "name": "Bob", "score": 1.0},
                    "new": None,
                }
            ],
        }
    ]
    assert report["confidence_drift"] == {"count": 7, "median": 0.0, "largest": 0.0}


def test_scores_in_different_units_are_not_compared():
    found = change()
    other = replace(found.new, similarity="euclidean")
    assert compare_models(BOTH, found.old, other).score is None
    analyses = tuple(
        (name, replace(each, plan=replace(each.plan, detector="yunet"))) for name, each in found.new.analyses
    )
    assert compare_models(BOTH, found.old, replace(found.new, analyses=analyses)).confidence is None


# Names of models


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("yunet", "mmod", [("yunet", "sface"), ("mmod", "sface")]),
        ("sface", "resnet", [("yunet", "sface"), ("yunet", "resnet")]),
        ("yunet", "yunet:/a/b.onnx", [("yunet", "sface"), ("yunet:/a/b.onnx", "sface")]),
        ("sface", "onnx:x.onnx", [("yunet", "sface"), ("yunet", "onnx:x.onnx")]),
        ("yunet+sface", "mmod+resnet", [("yunet", "sface"), ("mmod", "resnet")]),
        ("modern", "classic", [("yunet", "sface"), ("mmod", "resnet")]),
        ("mmod+resnet", "yunet", [("mmod", "resnet"), ("yunet", "resnet")]),
        ("yunet+sface", "yunet:a+b.onnx+onnx:c+d.onnx", [("yunet", "sface"), ("yunet:a+b.onnx", "onnx:c+d.onnx")]),
    ],
)
def test_models_and_pairs_by_name(old, new, expected):
    assert [(each.detector, each.recognizer) for each in sides(old, new)] == expected


def test_options_complete_what_neither_names():
    a, b = sides("yunet", "yunet:x.onnx", recognizer="resnet")
    assert (a.recognizer, b.recognizer) == ("resnet", "resnet")
    a, b = sides("sface", "resnet", detector="mmod")
    assert (a.detector, b.detector) == ("mmod", "mmod")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("yunet", "resnet", "two of a kind"),
        ("sface", "mmod", "two of a kind"),
        ("yunet", "yunet", "both are yunet"),
        ("yunet", "yunet+sface", "both are yunet"),
        ("yunet", "ynet", "no model 'ynet'"),
        ("yunet", "yunet+", "no model"),
        ("yunet", "+", "no model"),
        ("", "yunet", "no model ''"),
    ],
)
def test_names_that_make_no_question_are_refused(old, new, reason):
    with pytest.raises(UsageError, match=reason):
        sides(old, new)


def test_files_are_called_by_their_names_unless_both_would_be_called_the_same():
    assert short("yunet:/a/b/c.onnx+onnx:/d/e.onnx") == "yunet:c.onnx+onnx:e.onnx"
    assert [each.name for each in sides("yunet", "yunet:/a/new.onnx")] == ["yunet", "yunet:new.onnx"]
    assert [each.name for each in sides("yunet:/a/x.onnx", "yunet:/b/x.onnx")] == ["yunet:/a/x.onnx", "yunet:/b/x.onnx"]


def test_times_have_quartiles_in_the_table():
    lines = change().lines()
    assert lines[0].split() == ["OLD", "NEW"]
    assert lines[1].startswith("time")
    assert np.isclose(float(lines[1].split()[1]), 13.2, atol=0.3)
