//! The end-to-end tests are in `tests/`; this crate has no code of its own.
