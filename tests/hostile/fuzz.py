"""Fuzz one parser, led by the coverage of its code.

    pip install 'peephole[fuzz]'
    python tests/hostile/fuzz.py NAME [libFuzzer's options] [FOLDER]
    python tests/hostile/fuzz.py dat -max_total_time=120 /tmp/dat

NAME is one of `parsers.PARSERS`; FOLDER, which must be there, gets the inputs that reach new code. Whatever a parser
raises and may not, a hang of 10 s, or a gigabyte of memory ends it, with the input in a file.
"""

from __future__ import annotations

import random
import resource
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
MOST = 2**30
"""Bytes of address space beyond what the program has: a length that is believed shows."""
MODULES = {
    "dat": ["peephole.models.dat", "peephole.models.graphs"],
    "messages": ["peephole.worker.messages", "peephole.worker.values"],
    "declaration": ["peephole.declaration", "tomllib"],
    "onnx": ["peephole.models.folded"],
    "yunet": ["peephole.models.folded", "peephole.models.yunet"],
    "headers": ["peephole.headers", "peephole.frame", "PIL"],
}
"""Whose coverage counts, for each parser; they have to be known before they are imported."""
USUAL = ("-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0")


def main(name: str, *arguments: str) -> None:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    with atheris.instrument_imports(include=MODULES[name]):
        import parsers
    corpus = next((Path(each) for each in arguments if not each.startswith("-")), None)
    for number, seed in enumerate(parsers.PARSERS[name].seeds()):
        parsers.tried(name, seed)  # what it loads takes room, and is no finding
        if corpus:
            (corpus / f"seed{number}").write_bytes(seed)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST, resource.RLIM_INFINITY))

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        dice, mutate = random.Random(seed), parsers.PARSERS[name].mutate
        changed = mutate(dice, data) if mutate and dice.random() < 0.5 else atheris.Mutate(data, most)
        return changed[:most]

    options = [sys.argv[0], *USUAL, *arguments]
    atheris.Setup(options, lambda data: parsers.tried(name, data), custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
