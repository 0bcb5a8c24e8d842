# What a newcomer needs: `make demo` and `make test`. Both set up what they use.

PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug/riverrun
VENV := .venv
VENV_READY := $(VENV)/.ready

# Bytecode beside the sources would end up in the folders that the binary is built from.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo build test check fmt clean test-rust test-python lint-rust lint-python

demo: build ## A flow survives two kills of its server, told as a story
	@$(PYTHON) examples/demo.py $(BIN)

build:
	cargo build --quiet --locked --package riverrun

test: test-rust test-python lint-rust lint-python ## Every test and every lint, all set-up included

check: ## A fast look: does it compile, is it formatted
	cargo fmt --check
	cargo check --quiet --locked --workspace --all-targets

fmt: $(VENV_READY)
	cargo fmt
	$(VENV)/bin/ruff format python examples
	$(VENV)/bin/ruff check --fix python examples

clean:
	cargo clean
	rm -rf $(VENV) .riverrun

test-rust:
	cargo test --locked --workspace

test-python: build $(VENV_READY)
	RIVERRUN_BINARY=$(abspath $(BIN)) PYTHONPATH=python/src $(VENV)/bin/pytest -q python/tests

lint-rust:
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

lint-python: $(VENV_READY)
	$(VENV)/bin/mypy --config-file python/pyproject.toml python/src/riverrun
	$(VENV)/bin/ruff check python examples
	$(VENV)/bin/ruff format --check python examples

$(VENV_READY): python/requirements-dev.txt
	$(PYTHON) -m venv $(VENV) || (echo "python3-venv is needed: apt-get install python3-venv" >&2; exit 1)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements-dev.txt
	@touch $@
