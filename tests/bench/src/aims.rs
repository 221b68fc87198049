//! The cost targets of the project, and the check of one run against them. Knows only results, not how they were
//! measured.

use crate::{
    load::Load,
    results::{Results, Row},
    way::Way,
};
use serde::Serialize;

/// One target with the measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Aim {
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

const ONE: Load = Load::Handshakes { connections: 1 };
const SOME: Load = Load::Handshakes { connections: 16 };
const MANY: Load = Load::Handshakes { connections: 64 };
const ECHO: Load = Load::Echo { sockets: 32 };

/// Compares the results with all targets.
pub(crate) fn judge(results: &Results) -> Vec<Aim> {
    use Bound::{AtLeast, AtMost};
    let rate = |load, way| results.row(load, way)?.per_second_ratio;
    let p50 = |load, way| results.row(load, way)?.p50_ratio;
    let cpu = |row: &Row| row.cpu_us.service;
    let service = |load| results.row(load, Way::Websocket).map(cpu);
    let berth = results.memory.iter().find(|memory| memory.way.is_berth());
    let (ws, qix) = (Way::Websocket, Way::Qix);
    vec![
        aim("echo, websocket: rate ratio", AtLeast(0.90), rate(ECHO, ws)),
        aim("echo, qix: rate ratio", AtLeast(0.90), rate(ECHO, qix)),
        aim("websocket, 16: rate ratio", AtLeast(0.60), rate(SOME, ws)),
        aim("websocket, 64: rate ratio", AtLeast(0.60), rate(MANY, ws)),
        aim("websocket, 1: p50 ratio", AtMost(1.8), p50(ONE, ws)),
        aim("qix, 16: rate ratio", AtLeast(0.40), rate(SOME, qix)),
        aim("qix, 64: rate ratio", AtLeast(0.40), rate(MANY, qix)),
        aim("qix, 1: p50 ratio", AtMost(3.0), p50(ONE, qix)),
        aim(
            "service CPU, websocket, 16: us",
            AtMost(60.0),
            service(SOME),
        ),
        aim(
            "service CPU, websocket, 64: us",
            AtMost(60.0),
            service(MANY),
        ),
        aim(
            "idle, service + Envoy: MiB",
            AtMost(160.0),
            berth.map(|it| it.idle_mib),
        ),
        aim(
            "per held socket: KiB",
            AtMost(55.0),
            berth.map(|it| it.kib_per_socket),
        ),
    ]
}

pub(crate) fn aim(what: &str, bound: Bound, measured: Option<f64>) -> Aim {
    let met = measured.is_some_and(|measured| match bound {
        Bound::AtLeast(least) => measured >= least,
        Bound::AtMost(most) => measured <= most,
    });
    let what = what.to_owned();
    Aim {
        what,
        bound,
        measured,
        met,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_the_bound_meets_it_and_a_missing_value_does_not() {
        assert!(aim("a", Bound::AtLeast(0.9), Some(0.9)).met);
        assert!(!aim("a", Bound::AtLeast(0.9), Some(0.89)).met);
        assert!(aim("a", Bound::AtMost(3.0), Some(3.0)).met);
        assert!(!aim("a", Bound::AtMost(3.0), Some(f64::NAN)).met);
        assert!(!aim("a", Bound::AtMost(3.0), None).met);
    }
}
