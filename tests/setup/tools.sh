#!/usr/bin/env bash
# Installs what the named tasks need beyond cargo: tools.sh [run|test|lint|fuzz]... Finds at once what is there already.
. "$(dirname "$0")/lib.sh"

# tool NAME VERSION BINARY ARGUMENT...: a cargo tool in .tools/bin, by `cargo install`, with a stamp of its version.
tool() {
    local name=$1 version=$2 binary=$3
    shift 3
    [ -x "$TOOLS/bin/$binary" ] && [ "$(cat "$TOOLS/$name.version" 2>/dev/null)" = "$version" ] && return
    # Unoptimised: minutes less to build, and their work is small.
    step "$name $version" cargo install "$name" --version "=$version" --root "$TOOLS" --debug --force --target-dir "$TARGET/tools" "$@"
    rm -rf "${TARGET:?}/tools"
    echo "$version" >"$TOOLS/$name.version"
}

npm_packages() {
    local stamp=tests/clients/node_modules/.package-lock.json
    [ "$stamp" -nt tests/clients/package-lock.json ] && return
    step "npm packages of the clients" npm ci --prefix tests/clients --no-audit --no-fund
    touch "$stamp"
}

tests/setup/prerequisites.sh
for task in "$@"; do
    case $task in
        run)
            tests/setup/envoy.sh
            npm_packages
            ;;
        test)
            tests/setup/envoy.sh
            npm_packages
            bindgen=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
            # Without --locked: its lock file asks for newer crates than it was published with.
            tool wasm-bindgen-cli "$bindgen" wasm-bindgen-test-runner --no-default-features
            ;;
        lint) tool cargo-deny "$CARGO_DENY_VERSION" cargo-deny --locked ;;
        fuzz) tool cargo-fuzz "$CARGO_FUZZ_VERSION" cargo-fuzz --locked ;;
        *) die "tools.sh: $task?" ;;
    esac
done
