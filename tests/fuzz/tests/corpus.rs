//! Runs every fuzz target on its committed corpus and on a fixed number of mutations. The mutations are the same each
//! time, so a failure comes from the change under test.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use berth_fuzz::TARGETS;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Mutations per target.
const MUTATIONS: usize = 10_000;

fn read_corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| (file.clone(), std::fs::read(file).unwrap());
    files.into_iter().map(read).collect()
}

/// Bytes that parsers treat specially.
const SPECIAL_BYTES: &[&[u8]] = &[
    b"\0",
    b"\xff\xff",
    b"\n",
    b"\"",
    b";",
    b",",
    b"=",
    b".",
    b"{",
    b"]",
    b"%",
    b"-1",
    b"1e999",
    b"\\u0000",
];

/// Flips, removes or inserts a few bytes, or replaces the end by that of another input.
fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..=4) {
        let start = rng.random_range(0..=input.len());
        let end = input.len().min(start + rng.random_range(0..8));
        let token = SPECIAL_BYTES.choose(rng).copied().unwrap_or_default();
        match rng.random_range(0..4) {
            0 => drop(input.splice(start..end, [])),
            1 => drop(input.splice(start..end, token.iter().copied())),
            2 => {
                let from = rng.random_range(0..=other.len());
                input.truncate(start);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
    }
}

/// Inputs that make a target panic: at most one of the corpus and one mutation.
fn failures(name: &str, run: fn(&[u8])) -> Vec<String> {
    let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| run(input))).is_err();
    let corpus = read_corpus(name);
    let failing = corpus.iter().find(|(_, input)| fails(input));
    let mut failures: Vec<String> = failing
        .map(|(file, _)| file.display().to_string())
        .into_iter()
        .collect();
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..MUTATIONS {
        let [(_, input), (_, other)] = [0, 1].map(|_| corpus.choose(&mut rng).expect("a corpus"));
        let mut input = input.clone();
        mutate(&mut input, other, &mut rng);
        if fails(&input) {
            failures.push(format!("{name}: b\"{}\"", input.escape_ascii()));
            break;
        }
    }
    failures
}

#[test]
fn no_target_fails() {
    let failures: Vec<String> = TARGETS
        .iter()
        .flat_map(|(name, run)| failures(name, *run))
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_corpus_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(berth_fuzz::find(&name).is_some(), "{name}");
    }
}
