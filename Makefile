# The two commands of a newcomer are `make run` and `make test`; both install what is missing (Debian and its kin).

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
CONFIG ?= conf/tollgate.yaml
# What is installed where it is missing: the versions that the tests and deny.toml were written for.
NEXTEST := 0.9.143
DENY := 0.20.2
# `default` on a desk, `ci` in .ci/run.
NEXTEST_PROFILE ?= default

VENV := .venv/.stamp
NODE := tests/sdk/node/node_modules/.stamp tests/browser/node_modules/.stamp

.PHONY: help run build test test-tools lint audit schema openapi bench soak cargo

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: build ## Build, then serve a demo on SQLite: nothing else is needed
	$(TARGET)/release/tollgate serve --demo -c $(CONFIG)

build: cargo ## Build the binary in the release profile
	$(CARGO) build --release --locked --bin tollgate

test: cargo test-tools $(VENV) $(NODE) ## Install what the tests need, then run all of them
	$(CARGO) test --release --locked --workspace --doc
	$(CARGO) nextest run --release --locked --workspace --profile $(NEXTEST_PROFILE)

lint: cargo ## Formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

audit: cargo ## Licences, sources and known holes of what is built in; CHECKS="licenses bans sources" needs no network
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --version $(DENY) --locked
	$(CARGO) deny --locked check $(CHECKS)

schema: build ## Write the JSON Schema of the configuration, which editors check the examples with
	$(TARGET)/release/tollgate schema > docs/config.schema.json

openapi: build ## Write the OpenAPI document of the REST API
	$(TARGET)/release/tollgate openapi > docs/openapi.json

bench: cargo ## Criterion, then the real binary beside a plain Pingora proxy; SHORT=1 for a quick look
	$(CARGO) bench --locked --bench '*' -- $(if $(SHORT),--quick)

soak: cargo test-tools ## The load tests with big numbers
	TOLLGATE_SOAK=1 $(CARGO) nextest run --release --locked --workspace --profile soak -E 'test(soak)'

# Pingora's crates build zlib-ng, which needs cmake; bundled SQLite and ring need a C compiler.
cargo:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: get 1.95 or newer from rustup.rs" >&2; exit 1; }
	@scripts/need cmake:cmake cc:build-essential

test-tools:
	@scripts/need redis-server:redis-server initdb:postgresql python3:python3 node:nodejs npm:npm \
		faketime:faketime chromium:chromium curl:curl
	@python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/need no-venv:python3-venv
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --version $(NEXTEST) --locked

$(VENV): tests/sdk/requirements.txt | test-tools
	python3 -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(NODE): %/node_modules/.stamp: %/package-lock.json | test-tools
	cd $* && npm ci --no-audit --no-fund
	touch $@
