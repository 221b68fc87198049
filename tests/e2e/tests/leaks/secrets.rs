//! The secrets that must not appear anywhere, in every encoding in which they could be written, and the search for
//! them. Does not know where the searched bytes come from.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

/// Shorter texts would be found by chance.
const MIN_LENGTH: usize = 8;

/// All secrets that a scenario has used.
#[derive(Default)]
pub(crate) struct Secrets {
    needles: Vec<(String, Vec<u8>)>,
    distinct: BTreeSet<Vec<u8>>,
}

impl Secrets {
    /// Adds a secret, unchanged and percent-encoded.
    pub(crate) fn add(&mut self, what: &str, value: &str) {
        self.add_needle(what, value.as_bytes().to_vec());
        self.add_needle(&format!("{what}, percent-encoded"), percent_encode(value));
    }

    /// Adds the value of a cookie `name=value`, and the bytes that a session id encodes, raw and in hex.
    pub(crate) fn add_cookie(&mut self, what: &str, cookie: &str) {
        let value = cookie.split_once('=').map_or(cookie, |(_, value)| value);
        self.add(what, value);
        if let Some(bytes) = decode_base64url(value) {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            self.add_needle(&format!("{what}, in hex"), hex.into_bytes());
            self.add_needle(&format!("{what}, as bytes"), bytes);
        }
    }

    /// Adds a JWT: the whole, its payload, and its signature.
    pub(crate) fn add_jwt(&mut self, what: &str, token: &str) {
        let token = token.trim_start_matches("Bearer ");
        self.add(what, token);
        for (part, name) in token.split('.').skip(1).zip(["payload", "signature"]) {
            self.add(&format!("{what}'s {name}"), part);
        }
    }

    fn add_needle(&mut self, what: &str, bytes: Vec<u8>) {
        if bytes.len() >= MIN_LENGTH && self.distinct.insert(bytes.clone()) {
            self.needles.push((what.to_owned(), bytes));
        }
    }

    /// Number of search texts, all encodings included.
    pub(crate) const fn len(&self) -> usize {
        self.needles.len()
    }

    /// Descriptions of the secrets in these bytes, with the text around each. The secrets themselves are not printed.
    pub(crate) fn find_in(&self, haystack: &[u8]) -> Vec<String> {
        let start = |bytes: &[u8]| bytes.first_chunk::<MIN_LENGTH>().copied();
        // Two bytes exclude most positions, because databases keep large files.
        let pair = |bytes: &[u8]| {
            bytes
                .first_chunk()
                .map_or(0, |two| u16::from_le_bytes(*two))
        };
        let mut pairs = vec![false; 1 << 16];
        let mut by_start: HashMap<[u8; MIN_LENGTH], Vec<usize>> = HashMap::new();
        for (index, (_, needle)) in self.needles.iter().enumerate() {
            if let Some(start) = start(needle) {
                by_start.entry(start).or_default().push(index);
                pairs[usize::from(pair(needle))] = true;
            }
        }
        let mut found = BTreeSet::new();
        for (at, window) in haystack.windows(MIN_LENGTH).enumerate() {
            if !pairs[usize::from(pair(window))] {
                continue;
            }
            let candidates = start(window).and_then(|start| by_start.get(&start));
            for index in candidates.into_iter().flatten() {
                let (what, needle) = &self.needles[*index];
                if haystack[at..].starts_with(needle) {
                    let before = &haystack[at.saturating_sub(80)..at];
                    let before = String::from_utf8_lossy(before).into_owned();
                    found.insert(format!("{what}, after {before:?}"));
                }
            }
        }
        found.into_iter().collect()
    }
}

fn percent_encode(text: &str) -> Vec<u8> {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out.into_bytes()
}

/// Decodes base64url without padding.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = 0_u32;
    let mut count = 0;
    let mut out = Vec::new();
    for byte in text.bytes() {
        let six = ALPHABET.iter().position(|known| *known == byte)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[test]
fn a_planted_secret_is_found_in_every_spelling() {
    let mut secrets = Secrets::default();
    secrets.add("password", "pass word&more");
    secrets.add_cookie(
        "cookie",
        "berth=3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    secrets.add_jwt("token", "Bearer aaaaaaaa.bbbbbbbbbb.cccccccccc");
    let clean = b"INFO berth::audit event=login account=probe session=k1Jt0yqSxv2Pabcdefghij";
    assert_eq!(secrets.find_in(clean), Vec::<String>::new());
    let mut raw = vec![0xde, 0xad, 0xbe, 0xef];
    raw.resize(32, 0);
    for (planted, what) in [
        (&b"pass word&more"[..], "password"),
        (b"pass%20word%26more", "password, percent-encoded"),
        (b"3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "cookie"),
        (&raw, "cookie, as bytes"),
        (
            b"deadbeef00000000000000000000000000000000000000000000000000000000",
            "cookie, in hex",
        ),
        (b"xxxxxxxx.bbbbbbbbbb.yyyyyyyyyy", "token's payload"),
        (b"cccccccccc", "token's signature"),
        (b"aaaaaaaa.bbbbbbbbbb.cccccccccc", "token"),
    ] {
        let log = [&clean[..], b" \"", planted, b"\" \n", clean].concat();
        let found = secrets.find_in(&log);
        let is_reported = found
            .iter()
            .any(|line| line.starts_with(&format!("{what}, after")));
        assert!(is_reported, "{what}: {found:?}");
        assert!(!found.concat().contains("pass word"), "the secret is shown");
    }
}
