//! A gateway's cursor as one opaque text: its position in the event log, and its position in the outbox of the process
//! that answered it.

use berth_api::CURSOR_NOW;
use berth_store::{Cursor, InvalidCursor};
use std::fmt;
use std::str::FromStr;

/// The position of a gateway in the events for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// No position yet: events start now.
    Now,
    At {
        log: Cursor,
        /// `None`: no process has sent it events of its own outbox.
        outbox: Option<Cursor>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str(CURSOR_NOW),
            Self::At { log, outbox: None } => log.fmt(f),
            Self::At {
                log,
                outbox: Some(outbox),
            } => write!(f, "{log}.{outbox}"),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidCursor;

    /// Accepts exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text == CURSOR_NOW {
            return Ok(Self::Now);
        }
        Ok(match text.split_once('.') {
            Some((log, outbox)) => Self::At {
                log: log.parse()?,
                outbox: Some(outbox.parse()?),
            },
            None => Self::At {
                log: text.parse()?,
                outbox: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::LogId;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_place_survives_a_round_trip(log: u64, sequence: u64, outbox: Option<(u64, u64)>) {
            let cursor = |log, sequence| Cursor { log: LogId(log), sequence };
            let place = Place::At {
                log: cursor(log, sequence),
                outbox: outbox.map(|(era, n)| cursor(era, n)),
            };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn no_other_text_is_parsed(text in "(now|[0-9a-f.-]{0,80})") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string(), text);
            }
        }
    }
}
