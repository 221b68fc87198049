//! The rules for names: the narrow alphabet of local accounts and roles, and the printable text of names that come from
//! OpenID providers. Knows no store.

use std::fmt;

/// Maximum length of the name of a local account or a role, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Maximum length of a name from a provider, in characters.
pub const MAX_PROVIDER_NAME_CHARS: usize = 256;

/// Whether a text may name a local account or a role: no spaces, no control characters, nothing that needs escaping in
/// a header, a log or a shell.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}

/// Why a text cannot name an account of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderNameFault {
    Empty,
    TooLong,
    /// The first character that is not printable.
    Unprintable(char),
}

impl fmt::Display for ProviderNameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "has more than {MAX_PROVIDER_NAME_CHARS} characters"),
            Self::Unprintable(c) => {
                write!(
                    f,
                    "contains '{}', which is not printable",
                    c.escape_unicode()
                )
            }
        }
    }
}

/// Checks a name from a provider: any text of 1 to [`MAX_PROVIDER_NAME_CHARS`] printable characters.
pub fn check_provider_name(text: &str) -> Result<(), ProviderNameFault> {
    if text.is_empty() {
        return Err(ProviderNameFault::Empty);
    }
    if text.chars().count() > MAX_PROVIDER_NAME_CHARS {
        return Err(ProviderNameFault::TooLong);
    }
    let unprintable = text.chars().find(|c| !is_printable(*c));
    unprintable.map_or(Ok(()), |c| Err(ProviderNameFault::Unprintable(c)))
}

/// A text for people, reduced to what a page or a list can show: printable characters, at most
/// [`MAX_PROVIDER_NAME_CHARS`]. `None` if nothing visible remains.
#[must_use]
pub fn display_text(text: &str) -> Option<String> {
    let printable = text.chars().filter(|c| is_printable(*c));
    let shown: String = printable.take(MAX_PROVIDER_NAME_CHARS).collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Whether a character can be seen: no control, format or private-use character, and no space other than U+0020.
/// `str::escape_debug` decides, because it escapes exactly the others, quotes and the backslash; a combining mark is
/// escaped only at the start of a text.
fn is_printable(c: char) -> bool {
    let mut buffer = ['x', c].iter().collect::<String>();
    if matches!(c, '"' | '\'' | '\\') {
        buffer.pop();
    }
    buffer.escape_debug().eq(buffer.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_providers_are_valid() {
        let longest = "é".repeat(MAX_PROVIDER_NAME_CHARS);
        for name in [
            "auth0|5f7c8ec7",
            "o'brien@example.com",
            "guest_ext.com#EXT#@tenant.onmicrosoft.com",
            "CN=Ada \"the\" Countess,OU=R&D\\UK",
            "Zoë 山田 नमस्ते e\u{301}",
            &longest,
        ] {
            assert_eq!(check_provider_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn an_invisible_character_is_refused_and_named() {
        for c in [
            '\0', '\n', '\u{7f}', '\u{85}', '\u{a0}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2028}',
            '\u{2066}', '\u{e000}', '\u{feff}',
        ] {
            let fault = check_provider_name(&format!("ada{c}")).unwrap_err();
            assert_eq!(fault, ProviderNameFault::Unprintable(c));
            let expected = format!(
                "contains '\\u{{{:x}}}', which is not printable",
                u32::from(c)
            );
            assert_eq!(fault.to_string(), expected);
        }
        let too_long = "a".repeat(MAX_PROVIDER_NAME_CHARS + 1);
        assert_eq!(
            check_provider_name(&too_long),
            Err(ProviderNameFault::TooLong)
        );
        assert_eq!(check_provider_name(""), Err(ProviderNameFault::Empty));
    }

    #[test]
    fn a_display_text_has_no_invisible_character() {
        let shown = |text: &str| display_text(text);
        assert_eq!(
            shown(" Ada\u{202e} Love\nlace ").as_deref(),
            Some("Ada Lovelace")
        );
        assert_eq!(shown("\u{200b} "), None);
        let cut = shown(&"é".repeat(300)).unwrap();
        assert_eq!(cut.chars().count(), MAX_PROVIDER_NAME_CHARS);
    }
}
