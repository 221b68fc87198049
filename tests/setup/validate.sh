#!/usr/bin/env bash
# Lets Envoy check the configurations: the shipped ones must pass, and modified ones must fail. `--mode validate`
# loads the filter and runs its on_configure. A filter that is discovered from a file is checked inside a rendered
# configuration.
. "$(dirname "$0")/lib.sh"

envoy=${ENVOY_PATH:-$TOOLS/envoy}
passed=0 failed=0
dir=$(mktemp -d "$TARGET/validate.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# judge ok|refused NAME FILE [WORDS]: the expected result of Envoy for FILE, and words that an error must contain.
judge() {
    local verdict=refused log=$dir/log
    if "$envoy" --mode validate -c "$3" >"$log" 2>&1; then verdict=ok; fi
    if [ "$verdict" = "$1" ] && grep -q -- "${4:-.}" "$log"; then
        say "test $2 ... ok"
        passed=$((passed + 1))
    else
        say "test $2 ... FAILED: $verdict"
        grep -vE '\]\[info\]' "$log" | tail -n 15
        failed=$((failed + 1))
    fi
}

judge ok "envoy/config.yaml" envoy/config.yaml
judge ok "envoy/minimal.yaml" envoy/minimal.yaml
# With TLS, as envoy/README.md describes it, and a certificate for this run.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
    -keyout "$dir/tls.key" -out "$dir/tls.crt" 2>/dev/null
sed "s/#tls //; s|/etc/berth/tls|$dir/tls|g" envoy/config.yaml >"$dir/tls.yaml"
grep -q '^ *transport_socket:' "$dir/tls.yaml" || die "validate.sh: config.yaml has no TLS part"
judge ok "envoy/config.yaml with TLS" "$dir/tls.yaml"
sed 's/alpn_protocols/alpn_protocolls/' "$dir/tls.yaml" >"$dir/spoilt.yaml"
judge refused "an unknown field of its TLS part" "$dir/spoilt.yaml" alpn_protocolls
# spoil FILE SED-EXPRESSION: a copy with one change. If nothing changes, this script has a fault.
spoil() {
    sed -E "$2" "$1" >"$dir/spoilt.yaml"
    ! cmp -s "$1" "$dir/spoilt.yaml" || die "validate.sh: nothing to spoil in $1: $2"
}
inline() { target/quick/berth-run --render-inline >"$1"; }
inline "$dir/inline.yaml"
judge ok "envoy/filter.yaml in its place" "$dir/inline.yaml"
spoil envoy/minimal.yaml 's/action: place/action: plaice/'
judge refused "an unknown action" "$dir/spoilt.yaml" plaice
spoil envoy/minimal.yaml 's/cookie: berth/cookies: berth/'
judge refused "an unknown field of the filter" "$dir/spoilt.yaml" cookies
spoil envoy/minimal.yaml 's/berth_filter\.wasm/absent.wasm/'
judge refused "a missing module" "$dir/spoilt.yaml"
head -c 4096 /dev/zero >"$dir/junk.wasm"
spoil envoy/minimal.yaml "s|target/wasm/berth_filter\\.wasm|$dir/junk.wasm|"
judge refused "a junk module" "$dir/spoilt.yaml"
spoil envoy/config.yaml 's/delayed_close_timeout/delayed_closing_timeout/'
judge refused "an unknown field of Envoy" "$dir/spoilt.yaml" delayed_closing_timeout

say "validate: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
