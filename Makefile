# Commands, each complete on a fresh machine: they make .venv when it is missing.
#   make demo    train a tiny codec and a small language model on corpora made on the spot, write
#                runs/demo/report.html
#   make test    every test
#   make test-plain   what numbers come out of, as on plainer processors than this one
#   make lint    ruff and mypy
#   make docs    the documentation as a site, in build/site
#   make dist    wheel and sdist, in dist
# A machine without a GPU saves 4 GB by taking PyTorch's CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
EXTRAS ?= dev,eval,train,tts,serve,ui
# The demo needs fewer packages, and waits for no others.
DEMO_EXTRAS ?= eval,train,tts
TEST_ARGS ?=
# Tests use one thread each; a file's tests stay together, for what they share is made once. One more
# than there are cores, for many tests wait for programs.
TEST_JOBS ?= $(shell $(PYTHON) -c "import os; print(1 + len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 'auto')")

# Byte code of packages is kept, also where the environment says otherwise: without it every program
# compiles torch and transformers again, which takes longer than loading them.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO_STAMP := $(VENV)/installed-for-demo
MODULES := __init__.py __main__.py core codec lm tasks serve recipes

# Busy waiting of OpenMP costs a factor of 35 as soon as two programs share the cores.
QUIET := OMP_WAIT_POLICY=passive

PYTEST := $(QUIET) $(BIN)/python -m pytest --timeout 300 -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder
# Read when torch is loaded: which instructions it, oneDNN and MKL may use. On an x86 processor without
# AVX-512, `make test` runs as AVX2 already.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
SSE := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
# Judged by stored numbers, or by one way of computing beside another.
NUMBERS := $(addprefix tests/,codec/priors/test_fbank.py codec/priors/test_beats.py \
	codec/test_quantizer.py codec/test_model.py codec/test_shipped.py lm/test_model.py \
	lm/generation/test_quantize.py tasks/test_shipped.py)
WAYS := $(addprefix tests/,codec/test_parity.py codec/test_cache.py lm/generation/test_generate.py)

.PHONY: demo test test-plain lint format docs constraints dist clean

demo: $(if $(wildcard $(STAMP)),$(STAMP),$(DEMO_STAMP))
	$(BIN)/python -m almtok demo --out runs/demo

test: $(STAMP)
	$(PYTEST) $(TEST_ARGS)

test-plain: $(STAMP)
ifneq ($(shell grep -c avx512f /proc/cpuinfo 2> /dev/null),0)
	$(AVX2) $(PYTEST) $(TEST_ARGS) $(NUMBERS) $(WAYS)
endif
	$(SSE) $(PYTEST) $(TEST_ARGS) $(NUMBERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/dev && ln -sfn ../.. build/dev/almtok
	cd build/dev && $(abspath $(BIN))/mypy --config-file almtok/pyproject.toml \
		$(addprefix almtok/,$(MODULES))

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# From the files that git knows: links lead from docs/ to recipes/ and the root. mkdocstrings reads
# the sources without importing them, so that neither torch nor almtok is needed.
DOCS_VENV ?= build/docs-venv
docs: $(DOCS_VENV)/installed
	rm -rf build/docs && mkdir -p build/docs/pages build/docs/package/almtok
	git ls-files -- '*.md' docs recipes LICENSE core/runtime.py checkpoints/mini/card.json \
		| tar cf - -T - | tar xf - -C build/docs/pages
	git ls-files -- '*.py' ':!tests' ':!benchmarks' | tar cf - -T - | tar xf - -C build/docs/package/almtok
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

$(DOCS_VENV)/installed: setup.cfg
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install $$($(DOCS_VENV)/bin/python -c "import configparser as c; p = c.ConfigParser(); \
		p.read('setup.cfg'); print(*p['options.extras_require']['docs'].replace(' ', '').split())")
	touch $@

# torch first and by its exact version: where a CPU build is offered, pip prefers it. Byte code is
# made of what is imported, when it is: of all packages it took 47 seconds.
$(STAMP): INSTALLED := $(EXTRAS)
$(DEMO_STAMP): INSTALLED := $(DEMO_EXTRAS)
$(STAMP) $(DEMO_STAMP): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile "$(TORCH)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --no-compile -e '.[$(INSTALLED)]'
	touch $@

# The versions that the tests passed with, without the local part of CPU builds.
constraints: $(STAMP)
	(echo "# Made by 'make constraints': pip install -c constraints.txt ."; \
		$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//') > constraints.txt

# Wheel and sdist in dist/, of what git tracks at HEAD. A tag of HEAD must be v and the version.
dist: $(STAMP)
	rm -rf build/release dist && mkdir -p build/release
	git archive HEAD | tar x -C build/release
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' build/release/__init__.py); \
	for tag in $$(git tag --points-at HEAD 'v*'); do \
		test "$$tag" = "v$$version" || { echo "tag $$tag, but __version__ is $$version" >&2; exit 1; }; done
	cd build/release && $(abspath $(BIN))/python -m pip install --quiet build twine && \
		$(abspath $(BIN))/python -m build --outdir ../../dist && \
		$(abspath $(BIN))/python -m twine check --strict ../../dist/*

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
