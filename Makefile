# Everything here works on a fresh machine with python3 and make: the first target that needs it makes .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Where byte code is not to be kept, each of hundreds of processes would compile all of it anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup bench bench-quick verify profile tensorboard gate test test-slow test-pure report lint lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv from the lock file

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "stepbench needs Python 3.11 or newer: set PYTHON to one, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

bench: $(READY) ## Measure, trace and verify the default matrix; leaves results/<run-id>/ and results/latest
	$(BIN)/python -m pytest bench --benchmark-columns=min,mean,median,max,rounds --benchmark-sort=mean $(ARGS)

bench-quick: $(READY) ## A rougher look: three short replicates, no verification, no traces
	$(MAKE) bench ARGS="--stepbench-replicates=3 --stepbench-rounds=3 --stepbench-no-verify --stepbench-no-trace $(ARGS)"

verify: $(READY) ## Verify that the variants converge alike
	$(BIN)/stepbench verify $(ARGS)

profile: $(READY) ## Capture a profiler trace of each variant
	$(BIN)/stepbench profile $(ARGS)

tensorboard: $(READY) ## Show the latest run's traces, curves and tables in TensorBoard
	$(BIN)/stepbench tensorboard $(ARGS)

gate: $(READY) ## Judge whether the working tree is slower than BASE (default: origin/main)
	$(BIN)/stepbench gate --base $(or $(BASE),origin/main) $(ARGS)

test: $(READY) ## Run all tests, three files at a time: they wait a good deal for worker processes
	$(PYTEST) --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(READY) ## Run the tests that take minutes: whole gates, simulations at full size
	$(PYTEST) -m slow $(ARGS)

test-pure: $(READY) ## Run the tests that need no TensorFlow, in seconds
	$(PYTEST) -m "not tensorflow" --numprocesses 2 --dist loadfile $(ARGS)

report: $(READY) ## Show the latest run
	$(BIN)/stepbench report

lint: $(READY) ## Check style, types and the import contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: ## Resolve pyproject.toml anew into requirements.lock
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --upgrade \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	rm -r $(VENV)-lock

clean: ## Remove .venv and what tools left; runs in results/ stay
	rm -rf $(VENV) $(VENV)-lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
