//! The position of a reader in an event log: the id of the log and a sequence number, as one text. Readers
//! store it and send it back, so it is parsed as strictly as any other input from outside.

use std::fmt;
use std::str::FromStr;

/// The id of one event log, derived from a key in the log's store: a store that was lost and created again has
/// another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId(pub u64);

/// A position in a log: after the entry `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub log: LogId,
    pub sequence: u64,
}

/// The text is not a cursor that the service issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

/// Digits of a log id: 64 bits in hexadecimal.
const LOG_DIGITS: usize = 16;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.log.0, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    /// Accepts exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (log, sequence) = text.split_once('-').ok_or(InvalidCursor)?;
        let digits = log.len() == LOG_DIGITS && log.bytes().all(|b| b.is_ascii_hexdigit());
        let cursor = Self {
            log: LogId(u64::from_str_radix(log, 16).map_err(|_| InvalidCursor)?),
            sequence: sequence.parse().map_err(|_| InvalidCursor)?,
        };
        (digits && cursor.to_string() == text)
            .then_some(cursor)
            .ok_or(InvalidCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_displayed_form_parses() {
        let cursor = Cursor {
            log: LogId(0xff),
            sequence: 12,
        };
        assert_eq!(cursor.to_string(), "00000000000000ff-12");
        for wrong in [
            "",
            "-",
            "12",
            "ff-12",
            "00000000000000ff",
            "00000000000000ff-",
            "00000000000000FF-12",
            "00000000000000ff-012",
            "00000000000000ff-+12",
            "+0000000000000ff-12",
            "00000000000000ff--12",
            "00000000000000ff-12 ",
            "00000000000000ff-18446744073709551616",
        ] {
            assert_eq!(wrong.parse::<Cursor>(), Err(InvalidCursor), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(log: u64, sequence: u64) {
            let cursor = Cursor { log: LogId(log), sequence };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn a_text_that_parses_is_the_displayed_form(text in "[0-9a-f-]{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
