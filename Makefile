# The two commands that a new user needs are `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast lint clean

demo: .venv/.demo
	$(BIN)/peephole demo

test: .venv/.test
	$(BIN)/pytest

test-fast: .venv/.test
	$(BIN)/pytest -m "not slow and not soak"

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found: $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
	@# A half-made one would pass for done the next time.
	$(PYTHON) -m venv .venv || { rm -rf .venv; echo "no virtual environment; Debian: apt install python3-venv" >&2; exit 1; }

# One stamp an extra: installing one leaves the others in place.
.venv/.%: pyproject.toml | $(BIN)/python
	@echo "installing into .venv, about a minute"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
