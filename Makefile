# Three commands, each complete on a fresh machine: they make .venv when it is missing.
#   make demo    train a tiny codec and a small language model on corpora made on the spot, write
#                runs/demo/report.html
#   make test    every test
#   make lint    ruff and mypy
# A machine without a GPU saves 4 GB by taking PyTorch's CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
EXTRAS ?= dev,eval,train,tts
TEST_ARGS ?=
# Tests use one thread each; a file's tests stay together, for what they share is made once.
TEST_JOBS ?= auto

BIN := $(VENV)/bin
STAMP := $(VENV)/installed
MODULES := __init__.py __main__.py core codec lm tasks recipes

# Busy waiting of OpenMP costs a factor of 35 as soon as two programs share the cores.
QUIET := OMP_WAIT_POLICY=passive

.PHONY: demo test lint format clean

demo: $(STAMP)
	$(BIN)/python -m almtok demo --out runs/demo

test: $(STAMP)
	$(QUIET) $(BIN)/python -m pytest --timeout 300 -n $(TEST_JOBS) --dist loadfile $(TEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/dev && ln -sfn ../.. build/dev/almtok
	cd build/dev && $(abspath $(BIN))/mypy --config-file almtok/pyproject.toml \
		$(addprefix almtok/,$(MODULES))

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first and by its exact version: where a CPU build is offered, pip prefers it. Byte code is
# made of what is imported, when it is: of all packages it took 47 seconds.
$(STAMP): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile "$(TORCH)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --no-compile -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
