# make demo | test | fuzz | crash | lint | bench | bench-optimizer | clean.  Needs Python 3.11 or newer, make and git; everything else goes into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --quiet --constraint constraints.txt

.PHONY: install demo test fuzz crash lint bench bench-optimizer check-python clean

# torch goes first and alone: with it in place, nothing else pulls a build for another accelerator.
$(VENV)/.installed: pyproject.toml constraints.txt | check-python
	@echo "Setting up $(VENV) (about 4 minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) torch
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(PIP) --editable '.[test,lint]'
	@touch $@

.venv-tickit/.installed: tests/outside/tickit-requirements.txt | check-python
	@$(PYTHON) -m venv .venv-tickit
	@.venv-tickit/bin/python -m pip install --disable-pip-version-check --quiet --quiet --requirement $<
	@touch $@

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }

install: $(VENV)/.installed ## the environment, without tests

demo: $(VENV)/.installed ## 20 perovskite films in the simulated laboratory
	@$(BIN)/lab run examples/perovskite.yaml

test: $(VENV)/.installed-test .venv-tickit/.installed
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/.installed-test
	@seed=$${SEED:-$$(date +%s)}; echo "seed $$seed (make fuzz SEED=$$seed repeats it)"; \
	$(BIN)/python -m tests.fuzz_wire --inputs $${INPUTS:-1000000} --seed $$seed && \
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m hypothesis --hypothesis-seed=$$seed --timeout 1800

crash: $(VENV)/.installed-test ## campaigns killed at random moments and resumed, KILLS=200 times; then the queue's services; SEED=N repeats one
	@$(BIN)/python -m tests.crash --kills $${KILLS:-200} $${SEED:+--seed $$SEED}
	@$(BIN)/python -m tests.crash.queue --kills $${KILLS:-100} $${SEED:+--seed $$SEED}

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	@$(BIN)/python -m benchmarks

bench-optimizer: $(VENV)/.installed-test ## PROBLEMS=a,b ENGINES=x,y SEEDS=20 MINUTES=60; goes on where it was interrupted; peers: pip install '.[bench]'
	@$(BIN)/python -m benchmarks.optimizer $${PROBLEMS:+--problems $$PROBLEMS} $${ENGINES:+--engines $$ENGINES} --seeds $${SEEDS:-20} $${MINUTES:+--minutes $$MINUTES}

clean:
	rm -rf $(VENV) .venv-tickit build *.egg-info
