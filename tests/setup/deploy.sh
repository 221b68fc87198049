#!/usr/bin/env bash
# Checks placement-service/deploy without a cluster: Helm's own checks with several values, generated files, Envoy's
# validation of the rendered gateway, Prometheus rules. The tests in tests/deploy run beside it, in the same suite.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/checks.sh"

envoy=${ENVOY_PATH:-$TOOLS/envoy}
deploy=placement-service/deploy
chart=$deploy/helm/berth
dir=$(mktemp -d "$TARGET/deploy.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# template VERSION VALUES-FILE OPTION...: the manifests for a version of Kubernetes.
template() { helm template berth "$chart" -n berth --kube-version "$1" ${2:+-f "$2"} "${@:3}"; }

renders() {
    helm lint --strict "$chart" ${1:+-f "$1"}
    template 1.30.0 "$1" --set gateway.filter.delivery=init-container >"$dir/manifests.yaml"
    template 1.36.0 "$1" >"$dir/manifests.yaml"
    # kustomize parses every manifest, and refuses an object that exists twice.
    rm -rf "$dir/kustomize"
    mkdir "$dir/kustomize"
    template 1.35.0 "$1" >"$dir/kustomize/all.yaml"
    echo 'resources: [all.yaml]' >"$dir/kustomize/kustomization.yaml"
    kubectl kustomize "$dir/kustomize" >"$dir/built.yaml"
}

generated() {
    cp -rL "$deploy" "$dir/deploy"
    tests/setup/chart.sh "$dir/deploy"
    diff -r "$dir/deploy" "$deploy" || die "run tests/setup/chart.sh"
}

# The values that `berth render` writes from the chart's own configuration change nothing.
rendered_values() {
    local berth=$TARGET/quick/berth
    (cd "$chart/files" && "$berth" render kubernetes --config berth.yaml --output "$dir/values")
    template 1.35.0 "" >"$dir/default.yaml"
    template 1.35.0 "$dir/values/values.yaml" | diff "$dir/default.yaml" -
}

# The base means what the chart renders: both, sorted and formatted by kustomize.
base() {
    renders ""
    kubectl kustomize "$deploy/kustomize" >"$dir/base.yaml"
    sed '/^---$/q' "$dir/base.yaml" | grep '^kind: Namespace$'
    diff "$dir/built.yaml" <(sed '1,/^---$/d' "$dir/base.yaml")
}

# config_map FILE: the text of a file in the ConfigMaps of the manifests.
config_map() { sed -n "/^  $1: |\$/,/^[^ ]\|^  [^ ]/ { /^    /s/^    //p; }"; }

# inline FILTER: Envoy's configuration on standard input, with the filter in place of its discovery: validation does not
# load what is discovered.
inline() {
    awk -v block="$(sed -n '/^  typed_config:$/,/^[^ ]/ { /^    /p; }' "$1")" '
        /^ *- config_discovery:$/ { indent = substr($0, 1, index($0, "-") - 1); print indent "- typed_config:"; count = split(block, lines, "\n"); for (n = 1; n <= count; n++) print indent lines[n]; skip = 1; next }
        skip && index($0, indent "  name: berth") == 1 { skip = 0 }
        !skip { print }'
}

# The rendered gateway, with the paths of this machine.
validates() {
    mkdir -p "$dir/gateway/filter" "$dir/gateway/envoy" "$dir/gateway/tls"
    template 1.35.0 "$1" >"$dir/manifests.yaml"
    local here="s|/etc/berth/|$dir/gateway/|g; s|/opt/berth/plugin.wasm|$PWD/target/wasm/berth_filter.wasm|"
    config_map filter.yaml <"$dir/manifests.yaml" | sed "$here" >"$dir/gateway/filter/filter.yaml"
    config_map certificate.yaml <"$dir/manifests.yaml" | sed "$here" >"$dir/gateway/envoy/certificate.yaml"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
        -keyout "$dir/gateway/tls/tls.key" -out "$dir/gateway/tls/tls.crt"
    config_map envoy.yaml <"$dir/manifests.yaml" | sed "$here" | inline "$dir/gateway/filter/filter.yaml" >"$dir/gateway/envoy.yaml"
    grep 'allowed_capabilities' "$dir/gateway/envoy.yaml"
    BERTH_TOKEN_KEY=0123456789abcdef0123456789abcdef BERTH_GATEWAY_SECRET=0123456789abcdef \
        "$envoy" --mode validate -c "$dir/gateway/envoy.yaml"
}

service_config() {
    template 1.35.0 "$1" | config_map berth.yaml >"$dir/berth.yaml"
    [ -s "$dir/berth.yaml" ]
    target/quick/berth check --without-secrets "$dir/berth.yaml"
}

# The rules as the chart renders them, without the metadata of their object.
rendered_rules() {
    template 1.35.0 "$chart/ci/every-option.yaml" | sed -n '/^kind: PrometheusRule$/,/^---$/p' | sed -n '/^  groups:$/,/^---$/ { /^---$/d; s/^  //p; }' >"$dir/rules.yaml"
    promtool check rules "$dir/rules.yaml" | grep '49 rules found'
    [ "$(grep -c 'runbook_url: https://docs.example.com/berth/runbook#' "$dir/rules.yaml")" -eq 28 ]
}

values=("" "$deploy/helm/trial.yaml" "$chart"/ci/*.yaml)
for file in "${values[@]}"; do
    name=$(basename "${file:-default values}")
    check "helm: $name" renders "$file"
    check "berth check: $name" service_config "$file"
    if [ "$name" != all-namespaces.yaml ]; then check "envoy --mode validate: $name" validates "$file"; fi
done
check "generated files are up to date" generated
check "the values of berth render kubernetes change nothing" rendered_values
check "the kustomize base means what the chart renders" base
check "promtool check rules" promtool check rules "$deploy/monitoring/objectives.yaml" "$deploy/monitoring/alerts.yaml"
check "promtool check rules: every-option.yaml" rendered_rules
for file in "$deploy"/monitoring/tests/*.yaml; do
    check "promtool test rules: $(basename "$file")" promtool test rules "$file"
done

say "deploy: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
