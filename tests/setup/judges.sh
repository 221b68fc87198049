#!/usr/bin/env bash
# Lets the real programs judge the installs for Istio, Kubernetes and Envoy Gateway: a Kubernetes API server, istiod,
# Istio's agent, Envoy Gateway, and the installed Envoy. No cluster, no container. The programs are built from Go modules
# into .tools/judges, which takes some minutes the first time. The last line is `N passed, N failed`.
#   judges.sh [PATTERN]   runs the Go tests that the pattern selects, as `go test -run` does
#   judges.sh build       only builds
. "$(dirname "$0")/lib.sh"

JUDGES=$TOOLS/judges
MODULE=tests/judges
KUBERNETES=$(sed -n 's|^\tk8s.io/kubernetes ||p' $MODULE/go.mod)

need go "install Go 1.$GO_MINOR or newer, https://go.dev/dl (Debian's may be older); no other command of Berth's needs it"
version=$(go env GOVERSION)
minor=${version#go1.}
[ "${minor%%.*}" -ge $GO_MINOR ] || die "$version is too old: Go 1.$GO_MINOR or newer is needed"

# go_build MODULE ARGUMENT...: without debugging information, which nobody needs here, the build takes half the time.
go_build() { go build -C "$1" -mod=readonly -gcflags=all=-dwarf=false "${@:2}"; }

# The checksums of the modules that no go.sum names are in definitions.txt.
definitions() {
    local name module sum path json
    rm -rf "$JUDGES/crds"
    mkdir -p "$JUDGES/crds"
    grep -v '^#' $MODULE/definitions.txt | while read -r name module sum path; do
        json=$(cd / && go mod download -json "$module")
        [ "$(json_field Sum <<<"$json")" = "$sum" ] || die "$module has another checksum than in definitions.txt"
        cp -r "$(json_field Dir <<<"$json")/$path" "$JUDGES/crds/$name"
    done
    chmod -R u+w "$JUDGES/crds"
}

json_field() { sed -n "s/^\t\"$1\": \"\(.*\)\",*$/\1/p"; }

# kubectl refuses a server without a version.
kube() {
    local minor=${KUBERNETES#v1.} package=k8s.io/component-base/version
    go_build $MODULE -o "$JUDGES/kube" \
        -ldflags "-X $package.gitVersion=$KUBERNETES -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}" ./kube
}

istio() {
    local source
    go_build $MODULE -o "$JUDGES/" istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/pilot/cmd/pilot-agent
    source=$(cd $MODULE && go list -m -f '{{.Dir}}' istio.io/istio)
    rm -rf "$JUDGES/charts"
    mkdir -p "$JUDGES/charts"
    cp -r "$source/manifests/charts/gateway" "$JUDGES/charts/"
    cp "$source/tools/packaging/common/envoy_bootstrap.json" "$JUDGES/"
    chmod -R u+w "$JUDGES/charts" "$JUDGES/envoy_bootstrap.json"
}

envoy_gateway() { go_build $MODULE/envoy-gateway -o "$JUDGES/" github.com/envoyproxy/gateway/cmd/envoy-gateway; }

build() {
    local stamp
    tests/setup/tools.sh deploy
    stamp=$(cat "$0" $MODULE/definitions.txt $MODULE/{,envoy-gateway/}go.{mod,sum} $MODULE/kube/*.go | sha256sum)
    [ "$(cat "$JUDGES/stamp" 2>/dev/null)" = "$stamp" ] && return
    mkdir -p "$JUDGES"
    step "definitions of custom resources" definitions
    step "Kubernetes API server $KUBERNETES" kube
    step "istiod, Istio's agent" istio
    step "Envoy Gateway" envoy_gateway
    echo "$stamp" >"$JUDGES/stamp"
}

# Leaves of Go's tests, and the closing lines of scripts.
counts() {
    awk '
        /^ *--- (PASS|FAIL|SKIP): / { state = $2; sub(/:$/, "", state); name = $3; all[name] = state; parent = name; while (sub(/\/[^\/]*$/, "", parent)) inner[parent] = 1 }
        /^[a-z]+: [0-9]+ passed, [0-9]+ failed$/ { passed += $2; failed += $4 }
        END {
            for (name in all) {
                if (all[name] == "FAIL" && !(name in inner)) failed++
                if (all[name] == "PASS" && !(name in inner)) passed++
            }
            print passed + 0, failed + 0
        }' "$@"
}

run() {
    local log=$LOGS/judges.log status=0 script
    step "tests" go test -C $MODULE -gcflags=all=-dwarf=false -c -o "$JUDGES/judges.test" .
    : >"$log"
    (cd $MODULE && "$JUDGES/judges.test" -test.v -test.timeout 20m -test.run "${1:-.}") </dev/null >>"$log" 2>&1 & pid=$!
    tail --pid="$pid" -n +1 -f "$log" | grep --line-buffered -E '^ *--- (PASS|FAIL)|^panic' || true
    wait "$pid" || status=$?
    # Checks of the charts and manifests that need the API server.
    for script in "$MODULE"/*.sh; do
        [ -x "$script" ] && [ $# -eq 0 ] || continue
        say "== $script"
        "$script" 2>&1 </dev/null | tee -a "$log" || status=$?
    done
    read -r passed failed < <(counts "$log")
    [ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
    [ "$passed" -gt 0 ] || failed=$((failed + 1))
    [ "$failed" -eq 0 ] || say "full log: $log; logs of the processes: $LOGS/judges"
    say "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

build
[ "${1:-}" = build ] || run "$@"
