#!/usr/bin/env bash
# Builds the container images and tests them: images.sh [PROFILE]. The profile of the programs is `release`, for trying
# these scripts `quick`. Needs root (buildah with chroot, runc) and neither Docker nor a registry.
#   target/images/berth.tar                  the placement service
#   target/images/berth-filter.tar           the filter, as an image with plugin.wasm
#   target/images/berth-filter-artifact.tar  the filter, as an OCI artifact
#   target/images/berth-demo.tar             everything with simulated engines
# Each is an OCI archive. The same sources, tools and SOURCE_DATE_EPOCH (default: the time of the commit) give the same files.
. "$(dirname "$0")/lib.sh"

profile=${1:-release}
images=$TARGET/images
context=$images/context
binaries=$TARGET/$(static_target)/$profile
dockerfiles=placement-service/deploy/images
version=$(workspace_version)
revision=$(git rev-parse HEAD)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# lay_out: the files of each image, in target/images/context.
lay_out() {
    local root
    rm -rf "$images"
    mkdir -p "$images/layout"
    root=$context/berth/rootfs
    install -D -m 755 "$binaries/berth" "$root/berth"
    install -D -m 644 LICENSE "$root/licenses/LICENSE"
    system_files "$root"
    mkdir -p "$context/berth/data/berth"

    install -D -m 644 target/wasm/berth_filter.wasm "$context/berth-filter/plugin.wasm"

    root=$context/berth-demo/rootfs
    for program in berth berth-run engine-sim; do
        install -D -m 755 "$binaries/$program" "$root/usr/local/bin/$program"
    done
    install -D -m 755 "$(readlink -f "${ENVOY_PATH:-$TOOLS/envoy}")" "$root/usr/local/bin/envoy"
    shared_libraries "$root/usr/local/bin/envoy" | while read -r library; do
        install -D -m 755 "$library" "$root$library"
    done
    # Clients are outside of the container.
    install -d "$root/berth/placement-service/config"
    sed 's/^edge:$/&\n  listen: 0.0.0.0:8080/' placement-service/config/demo.yaml >"$root/berth/placement-service/config/demo.yaml"
    (cd "$root/berth" && "$binaries/berth" render envoy --config placement-service/config/demo.yaml --output envoy)
    grep -q 'address: 0.0.0.0, port_value: 8080' "$root/berth/envoy/config.yaml" || die "images.sh: the demonstration listens on loopback"
    system_files "$root"
    install -D -m 644 target/wasm/berth_filter.wasm "$context/berth-demo/data/wasm/berth_filter.wasm"
    mkdir -p "$context/berth-demo/data/run"
    # Where the chart looks for the module of an image that contains it.
    install -D -m 644 target/wasm/berth_filter.wasm "$root/opt/berth/plugin.wasm"
}

# system_files ROOT: a name for the user of the images, and the certificates, without which the service does not start.
system_files() {
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
    echo 'berth:x:65532:65532:Berth:/var/lib/berth:/sbin/nologin' >"$1/etc/passwd"
    echo 'berth:x:65532:' >"$1/etc/group"
}

# shared_libraries PROGRAM: the paths of its libraries and of the loader.
shared_libraries() { ldd "$1" | grep -o '/[^ ]*'; }

# build NAME TITLE ARGUMENT...: one layer, in which every file has the time of the commit.
build() {
    local name=$1 title=$2
    shift 2
    buildah --storage-driver vfs bud --isolation chroot --format oci --timestamp "$epoch" --quiet \
        --label "org.opencontainers.image.title=$title" \
        --label "org.opencontainers.image.version=$version" \
        --label "org.opencontainers.image.revision=$revision" \
        --label "org.opencontainers.image.licenses=Apache-2.0" \
        "$@" -t "localhost/$name:$version" -f "$dockerfiles/$name.Dockerfile" "$context/$name"
    buildah --storage-driver vfs push --quiet "localhost/$name:$version" "oci:$images/layout/$name:$version"
    buildah --storage-driver vfs rmi "localhost/$name:$version"
    archive "$name"
}

artifact() {
    python3 tests/setup/wasm-artifact.py "$context/berth-filter/plugin.wasm" "$version" "$epoch" "$images/layout/berth-filter-artifact"
    archive berth-filter-artifact
}

# archive NAME: packs an image layout. The order, times and owners of its files are fixed.
archive() {
    tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=a+rX,go-w --format=posix \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
        --file "$images/$1.tar" --directory "$images/layout/$1" .
}

umask 022
step "files of the images" lay_out
step "image berth" build berth "Berth placement service"
# Istio recognises the variant by this annotation.
step "image berth-filter" build berth-filter "Berth filter" --annotation module.wasm.image/variant=compat
step "artifact berth-filter" artifact
step "image berth-demo" build berth-demo "Berth demonstration"
node --test tests/images/
(cd "$images" && sha256sum ./*.tar)
