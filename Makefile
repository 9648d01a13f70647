# Two commands on a fresh machine: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test soak lint types check bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $(STAMP)

# Releases recipes/census.yaml, then shows what a refusal looks like (exit code 3 is what the second must end with).
demo: $(STAMP)
	$(BIN)/trustbase run recipes/census.yaml
	$(BIN)/trustbase verify runs/census/bundle
	$(BIN)/trustbase run recipes/census-strict.yaml --reuse runs/census; test $$? -eq 3
	@echo "open runs/census/report.html (released) and runs/census-strict/report.html (not released)"

# Two files of tests at a time, each in a process of its own; files in their order, so that the long ones do not stand at the end.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# The long form of the checks in docs/reliability.md: about an hour.
soak: $(STAMP)
	$(BIN)/python tools/soak.py

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/codespell src docs README.md CONTRIBUTING.md CHANGELOG.md

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

bench: $(STAMP)
	$(BIN)/python benchmarks/forward.py
	$(BIN)/python benchmarks/finetune.py
	$(BIN)/python benchmarks/groupmetrics.py
	$(BIN)/python benchmarks/interval_coverage.py

clean:
	rm -rf $(VENV) runs build *.egg-info
