# The whole setup. Required: git, a C++ compiler, Rust, Python 3 with pip, and make; everything else is fetched into the user's
# cache (~/.cache/finetuned), once for all clones. One cargo profile is used for everything, so that the dependencies and the C++
# beside libtorch are compiled once.

CARGO := cargo
RELEASE := --release --locked
# Flags for `finetuned serve` in `make serve` (the FINETUNED_* variables of the environment count too), or for `make chaos`.
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help presumed libtorch build serve demo test check audit release wheel bench conformance chaos fuzz clean
MAKEFLAGS += --no-print-directory

# cargo finds libtorch only through the link .libtorch: with any other value it would compile torch-sys again. scripts/libtorch points the
# link at what the user's LIBTORCH names.
unexport LIBTORCH

ifdef CI
export CARGO_TERM_COLOR := never
endif

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

presumed:
	@scripts/presumed

libtorch: presumed ## Link .libtorch to a libtorch 2.11.0: LIBTORCH's, or one in the user's cache
	@LIBTORCH='$(LIBTORCH)' scripts/libtorch

build: libtorch ## Build target/release/finetuned and target/release/finetuned-worker
	$(CARGO) build $(RELEASE) --bins

serve: build ## Build and start the server (flags in ARGS, settings in FINETUNED_*)
	target/release/finetuned serve $(ARGS)

demo: build ## Train a classifier on generated images and classify one; the dashboard stays up until Ctrl-C
	@scripts/demo

test: libtorch ## Install what the tests need and run every test
	python3 -B -m unittest discover -s scripts/tests
	settings=$$(scripts/browser && scripts/tensorboard) && eval "$$settings" && $(CARGO) test $(RELEASE) --features otel
	python3 -B scripts/schemathesis --examples 4
	python3 -B scripts/chaos --short --slack 4

check: libtorch ## Formatting, lints, documentation, licences of the dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy $(RELEASE) --all-targets -- -D warnings
	$(CARGO) clippy $(RELEASE) --features otel --lib --bins --test traces -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(RELEASE) --no-deps
	cd fuzz && $(CARGO) check --locked
	scripts/cargo-deny --locked --log-level error check licenses bans sources

audit: presumed ## Known vulnerabilities of the dependencies (needs the advisory database from the network)
	scripts/cargo-deny --locked check advisories

release: build ## Make the tarball, the Debian package, their bill of materials and checksums, in target/packages
	python3 -B scripts/packages release

wheel: build ## Make the Python wheel of the two programs, in target/packages
	python3 -B scripts/packages wheel

bench: build ## Measure, and compare the numbers with their targets
	@status=0; for bench in benches/*.py; do python3 -B $$bench || status=1; done; exit $$status

conformance: build ## Hold a running server to openapi.yaml with Schemathesis: 5,000 requests or more (flags in ARGS)
	python3 -B scripts/schemathesis $(ARGS)

chaos: build ## Fault injection: kills, full disks, locks, overload (two hours; flags and scenarios in ARGS)
	python3 -B scripts/chaos $(ARGS)

fuzz: presumed ## Fuzz whatever reads the bytes of strangers, a minute for each reader (needs a C++ compiler, no libtorch)
	@scripts/fuzz

clean: ## Remove what was built (what was fetched stays in the user's cache)
	$(CARGO) clean
