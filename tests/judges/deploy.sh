#!/usr/bin/env bash
# A Kubernetes API server judges placement-service/deploy: strict validation without a warning, the Pod Security Standard
# `restricted`, and the rights of the service's account. `make judges` builds the server and calls this script.
. "$(dirname "$0")/../setup/lib.sh"

JUDGES=$TOOLS/judges
PATH=$JUDGES:$TOOLS/bin:$PATH
deploy=placement-service/deploy
chart=$deploy/helm/berth
# The definitions of the Prometheus Operator: the Go module with its version, its checksum, and the folder in it.
OPERATOR=(github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s= example/prometheus-operator-crd)

[ -x "$JUDGES/kube" ] || die "$JUDGES/kube is missing: run make judges"
passed=0 failed=0
dir=$(mktemp -d "$TARGET/judge-deploy.XXXXXX")
kube "$dir/kube" >"$LOGS/judge-deploy-kube.log" 2>&1 </dev/null & server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$dir"' EXIT
export KUBECONFIG=$dir/kube/kubeconfig

# check NAME COMMAND...: passes if the command succeeds.
check() {
    local name=$1 status=0
    shift
    set +e
    (set -e; "$@") >"$dir/log" 2>&1
    status=$?
    set -e
    if [ $status -eq 0 ]; then
        say "test $name ... ok"
        passed=$((passed + 1))
    else
        say "test $name ... FAILED"
        tail -n 30 "$dir/log"
        failed=$((failed + 1))
    fi
}

# fails COMMAND...: succeeds if the command does not. With `!`, `set -e` would have no effect.
fails() {
    if "$@"; then
        say "succeeded: $*"
        return 1
    fi
}

ready() {
    for _ in $(seq 600); do
        kubectl get --raw /readyz >/dev/null 2>&1 && kubectl get namespace default >/dev/null 2>&1 && return
        kill -0 $server
        sleep 0.2
    done
    false
}

operator_definitions() {
    local json
    json=$(cd / && go mod download -json "${OPERATOR[0]}")
    grep -q "\"Sum\": \"${OPERATOR[1]}\"" <<<"$json"
    kubectl create -f "$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$json")/${OPERATOR[2]}"
    kubectl wait --for=condition=Established --timeout=60s crd/prometheusrules.monitoring.coreos.com crd/podmonitors.monitoring.coreos.com \
        crd/servicemonitors.monitoring.coreos.com
}

# Namespaces that enforce the standard, besides that of the base.
namespaces() {
    kubectl apply -f "$deploy/kustomize/namespace.yaml"
    for name in engines notebooks; do
        kubectl create namespace $name
        kubectl label namespace $name pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted
    done
}

# accepted FILE: the server accepts every object, and has nothing to say about any.
accepted() {
    kubectl apply --validate=strict --dry-run=server -f "$1" >"$dir/output" 2>&1 || { cat "$dir/output"; return 1; }
    if grep -vE ' (created|configured|unchanged) \(server dry run\)$' "$dir/output"; then return 1; fi
    [ -s "$dir/output" ]
}

template() { helm template berth "$chart" -n berth --kube-version 1.36.0 ${1:+-f "$1"} 2>/dev/null; }

chart_accepted() {
    template "$1" >"$dir/manifests.yaml"
    accepted "$dir/manifests.yaml"
}

base_accepted() {
    kubectl kustomize "$deploy/kustomize" >"$dir/base.yaml"
    accepted "$dir/base.yaml"
}

# Nothing of a Deployment runs here, so its pods are submitted by themselves: admission judges them.
pods_admitted() {
    template "$1" >"$dir/manifests.yaml"
    kubectl create --dry-run=client -o json -f "$dir/manifests.yaml" | node -e '
        const objects = JSON.parse(`[${require("fs").readFileSync(0, "utf8").replaceAll(/^}\n\{/gm, "},\n{")}]`);
        const all = objects.flatMap((one) => one.items ?? [one]).filter(({ spec }) => spec?.template);
        const items = all.map(({ metadata, spec }) => ({
            apiVersion: "v1", kind: "Pod", metadata: { ...spec.template.metadata, name: metadata.name, namespace: metadata.namespace }, spec: spec.template.spec,
        }));
        if (items.length < 2) throw new Error(`${items.length} pods`);
        console.log(JSON.stringify({ apiVersion: "v1", kind: "List", items }));' >"$dir/pods.json"
    accepted "$dir/pods.json"
}

# A pod with more rights is refused: the namespaces enforce the standard.
pods_refused() {
    sed 's/"allowPrivilegeEscalation":false/"allowPrivilegeEscalation":true/' "$dir/pods.json" >"$dir/spoilt.json"
    fails accepted "$dir/spoilt.json"
    grep -q 'violates PodSecurity "restricted' "$dir/output"
}

misspelt_refused() {
    template "" | sed 's/topologySpreadConstraints:/topologySpreadConstraint:/' >"$dir/misspelt.yaml"
    fails accepted "$dir/misspelt.yaml"
    grep -q 'unknown field.*topologySpreadConstraint' "$dir/output"
}

# may VERB RESOURCE NAMESPACE OPTION...: whether the service's account may do it.
may() { kubectl auth can-i "$1" "$2" -n "$3" "${@:4}" --as=system:serviceaccount:berth:berth 2>/dev/null | grep -qx yes; }

rights() {
    base_accepted
    kubectl apply -f "$dir/base.yaml"
    for verb in list watch; do may $verb pods berth; done
    for verb in get create update patch delete; do fails may $verb pods berth; done
    for resource in secrets configmaps deployments.apps services; do fails may list $resource berth; done
    fails may create pods berth --subresource=exec
    fails may get pods berth --subresource=log
    for namespace in engines default kube-system; do fails may list pods $namespace; done
    kubectl delete -f "$dir/base.yaml" --ignore-not-found --wait=false
}

check "the API server is ready" ready
check "definitions of the Prometheus Operator" operator_definitions
check "namespaces" namespaces
check "kustomize base" base_accepted
for file in "" "$deploy/helm/trial.yaml" "$chart"/ci/*.yaml; do
    check "chart: $(basename "${file:-default values}")" chart_accepted "$file"
done
for file in "" "$deploy/helm/trial.yaml" "$chart/ci/every-option.yaml"; do
    check "pods under the standard restricted: $(basename "${file:-default values}")" pods_admitted "$file"
done
check "a pod with more rights is refused" pods_refused
check "a misspelt field is refused" misspelt_refused
check "the service may list and watch pods, and nothing else" rights

say "deploy: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
