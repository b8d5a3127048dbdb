# The two commands that a new user needs are `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast lint clean

demo: .venv/.demo
	$(BIN)/peephole demo

test: .venv/.test
	$(BIN)/pytest

test-fast: .venv/.test
	$(BIN)/pytest -m "not slow"

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo

$(BIN)/python:
	$(PYTHON) -m venv .venv

# One stamp an extra: installing one leaves the others in place.
.venv/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
