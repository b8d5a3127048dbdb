"""Mutated pictures through a real worker: each is looked at or has one named error, and nothing else happens.

The long form, 20,000 of them, prints what it found: ``pytest -m soak tests/hostile/test_pictures.py -s``.
"""

import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from mutations import Mutations, bases

from peephole.errors import FrameError, WorkerError
from peephole.frame import decode
from peephole.memory import peak_of, peak_rss
from peephole.worker.host import Options, WorkerHost

BUDGET = 208 * 2**20
"""Bytes: what the models take, and 50 MB or so beside them."""
DEADLINE = 60.0
HOST = 60e6
"""Bytes that the host may grow by, whatever comes: the pictures are made in its own process, so it is not small."""


@dataclass
class Findings:
    """What came of many pictures."""

    outcomes: defaultdict = field(default_factory=lambda: defaultdict(Counter))
    deaths: list = field(default_factory=list)
    many_lines: list = field(default_factory=list)
    slowest: tuple = (0.0, "")
    worker_peak: int = 0
    host_growth: int = 0
    faces: int = 0

    def told(self) -> str:
        lines = [f"{kind:5} {json.dumps(dict(count.most_common()))}" for kind, count in sorted(self.outcomes.items())]
        every = sum(self.outcomes.values(), Counter())
        lines += [f"all   {json.dumps(dict(every.most_common()))}, {self.faces} faces"]
        lines += [f"slowest {self.slowest[0]:.2f} s: {self.slowest[1]}"]
        lines += [
            f"worker {self.worker_peak / 1e6:.0f} MB of {BUDGET / 1e6:.0f}, host +{self.host_growth / 1e6:.0f} MB"
        ]
        return "\n".join([*lines, *map(str, self.deaths), *map(str, self.many_lines)])


def looked_at(numbers, folder) -> Findings:
    """Every mutant of these numbers through one host, half of them as files and half as bytes."""
    mutations, found = Mutations(), Findings()
    options = Options(detector="yunet", threads=1, memory=BUDGET)
    with WorkerHost(options, deadline=DEADLINE) as host:
        host.ready()
        before = peak_rss()
        for number in numbers:
            mutant = mutations.mutant(number)
            source, path = mutant.data, folder / "picture"
            if number % 2:
                path.write_bytes(mutant.data)
                source = path
            pid, began = host.pid, time.monotonic()
            try:
                analysis = host.analyse(source, embed=True)
                outcome = "looked at"
                found.faces += len(analysis)
            except FrameError as error:
                outcome = error.kind
                if "\n" in str(error) or not str(error):
                    found.many_lines.append((mutant, str(error)))
                if isinstance(error, WorkerError):
                    found.deaths.append((mutant.number, mutant.base, mutant.change, str(error)))
                    (folder / f"{mutant.number}").write_bytes(mutant.data)
            what = f"{mutant.number} {mutant.base} ({mutant.change}): {outcome}"
            found.slowest = max(found.slowest, (time.monotonic() - began, what))
            found.worker_peak = max(found.worker_peak, peak_of(pid))
            found.outcomes[mutant.base.partition(" ")[0]][outcome] += 1
        found.host_growth = peak_rss() - before
        assert host.starts == 1 + len(found.deaths)
    return found


def test_the_sound_ones_are_all_read():
    for name, data in bases().items():
        assert min(decode(data).size) >= 64, name


def test_a_number_is_always_the_same_mutant():
    one, other = Mutations(), Mutations()
    assert [one.mutant(number) for number in range(60)] == [other.mutant(number) for number in range(60)]
    assert len({one.mutant(number).data for number in range(200)}) > 190


@pytest.mark.parametrize(
    "numbers",
    [pytest.param(range(150), id="short"), pytest.param(range(20_000), marks=pytest.mark.soak, id="long")],
)
@pytest.mark.slow
def test_mutated_pictures_are_one_result_or_one_error_each(numbers, tmp_path):
    found = looked_at(numbers, tmp_path)
    print(f"\n{found.told()}")
    assert sum(sum(count.values()) for count in found.outcomes.values()) == len(numbers)
    assert not found.deaths
    assert not found.many_lines
    assert found.slowest[0] < DEADLINE
    for kind, outcomes in found.outcomes.items():
        assert outcomes["looked at"], kind
        assert outcomes["corrupt"], kind
    assert found.faces > len(numbers) / 20
    if sys.platform == "linux":
        assert found.worker_peak <= BUDGET
        assert found.host_growth < HOST
