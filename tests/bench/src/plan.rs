//! The order of the measurements. Each round runs each load over every path in turn, so that other work of the
//! machine affects all paths alike. Reports medians over the rounds.

use crate::{
    client_path::ClientPath,
    load::{self, Load, Sample},
    options::Options,
    processes::Cpu,
    results::{Results, Row},
    testbed::Testbed,
};
use berth_harness::Result;

/// One measurement with its round, load and path.
struct Measurement {
    round: u32,
    load: Load,
    client_path: ClientPath,
    sample: Sample,
}

/// Runs all rounds.
pub(crate) async fn run(testbed: &mut Testbed, options: &Options) -> Result<Results> {
    let mut all = Vec::new();
    for round in 0..options.rounds() {
        for load in Load::ALL {
            let mut targets = testbed.targets().to_vec();
            // Each round begins with another path.
            let offset = usize::try_from(round)?.checked_rem(targets.len());
            targets.rotate_left(offset.unwrap_or(0));
            let mut line = Vec::new();
            for target in &targets {
                let sample = load::run(testbed, target, load, options.duration()).await?;
                line.push(format!("{} {:.0}/s", target.client_path, sample.per_second));
                let client_path = target.client_path;
                all.push(Measurement {
                    round,
                    load,
                    client_path,
                    sample,
                });
            }
            let (nth, rounds) = (round + 1, options.rounds());
            eprintln!(
                "bench: round {nth} of {rounds}, {load}: {}",
                line.join(", ")
            );
        }
    }
    let mut rows = Vec::new();
    for load in Load::ALL {
        rows.extend(
            options
                .client_paths()
                .into_iter()
                .map(|client_path| median_row(&all, load, client_path)),
        );
    }
    Ok(Results::new(options, rows))
}

fn median_row(all: &[Measurement], load: Load, client_path: ClientPath) -> Row {
    let samples_of = |client_path| {
        all.iter().filter(move |measurement| {
            measurement.load == load && measurement.client_path == client_path
        })
    };
    let median_of = |field: &dyn Fn(&Sample) -> f64| {
        median(
            samples_of(client_path)
                .map(|measurement| field(&measurement.sample))
                .collect(),
        )
    };
    // The ratio is taken within a round, so that a slow minute of the machine affects both values.
    let ratio = |field: &dyn Fn(&Sample) -> f64| {
        let pairs = samples_of(client_path).filter_map(|measurement| {
            let base = samples_of(ClientPath::Bare).find(|base| base.round == measurement.round)?;
            Some(field(&measurement.sample) / field(&base.sample))
        });
        let ratios: Vec<f64> = pairs.collect();
        (!ratios.is_empty()).then(|| median(ratios))
    };
    Row {
        load,
        client_path,
        per_second: median_of(&|measurement| measurement.per_second),
        per_second_ratio: ratio(&|measurement| measurement.per_second),
        p50_us: median_of(&|measurement| measurement.p50_us),
        p50_ratio: ratio(&|measurement| measurement.p50_us),
        p99_us: median_of(&|measurement| measurement.p99_us),
        failed: samples_of(client_path)
            .map(|measurement| measurement.sample.failed)
            .sum(),
        failure: samples_of(client_path).find_map(|measurement| measurement.sample.failure.clone()),
        cpu_us: Cpu {
            envoy: median_of(&|measurement| measurement.cpu_us.envoy),
            service: median_of(&|measurement| measurement.cpu_us.service),
            engines: median_of(&|measurement| measurement.cpu_us.engines),
            client: median_of(&|measurement| measurement.cpu_us.client),
        },
        rounds: samples_of(client_path)
            .map(|measurement| measurement.sample.clone())
            .collect(),
    }
}

/// The median: the middle value, or the mean of the two middle values; 0 when there are no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |index: usize| values.get(index).copied().unwrap_or(0.0);
    let (half, even) = (values.len() / 2, values.len().is_multiple_of(2));
    match half.checked_sub(1) {
        Some(below) if even => f64::midpoint(middle(below), middle(half)),
        _ => middle(half),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(round: u32, client_path: ClientPath, per_second: f64) -> Measurement {
        let sample = Sample {
            done: 1,
            failed: 1,
            failure: None,
            per_second,
            p50_us: 1.0,
            p99_us: 1.0,
            cpu_us: Cpu::default(),
        };
        let load = Load::Echo { sockets: 32 };
        Measurement {
            round,
            load,
            client_path,
            sample,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let all = [
            measurement(0, ClientPath::Bare, 100.0),
            measurement(0, ClientPath::Qix, 50.0),
            measurement(1, ClientPath::Bare, 10.0),
            measurement(1, ClientPath::Qix, 6.0),
            measurement(2, ClientPath::Bare, 1_000.0),
            measurement(2, ClientPath::Qix, 300.0),
        ];
        let row = median_row(&all, Load::Echo { sockets: 32 }, ClientPath::Qix);
        assert!((row.per_second - 50.0).abs() < 1e-9);
        assert!((row.per_second_ratio.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(row.failed, 3);
    }

    #[test]
    fn without_the_baseline_there_is_no_ratio() {
        let all = [measurement(0, ClientPath::Qix, 50.0)];
        assert!(
            median_row(&all, Load::Echo { sockets: 32 }, ClientPath::Qix)
                .per_second_ratio
                .is_none()
        );
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(vec![]).abs() < 1e-9);
    }
}
