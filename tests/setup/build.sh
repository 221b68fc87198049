#!/usr/bin/env bash
# Builds the filter (target/wasm/berth_filter.wasm) and the binaries (target/release). Seconds when nothing has changed.
# `build.sh tests` builds the tests too. In one call, as the features of the dependencies (and so all of them) differ with the
# tests' own: whoever runs tests compiles everything once, not twice.
. "$(dirname "$0")/wasm.sh"

# filter NAME ARGUMENT...: builds the filter and puts it under this name.
filter() {
    local name=$1 built
    shift
    wasm_cargo build wasm32-wasip1 --profile filter -p berth-filter --locked "$@"
    built=$(wasm_target_dir)/wasm32-wasip1/filter/berth_filter.wasm
    mkdir -p target/wasm
    # Envoy may have the old one open: replace it, do not write into it.
    if ! cmp -s "$built" "target/wasm/$name.wasm"; then
        cp "$built" "target/wasm/.$name.wasm"
        mv "target/wasm/.$name.wasm" "target/wasm/$name.wasm"
    fi
}

choose_route
step "filter, WebAssembly ($WASM_ROUTE route)" filter berth_filter
if [ "${1:-}" = tests ]; then
    # With a trap to be sprung by tests. Never shipped.
    step "filter with a trap, for tests" filter berth_filter_trap --features trap
    step "service, simulator, harness and all tests" cargo build --release --locked --workspace --all-targets
else
    step "placement service, engine simulator, berth-run" cargo build --release --locked --workspace --bins
fi
