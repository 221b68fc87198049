//! The path of a client: it gives an open target, or a refusal with 400 or 404. No document name leaves its folder.
use berth_placement::config::load;
use berth_placement::engines::drivers::open_target::{OpenTarget, without_query_parameter};
use berth_placement::placement::routes::Routes;
use std::sync::LazyLock;

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let demo = include_str!("../../../placement-service/config/demo.yaml");
    let config = load::from_text(demo)
        .expect("the demo's configuration")
        .config;
    Routes::new(&config.routes, &config.pools)
});

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    assert!(without_query_parameter(path, "berth_tab").len() <= path.len());
    match ROUTES.find("", path, None) {
        Ok(target) => {
            if let OpenTarget::Document(name) = target.open_target {
                assert!(!name.is_empty() && name.len() <= 1024 + "/doc/".len());
                assert!(!name.chars().any(char::is_control));
                assert!(name.split(['/', '\\']).all(|segment| segment != ".."));
            }
        }
        Err(refusal) => assert!(matches!(refusal.reason.status(), 400 | 404)),
    }
}
