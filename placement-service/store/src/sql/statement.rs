//! A SQL statement with its arguments, and the values that every dialect can bind and read. sqlx asks for these
//! abilities of each value's type; here the database has them, so that [`super::dialect::Dialect`] can require all
//! of them at once.

use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Error, Row, SqlSafeStr, Type};

/// A query of sqlx that owns its arguments.
pub(crate) type SqlQuery<D> = Query<'static, D, <D as Database>::Arguments>;

/// A database that accepts `T` as an argument of a statement.
pub trait Bind<T>: Database {
    /// Adds the next argument.
    fn bind(query: SqlQuery<Self>, value: T) -> SqlQuery<Self>;
}

impl<'t, D, T> Bind<T> for D
where
    D: Database,
    T: Encode<'t, D> + Type<D>,
{
    fn bind(query: SqlQuery<Self>, value: T) -> SqlQuery<Self> {
        query.bind(value)
    }
}

/// A database whose rows have columns of the type `T`.
pub trait Read<T>: Database {
    /// Reads a column by its name.
    fn read(row: &Self::Row, column: &'static str) -> Result<T, Error>;
}

impl<D, T> Read<T> for D
where
    D: Database,
    T: for<'r> Decode<'r, D> + Type<D>,
    &'static str: ColumnIndex<D::Row>,
{
    fn read(row: &Self::Row, column: &'static str) -> Result<T, Error> {
        row.try_get(column)
    }
}

/// A database with the types of Berth's tables.
pub trait SqlTypes:
    Bind<i64>
    + Bind<bool>
    + for<'a> Bind<&'a str>
    + for<'a> Bind<&'a [u8]>
    + for<'a> Bind<Option<&'a str>>
    + for<'a> Bind<Option<&'a [u8]>>
    + Read<i64>
    + Read<bool>
    + Read<String>
    + Read<Vec<u8>>
    + Read<Option<i64>>
    + Read<Option<String>>
    + Read<Option<Vec<u8>>>
{
}

impl<D> SqlTypes for D where
    D: Bind<i64>
        + Bind<bool>
        + for<'a> Bind<&'a str>
        + for<'a> Bind<&'a [u8]>
        + for<'a> Bind<Option<&'a str>>
        + for<'a> Bind<Option<&'a [u8]>>
        + Read<i64>
        + Read<bool>
        + Read<String>
        + Read<Vec<u8>>
        + Read<Option<i64>>
        + Read<Option<String>>
        + Read<Option<Vec<u8>>>
{
}

/// A statement; `$1` is its first argument.
pub(crate) struct Statement<D: Database>(SqlQuery<D>);

impl<D: Database> Statement<D> {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self(sqlx::query(sql))
    }

    /// A statement composed of constants. Values that a caller supplies are bound, never part of the text.
    pub(crate) fn composed(sql: String) -> Self {
        Self(sqlx::query(AssertSqlSafe(sql).into_sql_str()))
    }

    pub(crate) fn bind<T>(self, value: T) -> Self
    where
        D: Bind<T>,
    {
        Self(D::bind(self.0, value))
    }

    pub(crate) fn into_query(self) -> SqlQuery<D> {
        self.0
    }
}
