#!/usr/bin/env bash
# Lets Envoy check the configurations: the shipped and the rendered ones must pass, modified ones must fail. `--mode validate`
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

# spoil FILE SED-EXPRESSION: a copy with one change. If nothing changes, this script has a fault.
spoil() {
    sed -E "$2" "$1" >"$dir/spoilt.yaml"
    ! cmp -s "$1" "$dir/spoilt.yaml" || die "validate.sh: nothing to spoil in $1: $2"
}

judge ok "envoy/config.yaml" envoy/config.yaml
judge ok "envoy/minimal.yaml" envoy/minimal.yaml

# What `berth render` writes for three unlike configurations, as Envoy's file and with the filter in its place. The
# certificate is for this run, and the files are where the configuration says.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
    -keyout "$dir/tls.key" -out "$dir/tls.crt" 2>/dev/null
export BERTH_TOKEN_KEY=0123456789abcdef0123456789abcdef BERTH_OLD_TOKEN_KEY=fedcba9876543210fedcba9876543210 \
    BERTH_GATEWAY_SECRET=0123456789abcdef
for config in placement-service/config/demo.yaml tests/fixtures/edge/{production,minimal}.yaml; do
    name=$(basename "$config" .yaml)
    mkdir "$dir/$name"
    {
        sed "s|/etc/berth/tls|$dir/tls|g" "$config"
        grep -q '^edge: {' "$config" || echo "  filter_file: $dir/$name/filter.yaml"
    } | sed "s|^edge: { |&filter_file: $dir/$name/filter.yaml, |; /filter_file: envoy/d" >"$dir/$name.yaml"
    target/quick/berth render envoy --config "$dir/$name.yaml" --output "$dir/$name" >/dev/null
    judge ok "the files of $config" "$dir/$name/config.yaml"
    target/quick/berth-run --render-inline "$dir/$name" >"$dir/$name/inline.yaml"
    judge ok "the files of $config, with the filter in its place" "$dir/$name/inline.yaml"
done
target/quick/berth-run --render-inline envoy/behind-proxy | sed 's|/etc/berth/|target/wasm/|' >"$dir/inline.yaml"
judge ok "the files of envoy/behind-proxy" "$dir/inline.yaml"
grep -q 'DownstreamTlsContext' "$dir/production/config.yaml" || die "validate.sh: the production files have no TLS"
spoil "$dir/production/config.yaml" 's/alpn_protocols/alpn_protocolls/'
judge refused "an unknown field of the TLS part" "$dir/spoilt.yaml" alpn_protocolls
spoil "$dir/production/inline.yaml" 's/BERTH_OLD_TOKEN_KEY/BERTH_ABSENT_KEY/'
judge refused "a variable that is not set" "$dir/spoilt.yaml" BERTH_ABSENT_KEY
target/quick/berth-run --render-inline envoy >"$dir/inline.yaml"
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
