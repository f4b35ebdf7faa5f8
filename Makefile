# make perf   all set-up, then the benchmark on this machine
# make test   all set-up, then our tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: perf test check format bench setup k6 clean

perf: setup
	$(BIN)/pytest -m perf --perf-target=embedded $(ARGS)

# The chain tests come last and alone: they measure, and anything beside them would disturb them.
test: setup check k6
	$(BIN)/pytest -q -n 2 tests/unit tests/plugin $(ARGS)
	$(BIN)/pytest tests/chain $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_tidy.py tests/unit/test_docs.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Prints figures and ratios, each taken in one run; asserts nothing. About ten minutes on a quiet machine.
bench: setup k6
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

k6: setup
	$(BIN)/mojaloop-perf k6

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
