# Each target sets up what it needs on a fresh Debian 12 with Python 3.11, git and make.
SHELL := /bin/bash
PRESET ?= release
SCALE ?=
REPEAT ?= 5
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export CCACHE_MAXSIZE ?= 5G
export NINJA_STATUS := [%f/%t] 

.PHONY: setup setup-test configure build demo test test-more test-pairs test-matrix test-unit test-asan test-tsan test-bare fuzz test-go test-python lint format bench bench-connections bench-encoder bench-growth fidelity docs lock clean

setup:
	@tools/setup

setup-test:
	@tools/setup tests

configure: setup
	@cmake --preset $(PRESET) > build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log

# The program and the Python package; the unit tests are built by test-unit.
build: configure
	@cmake --build --preset $(PRESET)

# Only what it needs: neither tests nor the Python package.
demo: configure
	@cmake --build --preset $(PRESET) --target snowmelt
	@$(VENV)/bin/python demo/demo.py --scale $(or $(SCALE),0.1)

test: build lint test-unit test-tsan test-go test-python

test-unit: configure
	@cmake --build --preset $(PRESET) --target unit_tests
	@$(VENV)/bin/python -m snowmelt_sandbox.postgres -- ctest --preset $(PRESET)

# Whatever has threads: managers, budget, downloads, feeds, the run loop. What Arrow does inside is not seen (tests/tsan.supp).
TSAN_TESTS := base_connection snowflake_connection postgres_connection login_lock work_budget result_chunks result_reader \
  snowflake_data_extractor part_feed encoder_thread parallel_copy table_loop
empty :=
TSAN_PATTERN := /($(subst $(empty) $(empty),|,$(strip $(TSAN_TESTS))))$$
test-tsan: build
	@cmake --preset tsan > build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log
	@cmake --build --preset tsan --target $(TSAN_TESTS:=_test)
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" \
	  $(VENV)/bin/python -m snowmelt_sandbox.postgres -- ctest --preset tsan -R '$(TSAN_PATTERN)'

# Every wait x every signal x every state of the far side.
test-matrix: setup-test build
	@SNOWMELT_MATRIX=all $(VENV)/bin/python -m pytest tests/test_stopping.py

# What takes longer than `make test` may (25 minutes with warm caches).
test-more: test-asan test-pairs test-matrix test-bare fuzz

# Hostile bytes against every reader of ours, MINUTES in all; a finding fails.
MINUTES ?= 20
fuzz: setup
	@tools/fuzz $$(($(MINUTES) * 60))

# Unit tests, and program tests of what handles bytes, files and loads, by the address and undefined-behaviour sanitizers.
test-asan: setup-test
	@cmake --preset asan > build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log
	@cmake --build --preset asan --target all unit_tests
	@tools/test-asan

# Simultaneous loads of one target, with changes of the table by a third session between.
PAIRS ?= 200
test-pairs: setup-test build
	@SNOWMELT_PAIRS=$(PAIRS) $(VENV)/bin/python -m pytest tests/test_beside_others.py -k pairs

test-bare:
	@tools/bare-machine test

test-go: setup
	@tools/go-test

test-python: setup-test build
	@$(VENV)/bin/python -m pytest tests

lint: setup
	@tools/setup lint
	@tools/lint

format: setup
	@tools/setup lint
	@git ls-files --cached --others --exclude-standard '*.h' '*.cc' | xargs clang-format -i
	@gofmt -w bridge
	@ruff format -q . && ruff check -q --fix .

# Pages that the program itself writes; a test holds them against it.
docs: build
	@build/snowmelt types > docs/types.md
	@$(VENV)/bin/python tools/docs-keys

# Only for maintainers: newest versions that fit requirements.in, with hashes.
lock:
	@tools/lock

bench: setup-test build
	@bench/setup
	@SCALE=$(or $(SCALE),1) REPEAT=$(REPEAT) $(VENV)/bin/python bench/run.py

# A value's cost by type, beside pgpq's encoder.
bench-encoder: setup-test build
	@bench/setup
	@cmake --build --preset $(PRESET) --target copy_encoder_bench
	@SCALE=$(or $(SCALE),1) $(VENV)/bin/python bench/encoder.py

# Time and memory by rows, columns and tables.
bench-growth: setup-test build
	@$(VENV)/bin/python bench/growth.py

# The seed's table of logins and overhead, measured.
bench-connections: setup-test build
	@$(VENV)/bin/python bench/connections.py

# Edge values through snowmelt and its peers, cell by cell.
fidelity: setup-test build
	@bench/setup
	@$(VENV)/bin/python bench/fidelity.py

clean:
	@rm -rf build build-*
