#!/usr/bin/env bash
# The end-to-end tests that can last, at full length and one after the other: a million requests, ten minutes of chaos, 2,000
# sockets. Prints what they measure; the memory curve lies in target/soak/memory.csv.
. "$(dirname "$0")/lib.sh"
# Every socket is two files of this process and four of Envoy's.
ulimit -n "$(ulimit -H -n)"
BERTH_SOAK=1 cargo test --release --locked --workspace --test e2e -- \
    live:: memory:: chaos:: outages:: slow_bodies:: --nocapture --test-threads=1
