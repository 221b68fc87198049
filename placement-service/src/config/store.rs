//! Where sessions and accounts are kept.

use serde::Deserialize;
use std::path::PathBuf;

/// Where sessions and accounts are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Store {
    Sqlite { path: PathBuf },
}
