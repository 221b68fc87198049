//! Reads the load of an engine from its metrics. The configured mapping decides which Prometheus metric has which
//! number. A number that is missing or out of range is absent, and reported as a fault.

use super::metrics_text::sum_gauge;
use super::{ProbeFault, Reading};
use crate::config::{MetricsMapping, Unit};
use berth_scheduler::engine::{Load, Memory};

/// Reads the load from Prometheus text. The fault of the reading has the configured numbers that are missing.
#[must_use]
pub fn read_load(mapping: &MetricsMapping, text: &[u8]) -> Reading {
    let number = |family: &Option<String>| sum_gauge(text, family.as_deref()?);
    let memory = mapping.memory.as_ref().and_then(|families| {
        let per_mb = match families.unit {
            Unit::Bytes => 1024.0 * 1024.0,
            Unit::Megabytes => 1.0,
        };
        let memory = Memory {
            committed: sum_gauge(text, &families.used)? / per_mb,
            free: sum_gauge(text, &families.free)? / per_mb,
        };
        (memory.committed >= 0.0 && memory.free >= 0.0).then_some(memory)
    });
    let load = Load {
        // Prometheus text has only floats. The cast saturates, so that a negative gauge counts as 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        sessions: number(&mapping.sessions).map(|sessions| sessions as u32),
        memory,
        cpu: number(&mapping.cpu).map(|cpu| cpu.clamp(0.0, 1.0)),
        ..Load::default()
    };
    let missing = [
        (
            "sessions",
            mapping.sessions.is_some() && load.sessions.is_none(),
        ),
        ("memory", mapping.memory.is_some() && load.memory.is_none()),
        ("cpu", mapping.cpu.is_some() && load.cpu.is_none()),
    ];
    let missing = missing.into_iter().filter(|(_, missing)| *missing);
    let missing: Vec<&str> = missing.map(|(name, _)| name).collect();
    let fault = format!("no value for probe.metrics.{}", missing.join(", "));
    Reading {
        metrics_fault: (!missing.is_empty()).then_some(ProbeFault::Malformed(fault)),
        load: (load != Load::default()).then_some(load),
        report: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryFamilies;

    fn mapping() -> MetricsMapping {
        MetricsMapping {
            path: "/metrics".into(),
            sessions: Some("app_open".into()),
            memory: Some(MemoryFamilies {
                used: "app_used_bytes".into(),
                free: "app_free_bytes".into(),
                unit: Unit::Bytes,
            }),
            cpu: Some("app_cpu".into()),
        }
    }

    #[test]
    fn each_number_comes_from_its_metric() {
        let text = b"# TYPE app_open gauge\napp_open{kind=\"a\"} 3\napp_open{kind=\"b\"} 4\n\
            app_used_bytes 1048576\napp_free_bytes 3145728\napp_cpu 0.25\n";
        let reading = read_load(&mapping(), text);
        assert_eq!(reading.metrics_fault, None);
        let load = reading.load.unwrap();
        assert_eq!((load.sessions, load.cpu), (Some(7), Some(0.25)));
        let memory = load.memory.unwrap();
        assert!((memory.committed - 1.0).abs() < 1e-9 && (memory.free - 3.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_that_are_missing_or_out_of_range_are_reported() {
        let text = b"app_cpu 17\napp_used_bytes -1\napp_free_bytes 1\n";
        let reading = read_load(&mapping(), text);
        let fault_text = reading.metrics_fault.unwrap().to_string();
        assert!(
            fault_text.ends_with("probe.metrics.sessions, memory"),
            "{fault_text}"
        );
        let load = reading.load.unwrap();
        assert_eq!(
            (load.sessions, load.memory, load.cpu),
            (None, None, Some(1.0))
        );
        let reading = read_load(&mapping(), b"other 1\n");
        assert_eq!(reading.load, None);
        assert_eq!(reading.metrics_fault.unwrap().as_str(), "malformed");
    }
}
