# `make` lists the targets. Everything they need is set up in .venv and .cache, once.

DEMO_SECONDS ?= 300
UV := uv==0.13.9

BIN := .venv/bin
PYTHON := $(BIN)/python
NATIVE := ps/native
SOURCES := $(wildcard $(NATIVE)/*.cc $(NATIVE)/*.h)
JAVA := $(wildcard pipelines/*jvm/src/*/java/freshet/*/*.java)
PROOFS := tests/ps/native
BENCHMARKS := $(basename $(notdir $(wildcard benchmarks/*.py)))

# uv brings its own certificates, which do not know a company's proxy; the system's do.
CERTIFICATES := $(wildcard /etc/ssl/certs/ca-certificates.crt)
ifneq ($(CERTIFICATES),)
SSL_CERT_FILE ?= $(CERTIFICATES)
export SSL_CERT_FILE
endif

# Written last, so that a set-up that was interrupted goes on.
PACKAGES_DONE := .venv/packages.done
COMMAND_DONE := .venv/command.done
NATIVE_DONE := .cache/native/done
JARS_DONE := .cache/jars/done

.PHONY: help setup require demo test lint sanitize mutants bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(JARS_DONE) $(NATIVE_DONE) $(COMMAND_DONE) ## set up .venv, the native table and the jars (the others do it by themselves)

demo: setup ## run the whole loop on simulated users for DEMO_SECONDS (300; 0: until Ctrl-C)
	@exec $(BIN)/freshet run jobs/demo.yaml $(if $(filter-out 0,$(DEMO_SECONDS)),--for $(DEMO_SECONDS))

test: lint ## lint, unit tests, then tests on real processes
	$(PYTHON) -m pytest -q -m "not stack" -n 2 --dist loadfile
	$(PYTHON) -m pytest -q -m stack

lint: setup ## check format, types and import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(SOURCES) $(wildcard $(PROOFS)/*.cc $(PROOFS)/*.h)

sanitize: $(PACKAGES_DONE) ## prove the table under sanitizers: fuzz corpus, failing memory, threads
	@$(PROOFS)/sanitize

mutants: $(PACKAGES_DONE) ## show that the tests of the table catch every deliberate bug of bugs.txt (half an hour)
	@$(PYTHON) $(PROOFS)/mutants.py

bench: setup ## measure speed, each beside a peer
	@set -e; for name in $(BENCHMARKS); do $(BIN)/freshet bench $$name; done

clean: ## remove what was set up; runs/ stays
	rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache ps/_core.*.so

require:
	@sh .ci/require >/dev/null

# uv is ten times as fast; pip knows the mirrors of pip.conf.
$(PACKAGES_DONE): requirements.txt | require
	@echo "Python packages into .venv"
	@"$$(sh .ci/require)" -m venv .venv
	@$(PYTHON) -m pip install -q $(UV)
	@$(BIN)/uv pip install -q --compile-bytecode --python $(PYTHON) -r requirements.txt \
	  || $(PYTHON) -m pip install -q -r requirements.txt
	@touch $@

# The command `freshet`, on this folder's modules. The native part is built below, where ninja keeps what it has.
$(COMMAND_DONE): pyproject.toml $(PACKAGES_DONE)
	@$(BIN)/uv pip install -q --python $(PYTHON) --no-deps --no-build-isolation -C wheel.cmake=false -e .
	@echo "The command freshet: source .venv/bin/activate"
	@touch $@

$(NATIVE_DONE): $(NATIVE)/CMakeLists.txt $(SOURCES) $(PACKAGES_DONE)
	@echo "The embedding table, compiled"
	@PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S $(NATIVE) -B $(@D) -G Ninja -DFRESHET_IN_PLACE=ON \
	  -DPython_EXECUTABLE="$(CURDIR)/$(PYTHON)" --log-level=WARNING >/dev/null
	@$(BIN)/cmake --build $(@D) -- --quiet
	@touch $@

$(JARS_DONE): pom.xml $(wildcard */*/pom.xml) $(JAVA) $(wildcard pipelines/join/*.yaml) | require
	@echo "Jars of Kafka and Parquet, and our own, into .cache/jars"
	@rm -rf $(@D)
	@mvn -q -B -ntp package
	@touch $@
