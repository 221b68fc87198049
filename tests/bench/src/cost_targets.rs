//! The cost targets of the project, and the check of one run against them. Knows only results, not how they were
//! measured.

use crate::{
    client_path::ClientPath,
    load::Load,
    results::{Results, Row},
};
use serde::Serialize;

/// One target with the measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CostTarget {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    /// `None` when this run did not measure it.
    pub(crate) measured: Option<f64>,
    pub(crate) met: bool,
}

/// The accepted values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const HANDSHAKES_1: Load = Load::Handshakes { connections: 1 };
const HANDSHAKES_16: Load = Load::Handshakes { connections: 16 };
const HANDSHAKES_64: Load = Load::Handshakes { connections: 64 };
const ECHO: Load = Load::Echo { sockets: 32 };

/// Compares the results with all targets.
pub(crate) fn evaluate(results: &Results) -> Vec<CostTarget> {
    use Bound::{AtLeast, AtMost};
    let rate = |load, client_path| results.find_row(load, client_path)?.per_second_ratio;
    let p50 = |load, client_path| results.find_row(load, client_path)?.p50_ratio;
    let cpu = |row: &Row| row.cpu_us.service;
    let service = |load| results.find_row(load, ClientPath::Websocket).map(cpu);
    let berth = results
        .memory
        .iter()
        .find(|memory| memory.client_path.is_berth());
    let (ws, qix) = (ClientPath::Websocket, ClientPath::Qix);
    vec![
        cost_target("echo, websocket: rate ratio", AtLeast(0.90), rate(ECHO, ws)),
        cost_target("echo, qix: rate ratio", AtLeast(0.90), rate(ECHO, qix)),
        cost_target(
            "websocket, 16: rate ratio",
            AtLeast(0.60),
            rate(HANDSHAKES_16, ws),
        ),
        cost_target(
            "websocket, 64: rate ratio",
            AtLeast(0.60),
            rate(HANDSHAKES_64, ws),
        ),
        cost_target(
            "websocket, 1: p50 ratio",
            AtMost(1.8),
            p50(HANDSHAKES_1, ws),
        ),
        cost_target(
            "qix, 16: rate ratio",
            AtLeast(0.40),
            rate(HANDSHAKES_16, qix),
        ),
        cost_target(
            "qix, 64: rate ratio",
            AtLeast(0.40),
            rate(HANDSHAKES_64, qix),
        ),
        cost_target("qix, 1: p50 ratio", AtMost(3.0), p50(HANDSHAKES_1, qix)),
        cost_target(
            "service CPU, websocket, 16: us",
            AtMost(60.0),
            service(HANDSHAKES_16),
        ),
        cost_target(
            "service CPU, websocket, 64: us",
            AtMost(60.0),
            service(HANDSHAKES_64),
        ),
        cost_target(
            "idle, service + Envoy: MiB",
            AtMost(160.0),
            berth.map(|memory| memory.idle_mib),
        ),
        cost_target(
            "per held socket: KiB",
            AtMost(55.0),
            berth.map(|memory| memory.kib_per_socket),
        ),
    ]
}

pub(crate) fn cost_target(name: &str, bound: Bound, measured: Option<f64>) -> CostTarget {
    let is_met = measured.is_some_and(|measured| match bound {
        Bound::AtLeast(bound) => measured >= bound,
        Bound::AtMost(bound) => measured <= bound,
    });
    let name = name.to_owned();
    CostTarget {
        what: name,
        bound,
        measured,
        met: is_met,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_the_bound_meets_it_and_a_missing_value_does_not() {
        assert!(cost_target("a", Bound::AtLeast(0.9), Some(0.9)).met);
        assert!(!cost_target("a", Bound::AtLeast(0.9), Some(0.89)).met);
        assert!(cost_target("a", Bound::AtMost(3.0), Some(3.0)).met);
        assert!(!cost_target("a", Bound::AtMost(3.0), Some(f64::NAN)).met);
        assert!(!cost_target("a", Bound::AtMost(3.0), None).met);
    }
}
