# Two commands do everything for a newcomer: `make demo` and `make test`.
VENV ?= .venv
PY := $(VENV)/bin/python
RUN := . $(VENV)/bin/activate &&
ROBOTS ?= 4
WORLD ?= office:1
POLICY ?= models/exported/coordinator.onnx
SEED ?= 0
SPEED ?= 0
FUZZ_S ?= 120
PHYSICS ?= pybullet
SIDE_BY_SIDE := $(filter-out tests/marl_nodes tests/system tests/vectors,$(wildcard tests/[a-z]*))
ONE_BY_ONE := tests/marl_nodes tests/system# Nodes keep time: whoever takes the processor from them changes what they do.

.PHONY: help demo test check fuzz bench setup system warm clean train

help:  ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: setup  ## set everything up, then let four simulated robots map a building
	$(RUN) marl_fleet demo --robots $(ROBOTS) --world $(WORLD) --policy $(POLICY) --physics $(PHYSICS) \
		--seed $(SEED) --speed $(SPEED)

test: setup  ## every fast test: at most 10 minutes on 2 cores
	$(RUN) export OMP_NUM_THREADS=1; python -m pytest -q -n 2 --dist loadfile $(SIDE_BY_SIDE); first=$$?; \
		python -m pytest -q $(ONE_BY_ONE) && exit $$first

check: setup  ## style, types of imports, duplicated names
	$(RUN) ruff check . && lint-imports

fuzz: setup $(VENV)/.fuzz  ## let strangers' bytes try each reader for FUZZ_S seconds
	$(RUN) for target in packets tiles joins links files; do python -m tests.fuzz.fuzz $$target $(FUZZ_S) || exit 1; done

bench: setup $(VENV)/.bench  ## measure every number that the README claims (alone on the machine)
	$(RUN) OMP_NUM_THREADS=1 python -m benchmarks

train: setup  ## tune the scorer, train the policy from nothing, evaluate both, export them
	$(RUN) python -m sim tune --config config/training/scorer.yaml --output runs/scorer
	$(RUN) python -m sim export runs/scorer --output models/exported/scorer.onnx
	$(RUN) python -m sim train --config config/training/coordinator.yaml --output runs/coordinator
	$(RUN) python -m sim export runs/coordinator
	$(RUN) python -m sim evaluate --config config/evaluation/full.yaml --sets 'generated*' --output runs/evaluation
	$(RUN) python -m sim export runs/coordinator --evaluation runs/evaluation/report.json
	$(RUN) python -m sim export runs/scorer --output models/exported/scorer.onnx --evaluation runs/evaluation/report.json

setup: system $(VENV)/.ready

system:
	@scripts/system-libraries

$(VENV)/.ready: pyproject.toml setup.py CMakeLists.txt package.xml $(wildcard msg/*.msg) $(wildcard srv/*.srv)
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --group ros
	$(RUN) pip install --quiet -e '.[train,dev]'
	$(RUN) python -m marl_core.warm_up
	touch $@

$(VENV)/.bench: $(VENV)/.ready
	$(PY) -m pip install --quiet '.[bench]'
	touch $@

$(VENV)/.fuzz: $(VENV)/.ready
	$(PY) -m pip install --quiet -e '.[fuzz]'
	touch $@

clean:  ## remove what was built (not runs/)
	rm -rf $(VENV) build install log *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
