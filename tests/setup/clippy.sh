#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of `make lint`: clippy compiles the workspace's own crates, and a warning is an error. So
# lint compiles the dependencies in a form that the tests reuse; `cargo clippy` would only check them.
exec clippy-driver "$@" -D warnings
