# Needs make and Python 3.11 or later, nothing else: everything is installed into .venv.
# Another interpreter: `make test PYTHON=python3.13` (after `make clean`).

PYTHON ?= python3
SECONDS ?= 60
SEED ?= $(shell date +%s)
SEED := $(SEED)
TESTS ?= tests
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
LEAVES ?= 100000000
MEASURED := build/benchmarks
RECORD := -p tests.campaigns.trace.plugin --evidence build/evidence/tests.jsonl
# Tests that need Spin are skipped where there is none, unless that is forbidden, as in .ci/run.
SKIPPING = $(if $(filter-out 0,$(ROTORTREE_REQUIRE_SPIN)),,--allow-skipped)
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n auto --dist loadgroup
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# What an installation depends on.  The folders are source roots: a new package changes them.
SOURCES := pyproject.toml setup.py rotortree/kernel/_native.c rotortree/kernel/_paths.h rotortree/kernel/_tree.h rotortree/kernel/_hashing.h rotortree/kernel/_lanes.h model faultinject

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help run test test-long test-kernels check crash fuzz exhaustive fuzz-decoders kill-score damage bench bench-quick scale instructions spec symbolic mutants trace sanitize cross clean

help:
	@echo "make run          install the package into $(VENV) and run the demonstration"
	@echo "make test         ruff, mypy --strict, all tests but the long ones, on all cores"
	@echo "make test-long    the tests that take long"
	@echo "make test-kernels all tests, with each kernel that the machine would not choose"
	@echo "make check        ruff and mypy --strict alone"
	@echo "make crash        every crash of the built-in workloads, under every profile, to depth 3"
	@echo "make fuzz         random lives of a tree, crashed everywhere; SECONDS=60, SEED: the clock"
	@echo "make exhaustive   everything that is small: shapes of trees, histories and their crashes"
	@echo "make fuzz-decoders  decoders of proofs and files; SECONDS=60, 0: for ever"
	@echo "make kill-score   plant every known fault in the tree, and see that it is caught"
	@echo "make damage       damage every byte of small trees, and see what opening makes of it"
	@echo "make spec         the protocol model, searched exhaustively, and mutants of it"
	@echo "make symbolic     the pure functions, executed symbolically"
	@echo "make mutants      small changes of what the tree rests on, which its tests must notice"
	@echo "make trace        each requirement and its evidence: into build/trace, after those two"
	@echo "make bench        the benchmarks, in full: into build/benchmarks"
	@echo "make bench-quick  the benchmarks, at small sizes"
	@echo "make scale        a tree of 100 million leaves on disk; LEAVES=1000000000"
	@echo "make instructions the regression guard: instructions per operation against the record"
	@echo "make sanitize     the native kernel under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make cross        the native kernel for AArch64, under qemu"
	@echo "make clean        remove $(VENV), caches and build results"

run: $(VENV)/.installed
	@$(BIN)/python -m rotortree.demo

test: check
	@echo "pytest"
	@$(PYTEST) -m "not long" $(RECORD)
	@echo "requirements"
	@$(BIN)/python -m tests.campaigns.trace tests $(SKIPPING)

test-long: $(VENV)/.installed-dev
	@echo "pytest -m long"
	@$(PYTEST) -m long

test-kernels: $(VENV)/.installed-dev
	@for kernel in $$($(BIN)/python -m tests.kernels); do \
	    echo "pytest $(TESTS), ROTORTREE_NATIVE=$$kernel"; \
	    ROTORTREE_NATIVE=$$kernel $(PYTEST) -m "not long" $(TESTS) \
	        || exit 1; \
	done

check: $(VENV)/.installed-dev
	@echo "ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "ruff format --check"
	@$(BIN)/ruff format --quiet --check . || \
	    { echo "Not formatted: run $(BIN)/ruff format" >&2; exit 1; }
	@echo "mypy --strict"
	@$(BIN)/mypy --no-error-summary

crash: $(VENV)/.installed
	@$(BIN)/rotortree-crash explore --depth 3 --kills --jobs $(JOBS) --per-point 256 \
	    --profile prefix --profile ext4-ordered --profile ext4-writeback --profile xfs \
	    --profile btrfs --profile posix

fuzz: $(VENV)/.installed
	@echo "seed $(SEED)"
	@$(BIN)/rotortree-crash fuzz --seconds $(SECONDS) --seed $(SEED) --jobs $(JOBS) \
	    --findings findings

exhaustive: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.campaigns.exhaustive --jobs $(JOBS)

fuzz-decoders: $(VENV)/.installed-fuzz
	@$(BIN)/python -m tests.campaigns.decoders --seconds $(SECONDS) --seed $(SEED) --jobs $(JOBS)

kill-score: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.campaigns.kill_score --jobs $(JOBS)

damage: $(VENV)/.installed
	@$(BIN)/rotortree-crash damage --jobs $(JOBS)

spec: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.campaigns.protocol --jobs $(JOBS)

symbolic: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.campaigns.symbolic --jobs $(JOBS)

mutants: $(VENV)/.installed-mutants
	@$(BIN)/python -m tests.campaigns.mutants --jobs $(JOBS)

# A test that fails is in the record, and the matrix says of what it was to be evidence.
# As in .ci/run, the native kernel must be used where there is a compiler: nothing falls back in silence.
trace: ROTORTREE_REQUIRE_NATIVE ?= $(if $(shell command -v $(CC) 2>/dev/null),1)
trace: $(VENV)/.installed-dev
	@echo "pytest -m evidence"
	@status=0; \
	ROTORTREE_REQUIRE_NATIVE=$(ROTORTREE_REQUIRE_NATIVE) \
	$(PYTEST) -q -m evidence $(RECORD) || status=$$?; \
	$(BIN)/python -m tests.campaigns.trace && exit $$status

bench: $(VENV)/.installed-bench
	@mkdir -p $(MEASURED)
	@$(BIN)/python benchmarks/run.py --json $(MEASURED)/full.json --plots $(MEASURED)

bench-quick: $(VENV)/.installed-bench
	@mkdir -p $(MEASURED)
	@$(BIN)/python benchmarks/run.py --quick --json $(MEASURED)/quick.json

scale: $(VENV)/.installed-bench
	@mkdir -p $(MEASURED)
	@$(BIN)/python benchmarks/scale.py --leaves $(LEAVES) \
	    --json $(MEASURED)/scale.json --plots $(MEASURED)

instructions: $(VENV)/.installed
	@$(BIN)/python benchmarks/instructions.py

# In a copy, so that the checkout keeps its own kernel.  Python leaks on purpose; a test wants to see a SIGSEGV.
sanitize: $(VENV)/.installed-dev
	@rm -rf build/sanitize && mkdir -p build/sanitize
	@cp -r rotortree model faultinject tests specs pyproject.toml setup.py README.md LICENSE-* \
	    build/sanitize && rm -f build/sanitize/rotortree/kernel/*.so
	@echo "building the kernel with -fsanitize=address,undefined"
	@cd build/sanitize && ROTORTREE_REQUIRE_NATIVE=1 \
	    CFLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" \
	    $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace
	@cd build/sanitize && ROTORTREE_REQUIRE_NATIVE=1 PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:handle_segv=0 \
	    LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so)" \
	    $(CURDIR)/$(BIN)/python -m pytest -p no:cacheprovider \
	    tests/tree/test_native*.py tests/tree/test_kernel.py tests/tree/test_verify_many.py

cross: $(VENV)/.installed-dev
	@for program in aarch64-linux-gnu-gcc qemu-aarch64; do \
	    command -v $$program >/dev/null || { echo "There is no $$program." \
	        "On Debian and Ubuntu: apt-get install gcc-aarch64-linux-gnu qemu-user" >&2; exit 1; }; \
	done
	@$(BIN)/python -m pytest tests/native -k aarch64

clean:
	@rm -rf $(VENV) build dist *.egg-info .coverage* htmlcov
	@rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@rm -f rotortree/kernel/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: an installation is repeated only when what it depends on is newer.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "RotorTree needs Python 3.11 or later, and $(PYTHON) is not:" \
	        "try make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || test -x $(BIN)/python || \
	    { echo "$(PYTHON) cannot create virtual environments." \
	        "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
	    { echo "creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	@echo "installing rotortree into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.created $(SOURCES)
	@echo "installing rotortree[dev] into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(VENV)/.created $(SOURCES)
	@echo "installing rotortree[bench] into $(VENV)"
	@$(PIP) install --editable '.[bench]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-mutants: $(VENV)/.installed-dev
	@echo "installing rotortree[mutants] into $(VENV)"
	@$(PIP) install --editable '.[mutants]'
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

# Without atheris, which is not everywhere, the fuzzer runs unguided.
$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	@echo "installing rotortree[fuzz] into $(VENV)"
	@$(PIP) install --editable '.[fuzz]' || echo "atheris could not be installed"
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@
