# make demo and make test set up .venv first; on a machine with GPUs run `make TORCH=torch ...` for a CUDA build.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test check perf clean

demo: $(INSTALLED)
	$(BIN)/cli-ray demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

perf: $(INSTALLED)
	$(BIN)/python -m tests.perf.agf
	$(BIN)/python -m tests.perf.injection

# torch comes first and pinned: what follows then finds it there.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv
