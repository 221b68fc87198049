#!/usr/bin/env bash
# Checks formatting, clippy natively and for WebAssembly, and licences, bans and sources of the dependencies.
. "$(dirname "$0")/wasm.sh"
choose_route

rustup_component() { cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2"; }
step "rustfmt and clippy" eval 'rustup_component fmt rustfmt && rustup_component clippy clippy'
step "formatting" cargo fmt --all --check
export RUSTC_WORKSPACE_WRAPPER=$PWD/tests/setup/clippy.sh
step "clippy" cargo build --keep-going --profile quick --locked --workspace --all-targets
step "clippy, end-to-end tests" cargo build --profile quick --locked --workspace --test e2e
unset RUSTC_WORKSPACE_WRAPPER
if [ "$WASM_ROUTE" = debian ]; then
    # shellcheck disable=SC2086
    step "Debian's clippy" apt $DEBIAN_LINT_PACKAGES
fi
step "clippy, WebAssembly" wasm_cargo clippy wasm32-wasip1 --profile filter --locked -p berth-filter -- -D warnings
# Also the crates of other platforms, which no build has downloaded.
step "all crates of the lock file" cargo fetch --locked
step "bans, licences, sources" cargo-deny --offline check bans licenses sources
