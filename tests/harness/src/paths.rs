//! Locations of the repository, the built binaries, the filter module and Envoy. Environment variables override what
//! the Makefile puts into `target/` and `.tools/`.

use crate::Result;
use std::env;
use std::path::{Path, PathBuf};

/// The repository's root: `BERTH_ROOT`, for a program that runs on another machine than it was built on, otherwise the
/// repository that it was built in.
#[must_use]
pub fn repository_root() -> PathBuf {
    if let Some(root) = env::var_os("BERTH_ROOT") {
        return PathBuf::from(root);
    }
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir
        .ancestors()
        .nth(2)
        .unwrap_or(crate_dir)
        .to_path_buf()
}

/// Cargo's target folder.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || repository_root().join("target"),
        |dir| repository_root().join(dir),
    )
}

/// A binary of the workspace: in `BERTH_BIN_DIR`, otherwise in the profile folder of the calling program.
///
/// # Errors
/// When it is not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dir = match env::var_os("BERTH_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => profile_dir(&env::current_exe()?),
    };
    require_file(dir.join(name), "make build")
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

/// The built filter: `BERTH_WASM`, otherwise `target/wasm/berth_filter.wasm`.
///
/// # Errors
/// When it is not built.
pub fn filter_module() -> Result<PathBuf> {
    let path = env::var_os("BERTH_WASM").map_or_else(
        || target_dir().join("wasm/berth_filter.wasm"),
        PathBuf::from,
    );
    require_file(path, "make build")
}

/// The filter with a trap that tests can trigger: `target/wasm/berth_filter_trap.wasm`.
///
/// # Errors
/// When it is not built.
pub fn trapping_module() -> Result<PathBuf> {
    require_file(target_dir().join("wasm/berth_filter_trap.wasm"), "make e2e")
}

/// The command that starts Envoy: the program and its first arguments.
///
/// `ENVOY_PATH` names a binary, `BERTH_FUNC_E` a func-e that runs one. Otherwise it is the Envoy that `make setup`
/// chose.
///
/// # Errors
/// When there is none.
pub fn envoy_command() -> Result<Vec<String>> {
    if let Ok(path) = env::var("ENVOY_PATH") {
        return Ok(vec![path]);
    }
    if let Ok(path) = env::var("BERTH_FUNC_E") {
        return Ok(vec![path, "run".into()]);
    }
    let envoy_path = require_file(repository_root().join(".tools/envoy"), "make setup")?;
    Ok(vec![envoy_path.display().to_string()])
}

fn require_file(path: PathBuf, made_by: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: run `{made_by}`", path.display()).into())
}
