//! Bounds a peer's text for a log line or an error message, and makes it printable, so that no peer can fill a log or
//! forge a line in it.

use std::fmt::{self, Write};

/// Maximum number of characters that are printed of a peer's text.
const MAX_CHARS: usize = 512;

/// Prints at most 512 characters of a text; `...` marks a cut, and unprintable characters are escaped.
pub struct Excerpt<T>(pub T);

impl<T: fmt::Display> fmt::Display for Excerpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut excerpt = BoundedWriter {
            out: f,
            chars_left: MAX_CHARS,
            is_cut: false,
        };
        match write!(excerpt, "{}", self.0) {
            Err(fmt::Error) if excerpt.is_cut => f.write_str("..."),
            result => result,
        }
    }
}

struct BoundedWriter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    chars_left: usize,
    is_cut: bool,
}

impl Write for BoundedWriter<'_, '_> {
    /// Fails at the bound, so that the rest is not even formatted.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let Some(chars_left) = self.chars_left.checked_sub(1) else {
                self.is_cut = true;
                return Err(fmt::Error);
            };
            self.chars_left = chars_left;
            match char {
                '"' | '\'' | '\\' => self.out.write_char(char)?,
                _ => write!(self.out, "{}", char.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_text_is_printed_unchanged() {
        let text = "no route to host 'ä', path \"/a\\b\"";
        assert_eq!(Excerpt(text).to_string(), text);
        let longest_text = "x".repeat(MAX_CHARS);
        assert_eq!(Excerpt(&longest_text).to_string(), longest_text);
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = "ä".repeat(MAX_CHARS + 1);
        let expected = format!("{}...", "ä".repeat(MAX_CHARS));
        assert_eq!(Excerpt(&text).to_string(), expected);
        // A text that is written in pieces is cut, too.
        assert_eq!(
            Excerpt(format_args!("{}{}", "ä", text)).to_string(),
            expected
        );
    }

    #[test]
    fn unprintable_characters_are_escaped() {
        let text = "a\nb\r\t\0\u{1b}[31m\u{85}\u{202e}\u{2028}";
        let expected = r"a\nb\r\t\0\u{1b}[31m\u{85}\u{202e}\u{2028}";
        assert_eq!(Excerpt(text).to_string(), expected);
    }
}
