//! The command line options of the benchmark.

use crate::client_path::ClientPath;
use berth_harness::paths;
use clap::{Parser, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Measures Berth against Envoy without it, on this machine, in one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "berth-bench", version)]
pub struct Options {
    /// One round of one second per load, and few open sockets: shows that everything works, and measures nothing.
    #[arg(long)]
    quick: bool,
    /// Number of rounds. Each round runs every load over every path once, and medians over the rounds are reported:
    /// many short rounds are more reliable than few long ones.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Duration of one load in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Sockets held open for the memory measurement.
    #[arg(long, default_value_t = 1_000)]
    held: usize,
    /// Worker threads of each Envoy.
    #[arg(long, default_value_t = 1)]
    pub(crate) envoy_workers: u32,
    /// Engine simulators.
    #[arg(long, default_value_t = 3)]
    pub(crate) engines: usize,
    /// Sessions in each store.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Only these parts: paths, callouts, stores. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// File for the results as JSON. Default: target/bench/results.json.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Direct,
    Bare,
    Websocket,
    Qix,
    Callouts,
    Stores,
}

impl Part {
    const fn client_path(self) -> Option<ClientPath> {
        match self {
            Self::Direct => Some(ClientPath::Direct),
            Self::Bare => Some(ClientPath::Bare),
            Self::Websocket => Some(ClientPath::Websocket),
            Self::Qix => Some(ClientPath::Qix),
            Self::Callouts | Self::Stores => None,
        }
    }
}

impl Options {
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    pub(crate) fn duration(&self) -> Duration {
        let seconds = if self.quick { 1.0 } else { self.seconds };
        Duration::from_secs_f64(seconds.clamp(0.1, 3_600.0))
    }

    pub(crate) fn held_sockets(&self) -> usize {
        if self.quick { 100 } else { self.held.max(1) }
    }

    pub(crate) fn client_paths(&self) -> Vec<ClientPath> {
        let is_named = |client_path| {
            self.only
                .iter()
                .any(|part| part.client_path() == Some(client_path))
        };
        let is_selected = |client_path: &ClientPath| self.only.is_empty() || is_named(*client_path);
        ClientPath::ALL.into_iter().filter(is_selected).collect()
    }

    /// Whether callouts of plain requests are measured.
    pub(crate) fn includes_callouts(&self) -> bool {
        self.only.is_empty() || self.only.contains(&Part::Callouts)
    }

    /// Whether the stores are measured.
    pub(crate) fn includes_stores(&self) -> bool {
        self.only.is_empty() || self.only.contains(&Part::Stores)
    }

    pub(crate) fn sessions(&self) -> usize {
        if self.quick {
            1_000
        } else {
            self.sessions.max(1)
        }
    }

    pub(crate) fn results_file(&self) -> PathBuf {
        let default = || paths::target_dir().join("bench/results.json");
        self.out.clone().unwrap_or_else(default)
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
    fn quick_overrides_rounds_and_paths_keep_their_order() {
        let arguments = [
            "berth-bench",
            "--quick",
            "--rounds",
            "9",
            "--only",
            "qix,direct",
        ];
        let options = Options::try_parse_from(arguments).unwrap();
        assert_eq!(options.rounds(), 1);
        assert_eq!(
            options.client_paths(),
            [ClientPath::Direct, ClientPath::Qix]
        );
        assert!(!options.includes_stores());
        let options = Options::try_parse_from(["berth-bench", "--only", "stores"]).unwrap();
        assert!(options.includes_stores() && options.client_paths().is_empty());
    }
}
