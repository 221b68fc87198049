//! The health check of an engine: accepted numbers are in their ranges.
use berth_placement::engines::health::cpu_unit::CpuUnit;
use berth_placement::engines::health::{healthcheck, metrics_families, tolerant_json};
use berth_scheduler::engine::Load;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let _ = metrics_families::parse(data);
    let Ok(value) = tolerant_json::parse(data) else {
        return;
    };
    let Some((load, _)) = healthcheck::read(value, &mut CpuUnit::default()) else {
        return;
    };
    assert!(load.cpu.is_none_or(|cpu| (0.0..=1.0).contains(&cpu)));
    if let Some(memory) = load.memory {
        assert!((0.0..=1.0).contains(&memory.headroom()));
    }
    assert!(load.documents.len() <= Load::MAX_DOCUMENTS);
}
