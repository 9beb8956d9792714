# One word for each thing that is done here; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
GUEST := tests/guest/build/kvguest.raw
DOUBLE := tests/vcenter/vcenter-double
NATIVE := converters/_native.abi3.so

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test fuzz test-guests lint types bench crds manifests image setup-cluster test-cluster docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: .venv/.synced $(NATIVE) $(DOUBLE) $(if $(wildcard tests/guest/build_guest.py),$(GUEST)) ## packages, .venv, the vCenter double, the test guest

.venv/.packages: packages.txt
	@missing=$$(grep -v '^#' packages.txt | xargs dpkg-query -W -f='$${Package} $${Status}\n' 2>&1 \
	  | sed -nE 's/^dpkg-query: no packages found matching (.*)/\1/p; s/^([^ ]+) .*(not-installed|config-files).*/\1/p'); \
	if [ -n "$$missing" ]; then \
	  echo "installing Debian packages:" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p .venv && touch $@

.venv/.synced: .venv/.packages pyproject.toml uv.lock
	@echo "making .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	@$(BIN)/uv sync -q --frozen
	@touch $@

# Optional: less CPU for disk conversion. Without Rust, or offline, Python does the same work.
$(NATIVE): $(wildcard converters/native/Cargo.* converters/native/src/*.rs)
	@if command -v cargo >/dev/null; then \
	  echo "building the native core of converters"; \
	  (cd converters/native && cargo build -q --release --locked) \
	    && cp converters/native/target/release/libconverters_native.so $@.new && mv $@.new $@ \
	    || echo "the native core was not built: Python does its work"; \
	fi

$(DOUBLE): $(wildcard tests/vcenter/*.go) tests/vcenter/go.mod
	@echo "building the vCenter double (1-2 minutes the first time)"
	@cd tests/vcenter && go build -o vcenter-double .

$(GUEST): tests/guest/build_guest.py | .venv/.packages
	@echo "building the test guest"
	@mkdir -p $(@D) && $(PYTHON) tests/guest/build_guest.py disk --out $@ > $(@D)/build.log 2>&1 || { tail -20 $(@D)/build.log; exit 1; }

demo: setup ## a VM leaves a (simulated) vCenter and boots here
	@$(BIN)/python examples/demo.py

demo-down: ## take away everything that the demo made
	@test ! -x $(BIN)/python || $(BIN)/python examples/demo.py --down

test: setup ## everything that proves it works, fast ones first
	@$(BIN)/pytest

FUZZ ?= 20
fuzz: setup ## properties with many random inputs (FUZZ=20 times the usual count)
	@MTV_FUZZ=$(FUZZ) $(BIN)/pytest -m hypothesis --timeout=0

test-guests: setup ## guests as on VMware, adapted and booted (minutes each)
	@missing=$$(grep -v '^#' packages-guests.txt | xargs dpkg-query -W -f='$${Status} $${Package}\n' 2>&1 \
	  | sed -nE 's/^dpkg-query: no packages found matching (.*)/\1/p; s/^.*(not-installed|config-files) (.*)/\2/p'); \
	test -z "$$missing" || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
	@$(BIN)/pytest -m guests

lint: .venv/.synced ## style and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: .venv/.synced ## mypy strict
	@$(BIN)/mypy

bench: setup ## measure the hot paths against their peers
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

crds: .venv/.synced ## write operator/manifests/crds from mtv/api
	@$(BIN)/python -m mtv.api.schema

manifests: crds ## write operator/manifests/mtv.yaml and the Helm chart
	@$(BIN)/python -m mtv_operator.installation.chart

IMAGE ?= mtv:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

image: .venv/.synced .venv/.packages-cluster ## build the image of all components, into build/mtv-image.tar
	@operator/images/build.sh $(IMAGE) build/mtv-image.tar

.venv/.packages-cluster: packages-cluster.txt
	@missing=$$(grep -v '^#' packages-cluster.txt | xargs dpkg-query -W -f='$${Package} $${Status}\n' 2>&1 \
	  | sed -nE 's/^dpkg-query: no packages found matching (.*)/\1/p; s/^([^ ]+) .*(not-installed|config-files).*/\1/p'); \
	if [ -n "$$missing" ]; then \
	  echo "installing Debian packages:" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@mkdir -p .venv && touch $@

setup-cluster: .venv/.packages-cluster ## Kubernetes from Go modules (20 minutes the first time)
	@tests/cluster/build.sh

test-cluster: setup setup-cluster ## the stories on a real Kubernetes, made here and taken down
	@operator/images/build.sh mtv.test/mtv:test build/mtv-image.tar
	@$(PYTHON) tests/cluster/cluster.py up --nodes 2
	@$(PYTHON) tests/cluster/cluster.py load build/mtv-image.tar
	@MTV_TEST_CLUSTER=1 $(BIN)/pytest tests/cluster; status=$$?; \
	$(PYTHON) tests/cluster/cluster.py down; exit $$status

docs: .venv/.synced ## write docs/reference from the code
	@$(BIN)/python docs/generate.py
