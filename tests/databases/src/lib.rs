//! Real PostgreSQL and Redis servers for tests: each a child process on a free port of loopback with its
//! data in a folder of its own, both gone when the value is dropped. A test can stop, freeze, kill and
//! restart one. Nothing here knows what is kept in them.
//!
//! ```no_run
//! # async fn test() -> berth_harness::Result<()> {
//! let server = berth_databases::Postgres::shared().await?; // one for all tests of a binary
//! let url = server.database().await?; // empty, this test's own
//! # Ok(()) }
//! ```

mod postgres;
mod programs;
mod redis_server;
mod server;

pub use postgres::Postgres;
pub use redis_server::Redis;
pub use server::Server;

/// The password in every URL that this crate hands out, for tests that look for it where it must not be.
pub const PASSWORD: &str = "database-password";
