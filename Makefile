# Everything a newcomer needs: `make demo` shows it, `make test` checks it. Both set themselves up first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo test conformance lint check bench bench-serving lock twin train clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(STAMP)  ## a virtual environment in .venv with the locked dependencies and trimtab itself

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Trimtab needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup      ## profile the example, serve one bursty trace under three policies, compare (about 5 minutes)
	$(BIN)/python examples/digits/demo.py --out out/demo

test: setup      ## all tests
	$(BIN)/python -m pytest -q

conformance: setup  ## real clients and servers of other projects against `trimtab serve` (installs them beside, 2 minutes)
	$(BIN)/python -m conformance.run

lint: setup      ## style, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## what CI runs

bench: setup     ## benchmarks: ratios measured in one run
	$(BIN)/python benchmarks/switch_time.py
	$(BIN)/python benchmarks/gateway_latency.py
	$(BIN)/python benchmarks/planner/run.py --out out/planner
	$(BIN)/python benchmarks/planner/latency_model.py
	$(BIN)/python benchmarks/sim/run.py

bench-serving: setup ## Trimtab beside MLServer, KServe, LitServe, BentoML and Ray Serve (installs them beside, 5 minutes)
	$(BIN)/python -m benchmarks.serving.run

lock:            ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra fast --extra report --extra examples --group dev pyproject.toml -o requirements.lock

twin: setup      ## serve and simulate the same load, and compare (about 6 minutes on a quiet machine)
	$(BIN)/python examples/digits/twin.py --out out/twin

train: setup     ## train the example's models anew (PyTorch, about an hour)
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	$(BIN)/python examples/digits/train.py

clean:           ## remove what was built, the environment included
	rm -rf $(VENV) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
