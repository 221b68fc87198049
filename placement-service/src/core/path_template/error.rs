//! What is wrong with a path template, for the operator who wrote it.

/// The fault of a template. `Display` gives the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    #[error(
        "must be a path such as /app/{{document}} or /rooms/{{room}}/{{rest}}, without a query"
    )]
    NotAPath,
    #[error("{0:?} is no whole segment such as {{room}}: a capture stands between two slashes")]
    PartOfSegment(String),
    #[error("{{{0}}} is no name of a capture: 1 to 32 of a-z 0-9 _, a letter first")]
    Name(String),
    #[error("{{{0}}} has another meaning in keys and headers: choose another name")]
    Reserved(String),
    #[error("{{{0}}} is there twice")]
    Repeated(String),
    #[error("{{{0}}} must be the last segment: it stands for the rest of the path")]
    NotLast(String),
}
