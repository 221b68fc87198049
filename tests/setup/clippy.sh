#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of `make lint`: clippy as the compiler of the workspace's own crates, and a warning is an error. So lint
# compiles the dependencies for good, for the tests as well; `cargo clippy` would check them and leave nothing that can be used.
exec clippy-driver "$@" -D warnings
