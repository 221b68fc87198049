//! `berth-run`, which is `make run`.
fn main() {}
