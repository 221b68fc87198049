#!/usr/bin/env bash
# Tests a common way to start Envoy: `func-e run -c envoy/config.yaml`. Installs func-e, gives it the installed Envoy
# (it would download its own), and runs the demonstration and the smoke tests of the end-to-end suite with it.
. "$(dirname "$0")/lib.sh"

if [ ! -x "$TOOLS/bin/func-e" ]; then
    step "func-e $FUNC_E_VERSION" env GOBIN="$TOOLS/bin" go install "github.com/tetratelabs/func-e/cmd/func-e@$FUNC_E_VERSION"
fi
version=$(cat .envoy-version)
export FUNC_E_DATA_HOME=$TOOLS/func-e/data FUNC_E_CONFIG_HOME=$TOOLS/func-e/config FUNC_E_STATE_HOME=$TARGET/func-e/state \
    FUNC_E_RUNTIME_DIR=$TARGET/func-e/run
mkdir -p "$FUNC_E_DATA_HOME/envoy-versions/$version/bin"
ln -f "$(readlink -f "${ENVOY_PATH:-$TOOLS/envoy}")" "$FUNC_E_DATA_HOME/envoy-versions/$version/bin/envoy"
unset ENVOY_PATH
export BERTH_FUNC_E=$TOOLS/bin/func-e

say "== func-e run, e2e smoke"
nextest 'test(/^(core_flow|enigma)::/)'

say "== func-e run -c envoy/config.yaml, on the ports that it names"
target/quick/berth-run >"$LOGS/func-e-demo.log" 2>&1 & demo=$!
trap 'kill -TERM $demo 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    grep -q '^ready: ' "$LOGS/func-e-demo.log" && break
    kill -0 $demo 2>/dev/null || break
    sleep 0.1
done
grep -q '^ready: ' "$LOGS/func-e-demo.log" || { cat "$LOGS/func-e-demo.log"; die "the demo did not get ready under func-e"; }
node tests/clients/enigma.mjs /app/sales.qvf /doc/doc/drugcases.qvf /doc/session-doc
kill -TERM $demo
wait $demo
! pgrep -f "$FUNC_E_DATA_HOME/envoy-versions" >/dev/null || die "an Envoy of func-e is left over"
