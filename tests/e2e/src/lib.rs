//! The end-to-end tests are in `tests/`. This crate has no code.
