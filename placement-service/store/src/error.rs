//! What a store says when it does not do what it was asked.

/// The store did not do what it was asked. Never a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time: later it may.
    #[error("session store: {0}")]
    Down(String),
    /// It answers, but what it keeps, or was to keep, does not fit. Later it will not fit either.
    #[error("session store: {0}")]
    Data(String),
    /// Sessions are kept by somebody else here: nothing can be written.
    #[error("the session store is read-only")]
    ReadOnly,
}

impl StoreError {
    pub(crate) fn malformed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Data(format!("{what} is malformed: {error}"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        let text = error.to_string();
        match error {
            Error::Database(e) if e.is_unique_violation() => Self::Data(text),
            Error::ColumnDecode { .. }
            | Error::Decode(_)
            | Error::Encode(_)
            | Error::ColumnNotFound(_)
            | Error::RowNotFound => Self::Data(text),
            _ => Self::Down(text),
        }
    }
}
