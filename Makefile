# All that this needs is make and a Python of 3.10 or newer; `make` alone lists what there is.
PYTHON ?= python3
VENV ?= .venv

bin := $(VENV)/bin
pip := PIP_DISABLE_PIP_VERSION_CHECK=1 $(bin)/python -m pip install -qq -c constraints.txt

.PHONY: help demo test test-all check clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s%s\n", $$1, $$2 }'

demo: $(VENV)/.installed ## explain a ticking clock in rain, and say where the sounds are
	@$(bin)/python examples/clock_in_rain.py --out demo

test: $(VENV)/.installed-dev ## run the tests, but for the slow ones
	@$(bin)/python -m pytest

test-all: $(VENV)/.installed-dev ## run all tests
	@$(bin)/python -m pytest -m "slow or not slow"

check: $(VENV)/.installed-dev ## lint, format and types; changes nothing
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy src examples bench

clean: ## remove the environment, caches and the demo's files
	rm -rf $(VENV) demo build .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src tests examples -name __pycache__ -type d -exec rm -rf {} +

# The stamps come last in their rules, so that what was broken off is done again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("earmark needs Python 3.10 or newer, and $(PYTHON) is %d.%d; choose another with PYTHON=..." % sys.version_info[:2])'
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing earmark and what it needs in $(VENV): some minutes the first time …"
	@$(pip) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing earmark, what it needs and the test tools in $(VENV): some minutes the first time …"
	@$(pip) -e '.[dev]'
# Its tests stand in for torchvision, of which it needs two names and gigabytes come along elsewhere.
	@$(pip) --no-deps 'zennit>=0.5.1'
	@touch $@ $(VENV)/.installed
