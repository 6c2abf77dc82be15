# `make test` and `make demo` work on a fresh clone: each first makes the environment it needs, and later runs reuse it.
# PYTHON=python3.12 make test    another Python for the environment (3.11 or newer)
# VENV=.venv-3.12 make test      another place for it

PYTHON ?= python3
VENV ?= .venv
READY = $(VENV)/.ready
# Small matrices: two test processes of one thread each are faster than one process of two.
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

.PHONY: help environment demo lint test test-all clean named-python

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

environment: $(READY) ## make the virtual environment and install everything into it

demo: $(READY) ## build data, train, run MD, relax, screen: the whole way, in demo/report.html
	@$(VENV)/bin/python -m examples.demo

lint: $(READY) ## check style, types and formatting
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

test: lint ## lint, and run the tests that are quick
	$(PYTEST) -m "not slow"

test-all: lint ## lint, and run all tests
	$(PYTEST)

clean: ## remove the environment, caches and the demo's output
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml gfm_ase/_version.py scripts/environment scripts/install-torch
	@scripts/environment "$(PYTHON)" "$(VENV)"
	@touch $@

# A PYTHON that is named, and is not the one of the environment that is there, must not be ignored.
ifneq ($(origin PYTHON),file)
$(READY): | named-python
endif
VERSION = -c 'import sys; print("%d.%d" % sys.version_info[:2])'
named-python:
	@test ! -x $(VENV)/bin/python || test "$$($(PYTHON) $(VERSION))" = "$$($(VENV)/bin/python $(VERSION))" || { \
	  echo "$(VENV) is of another Python than $(PYTHON): make clean, or give VENV=<another folder>." >&2; exit 1; }
