# `make demo` and `make test` set up what they need from nothing: a virtual environment in .venv and the model.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODEL := smollm2-135m-instruct
LIMIT ?= 30
FUZZ_SECONDS ?= 600

.PHONY: setup demo test check fix golden bench faults soak fuzz clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,semantic]'
	touch $@

demo: setup ## answer docs_qa questions with SmolLM2-135M-Instruct and print the error report
	$(BIN)/evalkit models fetch $(MODEL)
	$(BIN)/evalkit run --model $(MODEL) --suite docs_qa --limit $(LIMIT)

test: setup ## every test but the benchmarks and the long faults
	$(BIN)/evalkit models fetch $(MODEL)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not benchmark and not stress"

check: setup ## what CI checks besides tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: setup ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: setup ## write the golden files of tests anew; read the diff before you commit it
	EVALKIT_GOLDEN=write $(BIN)/python -m pytest tests/golden

bench: setup ## the benchmarks: long; nothing else may run meanwhile
	$(BIN)/python -m pytest -m benchmark -s

faults: setup ## inject every fault of the list and write what became of it
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/faults --faults-report reports/reliability/faults.md

soak: setup ## kill runs, scorings and trainings at random moments and write what was lost
	$(BIN)/python -m tests.faults.soak --report reports/reliability/soak.md

fuzz: setup ## look for files that break a reader, FUZZ_SECONDS each, two at a time; goes on where it was stopped
	$(BIN)/python -m pip install --quiet --constraint constraints.txt atheris
	$(BIN)/python -m tests.faults.campaign --seconds $(FUZZ_SECONDS) --jobs 2 --logs build/fuzz \
		--report reports/reliability/fuzz.md

clean:
	rm -rf $(VENV) build dist
