#!/usr/bin/env bash
# Pushes the images of a release: publish-images.sh ARTIFACTS REGISTRY VERSION. ARTIFACTS has a folder images-ARCH per
# architecture. REGISTRY is for instance ghcr.io/owner, and the user is logged in. The filter is the same for each architecture;
# the programs get a tag per architecture, and a list of them under the version.
set -euo pipefail

artifacts=$1 registry=$2 version=$3

skopeo copy "oci-archive:$artifacts/images-amd64/berth-filter.tar" "docker://$registry/berth-filter:$version"
skopeo copy "oci-archive:$artifacts/images-amd64/berth-filter-artifact.tar" "docker://$registry/berth-filter:$version-artifact"
for name in berth berth-demo; do
    buildah manifest create "$name-$version"
    for arch in amd64 arm64; do
        skopeo copy "oci-archive:$artifacts/images-$arch/$name.tar" "docker://$registry/$name:$version-$arch"
        buildah manifest add "$name-$version" "docker://$registry/$name:$version-$arch"
    done
    buildah manifest push --all "$name-$version" "docker://$registry/$name:$version"
done
