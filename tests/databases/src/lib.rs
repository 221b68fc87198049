//! Real PostgreSQL and Redis servers for tests. Each server is a child process on a free loopback port with its own
//! data folder; both are removed when the value is dropped. A test can stop, freeze, kill and restart a server. This
//! crate does not know what tests store in it. A [`FaultProxy`] adds the faults of a network, a [`PgBouncer`] is a pooler
//! in front of a server.
//!
//! ```no_run
//! # async fn test() -> berth_harness::Result<()> {
//! let server = berth_databases::Postgres::shared().await?; // one for all tests of a binary
//! let url = server.database().await?; // empty, this test's own
//! # Ok(()) }
//! ```

mod pgbouncer;
mod postgres;
mod programs;
mod proxy;
mod redis_server;
mod server;

pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use proxy::FaultProxy;
pub use redis_server::Redis;
pub use server::Server;

/// The password in every URL that this crate returns. Tests check that it appears nowhere else.
pub const PASSWORD: &str = "database-password";
