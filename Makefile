# Every target does its own set-up; `make setup` takes less than a second when there is nothing to do.
BIN := .venv/bin
ALL_TIERS := not (perf or appliance)
HARNESS := PYTHONPATH=tests $(BIN)/python -m harness

.PHONY: setup demo test check soak bench release lock

setup:
	@tools/setup

# DEMO=standalone: a device with no cloud.
DEMO := tpm
demo: setup
	@$(BIN)/skerry-factory demo --identity $(DEMO)

test: setup
	@$(HARNESS).lint
	@SKERRY_COUNTS=reduced $(BIN)/pytest -m "$(ALL_TIERS) and not soak"

soak: setup
	@SKERRY_COUNTS=full $(BIN)/pytest -m "$(ALL_TIERS)"

check: setup
	@$(HARNESS).lint --with-tests

bench: setup
	@$(BIN)/skerry-factory bench

release: test
	@tools/release

lock: setup
	@$(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --extra factory --extra lab --extra dev --extra tpm --extra pkcs11 \
	  --custom-compile-command "make lock" -o requirements/dev.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" -o requirements/sdk.lock requirements/sdk.in
