#!/usr/bin/env bash
# Builds the files of a release into target/dist: dist.sh. The same sources and tools give the same files on every machine, in
# every folder (tests/setup/reproducible.sh checks it).
#   berth-filter-VERSION.wasm            the filter
#   berth-VERSION-TARGET.tar.gz          the static `berth`, systemd units, Envoy's configuration, the licence
#   *.cdx.json                           bills of materials, CycloneDX 1.6
#   SHA256SUMS-filter, SHA256SUMS-TARGET checksums of the files of the filter and of the others
. "$(dirname "$0")/lib.sh"

umask 022
dist=$TARGET/dist
version=$(workspace_version)
target=$(static_target)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
name=berth-$version-$target
deploy=placement-service/deploy

pack() {
    local root=$dist/$name
    install -D -m 755 "target/$target/release/berth" "$root/berth"
    install -m 644 LICENSE .github/CHANGELOG.md "$root"
    for folder in systemd monitoring; do
        [ ! -d "$deploy/$folder" ] || cp -r --no-preserve=mode "$deploy/$folder" "$root/$folder"
    done
    install -D -m 644 -t "$root/envoy" envoy/*.yaml
    sed -i "s|target/wasm/berth_filter.wasm|berth-filter-$version.wasm|" "$root"/envoy/*.yaml
    tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=a+rX,go-w --format=posix \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --directory "$dist" "$name" \
        | gzip -9n >"$dist/$name.tar.gz"
    rm -r "$root"
    install -m 644 target/wasm/berth_filter.wasm "$dist/berth-filter-$version.wasm"
}

bills() {
    python3 tests/setup/sbom.py berth-placement "$target" "$epoch" >"$dist/$name.cdx.json"
    python3 tests/setup/sbom.py berth-filter wasm32-wasip1 "$epoch" >"$dist/berth-filter-$version.cdx.json"
}

rm -rf "$dist"
mkdir -p "$dist"
step "files of the release" pack
step "bills of materials" bills
node --test tests/dist/
cd "$dist"
sha256sum "berth-filter-$version".* >SHA256SUMS-filter
sha256sum "$name".* >"SHA256SUMS-$target"
cat SHA256SUMS-*
