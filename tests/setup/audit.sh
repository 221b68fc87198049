#!/usr/bin/env bash
# Checks the pinned dependencies for known vulnerabilities, with what each registry offers: the RustSec database for
# crates, the advisories of the npm registry, and those of PyPI. Needs the network. Fails after all of them have been asked.
. "$(dirname "$0")/lib.sh"

failed=()
audit() {
    local name=$1
    shift
    say "### $name"
    "$@" || failed+=("$name")
}

audit "crates" cargo-deny check advisories
for folder in tests/clients tests/browser tests/engines tests/provider; do
    audit "npm packages of $folder" npm audit --prefix "$folder" --package-lock-only
done
for file in schemathesis jupyter streamlit pip-audit cargo-tools envoy-wheel kubectl-wheel hadolint; do
    audit "Python packages of $file.txt" "$TOOLS/pip-audit/bin/pip-audit" --disable-pip --require-hashes --vulnerability-service pypi --strict --progress-spinner off -r "tests/setup/$file.txt"
done
[ ${#failed[@]} -eq 0 ] || die "vulnerable, or not answered: $(IFS=,; echo "${failed[*]}")"
