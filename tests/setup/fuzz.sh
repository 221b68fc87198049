#!/usr/bin/env bash
# Fuzzes the parsers of untrusted input under libFuzzer: each target of tests/fuzz on its corpus, and on mutations of
# it that are guided by coverage. `make test` runs the same targets on the committed corpora
# (tests/fuzz/tests/corpus.rs).
#
#   fuzz.sh [run] [TARGET...]     FUZZ_SECONDS (60) or FUZZ_RUNS (unlimited) per target, whichever ends first.
#                                 Inputs that reach new code are kept in tests/fuzz/target/corpus for the next run.
#   fuzz.sh minimise [TARGET...]  adds to the committed corpora the fewest kept inputs that reach the same code
#   fuzz.sh list                  lists the targets
#
# A failing target does not stop the others. The summary names its input, in tests/fuzz/artifacts. To reproduce it:
#   FUZZ_TARGET=calls tests/fuzz/target/*/fuzz/libfuzzer tests/fuzz/artifacts/calls/crash-...
# Needs neither cargo-fuzz nor a nightly compiler. No sanitizers, because the code is safe Rust.
. "$(dirname "$0")/lib.sh"

FUZZ=$PWD/tests/fuzz
BUILT=$FUZZ/target
ARTIFACTS=$FUZZ/artifacts
HOST=$(rustc -vV | sed -n 's/^host: //p')

targets() { sed -n '/^targets! {/,/^}/s/^ *\([a-z_]*\),$/\1/p' "$FUZZ/src/lib.rs"; }

build() {
    # With --target, the wrapper's flags do not apply to build scripts.
    RUSTC_WRAPPER=$FUZZ/rustc.sh cargo build --profile fuzz --locked --target "$HOST" --target-dir "$BUILT" \
        -p berth-fuzz --features libfuzzer --bin libfuzzer
}

# fuzz TARGET ARGUMENT...: runs libFuzzer with the arguments of all commands. A parser that runs for a minute counts
# as hanging.
fuzz() {
    local target=$1
    shift
    mkdir -p "$BUILT/corpus/$target"
    FUZZ_TARGET=$target "$BUILT/$HOST/fuzz/libfuzzer" -verbosity=1 -print_final_stats=1 -timeout=60 -rss_limit_mb=1024 \
        -artifact_prefix="$ARTIFACTS/$target/" "$@"
}

fuzz_run() {
    fuzz "$1" -max_total_time="${FUZZ_SECONDS:-60}" -runs="${FUZZ_RUNS:--1}" "$BUILT/corpus/$1" "$FUZZ/corpus/$1"
}

fuzz_minimise() { fuzz "$1" -set_cover_merge=1 -use_counters=0 "$FUZZ/corpus/$1" "$BUILT/corpus/$1"; }

command=run
case ${1:-} in
    list) targets; exit ;;
    run | minimise) command=$1; shift ;;
esac
mapfile -t all < <(targets)
for target in "$@"; do
    printf '%s\n' "${all[@]}" | grep -qxF -- "$target" || die "there is no fuzz target $target; there are: ${all[*]}"
done
[ $# -gt 0 ] || set -- "${all[@]}"

need c++ "apt-get install -y g++"
step "fuzz targets" build
passed=0 failed=0
printf '\n  %-18s %12s %8s  %s\n' target executions time result
for target in "$@"; do
    log=$LOGS/fuzz-$target.log start=$SECONDS result=passed
    mkdir -p "$ARTIFACTS/$target"
    if "fuzz_$command" "$target" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        found=$(sed -n "s|.*Test unit written to $PWD/||p" "$log" | tail -n 1)
        result="FAILED: ${found:-no input was written}, see target/logs/${log##*/}"
    fi
    rmdir --ignore-fail-on-non-empty "$ARTIFACTS/$target"
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    printf '  %-18s %12s %6d s  %s\n' "$target" "${executions:--}" $((SECONDS - start)) "$result"
done
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
