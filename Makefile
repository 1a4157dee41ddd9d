# Each target sets up what it needs on a fresh Debian 12 with Python 3.11 and git.
SHELL := /bin/bash
PRESET ?= release
SCALE ?=
REPEAT ?= 3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export CCACHE_MAXSIZE ?= 5G
export NINJA_STATUS := [%f/%t] 

.PHONY: setup build demo test test-unit test-go test-python lint format bench lock clean

setup:
	@tools/setup

build: setup
	@cmake --preset $(PRESET) > build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log
	@cmake --build --preset $(PRESET)

demo: build
	@$(VENV)/bin/python demo/demo.py --scale $(or $(SCALE),0.1)

test: build lint test-unit test-go test-python

test-unit: build
	@$(VENV)/bin/python -m snowmelt_sandbox.postgres -- ctest --preset $(PRESET)

test-go: build
	@tools/go-test

test-python: build
	@$(VENV)/bin/python -m pytest tests

lint: setup
	@tools/lint

format: setup
	@git ls-files --cached --others --exclude-standard '*.h' '*.cc' | xargs clang-format -i
	@gofmt -w bridge
	@ruff format -q . && ruff check -q --fix .

# Only for maintainers: newest versions that fit requirements.in, with hashes.
lock:
	@tools/lock

bench: build
	@bench/setup
	@SCALE=$(or $(SCALE),1) REPEAT=$(REPEAT) $(VENV)/bin/python bench/run.py

clean:
	@rm -rf build build-*
