#!/usr/bin/env bash
# Named checks of a script that continues after a failed one. Sourced after lib.sh; the script sets `dir` to a folder of its
# own.

passed=0 failed=0

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
