//! `make sim`: progress goes to standard error; tables go to standard output, with one JSON object as the last line.

use berth_scheduler::strategy::{Strategy, Weights};
use berth_sim::scenario::Scenario;
use berth_sim::{Policy, report, run, speed};
use clap::Parser;
use std::io::{self, Write};
use std::time::Duration;

/// How long each speed is measured.
const SPEED_DURATION: Duration = Duration::from_secs(2);

/// Places the same sessions with each strategy, on fleets with a virtual clock.
#[derive(Debug, Parser)]
struct Options {
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sizes of the fleets.
    #[arg(long, value_delimiter = ',', default_value = "4,100,10000")]
    engines: Vec<u32>,
    /// Weight of the document, instead of the default.
    #[arg(long)]
    document_weight: Option<f64>,
    /// Measures only the speed.
    #[arg(long)]
    speed_only: bool,
    /// Measures only the quality.
    #[arg(long, conflicts_with = "speed_only")]
    quality_only: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut stdout = io::stdout();
    let mut policies = Policy::all();
    if let Some(document) = options.document_weight {
        for policy in &mut policies {
            if let Policy::Berth(_, weights) = policy
                && weights.document > 0.0
            {
                weights.document = document;
            }
        }
    }
    // First, before any memory was freed.
    let large = options.engines.contains(&10_000) && !options.quality_only;
    let bytes_per_engine = large.then(|| speed::memory(10_000, options.seed));
    let scenario = |engines: &u32| Scenario::new(*engines, options.seed);
    let mut outcomes = Vec::new();
    if !options.speed_only {
        let scenarios: Vec<_> = options.engines.iter().map(scenario).collect();
        eprintln!("{}", report::header());
        outcomes = run::run(&scenarios, &policies, |scenario, outcome| {
            eprintln!("{}", report::row(scenario, outcome));
        });
        writeln!(stdout, "{}", report::header())?;
        for (scenario, outcome) in &outcomes {
            writeln!(stdout, "{}", report::row(scenario, outcome))?;
        }
    }
    let mut speeds = Vec::new();
    if !options.quality_only {
        for engines in options.engines.iter().copied().filter(|n| *n >= 100) {
            for policy in &policies {
                if let Policy::Berth(strategy, weights) = policy
                    && weights.document > 0.0
                {
                    eprintln!("decisions/s: {engines} engines, {}", policy.name());
                    let measured = speed::measure(engines, *strategy, SPEED_DURATION, options.seed);
                    speeds.push((*policy, measured));
                }
            }
        }
        write!(stdout, "{}", report::speed_table(&speeds))?;
    }
    let weights = Weights {
        document: options
            .document_weight
            .unwrap_or(Weights::default().document),
        ..Weights::default()
    };
    let default = Policy::Berth(Strategy::default(), weights);
    if let Some(bytes) = bytes_per_engine {
        writeln!(stdout, "\nmemory: {bytes} bytes per engine at 10,000\n")?;
    }
    let json = report::json(default, &outcomes, &speeds, bytes_per_engine);
    writeln!(stdout, "{json}")
}
