# `make demo` and `make test` each do everything on a fresh machine that has Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup system demo test test-slow test-lowest test-pythons lint format bench figures notebooks clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# A program and the packages it comes with: a browser to test the report in, a Slurm to test extraction as jobs.
# Root gets them from apt; where they cannot be had, the tests that need them skip and say so.
SYSTEM := chromedriver:chromium,chromium-driver,fonts-dejavu-core slurmctld:slurm-wlm,munge

system:
	@for need in $(SYSTEM); do \
	  program=$${need%%:*}; packages=$$(echo "$${need#*:}" | tr , ' '); \
	  if command -v $$program >/dev/null; then continue; fi; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null 2>&1 \
	    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages >/dev/null 2>&1; \
	  then continue; fi; \
	  echo "not installed: $$packages; tests that need $$program are skipped"; \
	done

demo: setup
	$(BIN)/geodiag demo --out demo

test: setup system
	$(BIN)/python -m pytest -n 2 --dist loadscope

test-slow: setup
	$(BIN)/python -m pytest -m slow --timeout=3600

# The oldest versions that pyproject.toml allows of everything but torch; their own warnings are not ours.
LOWEST := .venv-lowest
TOOLS := beartype hypothesis pytest pytest-timeout pytest-xdist

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -W default -p no:cacheprovider tests/runs tests/store tests/signals tests/test_api.py

$(LOWEST)/.installed: pyproject.toml constraints.txt $(STAMP)
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	grep '^torch==' constraints.txt > $(LOWEST)/torch.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(LOWEST)/torch.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -c $(LOWEST)/torch.txt -e '.[models,remote]'
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TOOLS)
	@touch $@

# Other Pythons, where they are found: the wheel installs, and reads a store.
test-pythons:
	.ci/pythons 3.12 3.13

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/deptry geodiag

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
	rm -rf demo bench-out .venv-lowest .pytest_cache .mypy_cache .ruff_cache
