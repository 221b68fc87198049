//! Where things lie: the repository, the built binaries, the filter module, Envoy. Environment
//! variables come first, then what the Makefile puts into `target/` and `.tools/`.

use crate::Result;
use std::env;
use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A binary of the workspace: from `BERTH_BIN_DIR`, else of the same profile as the program that asks.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dir = match env::var_os("BERTH_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => profile_dir(&env::current_exe()?),
    };
    existing(dir.join(name), "make build")
}

/// `target/PROFILE` of a program in it. Cargo puts test programs one folder deeper, into `deps`.
fn profile_dir(program: &Path) -> PathBuf {
    let dir = program.parent().unwrap_or(program);
    let dir = match dir.file_name() {
        Some(name) if name == "deps" => dir.parent().unwrap_or(dir),
        _ => dir,
    };
    dir.to_path_buf()
}

/// The built filter: from `BERTH_WASM`, else `target/wasm/berth_filter.wasm`.
///
/// # Errors
/// When it has not been built.
pub fn filter_module() -> Result<PathBuf> {
    let path = env::var_os("BERTH_WASM")
        .map_or_else(|| target().join("wasm/berth_filter.wasm"), PathBuf::from);
    existing(path, "make build")
}

/// The filter with a trap that a test can spring: `target/wasm/berth_filter_trap.wasm`.
///
/// # Errors
/// When it has not been built.
pub fn trapping_module() -> Result<PathBuf> {
    existing(target().join("wasm/berth_filter_trap.wasm"), "make e2e")
}

/// How Envoy is called: the program and the arguments that come first.
///
/// `ENVOY_PATH` names a binary, `BERTH_FUNC_E` a func-e that runs one; else what `make setup` chose.
///
/// # Errors
/// When none is there.
pub fn envoy() -> Result<Vec<String>> {
    if let Ok(path) = env::var("ENVOY_PATH") {
        return Ok(vec![path]);
    }
    if let Ok(path) = env::var("BERTH_FUNC_E") {
        return Ok(vec![path, "run".into()]);
    }
    let chosen = existing(root().join(".tools/envoy"), "make setup")?;
    Ok(vec![chosen.display().to_string()])
}

fn existing(path: PathBuf, made_by: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: run `{made_by}`", path.display()).into())
}
