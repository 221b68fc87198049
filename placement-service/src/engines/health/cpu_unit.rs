//! The unit of `cpu.total` in the healthcheck of one engine. Its documentation says "percentage", and engines are known
//! that return a share from 0 to 1. A value above 2 is a percentage, because a share is at most 1 with some excess; the
//! engine then counts in percent until it starts again.

use serde_json::Value;

/// A larger value is no share.
const MAX_SHARE: f64 = 2.0;

/// What is known of the unit of one engine.
#[derive(Debug, Default)]
pub struct CpuUnit {
    /// The `started` of an engine that counts in percent.
    percent: Option<Value>,
}

impl CpuUnit {
    /// The share of the CPU in use, 0 to 1. `started`: when the engine started, in its own words.
    pub fn share(&mut self, total: f64, started: &Value) -> f64 {
        if total > MAX_SHARE {
            self.percent = Some(started.clone());
        }
        let is_percent = self.percent.as_ref() == Some(started);
        let share = if is_percent { total / 100.0 } else { total };
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_above_two_makes_it_a_percentage_until_the_engine_starts_again() {
        let (mut unit, first, second) = (CpuUnit::default(), json!("a"), json!("b"));
        assert_eq!(unit.share(0.4, &first), 0.4);
        assert_eq!(unit.share(1.5, &first), 1.0);
        assert_eq!(unit.share(37.0, &first), 0.37);
        assert_eq!(unit.share(1.5, &first), 0.015);
        assert_eq!(unit.share(250.0, &first), 1.0);
        assert_eq!(unit.share(0.4, &second), 0.4);
        // An engine that does not say when it started keeps its unit.
        assert_eq!(unit.share(50.0, &Value::Null), 0.5);
        assert_eq!(unit.share(1.0, &Value::Null), 0.01);
    }
}
