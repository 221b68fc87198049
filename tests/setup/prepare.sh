#!/usr/bin/env bash
# Prepares everything for the tests: installs the tools while cargo compiles. On a new machine, both take minutes, one
# for the network and one for the processor.
. "$(dirname "$0")/lib.sh"

tests/setup/prerequisites.sh
log=$LOGS/tools.log
tests/setup/tools.sh test >"$log" 2>&1 </dev/null & tools=$!
trap 'kill $tools 2>/dev/null || true' EXIT
tests/setup/build.sh tests
say "  installed meanwhile:"
tail --pid=$tools -n +1 -f "$log"
wait $tools || die "the installation failed; full log: $log"
