//! The libFuzzer program of every target: `FUZZ_TARGET` names the target to run. tests/setup/fuzz.sh starts it.
#![no_main]
#![allow(
    clippy::expect_used,
    unsafe_code,
    reason = "tests; the macro exports C functions"
)]

use std::sync::LazyLock;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    berth_fuzz::find(&name).expect("a target of tests/fuzz")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| RUN(data));
