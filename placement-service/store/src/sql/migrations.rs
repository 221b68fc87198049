//! Migrations from SQL texts that are part of the program. Not `sqlx::migrate!`: its crate of macros compiles SQLite, TLS and the
//! driver of PostgreSQL a second time, for the compiler's own use.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations of a database: name and SQL of each, in order. The first has version 1; a text that a database has seen never
/// changes. A database that a newer program has migrated stays usable, hence unknown versions are ignored.
pub(crate) fn migrator<const N: usize>(migrations: [(&'static str, &'static str); N]) -> Migrator {
    let migrations = (1..).zip(migrations).map(|(version, (name, sql))| {
        let kind = MigrationType::Simple;
        Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_ignore_missing(true);
    migrator
}

/// `migrations!("folder": "0001_name", ...)`: the files of `migrations/folder`, for [`migrator`].
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
    fn every_file_is_listed_at_its_number() {
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
