//! `make sim`: progress on standard error; the tables on standard output, one JSON object as the last line.

use berth_scheduler::strategy::{Strategy, Weights};
use berth_sim::scenario::Scenario;
use berth_sim::{Player, report, run, speed};
use clap::Parser;
use std::io::{self, Write};
use std::time::Duration;

/// How long each speed is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Plays the same sessions to each strategy, on fleets with a virtual clock.
#[derive(Debug, Parser)]
struct Options {
    /// Of everything that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sizes of the fleets.
    #[arg(long, value_delimiter = ',', default_value = "4,100,10000")]
    engines: Vec<u32>,
    /// What it is worth that an engine holds the document, other than the default.
    #[arg(long)]
    document_weight: Option<f64>,
    /// Only how fast decisions are.
    #[arg(long)]
    speed_only: bool,
    /// Only how good they are.
    #[arg(long, conflicts_with = "speed_only")]
    quality_only: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = io::stdout();
    let mut players = Player::all();
    if let Some(document) = options.document_weight {
        for player in &mut players {
            if let Player::Ours(_, weights) = player
                && weights.document > 0.0
            {
                weights.document = document;
            }
        }
    }
    // First, while nothing is there yet that has been freed.
    let large = options.engines.contains(&10_000) && !options.quality_only;
    let bytes_per_engine = large.then(|| speed::memory(10_000, options.seed));
    let of_all = |engines: &u32| Scenario::of(*engines, options.seed);
    let mut outcomes = Vec::new();
    if !options.speed_only {
        let scenarios: Vec<_> = options.engines.iter().map(of_all).collect();
        eprintln!("{}", report::head());
        outcomes = run::run(&scenarios, &players, |scenario, outcome| {
            eprintln!("{}", report::line(scenario, outcome));
        });
        writeln!(out, "{}", report::head())?;
        for (scenario, outcome) in &outcomes {
            writeln!(out, "{}", report::line(scenario, outcome))?;
        }
    }
    let mut speeds = Vec::new();
    if !options.quality_only {
        for engines in options.engines.iter().copied().filter(|n| *n >= 100) {
            for player in &players {
                if let Player::Ours(strategy, weights) = player
                    && weights.document > 0.0
                {
                    eprintln!("decisions/s: {engines} engines, {}", player.name());
                    let measured = speed::measure(engines, *strategy, MEASURED, options.seed);
                    speeds.push((*player, measured));
                }
            }
        }
        write!(out, "{}", report::speeds(&speeds))?;
    }
    let weights = Weights {
        document: options
            .document_weight
            .unwrap_or(Weights::default().document),
        ..Weights::default()
    };
    let default = Player::Ours(Strategy::default(), weights);
    if let Some(bytes) = bytes_per_engine {
        writeln!(out, "\nmemory: {bytes} bytes per engine at 10,000\n")?;
    }
    let json = report::json(default, &outcomes, &speeds, bytes_per_engine);
    writeln!(out, "{json}")
}
