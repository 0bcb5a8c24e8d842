# What a newcomer needs: `make demo` and `make test`. Both set up what they use.

PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug/riverrun
VENV := .venv
VENV_READY := $(VENV)/.ready
RUFF := $(VENV)/bin/ruff

# Bytecode beside the sources would end up in the folders that the binary is built from.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo demo-queue build test check fmt clean test-rust test-python lint-rust lint-python hammer fuzz

demo: build ## A flow survives two kills of its server, told as a story
	@$(PYTHON) examples/demo.py $(BIN)

demo-queue: build ## A web shop's thousand tasks: a worker killed, a poisonous task, nothing lost
	@$(PYTHON) examples/demo_queue.py $(BIN)

build:
	cargo build --quiet --locked --package riverrun

test: test-rust test-python lint-rust lint-python ## Every test and every lint, all set-up included

check: ## A fast look: does it compile, is it formatted
	cargo fmt --check
	cargo check --quiet --locked --workspace --all-targets

fmt: $(VENV_READY)
	cargo fmt
	cd python && ../$(RUFF) format src tests && ../$(RUFF) check --fix src tests
	$(RUFF) format --config python/pyproject.toml examples
	$(RUFF) check --config python/pyproject.toml --fix examples

clean:
	cargo clean
	rm -rf $(VENV) .riverrun

test-rust:
	cargo test --locked --workspace --exclude riverrun-bench

test-python: build $(VENV_READY)
	cd python && RIVERRUN_BINARY=$(abspath $(BIN)) ../$(VENV)/bin/pytest -q -p no:cacheprovider

lint-rust:
	cargo fmt --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings

lint-python: $(VENV_READY)
	cd python && ../$(VENV)/bin/mypy
	cd python && ../$(RUFF) check src tests && ../$(RUFF) format --check src tests
	$(RUFF) check --config python/pyproject.toml examples
	$(RUFF) format --config python/pyproject.toml --check examples

# The tools are named once, in the package's own manifest.
DEV_TOOLS = import tomllib; print(*tomllib.load(open("python/pyproject.toml", "rb"))["dependency-groups"]["dev"])

$(VENV_READY): python/pyproject.toml
	$(PYTHON) -m venv $(VENV) || (echo "Python's venv is needed; on Debian: apt-get install python3-venv" >&2; exit 1)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $$($(PYTHON) -c '$(DEV_TOOLS)')
	@touch $@

# --- Longer than a test run can be ---

HAMMER_SECONDS ?= 300
DISK_IMAGES ?= 1000

hammer: ## Kills and power failures at random, for minutes; RIVERRUN_HAMMER_SEED and RIVERRUN_DISK_SEED repeat what they print
	RIVERRUN_HAMMER_SECONDS=$(HAMMER_SECONDS) cargo test --locked -p riverrun --test it hammer:: -- --nocapture
	RIVERRUN_DISK_IMAGES=$(DISK_IMAGES) cargo test --locked -p riverrun-store --test it disk::

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= canonical expression flow frame record http
FUZZ := $(TARGET)/tools/bin/cargo-fuzz

fuzz: $(FUZZ) ## Each fuzz target for FUZZ_SECONDS; no nightly toolchain is needed
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/found/$$target; \
		dictionary=fuzz/dictionaries/$$target.dict; \
		echo "== $$target"; \
		$(abspath $(FUZZ)) run --sanitizer none --features http $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 \
			$$(test -e $$dictionary && echo -dict=$$dictionary) || exit 1; \
	done

$(FUZZ):
	cargo install --quiet --locked cargo-fuzz --version 0.13.2 --root $(TARGET)/tools
