# `make demo` and `make test` make what they need first; the second run of either starts at once.
# Options for the command go into ARGS: make demo ARGS=--json, make test ARGS="-k snapshot".

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test docs studio lint lock clean

ARGS ?=
VENV ?= .venv
VENV_STUDIO ?= .venv-studio
HERE := $(VENV)/bin
# The server that the flows were tried with.
STUDIO := label-studio==1.23.2
UV := UV_PYTHON_DOWNLOADS=never $(HERE)/uv

# Downloads are kept in the home folder; a machine without one keeps them here.
ifeq ($(shell test -w "$(HOME)/" && echo yes),)
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
endif

help: ## Say what there is to make.
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Play the whole loop on handwritten digits, in under four minutes.
	$(HERE)/hone demo $(ARGS)

# Tests of servers often wait: three processes keep two cores busy.
test: $(VENV)/installed ## Run the tests; those whose server is not installed are skipped.
	$(HERE)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

docs: $(VENV)/installed ## Build the documentation into site/, links checked.
	NO_MKDOCS_2_WARNING=1 $(HERE)/mkdocs build --strict $(ARGS)

studio: $(VENV_STUDIO)/installed ## Install a Label Studio server, in an environment of its own.

lint: $(VENV)/installed ## Check style and types.
	$(HERE)/ruff check
	$(HERE)/ruff format --check
	$(HERE)/mypy

# In the image of a bento PyTorch is the build that its processors or GPUs need: each has packages
# and digests of its own.
ANY_TORCH := awk '/^[^ ]/ { gpu = /^(cuda-|triton=|nvidia-)/ && !/^nvidia-ml-py/; \
  torch = /^torch(vision)?=/; if (torch) sub(/ \\$$/, "") } !gpu && !(torch && /^ /)'

# Writes no registry's address. `make lock ARGS=--upgrade` takes the newest versions that fit.
lock: $(VENV)/installed ## Write the lock files anew from pyproject.toml.
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile pyproject.toml --extra dev --extra docs --quiet \
	  --universal --python-version 3.11 --generate-hashes --output-file requirements.lock $(ARGS)
	echo "$(STUDIO)" | UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile - --quiet --no-config \
	  --universal --python-version 3.11 --generate-hashes --output-file requirements-studio.lock $(ARGS)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --group serve --constraint requirements.lock --quiet \
	  --universal --python-version 3.11 --generate-hashes --no-annotate | $(ANY_TORCH) > requirements-serve.lock

clean: ## Remove both environments and what the tools left.
	rm -rf .venv .venv-studio .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/uv
	$(UV) pip sync --python $(HERE)/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --python $(HERE)/python --no-deps --no-build-isolation --quiet --editable .
	touch $@

# uv comes with pip, from the same lock; the project keeps it, `bentoml build` needs it.
$(VENV)/bin/uv:
	@for python in python3.11 python3.12 python3; do \
	  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && break; \
	  python=; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11 or 3.12 is needed and not on PATH; install one" >&2; exit 1; }; \
	$$python -m venv --clear $(VENV) || { echo "apt-get install python3-venv, if it says so" >&2; exit 1; }
	awk '/^[^ #]/ { mine = /^uv==/ } mine' requirements.lock > $(VENV)/uv.txt
	$(HERE)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt

$(VENV_STUDIO)/installed: requirements-studio.lock | $(VENV)/bin/uv
	$(UV) venv --quiet --clear --python $(HERE)/python $(VENV_STUDIO)
	$(UV) pip sync --python $(VENV_STUDIO)/bin/python --require-hashes --compile-bytecode requirements-studio.lock
	touch $@
