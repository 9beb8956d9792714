# One word for each thing that is done here; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
GUEST := tests/guest/build/kvguest.raw
DOUBLE := tests/vcenter/vcenter-double

.DEFAULT_GOAL := help
.PHONY: help setup packages demo demo-down test lint types bench crds docs

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: packages .venv/.synced ## install what is needed, make .venv

packages: .venv/.packages

.venv/.packages: packages.txt
	@missing=$$(grep -v '^#' packages.txt | xargs dpkg-query -W -f='$${Package} $${Status}\n' 2>&1 \
	  | sed -nE 's/^dpkg-query: no packages found matching (.*)/\1/p; s/^([^ ]+) .*(not-installed|config-files).*/\1/p'); \
	if [ -n "$$missing" ]; then \
	  echo "installing:" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p .venv && touch $@

.venv/.synced: .venv/.packages pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	@$(BIN)/uv sync -q --frozen
	@touch $@

test: setup ## everything that proves it works, fast ones first
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pytest

lint: setup ## style and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: setup ## mypy strict
	@$(BIN)/mypy
