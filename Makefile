# make demo and make test set up .venv first, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test test-all check docs perf drill clean

demo: $(INSTALLED)
	$(BIN)/cli-ray demo

# Two processes: one with all tests that start Ray, and one with the others. Modules stay whole and in order.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(PYTEST)

# The rest: the slow tests, none of which make test runs.
test-all: $(INSTALLED)
	$(PYTEST) -m 'slow and not long'

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m tests.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

perf: $(INSTALLED)
	$(BIN)/python -m tests.perf.agf
	$(BIN)/python -m tests.perf.injection
	$(BIN)/python -m tests.perf.memory
	$(BIN)/python -m tests.perf.packing
	$(BIN)/python -m tests.perf.packed_run
	$(BIN)/python -m tests.perf.pool simulate
	$(BIN)/python -m tests.perf.generation
	$(BIN)/python -m tests.perf.generation --injected
	$(BIN)/python -m tests.perf.engine
	$(BIN)/python -m tests.perf.gates
	$(BIN)/python -m tests.perf.report
	$(BIN)/python -m tests.perf.generation --shape tiny --miniature pope mme gqa seed-image ai2d
	$(BIN)/python -m tests.perf.evaluation --rows 20000
	$(BIN)/python -m tests.perf.scoring
	$(BIN)/python -m tests.perf.safety
	$(BIN)/python -m tests.perf.ledger state
	$(BIN)/python -m tests.perf.scaling
	$(BIN)/python -m tests.perf.steps --lanes 256
	$(BIN)/python -m tests.perf.steps_timed
	$(BIN)/python -m tests.perf.stream
	$(BIN)/python -m tests.perf.loop
	$(BIN)/python -m tests.perf.sweep
	$(BIN)/python -m tests.perf.start
	$(BIN)/python -m tests.perf.serve

drill: $(INSTALLED)
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m tests.drills.training
	$(BIN)/python -m tests.drills.reshape
	$(BIN)/python -m tests.drills.evaluation
	$(BIN)/python -m tests.drills.sweep
	$(BIN)/python -m tests.drills.hostile
	$(BIN)/python -m tests.drills.growing
	$(BIN)/python -m tests.drills.elastic
	$(BIN)/python -m tests.drills.silence
	$(BIN)/python -m tests.drills.slow
	if command -v redis-server; then $(BIN)/python -m tests.drills.head; else echo "no drill of the head: no redis-server"; fi

# torch comes first, so that pip does not look at other builds of it for its dependents.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps lmms-eval==0.7.3
	touch $(INSTALLED)

clean:
	rm -rf .venv
