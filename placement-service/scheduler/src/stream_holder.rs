//! Whose streams count together, derived from the public name of a login session or of a token.

/// Prefix of a token's name; the dot is no base64url character.
pub const TOKEN_PREFIX: &str = "t.";

/// The name under which streams count: of a session, its name; of a token, the part that all tokens of its account share.
#[must_use]
pub fn stream_holder(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((holder, _)) if is_token_ref(name) && holder.len() >= TOKEN_PREFIX.len() => holder,
        _ => name,
    }
}

/// Whether a name is that of a token rather than of a session.
#[must_use]
pub fn is_token_ref(name: &str) -> bool {
    name.starts_with(TOKEN_PREFIX)
}
