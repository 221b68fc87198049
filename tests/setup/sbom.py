"""Writes a CycloneDX 1.6 bill of materials of one package: sbom.py PACKAGE TARGET EPOCH.

Contains the crates that the target links or that generate code for it, with licences, checksums and dependencies. Crates for
tests and for build scripts only are left out. `cargo tree` knows which crates the package selects; `cargo metadata`, whose
features are those of the whole workspace, describes them.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, stdout=subprocess.PIPE, text=True).stdout


def selected(package, target):
    """Name and version of each crate that the package links."""
    tree = cargo("tree", "-p", package, "--target", target, "-e", "normal", "--prefix", "none", "--format", "{p}")
    words = (line.split() for line in tree.splitlines())
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def checksums():
    with open("Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(one["name"], one["version"]): one.get("checksum") for one in packages}


def dependencies(node, among):
    """The dependencies of a crate that are not for its tests or its build script."""
    linked = (one["pkg"] for one in node["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"]))
    return [one for one in linked if one in among]


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind, checksum):
    described = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["description"]:
        described["description"] = " ".join(package["description"].split())
    if package["license"]:
        # Before SPDX 2.1, crates wrote "MIT/Apache-2.0".
        described["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main(name, target, epoch):
    requested = selected(name, target)
    read = json.loads(cargo("metadata", "--format-version=1"))
    packages = {one["id"]: one for one in read["packages"] if (one["name"], one["version"]) in requested}
    nodes = {one["id"]: one for one in read["resolve"]["nodes"]}
    if len(packages) != len(requested):
        sys.exit(f"sbom.py: {len(requested)} crates are selected, {len(packages)} are described")
    root = next(one for one in packages if packages[one]["name"] == name and one in read["workspace_members"])
    ids = sorted(packages, key=lambda one: purl(packages[one]))
    known = checksums()
    checksum = lambda package: known[package["name"], package["version"]]
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(epoch), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(packages[root], "application", None),
            "properties": [{"name": "berth:target", "value": target}],
        },
        "components": [component(packages[one], "library", checksum(packages[one])) for one in ids if one != root],
        "dependencies": [
            {"ref": purl(packages[one]), "dependsOn": sorted({purl(packages[other]) for other in dependencies(nodes[one], packages)})}
            for one in ids
        ],
    }
    # The serial number depends on the content, so that the same sources give the same file.
    digest = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).digest()
    bom["serialNumber"] = f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}"
    json.dump(bom, sys.stdout, indent=2)
    print()


main(*sys.argv[1:])
