"""A check's failure is a finding, and nobody's name is in it."""

import pytest

from peephole.doctor.findings import Check, Finding, survived, without_home, worst
from peephole.errors import ModelNotFound


def failing(error):
    yield Finding("first", "ok", "fine")
    raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/proc/kmsg"), "not known: /proc/kmsg: Permission denied"),
        (OSError("odd"), "not known: OSError: odd"),
        (KeyError("MemTotal"), "not known: KeyError: 'MemTotal'"),
        (ModelNotFound("no such model"), "not known: no such model"),
        (ZeroDivisionError(), "not known: ZeroDivisionError"),
        (ImportError("a\nb"), "not known: ImportError: a"),
    ],
)
def test_a_check_that_fails_is_a_note_and_what_it_has_found_stays(error, words):
    found = list(survived(Check("storage", "it", lambda: failing(error))))
    assert [(each.name, each.state, each.section) for each in found] == [
        ("first", "ok", "storage"),
        ("it", "note", "storage"),
    ]
    assert found[1].summary == words


def test_an_interrupt_is_no_finding():
    with pytest.raises(KeyboardInterrupt):
        list(survived(Check("machine", "it", lambda: failing(KeyboardInterrupt()))))


@pytest.mark.parametrize(
    ("text", "home", "shown"),
    [
        ("/home/ann/x and /home/ann", "/home/ann", "~/x and ~"),
        ("/home/annabel/x", "/home/ann", "/home/annabel/x"),
        ("/mnt/home/ann/x", "/home/ann", "/mnt/home/ann/x"),
        ("A=/home/ann/x,B", "/home/ann/", "A=~/x,B"),
        ("/home/ann.old", "/home/ann", "/home/ann.old"),
        ("/etc", "/", "/etc"),
        ("/etc", "", "/etc"),
        ("/root/x", "/root", "~/x"),
    ],
)
def test_the_home_folder_is_not_named(text, home, shown):
    assert without_home(text, home) == shown


def test_a_home_behind_a_link_is_not_named_either(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to("real")
    text = f"{tmp_path}/home/a {tmp_path.resolve()}/real/b"
    assert without_home(text, str(tmp_path / "home")) == "~/a ~/b"


def test_summary_advice_and_facts_are_all_cleaned():
    finding = Finding("it", "ok", "in /home/ann", ("see /home/ann/x",), {"path": "/home/ann", "n": 3})
    (found,) = survived(Check("work", "it", lambda: [finding]), "/home/ann")
    assert found == Finding("it", "ok", "in ~", ("see ~/x",), {"path": "~", "n": 3}, "work")


def test_the_worst():
    assert worst(["note", "problem", "ok"]) == "problem"
    assert worst([]) == "ok"
