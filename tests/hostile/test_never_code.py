"""Nothing that Peephole reads can run: no module of it has a way to make code, or objects of any kind, out of bytes."""

import ast
from pathlib import Path

import pytest

import peephole

MODULES = sorted(Path(peephole.__file__).parent.rglob("*.py"))
READERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "torch",
    "yaml",
    "code",
}
"""Modules whose readers run what they read, or make objects of any kind of it."""
CALLS = {"eval", "exec", "compile", "__import__"}


def found_in(source: str) -> list[str]:
    """Each way to run what was read, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, each.name) for each in node.names if each.name.partition(".")[0] in READERS]
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in READERS:
            found.append((node.lineno, node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append((node.lineno, node.func.id))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append((node.lineno, "allow_pickle"))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("np.load", "numpy.load", "np.fromregex"):
            found.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            found.append((node.lineno, "shell"))
    return [f"line {line}: {what}" for line, what in found]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(MODULES[0].parent)))
def test_a_module_runs_nothing_that_it_reads(module):
    assert found_in(module.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import torch.serialization as t",
        "eval(text)",
        "np.load(file)",
        "numpy.lib.format.read_array(file, allow_pickle=True)",
        "subprocess.run(words, shell=True)",
    ],
)
def test_it_would_be_noticed(source):
    assert found_in(f"def one():\n    {source}")
