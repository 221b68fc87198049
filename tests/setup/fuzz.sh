#!/usr/bin/env bash
# Runs every fuzz target of tests/fuzz for a while: FUZZ_SECONDS each, 60 by default.
. "$(dirname "$0")/lib.sh"

cd tests/fuzz
# The sanitizer flags are unstable; with this any recent compiler takes them.
export RUSTC_BOOTSTRAP=1
# SQLite, linked with the service, has two static tables of one name; that is no fault.
export ASAN_OPTIONS="detect_odr_violation=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
for target in $(cargo fuzz list --fuzz-dir .); do
    say "== $target"
    cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -verbosity=0 -print_final_stats=1
done
