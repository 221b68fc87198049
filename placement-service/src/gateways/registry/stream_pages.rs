//! Pages of open streams, sorted by name, as operators list them. A page looks at a bounded number of streams, because
//! reports wait meanwhile.

use super::{Registry, Stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// Maximum number of streams in a page.
pub(in crate::gateways) const MAX_PAGE: usize = 500;
/// Maximum number of streams that one page looks at.
const MAX_SCANNED: usize = 20_000;

/// Which streams a list has. An absent filter fits every stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamQuery {
    /// Only the streams of one of these sessions, by `session_ref`.
    pub sessions: Option<BTreeSet<String>>,
    pub pool: Option<String>,
    pub engine: Option<String>,
    /// Only streams whose name is after this one.
    pub after: Option<String>,
}

/// An open stream as a gateway has reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedStream {
    pub stream: String,
    pub session_ref: String,
    pub pool: String,
    pub engine: String,
    pub key: Option<String>,
    pub gateway: String,
    /// Unix seconds.
    pub opened_at: u64,
}

/// Streams sorted by name, and the gateways that report to this replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::gateways) struct ReplicaPage {
    pub(in crate::gateways) streams: Vec<ReportedStream>,
    /// The next page begins after this name; `None`: there is none.
    pub(in crate::gateways) next: Option<String>,
    /// The number of the last report of each gateway.
    pub(in crate::gateways) gateways: BTreeMap<String, u64>,
}

impl StreamQuery {
    fn matches(&self, stream: &Stream) -> bool {
        let (pool, engine) = &stream.engine;
        let fits =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
        let sessions = self.sessions.as_ref();
        fits(&self.pool, pool)
            && fits(&self.engine, engine.as_str())
            && sessions.is_none_or(|sessions| sessions.contains(&*stream.session))
    }
}

impl Registry {
    /// A page of the streams that a query selects.
    pub(in crate::gateways) fn stream_page(&self, query: &StreamQuery) -> ReplicaPage {
        let gateways = self.gateways.iter();
        let gateways = gateways.map(|(name, gateway)| (name.to_string(), gateway.sequence));
        let mut page = ReplicaPage {
            gateways: gateways.collect(),
            ..ReplicaPage::default()
        };
        let mut scanned = 0;
        for name in self.candidates(query) {
            let Some(stream) = self.streams.get(&name) else {
                continue;
            };
            if query.matches(stream) {
                page.streams.push(reported(&name, stream));
            }
            scanned += 1;
            if page.streams.len() == MAX_PAGE || scanned == MAX_SCANNED {
                page.next = Some(name.to_string());
                break;
            }
        }
        page
    }

    /// The names after the last page, sorted: those of the sessions, or all.
    fn candidates<'a>(&'a self, query: &'a StreamQuery) -> Box<dyn Iterator<Item = Arc<str>> + 'a> {
        let after = query.after.as_deref();
        let Some(sessions) = &query.sessions else {
            let first = after.map_or(Unbounded, Excluded);
            let names = self.streams.range::<str, _>((first, Unbounded));
            return Box::new(names.map(|(name, _)| Arc::clone(name)));
        };
        let streams = sessions.iter().flat_map(|name| self.sessions.streams(name));
        let later = streams.filter(|name| after.is_none_or(|after| ***name > *after));
        let names: BTreeSet<Arc<str>> = later.cloned().collect();
        Box::new(names.into_iter())
    }

    /// The gateway that has a stream.
    pub(in crate::gateways) fn gateway_of(&self, stream: &str) -> Option<Arc<str>> {
        let stream = self.streams.get(stream)?;
        Some(Arc::clone(&stream.gateway))
    }
}

fn reported(name: &str, stream: &Stream) -> ReportedStream {
    let (pool, engine) = &stream.engine;
    ReportedStream {
        stream: name.to_owned(),
        session_ref: stream.session.to_string(),
        pool: pool.to_string(),
        engine: engine.to_string(),
        key: stream.key.as_deref().map(str::to_owned),
        gateway: stream.gateway.to_string(),
        opened_at: stream.opened_at,
    }
}
