"""Packs a proxy-wasm module as an OCI artifact: wasm-artifact.py MODULE VERSION EPOCH LAYOUT.

The result is an OCI image layout with the "oci" variant of the Wasm image specification: one layer is the module itself,
the other its runtime configuration. buildah cannot set the media types of layers.
"""

import hashlib
import json
import os
import sys
from datetime import datetime, timezone

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONTENT = "application/vnd.module.wasm.content.layer.v1+wasm"
CONFIG = "application/vnd.module.wasm.config.v1+json"
RUNTIME = {"type": "envoy_proxy", "abiVersions": ["0.2.1"], "config": {"rootIds": []}}


def encode(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def main(module, version, epoch, layout):
    def blob(media_type, content, **annotations):
        digest = hashlib.sha256(content).hexdigest()
        write(f"{layout}/blobs/sha256/{digest}", content)
        described = {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
        if annotations:
            described["annotations"] = {f"org.opencontainers.image.{name}": text for name, text in annotations.items()}
        return described

    with open(module, "rb") as file:
        content = blob(CONTENT, file.read(), title="plugin.wasm")
    runtime = encode(RUNTIME)
    created = datetime.fromtimestamp(int(epoch), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(CONFIG, runtime),
        "layers": [content, blob(CONFIG, runtime, title="runtime-config.json")],
        "annotations": {
            "module.wasm.image/variant": "oci",
            "org.opencontainers.image.created": created,
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.title": "Berth filter",
            "org.opencontainers.image.version": version,
        },
    }
    index = {"schemaVersion": 2, "manifests": [{**blob(MANIFEST, encode(manifest)), "annotations": {"org.opencontainers.image.ref.name": version}}]}
    write(f"{layout}/index.json", encode(index))
    write(f"{layout}/oci-layout", encode({"imageLayoutVersion": "1.0.0"}))


main(*sys.argv[1:])
