//! Which names accounts, roles and OpenID accounts may have. Knows no store.

/// Longest account and role name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Whether a text may name an account or a role: no spaces, no control characters, nothing that a
/// header, a log or a shell would trip over.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}
