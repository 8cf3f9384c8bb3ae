# Every target does the set-up that it needs: a virtual environment in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

export HF_HUB_OFFLINE ?= 1

.PHONY: help setup demo test lint bench soak mini clean

help:
	@echo "make setup   install into $(VENV), with the pinned versions of constraints.txt"
	@echo "make demo    make faces and voices, learn them, test, write runs/demo/report.html"
	@echo "make test    run the tests"
	@echo "make lint    ruff, mypy, import-linter, file lengths"
	@echo "make bench   measure every claim, write benchmarks/results/"
	@echo "make soak    10,000 clips, a two-hour video and its timeline, 2,000 files and three kills, load, hostile files"
	@echo "make mini    make the model in the box anew, from DATA (faces, voices) and TEACHER; goes on where it was"

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
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@long=$$(find src tests benchmarks examples -name '*.py' | xargs wc -l | awk '$$1 > 350 && $$2 != "total"'); \
	  if [ -n "$$long" ]; then echo "Files over 350 lines:"; echo "$$long"; exit 1; fi

BENCHMARKS := startup batch serving export loader prepare bf16 predict timeline evaluate labels train_step scaling

bench: $(READY)
	@failed=; for name in $(BENCHMARKS); do \
	  $(BIN)/python -m benchmarks $$name --out benchmarks/results || failed="$$failed $$name"; \
	done; if [ -n "$$failed" ]; then echo "Could not be measured:$$failed"; exit 1; fi

soak: $(READY)
	$(BIN)/python -m benchmarks scaling --out benchmarks/results
	$(BIN)/python -m benchmarks timeline --out benchmarks/results
	$(BIN)/python -m benchmarks batch --out benchmarks/results
	$(BIN)/python -m benchmarks serving --out benchmarks/results
	$(BIN)/python -m benchmarks hostile --out benchmarks/results

# What src/claip_emo/mini was made by (docs/model-card.md).
DATA    ?= ../shared/data
TEACHER ?= ../shared/models/whisper_base_encoder

mini: $(READY)
	$(BIN)/claip-emo pretrain mini --data $(DATA) --audio-teacher $(TEACHER) --out runs/mini-towers
	$(BIN)/claip-emo pretrain mini-clear --data $(DATA) --init runs/mini-towers --audio-teacher $(TEACHER) --out runs/mini-clear
	$(BIN)/claip-emo corpus pairs $(DATA) --out runs/mini-pairs
	$(BIN)/claip-emo train mini-lora --data runs/mini-pairs/pairs.csv --set data.face_detector=none \
	  --set data.pairs=redrawn --set data.cache=memory --out runs/mini
	$(BIN)/claip-emo corpus faces $(DATA) --part select --out runs/mini-faces
	$(BIN)/claip-emo prior --model runs/mini --modality video --table runs/mini-faces/select.csv \
	  --war-weight 0.8 --face-detector none --out runs/mini-told
	$(BIN)/claip-emo calibrate --model runs/mini-told --modality video \
	  --table runs/mini-faces/select.csv --face-detector none
	$(BIN)/claip-emo calibrate --model runs/mini-told --modality av --modality audio \
	  --table runs/mini-pairs/pairs.csv --split validation --face-detector none
	$(BIN)/claip-emo export --model runs/mini-told --half --card docs/model-card.md \
	  --licence LICENSE-mini --out src/claip_emo/mini
	@echo "docs/model-card.md tells of former weights until their figures are in it:"
	@echo "  $(BIN)/python -m benchmarks.held_out --data $(DATA) --out benchmarks/results/held_out.json"
	@echo "  $(BIN)/python -m benchmarks.held_out_tables, then the last command again: it copies the card"

clean:
	rm -rf $(VENV) runs build dist
