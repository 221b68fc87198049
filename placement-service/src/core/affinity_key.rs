//! Keys of affinity: what one key is, in a form that no two keys share. A key is made of parts, each with its length in
//! front; texts are never joined, so no text of a client can imitate another key. Knows no engine and no store; who
//! keeps keys keeps a keyed hash of this form.

use super::path_template::{CaptureText, PathMatch, PathTemplate};
use super::text_template::{BraceError, Piece, TextTemplate};
use std::fmt;

/// Maximum length of the texts of a key together, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// A key in its canonical form. Not printed: it may contain names of accounts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalKey(Vec<u8>);

impl fmt::Debug for CanonicalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanonicalKey(..)")
    }
}

/// The texts of the key have more than [`MAX_KEY_BYTES`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has more than {MAX_KEY_BYTES} bytes")]
pub struct KeyTooLong;

/// The kind of a part. The values are part of the stored form and never change.
#[derive(Clone, Copy)]
enum PartKind {
    Pool = 1,
    Tab = 2,
    Session = 3,
    Account = 4,
    Literal = 5,
    Decoded = 6,
    Raw = 7,
}

impl CanonicalKey {
    /// The key of a browser tab of a login session.
    ///
    /// # Errors
    /// The names are too long.
    pub fn from_tab(pool: &str, session_ref: &str, tab: &str) -> Result<Self, KeyTooLong> {
        Self::from_parts(
            pool,
            &[(PartKind::Session, session_ref), (PartKind::Tab, tab)],
        )
    }

    /// The key of a login session.
    ///
    /// # Errors
    /// The name is too long.
    pub fn from_session(pool: &str, session_ref: &str) -> Result<Self, KeyTooLong> {
        Self::from_parts(pool, &[(PartKind::Session, session_ref)])
    }

    /// The key of an account.
    ///
    /// # Errors
    /// The name is too long.
    pub fn from_account(pool: &str, account: &str) -> Result<Self, KeyTooLong> {
        Self::from_parts(pool, &[(PartKind::Account, account)])
    }

    /// Its bytes, for a keyed hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn from_parts(pool: &str, parts: &[(PartKind, &str)]) -> Result<Self, KeyTooLong> {
        let length: usize = parts.iter().map(|(_, text)| text.len()).sum();
        if length > MAX_KEY_BYTES {
            return Err(KeyTooLong);
        }
        let mut bytes = Vec::new();
        for (kind, text) in [(PartKind::Pool, pool)].iter().chain(parts) {
            let length = u32::try_from(text.len()).map_err(|_| KeyTooLong)?;
            bytes.push(*kind as u8);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        Ok(Self(bytes))
    }
}

/// A key that is made of captures of a path, such as `{team}/{room}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(TextTemplate);

/// The fault of a [`KeyTemplate`]. `Display` gives the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTemplateError {
    #[error("must be stream, tab, session, account, or captures of the path such as {{room}}")]
    NoCapture,
    #[error(transparent)]
    Brace(#[from] BraceError),
    #[error("uses {{{0}}}, which the path does not have")]
    NotInPath(String),
}

impl KeyTemplate {
    /// Reads a template of a key for paths of `path`.
    ///
    /// # Errors
    /// It has no capture, or one that the path does not have.
    pub fn parse(text: &str, path: &PathTemplate) -> Result<Self, KeyTemplateError> {
        let template = TextTemplate::parse(text)?;
        if template.placeholders().next().is_none() {
            return Err(KeyTemplateError::NoCapture);
        }
        for name in template.placeholders() {
            if !path.captures().any(|capture| capture == name) {
                return Err(KeyTemplateError::NotInPath(name.to_owned()));
            }
        }
        Ok(Self(template))
    }

    /// The captures that the key uses.
    #[must_use]
    pub fn captures(&self) -> Vec<&str> {
        self.0.placeholders().collect()
    }

    /// The key of a path. Two paths have the same key if their captures are equal after decoding.
    ///
    /// # Errors
    /// The key is too long.
    pub fn resolve(
        &self,
        pool: &str,
        path: &PathMatch<'_, '_>,
    ) -> Result<CanonicalKey, KeyTooLong> {
        let texts: Vec<(PartKind, CaptureText<'_>)> = self
            .0
            .pieces()
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => (PartKind::Literal, CaptureText::Raw(text)),
                Piece::Placeholder(name) => match path.text(name) {
                    Some(text @ CaptureText::Decoded(_)) => (PartKind::Decoded, text),
                    Some(text @ CaptureText::Raw(_)) => (PartKind::Raw, text),
                    None => (PartKind::Raw, CaptureText::Raw("")),
                },
            })
            .collect();
        let parts: Vec<(PartKind, &str)> = texts
            .iter()
            .map(|(kind, text)| (*kind, text.as_str()))
            .collect();
        CanonicalKey::from_parts(pool, &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(key: &str, template: &str, path: &str) -> Result<CanonicalKey, KeyTooLong> {
        let template = PathTemplate::parse(template).unwrap();
        let key = KeyTemplate::parse(key, &template).unwrap();
        key.resolve("p", &template.match_path(path).unwrap())
    }

    #[test]
    fn the_canonical_form_is_stable() {
        let account = CanonicalKey::from_account("p", "ada").unwrap();
        assert_eq!(account.as_bytes(), b"\x01\0\0\0\x01p\x04\0\0\0\x03ada");
        let tab = CanonicalKey::from_tab("p", "r", "t").unwrap();
        assert_eq!(
            tab.as_bytes(),
            b"\x01\0\0\0\x01p\x03\0\0\0\x01r\x02\0\0\0\x01t"
        );
        let room = resolve("{team}/{room}", "/{team}/{room}", "/a%41/%ff").unwrap();
        assert_eq!(
            room.as_bytes(),
            b"\x01\0\0\0\x01p\x06\0\0\0\x02aA\x05\0\0\0\x01/\x07\0\0\0\x03%ff"
        );
        assert_eq!(format!("{room:?}"), "CanonicalKey(..)");
    }

    #[test]
    fn unlike_requests_have_unlike_keys() {
        let keys = [
            CanonicalKey::from_account("p", "a"),
            CanonicalKey::from_account("q", "a"),
            CanonicalKey::from_session("p", "a"),
            CanonicalKey::from_tab("p", "a", ""),
            resolve("{x}", "/{x}", "/a"),
            resolve("{x}", "/{x}", "/A"),
            resolve("{x}", "/{x}", "/a%2Fb"),
            resolve("{x}", "/{x}", "/a%252Fb"),
            resolve("{rest}", "/{rest}", "/a/b"),
            resolve("{x}{y}", "/{x}/{y}", "/a/bc"),
            resolve("{x}{y}", "/{x}/{y}", "/ab/c"),
            resolve("{x}/{y}", "/{x}/{y}", "/a/bc"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(index));
        }
        let spelled = resolve("{x}", "/{x}", "/%61");
        assert_eq!(spelled, resolve("{x}", "/{x}", "/a"));
        // The name of a capture is no part of the key, so routes may share keys.
        let renamed = resolve("{room}", "/api/{room}/{rest}", "/api/a/x");
        assert_eq!(renamed, resolve("{x}", "/{x}", "/a"));
    }

    #[test]
    fn a_key_is_bounded() {
        let path = |length: usize| format!("/{}", "a".repeat(length));
        assert!(resolve("{x}", "/{x}", &path(MAX_KEY_BYTES)).is_ok());
        let long = resolve("{x}", "/{x}", &path(MAX_KEY_BYTES + 1));
        assert_eq!(long, Err(KeyTooLong));
        // Escapes count as what they stand for.
        let encoded = format!("/{}", "%61".repeat(MAX_KEY_BYTES));
        assert!(resolve("{x}", "/{x}", &encoded).is_ok());
        let tab = "t".repeat(MAX_KEY_BYTES);
        assert_eq!(CanonicalKey::from_tab("p", "r", &tab), Err(KeyTooLong));
    }

    #[test]
    fn a_key_uses_captures_of_its_path() {
        let path = PathTemplate::parse("/{room}").unwrap();
        for (text, error) in [
            ("", KeyTemplateError::NoCapture),
            ("acount", KeyTemplateError::NoCapture),
            ("{team}", KeyTemplateError::NotInPath("team".to_owned())),
            ("{room", KeyTemplateError::Brace(BraceError)),
        ] {
            assert_eq!(KeyTemplate::parse(text, &path), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_are_equal_only_if_the_captures_are(
            one in ("[ab%41F]{1,4}", "[ab/]{0,4}"), other in ("[ab%41F]{1,4}", "[ab/]{0,4}"),
        ) {
            let template = PathTemplate::parse("/{x}/{rest}").unwrap();
            let paths = [one, other].map(|(x, rest)| format!("/{x}/{rest}"));
            let found = paths.each_ref().map(|path| template.match_path(path).unwrap());
            let texts = found.each_ref().map(|found| (found.text("x"), found.text("rest")));
            let key = KeyTemplate::parse("{x}{rest}", &template).unwrap();
            let keys = found.each_ref().map(|found| key.resolve("p", found).unwrap());
            prop_assert_eq!(keys[0] == keys[1], texts[0] == texts[1]);
        }
    }
}
