//! Whose streams count together. The public name of a session or of a token says it; the names are made elsewhere.

/// What the name of a token begins with: no base64url does.
pub const TOKEN_PREFIX: &str = "t.";

/// Whose streams count together: a session by its name, a token by the part that its account's tokens share.
/// [`is_token_ref`] tells the two apart.
#[must_use]
pub fn stream_holder(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((holder, _)) if is_token_ref(name) && holder.len() >= TOKEN_PREFIX.len() => holder,
        _ => name,
    }
}

/// Whether a name is a token's, and no session's.
#[must_use]
pub fn is_token_ref(name: &str) -> bool {
    name.starts_with(TOKEN_PREFIX)
}
