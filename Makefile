# Everything happens in .venv, which the first target makes. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
INFINITY := .venv-infinity/.installed
# Test processes: JAX in one of them keeps some 5 GB of compiled kernels.
JOBS ?= 2
# A module's tests share what it starts. In the order of collection what comes last is short; else it were modules of one long test.
SHARED := -n $(JOBS) --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install infinity demo test rehearse soak check format bench cov gpu gpu-bundle clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install the tested versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "vjaccel needs Python 3.11 to 3.13, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[all,ray,dev]'
	touch $@

infinity: $(INFINITY)  ## make .venv-infinity: the embedding server that remote providers are tested and measured with

$(INFINITY): tests/integration/infinity.txt
	test -x .venv-infinity/bin/python || $(PYTHON) -m venv .venv-infinity
	.venv-infinity/bin/python -m pip install --disable-pip-version-check --quiet --requirement tests/integration/infinity.txt
	touch $@

demo: $(STAMP)  ## embed examples/data, search it on every backend that works here
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## the test suite but for what `make soak` runs; the backends that were installed must work, the others are skipped
	VJACCEL_REQUIRE_BACKENDS=numpy,torch,jax $(BIN)/python -m pytest $(SHARED) -m "not bundle and not soak"

rehearse: $(STAMP)  ## the folder of make gpu-bundle, made and tried on CPUs
	$(BIN)/python -m pytest -m bundle

check: $(STAMP)  ## what CI checks besides the tests: lint, format, types, who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

soak: $(STAMP)  ## the tests that take minutes: runs killed often, a million lines, JAX in all combinations
	VJACCEL_REQUIRE_BACKENDS=numpy,torch,jax $(BIN)/python -m pytest -m soak

format: $(STAMP)  ## put the code in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Which of them, as in `make bench BENCHES=benchmarks/test_serve.py`: the others' results stay.
BENCHES ?= benchmarks

bench: $(STAMP)  ## measure against the peers; keeps the machine's results and prints ratios
	measured=$$(mktemp) && \
	$(BIN)/python -m pytest $(BENCHES) --benchmark-enable --benchmark-only --benchmark-columns=min,median,rounds \
		--benchmark-group-by=group --benchmark-sort=min --benchmark-json=$$measured -q && \
	$(BIN)/python benchmarks/ratios.py $$measured && \
	$(BIN)/python benchmarks/keep.py $$measured && \
	rm $$measured
	$(BIN)/python docs/performance.py

cov: $(STAMP)  ## branch coverage, the NumPy kernels as Python
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q --cov --cov-report=term -m "not wheel and not bundle and not soak"

gpu: $(STAMP)  ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu

gpu-bundle: $(STAMP)  ## a folder for a machine with a GPU and no network, and its run.sh: see docs/gpu.md
	$(BIN)/python gpu/bundle.py gpu-bundle

clean:  ## remove .venv and what was made
	rm -rf .venv .venv-infinity build dist demo-output gpu-bundle .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks .coverage
