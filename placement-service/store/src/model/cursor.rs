//! Where a reader is in an event log: the log's own name and a sequence number, in one word. A reader keeps it
//! and gives it back; what it says is checked like anything else that comes from outside.

use std::fmt;
use std::str::FromStr;

/// The name of one event log: derived from a key that lives and dies with the log's store, so that a store
/// that was lost and begun anew has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogId(pub u64);

/// A place in a log: behind the entry of that sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub log: LogId,
    pub sequence: u64,
}

/// A text that no service ever gave out as a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NotACursor;

/// Digits of a log's name: 64 bits in hexadecimal.
const LOG_DIGITS: usize = 16;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.log.0, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    /// Takes exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (log, sequence) = text.split_once('-').ok_or(NotACursor)?;
        let digits = log.len() == LOG_DIGITS && log.bytes().all(|b| b.is_ascii_hexdigit());
        let cursor = Self {
            log: LogId(u64::from_str_radix(log, 16).map_err(|_| NotACursor)?),
            sequence: sequence.parse().map_err(|_| NotACursor)?,
        };
        (digits && cursor.to_string() == text)
            .then_some(cursor)
            .ok_or(NotACursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_own_form_is_a_cursor() {
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
            assert_eq!(wrong.parse::<Cursor>(), Err(NotACursor), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back(log: u64, sequence: u64) {
            let cursor = Cursor { log: LogId(log), sequence };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn nothing_else_does(text in "[0-9a-f-]{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
