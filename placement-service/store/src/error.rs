//! The error of every store operation. Never contains a secret.

/// Why a store operation failed. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store does not answer, or not in time. A retry may succeed.
    #[error("session store: {0}")]
    Down(String),
    /// The store answers, but the stored data, or the data to store, is invalid. A retry fails again.
    #[error("session store: {0}")]
    Data(String),
    /// Another system owns the sessions: nothing can be written.
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
