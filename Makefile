# Everything that is done with this repository; `make` alone lists it.

CARGO ?= cargo
NPM ?= npm
PYTHON ?= python3
QUICK := target/quick/claimwright
PLAYGROUND_SOURCES := $(shell find playground -path playground/node_modules -prune -o -path playground/dist -prune -o -path playground/e2e -prune -o -type f -print 2>/dev/null)

.DEFAULT_GOAL := help
FUZZ_SECONDS ?= 300
CHAOS_KILLS ?= 200
PARTS ?=
BASE ?=
# What is measured: as it is shipped. `quick` builds in a third of the time and answers some tenths slower.
BENCH_PROFILE ?= release
.PHONY: help run test chaos bench bench-check soak fuzz lint schema docs playground playground-if-possible clients clients-if-possible clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: playground-if-possible ## Build, start, and the first time do the whole job with a sample
	$(CARGO) build --profile quick
	$(QUICK) serve --first-run samples/projects.csv

test: playground-if-possible clients-if-possible ## Run all tests in both modes, with servers, clients and a browser of their own
	tests/with-services $(CARGO) test --workspace

chaos: ## Kill processes at 200 random moments of drafting (CHAOS_KILLS, CHAOS_SEED), for each database
	CHAOS_KILLS=$(CHAOS_KILLS) nice tests/with-services $(CARGO) test --test it -- --nocapture chaos::only

# Both in one command: apart they would be built with other features of the dependencies, and all of them twice.
bench: ## Measure what requests and jobs cost beside the same by hand (PARTS=reads, say); writes docs/performance.md
	$(CARGO) build --profile $(BENCH_PROFILE) --bin claimwright --example bench
	ulimit -n 16384 2>/dev/null; WRITE_DOCUMENTS=1 $(CARGO) run --profile $(BENCH_PROFILE) --example bench -- $(PARTS)

bench-check: ## Compare the instructions that requests take with those of another commit (BASE=origin/main); needs valgrind
	tests/bench-check $(BASE)

soak: ## Watch the memory of the server under mixed load for ten minutes (SOAK_SECONDS)
	$(CARGO) build --profile $(BENCH_PROFILE) --bin claimwright --example bench
	$(CARGO) run --profile $(BENCH_PROFILE) --example bench -- soak

# Without the address sanitizer (nothing here is unsafe), so that a stable toolchain will do: hence RUSTC_BOOTSTRAP. What is
# found goes to fuzz/artifacts; new inputs stay out of the small corpus that is kept. The gate's targets stay beside the tests whose
# schema and comparison they share.
fuzz: ## Run each fuzz target for five minutes (FUZZ_SECONDS); needs cargo install --locked cargo-fuzz
	@for target in body message cursors csv; do \
		mkdir -p fuzz/target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 nice $(CARGO) fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 || exit 1; \
	done
	@cd crates/graphql-gate && for target in documents strings; do \
		mkdir -p fuzz/target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 nice $(CARGO) fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=1024 -max_len=2000 -print_final_stats=1 || exit 1; \
	done

lint: ## Check format, lints and, where cargo-deny is installed, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --workspace check licenses bans sources; \
	else \
		echo "cargo-deny is not installed: licences, bans and sources were NOT checked (cargo install --locked cargo-deny)."; \
	fi

schema: ## Write schema.graphql anew
	$(CARGO) build
	target/debug/claimwright schema > schema.graphql.new
	mv schema.graphql.new schema.graphql

docs: ## Write the documents anew that are made from the source
	WRITE_DOCUMENTS=1 $(CARGO) test --test it documents::

playground: playground/dist/index.html ## Build the playground that the server embeds

playground/node_modules/.package-lock.json: playground/package.json playground/package-lock.json
	cd playground && $(NPM) ci --no-audit --no-fund
	@touch $@

playground/dist/index.html: playground/node_modules/.package-lock.json $(PLAYGROUND_SOURCES)
	cd playground && $(NPM) run build
	@touch $@

# The server works without it and shows a page that says how to build it.
playground-if-possible:
	@if command -v $(NPM) >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory playground || echo "The playground was NOT built; the server shows a plain page instead."; \
	else \
		echo "npm was not found: the playground is NOT built; the server shows a plain page instead."; \
	fi

clients: tests/clients/node_modules/.package-lock.json target/clients-python/installed ## Install the clients of others that the tests run

tests/clients/node_modules/.package-lock.json: tests/clients/package.json tests/clients/package-lock.json
	cd tests/clients && $(NPM) ci --no-audit --no-fund
	@touch $@

target/clients-python/installed: tests/clients/requirements.txt
	$(PYTHON) -m venv target/clients-python
	target/clients-python/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clients-if-possible:
	@if ! $(MAKE) --no-print-directory --keep-going clients; then \
		echo "!!! Not every client of others could be installed: the tests that need them fail. !!!"; \
	fi

clean: ## Remove what was built (the data folder stays)
	$(CARGO) clean
	rm -rf playground/dist playground/node_modules tests/clients/node_modules schema.graphql.new
