#!/usr/bin/env bash
# Runs all suites, or the named ones: test.sh [native|table|bindgen|validate|deploy|packaging|e2e|engines|browser]... Prints progress, a
# table, and one closing line. A suite without tests counts as failed.
. "$(dirname "$0")/wasm.sh"
choose_route

suite_native() { cargo test --profile quick --locked --workspace --no-fail-fast; }
suite_table() { node --test --test-reporter=tap tests/wasm/; }
suite_bindgen() {
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner \
        wasm_cargo test wasm32-unknown-unknown --profile quick --locked -p berth-filter-core --tests
}
suite_validate() { tests/setup/validate.sh; }
# The results of node's runner are counted, too.
suite_deploy() {
    local status=0
    tests/setup/deploy.sh || status=$?
    node --test --test-reporter=tap tests/deploy/
    return $status
}
suite_packaging() { node --test --test-reporter=tap tests/packaging/; }
# One process per test. nextest.toml lists the tests that need the whole machine.
suite_e2e() { nextest "not test(/^(browser|engines)::/)"; }
# One stack after the other. The results of node's runner are counted, too.
suite_engines() { cargo test --profile quick --locked --workspace --test e2e -- engines:: --nocapture --test-threads=1; }
# One stack after the other, because Chromium keeps the machine busy. The results of node's runner are counted, too.
suite_browser() {
    node --test --test-reporter=tap tests/browser/unit/
    cargo test --profile quick --locked --workspace --test e2e -- browser:: --nocapture --test-threads=1
}

# counts LOG: prints "passed failed" from the output of cargo, node's test runner, validate.sh and deploy.sh.
counts() {
    awk '
        /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^failed/) failed += $(i - 1) } }
        /^# pass / { passed += $3 }
        /^# fail / { failed += $3 }
        # cargo-nextest. The summary counts failed and timed out tests separately; both are failures.
        /^ +Summary \[/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^(failed|timed)/) failed += $(i - 1) } }
        /^(validate|deploy): / { passed += $2; failed += $4 }
        END { print passed + 0, failed + 0 }' "$1"
}

# The lines of a suite's output that are printed while it runs.
WORTH_SEEING='^test .*FAILED|^test result: .* [1-9][0-9]* (passed|failed)|^not ok|^# (pass|fail)|^error|^ +Running |^(validate|deploy):|panicked at|^ +(FAIL|TIMEOUT|SLOW|Summary) '

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(native table bindgen validate deploy packaging e2e engines browser)
total_passed=0 total_failed=0 table=""
for suite in "${suites[@]}"; do
    log=$LOGS/suite-$suite.log
    start=$SECONDS status=0
    : >"$log"
    say "== $suite"
    ("suite_$suite") </dev/null >"$log" 2>&1 & pid=$!
    # Prints the progress.
    tail --pid="$pid" -n +1 -f "$log" 2>/dev/null | grep --line-buffered -E "$WORTH_SEEING" || true
    wait "$pid" || status=$?
    read -r passed failed < <(counts "$log")
    note=""
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        note="  exit status $status"
    elif [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        note="  ran no test"
    fi
    [ "$failed" -eq 0 ] || { tail -n 80 "$log"; note="$note  $log"; }
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
    table+=$(printf '  %-10s %6d %6d %6d s%s' "$suite" "$passed" "$failed" $((SECONDS - start)) "$note")$'\n'
done
printf '\n  %-10s %6s %6s %8s\n%s\n' suite passed failed time "$table"
say "$total_passed passed, $total_failed failed" | tee "$LOGS/summary"
[ "$total_failed" -eq 0 ]
