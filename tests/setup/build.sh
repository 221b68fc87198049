#!/usr/bin/env bash
# Builds the filter (target/wasm/berth_filter.wasm) and the binaries: build.sh [MODE], by default `release`.
# Takes seconds when nothing has changed.
#   release  target/release, for production, benchmarks and the simulation
#   quick    target/quick: compiles in half the time, runs slower. It enables the features that the tests
#            add to dependencies, so that `tests` does not compile these again
#   tests    like quick, with the tests
#   soak     like tests, in target/release
#   filter   the filter alone, with and without a trap
#   module   the filter alone
#   static [PROFILE]  target/ARCH-unknown-linux-musl/PROFILE, for images and releases: programs that need no shared library
. "$(dirname "$0")/wasm.sh"

# filter NAME ARGUMENT...: builds the filter as target/wasm/NAME.wasm.
filter() {
    local name=$1 built
    shift
    wasm_cargo build wasm32-wasip1 --profile filter -p berth-filter --locked "$@"
    built=$(wasm_target_dir)/wasm32-wasip1/filter/berth_filter.wasm
    mkdir -p target/wasm
    node tests/setup/exports.mjs "$built" "target/wasm/$name.wasm"
}

# with_tests PROFILE...: everything of the workspace. --all-targets leaves out the end-to-end tests, which run only by name.
with_tests() {
    cargo build "$@" --locked --workspace --all-targets
    cargo build "$@" --locked --workspace --test e2e
}

# static_binaries PROFILE: the programs of the images, linked with musl. C code (SQLite, ring) is compiled by musl-gcc.
static_binaries() {
    local target
    target=$(static_target)
    rustc --print target-libdir --target "$target" | xargs test -d || rustup target add "$target"
    RUSTFLAGS="$(remap_flags)" CFLAGS="-ffile-prefix-map=$PWD=/berth -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
        cargo build --profile "$1" --locked --target "$target" --bins -p berth-placement -p berth-engine-sim -p berth-harness
}

choose_route
step "filter, WebAssembly ($WASM_ROUTE route)" filter berth_filter
case ${1:-release} in
    release) step "placement service, engine simulator, tools" cargo build --release --locked --workspace --bins ;;
    quick)
        step "placement service, engine simulator, berth-run" cargo build --profile quick --locked --bins \
            -p berth-placement -p berth-store -p berth-engine-sim -p berth-harness --features berth-store/conformance,berth-harness/tests
        ;;
    tests)
        # A filter that traps when a test requests it. Never shipped.
        step "filter with a trap, for tests" filter berth_filter_trap --features trap
        step "service, simulator, harness and all tests" with_tests --profile quick
        ;;
    soak)
        step "filter with a trap, for tests" filter berth_filter_trap --features trap
        step "service, simulator, harness and tests, optimised" with_tests --release
        ;;
    filter) step "filter with a trap, for tests" filter berth_filter_trap --features trap ;;
    module) ;;
    static)
        need musl-gcc "apt-get install -y musl-tools"
        step "static binaries" static_binaries "${2:-release}"
        ;;
    *) die "build.sh: $1?" ;;
esac
