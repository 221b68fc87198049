//! A gateway's cursor as one opaque text: its position in the event log, and its position in the outbox of the process
//! that answered it.

use berth_api::CURSOR_NOW;
use berth_store::{Cursor, InvalidCursor};
use std::fmt;
use std::str::FromStr;

/// The position of a gateway in the events for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayCursor {
    /// No position yet: events start now.
    Latest,
    After {
        log: Cursor,
        /// `None`: no process has sent it events of its own outbox.
        outbox: Option<Cursor>,
    },
}

impl fmt::Display for GatewayCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(CURSOR_NOW),
            Self::After { log, outbox: None } => log.fmt(f),
            Self::After {
                log,
                outbox: Some(outbox),
            } => write!(f, "{log}.{outbox}"),
        }
    }
}

impl FromStr for GatewayCursor {
    type Err = InvalidCursor;

    /// Accepts exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text == CURSOR_NOW {
            return Ok(Self::Latest);
        }
        Ok(match text.split_once('.') {
            Some((log, outbox)) => Self::After {
                log: log.parse()?,
                outbox: Some(outbox.parse()?),
            },
            None => Self::After {
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
        fn every_cursor_survives_a_round_trip(log: u64, sequence: u64, outbox: Option<(u64, u64)>) {
            let cursor = |log, sequence| Cursor { log: LogId(log), sequence };
            let cursor = GatewayCursor::After {
                log: cursor(log, sequence),
                outbox: outbox.map(|(epoch, n)| cursor(epoch, n)),
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn no_other_text_is_parsed(text in "(now|[0-9a-f.-]{0,80})") {
            if let Ok(cursor) = text.parse::<GatewayCursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
