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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]
mod tests {
    use crate::{postgres, sqlite};
    use std::path::Path;

    #[test]
    fn every_migration_file_is_listed_with_its_version() {
        for (folder, migrator) in [
            ("sqlite", sqlite::migrations()),
            ("postgres", postgres::migrations()),
        ] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
            let mut files: Vec<String> = std::fs::read_dir(root.join(folder))
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let listed = migrator.iter().map(|m| format!("{}.sql", m.description));
            assert_eq!(listed.collect::<Vec<_>>(), files);
            for migration in migrator.iter() {
                assert!(
                    migration
                        .description
                        .starts_with(&format!("{:04}_", migration.version))
                );
            }
        }
    }
}
