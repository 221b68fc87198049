//! Finds the server programs. Debian installs those of PostgreSQL outside `PATH`, and PgBouncer where only root's `PATH`
//! leads.

use berth_harness::Result;
use std::env;
use std::path::{Path, PathBuf};

/// The first of `names` that is installed.
pub(crate) fn find_program(names: &[&str]) -> Result<PathBuf> {
    let mut folders = postgres_folders();
    if let Some(path) = env::var_os("PATH") {
        folders.extend(env::split_paths(&path));
    }
    folders.push(PathBuf::from("/usr/sbin"));
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.exists())
        .ok_or_else(|| format!("{} is not installed: run `make setup`", names.join(" or ")).into())
}

/// The program folders of PostgreSQL, newest version first.
fn postgres_folders() -> Vec<PathBuf> {
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let entries = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(version(path)));
    folders.into_iter().map(|path| path.join("bin")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_remedy() {
        let error = find_program(&["no-such-server", "nor-this"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-server or nor-this is not installed: run `make setup`"
        );
        assert!(
            find_program(&["no-such-server", "sh"])
                .unwrap()
                .ends_with("sh")
        );
    }
}
