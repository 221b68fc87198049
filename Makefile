# Berth. `make help` lists the commands. Each installs what it needs into .tools/ and target/.
# Versions of the tools: tests/setup/versions.env. The scripts of the commands: tests/setup/.

.DEFAULT_GOAL := help
.PHONY: help run test build lint e2e engines bench sim validate judges soak fuzz fuzz-smoke audit images dist setup ready clean

help: ## List these commands
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start three engines, the placement service and Envoy; Ctrl-C ends everything
	@tests/setup/tools.sh run
	@tests/setup/build.sh quick
	@exec target/quick/berth-run

test: ready ## Run every suite; the last line is `N passed, N failed`
	@tests/setup/test.sh

ready: ## Install and build what the tests need
	@tests/setup/prepare.sh

setup: ## Install what the tests need
	@tests/setup/tools.sh test

build: ## Build the filter and the binaries
	@tests/setup/prerequisites.sh
	@tests/setup/build.sh

lint: ## Check formatting, clippy, licences and sources
	@tests/setup/tools.sh lint
	@tests/setup/lint.sh

e2e: ready ## Run the end-to-end tests only
	@tests/setup/test.sh e2e

engines: ready ## Run the tests with real engines (Jupyter, Hocuspocus, Streamlit) at full length
	@tests/setup/engines.sh

bench: build ## Measure handshakes, echo and stores; writes a table and JSON
	@tests/setup/tools.sh run databases
	@target/release/berth-bench

sim: ## Simulate every placement strategy; writes tables and JSON
	@tests/setup/prerequisites.sh
	@cargo build --release --locked --workspace --bins
	@target/release/berth-sim

soak: setup ## Run the long tests of memory, chaos, revocation and slow bodies (about 25 minutes)
	@tests/setup/build.sh soak
	@tests/setup/soak.sh

validate: ## Let Envoy check the configurations
	@tests/setup/tools.sh run
	@tests/setup/build.sh quick
	@tests/setup/test.sh validate

judges: ## Judge the installs for Istio, Kubernetes and Envoy Gateway with the real programs (needs Go)
	@tests/setup/tools.sh run
	@tests/setup/build.sh quick
	@tests/setup/judges.sh

fuzz: ## Fuzz each parser of untrusted bytes for a minute; TARGETS="calls jwt", FUZZ_SECONDS, FUZZ_RUNS
	@tests/setup/prerequisites.sh
	@tests/setup/fuzz.sh run $(TARGETS)

fuzz-smoke: ## Run each fuzz target on its committed corpus and a few mutations, as make test does
	@tests/setup/prerequisites.sh
	@cargo test --profile quick --locked --workspace --test corpus

audit: ## Check the dependencies for known vulnerabilities (needs the network)
	@tests/setup/tools.sh audit
	@tests/setup/audit.sh

images: ## Build the container images and run them (as root, without Docker); target/images/*.tar
	@tests/setup/tools.sh run static images
	@tests/setup/build.sh static
	@tests/setup/images.sh

dist: ## Build the files of a release with checksums and bills of materials; target/dist
	@tests/setup/tools.sh static
	@tests/setup/build.sh static
	@tests/setup/dist.sh

clean: ## Remove everything that was built or installed, except apt packages
	rm -rf target .tools tests/fuzz/target tests/clients/node_modules tests/browser/node_modules tests/engines/node_modules tests/provider/node_modules
