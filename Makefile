# One verb, the same for people and CI. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
PY := .venv/bin/python
CLUSTER := leadline
CHECKED := $(wildcard operator runtime tests examples hack benchmarks images)
STATIC := format-is-right lint-is-clean types-are-right layers-hold generated-is-current sizes-are-fair
FAST := tests/unit tests/golden tests/property

.PHONY: help
help: ## List what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## The main job on a real cluster; KEEP=1 leaves the cluster
	@$(MAKE) -j3 prepared
	@eval "$$(hack/cluster/env)"; KEEP=$(KEEP) hack/cluster/provide alone $(PY) examples/demo/demo.py

.PHONY: demo-learning
demo-learning: ## A model decays, learns from what came true, and serves better again; ten minutes, KEEP=1 leaves the cluster
	@$(MAKE) -j3 prepared
	@eval "$$(hack/cluster/env)"; KEEP=$(KEEP) hack/cluster/provide alone $(PY) examples/learning/demo.py

.PHONY: test
test: ## All test suites, cluster included; ends with pytest's closing line
	@$(MAKE) -j3 static prepared stores
	@hack/cluster/provide alone hack/test

.PHONY: test-torch
test-torch: venv ## PyTorch's side of leadline package, in a venv of its own: 6 GB, not in CI
	@hack/test-torch

.PHONY: check
check: venv ## Format, lint, types, layers, generated files, sizes, fast tests; under a minute
	@$(MAKE) -j2 --output-sync=target fast static

.PHONY: fast
fast: venv
	@$(PY) -m pytest -q -n auto $(FAST)

.PHONY: venv
venv: .venv/made ## .venv with everything at pinned versions; installs python3-venv on a Debian that lacks it

.venv/made: pyproject.toml requirements/dev.txt requirements/judges.txt hack/venv
	@PYTHON=$(PYTHON) hack/venv
	@touch $@

.PHONY: cluster-up
cluster-up: ## Start the local cluster and load the images, or bring a running one up to date
	@$(MAKE) -j3 prepared
	@eval "$$(hack/cluster/env)"; hack/cluster/kind get clusters 2>/dev/null | grep -qxF $(CLUSTER) || \
		hack/cluster/kind create cluster --name $(CLUSTER) --kubeconfig "$$KUBECONFIG"
	@hack/cluster/provide load
	@echo 'eval "$$(hack/cluster/env)" sets KUBECONFIG and more; make cluster-down ends the cluster'

.PHONY: cluster-down
cluster-down: ## End the local cluster and leave nothing of it
	@hack/cluster/kind delete cluster --name $(CLUSTER) --kubeconfig "$${LEADLINE_CACHE:-$$HOME/.cache/leadline}/kubeconfig"

.PHONY: images
images: venv ## Build the images of operator, runtime and S3 server; prints their names
	@hack/cluster/provide packages
	@hack/cluster/provide build operator runtime s3

.PHONY: load
load: venv ## Load the images into the running cluster
	@hack/cluster/provide load

.PHONY: generate
generate: venv ## Write generated files again: the CRD, the page of reasons, gRPC's messages
	@$(PY) -m leadline_api.crd --write crds/modeldeployments.leadline.dev.yaml charts/leadline/crds/modeldeployments.leadline.dev.yaml
	@$(PY) -m leadline_api.reasons
	@$(PY) hack/protocol.py

.PHONY: requirements
requirements: venv ## Pin in requirements/ what .venv has now
	@$(PY) hack/requirements.py

.PHONY: bench-serving
bench-serving: venv ## The runtime beside other model servers, a bare echo and raw onnxruntime; ARGS='--quick' etc.; 25 minutes
	@cd benchmarks && ../$(PY) -m serving $(ARGS)

.PHONY: bench-decisions
bench-decisions: venv ## False rollbacks and delays of the engine, beside the rules of others; a few minutes
	@$(PY) benchmarks/decisions.py

.PHONY: bench-ledger
bench-ledger: venv ## Durable outcomes per second of the ledger beside bare SQLite
	@$(PY) benchmarks/ledger.py

.PHONY: bench-exactly-once
bench-exactly-once: venv ## 200,000 outcomes while ledgers, their database and who reads them are killed 50 times
	@$(PY) benchmarks/exactly_once.py $(ARGS)

.PHONY: bench-ledger-size
bench-ledger-size: venv ## A ledger with ten million outcomes beside itself with fewer; ten minutes
	@$(PY) benchmarks/ten_million.py $(ARGS)

.PHONY: bench-outcomes
bench-outcomes: bench-ledger bench-exactly-once ## Durable outcomes, exactly once, folded and judged; some minutes
	@$(PY) benchmarks/outcomes.py $(ARGS)

.PHONY: bench-receipts
bench-receipts: venv ## What receipts and copies cost the runtime, side by side in one run
	@$(PY) benchmarks/receipts.py

.PHONY: bench-pressure
bench-pressure: venv ## Killed workers, drains, overload, a thousand misbehaving clients: who fails, and for how long
	@$(PY) benchmarks/pressure.py

.PHONY: bench-rollback
bench-rollback: ## Twenty rollbacks on a real cluster: from the deciding outcome to the worse model's last answer
	@$(MAKE) -j3 prepared
	@eval "$$(hack/cluster/env)"; KEEP=$(KEEP) hack/cluster/provide alone $(PY) benchmarks/rollback.py

.PHONY: format
format: venv ## Format all Python
	@$(PY) -m ruff format -q $(CHECKED) hack/cluster/kind hack/cluster/provide

# What demo and cluster suite need, made at the same time where make may (-j): commands from Go modules, and images.
.PHONY: prepared packages commands stores product-images
prepared: commands product-images
packages: venv
	@hack/cluster/provide packages
commands: packages
	@hack/cluster/provide build cluster helm h2spec kstatus s3 >/dev/null
# Registries, buckets and hubs of others, from which the wiring suite fetches models; it builds what is missing itself.
stores: commands
	@hack/cluster/provide packages --databases
	@hack/cluster/provide build stores >/dev/null
product-images: packages
	@hack/cluster/provide build operator runtime >/dev/null

.PHONY: static $(STATIC)
static: $(STATIC)
format-is-right: venv
	@$(PY) -m ruff format -q --check $(CHECKED) hack/cluster/kind hack/cluster/provide
lint-is-clean: venv
	@$(PY) -m ruff check -q $(CHECKED) hack/cluster/kind hack/cluster/provide
types-are-right: venv
	@$(PY) -m mypy --no-error-summary
	@MYPYPATH=hack/cluster $(PY) -m mypy --no-error-summary --strict -p localkind
	@# Benchmarks have few types; names that are not there and arguments that do not fit are found all the same.
	@MYPYPATH=benchmarks:operator:runtime:. $(PY) -m mypy --no-error-summary --config-file= --explicit-package-bases \
		--ignore-missing-imports --follow-imports=silent --check-untyped-defs --disable-error-code=arg-type \
		--disable-error-code=assignment --disable-error-code=index --disable-error-code=no-redef \
		--disable-error-code=operator --disable-error-code=union-attr --disable-error-code=var-annotated benchmarks
layers-hold: venv
	@said=$$(.venv/bin/lint-imports 2>&1) || { echo "$$said"; exit 1; }
generated-is-current: venv
	@$(PY) -m leadline_api.crd --check crds/modeldeployments.leadline.dev.yaml charts/leadline/crds/modeldeployments.leadline.dev.yaml
	@$(PY) hack/requirements.py --check
	@$(PY) hack/protocol.py --check
sizes-are-fair: venv
	@$(PY) hack/sizes.py
