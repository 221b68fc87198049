#!/usr/bin/env bash
# RUSTC_WORKSPACE_WRAPPER of `make lint`: clippy as the compiler of the workspace's own crates, and a warning is an error. So lint
# compiles the dependencies for good, for the tests as well; `cargo clippy` would check them and leave nothing that can be used.
# By bash: dash does not pass on CARGO_BIN_EXE_engine-sim, as its name is not that of a shell variable.
exec clippy-driver "$@" -D warnings
