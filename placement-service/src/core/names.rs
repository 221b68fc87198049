//! The rule for names of accounts, roles and OpenID accounts. Knows no store.

/// Maximum length of the name of an account or a role, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Whether a text may name an account or a role: no spaces, no control characters, nothing that needs escaping in a
/// header, a log or a shell.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}
