# Commands for people; `make` alone lists them.

PYTHON ?= python3
PRESET ?= demo
ARGS ?=
RUN ?=
# More packages, as requirements-EXTRA.txt lists them: codecs, faiss, gpu, milvus, onnx, torch, weights.
EXTRAS ?=
# Folder of all data sets, each in one of its own.
DATA ?= data
# Each backend has an environment of its own: tensorflow, jax or torch.
BACKEND ?= tensorflow
ifeq ($(BACKEND),tensorflow)
VENV := .venv
REQUIREMENTS := requirements.txt requirements-dev.txt
else
VENV := .venv-$(BACKEND)
REQUIREMENTS := requirements-common.txt requirements-$(BACKEND).txt requirements-dev.txt
endif
PY := $(VENV)/bin/python
# A project is a top-level folder with a train.py.
PROJECTS := $(patsubst %/train.py,%,$(wildcard */train.py))

export KERAS_BACKEND := $(BACKEND)
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHONUNBUFFERED ?= 1
# TensorFlow would leave it off on processors without AVX-512, which then train a third slower.
export TF_ENABLE_ONEDNN_OPTS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install smoke test test-jax test-torch test-exhaustive test-slow test-mutation bench lint format pages golden new-project

help: ## list the commands
	@printf 'Projects: %s\n\n' '$(PROJECTS)'
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

train-%: $(VENV)/.installed ## train and evaluate a project; PRESET=demo ARGS="--field value"
	@$(call check_project,$*)
	$(PY) -m $* $(PRESET) $(ARGS)

eval-%: $(VENV)/.installed ## evaluate a project's newest run, or RUN=folder
	@$(call check_project,$*)
	$(PY) -m $*.evaluate $(if $(RUN),'$(RUN)') $(ARGS)

reproduce-%: $(VENV)/.installed ## train all presets that the data sets in DATA allow, and renew the tables
	@$(call check_project,$*)
	$(PY) -m common.tools.reproduce $* '$(DATA)' $(ARGS)

smoke: $(VENV)/.installed ## train and evaluate every project's smallest preset
	@runs=$$(mktemp -d) && trap 'rm -rf "$$runs"' EXIT && set -e && \
	for project in $(PROJECTS); do $(PY) -m $$project smoke --runs-dir "$$runs"; done

test: $(VENV)/.installed ## run the tests
	$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-jax: ## run the tests on JAX, without TensorFlow; so does BACKEND=jax with any command
	@$(MAKE) --no-print-directory test BACKEND=jax

test-torch: ## likewise on PyTorch
	@$(MAKE) --no-print-directory test BACKEND=torch

test-exhaustive: $(VENV)/.installed ## run the tests on all 2^32 numbers, in about ten minutes
	$(PY) -m pytest -m exhaustive $(ARGS)

test-slow: $(VENV)/.installed ## kill every project again and again, and train copies, on an otherwise idle machine
	$(PY) -m pytest -m slow $(ARGS)

test-mutation: $(VENV)/.installed ## plant small faults in the code and count those that the tests notice; ARGS="common --count 5"
	$(PY) -m tests.mutation $(ARGS)

bench: $(VENV)/.installed ## run the benchmarks on an otherwise idle machine
	$(PY) -m pytest tests/benchmarks -m bench -s $(ARGS)

lint: $(VENV)/.installed ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed ## fix style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

pages: $(VENV)/.installed ## renew all pages that show numbers, from the projects' results.json
	$(PY) -m common.tools.pages

golden: $(VENV)/.installed ## make the golden values: of backbones with PyTorch, of losses with tensorflow-addons; needs Python 3.11
	$(VENV)/bin/pip install --quiet -r requirements-torch.txt -r requirements-weights.txt
	$(PY) -m tests.golden.make_backbones
	rm -rf $(VENV)-golden
	$(PYTHON) -m venv $(VENV)-golden
	$(VENV)-golden/bin/pip install --quiet tensorflow==2.15.1 tensorflow-addons==0.23.0 numpy==1.26.4
	$(VENV)-golden/bin/python tests/golden/make_tfa_losses.py
	rm -rf $(VENV)-golden

new-project: $(VENV)/.installed ## copy a project: FROM=l2_autoencoder NAME=my_idea
	@$(PY) -m common.tools.new_project '$(FROM)' '$(NAME)'

install: ## make or renew the environment; EXTRAS="gpu torch" are added to it, and stay
	@$(PYTHON) common/tools/install.py $(VENV) $(REQUIREMENTS) --extras $(EXTRAS)

# Pins that are newer than the environment are installed into it, with the extras that it has.
$(VENV)/.installed: requirements-common.txt $(REQUIREMENTS)
	@$(PYTHON) common/tools/install.py $(VENV) $(REQUIREMENTS)

check_project = test -f '$(1)/train.py' || { echo "There is no project '$(1)'; there are: $(PROJECTS)" >&2; exit 2; }
