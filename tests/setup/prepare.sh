#!/usr/bin/env bash
# Makes everything ready for the tests: installs what they need while cargo compiles them. Both take minutes on a new machine, the
# one for the network, the other for the processor.
. "$(dirname "$0")/lib.sh"

tests/setup/prerequisites.sh
log=$LOGS/tools.log
tests/setup/tools.sh test >"$log" 2>&1 </dev/null & tools=$!
trap 'kill $tools 2>/dev/null || true' EXIT
tests/setup/build.sh tests
say "  installed meanwhile:"
tail --pid=$tools -n +1 -f "$log"
wait $tools || die "the installation failed; all of it: $log"
