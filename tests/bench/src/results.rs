//! The results of a run, as they are written to the JSON file.

use crate::{
    callouts::CalloutRow,
    client_path::ClientPath,
    cost_targets::CostTarget,
    load::{Load, Sample},
    memory::Memory,
    options::Options,
    processes::Cpu,
    stores::StoreRow,
};
use serde::Serialize;
use std::{fs, thread};

/// All results of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    machine: Machine,
    settings: Settings,
    pub(crate) rows: Vec<Row>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) aims: Vec<CostTarget>,
    pub(crate) callouts: Vec<CalloutRow>,
    pub(crate) stores: Vec<StoreRow>,
}

#[derive(Clone, Debug, Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
}

#[derive(Clone, Debug, Serialize)]
struct Settings {
    rounds: u32,
    seconds: f64,
    envoy_workers: u32,
    engines: usize,
}

/// One load over one path: medians over the rounds. Ratios are relative to Envoy without Berth.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) load: Load,
    pub(crate) client_path: ClientPath,
    pub(crate) per_second: f64,
    pub(crate) per_second_ratio: Option<f64>,
    pub(crate) p50_us: f64,
    pub(crate) p50_ratio: Option<f64>,
    pub(crate) p99_us: f64,
    /// Failures in all rounds.
    pub(crate) failed: usize,
    pub(crate) failure: Option<String>,
    /// CPU per handshake or message.
    pub(crate) cpu_us: Cpu,
    pub(crate) rounds: Vec<Sample>,
}

impl Results {
    pub(crate) fn new(options: &Options, rows: Vec<Row>) -> Self {
        Self {
            machine: Machine::detect(),
            settings: Settings {
                rounds: options.rounds(),
                seconds: options.duration().as_secs_f64(),
                envoy_workers: options.envoy_workers,
                engines: options.engines,
            },
            rows,
            memory: Vec::new(),
            aims: Vec::new(),
            callouts: Vec::new(),
            stores: Vec::new(),
        }
    }

    pub(crate) fn find_row(&self, load: Load, client_path: ClientPath) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.load == load && row.client_path == client_path)
    }

    /// One line about the machine and the settings.
    pub(crate) fn describe_setup(&self) -> String {
        let (Machine { cores, cpu, kernel }, settings) = (&self.machine, &self.settings);
        format!(
            "{cores} cores, {cpu}, Linux {kernel}; {} engines, {} Envoy worker(s); medians of {} x {} s",
            settings.engines, settings.envoy_workers, settings.rounds, settings.seconds
        )
    }
}

impl Machine {
    fn detect() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: model.map_or_else(String::new, |(_, name)| name.to_owned()),
            kernel: kernel.trim().to_owned(),
        }
    }
}
