#!/usr/bin/env bash
# Builds the filter (target/wasm/berth_filter.wasm) and the binaries (target/release). Seconds when nothing has changed.
# `build.sh tests` builds the tests too. In one call, as the features of the dependencies (and so all of them) differ with the
# tests' own: whoever runs tests compiles everything once, not twice.
. "$(dirname "$0")/wasm.sh"

choose_route
step "filter, WebAssembly ($WASM_ROUTE route)" wasm_cargo build wasm32-wasip1 --profile filter -p berth-filter --locked
built=$(wasm_target_dir)/wasm32-wasip1/filter/berth_filter.wasm
mkdir -p target/wasm
# Envoy may have the old one open: replace it, do not write into it.
if ! cmp -s "$built" target/wasm/berth_filter.wasm; then
    cp "$built" target/wasm/.berth_filter.wasm
    mv target/wasm/.berth_filter.wasm target/wasm/berth_filter.wasm
fi
if [ "${1:-}" = tests ]; then
    step "service, simulator, harness and all tests" cargo build --release --locked --workspace --all-targets
else
    step "placement service, engine simulator, berth-run" cargo build --release --locked --workspace --bins
fi
