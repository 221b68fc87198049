# Sourced by the scripts beside it: where they work, how they speak, how they fail.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/setup/versions.env
TOOLS=$PWD/.tools
TARGET=$PWD/target
LOGS=$TARGET/logs
mkdir -p "$TOOLS/bin" "$LOGS"
PATH=$PATH:$TOOLS/bin

say() { printf '%s\n' "$*"; }
die() { printf 'berth: %s\n' "$*" >&2; exit 1; }

# need COMMAND HINT: one clear line when a prerequisite is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"; }

# step NAME COMMAND...: runs it with its output in a log, says how long it took, shows the log when it fails.
step() {
    local name=$1 log start=$SECONDS status=0
    shift
    log=$LOGS/${name//[^a-zA-Z0-9]/-}.log
    printf '  %-52s ' "$name"
    # A subshell, not part of a condition: there, `set -e` would not hold.
    set +e
    (set -e; "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        printf '%4d s\n' $((SECONDS - start))
    else
        printf 'FAILED after %d s\n' $((SECONDS - start))
        tail -n 40 "$log" >&2
        die "$name failed; all of it: $log"
    fi
}

# apt PACKAGE...: Debian packages that are not there yet.
apt() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "Debian packages are missing, and this is not root: apt-get install -y --no-install-recommends ${missing[*]}"
    # Another of these scripts may be at it.
    apt-get update -qq -o DPkg::Lock::Timeout=600
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold --no-install-recommends "${missing[@]}"
}

# nextest FILTER ARGUMENT...: the end-to-end tests that the filter names. Always the whole workspace: with one package alone, its
# dependencies would be built again with other features.
nextest() {
    local filter=$1
    shift
    cargo-nextest nextest run --config-file tests/setup/nextest.toml --cargo-profile quick --locked --workspace --test e2e -E "$filter" "$@"
}
