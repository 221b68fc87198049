#!/bin/sh
# RUSTC_WRAPPER of the fuzz build: adds libFuzzer's coverage counters to the crates that read untrusted input. In other
# crates they would only cost build time. Programs of the build itself (no --target) cannot link the counters.
case " $* " in *" --target "*) ;; *) exec "$@" ;; esac
case $CARGO_PKG_NAME in
    berth-* | serde | serde_core | serde_json | serde_path_to_error | serde-saphyr | granit-parser | prost | base64 | jsonwebtoken \
        | form_urlencoded | percent-encoding | url | idna | httparse | http | ipnet | humantime | simple_asn1 | rsa | pem) ;;
    *) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
