PYTHON ?= python3
BIN := .venv/bin
# A process for each processor, but few, because each of them loads torch; the tests of a file run in one.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.PHONY: install lab test test-fast scoring-only check format docs bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("oddkind needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make install PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

lab: install
	$(BIN)/oddkind lab

test: check scoring-only
	$(BIN)/pytest $(PARALLEL)

# The wheel without extras, in an environment of its own, decides as torch does.
scoring-only: install .venv-scoring/.installed
	rm -rf dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	.venv-scoring/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/oddkind-*.whl
	$(BIN)/python scripts/scoring_only.py .venv-scoring/bin/python

.venv-scoring/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-scoring
	.venv-scoring/bin/pip install --quiet --disable-pip-version-check .
	@touch $@

test-fast: install
	$(BIN)/pytest $(PARALLEL) -m 'not slow'

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: install
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .venv-scoring dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis runs
