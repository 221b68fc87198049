# Sourced: selects and calls the toolchain for WebAssembly. BERTH_WASM_ROUTE=rustup|debian forces one.
#   rustup   the installed toolchain has the targets, or rustup downloads them
#   debian   the packages of Debian 12, with the standard library built from source
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WASM_TARGETS="wasm32-wasip1 wasm32-unknown-unknown"

has_targets() {
    local lib target
    lib=$(rustc --print sysroot)/lib/rustlib
    for target in $WASM_TARGETS; do
        [ -d "$lib/$target/lib" ] || return 1
    done
}

try_rustup() {
    has_targets && return
    command -v rustup >/dev/null || return 1
    # shellcheck disable=SC2086
    timeout 180 rustup target add $WASM_TARGETS >"$LOGS/rustup.log" 2>&1 && has_targets
}

try_debian() {
    command -v apt-get >/dev/null || die "no WebAssembly target: neither 'rustup target add $WASM_TARGETS' nor Debian's packages work here"
    # shellcheck disable=SC2086
    step "Debian packages for WebAssembly" apt $DEBIAN_WASM_PACKAGES
}

choose_route() {
    local chosen
    chosen=${BERTH_WASM_ROUTE:-$(cat "$TOOLS/wasm-route" 2>/dev/null || true)}
    case $chosen in
        rustup) try_rustup || die "rustup cannot add $WASM_TARGETS; see $LOGS/rustup.log" ;;
        debian) try_debian ;;
        "") if try_rustup; then chosen=rustup; else chosen=debian; try_debian; fi ;;
        *) die "BERTH_WASM_ROUTE=$chosen: rustup or debian" ;;
    esac
    WASM_ROUTE=$chosen
    # A forced route is not stored.
    [ -n "${BERTH_WASM_ROUTE:-}" ] || echo "$chosen" >"$TOOLS/wasm-route"
}

# wasm_cargo COMMAND TARGET ARGUMENT...: runs cargo for a WebAssembly target with the selected toolchain.
wasm_cargo() {
    local command=$1 target=$2
    shift 2
    if [ "$WASM_ROUTE" = rustup ]; then
        RUSTFLAGS="$(remap_flags)" cargo "$command" --target "$target" "$@"
    else
        local cargo=/usr/bin/cargo
        # `cargo clippy` would find rustup's program in cargo's home before Debian's.
        [ "$command" != clippy ] || cargo=/usr/bin/cargo-clippy
        env PATH="/usr/bin:/bin:$(dirname "$(command -v node)"):$TOOLS/bin" RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 \
            RUSTFLAGS="-L /usr/lib/wasm32-wasi $(RUSTC=/usr/bin/rustc remap_flags)" CARGO_TARGET_DIR="$TARGET/debian" \
            "$cargo" "$command" --target "$target" -Zbuild-std=std,panic_abort "$@"
    fi
}

wasm_target_dir() {
    if [ "$WASM_ROUTE" = rustup ]; then echo "$TARGET"; else echo "$TARGET/debian"; fi
}
