# `make demo` and `make test` are all a newcomer needs; everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
CLIP := vidtok_ref/embedded/clip_robot.mp4

.PHONY: demo test lint format bench tables clean

demo: $(VENV)/.installed
	mkdir -p $(DEMO)
	$(BIN)/vidtok-export --variant fsq --output $(DEMO)/vidtok-fsq --force
	$(BIN)/vidtok-edge reconstruct $(CLIP) --bundle $(DEMO)/vidtok-fsq --output $(DEMO)/side_by_side.mp4 --force

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/step_graph.py

# Tables in Markdown files, from docs/measured/*.json.
tables: $(VENV)/.installed
	$(BIN)/python benchmarks/tables.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[export,video,record,datasets,view,hub,meters]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
