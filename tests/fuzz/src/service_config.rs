//! The service's YAML: it is accepted with consistent values, or refused with at least one fault.
use berth_placement::config::load;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match load::from_text(text) {
        Ok(loaded) => {
            let config = loaded.config;
            assert!(config.session.idle_timeout <= config.session.absolute_timeout);
            assert!(config.placement.attempts > 0);
            for route in &config.routes {
                assert!(config.pools.iter().any(|pool| pool.name == route.pool));
            }
        }
        Err(faults) => assert!(!faults.0.is_empty() && !faults.to_string().is_empty()),
    }
}
