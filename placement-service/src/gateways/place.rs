//! Where a gateway is in what it has been told, in one word that it gives back: a place in the event log, and
//! one among what this process tells its gateways by itself.

use berth_api::CURSOR_NOW;
use berth_store::{Cursor, NotACursor};
use std::fmt;
use std::str::FromStr;

/// A gateway's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It has none yet.
    Now,
    At {
        log: Cursor,
        /// `None`: no process has told it anything by itself.
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
    type Err = NotACursor;

    /// Takes exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotACursor> {
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
        fn a_place_comes_back(log: u64, sequence: u64, outbox: Option<(u64, u64)>) {
            let cursor = |log, sequence| Cursor { log: LogId(log), sequence };
            let place = Place::At {
                log: cursor(log, sequence),
                outbox: outbox.map(|(era, n)| cursor(era, n)),
            };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn nothing_else_does(text in "(now|[0-9a-f.-]{0,80})") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string(), text);
            }
        }
    }
}
