//! The metrics of an engine through an operator's mapping: accepted numbers are in their ranges.
use berth_placement::config::MetricsMapping;
use berth_placement::engines::health::mapping::read_load;
use std::sync::LazyLock;

static MAPPING: LazyLock<MetricsMapping> = LazyLock::new(|| {
    let mapping = r#"{"sessions": "s", "memory": {"used": "u", "free": "f"}, "cpu": "c"}"#;
    serde_json::from_str(mapping).unwrap()
});

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Some(load) = read_load(&MAPPING, data).load {
        assert!(load.cpu.is_none_or(|cpu| (0.0..=1.0).contains(&cpu)));
        assert!(
            load.memory
                .is_none_or(|m| (0.0..=1.0).contains(&m.headroom()))
        );
    }
}
