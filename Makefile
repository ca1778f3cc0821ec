# SPDX-License-Identifier: Apache-2.0
# Each target needs nothing done before; the stamps in .venv make a second run quick.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BAG := bags/demo
NAME := lagr_perception
SHARE := .venv/share
INDEX := $(SHARE)/ament_index/resource_index/packages

.PHONY: help setup links demo test lint bench clean

help:
	@echo 'make setup   .venv with the package and its extras ros, world, openvino, test, dev'
	@echo 'make demo    setup + replay of $(BAG) into out/demo'
	@echo 'make test    setup + torch (CPU) + all tests'
	@echo 'make lint    setup + ruff + mypy'
	@echo 'make bench   setup + stage times into out/bench.json'
	@echo 'make clean   remove what the targets made, .venv too'

setup: .venv/.setup

.venv/.setup: Makefile setup.py setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e '.[ros,world,openvino,test,dev]'
	@$(MAKE) --no-print-directory links
	$(BIN)/python -c 'import perception.pipeline'  # compiles its loops, which are kept
	@touch $@

# An editable install puts nothing under share/: two links show the checkout to ament.
links:
	@mkdir -p $(INDEX)
	@ln -sfn ../../../../../resource/$(NAME) $(INDEX)/$(NAME)
	@ln -sfn ../.. $(SHARE)/$(NAME)

# The CPU build first: from PyPI alone torch comes with several GB of CUDA.
.venv/.train: .venv/.setup
	$(PIP) --no-deps torch==2.13.0 --extra-index-url $(TORCH_INDEX)
	$(PIP) -e '.[train,tensorrt-rtx]'
	@touch $@

demo: .venv/.setup
	$(BIN)/lagr demo

# Two at a time; in the order of the files, as those of ROS, which mostly wait, take longest.
test: .venv/.train
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.setup
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.setup
	@mkdir -p out
	$(BIN)/lagr bench --json out/bench.json

clean:
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
