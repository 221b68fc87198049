#!/usr/bin/env bash
# Builds the filter (target/wasm/berth_filter.wasm) and the binaries (target/release). Seconds when nothing has changed.
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
step "placement service, engine simulator, berth-run" cargo build --release --locked --bins
