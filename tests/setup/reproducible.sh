#!/usr/bin/env bash
# Builds the sources of the last commit again in another folder, with another cargo home, and compares the files with those in
# target/: reproducible.sh filter|static. `filter` takes under a minute on an idle machine, `static` as long as `make dist`.
. "$(dirname "$0")/lib.sh"

copy=$(mktemp -d "${TMPDIR:-/tmp}/berth-another-folder.XXXXXX")
trap 'rm -rf "$copy"' EXIT
git archive HEAD | tar -x -C "$copy"

# The other cargo home shares the downloaded crates, under another path.
mkdir "$copy/cargo-home"
ln -s "${CARGO_HOME:-$HOME/.cargo}/registry" "$copy/cargo-home/registry"

# again MODE ARGUMENT...: build.sh in the copy.
again() { (cd "$copy" && unset CARGO_TARGET_DIR && CARGO_HOME=$copy/cargo-home tests/setup/build.sh "$@"); }

# same FILE
same() {
    local hashes
    hashes=$(cd "$TARGET" && sha256sum "$1"; cd "$copy/target" && sha256sum "$1")
    say "$hashes"
    [ "$(cut -d' ' -f1 <<<"$hashes" | sort -u | wc -l)" -eq 1 ] || die "$1 is not reproducible"
}

case ${1:-} in
    filter)
        tests/setup/build.sh module
        again module
        same wasm/berth_filter.wasm
        ;;
    static)
        tests/setup/build.sh static
        again static
        same "$(static_target)/release/berth"
        ;;
    *) die "reproducible.sh: filter or static" ;;
esac
