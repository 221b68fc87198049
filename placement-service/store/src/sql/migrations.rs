//! Migrations from SQL texts embedded in the binary. `sqlx::migrate!` is not used: its macro crate would
//! compile SQLite, TLS and the PostgreSQL driver a second time, for the build host.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations of a database: name and SQL of each, in order, starting at version 1. A text must not change
/// once a database has applied it. Unknown versions are ignored, so that a database migrated by a newer binary
/// stays usable.
pub(crate) fn migrator<const N: usize>(migrations: [(&'static str, &'static str); N]) -> Migrator {
    let migrations = (1..).zip(migrations).map(|(version, (name, sql))| {
        let kind = MigrationType::Simple;
        Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// `migrations!("folder": "0001_name", ...)` embeds the files of `migrations/folder` for [`migrator`].
macro_rules! migrations {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        $crate::sql::migrations::migrator([
            $(($name, include_str!(concat!("../migrations/", $folder, "/", $name, ".sql")))),+
        ])
    };
}
pub(crate) use migrations;
