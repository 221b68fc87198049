#!/usr/bin/env bash
# Runs the long end-to-end tests at full length and one after the other: a million requests, ten minutes of chaos,
# 2,000 sockets. Prints their measurements; the memory curve is in target/soak/memory.csv.
. "$(dirname "$0")/lib.sh"
# Each socket needs two files of this process and four of Envoy's.
ulimit -n "$(ulimit -H -n)"
BERTH_SOAK=1 cargo test --release --locked --workspace --test e2e -- \
    live:: memory:: chaos:: outages:: slow_bodies:: --nocapture --test-threads=1
