# `make demo` and `make test` each do everything on a fresh machine that has Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup browser demo test test-slow lint format bench figures notebooks clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The report is tested in a real browser. Where there is none and none can be installed, those tests skip and say so.
browser:
	@if command -v chromedriver >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core) >/dev/null 2>&1 \
	    || echo "no browser could be installed: tests that need one are skipped"; \
	else echo "no chromium and chromedriver: tests that need a browser are skipped"; fi

demo: setup
	$(BIN)/geodiag demo --out demo

test: setup browser
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow --timeout=3600

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks

figures: setup
	$(BIN)/geodiag figures data/lab/store --runs none --out figures/lab
	$(BIN)/geodiag figures --paper --out figures/paper

notebooks: setup
	$(BIN)/python notebooks/run.py

clean:
	rm -rf demo bench-out .pytest_cache .mypy_cache .ruff_cache
