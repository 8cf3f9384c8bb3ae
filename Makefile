# Every target does the set-up that it needs: a virtual environment in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export HF_HUB_OFFLINE ?= 1

.PHONY: help setup demo test lint bench soak clean

help:
	@echo "make setup   install into $(VENV), with the pinned versions of constraints.txt"
	@echo "make demo    make faces and voices, learn them, test, write runs/demo/report.html"
	@echo "make test    run the tests"
	@echo "make lint    ruff, mypy, import-linter, file lengths"
	@echo "make bench   measure every claim, write benchmarks/results/"
	@echo "make soak    score 10,000 clips and predict a two-hour video"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/claip-emo demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@long=$$(find src tests benchmarks -name '*.py' | xargs wc -l | awk '$$1 > 350 && $$2 != "total"'); \
	  if [ -n "$$long" ]; then echo "Files over 350 lines:"; echo "$$long"; exit 1; fi

BENCHMARKS := startup loader prepare bf16 predict evaluate train_step scaling

bench: $(READY)
	@failed=; for name in $(BENCHMARKS); do \
	  $(BIN)/python -m benchmarks $$name --out benchmarks/results || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "Could not be measured:$$failed"; exit 1; fi

soak: $(READY)
	$(BIN)/python -m benchmarks scaling --out benchmarks/results

clean:
	rm -rf $(VENV) runs build dist
