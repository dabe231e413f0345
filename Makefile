# Needs python3 (3.11 or newer) and make; everything else lands in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
# Tests start hundreds of processes: none compiles again what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test check-fast format lint types mypy basedpyright pytest mutants kills bench bench-compare soak clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install the package with its development tools

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wrkflw needs Python 3.11 or newer")'
	@echo "==> setup: $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(STAMP)

demo: setup ## see the library at work
	@$(BIN)/python -m examples.demo

test: setup ## everything that must hold before a commit
	@$(MAKE) --no-print-directory --jobs 2 lint types
	@$(MAKE) --no-print-directory pytest
	@echo "==> all good"

check-fast: setup lint ## the inner loop: no typing tests, no crash tests
	@echo "==> mypy wrkflw"
	@$(BIN)/mypy wrkflw
	@echo "==> pytest, fast tests"
	@$(BIN)/pytest -q -x -m "not crash and not mutant" --ignore=tests/typing

format: setup ## format and sort imports
	@$(BIN)/ruff check --select I --fix --quiet
	@$(BIN)/ruff format

lint: setup
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --check
	@echo "==> ruff check"
	@$(BIN)/ruff check
	@echo "==> lint-imports"
	@$(BIN)/lint-imports --no-logo

types: mypy basedpyright

mypy: setup
	@echo "==> mypy"
	@$(BIN)/mypy

basedpyright: setup
	@echo "==> basedpyright"
	@$(BIN)/basedpyright

pytest: setup
	@echo "==> pytest"
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not mutant"

mutants: setup ## the mistakes made on purpose: each must be found
	@echo "==> pytest, mutants"
	@$(BIN)/pytest -q -n auto -m mutant

kills: setup ## 850 kills more than the tests have, of real processes on one file
	@echo "==> pytest, kills"
	@SOAK=1 SOAK_KILLS=850 $(BIN)/pytest -q tests/crash/test_kill.py

bench: setup ## measure wrkflw beside the raw limit and the installed peers
	@$(BIN)/python -m benchmarks

bench-compare: setup ## fail when a ratio got worse than benchmarks/baseline.json allows
	@$(BIN)/python -m benchmarks --compare

soak: setup ## every layer of proof at its full count, in an hour, and a table of it
	@$(BIN)/python -m tests.soak

clean: ## remove .venv and every cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
