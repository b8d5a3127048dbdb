"""Whatever a parser is handed, it answers with a value or with its own error, in bounded memory and time.

The long form is led by coverage, see `fuzz`; it takes ten minutes: ``pytest -m soak tests/hostile/test_parsers.py -s``.
"""

import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from mutations import ANYWHERE
from parsers import PARSERS, tried

from peephole.declaration import MOST_BYTES, read_declaration
from peephole.errors import UsageError

INPUTS = 300
SECONDS = {"dat": 160, "messages": 160, "declaration": 80, "onnx": 60, "yunet": 40, "headers": 100}
"""Ten minutes in all."""
BASIS, TIMES = 3_000_000, 300
"""Bytes that a parser may take at any time, and for each byte of input."""


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_takes_what_is_sound(name):
    for seed in PARSERS[name].seeds():
        tried(name, seed)
    assert PARSERS[name].seeds()


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_input_is_a_value_or_the_parsers_own_error(name):
    dice, seeds = random.Random(name), PARSERS[name].seeds()
    tracemalloc.start()
    try:
        for _ in range(INPUTS if max(map(len, seeds)) < 20_000 else INPUTS // 10):
            data = dice.choice(seeds)
            for _ in range(dice.choice((1, 1, 2, 4))):
                if PARSERS[name].mutate and dice.random() < 0.5:
                    data = PARSERS[name].mutate(dice, data)
                elif data:
                    data = dice.choice(ANYWHERE)(dice, data, seeds)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            tried(name, data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < BASIS + TIMES * len(data), data
    finally:
        tracemalloc.stop()


@pytest.mark.soak
@pytest.mark.parametrize("name", PARSERS)
def test_fuzzing_finds_nothing(name, tmp_path):
    pytest.importorskip("atheris", reason="pip install 'peephole[fuzz]'")
    (tmp_path / "corpus").mkdir()
    program = str(Path(__file__).with_name("fuzz.py"))
    options = [f"-max_total_time={SECONDS[name]}", f"-artifact_prefix={tmp_path}/", "-seed=1"]
    command = [sys.executable, program, name, *options, str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(re.findall(r"stat::(\w+): +(\d+)", done.stderr))
    print(f"\n{name}: {found}")
    assert int(found["number_of_executed_units"]) > 500
    assert int(found["new_units_added"]) > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mean = " + "[" * 20_000, "cannot be read as a declaration"),
        ("#" * (MOST_BYTES + 1), f"more than {MOST_BYTES} bytes"),
        ("side = 112\nmean = 1" + "0" * 400 + '\nscale = 1\ncolor = "rgb"\nsimilarity = "cosine"', "mean must be"),
        ("side = " + "9" * 10_000, "cannot be read as a declaration"),
    ],
    ids=["deep", "long", "large", "larger"],
)
def test_a_declaration_has_bounds(tmp_path, text, words):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=words) as raised:
        read_declaration(tmp_path / "mine.toml")
    assert len(str(raised.value)) < 500
