//! The health check of an engine: accepted numbers are in their ranges.
use berth_scheduler::engine::Load;
use berth_placement::engines::health::healthcheck::parse;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok((load, _)) = parse(data) else {
        return;
    };
    assert!(load.cpu.is_none_or(|cpu| (0.0..=1.0).contains(&cpu)));
    if let Some(memory) = load.memory {
        assert!((0.0..=1.0).contains(&memory.headroom()));
    }
    assert!(load.documents.len() <= Load::MAX_DOCUMENTS);
}
