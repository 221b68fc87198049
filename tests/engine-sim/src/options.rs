//! The options of a simulated engine: addresses, secret, documents, size. The same struct is the command line of the
//! binary, so the two cannot differ.

use crate::faults::Faults;
use clap::Parser;
use std::{net::SocketAddr, str::FromStr, time::Duration};

/// Options of one simulated engine. The default has free loopback ports, checks no token and has no documents.
#[derive(Clone, Debug, Parser)]
#[command(name = "engine-sim", version, about = "A simulated QIX engine.")]
pub struct Options {
    /// Address of WebSockets and GET /healthcheck. Port 0: any free port.
    #[arg(long, default_value = "127.0.0.1:9076")]
    pub api: SocketAddr,
    /// Address of GET /metrics and the admin interface (/admin/...). Port 0: any free port.
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub metrics: SocketAddr,
    /// The engine's name, in its statistics.
    #[arg(long, default_value = "engine-0")]
    pub name: String,
    /// The HS256 secret of the tokens (ValidateJsonWebTokens=2). Without it no token is checked.
    #[arg(long)]
    pub jwt_secret: Option<String>,
    /// A document of the engine's folder /doc and its size in memory, in MB. May be repeated.
    #[arg(long = "document", value_name = "NAME=MB")]
    pub documents: Vec<Document>,
    /// How long the first open of a document takes.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub load_ms: u64,
    /// The machine's memory.
    #[arg(long, default_value_t = 16_384, value_name = "MB")]
    pub memory_mb: u32,
    /// Memory of the engine without documents and sessions.
    #[arg(long, default_value_t = 200, value_name = "MB")]
    pub base_mb: u32,
    /// Memory of one session.
    #[arg(long, default_value_t = 100, value_name = "KB")]
    pub session_kb: u32,
    /// CPU load without any socket, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub base_cpu: f64,
    /// How many open sockets make the CPU fully busy.
    #[arg(long, default_value_t = 1_000)]
    pub full_cpu_sockets: u32,
    /// The longest time that a session may outlive its last socket (MaxSessionTTL).
    #[arg(long, default_value_t = 1_800, value_name = "SECONDS")]
    pub max_session_ttl: u64,
    /// Whether the reported number of sessions includes those that wait for their TTL without a socket.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub counts_lingering: bool,
    /// An open socket gets a notification after this time without a message from its client. 0: never.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub chatter_ms: u64,
    /// The version that the engine reports.
    #[arg(long, default_value = "12.2027.0")]
    pub engine_version: String,
    /// How many of the latest upgrade requests GET /admin/upgrades shows.
    #[arg(long, default_value_t = 256)]
    pub keep_upgrades: usize,
    /// Faults from the start.
    #[command(flatten)]
    pub faults: Faults,
}

impl Options {
    /// [`Self::load_ms`] as a duration.
    #[must_use]
    pub(crate) const fn load_time(&self) -> Duration {
        Duration::from_millis(self.load_ms)
    }
}

impl Default for Options {
    fn default() -> Self {
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            api: free_port,
            metrics: free_port,
            name: "engine-0".to_owned(),
            jwt_secret: None,
            documents: Vec::new(),
            load_ms: 0,
            memory_mb: 16_384,
            base_mb: 200,
            session_kb: 100,
            base_cpu: 0.0,
            full_cpu_sockets: 1_000,
            max_session_ttl: 1_800,
            counts_lingering: true,
            chatter_ms: 0,
            engine_version: "12.2027.0".to_owned(),
            keep_upgrades: 256,
            faults: Faults::default(),
        }
    }
}

/// A document that the engine can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its file name in the folder `/doc`.
    pub name: String,
    /// Its memory once loaded, in MB.
    pub mb: u32,
}

impl Document {
    /// A document with this name and this size in MB.
    #[must_use]
    pub fn new(name: impl Into<String>, mb: u32) -> Self {
        let name = name.into();
        Self { name, mb }
    }
}

impl FromStr for Document {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, mb) = text.split_once('=').unwrap_or((text, "100"));
        if name.is_empty() {
            return Err("a document needs a name".to_owned());
        }
        let mb = mb
            .parse()
            .map_err(|_| format!("{mb:?} is not a size in MB"))?;
        Ok(Self::new(name, mb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn without_flags_only_the_ports_differ_from_the_default() {
        let mut parsed = Options::try_parse_from(["engine-sim"]).unwrap();
        assert_eq!((parsed.api.port(), parsed.metrics.port()), (9076, 9090));
        let default = Options::default();
        (parsed.api, parsed.metrics) = (default.api, default.metrics);
        assert_eq!(format!("{parsed:?}"), format!("{default:?}"));
    }

    #[test]
    fn a_document_has_a_name_and_an_optional_size() {
        assert_eq!("a.qvf=7".parse(), Ok(Document::new("a.qvf", 7)));
        assert_eq!("a.qvf".parse(), Ok(Document::new("a.qvf", 100)));
        assert!("=7".parse::<Document>().is_err());
        assert!("a=big".parse::<Document>().is_err());
    }
}
