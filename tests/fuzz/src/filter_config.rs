//! The plugin configuration, as JSON or as a protobuf Struct: valid, or refused with a message.
use berth_filter_core::config::Config;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let env = |name: &str| (name.len() < 8).then(|| name.repeat(40));
    match Config::parse(data, &env) {
        Ok(config) => {
            assert!(!config.cookie.is_empty() && !config.routes.is_empty());
            assert!(!config.keys.is_empty() || config.jwks.is_some());
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}
