# Two commands matter: `make up` and `make test`. Everything else serves them.
SUITS  := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for each in python3.12 python3.11 python3; do $$each -c '$(SUITS)' 2>/dev/null && echo $$each && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
export OMP_NUM_THREADS ?= 1

.PHONY: up test check catalogue format clean

up: $(VENV)/.run
	@exec $(BIN)/bitfront up

test: $(VENV)/.dev
	@./tests/fetch_tools.sh
	$(BIN)/pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m core.build_catalogue --check
	$(BIN)/python docs/tables.py --check
	$(BIN)/python -m migrations.check

catalogue: $(VENV)/.dev
	$(BIN)/python -m core.build_catalogue --write
	$(BIN)/python docs/tables.py --write

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The locked versions keep pip from taking a newer torch with gigabytes of another platform's libraries.
$(VENV)/.run: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUITS)' || { echo "Bitfront needs Python 3.11 or 3.12. Install one of them, or name it: make up PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Bitfront into $(VENV) (the first time takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
