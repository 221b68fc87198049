#!/usr/bin/env bash
# Runs all tests with real engines at full length, one stack after the other: `make test` runs a part of them.
. "$(dirname "$0")/lib.sh"
# Each client needs two files of its own and six of Envoy, service and engine.
ulimit -n "$(ulimit -H -n)"
BERTH_HEAVY=1 cargo test --profile quick --locked --workspace --test e2e -- engines:: --include-ignored --nocapture --test-threads=1
