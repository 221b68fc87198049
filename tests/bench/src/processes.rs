//! CPU time of the measured processes.

use serde::Serialize;
use std::ops::Sub;

/// CPU time of each part of the testbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cpu {
    pub(crate) envoy: f64,
    pub(crate) service: f64,
    pub(crate) engines: f64,
    pub(crate) client: f64,
}

impl Cpu {
    /// Multiplies each part.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            envoy: self.envoy * factor,
            service: self.service * factor,
            engines: self.engines * factor,
            client: self.client * factor,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            envoy: self.envoy - before.envoy,
            service: self.service - before.service,
            engines: self.engines - before.engines,
            client: self.client - before.client,
        }
    }
}
