#!/usr/bin/env bash
# Checks what must be on the machine before anything can be installed. Prints a hint for the first missing
# prerequisite.
. "$(dirname "$0")/lib.sh"

need cargo "install Rust 1.95 or newer, https://rustup.rs"
need cc "apt-get install -y gcc libc6-dev"
need python3 "apt-get install -y python3"
need node "install Node.js $NODE_MAJOR or newer"
need npm "it comes with Node.js; on Debian: apt-get install -y npm"
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge "$NODE_MAJOR" ] || die "node is version $major: Node.js $NODE_MAJOR or newer is needed"
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
have=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] \
    || die "rustc is version $have: Rust $wanted or newer is needed (rustup update)"
