# The verbs people use. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Else each process that collects tests compiles all of them again, half a minute long.
unexport PYTHONDONTWRITEBYTECODE

# The Python that makes .venv: 3.11 to 3.14, the first of them that is there and works.
PYTHON ?= tools/python.sh
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.setup-done
# Processes that run tests side by side: as many as there are cores; 0 runs them in pytest's own process (for a debugger).
WORKERS ?= auto
# The same for tests that start processes, which wait more than they work.
E2E_WORKERS ?= 4
# The same for tests on engines, each of which has engines of its own.
ENGINE_WORKERS ?= 2
# More arguments for pytest: make test ARGS="-k candles"
ARGS ?=

.PHONY: help setup ui demo test test-e2e test-ui test-loaded mutants test-double test-arango test-engines test-long test-images test-delivery test-gnn gnn-env test-all kafka kube kube-build objects-build
.PHONY: check bench bench-others stream-clients pipelines-tools jupyterhub-env docs images pictures site manifests wheels lock lock-check clean
# The parts of `make check`.
CHECKS := format-check lint types imports versions docs-check manuals-check compatibility alerts yaml dockerfiles manifests-check secrets subjects size duplicates
.PHONY: format $(CHECKS)
# What builds images: buildah, podman or docker; the first of them that is there by default.
BUILDER ?=

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv: pinned dependencies and both packages, editable (again only when these change); and the web UI
	@timeout 60 tools/ui.sh || echo "setup: the web UI is not built, as that failed or takes more than a minute here: make ui; all else works without it"
	@echo "setup: $(VENV) is ready, with $$($(PY) --version)"

$(STAMP): requirements/dev.txt pyproject.toml libs/streamforge_utils/pyproject.toml tools/setup.sh tools/python.sh
	@PYTHON="$(PYTHON)" tools/setup.sh $(VENV)
	@touch $@

ui: ## build the web UI (Node.js 22.18 or newer, else the pinned one is installed into build/)
	@tools/ui.sh

demo: $(STAMP) ## load a day of candles (Binance, or the test exchange) and show the proof
	@$(PY) -m tools.demo

# Property tests with fewer examples; `make test-all` takes as many as they ask for (EXAMPLES=patient).
EXAMPLES ?= fast
# `make check` runs tests/manifests. The plugin that is left out takes a second to load, in each process.
test: $(STAMP) ## run the tests that start no process: a few minutes (ARGS="-k name": some of them)
	@$(PY) -m pytest -m "not bench and not long and not e2e" --ignore=tests/manifests -p no:schemathesis \
		--hypothesis-profile=$(EXAMPLES) -n $(WORKERS) $(ARGS)

test-e2e: $(STAMP) ## run the tests that start processes: workers, managers, exchanges, kills (ARGS="-k name": some of them)
	@$(PY) -m pytest -m "e2e and not bench and not long" --ignore=tests/manifests -n $(E2E_WORKERS) $(ARGS)

test-ui: $(STAMP) ## check the web UI's sources, test its logic, and its screens in a real browser (Debian's chromium, which is installed where it lacks)
	@tools/install_chromium.sh
	@tools/ui.sh
	@tools/ui.sh npm run --silent check
	@tools/ui.sh npm test --silent
	@$(PY) -m pytest tests/ui -n 2 $(ARGS)

# Two folders of these need more than the engines: test-delivery runs them.
OF_DELIVERY := tests/engines/guides tests/engines/jupyterhub
# What is marked `long` is expensive and rarely breaks; docs/testing.md says what it is.
test-engines: $(STAMP) ## run the tests on real engines (Kafka: Java 17, Maven, kcat; Kubernetes: Go 1.26, etcd; S3: Go 1.26); it fails where one cannot start
	@$(PY) -m tests.engines.kafka --fetch
	@$(PY) -m tests.engines.kubernetes --fetch
	@$(PY) -m tests.engines.objects --fetch
	@$(PY) -m pytest tests/engines $(OF_DELIVERY:%=--ignore=%) -n $(ENGINE_WORKERS) $(ARGS)

test-long: $(STAMP) ## run the tests that are expensive and rarely break, most on real engines: every fault on each bus and store, recordings at real speed, random killers
	@$(PY) -m tests.engines.kafka --fetch
	@$(PY) -m tests.engines.kubernetes --fetch
	@env -u ARANGO_URL $(PY) -m pytest tests -m long -n $(ENGINE_WORKERS) $(ARGS)
	@# Apart: of a folder and one within it pytest takes the first alone, and passes over what that does not recurse into.
	@env -u ARANGO_URL $(PY) -m pytest tests/arango tests/engines $(OF_DELIVERY:%=--ignore=%) -m long -n $(ENGINE_WORKERS) $(ARGS)
	@tools/install_chromium.sh
	@tools/ui.sh
	@$(PY) -m pytest tests/ui -m long $(ARGS)

test-double: $(STAMP) ## run the end-to-end, fault and kill tests with the double of ArangoDB as the store (Python alone)
	@env -u ARANGO_URL $(PY) -m pytest tests/arango -m "not bench and not long" -n $(ENGINE_WORKERS) --dist=loadscope $(ARGS)

test-arango: $(STAMP) ## run the store's contract, the lease, the commands and the end-to-end tests on the ArangoDB that ARANGO_URL names
	@test -n "$$ARANGO_URL" || { echo "ARANGO_URL is not set: docs/how-to/arangodb.md tells how to start a server" >&2; exit 2; }
	@$(PY) -m pytest $(addprefix tests/arango/,test_contract.py test_commands.py suites) -m "not bench and not long" -n $(ENGINE_WORKERS) --dist=loadscope $(ARGS)

# STREAMFORGE_IMAGES_DIR=DIR keeps the images in DIR: the next run builds only what has changed.
test-images: $(STAMP) ui ## build every image with buildah on a local Debian, start them, run tests inside (needs root, buildah, mmdebstrap, crun and what test-engines needs)
	@$(PY) -m tests.engines.kafka --fetch
	@$(PY) -m tests.engines.kubernetes --fetch
	@$(PY) -m pytest tests/images -s $(ARGS)

test-delivery: $(STAMP) pipelines-tools jupyterhub-env bench-others stream-clients ## run the tests of pipelines, devcontainer, JupyterHub, monitoring, manuals and others' clients of the archive and the streams (needs root and what test-images needs)
	@$(PY) -m tests.engines.kafka --fetch
	@$(PY) -m tests.engines.kubernetes --fetch
	@$(PY) -m pytest tests/delivery $(OF_DELIVERY) -n $(ENGINE_WORKERS) $(ARGS)

test-gnn: $(STAMP) gnn-env ## run the tests of networks, which need torch, in an environment of its own (Linux: gcc)
	@$(GNN)/bin/python -m pytest tests/gnn -n 2 $(ARGS)

GNN := build/gnn-env
gnn-env: $(GNN)/.done ## install torch, LightGBM and PyTorch Geometric, for a processor alone (about 0.5 GB to download, 1.6 GB on disk)

$(GNN)/.done: requirements/gnn.txt requirements/onnx.txt tools/torch_stubs.py $(STAMP)
	@$(PY) -m venv --clear $(GNN)
	@$(GNN)/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@$(GNN)/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r requirements/onnx.txt
	@# What tests need is found behind it, and the packages themselves in the checkout.
	@purelib='import sysconfig; print(sysconfig.get_path("purelib"))' && found="$$($(GNN)/bin/python -c "$$purelib")" && \
		printf '%s\n' "$$($(PY) -c "$$purelib")" "$(CURDIR)/src" "$(CURDIR)/libs/streamforge_utils/src" > "$$found/tests.pth" && \
		$(GNN)/bin/python tools/torch_stubs.py "$$found"
	@touch $@

test-loaded: $(STAMP) ## run `make test` and `make test-e2e` beside six busy processes (LOOPS=12, VERBS=test: others): none may depend on the machine's speed
	@$(PY) -m tests.busy --loops $(or $(LOOPS),6) -- $(MAKE) $(or $(VERBS),test test-e2e)

mutants: $(STAMP) build/mutants-env/.done ## mutate the code that must not err and see tests fail (ONLY="lease proof": some; ARGS=--living)
	@$(PY) -m tools.mutants $(ONLY) $(ARGS)

build/mutants-env/.done: requirements/mutants.txt $(STAMP)
	@$(PY) -m venv --clear build/mutants-env
	@build/mutants-env/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@# What tests need is found behind it, but not the packages themselves: the mutated ones are imported instead.
	@$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(build/mutants-env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"
	@touch $@

test-all: ## run everything that CI runs, then the longest tests and those of images and delivery
	@$(MAKE) check test EXAMPLES=patient
	@$(MAKE) test-e2e test-ui test-gnn test-double test-engines test-long test-images test-delivery

kafka: $(STAMP) ## run a real Kafka broker on loopback until Ctrl-C (SECURED=1: TLS, a user and ACLs)
	@$(PY) -m tests.engines.kafka $(if $(SECURED),--secured)

kube: $(STAMP) ## run a real Kubernetes cluster on loopback until Ctrl-C; its pods are processes of this machine
	@$(PY) -m tests.engines.kubernetes

kube-build: $(STAMP) ## build that cluster's commands, as `make kube` does the first time (two cores: about ten minutes; ONLY=kubectl: that one)
	@$(PY) -m tests.engines.kubernetes --fetch $(if $(ONLY),--only $(ONLY))

objects-build: $(STAMP) ## build the S3 server of the tests, as `make test-engines` does the first time (two cores: about two minutes)
	@$(PY) -m tests.engines.objects --fetch

check: $(STAMP) ## format, lint, types, import rules, generated docs, what manuals name, alerts …: all of them, even if one fails
	@$(MAKE) --keep-going $(CHECKS)

bench: $(STAMP) bench-others gnn-env ## measure the ratios: ours against the raw client doing the same bytes (Kafka: Java 17 and Maven; the web UI: chromium)
	@tools/install_chromium.sh
	@tools/ui.sh
	@$(PY) -m benchmarks

bench-others: build/bench-others/.done ## install what the benchmarks compare with, in an environment of its own

build/bench-others/.done: requirements/bench.txt
	@$(PYTHON) -m venv --clear build/bench-others
	@build/bench-others/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@touch $@

stream-clients: build/stream-clients-env/.done ## install others' clients of the streams, which tests compare with ours, in an environment of their own

site: build/site-env/.done ## build the manuals as a site into build/site; a warning is an error
	@build/site-env/bin/sphinx-build -q -E -a -W --keep-going -b html -c docs/site -d build/site-env/doctrees . build/site
	@echo "site: build/site/index.html"

pictures: $(STAMP) ## take a picture of each screen of the web UI into build/pictures, for the site (ARGS="--theme dark --width 390": others)
	@tools/install_chromium.sh
	@tools/ui.sh
	@$(PY) -m tools.pictures $(ARGS)

pipelines-tools: build/pipelines-env/.done ## install what reads pipelines and devcontainer in tests (Node.js 24), in an environment of its own

build/pipelines-env/.done: requirements/pipelines.txt tools/pipelines/package.json tools/pipelines/package-lock.json tools/pipelines/.npmrc
	@$(PYTHON) -m venv --clear build/pipelines-env
	@build/pipelines-env/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@cp tools/pipelines/package*.json tools/pipelines/.npmrc build/pipelines-env/
	@PATH="$(CURDIR)/build/pipelines-env/bin:$$PATH" npm --prefix build/pipelines-env ci --ignore-scripts --no-audit --no-fund
	@touch $@

jupyterhub-env: build/jupyterhub-env/.done build/jupyter-env/.done ## install the JupyterHub that tests start, and what its users' servers have

HUB_PROXY := build/jupyterhub-env/proxy
build/jupyterhub-env/.done: requirements/jupyterhub.txt $(addprefix tests/engines/jupyterhub/,.npmrc package.json package-lock.json)
	@$(PYTHON) -m venv --clear build/jupyterhub-env
	@build/jupyterhub-env/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@mkdir $(HUB_PROXY) && cp $(filter-out $<,$^) $(HUB_PROXY)
	@cd $(HUB_PROXY) && PATH="$(CURDIR)/build/jupyterhub-env/bin:$$PATH" npm ci --silent --ignore-scripts
	@touch $@

build/jupyter-env/.done: requirements/base.txt requirements/jupyter.txt
	@$(PYTHON) -m venv --clear build/jupyter-env
	@build/jupyter-env/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps $(^:%=-r %)
	@touch $@

build/%-env/.done: requirements/%.txt
	@$(PYTHON) -m venv --clear build/$*-env
	@build/$*-env/bin/python -m pip --disable-pip-version-check --no-input install -q --require-hashes --no-deps -r $<
	@touch $@

docs: $(STAMP) ## write docs/reference again from the code
	@$(PY) -m tools.reference
	@$(PY) -m tools.monitoring --write

manifests: $(STAMP) ## write every shipped manifest into build/manifests/, ready for kubectl apply (needs kubectl or kustomize)
	@$(PY) -m tools.manifests

images: $(STAMP) ui ## build every image, its inventory in build/images/ (BUILDER=buildah, podman or docker; PUSH=1; ARGS="base debug": some)
	@$(PY) -m tools.images $(if $(BUILDER),--builder $(BUILDER)) $(if $(PUSH),--push) $(ARGS)

wheels: $(STAMP) ui ## build the wheels of both packages into build/wheels/
	@rm -rf build/wheels
	@$(PY) -m pip --disable-pip-version-check wheel -q --no-index --no-deps --no-build-isolation --wheel-dir build/wheels libs/streamforge_utils .
	@ls build/wheels/*.whl

lock: ## resolve the dependencies again into requirements/ (UPGRADE=1 takes the newest of each)
	@PYTHON="$(PYTHON)" tools/lock.sh

lock-check: $(STAMP) ## download every pinned wheel for Python 3.11 to 3.14, by its hash (ARGS="--system all": for Linux and macOS, x86_64 and arm64)
	@$(PY) -m tools.lock_check $(ARGS)

clean: ## remove .venv, caches and everything else that was made here
	@for folder in $(VENV) build; do rm -rf "$$folder" 2>/dev/null || test -z "$$(ls -A "$$folder")" || exit 1; done # a volume is emptied
	@rm -rf src/streamforge/web/dist src/streamforge/web/node_modules src/streamforge/web/src/api/openapi.d.ts
	@rm -rf .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The parts of `make check`, also run by pre-commit.
format: $(STAMP)
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

format-check: $(STAMP)
	@$(BIN)/ruff format --check

lint: $(STAMP)
	@$(BIN)/ruff check

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo

versions: $(STAMP)
	@$(PY) tools/check_versions.py

docs-check: $(STAMP)
	@$(PY) -m tools.reference --check

manuals-check: $(STAMP)
	@$(PY) -m tools.manuals

compatibility: $(STAMP)
	@$(PY) -m tools.compatibility

alerts: $(STAMP)
	@$(PY) -m tools.monitoring

yaml: $(STAMP)
	@$(BIN)/yamllint --strict .

secrets:
	@tools/check_secrets.sh

subjects:
	@tools/check_subjects.sh

size:
	@tools/check_size.sh

duplicates: $(STAMP)
	@$(PY) tools/check_duplicates.py

dockerfiles: $(STAMP)
	@find . -name '*Dockerfile' -not -path './.venv/*' -not -path './build/*' -not -path './.cache/*' -not -path '*/node_modules/*' -print0 | xargs -0 $(BIN)/hadolint
	@echo "dockerfiles: hadolint has nothing to say"

manifests-check: $(STAMP)
	@$(PY) -m pytest tests/manifests -n 2 -q
