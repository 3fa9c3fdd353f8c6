# Every target works from a fresh clone: it makes .venv first where that is missing.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Every test runs on one thread; files share fixtures, so each stays with one worker.
SIDE_BY_SIDE := -n 2 --dist loadfile

.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP) ## Make .venv and install weightlens with everything that development needs

demo: $(STAMP) ## See, strip, merge and measure on the embedded tiny models, into demo/
	@rm -rf demo
	$(BIN)/weightlens demo demo

test: $(STAMP) ## Run the tests
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: $(STAMP) ## Format check, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest $(SIDE_BY_SIDE)

soak: $(STAMP) ## Kill merges at fifty random moments; break every program of HumanEval and MBPP
	WEIGHTLENS_SOAK=1 $(BIN)/pytest -s tests/merge/test_survival.py tests/evaluate/test_programs.py

test-real: $(STAMP) ## Overlap, merge and evaluation on SmolLM2-135M-Instruct, all of it
	WEIGHTLENS_REAL=full $(BIN)/pytest tests/real

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo-models: $(STAMP) ## Retrain the embedded tiny models from fixed seeds (about 40 minutes)
	$(BIN)/python -m weightlens.experiment.tiny.build tiny-models

.PHONY: help install demo test check soak test-real format demo-models
