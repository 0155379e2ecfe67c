# `make demo` and `make test` are all a newcomer needs; everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
CLIP := vidtok_ref/embedded/clip_robot.mp4

.PHONY: demo test quick fuzz lint docs format bench gpu adopt tables clean newest oldest newest-runtime oldest-runtime

demo: $(VENV)/.installed
	mkdir -p $(DEMO)
	$(BIN)/vidtok-export --variant fsq --output $(DEMO)/vidtok-fsq --force
	$(BIN)/vidtok-edge reconstruct $(CLIP) --bundle $(DEMO)/vidtok-fsq --output $(DEMO)/side_by_side.mp4 --force

# A worker that crashes ends the run: with `loadgroup`, xdist 3.8 waits for ever on its successor.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --max-worker-restart 0

test: $(VENV)/.installed
	$(PYTEST)

# Without the slow ones: what waits for an export, all variants but two, minutes of fuzzing.
quick: $(VENV)/.installed
	$(PYTEST) -m "not slow"

# Damaged and hostile files for every reader of files that others made, a minute for each reader;
# READERS="tokens.npz recording.read" and SEED=1 choose. What failed is kept in fuzz-failures/.
SECONDS := 60
fuzz: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(READERS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A site of the Markdown files, the commands and the docstrings: docs/_build/html/index.html.
docs: $(VENV)/.installed
	$(BIN)/python -m sphinx -b html -c docs --fail-on-warning --keep-going --quiet . docs/_build/html

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/step_graph.py

# On a machine with an NVIDIA GPU: what it can tell in seven minutes, into docs/measured/.
# make gpu GPU="--list"; where nothing can be installed: make gpu RUN=python3 (any interpreter).
gpu: $(if $(RUN),,$(VENV)/.installed)
	PYTHONPATH="src$${PYTHONPATH:+:$$PYTHONPATH}" $(or $(RUN),$(BIN)/python) benchmarks/gpu.py $(GPU)

# Weights that training/embedded.py made become those that ship, with all that depends on them:
# make adopt WEIGHTS=FILE TRAINED="how long, on what" [HELD_OUT=FOLDER] [BEFORE=FILE]
adopt: $(VENV)/.installed
	$(BIN)/python benchmarks/adopt.py $(WEIGHTS) --trained "$(TRAINED)" \
		$(if $(HELD_OUT),--held-out $(HELD_OUT)) $(if $(BEFORE),--before $(BEFORE))

# Tables in Markdown files, from docs/measured/*.json.
tables: $(VENV)/.installed
	$(BIN)/python benchmarks/tables.py

# The newest Python here with the newest packages; Python 3.10 with the lowest versions declared.
newest oldest:
	$(PYTHON) .ci/environment.py $@ everything

# The same without torch, on the bundle of `make demo`: a few minutes.
newest-runtime oldest-runtime: %-runtime: $(DEMO)/vidtok-fsq
	$(PYTHON) .ci/environment.py $* runtime

$(DEMO)/vidtok-fsq:
	$(MAKE) demo

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[export,video,record,datasets,view,hub,meters]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) docs/_build .envs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
