//! How statements reach PostgreSQL, and which of its errors concern the server.

use crate::sql::backend::Backend;
use crate::sql::statement::SqlQuery;
use sqlx::{Error, PgConnection, Postgres, postgres::PgRow, raw_sql};

/// SQLSTATE of a write on a standby, or on a server that was made read-only.
const READ_ONLY: &str = "25006";
/// The SQLSTATEs of a server that shuts down, has crashed or starts begin with this.
const SERVER_ENDS: &str = "57P0";

impl Backend for Postgres {
    const BEGIN: &'static str = "BEGIN";

    async fn execute(connection: &mut PgConnection, query: SqlQuery<Self>) -> Result<u64, Error> {
        Ok(query.execute(connection).await?.rows_affected())
    }

    async fn fetch(
        connection: &mut PgConnection,
        query: SqlQuery<Self>,
    ) -> Result<Vec<PgRow>, Error> {
        query.fetch_all(connection).await
    }

    async fn command(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
        raw_sql(sql).execute(connection).await.map(drop)
    }

    async fn end_transaction(connection: &mut PgConnection) -> Result<(), Error> {
        // Executed after everything that the cancelled caller has sent. Not an error where no transaction is open.
        Self::command(connection, "ROLLBACK").await
    }

    fn is_backend_fault(error: &Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == READ_ONLY || code.starts_with(SERVER_ENDS))
    }
}
