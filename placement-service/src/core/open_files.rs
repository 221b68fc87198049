//! The limit of open files of this process, and so of its connections.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Many systems set a soft limit of 1,024 for programs that use `select`; this
/// program does not use it.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if max_open_files.current == max_open_files.maximum {
        return;
    }
    max_open_files.current = max_open_files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, max_open_files) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The maximum number of open files.
#[must_use]
pub fn max_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    max_open_files.map_or(usize::MAX, |limit| {
        usize::try_from(max_open_files).unwrap_or(usize::MAX)
    })
}
